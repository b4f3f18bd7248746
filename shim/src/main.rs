//! The `claude` that is first on PATH: decides, then becomes the host's claude or vmclaude.
//!
//! No Rust runtime (`no_main`): it would ignore SIGPIPE and reopen closed descriptors, and the host's claude would inherit
//! that. The same file under the name `where` prints the enrolled tree, for the prompt; under the name `wrapper` it decides
//! for an editor, which names its own claude in the first word.
#![no_main]

use std::ffi::{CStr, CString, OsStr};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use vmclaude_shim::exec::{DEPTH, Guard, TRIED, exec, with_env};
use vmclaude_shim::find::{Search, find_host_claude, vmclaude};
use vmclaude_shim::refusal::shown;
use vmclaude_shim::{Place, Refusal, Registry, Verdict, add_dir, decide};

const USAGE: u8 = 64;
const LOOP: u8 = 70;
const NOT_EXECUTABLE: u8 = 126;
const NOT_FOUND: u8 = 127;

/// What the process was given.
struct Start<'a> {
    argv: Vec<&'a CStr>,
    env: Vec<&'a CStr>,
}

/// Which of our names the file has, and whose registry is meant.
struct Seat {
    state: PathBuf,
    role: Role,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    /// `shims/claude`, first on PATH.
    Claude,
    /// `where`: says the tree and runs nothing.
    Where,
    /// `wrapper`: its first word is the host's claude, as an editor knows it.
    Wrapper,
}

/// Called by the C library.
#[unsafe(no_mangle)]
extern "C" fn main(_: libc::c_int, argv: *const *const libc::c_char, env: *const *const libc::c_char) -> libc::c_int {
    // SAFETY: the C library passes two lists of C strings that end in a null pointer and live as long as the process.
    let start = unsafe { Start { argv: words(argv), env: words(env) } };
    i32::from(run(&start))
}

/// # Safety
/// `list` is null or a list of C strings that ends in a null pointer; all of it outlives `'a` unchanged.
unsafe fn words<'a>(list: *const *const libc::c_char) -> Vec<&'a CStr> {
    let mut all = Vec::new();
    let mut at = list;
    // SAFETY: the caller's promise; `at` stops at the list's null pointer.
    while let Some(word) = unsafe { at.as_ref() }.filter(|word| !word.is_null()) {
        // SAFETY: the caller's promise: a C string. The null pointer is not passed, so `at` stays in the list.
        unsafe {
            all.push(CStr::from_ptr(*word));
            at = at.add(1);
        }
    }
    all
}

impl Start<'_> {
    fn var(&self, name: &str) -> Option<&OsStr> {
        let value = |var: &&CStr| -> Option<usize> {
            let rest = var.to_bytes().strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
            Some(var.to_bytes().len() - rest.len())
        };
        let var = self.env.iter().find(|var| value(var).is_some())?;
        Some(OsStr::from_bytes(&var.to_bytes()[name.len() + 1..]))
    }
}

fn run(start: &Start<'_>) -> u8 {
    let seat = match seat() {
        Ok(seat) => seat,
        Err(path) => return refuse(&Refusal::Misplaced { path }),
    };
    let registry = match Registry::read(&seat.state) {
        Ok(registry) => registry,
        Err(refusal) => return refuse(&refusal),
    };
    #[allow(clippy::disallowed_methods)] // the shim is a program of its own and has no Host to read
    let cwd = std::env::current_dir().ok();
    // Claude's own words: an editor puts its program in front of them.
    let words = start.argv.get(if seat.role == Role::Wrapper { 2 } else { 1 }..).unwrap_or_default();
    match decide(registry.as_ref(), &Place::here(cwd, start.var("PWD"))) {
        Verdict::Refuse(refusal) => refuse(&refusal),
        Verdict::Vm(tree) if seat.role == Role::Where => say_tree(&tree.root),
        Verdict::Host { .. } if seat.role == Role::Where => 0,
        Verdict::Vm(_) => become_vmclaude(start, &seat.state, words),
        Verdict::Host { below } => {
            let args: Vec<&[u8]> = words.iter().map(|arg| arg.to_bytes()).collect();
            if let Some(refusal) = add_dir::refused(registry.as_ref(), start.var("HOME"), &args) {
                return refuse(&refusal);
            }
            if let Some(below) = below {
                notice(&add_dir::notice(&below));
            }
            match seat.role {
                Role::Wrapper => become_named(start),
                _ => become_host(start, &seat.state, registry.as_ref()),
            }
        }
    }
}

/// From the file that is running, never from a variable or from `argv[0]`: those can be anything.
fn seat() -> Result<Seat, PathBuf> {
    let own = own_file().unwrap_or_default();
    let name = own.file_name();
    let up = own.parent().unwrap_or(Path::new(""));
    match up.parent() {
        _ if name == Some(OsStr::new("where")) => Ok(Seat { state: up.to_path_buf(), role: Role::Where }),
        _ if name == Some(OsStr::new("wrapper")) => Ok(Seat { state: up.to_path_buf(), role: Role::Wrapper }),
        Some(state) if name == Some(OsStr::new("claude")) && up.file_name() == Some(OsStr::new("shims")) => {
            Ok(Seat { state: state.to_path_buf(), role: Role::Claude })
        }
        _ => Err(own),
    }
}

