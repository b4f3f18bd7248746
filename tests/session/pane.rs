//! A terminal with somebody at it: tmux, which also says what is on the screen.

use crate::LIMIT;
use crate::paint;
use crate::steps::{Act, Step};
use crate::support::{World, leaks, until};
use std::fmt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long a terminal is looked at that stands still.
const STILL: Duration = Duration::from_secs(3);

/// What a person sees, the size and the colours included, and what the terminal is told of keys and mouse.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Look {
    /// The lines with their colours, from the top to the last that holds something.
    lines: Vec<String>,
    /// Cursor, modes, title.
    state: String,
}

/// What of the terminal is compared beside the screen: size, place and visibility of the cursor, the other screen, every mode
/// of keys and mouse that tmux knows, the title.
const STATE: &str = "#{pane_width}x#{pane_height} at #{cursor_x},#{cursor_y} shown=#{cursor_flag} other=#{alternate_on} \
     insert=#{insert_flag} keypad=#{keypad_cursor_flag}#{keypad_flag} mouse=#{mouse_any_flag}#{mouse_button_flag}\
     #{mouse_standard_flag}#{mouse_sgr_flag}#{mouse_utf8_flag} wrap=#{wrap_flag} region=#{scroll_region_upper},\
     #{scroll_region_lower} title=#{pane_title}";

impl Look {
    /// Whether these words are on the screen, in one line.
    pub(crate) fn has(&self, words: &str) -> bool {
        self.lines.iter().any(|line| plain(line).contains(words))
    }

    /// The last line that is not empty, without its colours.
    pub(crate) fn last(&self) -> String {
        self.lines.last().map(|line| plain(line)).unwrap_or_default()
    }

    /// How many lines there are down to the last that is not empty.
    pub(crate) fn depth(&self) -> usize {
        self.lines.len()
    }
}

impl fmt::Display for Look {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines.iter().try_for_each(|line| writeln!(f, "| {}", plain(line)))?;
        write!(f, "| {}", self.state)
    }
}

impl fmt::Debug for Look {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines.iter().try_for_each(|line| writeln!(f, "{}", line.replace('\u{1b}', "^[")))?;
        f.write_str(&self.state)
    }
}

/// A line without what colours it, and with plain spaces.
fn plain(line: &str) -> String {
    let mut text = String::new();
    let mut rest = line.chars();
    while let Some(c) = rest.next() {
        match c {
            '\u{1b}' => drop(rest.find(char::is_ascii_alphabetic)),
            '\u{a0}' => text.push(' '),
            _ => text.push(c),
        }
    }
    text.trim_end().to_owned()
}

/// What differs from run to run on one machine too, made equal: the id of a conversation; the word and the time of "✻ Baked for
/// 3s · done 9:15 AM". Nothing else is.
fn evened(line: &str) -> String {
    let mut words: Vec<String> = line.split(' ').map(str::to_owned).collect();
    for word in &mut words {
        let is_id = |w: &str| w.len() == 36 && w.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
        if let Some(at) = word.len().checked_sub(36).filter(|at| word.is_char_boundary(*at) && is_id(&word[*at..])) {
            word.replace_range(at.., "ID");
        }
    }
    let line = words.join(" ");
    match (line.find('\u{273b}'), line.find(" for "), line.find(" \u{b7} done ")) {
        (Some(star), Some(_), Some(_)) => format!("{}\u{273b} done", &line[..star]),
        _ => line,
    }
}

/// See the module. The terminal is closed when it is dropped.
pub(crate) struct Pane<'a> {
    world: &'a World,
    name: &'static str,
}

