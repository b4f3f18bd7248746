//! The second barrier against the real Claude Code: that it runs our hook, and that the hook's exit code stops it.

use crate::support::api::Api;
use crate::support::{Limited, Who, World};
use std::path::Path;
use vmclaude::hook::claude::{add, command};

/// Each prompt asks for a tool that leaves a file.
const SCRIPT: &str = r#"
for settings; do
  claude -p "RUN:echo x > ran-$settings" --allowedTools Bash --settings "/workspace/$settings.json" </dev/null
  echo "$settings ended"
done"#;

#[test]
fn its_hook_stops_claude_code_before_a_prompt_and_before_a_tool() {
    let world = World::new(Who::nth(0));
    let api = Api::new(&world.root);
    world.configure(&format!("[network]\nallow_hosts = ['{}']\n", api.addr));
    let hook = |program: &str| command(Path::new(&format!("/workspace/{program}")), Path::new("/s")).expect("text");
    let settings = |name: &str, command: &str| {
        world.write(&format!("p/{name}.json"), add("{}", command).expect("settings"));
    };
    // The control: a hook that cannot be started, without our last words, stops nothing.
    settings("unstarted", hook("none/vmclaude").strip_suffix(" || exit 2").expect("our last words"));
    settings("gone", &hook("none/vmclaude"));
    settings("tools", &hook("vmclaude"));
    world.program("p/vmclaude", "#!/bin/sh\n[ \"$1 $2 $3\" = 'guard --state /s' ] || exit 3\n! grep -q PreToolUse\n");
    // Of each run of Claude: its settings, and whether the tool has run. Each takes its time without KVM.
    #[allow(clippy::disallowed_methods)] // how many of the tests to run is no fact of the host
    let all = std::env::var_os("VMCLAUDE_TESTS").is_some_and(|which| which == "full");
    let cases: &[(&str, bool)] = &[("unstarted", true), ("gone", false), ("tools", false)];
    for case in cases[..if all { 3 } else { 2 }].chunks(2) {
        let mut run = world.vm(&["bash", "-c", SCRIPT, "runner"]);
        run.args(case.iter().map(|(name, _)| name));
        run.env("ANTHROPIC_API_KEY", "sk-ant-x").env("ANTHROPIC_BASE_URL", format!("http://{}", api.addr));
        run.env("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1").env("CLAUDE_CODE_MAX_RETRIES", "0");
        run.env("CLAUDE_CODE_DISABLE_OFFICIAL_MARKETPLACE_AUTOINSTALL", "1");
        let done = run.done();
        assert_eq!(done.code(), Some(0), "{done:?}");
        let out = done.out();
        for (name, ran) in case {
            let ended = out.find(&format!("{name} ended")).unwrap_or_else(|| panic!("{name}: {done:?}"));
            assert_eq!(world.path(&format!("p/ran-{name}")).exists(), *ran, "{name}: {done:?}");
            // What the stand-in answers to a prompt that it was sent.
            let answered = out[..ended].rsplit(" ended").next().is_some_and(|said| said.contains("TOOLRESULT"));
            assert_eq!(answered, *name != "gone", "{name}: {done:?}");
        }
    }
    world.assert_clean();
}
