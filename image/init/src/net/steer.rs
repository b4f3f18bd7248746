//! Every TCP connection that leaves the guest, handed to listeners of ours by the kernel's own socket lookup.
//!
//! A route of type `local` makes every address one of this machine's, and a small BPF program at the hook `sk_lookup` picks
//! the listener, whatever the port. Compared with address translation in the packet filter this needs no kernel module, no
//! connection tracking and no rule that a program in the guest could be in the way of; containers in the guest are caught
//! by it too, because their packets arrive here as well.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// Commands, types and helper numbers of linux/bpf.h.
const MAP_CREATE: libc::c_int = 0;
const MAP_UPDATE: libc::c_int = 2;
const PROG_LOAD: libc::c_int = 5;
const LINK_CREATE: libc::c_int = 28;
const MAP_SOCKMAP: u32 = 15;
const PROG_SK_LOOKUP: u32 = 30;
const ATTACH_SK_LOOKUP: u32 = 36;
const MAP_LOOKUP_ELEM: i32 = 1;
const SK_RELEASE: i32 = 86;
const SK_ASSIGN: i32 = 124;

/// Offsets in `struct bpf_sk_lookup`.
const FAMILY: i16 = 8;
const PROTOCOL: i16 = 12;
const LOCAL_IP4: i16 = 40;
const LOCAL_IP6: i16 = 44;

/// One instruction: operation, destination register, source register, offset, immediate.
type Insn = (u8, u8, u8, i16, i32);

const LOAD_WORD: u8 = 0x61;
const STORE_WORD: u8 = 0x63;
const LOAD_WIDE: u8 = 0x18;
const MOVE: u8 = 0xbf;
const SET: u8 = 0xb7;
const ADD: u8 = 0x07;
const AND32: u8 = 0x54;
const JUMP: u8 = 0x05;
const JUMP32_EQ: u8 = 0x16;
const JUMP32_NE: u8 = 0x56;
const CALL: u8 = 0x85;
const EXIT: u8 = 0x95;

/// Steers for as long as it lives.
pub(super) struct Steering {
    _link: OwnedFd,
}

/// Hands every connection to an address that is neither the loopback's nor `own` to one of the listeners: IPv4, IPv6.
///
/// # Errors
/// The kernel's: it may be built without this hook.
pub(super) fn steer(v4: RawFd, v6: RawFd, own: (Ipv4Addr, Ipv6Addr)) -> io::Result<Steering> {
    let map = bpf(MAP_CREATE, &[MAP_SOCKMAP, 4, 8, 2])?;
    for (key, listener) in [(0u32, v4), (1, v6)] {
        put(&map, key, listener)?;
    }
    let program = load(&program(map.as_raw_fd(), own))?;
    let namespace = std::fs::File::open("/proc/self/ns/net")?;
    let link = bpf(LINK_CREATE, &[word(program.as_raw_fd()), word(namespace.as_raw_fd()), ATTACH_SK_LOOKUP, 0])?;
    Ok(Steering { _link: link })
}

/// Jumps to `PASS` and `ASSIGN` are resolved by [`assemble`].
const PASS: i16 = i16::MAX;
const ASSIGN: i16 = i16::MAX - 1;

