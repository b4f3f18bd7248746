//! What a build is doing: a bar on a terminal, plain lines on stderr otherwise.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::Write;
use std::time::Duration;

/// Shows the steps of one build. Nothing is ever written to stdout.
pub(super) struct Progress {
    bar: Option<ProgressBar>,
}

impl Progress {
    /// `terminal`: whether stderr is one.
    pub(super) fn new(terminal: bool) -> Progress {
        Progress { bar: terminal.then(bar) }
    }

    /// Says how many steps there will be from now on.
    pub(super) fn expect(&self, steps: u64) {
        if let Some(bar) = &self.bar {
            bar.set_length(bar.position() + steps);
        }
    }

    /// A step begins.
    pub(super) fn step(&self, what: &str) {
        match &self.bar {
            Some(bar) => {
                bar.inc(1);
                bar.set_prefix(what.to_owned());
                bar.set_message("");
            }
            None => {
                let _ = writeln!(std::io::stderr(), "vmclaude: {what}");
            }
        }
    }

    /// The newest line of the running tool, worth showing on a bar only.
    pub(super) fn detail(&self, line: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(line.to_owned());
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn bar() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{spinner} [{bar:20}] {elapsed:>4} {prefix} {wide_msg:.dim}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(120));
    bar
}
