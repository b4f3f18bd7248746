//! The protected paths of a share as a tree of names: what a name in a directory means, known from where that directory is.
//!
//! Names are compared as the least discerning file system would ([`folded`]), but for those that are meant exactly.

use crate::plan::folded::folded;
use std::collections::HashMap;

/// A directory on the way to a protected path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place(usize);

/// What a name is to the protected paths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// It is one of them.
    Protected,
    /// It is a directory on the way to one.
    Way(Place),
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Places {
    steps: Vec<HashMap<Vec<u8>, Meaning>>,
    tags: HashMap<Vec<u8>, Place>,
    paths: Vec<Vec<Vec<u8>>>,
}

impl Places {
    /// The tree of these paths: (tag, path from there, whether its last name is meant in this spelling only).
    pub(super) fn new<'a>(paths: impl IntoIterator<Item = (&'a [u8], &'a [u8], bool)>) -> Places {
        let mut places = Places::default();
        for (tag, path, exact) in paths {
            let names: Vec<&[u8]> = path.split(|b| *b == b'/').filter(|name| !name.is_empty()).collect();
            places.add(tag, &names, exact);
        }
        places
    }

    fn add(&mut self, tag: &[u8], names: &[&[u8]], exact: bool) {
        let Some((last, way)) = names.split_last() else { return };
        let mut at = match self.tags.get(tag) {
            Some(place) => *place,
            None => {
                let place = self.step();
                self.tags.insert(tag.to_vec(), place);
                place
            }
        };
        for name in way {
            at = match self.meaning(at, name) {
                Some(Meaning::Way(place)) => place,
                Some(Meaning::Protected) => return,
                None => {
                    let place = self.step();
                    self.steps[at.0].insert(folded(name), Meaning::Way(place));
                    place
                }
            };
        }
        let last_name = if exact { last.to_vec() } else { folded(last) };
        self.steps[at.0].insert(last_name, Meaning::Protected);
        self.paths.push(std::iter::once(tag).chain(names.iter().copied()).map(<[u8]>::to_vec).collect());
    }

    fn step(&mut self) -> Place {
        self.steps.push(HashMap::new());
        Place(self.steps.len() - 1)
    }

    /// Where the directory of a tag is, if anything in it is protected.
    pub(super) fn tag(&self, tag: &[u8]) -> Option<Place> {
        self.tags.get(tag).copied()
    }

    /// What `name` means in the directory at `place`.
    pub(super) fn meaning(&self, place: Place, name: &[u8]) -> Option<Meaning> {
        let step = self.steps.get(place.0)?;
        step.get(&folded(name)).or_else(|| step.get(name)).copied()
    }

    /// Every path, as names from the share's root.
    pub(super) fn paths(&self) -> &[Vec<Vec<u8>>] {
        &self.paths
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places() -> Places {
        Places::new([
            (&b"work"[..], &b".git/config"[..], false),
            (b"work", b".git/hooks", false),
            (b"work", b".vmclaude.toml", false),
            (b"work", b".git/hooks/below/is/covered", false),
            (b"work", b"HEAD", true),
            (b"home", b".claude/shared/", false),
        ])
    }

    #[test]
    fn a_name_means_what_the_paths_make_of_it() {
        let places = places();
        let work = places.tag(b"work").expect("a place");
        assert_eq!(places.meaning(work, b".vmclaude.toml"), Some(Meaning::Protected));
        let Some(Meaning::Way(git)) = places.meaning(work, b".git") else { panic!("not on the way") };
        assert_eq!(places.meaning(git, b"config"), Some(Meaning::Protected));
        assert_eq!(places.meaning(git, b"hooks"), Some(Meaning::Protected));
        assert_eq!(places.meaning(git, b"index"), None);
        assert_eq!(places.meaning(work, b"config"), None);
        assert_eq!(places.tag(b"other"), None);
        let home = places.tag(b"home").expect("a place");
        assert_ne!(home, work);
        assert!(matches!(places.meaning(home, b".claude"), Some(Meaning::Way(_))));
        assert_eq!(places.paths()[2], [&b"work"[..], b".vmclaude.toml"]);
    }

    #[test]
    fn spellings_of_one_name_are_one_name() {
        let places = places();
        let work = places.tag(b"work").expect("a place");
        for name in [".VMCLAUDE.toml", ".vmClaude.TOML", ".vmclaude.toml.", ".vmclaude.toml ", ".vm\u{200c}claude.toml"]
        {
            assert_eq!(places.meaning(work, name.as_bytes()), Some(Meaning::Protected), "{name}");
        }
        assert_eq!(places.meaning(work, b".vmclaude.toml2"), None);
        assert_eq!(places.meaning(work, b"HEAD"), Some(Meaning::Protected));
        for other in [b"head", b"Head"] {
            assert_eq!(places.meaning(work, other), None, "another file, where that is so");
        }
        assert_eq!(places.meaning(work, b".git\xff"), None);
    }

    #[test]
    fn what_lies_below_a_protected_path_adds_nothing_in_either_order() {
        for order in [[b"a".as_slice(), b"a/b"], [b"a/b", b"a"]] {
            let places = Places::new(order.map(|path| (&b"t"[..], path, false)));
            assert_eq!(places.meaning(places.tag(b"t").expect("a place"), b"a"), Some(Meaning::Protected));
        }
    }
}
