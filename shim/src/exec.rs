//! Becoming another program: the same process, descriptors, signal dispositions and mask.

use std::ffi::{CStr, CString, OsStr};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;

/// `<pid>:<device>.<inode>,...`: this process has already become these candidates, and the last one came back to us.
pub const TRIED: &str = "VMCLAUDE_EXEC";
/// How many host claudes are running inside each other.
pub const DEPTH: &str = "VMCLAUDE_DEPTH";
/// A file's device and inode.
pub type FileId = (u64, u64);
/// Nobody nests so deep on purpose.
const DEEPEST: u32 = 20;

/// What keeps a wrapper that looks `claude` up on PATH from starting us for ever.
///
/// A wrapper that `exec`s comes back in the same process: then a candidate is taken that this process has not been yet, known by
/// the file itself, because a wrapper may have changed PATH. One that starts a child comes back deeper: then there is a limit, a
/// number and not a flag, because a host claude may well start another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guard {
    pid: u32,
    /// Candidates that this process has already become.
    pub tried: Vec<FileId>,
    depth: u32,
}

impl Guard {
    /// Reads the guard from the values of [`TRIED`] and [`DEPTH`].
    pub fn read(pid: u32, tried: Option<&[u8]>, depth: Option<&[u8]>) -> Guard {
        let text = |value| str::from_utf8(Option::unwrap_or(value, b"")).unwrap_or("");
        let ours = text(tried).split_once(':').filter(|(p, _)| p.parse() == Ok(pid)).map_or("", |(_, files)| files);
        let file =
            |word: &str| word.split_once('.').and_then(|(dev, ino)| Some((dev.parse().ok()?, ino.parse().ok()?)));
        Guard { pid, tried: ours.split(',').filter_map(file).collect(), depth: text(depth).parse().unwrap_or(0) }
    }

    /// Whether this has gone on for too long.
    pub fn is_too_deep(&self) -> bool {
        self.depth >= DEEPEST || self.tried.len() >= DEEPEST as usize
    }

    /// The variables for the program that we become, which is this file.
    pub fn next(&self, file: FileId) -> [(&'static str, String); 2] {
        // The same process coming back is not one level deeper.
        let depth = if self.tried.is_empty() { self.depth + 1 } else { self.depth };
        let all: Vec<String> = self.tried.iter().chain([&file]).map(|(dev, ino)| format!("{dev}.{ino}")).collect();
        [(TRIED, format!("{}:{}", self.pid, all.join(","))), (DEPTH, depth.to_string())]
    }
}

/// Becomes `file`; returns only when that failed. A script without a `#!` line runs in sh, as it would from a shell.
pub fn exec(file: &Path, argv: &[&CStr], env: &[&CStr]) -> io::Error {
    let Ok(path) = c_string(file.as_os_str()) else { return io::ErrorKind::InvalidInput.into() };
    let error = execve(&path, argv, env);
    if error.raw_os_error() != Some(libc::ENOEXEC) {
        return error;
    }
    let mut words = vec![c"sh", path.as_c_str()];
    words.extend(argv.iter().skip(1));
    execve(c"/bin/sh", &words, env)
}

fn execve(path: &CStr, argv: &[&CStr], env: &[&CStr]) -> io::Error {
    let list = |words: &[&CStr]| -> Vec<*const libc::c_char> {
        words.iter().map(|w| w.as_ptr()).chain(std::iter::once(ptr::null())).collect()
    };
    let (argv, env) = (list(argv), list(env));
    // SAFETY: all three are C strings, respectively lists of them that end in a null pointer; they live through the call.
    unsafe { libc::execve(path.as_ptr(), argv.as_ptr(), env.as_ptr()) };
    io::Error::last_os_error()
}

/// The environment with some variables set.
pub fn with_env(env: &[&CStr], set: &[(&str, String)]) -> io::Result<Vec<CString>> {
    let is_set = |var: &&&CStr| {
        let name = var.to_bytes().split(|b| *b == b'=').next().unwrap_or_default();
        !set.iter().any(|(n, _)| n.as_bytes() == name)
    };
    let mut all: Vec<CString> = env.iter().filter(is_set).map(|var| CString::from(*var)).collect();
    for (name, value) in set {
        all.push(c_string(OsStr::new(&format!("{name}={value}")))?);
    }
    Ok(all)
}

/// A C string of these bytes.
pub(crate) fn c_string(text: &OsStr) -> io::Result<CString> {
    CString::new(text.as_bytes()).map_err(|_| io::ErrorKind::InvalidInput.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guard_counts_candidates_in_one_process_and_levels_between_processes() {
        let first = Guard::read(7, None, None);
        assert_eq!((first.tried.len(), first.is_too_deep()), (0, false));
        assert_eq!(first.next((1, 2)), [(TRIED, "7:1.2".to_owned()), (DEPTH, "1".to_owned())]);
        let back = Guard::read(7, Some(b"7:1.2"), Some(b"1"));
        assert_eq!(back.tried, [(1, 2)]);
        assert_eq!(back.next((1, 3)), [(TRIED, "7:1.2,1.3".to_owned()), (DEPTH, "1".to_owned())]);
        let child = Guard::read(8, Some(b"7:1.2"), Some(b"1"));
        assert_eq!(child.next((1, 2)), [(TRIED, "8:1.2".to_owned()), (DEPTH, "2".to_owned())]);
        assert!(Guard::read(8, None, Some(b"20")).is_too_deep());
        let many = format!("8:{}", (0..20).map(|n| format!("1.{n}")).collect::<Vec<_>>().join(","));
        assert!(Guard::read(8, Some(many.as_bytes()), None).is_too_deep(), "new files for ever");
        assert_eq!(
            Guard::read(8, Some(b"8:x,1,.,1.y"), Some(b"\xff")),
            Guard::read(8, None, None),
            "nonsense is nothing"
        );
    }

    #[test]
    fn a_variable_that_is_set_replaces_the_old_one() {
        let env = [c"A=1", c"VMCLAUDE_DEPTH=3", c"VMCLAUDE_DEPTHS=x"];
        let all = with_env(&env, &[(DEPTH, "4".to_owned())]).unwrap();
        let all: Vec<_> = all.iter().map(|c| c.to_str().unwrap()).collect();
        assert_eq!(all, ["A=1", "VMCLAUDE_DEPTHS=x", "VMCLAUDE_DEPTH=4"]);
    }
}
