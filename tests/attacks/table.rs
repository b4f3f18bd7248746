//! What was tried, by class, and how it went.

use std::collections::{BTreeMap, BTreeSet};

/// How an attack went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Went {
    /// It did not succeed, and its control did.
    Held,
    /// It succeeded.
    Succeeded,
    /// Its control failed: the attack proves nothing.
    NoControl,
}

/// Every attack that was tried.
#[derive(Default)]
pub(crate) struct Table {
    tried: Vec<(&'static str, String, Went)>,
    open: BTreeSet<String>,
}

impl Table {
    /// Notes one attack: whether it succeeded in any of its runs, and whether its control did.
    pub(crate) fn note(&mut self, class: &'static str, name: impl Into<String>, succeeded: bool, control: bool) {
        let went = match (succeeded, control) {
            (true, _) => Went::Succeeded,
            (false, true) => Went::Held,
            (false, false) => Went::NoControl,
        };
        self.tried.push((class, name.into(), went));
    }

    /// Says that an attack is known to succeed.
    pub(crate) fn is_open(&mut self, name: &str) {
        self.open.insert(name.to_owned());
    }

    /// Prints the counts, and panics with whatever is not as it should be.
    #[allow(clippy::print_stdout)] // the counts are what the test is read for
    pub(crate) fn close(self) {
        let mut counts: BTreeMap<&str, [usize; 3]> = BTreeMap::new();
        let mut wrong = Vec::new();
        let mut names = BTreeSet::new();
        for (class, name, went) in &self.tried {
            let open = self.open.contains(name);
            let count = counts.entry(class).or_default();
            count[0] += 1;
            count[1] += usize::from(*went == Went::Held);
            count[2] += usize::from(open);
            if !names.insert((class, name)) {
                wrong.push(format!("{class}: {name}: listed twice"));
            }
            match (went, open) {
                (Went::Held, false) | (Went::Succeeded, true) => {}
                (Went::Held, true) => {
                    wrong.push(format!("{class}: {name}: held by now; take it off the list of open ones"))
                }
                (Went::Succeeded, false) => wrong.push(format!("{class}: {name}: SUCCEEDED")),
                (Went::NoControl, _) => wrong.push(format!("{class}: {name}: its control did not succeed")),
            }
        }
        println!("{:<12} {:>6} {:>6} {:>6}", "class", "tried", "held", "open");
        for (class, [tried, held, open]) in &counts {
            println!("{class:<12} {tried:>6} {held:>6} {open:>6}");
        }
        let total = |n: usize| counts.values().map(|c| c[n]).sum::<usize>();
        println!("{:<12} {:>6} {:>6} {:>6}", "all", total(0), total(1), total(2));
        self.open.iter().for_each(|name| println!("open: {name}"));
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        assert!(total(0) >= 120, "{} attacks", total(0));
    }
}
