//! A command whose directory the guest has not: what is said, and where to go.

use crate::error::Failure;
use crate::files;
use crate::plan::Plan;

/// It was not started, because it would have started in no directory: `why` is the guest's reason, with the directory's name.
pub(super) fn failure(plan: &Plan, why: &str) -> Failure {
    let failure = Failure::new(format!("cannot change to {}", why.escape_debug()));
    let failure = match plan.hidden_by() {
        Some(local) => failure.because(format!(
            "{} is on the VM's own disk (`[volumes] local`), and has nothing that was not made there",
            local.display()
        )),
        None => failure,
    };
    match plan.mounts.first() {
        Some(project) => failure.next(format!("cd {}   # and the same command again", files::quoted(&project.host))),
        None => failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Local, Network, Place, Setup, State, state::Home};

    #[test]
    fn the_volume_that_hides_it_is_named_and_where_to_go() {
        let (host, settings) = (crate::host::tests::host(), crate::settings::tests::settings(""));
        let state = State::of(&host.dirs.guest_home, "0123456789abcdef", Home::Project);
        let rest = "node_modules/foo".into();
        let place = Place { root: "/home/you/my shop".into(), rest, identity: None, state, git: Vec::new() };
        let argv = vec!["claude".into()];
        let mut plan = Plan::new(&host, &settings, &place, argv, Network::default(), Setup::default());
        let told = |plan: &Plan| failure(plan, "/workspace/node_modules/foo: No such file or directory");
        let plain = told(&plan);
        assert_eq!(plain.what, "cannot change to /workspace/node_modules/foo: No such file or directory");
        assert_eq!((plain.code, plain.because.len()), (crate::exit::VM_FAILED, 0));
        let dirs = vec!["node".into(), "node_modules".into()];
        plan.local = Some(Local { dirs, volume: None, size: 512 });
        let hidden = told(&plan);
        assert!(hidden.because[0].starts_with("node_modules is on the VM's own disk"), "{hidden}");
        assert!(hidden.next.is_some_and(|next| next.starts_with("cd '/home/you/my shop' ")), "it is typed in a shell");
        plan.cwd = "/workspace/src".into();
        assert!(told(&plan).because.is_empty(), "that is another reason");
    }
}
