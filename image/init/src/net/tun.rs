//! The interface that leads to us: everything that is not TCP goes through it.

use crate::sys;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;

/// The interface's name in the guest.
pub(super) const NAME: &str = "vm0";
/// `_IOW('T', 202, int)` of linux/if_tun.h.
const TUNSETIFF: libc::c_ulong = 0x4004_54ca;

/// Makes the interface; one read or write is one packet. Says its index too.
pub(super) fn open() -> io::Result<(File, u32)> {
    let device = std::path::Path::new("/dev/net/tun");
    let file = File::options().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(device);
    let file = file.map_err(|e| sys::at("cannot open", device, e))?;
    // SAFETY: an ifreq is plain data for which all zeroes is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(NAME.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short;
    // SAFETY: TUNSETIFF reads and writes an ifreq, which lives through the call.
    if unsafe { libc::ioctl(file.as_raw_fd(), TUNSETIFF as _, &raw mut request) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok((file, nix::net::if_::if_nametoindex(NAME)?))
}
