//! Two enrollments at once.

use crate::world::{VMCLAUDE, World};
use std::process::Command;

/// 1,000 enrollments, half by each of two shells, a reader between them all the while.
#[test]
fn two_shells_enroll_a_thousand_directories_and_no_line_is_lost() {
    let world = World::new();
    let enroll = |from: usize| {
        let script = format!(
            r#"i={from}; while [ $i -lt 1000 ]; do mkdir "$W/x/$i" && '{VMCLAUDE}' enroll "$W/x/$i" 2>/dev/null || exit 1; i=$((i+2)); done"#
        );
        let mut shell = world.shell(&["sh", "-c"]);
        shell.arg(script);
        world.clean(&mut shell).spawn().expect("sh")
    };
    let mut writers = [enroll(0), enroll(1)];
    let mut reads = 0;
    while writers.iter_mut().any(|w| w.try_wait().expect("wait").is_none()) {
        let done = world.run(world.shell(&["sh", "-c"]).arg(r#"cd "$T/sub" && "$S/where""#));
        assert_eq!(done.out, format!("{}\n", world.path("tr ee").display()), "half a registry: {}", done.err);
        reads += 1;
    }
    for writer in &mut writers {
        assert!(writer.wait().expect("wait").success());
    }
    assert!(reads > 0);
    let listed = world.run(Command::new(VMCLAUDE).arg("list"));
    assert_eq!(listed.out.lines().filter(|l| l.starts_with("ok ")).count(), 1001, "{}", listed.err);
}
