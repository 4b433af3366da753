//! What the system says of this process, read from `/proc` at each scrape.

use std::{fs, path::Path, sync::Arc};

use super::{
    Registry,
    family::{Family, Gauge},
    table,
};

/// The metrics whose names begin with `process_`, and the limit of memory.
pub(super) struct Process {
    memory_limit: Arc<Family<Gauge>>,
    resident: Arc<Family<Gauge>>,
    cpu: Arc<Family<Gauge>>,
    open_files: Arc<Family<Gauge>>,
    max_files: Arc<Family<Gauge>>,
    threads: Arc<Family<Gauge>>,
    start: Arc<Family<Gauge>>,
}

/// Ticks of a second in the files of `/proc`: `USER_HZ`, which is 100 wherever this server runs.
const TICKS: f64 = 100.0;

impl Process {
    pub(super) fn new(registry: &Registry) -> Self {
        Self {
            memory_limit: registry.add(&table::MEMORY_LIMIT),
            resident: registry.add(&table::RESIDENT),
            cpu: registry.add(&table::CPU),
            open_files: registry.add(&table::OPEN_FILES),
            max_files: registry.add(&table::MAX_FILES),
            threads: registry.add(&table::THREADS),
            start: registry.add(&table::START),
        }
    }

    /// Reads the numbers anew; what the system does not tell stays as it is.
    pub(super) fn look(&self) {
        let set = |family: &Family<Gauge>, number: Option<f64>| {
            if let Some(number) = number {
                family.with(&[]).set(number);
            }
        };
        set(&self.memory_limit, Some(limit_bytes().map_or(0.0, float)));
        set(&self.resident, rss_bytes().map(float));
        let open = fs::read_dir("/proc/self/fd").ok();
        set(
            &self.open_files,
            open.map(|files| float(files.count() as u64)),
        );
        set(&self.max_files, files_max().map(|max| float(max as u64)));
        let Some(stat) = fs::read_to_string("/proc/self/stat").ok() else {
            return;
        };
        let Some(stat) = Stat::read(&stat) else {
            return;
        };
        set(&self.cpu, Some(stat.cpu_ticks / TICKS));
        set(&self.threads, Some(stat.threads));
        let begun = booted().map(|booted| booted + stat.start_ticks / TICKS);
        set(&self.start, begun);
    }
}

/// Fields of `/proc/self/stat` (`proc_pid_stat(5)`).
struct Stat {
    cpu_ticks: f64,
    threads: f64,
    start_ticks: f64,
}

impl Stat {
    fn read(text: &str) -> Option<Self> {
        // The name of the program, in brackets, may hold anything.
        let (_, rest) = text.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        // The first of these is the third field of the file.
        let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
        Some(Self {
            cpu_ticks: field(14)? + field(15)?,
            threads: field(20)?,
            start_ticks: field(22)?,
        })
    }
}

/// When the machine began, in seconds since 1970.
fn booted() -> Option<f64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    let line = stat.lines().find_map(|line| line.strip_prefix("btime "))?;
    line.trim().parse().ok()
}

#[expect(
    clippy::cast_precision_loss,
    reason = "beyond 2^53 bytes nobody counts one by one"
)]
fn float(number: u64) -> f64 {
    number as f64
}

/// Memory that the process uses, in bytes; `None` where the system does not tell.
pub(crate) fn rss_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim()
        .strip_suffix(" kB")?
        .parse::<u64>()
        .ok()
        .map(|kib| kib * 1024)
}

/// The memory that its control group may have, in bytes; `None` where there is no limit.
pub(crate) fn limit_bytes() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = groups
        .lines()
        .find_map(|line| line.strip_prefix("0::/"))
        .unwrap_or_default();
    let root = Path::new("/sys/fs/cgroup");
    let files = [
        root.join(own).join("memory.max"),
        root.join("memory/memory.limit_in_bytes"),
    ];
    let text = files
        .iter()
        .find_map(|file| fs::read_to_string(file).ok())?;
    // Without a limit, version 2 says "max" and version 1 a number near 2^63.
    text.trim()
        .parse::<u64>()
        .ok()
        .filter(|bytes| *bytes < 1 << 62)
}

/// How many files it may have open.
pub(crate) fn files_max() -> Option<usize> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_may_be_called_anything() {
        let line = "7 (a) S 1 (b)) R 1 1 1 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 4 0 900 1 1";
        let stat = Stat::read(line).unwrap();
        let read = format!("{} {} {}", stat.cpu_ticks, stat.threads, stat.start_ticks);
        assert_eq!(read, "300 4 900");
        assert!(Stat::read("").is_none());
    }
}
