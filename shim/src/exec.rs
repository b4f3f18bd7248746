//! Becoming another program: the same process, descriptors, signal dispositions and mask.

use std::ffi::{CStr, CString, OsStr};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;

/// `<pid>:<n>`: this process has already become `n` candidates, and the last one came back to us.
pub const TRIED: &str = "VMCLAUDE_EXEC";
/// How many host claudes are running inside each other.
pub const DEPTH: &str = "VMCLAUDE_DEPTH";
/// Nobody nests so deep on purpose.
const DEEPEST: u32 = 20;

/// What keeps a wrapper that looks `claude` up on PATH from starting us for ever.
///
/// A wrapper that `exec`s comes back in the same process: then the next candidate is taken. One that starts a child comes
/// back deeper: then there is a limit, a number and not a flag, because a host claude may well start another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Guard {
    pid: u32,
    /// Candidates that this process has already become.
    pub tried: usize,
    depth: u32,
}

impl Guard {
    /// Reads the guard from the values of [`TRIED`] and [`DEPTH`].
    pub fn read(pid: u32, tried: Option<&[u8]>, depth: Option<&[u8]>) -> Guard {
        let text = |value: Option<&[u8]>| std::str::from_utf8(value.unwrap_or(b"")).unwrap_or("").to_owned();
        let tried = text(tried).split_once(':').filter(|(p, _)| p.parse() == Ok(pid)).and_then(|(_, n)| n.parse().ok());
        Guard { pid, tried: tried.unwrap_or(0), depth: text(depth).parse().unwrap_or(0) }
    }

    /// Whether this has gone on for too long.
    pub fn is_too_deep(&self) -> bool {
        self.depth >= DEEPEST
    }

    /// The variables for the program that we become.
    pub fn next(&self) -> [(&'static str, String); 2] {
        // The same process coming back is not one level deeper.
        let depth = if self.tried == 0 { self.depth + 1 } else { self.depth };
        [(TRIED, format!("{}:{}", self.pid, self.tried + 1)), (DEPTH, depth.to_string())]
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
        assert_eq!((first.tried, first.is_too_deep()), (0, false));
        assert_eq!(first.next(), [(TRIED, "7:1".to_owned()), (DEPTH, "1".to_owned())]);
        let back = Guard::read(7, Some(b"7:1"), Some(b"1"));
        assert_eq!(back.tried, 1);
        assert_eq!(back.next(), [(TRIED, "7:2".to_owned()), (DEPTH, "1".to_owned())]);
        let child = Guard::read(8, Some(b"7:1"), Some(b"1"));
        assert_eq!(child.next(), [(TRIED, "8:1".to_owned()), (DEPTH, "2".to_owned())]);
        assert!(Guard::read(8, None, Some(b"20")).is_too_deep());
        assert_eq!(Guard::read(8, Some(b"8:x"), Some(b"\xff")), Guard::read(8, None, None), "nonsense is nothing");
    }

    #[test]
    fn a_variable_that_is_set_replaces_the_old_one() {
        let env = [c"A=1", c"VMCLAUDE_DEPTH=3", c"VMCLAUDE_DEPTHS=x"];
        let all = with_env(&env, &[(DEPTH, "4".to_owned())]).unwrap();
        let all: Vec<_> = all.iter().map(|c| c.to_str().unwrap()).collect();
        assert_eq!(all, ["A=1", "VMCLAUDE_DEPTHS=x", "VMCLAUDE_DEPTH=4"]);
    }
}
