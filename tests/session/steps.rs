//! What somebody does at the terminal, and how they see that it was done.

use crate::pane::Look;
use std::time::Duration;

/// Something done to a terminal.
#[derive(Debug, Clone)]
pub(crate) enum Act {
    /// One waits.
    Nothing,
    /// Keys by tmux's names.
    Keys(&'static [&'static str]),
    /// Yes is said to the question whether a tool may run: again while it is still asked, because it does not hear what is pressed
    /// too soon.
    Allow,
    /// Text is typed.
    Text(&'static str),
    /// A line is typed.
    Line(String),
    /// One waits until it has written nothing for some seconds: when the terminal's answers to its first questions arrive, its first
    /// dialog forgets the keys that were pressed before, on the host as in the VM.
    Settle,
    /// The window gets so many rows and columns.
    Resize(u16, u16),
}

/// A step and the look that it comes to.
pub(crate) struct Step {
    pub(crate) name: &'static str,
    pub(crate) act: Act,
    pub(crate) there: fn(&Look) -> bool,
}

const fn step(name: &'static str, act: Act, there: fn(&Look) -> bool) -> Step {
    Step { name, act, there }
}

const ENTER: Act = Act::Keys(&["Enter"]);
/// The hint below the line where one types.
const READY: &str = "manual mode on";

/// What is asked before a tool runs.
pub(crate) const QUESTION: &str = "Do you want to proceed?";
/// How long it may take to hear a key.
const HEARS: Duration = Duration::from_secs(10);

impl Act {
    /// Whether it is to be done again, so long after the last time, when this is to be seen.
    pub(crate) fn repeats(&self, look: &Look, after: Duration) -> bool {
        matches!(self, Act::Allow) && after > HEARS && look.has(QUESTION)
    }
}

/// Claude Code has the whole screen, down to its last line.
fn ready(look: &Look, rows: usize) -> bool {
    look.last().contains(READY) && look.depth() == rows
}

/// The shell waits for a line.
fn shell(look: &Look) -> bool {
    look.last() == "$"
}

/// The session: a prompt, a tool call that is asked about, another size, Ctrl-Z and `fg`, Ctrl-C twice.
pub(crate) const STEPS: &[Step] = &[
    step("it is started", Act::Keys(&["-l", "clear; claude\n"]), |l| l.has("\u{276f} No, exit")),
    step("the terminal has answered", Act::Settle, |l| l.has("\u{276f} No, exit")),
    step("the other answer", Act::Keys(&["Down"]), |l| l.has("\u{276f} Yes, I trust this folder")),
    step("and stays", Act::Settle, |l| l.has("\u{276f} Yes, I trust this folder")),
    step("the workspace is trusted", ENTER, |l| ready(l, 30)),
    step("a prompt is typed", Act::Text("say hi"), |l| l.has("\u{276f} say hi")),
    step("and answered", ENTER, |l| l.has("turns=1") && l.has("\u{273b} done") && ready(l, 30)),
    step("a prompt with a tool", Act::Text("RUN:echo made >made.txt; cat made.txt"), |l| l.has("\u{276f} RUN:echo")),
    step("may it run?", ENTER, |l| l.has(QUESTION) && l.has("\u{276f} 1. Yes")),
    step("it may", Act::Allow, |l| l.has("TOOLRESULT:made") && ready(l, 30)),
    step("another size", Act::Resize(40, 60), |l| l.has("TOOLRESULT:made") && ready(l, 40)),
    step("Ctrl-Z", Act::Keys(&["C-z"]), |l| l.has("Stopped") && shell(l)),
    step("the shell's terminal", Act::Keys(&["-l", "echo code=$?; stty -g; jobs\n"]), |l| {
        l.has("code=148") && shell(l)
    }),
    step("fg", Act::Keys(&["-l", "fg\n"]), |l| l.has("TOOLRESULT:made") && ready(l, 40)),
    step("another prompt", Act::Text("and again"), |l| l.has("\u{276f} and again")),
    step("and answered", ENTER, |l| l.has("turns=3") && ready(l, 40)),
    step("Ctrl-C", Act::Keys(&["C-c"]), |l| l.has("Press Ctrl-C again to exit")),
    step("is forgotten", Act::Nothing, |l| ready(l, 40)),
    step("Ctrl-C twice", Act::Keys(&["C-c", "C-c"]), |l| l.has("claude --resume ID") && shell(l)),
    step("the code", Act::Keys(&["-l", "echo code=$?; stty -g; jobs\n"]), |l| l.has("code=0") && shell(l)),
];
