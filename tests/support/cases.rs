//! Many cases in one boot: each a script of its own, with what it shall print, or the same as on the host.

use super::{Done, Limited, World};
use std::collections::BTreeMap;
use std::process::Command;

/// What a case shall do.
#[derive(Debug, Clone)]
pub(crate) enum Want {
    /// Exit 0 and print this.
    Out(String),
    /// Exit 0 and print something with this in it.
    Has(String),
    /// The same status and bytes as when the script runs on the host.
    Same,
    /// Exit other than 0, with this in its output or its errors.
    Fails(String),
}

/// One case.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    name: &'static str,
    script: String,
    want: Want,
}

impl Case {
    pub(crate) fn new(name: &'static str, script: impl Into<String>, want: Want) -> Case {
        Case { name, script: script.into(), want }
    }

    pub(crate) fn out(name: &'static str, script: impl Into<String>, out: impl Into<String>) -> Case {
        Case::new(name, script, Want::Out(out.into()))
    }

    pub(crate) fn has(name: &'static str, script: impl Into<String>, out: impl Into<String>) -> Case {
        Case::new(name, script, Want::Has(out.into()))
    }

    pub(crate) fn same(name: &'static str, script: impl Into<String>) -> Case {
        Case::new(name, script, Want::Same)
    }

    pub(crate) fn fails(name: &'static str, script: impl Into<String>, why: impl Into<String>) -> Case {
        Case::new(name, script, Want::Fails(why.into()))
    }
}

/// What one script did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ran {
    code: i32,
    out: String,
    err: String,
}

/// Runs names and scripts in turn, and writes for each a line (name, status, lengths) and its bytes.
const RUNNER: &str = r#"
t=$(mktemp -d)
while [ $# -gt 0 ]; do
  bash -c "$2" >"$t/o" 2>"$t/e" </dev/null
  printf '%s\t%s\t%s\t%s\n' "$1" $? "$(($(wc -c <"$t/o")))" "$(($(wc -c <"$t/e")))"
  cat "$t/o" "$t/e"
  shift 2
done
rm -r "$t""#;

/// Runs every case in one VM; `flags` are those of vmclaude-container. Panics with all that went wrong.
#[track_caller]
pub(crate) fn check(world: &World, flags: &[&str], cases: &[Case]) {
    check_by(world, world.vm(flags), cases);
}

/// The same with a `vmclaude-container` of the test's own, which the words of the command are added to.
#[track_caller]
pub(crate) fn check_by(world: &World, mut container: Command, cases: &[Case]) {
    let words = |wanted: &dyn Fn(&Case) -> bool| {
        let chosen = cases.iter().filter(|c| wanted(c));
        let pairs = chosen.flat_map(|c| [c.name.to_owned(), c.script.clone()]);
        ["bash", "-c", RUNNER, "runner"].map(str::to_owned).into_iter().chain(pairs).collect::<Vec<_>>()
    };
    // The host first: what the guest's cases leave in the project is for the test to look at.
    let host_words = words(&|c| matches!(c.want, Want::Same));
    let on_host = parse(&world.command(&host_words[0]).args(&host_words[1..]).done());
    let guest = container.args(words(&|_| true)).done();
    let in_guest = parse(&guest);
    let wrong: Vec<String> = cases.iter().filter_map(|c| judge(c, &in_guest, &on_host)).collect();
    assert!(wrong.is_empty(), "{} of {} cases:\n{}\n{guest:?}", wrong.len(), cases.len(), wrong.join("\n"));
    assert_eq!(guest.code(), Some(0), "{guest:?}");
    world.assert_clean();
}

fn judge(case: &Case, guest: &BTreeMap<String, Ran>, host: &BTreeMap<String, Ran>) -> Option<String> {
    let Some(ran) = guest.get(case.name) else { return Some(format!("{}: did not run", case.name)) };
    let ok = match &case.want {
        Want::Out(out) => (ran.code, &ran.out) == (0, out),
        Want::Has(out) => ran.code == 0 && ran.out.contains(out),
        Want::Same => Some(ran) == host.get(case.name),
        Want::Fails(why) => ran.code != 0 && (ran.out.contains(why) || ran.err.contains(why)),
    };
    (!ok).then(|| format!("{}: {:?}\n  but: {ran:?}\n  host: {:?}", case.name, case.want, host.get(case.name)))
}

fn parse(done: &Done) -> BTreeMap<String, Ran> {
    let mut all = BTreeMap::new();
    let mut rest = &done.out[..];
    while let Some(end) = rest.iter().position(|b| *b == b'\n') {
        let head = String::from_utf8_lossy(&rest[..end]).into_owned();
        let fields: Vec<&str> = head.split('\t').collect();
        let [name, code, out, err] = fields[..] else { panic!("not a case's line: {head:?} in {done:?}") };
        let number = |text: &str| text.parse::<usize>().expect("a number");
        let (out, err) = (number(out), number(err));
        let bytes = &rest[end + 1..];
        let text = |from: usize, len: usize| String::from_utf8_lossy(&bytes[from..from + len]).into_owned();
        let code = code.parse().expect("a number");
        all.insert(name.to_owned(), Ran { code, out: text(0, out), err: text(out, err) });
        rest = &bytes[out + err..];
    }
    all
}