/// The path that was executed, links resolved. The kernel's own note of it first: unlike `/proc/self/exe` it is still true
/// while an upgrade replaces the file.
#[cfg(target_os = "linux")]
fn own_file() -> Option<PathBuf> {
    // SAFETY: getauxval has no preconditions; for AT_EXECFN it returns 0 or the address of a C string of the process.
    let name = unsafe { libc::getauxval(libc::AT_EXECFN) } as *const libc::c_char;
    // SAFETY: not null, so it is that C string.
    let noted = (!name.is_null()).then(|| unsafe { CStr::from_ptr(name) });
    let noted = noted.and_then(|name| std::fs::canonicalize(OsStr::from_bytes(name.to_bytes())).ok());
    noted.or_else(|| std::fs::read_link("/proc/self/exe").ok())
}

#[cfg(target_os = "macos")]
#[allow(deprecated)] // in favour of a crate that we would need for this one function
fn own_file() -> Option<PathBuf> {
    let mut buf = vec![0u8; libc::PATH_MAX as usize];
    let mut len = buf.len() as u32;
    // SAFETY: the buffer has the length that `len` says.
    let rc = unsafe { libc::_NSGetExecutablePath(buf.as_mut_ptr().cast(), &raw mut len) };
    let name = CStr::from_bytes_until_nul(&buf).ok().filter(|_| rc == 0)?;
    std::fs::canonicalize(OsStr::from_bytes(name.to_bytes())).ok()
}

fn become_host(start: &Start<'_>, state: &Path, registry: Option<&Registry>) -> u8 {
    let bytes = |name| start.var(name).map(OsStr::as_bytes);
    let guard = Guard::read(std::process::id(), bytes(TRIED), bytes(DEPTH));
    let search = Search { path: start.var("PATH"), home: start.var("HOME"), state, registry };
    let Some((file, id)) = find_host_claude(&search, &guard.tried).filter(|_| !guard.is_too_deep()) else {
        return no_host(&guard);
    };
    let env = match with_env(&start.env, &guard.next(id)) {
        Ok(env) => env,
        Err(error) => return complain(NOT_EXECUTABLE, "cannot set the environment", &error.to_string(), "env | less"),
    };
    let env: Vec<&CStr> = env.iter().map(CString::as_c_str).collect();
    let error = exec(&file, &start.argv, &env);
    let what = format!("cannot execute the host's claude, {}", shown(&file));
    complain(NOT_EXECUTABLE, &what, &error.to_string(), &format!("ls -l {}", shown(&file)))
}

/// The program that an editor named, as if we had not stood before it.
fn become_named(start: &Start<'_>) -> u8 {
    let Some(program) = start.argv.get(1).map(|word| Path::new(OsStr::from_bytes(word.to_bytes()))) else {
        let why = "its first word must be the editor's own claude, as claudeCode.claudeProcessWrapper has it";
        return complain(USAGE, "the wrapper was given no program", why, "claude");
    };
    let error = exec(program, &start.argv[1..], &start.env);
    let code = if error.kind() == std::io::ErrorKind::NotFound { NOT_FOUND } else { NOT_EXECUTABLE };
    let what = format!("cannot execute the editor's claude, {}", program.display());
    complain(code, &what, &error.to_string(), &format!("ls -l {}", program.display()))
}

fn no_host(guard: &Guard) -> u8 {
    if !guard.tried.is_empty() || guard.is_too_deep() {
        let why = "each one that was found only looks for claude on PATH again";
        return complain(LOOP, "cannot find the host's claude", why, "type -a claude");
    }
    let why = "it is neither on PATH nor in the usual places (relative entries and enrolled directories do not count)";
    complain(NOT_FOUND, "there is no claude on this host", why, "curl -fsSL https://claude.ai/install.sh | bash")
}

fn become_vmclaude(start: &Start<'_>, state: &Path, words: &[&CStr]) -> u8 {
    let next = "install vmclaude again, or vmclaude enroll . when it has moved";
    let file = match vmclaude(state) {
        Ok(file) => file,
        Err(why) => return complain(NOT_FOUND, "vmclaude is missing: refusing to run claude", &why, next),
    };
    let Ok(state) = CString::new(state.as_os_str().as_bytes()) else { return Refusal::EXIT };
    let mut argv = vec![c"vmclaude", c"route", c"--state", state.as_c_str(), c"--"];
    argv.extend(words);
    let error = exec(&file, &argv, &start.env);
    let code = if error.kind() == std::io::ErrorKind::NotFound { NOT_FOUND } else { NOT_EXECUTABLE };
    let why = format!("{}: {error}", shown(&file));
    complain(code, "vmclaude is missing: refusing to run claude on the host", &why, next)
}

fn say_tree(root: &Path) -> u8 {
    let mut line = root.as_os_str().as_bytes().to_vec();
    line.push(b'\n');
    u8::from(std::io::stdout().write_all(&line).is_err())
}

fn refuse(refusal: &Refusal) -> u8 {
    let _ = writeln!(std::io::stderr(), "{refusal}");
    Refusal::EXIT
}

fn complain(code: u8, what: &str, because: &str, next: &str) -> u8 {
    let _ = writeln!(std::io::stderr(), "vmclaude: {what}\n  because {because}\n  try: {next}");
    code
}

/// Only where a person reads it: a program's stderr is not ours.
fn notice(text: &str) {
    // SAFETY: isatty takes any number.
    if unsafe { libc::isatty(2) } == 1 {
        let _ = std::io::stderr().write_all(text.as_bytes());
    }
}
