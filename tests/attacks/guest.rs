//! Attacks from inside: many in one machine, each as the guest's user and as its root. The control of each is the same
//! script where there is no machine around it: on this host, in a copy of the project.

use crate::support::{Limited, Who, World, full};
use crate::table::Table;
use crate::{git, home, network, secrets, share, tripwire};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// A script that exits with 0 when the attacker has what he wants. It runs in the project's root.
#[derive(Debug, Clone)]
pub(crate) struct Attack {
    pub(crate) class: &'static str,
    pub(crate) name: &'static str,
    pub(crate) script: String,
    pub(crate) control: Control,
}

/// How it is shown that the attack is one.
#[derive(Debug, Clone)]
pub(crate) enum Control {
    /// The same script succeeds on the host.
    Host,
    /// This other script succeeds in the guest, as its root.
    Guest(String),
}

impl Attack {
    pub(crate) fn new(class: &'static str, name: &'static str, script: impl Into<String>) -> Attack {
        Attack { class, name, script: script.into(), control: Control::Host }
    }

    pub(crate) fn control(self, script: impl Into<String>) -> Attack {
        Attack { control: Control::Guest(script.into()), ..self }
    }
}

/// Runs pairs of a name and a script, and writes a line for each: who, name, status. In shells of its own only, because each
/// new program is slow where the machine is emulated.
const RUNNER: &str = r#"
who=$(id -un)
while [ $# -gt 0 ]; do
  (eval "$2") >/dev/null 2>&1 </dev/null
  printf '%s\t%s\t%s\n' "$who" "$1" $?
  shift 2
done"#;

/// The first so many words as the guest's user, and all of them as its root.
const BOTH: &str =
    r#"runner=$1 some=$2; shift 2; bash -c "$runner" runner "${@:1:$some}"; sudo -E bash -c "$runner" runner "$@""#;

pub(crate) fn run(table: &mut Table) {
    let world = World::new(Who::nth(1));
    git::prepare(&world);
    world.write("out/secret", "of the host\n");
    let canary = network::Canary::sing();
    world.configure(&format!("sudo = true\n[network]\nallow_hosts = ['127.0.0.1:{}']\n", canary.allowed));
    world.enroll();
    let before = git::picture(&world);
    let last = [("plant", tripwire::script()), ("home", home::plant())].map(|(n, s)| [n.to_owned(), s]).concat();
    // In several machines, because one alone would be slow to the point of its limit on a busy host.
    attack(&world, &git::attacks(), last, table);
    attack(&world, &[share::attacks(&world), secrets::attacks()].concat(), Vec::new(), table);
    attack(&world, &network::attacks(&canary), Vec::new(), table);
    git::afterwards(&world, &before, table);
    tripwire::afterwards(&world, table);
    home::afterwards(&world, table);
    world.assert_clean();
}

/// Runs these attacks in one machine, and these words after them.
fn attack(world: &World, attacks: &[Attack], more: Vec<String>, table: &mut Table) {
    // Root can do whatever the user can, so every attack is root's; the user's own turn is a part, and all of it with --full.
    let as_user = if full() { attacks.len() } else { attacks.len() / 3 };
    let mut words: Vec<String> = attacks.iter().flat_map(|a| [a.name.to_owned(), a.script.clone()]).collect();
    let controls = attacks.iter().filter_map(|a| match &a.control {
        Control::Guest(script) => Some([format!("control of {}", a.name), script.clone()]),
        Control::Host => None,
    });
    words.extend(controls.flatten().chain(more));
    let mut command = world.vm(&["bash", "-c", BOTH, "both", RUNNER]);
    command.arg((as_user * 2).to_string()).args(&words);
    let done = secrets::plant(&mut command).done();
    assert_eq!(done.code(), Some(0), "{done:?}");
    let went = parse(&done.out());
    for (n, attack) in attacks.iter().enumerate() {
        let by = |who: &str, name: &str| {
            *went
                .get(&(who.to_owned(), name.to_owned()))
                .unwrap_or_else(|| panic!("{name} did not run as {who}: {done:?}"))
        };
        let control = match &attack.control {
            Control::Guest(_) => by("root", &format!("control of {}", attack.name)),
            Control::Host => on_host(world, &attack.script),
        };
        table.note(
            attack.class,
            attack.name,
            by("root", attack.name) || n < as_user && by("claude", attack.name),
            control,
        );
    }
}

fn parse(out: &str) -> BTreeMap<(String, String), bool> {
    let line = |line: &str| {
        let mut fields = line.split('\t');
        let (who, name, status) = (fields.next()?, fields.next()?, fields.next()?);
        Some(((who.to_owned(), name.to_owned()), status == "0"))
    };
    out.lines().filter_map(line).collect()
}

/// Whether the script succeeds in a copy of the project, without a machine.
fn on_host(world: &World, script: &str) -> bool {
    let place = tempfile::Builder::new().prefix("control").tempdir_in(&world.root).expect("tempdir");
    let copy = |from: &Path, to: &str| {
        let done = world.command("cp").arg("-a").arg(from).arg(place.path().join(to)).done();
        assert_eq!(done.code(), Some(0), "{done:?}");
    };
    fs::set_permissions(place.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777)).expect("chmod");
    copy(&world.path("pristine"), "p");
    copy(&world.path("out"), "out");
    let mut command = world.command("bash");
    command.args(["-c", script]).current_dir(place.path().join("p"));
    command.done().code() == Some(0)
}
