//! What a session starts: programs, their arguments and the descriptors that they inherit. Data only.

use super::apple::Container;
use crate::plan::Identity;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The first descriptor number that a program of ours inherits; the others follow in order.
pub const FIRST_FD: i32 = 200;

/// What carries out a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Launch {
    /// A machine of QEMU's.
    Qemu(Qemu),
    /// A container of Apple's. What it is told follows from this and the session's place
    /// ([`apple::run`](super::apple::run)).
    Apple(Container),
}

/// The processes of one run with QEMU, in the order in which they start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Qemu {
    /// Serves the plan's directories; `None` where there are none.
    pub share: Option<Program>,
    /// The virtual machine, from power-on.
    pub machine: Program,
    /// How to come by a copy of a saved machine instead; `None`: not wanted.
    pub warm: Option<Box<Warm>>,
}

/// A faster way to the same machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warm {
    /// The template: a saved machine in a file, which may not be there yet.
    pub template: PathBuf,
    /// The one that would fit this command best; another one than `template` as long as it is not there.
    pub best: PathBuf,
    /// The virtual machine, from the template.
    pub machine: Program,
}

/// One process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// Absolute path.
    pub path: PathBuf,
    /// Arguments after the program's name.
    pub args: Vec<OsString>,
    /// Inherited descriptors: [`FIRST_FD`], the next, and so on.
    pub fds: Vec<Source>,
    /// The whole environment.
    pub env: Vec<(OsString, OsString)>,
}

impl Program {
    /// A program without arguments, descriptors and environment.
    pub fn new(path: &Path) -> Program {
        Program { path: path.to_path_buf(), args: Vec::new(), fds: Vec::new(), env: Vec::new() }
    }

    /// Adds an inherited descriptor and says how the program can open it again by path.
    pub fn inherit(&mut self, source: Source) -> String {
        format!("/proc/self/fd/{}", self.inherit_fd(source))
    }

    /// Adds an inherited descriptor and says its number.
    pub fn inherit_fd(&mut self, source: Source) -> i32 {
        self.fds.push(source);
        FIRST_FD + i32::try_from(self.fds.len()).unwrap_or(i32::MAX - FIRST_FD) - 1
    }
}

/// What an inherited descriptor is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The wire's far end.
    Wire,
    /// A file, opened for reading only.
    File(PathBuf),
    /// The machine's memory: so many MiB, in a file without a name.
    Memory(u64),
    /// The connection by which the machine's program is controlled.
    Control,
    /// A private copy of this sparse file, for reading and writing, without a name: it vanishes with the process.
    Scratch(PathBuf),
    /// The project's volume, for reading and writing: locked by whoever starts the machine, which then holds the lock too.
    Volume(PathBuf),
    /// A directory by itself, without the right to read it; it must still be the one that was decided upon.
    Dir(PathBuf, Option<Identity>),
    /// The session's private directory.
    RunDir,
    /// The socket on which the share server listens for the machine.
    ShareListener,
    /// The socket on which the share server tells what the guest knows, and is told what the host does.
    ShareEvents,
}
