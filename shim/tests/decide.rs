//! The table of the decision, one test per cell: path (the same, another) by identity (the same, another, unknown).

use std::path::{Path, PathBuf};
use vmclaude_shim::decide::Chain;
use vmclaude_shim::registry::{Entry, render};
use vmclaude_shim::{Identity, Place, Refusal, Registry, Tree, Verdict, decide};

fn id(ino: u64) -> Identity {
    Identity { fs: 7, ino, birth: 1_000_000 + ino }
}

fn registry(entries: &[(&str, Identity)]) -> Registry {
    let entries: Vec<Entry> = entries.iter().map(|(p, i)| Entry { identity: *i, path: PathBuf::from(p) }).collect();
    Registry::parse(render(&entries)).expect("what we write we can read")
}

/// A chain whose directories have the identities that `of` gives them.
fn chain(path: &str, of: impl Fn(&str) -> Result<Identity, String>) -> Chain {
    let levels = Path::new(path).ancestors().filter(|p| p.parent().is_some());
    let levels = levels.map(|p| (p.to_path_buf(), of(p.to_str().expect("text")))).collect();
    Chain { path: path.into(), levels }
}

/// Identities that nobody has enrolled, except those that are named.
fn with<'a>(known: &'a [(&'a str, Identity)]) -> impl Fn(&str) -> Result<Identity, String> + 'a {
    |path| Ok(known.iter().find(|(p, _)| *p == path).map_or(id(9_000 + path.len() as u64), |(_, i)| *i))
}

fn at(path: &str, known: &[(&str, Identity)]) -> Place {
    Place { physical: Some(chain(path, with(known))), logical: None }
}

fn vm(root: &str, rest: &str, moved_from: Option<&str>) -> Verdict {
    Verdict::Vm(Tree { root: root.into(), rest: rest.into(), moved_from: moved_from.map(PathBuf::from) })
}

fn host() -> Verdict {
    Verdict::Host { below: None }
}

#[test]
fn same_path_same_identity_is_the_vm() {
    let r = registry(&[("/a/p", id(1))]);
    assert_eq!(decide(Some(&r), &at("/a/p", &[("/a/p", id(1))])), vm("/a/p", "", None));
    assert_eq!(decide(Some(&r), &at("/a/p/x/y", &[("/a/p", id(1))])), vm("/a/p", "x/y", None));
}

#[test]
fn same_path_other_identity_is_refused() {
    let r = registry(&[("/a/p", id(1))]);
    for place in [at("/a/p", &[]), at("/a/p/x", &[])] {
        assert_eq!(decide(Some(&r), &place), Verdict::Refuse(Refusal::Replaced { root: "/a/p".into() }));
    }
}

#[test]
fn same_path_unknown_identity_is_refused() {
    let r = registry(&[("/a/p", id(1))]);
    let place = Place { physical: Some(chain("/a/p", |_| Err("no".to_owned()))), logical: None };
    assert!(matches!(decide(Some(&r), &place), Verdict::Refuse(Refusal::Unknown { .. })));
}

#[test]
fn other_path_same_identity_is_the_vm_where_it_is_now() {
    let r = registry(&[("/a/p", id(1))]);
    assert_eq!(decide(Some(&r), &at("/b/q/x", &[("/b/q", id(1))])), vm("/b/q", "x", Some("/a/p")));
}

#[test]
fn other_path_other_identity_is_the_host() {
    let r = registry(&[("/a/p", id(1))]);
    assert_eq!(decide(Some(&r), &at("/b/q", &[])), host());
}

#[test]
fn other_path_unknown_identity_is_refused_because_it_may_be_a_moved_tree() {
    let r = registry(&[("/a/p", id(1))]);
    let closed = |p: &str| if p == "/b" { Err("Permission denied".to_owned()) } else { Ok(id(50)) };
    let place = Place { physical: Some(chain("/b/q", closed)), logical: None };
    assert!(
        matches!(decide(Some(&r), &place), Verdict::Refuse(Refusal::Unknown { path, .. }) if path == Path::new("/b"))
    );
}

#[test]
fn a_tree_that_took_the_place_of_another_is_refused() {
    let r = registry(&[("/a", id(1)), ("/b", id(2))]);
    assert!(matches!(decide(Some(&r), &at("/a", &[("/a", id(2))])), Verdict::Refuse(Refusal::Replaced { .. })));
}

#[test]
fn prefixes_are_by_components_in_both_directions() {
    let r = registry(&[("/a/p", id(1))]);
    for outside in ["/a/p-evil", "/a/pp/x", "/a", "/a/P", "/p", "/x/a/p"] {
        assert!(matches!(decide(Some(&r), &at(outside, &[])), Verdict::Host { .. }), "{outside}");
    }
    assert_eq!(decide(Some(&registry(&[("/a/p-evil", id(1))])), &at("/a/p", &[])), host(), "nothing is below");
}

#[test]
fn the_nearest_tree_wins_whatever_the_order_of_the_lines() {
    let (outer, inner) = (("/a", id(1)), ("/a/b/c", id(2)));
    for r in [registry(&[outer, inner]), registry(&[inner, outer])] {
        assert_eq!(decide(Some(&r), &at("/a/b/c/d", &[outer, inner])), vm("/a/b/c", "d", None));
        assert_eq!(decide(Some(&r), &at("/a/b/x", &[outer, inner])), vm("/a", "b/x", None));
        let replaced = decide(Some(&r), &at("/a/b/c", &[outer]));
        assert!(matches!(replaced, Verdict::Refuse(Refusal::Replaced { .. })), "a replaced one is not its parent's");
    }
}

#[test]
fn a_weak_identity_is_only_good_at_its_own_path() {
    let weak = Identity { fs: 0, ino: 1, birth: 0 };
    let r = registry(&[("/mnt/fuse", weak)]);
    assert_eq!(decide(Some(&r), &at("/mnt/fuse/x", &[("/mnt/fuse", weak)])), vm("/mnt/fuse", "x", None));
    assert_eq!(decide(Some(&r), &at("/mnt/other", &[("/mnt/other", weak)])), host());
}

#[test]
fn another_file_system_id_with_the_same_birth_is_the_same_directory_at_its_path_only() {
    let r = registry(&[("/a/p", id(1))]);
    let rebooted = Identity { fs: 8, ..id(1) };
    assert_eq!(decide(Some(&r), &at("/a/p", &[("/a/p", rebooted)])), vm("/a/p", "", None));
    assert_eq!(decide(Some(&r), &at("/b/p", &[("/b/p", rebooted)])), host());
}

#[test]
fn a_deleted_directory_is_refused_if_anything_is_enrolled() {
    let nowhere = Place::default();
    assert_eq!(decide(None, &nowhere), host());
    assert_eq!(decide(Some(&registry(&[])), &nowhere), host());
    assert_eq!(decide(Some(&registry(&[("/a", id(1))])), &nowhere), Verdict::Refuse(Refusal::NoDirectory));
}

#[test]
fn a_link_out_of_a_tree_is_refused_and_one_into_a_tree_is_the_vm() {
    let r = registry(&[("/a/p", id(1))]);
    let known = [("/a/p", id(1))];
    let out = Place { physical: Some(chain("/outside", with(&[]))), logical: Some(chain("/a/p/link", with(&known))) };
    assert!(matches!(decide(Some(&r), &out), Verdict::Refuse(Refusal::LedOut { .. })));
    let into = Place { physical: Some(chain("/a/p/x", with(&known))), logical: Some(chain("/link", with(&[]))) };
    assert_eq!(decide(Some(&r), &into), vm("/a/p", "x", None));
    let both_out = Place { physical: Some(chain("/outside", with(&[]))), logical: Some(chain("/link", with(&[]))) };
    assert_eq!(decide(Some(&r), &both_out), host());
}

#[test]
fn above_a_tree_the_host_runs_and_is_told() {
    let r = registry(&[("/a/b/p", id(1))]);
    assert_eq!(decide(Some(&r), &at("/a", &[])), Verdict::Host { below: Some("/a/b/p".into()) });
}

#[test]
fn odd_names_match_themselves_only() {
    let odd = "/a/ü \\0a,:'\"\t%/p";
    let r = registry(&[(odd, id(1))]);
    assert_eq!(decide(Some(&r), &at(odd, &[(odd, id(1))])), vm(odd, "", None));
    assert_eq!(decide(Some(&r), &at("/a/ü \n,:'\"\t%/p", &[])), host());
}
