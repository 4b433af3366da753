//! How far a move is: a bar that grows on a terminal, a line now and then elsewhere.

use std::{
    io::Write,
    time::{Duration, Instant},
};

use notes::transfer::{Phase, Progress};

/// How often a terminal is written to.
const REDRAW: Duration = Duration::from_millis(100);

/// How often a line is written where lines stay.
const LINE: Duration = Duration::from_secs(5);

/// How many characters a full bar has.
const WIDTH: u64 = 30;

/// Shows progress on `out`.
pub(super) struct Bar<W> {
    out: W,
    is_terminal: bool,
    shown: Option<(Phase, Instant)>,
    begun: Instant,
}

impl<W: Write> Bar<W> {
    /// A bar that begins at `now`.
    pub(super) fn new(out: W, is_terminal: bool, now: Instant) -> Self {
        Self {
            out,
            is_terminal,
            shown: None,
            begun: now,
        }
    }

    /// Shows it if it is time to, a phase has begun or one has ended.
    pub(super) fn show(&mut self, progress: Progress, now: Instant) {
        let Progress { phase, done, total } = progress;
        let every = if self.is_terminal { REDRAW } else { LINE };
        let last = self.shown.filter(|(shown, _)| *shown == phase);
        if last.is_none() {
            self.begun = now;
        }
        let is_due = last.is_none_or(|(_, at)| now.duration_since(at) >= every);
        // There may be more by now than was known at the beginning, and nothing is a whole too.
        let total = total.max(done);
        if !is_due && done < total {
            return;
        }
        let percent = (done * 100).checked_div(total).unwrap_or(100);
        let word = word(phase);
        let line = if self.is_terminal {
            let full = usize::try_from(percent * WIDTH / 100).unwrap_or_default();
            let bar = "#".repeat(full);
            let width = usize::try_from(WIDTH).unwrap_or_default();
            let pace = pace(done, now.duration_since(self.begun));
            format!("\r\x1b[K{word:<9} [{bar:<width$}] {percent:>3} % {done}/{total}{pace}")
        } else {
            format!("mcp-notes: {word} {done} of {total} ({percent} %)\n")
        };
        // Nobody is told where there is nobody to tell.
        let _ = self.out.write_all(line.as_bytes());
        let _ = self.out.flush();
        self.shown = Some((phase, now));
    }

    /// Leaves the line of the bar.
    pub(super) fn end(&mut self) {
        if self.is_terminal && self.shown.is_some() {
            let _ = self.out.write_all(b"\n");
        }
    }
}

/// What is done in a phase, as one word.
fn word(phase: Phase) -> &'static str {
    match phase {
        Phase::Check => "checking",
        Phase::Copy => "copying",
        Phase::Compare => "comparing",
    }
}

/// How many there are in a second, once that means something.
fn pace(done: u64, took: Duration) -> String {
    match u128::from(done * 1000).checked_div(took.as_millis()) {
        Some(pace) if took >= Duration::from_secs(1) => format!(", {pace}/s"),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is written of progress told at these milliseconds.
    fn shown(is_terminal: bool, told: &[(u64, Phase, u64, u64)]) -> String {
        let mut out = Vec::new();
        let begun = Instant::now();
        let mut bar = Bar::new(&mut out, is_terminal, begun);
        for &(millis, phase, done, total) in told {
            let progress = Progress { phase, done, total };
            bar.show(progress, begun + Duration::from_millis(millis));
        }
        bar.end();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_terminal_sees_one_line_that_grows() {
        let text = shown(
            true,
            &[
                (0, Phase::Copy, 500, 2000),
                (50, Phase::Copy, 700, 2000),
                (2000, Phase::Copy, 1000, 2000),
                (2001, Phase::Copy, 2000, 2000),
                (2002, Phase::Compare, 0, 0),
            ],
        );
        assert_eq!(
            text,
            "\r\x1b[Kcopying   [#######                       ]  25 % 500/2000\
             \r\x1b[Kcopying   [###############               ]  50 % 1000/2000, 500/s\
             \r\x1b[Kcopying   [##############################] 100 % 2000/2000, 999/s\
             \r\x1b[Kcomparing [##############################] 100 % 0/0\n"
        );
    }

    #[test]
    fn elsewhere_there_is_a_line_now_and_then() {
        let text = shown(
            false,
            &[
                (0, Phase::Check, 0, 0),
                (1, Phase::Copy, 500, 2000),
                (2000, Phase::Copy, 1000, 2000),
                (6000, Phase::Copy, 1500, 2000),
                (6001, Phase::Copy, 2001, 2000),
            ],
        );
        assert_eq!(
            text,
            "mcp-notes: checking 0 of 0 (100 %)\nmcp-notes: copying 500 of 2000 (25 %)\n\
             mcp-notes: copying 1500 of 2000 (75 %)\nmcp-notes: copying 2001 of 2001 (100 %)\n"
        );
    }
}
