//! What a single request may ask for, whatever file it is about. The guard's other half, which does not need a table.

use std::ffi::CStr;
use std::io;

const SET_ID: u32 = libc::S_ISUID | libc::S_ISGID;
/// `O_TMPFILE` without the `O_DIRECTORY` that is part of it.
const UNNAMED: i32 = libc::O_TMPFILE & !libc::O_DIRECTORY;

pub(super) fn errno(code: i32) -> io::Error {
    io::Error::from_raw_os_error(code)
}

/// Refuses every name that could mean something else than an entry of its directory.
pub(super) fn one_component(name: &CStr) -> io::Result<()> {
    match name.to_bytes() {
        b"" | b"." | b".." => Err(errno(libc::EINVAL)),
        name if name.contains(&b'/') => Err(errno(libc::EINVAL)),
        _ => Ok(()),
    }
}

/// Refuses to make anything but a regular file, a pipe or a socket.
pub(super) fn kind(mode: u32) -> io::Result<()> {
    match mode & libc::S_IFMT {
        0 | libc::S_IFREG | libc::S_IFIFO | libc::S_IFSOCK => Ok(()),
        _ => Err(errno(libc::EPERM)),
    }
}

/// Refuses flags of renameat2(2) other than those two: `RENAME_WHITEOUT` would leave a character device behind.
pub(super) fn rename_flags(flags: u32) -> io::Result<()> {
    if flags & !(libc::RENAME_NOREPLACE | libc::RENAME_EXCHANGE) == 0 { Ok(()) } else { Err(errno(libc::EINVAL)) }
}

/// The mode that a file, or a directory, may be given.
pub(super) fn mode(mode: u32, directory: bool) -> u32 {
    mode & !if directory { libc::S_ISUID } else { SET_ID }
}

/// Whether `mode` names a bit that [`mode`] might take away.
pub(super) fn asks_for_set_id(mode: u32) -> bool {
    mode & SET_ID != 0
}

/// Whether opening with these flags of open(2) is a change.
///
/// # Errors
/// `EINVAL` for flags that the guest's kernel keeps to itself: with them an open could make a file, or be no open at all.
pub(super) fn open_changes(flags: u32) -> io::Result<bool> {
    let flags = flags.cast_signed();
    if flags & (libc::O_CREAT | libc::O_PATH | UNNAMED) != 0 {
        return Err(errno(libc::EINVAL));
    }
    Ok(flags & libc::O_ACCMODE != libc::O_RDONLY || flags & libc::O_TRUNC != 0)
}

/// The same for the flags of a create, which may say `O_CREAT`.
///
/// # Errors
/// `EINVAL`, as for [`open_changes`].
pub(super) fn create_flags(flags: u32) -> io::Result<()> {
    open_changes(flags & !libc::O_CREAT.cast_unsigned()).map(|_| ())
}