impl<'a> Pane<'a> {
    /// A terminal of 30 by 100 in the project, in which `script` runs, with these variables; ready for a line.
    pub(crate) fn new(world: &'a World, name: &'static str, script: &str, env: &[(&'static str, String)]) -> Pane<'a> {
        let pane = Pane { world, name };
        let rc = world.write("out/rc", "PS1='$ '; HISTFILE=; cd .\n");
        let script = world.write(&format!("out/{name}.sh"), script);
        let settings = "set -g default-terminal tmux-256color\nset -g focus-events on\nset -g status off\n\
             set -g remain-on-exit on\n";
        let settings = world.write("out/tmux.conf", settings);
        let mut tmux = pane.tmux();
        tmux.env("RC", rc).env("SCRIPT", script).env("RECORD", pane.record()).envs(env.iter().cloned());
        tmux.arg("-f").arg(settings).args(["new-session", "-d", "-x", "100", "-y", "30", "exec sh \"$SCRIPT\""]);
        tmux.args([";", "pipe-pane", "-o", "exec cat >\"$RECORD\""]);
        let status = tmux.status().expect("tmux");
        assert!(status.success(), "tmux: {status}");
        pane.until("a shell waits", |look| look.last() == "$");
        pane
    }

    /// Waits until there is a look like this, and gives it.
    #[track_caller]
    pub(crate) fn until(&self, what: &str, mut is: impl FnMut(&Look) -> bool) -> Look {
        let end = Instant::now() + LIMIT;
        loop {
            let look = self.look();
            if is(&look) {
                return look;
            }
            assert!(Instant::now() < end, "{}: waited {LIMIT:?} in vain until {what}:\n{look:?}", self.name);
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn record(&self) -> PathBuf {
        self.world.path(&format!("out/{}.bytes", self.name))
    }

    fn socket(&self) -> PathBuf {
        self.world.path(&format!("out/{}.tmux", self.name))
    }

    fn tmux(&self) -> Command {
        let mut tmux = self.world.command("tmux");
        tmux.arg("-S").arg(self.socket()).stdin(Stdio::null());
        tmux
    }

    fn ask(&self, words: &[&str]) -> String {
        let out = self.tmux().args(words).output().expect("tmux");
        assert!(out.status.success(), "tmux {words:?}: {out:?}");
        String::from_utf8_lossy(&out.stdout).into_owned()
    }

    /// Does a step.
    #[track_caller]
    pub(crate) fn step(&self, step: &Step) {
        self.act(&step.act);
        let mut done = Instant::now();
        self.until(step.name, |look| {
            if step.act.repeats(look, done.elapsed()) {
                self.act(&step.act);
                done = Instant::now();
            }
            (step.there)(look)
        });
    }

    /// Does something to the terminal.
    pub(crate) fn act(&self, act: &Act) {
        match act {
            Act::Nothing => {}
            Act::Settle => self.settle(),
            Act::Allow => drop(self.ask(&["send-keys", "Enter"])),
            Act::Keys(keys) => drop(self.ask(&[&["send-keys"], *keys].concat())),
            Act::Text(text) => drop(self.ask(&["send-keys", "-l", text])),
            Act::Line(text) => drop(self.ask(&["send-keys", "-l", &format!("{text}\n")])),
            Act::Resize(rows, columns) => {
                self.ask(&["resize-window", "-x", &columns.to_string(), "-y", &rows.to_string()]);
            }
        }
    }

    /// Waits until nothing was written for a while.
    fn settle(&self) {
        let written = || std::fs::metadata(self.record()).map_or(0, |meta| meta.len());
        let (mut last, mut since) = (written(), Instant::now());
        until("it is still", || {
            if written() != last {
                (last, since) = (written(), Instant::now());
            }
            (since.elapsed() > STILL).then_some(())
        });
    }

    /// What is to be seen now.
    pub(crate) fn look(&self) -> Look {
        let all = self.ask(&["display-message", "-p", STATE, ";", "capture-pane", "-p", "-e"]);
        let (state, screen) = all.split_once('\n').unwrap_or_default();
        let state = state.to_owned();
        let mut lines: Vec<String> = paint::canonical(screen).iter().map(|line| evened(line)).collect();
        while lines.last().is_some_and(|line| plain(line).is_empty()) {
            lines.pop();
        }
        Look { lines, state }
    }

    /// Closes the terminal; every byte that was written to it.
    pub(crate) fn end(self) -> Vec<u8> {
        let record = self.record();
        self.close();
        std::fs::read(record).expect("a record")
    }

    fn close(&self) {
        let _ = self.tmux().arg("kill-server").stderr(Stdio::null()).status();
        until("nothing of it runs", || leaks::processes(self.world).iter().all(|p| !self.owns(p)).then_some(()));
        let _ = std::fs::remove_file(self.socket());
    }

    /// Whether a process is this terminal's tmux.
    fn owns(&self, process: &leaks::Process) -> bool {
        let socket = self.socket();
        let name = socket.as_os_str().as_encoded_bytes();
        process.cmdline.split(|b| *b == 0).any(|word| word == name)
    }
}

impl Drop for Pane<'_> {
    fn drop(&mut self) {
        if self.socket().exists() {
            let _ = self.tmux().arg("kill-server").stderr(Stdio::null()).status();
        }
    }
}
