//! How the program is started, and by whom.

use crate::deeds::Deed;
use crate::engine::Engine;
use crate::seen::Seen;
use crate::support::World;
use crate::{piped, typed};
use nix::sys::signal::Signal;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Setting {
    Pipes,
    Null,
    Closed,
    Nohup,
    Timeout,
    Make,
    Xargs,
    Terminal,
    Mixed,
    Background,
    Ssh,
    Script,
    Tmux,
    MakeTyped,
    XargsTyped,
    Pipeline,
    Less,
}

impl Setting {
    pub(crate) const ALL: [Setting; 17] = [
        Setting::Pipes,
        Setting::Null,
        Setting::Closed,
        Setting::Nohup,
        Setting::Timeout,
        Setting::Make,
        Setting::Xargs,
        Setting::Terminal,
        Setting::Mixed,
        Setting::Background,
        Setting::Ssh,
        Setting::Script,
        Setting::Tmux,
        Setting::MakeTyped,
        Setting::XargsTyped,
        Setting::Pipeline,
        Setting::Less,
    ];

    /// The name of its test.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Setting::Pipes => "pipes",
            Setting::Null => "dev_null",
            Setting::Closed => "closed_descriptors",
            Setting::Nohup => "nohup",
            Setting::Timeout => "timeout",
            Setting::Make => "make",
            Setting::Xargs => "xargs",
            Setting::Terminal => "terminal",
            Setting::Mixed => "pipe_and_terminal",
            Setting::Background => "background",
            Setting::Ssh => "ssh",
            Setting::Script => "script",
            Setting::Tmux => "tmux",
            Setting::MakeTyped => "make_on_a_terminal",
            Setting::XargsTyped => "xargs_on_a_terminal",
            Setting::Pipeline => "pipeline",
            Setting::Less => "less",
        }
    }

    /// What is not here and has to be.
    pub(crate) fn missing(self) -> Option<&'static str> {
        let has = |program: &str| Path::new(program).exists();
        match self {
            Setting::Ssh if !has(typed::SSHD) => Some("there is no sshd (Debian's openssh-server)"),
            Setting::Less if !has("/usr/bin/less") => Some("there is no less"),
            _ => None,
        }
    }

    fn has_terminal(self) -> bool {
        use Setting::{Background, Less, MakeTyped, Mixed, Pipeline, Script, Ssh, Terminal, Tmux, XargsTyped};
        matches!(self, Terminal | Mixed | Background | Ssh | Script | Tmux | MakeTyped | XargsTyped | Pipeline | Less)
    }

    /// Whether somebody else is in the program's job, on a terminal.
    fn has_company(self) -> bool {
        matches!(self, Setting::MakeTyped | Setting::XargsTyped | Setting::Pipeline)
    }

    /// Whether the deed makes sense here.
    pub(crate) fn allows(self, deed: &Deed) -> bool {
        let fed = matches!(self, Setting::Pipes | Setting::Nohup | Setting::Timeout | Setting::Make);
        let shell = matches!(self, Setting::Terminal | Setting::Mixed);
        if self == Setting::Less || *deed == Deed::Paged {
            return self == Setting::Less && *deed == Deed::Paged;
        }
        if self.has_company() {
            return matches!(deed, Deed::Exits(_) | Deed::Dies(_) | Deed::Descriptors | Deed::Key(..));
        }
        match deed {
            Deed::Paged => false,
            Deed::Exits(_) | Deed::Dies(_) | Deed::Descriptors => true,
            // Who leads a session of their own cannot be stopped by it: nobody could continue them. And what a shell that does not
            // wait says of a job that is stopped, goes on and dies at once, differs from run to run.
            Deed::Gets(Signal::SIGTSTP, false)
                if matches!(self, Setting::Ssh | Setting::Script | Setting::Background) =>
            {
                false
            }
            Deed::Gets(..) => self != Setting::Tmux,
            Deed::Arguments | Deed::LongArgument => self != Setting::Closed,
            Deed::ReadsAll => !matches!(self, Setting::Closed | Setting::Background | Setting::Mixed),
            Deed::Hundred | Deed::NoText => fed,
            Deed::ReaderGone | Deed::SlowReader | Deed::FullPipe | Deed::Lines => {
                !self.has_terminal() && self != Setting::Closed
            }
            Deed::Key(..) | Deed::TypesLines => self.has_terminal() && self != Setting::Background,
            Deed::StopsAndGoesOn | Deed::TypedAhead | Deed::HungUp | Deed::Killed | Deed::Pasted | Deed::Asks => shell,
            Deed::Resized => shell || self == Setting::Script,
            // `script` outlives its terminal, whatever runs in it.
            Deed::Closed => shell || self == Setting::Ssh,
        }
    }

    /// The words that start the program's file, in the project.
    pub(crate) fn words(self) -> Vec<&'static str> {
        match self {
            Setting::Nohup => vec!["nohup", "bash", "job"],
            Setting::Timeout => vec!["timeout", "500", "bash", "job"],
            Setting::Make => vec!["make", "-s", "-f", "../out/rules"],
            Setting::Xargs => vec!["xargs", "bash", "job"],
            Setting::Closed => vec!["bash", "-c", "exec bash job <&- >&- 2>&-"],
            _ => vec!["bash", "job"],
        }
    }
}

/// Runs the program once, and looks.
pub(crate) fn see(world: &World, engine: Engine, setting: Setting, deed: &Deed) -> Seen {
    for file in ["ready", "pid", "files", "go", "code"] {
        let _ = fs::remove_file(world.path("p").join(file));
    }
    write_job(world, engine, deed);
    let mut seen = match setting.has_terminal() {
        true => typed::see(world, engine, setting, deed),
        false => piped::see(world, setting, deed),
    };
    seen.note("files", fs::read(world.path("p/files")).unwrap_or_default());
    seen
}

/// The program as a file, so that every setting can start it by a name. It becomes the program: same process.
fn write_job(world: &World, engine: Engine, deed: &Deed) {
    let mut words = engine.prefix(world);
    words.extend(["bash", "-c"].map(OsString::from));
    words.push(deed.script().into());
    words.push("job".into());
    words.extend(deed.arguments());
    let mut text = b"cd ".to_vec();
    text.extend(quoted(world.path("p").as_os_str().as_bytes()));
    text.extend(b" && echo $$ >pid && export LC_ALL=C.UTF-8 VMCLAUDE_WARM_START=1 HOME=");
    text.extend(quoted(world.path("home").as_os_str().as_bytes()));
    text.extend(b" && exec");
    for word in words {
        text.push(b' ');
        text.extend(quoted(word.as_bytes()));
    }
    text.push(b'\n');
    world.write("p/job", text);
    world.write("out/rules", "all:\n\t@bash job\n");
}

/// A word for a shell.
pub(crate) fn quoted(word: &[u8]) -> Vec<u8> {
    let mut text = b"'".to_vec();
    for byte in word {
        match byte {
            b'\'' => text.extend(b"'\\''"),
            _ => text.push(*byte),
        }
    }
    text.push(b'\'');
    text
}
