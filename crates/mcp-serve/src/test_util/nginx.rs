//! A real nginx for tests, in a folder of its own, gone when it is dropped.

use std::{
    fs,
    io::Write as _,
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;
use tokio::{net::TcpStream, time::sleep};

use super::tool;

/// How long a test waits for what should take a moment.
const PATIENCE: Duration = Duration::from_mins(1);

/// Runs what it is told to; SIGHUP for each line that it reads, SIGTERM when there are no more, in
/// whatever way the process that wrote them ended.
const KEEPER: &str =
    "\"$@\" </dev/null & while read -r _; do kill -s HUP $!; done; kill -s TERM $!; wait";

/// An nginx that listens. Dropping it ends it and removes its files.
#[derive(Debug)]
pub struct NginxServer {
    /// The shell that runs [`KEEPER`].
    keeper: Child,
    folder: TempDir,
}

impl NginxServer {
    /// For the `http` block of a configuration: what does not fit into memory goes into the folder.
    pub const FOLDERS: &str = "client_body_temp_path body; proxy_temp_path proxy; \
        fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;";

    /// Starts nginx with this configuration, in which paths are below `folder`, and with `vars` in
    /// its environment; waits until it listens at all `addresses`.
    pub async fn start(
        folder: TempDir,
        configuration: &str,
        vars: &[(&str, &str)],
        addresses: &[SocketAddr],
    ) -> Self {
        write(folder.path(), configuration);
        let keeper = Command::new("/bin/sh")
            .args(["-c", KEEPER, "sh"])
            .arg(tool("nginx"))
            .args(arguments(folder.path()))
            .envs(vars.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a shell");
        let nginx = Self { keeper, folder };
        let end = Instant::now() + PATIENCE;
        for address in addresses {
            while TcpStream::connect(address).await.is_err() {
                let errors = nginx.errors();
                let is_over = Instant::now() > end || errors.contains("[emerg]");
                assert!(!is_over, "no nginx at {address}: {errors}");
                sleep(Duration::from_millis(20)).await;
            }
        }
        nginx
    }

    /// What `nginx -t` says of a configuration, with paths as in [`start`](Self::start).
    pub fn verdict(folder: &Path, configuration: &str, vars: &[(&str, &str)]) -> String {
        write(folder, configuration);
        let mut command = Command::new(tool("nginx"));
        command.arg("-t").args(arguments(folder));
        command.envs(vars.iter().copied()).stdin(Stdio::null());
        let asked = command.output().expect("nginx");
        String::from_utf8_lossy(&asked.stderr).replace(&*folder.to_string_lossy(), "")
    }

    /// The numbers of the version that is installed, such as 1, 22, 1.
    pub fn version() -> Vec<u32> {
        let asked = Command::new(tool("nginx")).arg("-v").output();
        let said = asked.expect("nginx").stderr;
        let said = String::from_utf8_lossy(&said);
        let (_, version) = said.trim().split_once('/').expect("a version");
        let parts = version.split(['.', ' ']);
        parts.map_while(|part| part.parse().ok()).collect()
    }

    /// Lets it read this configuration in place of the one that it has. It goes on while it does.
    pub fn reload(&mut self, configuration: &str) {
        write(self.folder.path(), configuration);
        let input = self.keeper.stdin.as_mut().expect("a pipe");
        input.write_all(b"\n").expect("a shell that reads");
    }

    /// What it had to complain of.
    pub fn errors(&self) -> String {
        self.read("error.log")
    }

    /// What is in a file of its folder; nothing, where there is none.
    pub fn read(&self, file: &str) -> String {
        fs::read_to_string(self.folder.path().join(file)).unwrap_or_default()
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for NginxServer {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

const CONFIGURATION: &str = "nginx.conf";

fn write(folder: &Path, configuration: &str) {
    fs::write(folder.join(CONFIGURATION), configuration).expect("a configuration");
}

/// How nginx finds the configuration in `folder`, and stays the process that was started.
fn arguments(folder: &Path) -> [&std::ffi::OsStr; 8] {
    [
        "-p".as_ref(),
        folder.as_os_str(),
        "-c".as_ref(),
        CONFIGURATION.as_ref(),
        "-e".as_ref(),
        "error.log".as_ref(),
        "-g".as_ref(),
        "daemon off;".as_ref(),
    ]
}
