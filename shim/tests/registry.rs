//! The registry's file: what is written reads back, and nothing else reads as anything.

use proptest::prelude::{Strategy, any, prop, prop_assert_eq, proptest};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use vmclaude_shim::refusal::Damage;
use vmclaude_shim::registry::{Entry, FILE, Registry, escape, render, unescape};
use vmclaude_shim::{Identity, Refusal};

fn path() -> impl Strategy<Value = PathBuf> {
    prop::collection::vec(any::<u8>().prop_filter("no zero in a path", |b| *b != 0), 0..40).prop_map(|mut bytes| {
        bytes.insert(0, b'/');
        PathBuf::from(OsString::from_vec(bytes))
    })
}

fn entry() -> impl Strategy<Value = Entry> {
    (any::<(u64, u64, u64)>(), path())
        .prop_map(|((fs, ino, birth), path)| Entry { identity: Identity { fs, ino, birth }, path })
}

proptest! {
    #[test]
    fn escapes_read_back(path in path()) {
        let text = escape(&path);
        assert!(!text.contains(&b'\n'));
        prop_assert_eq!(unescape(&text), Some(path));
    }

    #[test]
    fn only_escapes_read_back(text in prop::collection::vec(any::<u8>(), 0..20)) {
        if let Some(path) = unescape(&text) {
            prop_assert_eq!(escape(&path), text);
        }
    }

    #[test]
    fn registries_read_back(entries in prop::collection::vec(entry(), 0..20)) {
        let registry = Registry::parse(render(&entries)).expect("whole");
        prop_assert_eq!(registry.is_empty(), entries.is_empty());
        prop_assert_eq!(registry.entries().expect("ours"), entries);
    }

    #[test]
    fn any_changed_byte_is_noticed(entries in prop::collection::vec(entry(), 1..6), at in any::<prop::sample::Index>(), by in 1u8..) {
        let mut bytes = render(&entries);
        let at = at.index(bytes.len());
        bytes[at] ^= by;
        assert!(Registry::parse(bytes).is_err());
    }
}

fn some() -> Vec<u8> {
    let entry = |ino: u64, path: &str| Entry { identity: Identity { fs: 1, ino, birth: 2 }, path: path.into() };
    render(&[entry(1, "/a"), entry(2, "/b/c d"), entry(3, "/e")])
}

#[test]
fn a_file_that_was_cut_off_anywhere_is_damaged() {
    let whole = some();
    for len in 0..whole.len() {
        assert!(Registry::parse(whole[..len].to_vec()).is_err(), "{len} bytes");
    }
    assert!(Registry::parse([&whole[..], b"\n"].concat()).is_err(), "and so is one with more");
    assert!(Registry::parse([&whole[..], &whole[..]].concat()).is_err());
}

#[test]
fn another_version_is_not_read() {
    let other = String::from_utf8(some()).expect("text").replacen("registry 1", "registry 2", 1);
    assert_eq!(Registry::parse(other.into_bytes()).expect_err("unknown"), Damage::Version);
}

fn damage(state: &Path) -> Damage {
    match Registry::read(state) {
        Err(Refusal::Registry { damage, .. }) => damage,
        other => panic!("{other:?}"),
    }
}

#[test]
fn only_a_state_that_never_was_is_no_registry() {
    let dir = tempfile::tempdir().expect("tempdir");
    let state = dir.path().join("state");
    assert!(Registry::read(&state).expect("never").is_none());
    std::fs::create_dir_all(state.join("run")).expect("sessions make the directory too");
    assert!(Registry::read(&state).expect("never").is_none());
    std::fs::create_dir(state.join("shims")).expect("mkdir");
    assert_eq!(damage(&state), Damage::Missing);
    std::fs::write(state.join(FILE), "").expect("write");
    assert_eq!(damage(&state), Damage::Cut);
    std::fs::write(state.join(FILE), some()).expect("write");
    assert!(Registry::read(&state).expect("whole").is_some());
}

#[test]
fn a_registry_that_others_may_write_or_that_is_a_link_is_not_trusted() {
    let dir = tempfile::tempdir().expect("tempdir");
    let (state, file) = (dir.path(), dir.path().join(FILE));
    let mode = |path: &Path, mode| std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).expect("chmod");
    std::fs::write(&file, some()).expect("write");
    for bad in [0o620, 0o602, 0o666] {
        mode(&file, bad);
        assert_eq!(damage(state), Damage::Mode(bad));
    }
    mode(&file, 0o600);
    for bad in [0o770, 0o777, 0o1777] {
        mode(state, bad);
        assert_eq!(damage(state), Damage::Mode(bad));
    }
    mode(state, 0o700);
    assert!(Registry::read(state).is_ok());
    std::fs::rename(&file, state.join("elsewhere")).expect("mv");
    symlink("elsewhere", &file).expect("ln");
    assert!(matches!(damage(state), Damage::Unreadable(_)));
    std::fs::remove_file(&file).expect("rm");
    std::fs::create_dir(&file).expect("mkdir");
    assert!(matches!(damage(state), Damage::Unreadable(_)));
}
