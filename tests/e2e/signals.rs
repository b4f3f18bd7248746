//! Signals sent to vmclaude reach the command in the guest, by name.

use crate::support::{Who, World, until};
use nix::sys::signal::Signal;

#[test]
fn every_forwarded_signal_reaches_a_trap() {
    for who in Who::all() {
        let world = World::new(*who);
        let script = r#"
            for s in INT TERM HUP QUIT USR1 USR2; do trap "echo $s >> got" $s; done
            trap 'exit 5' TSTP
            touch ready; while :; do sleep 60 & wait $!; done"#;
        let mut live = world.start(script);
        let mut expected = String::new();
        let passed =
            [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGUSR1, Signal::SIGUSR2];
        for signal in passed {
            live.signal(signal);
            expected += &format!("{}\n", &signal.as_str()[3..]);
            until(signal.as_str(), || {
                assert!(!live.has_ended(), "{signal} ended it: {:?}", live.end());
                std::fs::read_to_string(world.path("p/got")).is_ok_and(|got| got == expected).then_some(())
            });
        }
        live.signal(Signal::SIGTSTP);
        let done = live.end();
        assert_eq!(done.end(), (Some(5), None), "{done:?}");
        world.assert_clean();
    }
}

#[test]
fn one_that_comes_before_the_command_ends_the_run() {
    let world = World::new(Who::nth(1));
    let mut live = {
        use crate::support::Limited;
        world.vm(&["sh", "-c", "touch began; sleep 100"]).live()
    };
    until("there is a machine", || {
        crate::support::leaks::processes(&world).iter().any(crate::support::leaks::Process::is_machine).then_some(())
    });
    live.signal(Signal::SIGTERM);
    let done = live.end();
    assert_eq!(done.end(), (None, Some(15)), "{done:?}");
    world.assert_clean();
}