fn program(map: RawFd, (own4, own6): (Ipv4Addr, Ipv6Addr)) -> Vec<u8> {
    let own4 = i32::from_ne_bytes(own4.octets());
    let mut code: Vec<Insn> = vec![
        (MOVE, 6, 1, 0, 0),
        (SET, 7, 0, 0, 0),
        (LOAD_WORD, 2, 6, PROTOCOL, 0),
        (JUMP32_NE, 2, 0, PASS, libc::IPPROTO_TCP),
        (LOAD_WORD, 2, 6, FAMILY, 0),
        (JUMP32_EQ, 2, 0, 5, libc::AF_INET6),
        (LOAD_WORD, 2, 6, LOCAL_IP4, 0),
        (JUMP32_EQ, 2, 0, PASS, own4),
        (AND32, 2, 0, 0, i32::from_ne_bytes([255, 0, 0, 0])),
        (JUMP32_EQ, 2, 0, PASS, i32::from_ne_bytes([127, 0, 0, 0])),
        (JUMP, 0, 0, ASSIGN, 0),
        (SET, 7, 0, 0, 1),
    ];
    for address in [Ipv6Addr::LOCALHOST, own6] {
        // Four words that must all be equal; the first that is not leads behind the block of eight instructions.
        for (n, bytes) in (0i16..).zip(address.octets().chunks(4)) {
            let bytes = i32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
            code.push((LOAD_WORD, 2, 6, LOCAL_IP6 + 4 * n, 0));
            code.push(if n == 3 { (JUMP32_EQ, 2, 0, PASS, bytes) } else { (JUMP32_NE, 2, 0, 6 - 2 * n, bytes) });
        }
    }
    let assign = code.len();
    code.extend([
        (STORE_WORD, 10, 7, -4, 0),
        (LOAD_WIDE, 1, 1, 0, map), // source register 1: the immediate is a map's descriptor
        (0, 0, 0, 0, 0),
        (MOVE, 2, 10, 0, 0),
        (ADD, 2, 0, 0, -4),
        (CALL, 0, 0, 0, MAP_LOOKUP_ELEM),
        (0x15, 0, 0, PASS, 0), // no such listener
        (MOVE, 8, 0, 0, 0),
        (MOVE, 1, 6, 0, 0),
        (MOVE, 2, 8, 0, 0),
        (SET, 3, 0, 0, 0),
        (CALL, 0, 0, 0, SK_ASSIGN),
        (MOVE, 1, 8, 0, 0),
        (CALL, 0, 0, 0, SK_RELEASE),
        (SET, 0, 0, 0, 1),
        (EXIT, 0, 0, 0, 0),
    ]);
    assemble(&code, assign)
}

fn assemble(code: &[Insn], assign: usize) -> Vec<u8> {
    let pass = code.len() - 2;
    let distance = |from: usize, to: usize| i16::try_from(to - from - 1).unwrap_or(0);
    let mut bytes = Vec::with_capacity(code.len() * 8);
    for (at, (operation, to, from, offset, immediate)) in code.iter().enumerate() {
        let offset = match *offset {
            PASS => distance(at, pass),
            ASSIGN => distance(at, assign),
            offset => offset,
        };
        bytes.extend([*operation, from << 4 | to]);
        bytes.extend(offset.to_ne_bytes());
        bytes.extend(immediate.to_ne_bytes());
    }
    bytes
}

fn load(code: &[u8]) -> io::Result<OwnedFd> {
    let license = c"MIT";
    let mut attr = [0u32; 18];
    attr[0] = PROG_SK_LOOKUP;
    attr[1] = u32::try_from(code.len() / 8).unwrap_or(0);
    set_pointer(&mut attr[2..4], code.as_ptr().addr());
    set_pointer(&mut attr[4..6], license.as_ptr().addr());
    attr[17] = ATTACH_SK_LOOKUP; // expected_attach_type
    bpf(PROG_LOAD, &attr)
}

fn put(map: &OwnedFd, key: u32, socket: RawFd) -> io::Result<()> {
    let value = u64::from(word(socket));
    let mut attr = [0u32; 8];
    attr[0] = word(map.as_raw_fd());
    set_pointer(&mut attr[2..4], (&raw const key).addr());
    set_pointer(&mut attr[4..6], (&raw const value).addr());
    call(MAP_UPDATE, &attr).map(drop)
}

/// A command that makes a descriptor.
fn bpf(command: libc::c_int, attr: &[u32]) -> io::Result<OwnedFd> {
    let fd = call(command, attr)?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn call(command: libc::c_int, attr: &[u32]) -> io::Result<RawFd> {
    // SAFETY: the kernel reads as many bytes as it is told, and what the pointers in them name lives through the call.
    let rc = unsafe { libc::syscall(libc::SYS_bpf, command, attr.as_ptr(), size_of_val(attr)) };
    if rc < 0 { Err(io::Error::last_os_error()) } else { RawFd::try_from(rc).map_err(io::Error::other) }
}

fn set_pointer(words: &mut [u32], address: usize) {
    let bytes = (address as u64).to_ne_bytes();
    words[0] = u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    words[1] = u32::from_ne_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
}

fn word(fd: RawFd) -> u32 {
    fd.cast_unsigned()
}
