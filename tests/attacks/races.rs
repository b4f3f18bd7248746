//! Swaps of directories and links while a project's file is read, its mounts are resolved and opened, and files are restored.

use crate::config::{Place, asking};
use sha2::{Digest, Sha256};
use std::fs;
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use vmclaude::tripwire::change::Change;
use vmclaude::tripwire::classes::Side;
use vmclaude::tripwire::restore;
use vmclaude::tripwire::store::Store;
use vmclaude::tripwire::walk::Entry;

/// Swaps in all, and again with `--full`.
fn swaps() -> usize {
    if crate::support::full() { 100_000 } else { 10_000 }
}

/// Exchanges `a` and `b` over and over, until it is told to stop.
fn exchanger(a: &Path, b: &Path) -> (Arc<AtomicBool>, std::thread::JoinHandle<usize>) {
    let (a, b, stop) = (a.to_path_buf(), b.to_path_buf(), Arc::new(AtomicBool::new(false)));
    let told = stop.clone();
    let thread = std::thread::spawn(move || {
        let mut n = 0;
        let dir = nix::fcntl::AT_FDCWD;
        while !told.load(Ordering::Relaxed) || n < swaps() {
            nix::fcntl::renameat2(dir, &a, dir, &b, nix::fcntl::RenameFlags::RENAME_EXCHANGE).expect("exchange");
            n += 1;
        }
        n
    });
    (stop, thread)
}

/// A mount whose directory is exchanged for a link to a secret: what is opened with the identity that was resolved is the
/// directory or nothing.
#[test]
fn a_mount_that_is_swapped_is_never_another_directory() {
    let place = Place::new();
    let (good, evil, secret) = (place.dir("data"), place.root.join("evil"), place.dir("secret"));
    fs::write(secret.join("key"), "key").expect("write");
    symlink(&secret, &evil).expect("ln");
    place.file(&format!("[request]\nmounts = [{{ host = '{}', guest = '/mnt/d' }}]\n", good.display()));
    let approved = asking(&place).expect("read").expect("a file").now.expect("resolved");
    let approval = approved.1;
    let (stop, thread) = exchanger(&good, &evil);
    let (mut same, mut other) = (0, 0);
    for _ in 0..swaps() / 4 {
        let Ok((resolved, digest)) = asking(&place).expect("read").expect("a file").now else { continue };
        let extra = &resolved.mounts[0].0;
        if digest != approval {
            other += 1; // Off: whatever it is, nobody approved it.
            continue;
        }
        same += 1;
        assert_eq!(extra.host, good);
        // As a session opens it: the directory by that identity, never through a link.
        let open = fs::File::options().read(true).custom_flags(libc_flags()).open(&extra.host);
        let Ok(open) = open else { continue };
        let meta = open.metadata().expect("stat");
        let is = (std::os::unix::fs::MetadataExt::dev(&meta), std::os::unix::fs::MetadataExt::ino(&meta));
        if is == (extra.identity.dev, extra.identity.ino) {
            assert!(
                !Path::new(&format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&open))).join("key").exists()
            );
        }
    }
    stop.store(true, Ordering::Relaxed);
    let swapped = thread.join().expect("the exchanger");
    println!("{swapped} swaps: {same} the same, {other} another");
    assert!(swapped >= swaps() && same > 0 && other > 0, "{swapped} swaps, {same} {other}: the race was not one");
}

/// The file itself, exchanged for a link to another one: never read through the link.
#[test]
fn a_file_that_is_swapped_for_a_link_is_never_read_through_it() {
    let place = Place::new();
    place.file("[limit]\ncpus = 1\n");
    let file = place.project.join(".vmclaude.toml");
    let evil = place.project.join("evil");
    fs::write(place.root.join("elsewhere"), "[request]\nenv = ['EDITOR']\n").expect("write");
    symlink(place.root.join("elsewhere"), &evil).expect("ln");
    let (stop, thread) = exchanger(&file, &evil);
    let (mut read, mut refused) = (0, 0);
    for _ in 0..swaps() / 2 {
        match asking(&place) {
            Ok(Some(asked)) => {
                assert!(asked.wishes.request.is_empty(), "it was read through the link");
                read += 1;
            }
            Ok(None) => panic!("it is always there"),
            Err(failure) => {
                assert_eq!(failure.code, 78);
                refused += 1;
            }
        }
    }
    stop.store(true, Ordering::Relaxed);
    assert!(thread.join().expect("the exchanger") >= swaps() && read > 0 && refused > 0, "{read} {refused}");
}

/// The directory of a file that is put back, exchanged for a link out of the project: the file is put back beneath the project or
/// not at all, and nothing is ever written, replaced or removed where the link leads.
#[test]
fn a_directory_that_is_swapped_for_a_link_is_never_restored_through() {
    let place = Place::new();
    let (good, evil, out) = (place.project.join("sub"), place.project.join("evil"), place.dir("out"));
    fs::create_dir(&good).expect("mkdir");
    symlink(&out, &evil).expect("ln");
    fs::write(out.join("file"), "precious").expect("write");
    let store = Store::open(&place.root.join("state"), "1:2:3").expect("store");
    let sha = hex(&Sha256::digest("was"));
    store.keep(&sha, b"was");
    let entry = Entry { why: String::new(), kind: "file".into(), mode: 0o600, sha: Some(sha), stamp: [0; 6] };
    let change = |before: Option<&Entry>, after: Option<&Entry>, path: &str| Change {
        side: Side::Project,
        path: path.into(),
        before: before.cloned(),
        after: after.cloned(),
        put_back: false,
    };
    let put = [change(Some(&entry), None, "sub/file"), change(Some(&entry), None, "sub/new")];
    let removed = change(None, Some(&entry), "sub/file");
    let root = fs::File::open(&place.project).expect("open");
    let (stop, thread) = exchanger(&good, &evil);
    let (mut done, mut refused) = (0, 0);
    while done + refused < swaps() / 2 || done == 0 || refused == 0 {
        for change in put.iter().chain([&removed]) {
            match restore(&store, &root, change) {
                Ok(()) => done += 1,
                Err(_) => refused += 1,
            }
        }
        assert_eq!(fs::read(out.join("file")).expect("it is there"), b"precious");
    }
    stop.store(true, Ordering::Relaxed);
    let swapped = thread.join().expect("the exchanger");
    println!("{swapped} swaps: {done} put back, {refused} refused");
    assert_eq!(fs::read_dir(&out).expect("list").count(), 1, "nothing else came there, by whatever name");
    assert!(swapped >= swaps());
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn libc_flags() -> i32 {
    (nix::fcntl::OFlag::O_DIRECTORY | nix::fcntl::OFlag::O_NOFOLLOW).bits()
}
