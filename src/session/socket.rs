//! Sockets inside a session's private directory, whatever the length of its path, between processes of the same user.

use crate::error::{Context, Failure, Result};
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// Listens at `name` in `dir`. A socket that is there already, from an earlier try of this session, is replaced.
pub(crate) fn listen(dir: &Path, name: &str) -> Result<UnixListener> {
    let what = || format!("cannot listen in {}", dir.display());
    let opened = File::open(dir).what(what)?;
    let _ = std::fs::remove_file(dir.join(name));
    let path = short(&opened, dir, name);
    let listener = UnixListener::bind(&path).what(what)?;
    // Whatever the umask: the directory keeps others out, and so does the socket.
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).what(what)?;
    Ok(listener)
}

/// Connects to the socket `name` in `dir`, if it is served by a process of ours; that process's number comes with it.
pub(crate) fn connect(dir: &Path, name: &str) -> Result<(UnixStream, Option<i32>)> {
    let what = || format!("cannot reach {}", dir.join(name).display());
    let opened = File::open(dir).what(what)?;
    let stream = UnixStream::connect(short(&opened, dir, name)).what(what)?;
    let (uid, pid) = peer(&stream).what(what)?;
    match uid == nix::unistd::geteuid().as_raw() {
        true => Ok((stream, pid)),
        false => Err(Failure::refused(what()).because(format!("it is served by user {uid}"))),
    }
}

/// A path through the descriptor, because a socket's own path may have 107 bytes only.
#[cfg(target_os = "linux")]
fn short(opened: &File, _: &Path, name: &str) -> PathBuf {
    use std::os::fd::AsRawFd;
    format!("/proc/self/fd/{}/{name}", opened.as_raw_fd()).into()
}

#[cfg(not(target_os = "linux"))]
fn short(_: &File, dir: &Path, name: &str) -> PathBuf {
    dir.join(name)
}

/// User and process at the other end.
#[cfg(target_os = "linux")]
fn peer(stream: impl AsFd) -> nix::Result<(u32, Option<i32>)> {
    let peer = nix::sys::socket::getsockopt(&stream.as_fd(), nix::sys::socket::sockopt::PeerCredentials)?;
    Ok((peer.uid(), Some(peer.pid())))
}

#[cfg(not(target_os = "linux"))]
fn peer(stream: impl AsFd) -> nix::Result<(u32, Option<i32>)> {
    Ok((nix::unistd::getpeereid(stream.as_fd())?.0.as_raw(), None))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_may_be_longer_than_a_sockets() {
        let dir = tempfile::tempdir().expect("dir");
        let long = dir.path().join("d".repeat(120));
        std::fs::create_dir(&long).expect("mkdir");
        assert!(connect(&long, "s").is_err(), "nobody is there");
        let _first = listen(&long, "s").expect("listens");
        let _second = listen(&long, "s").expect("listens again");
        let (_, pid) = connect(&long, "s").expect("connects");
        assert!(pid.is_none_or(|pid| u32::try_from(pid) == Ok(std::process::id())));
    }
}
