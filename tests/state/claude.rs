//! The real Claude Code in two projects, both at `/workspace`.

use crate::support::api::Api;
use crate::support::pty::Typist;
use crate::support::{Done, Limited, Who, World, full, leaks, until};
use std::fs;

const KEY: &str = "sk-ant-SECRET-of-the-test-0123456789";

/// Variables for a Claude Code that talks to the stand-in and to nobody else.
const QUIET: [(&str, &str); 4] = [
    ("ANTHROPIC_API_KEY", KEY),
    ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1"),
    ("CLAUDE_CODE_MAX_RETRIES", "0"),
    ("CLAUDE_CODE_DISABLE_OFFICIAL_MARKETPLACE_AUTOINSTALL", "1"),
];

fn world() -> (World, Api) {
    let world = World::new(Who::nth(1));
    let api = Api::new(&world.root);
    world.configure(&format!("[network]\nallow_hosts = ['{}']\n", api.addr));
    fs::create_dir_all(world.path("q")).expect("mkdir");
    let settings = r#"{"env":{"FROM_SHARED":"yes"},"permissions":{"allow":["Bash"]}}"#;
    world.write("home/.vm-claude/shared/settings.json", settings);
    world.write("home/.vm-claude/shared/CLAUDE.md", "INSTRUCTIONS-OF-THE-USER\n");
    world.write("home/.vm-claude/shared/skills/s/SKILL.md", "---\nname: s\ndescription: SKILL-OF-THE-USER\n---\nx\n");
    world.write("home/.vm-claude/shared/agents/a.md", "---\nname: a\ndescription: AGENT-OF-THE-USER\n---\nx\n");
    world.write("home/.vm-claude/shared/commands/c.md", "COMMAND-OF-THE-USER\n");
    for dir in ["home/.vm-claude", "home/.vm-claude/shared"] {
        fs::set_permissions(world.path(dir), std::os::unix::fs::PermissionsExt::from_mode(0o700)).expect("chmod");
    }
    world.give("q");
    (world, api)
}

/// Runs a script in a project's VM, where `claude` talks to the stand-in.
fn run(world: &World, api: &Api, project: &str, script: &str) -> Done {
    let mut command = world.vm(&["bash", "-c", script]);
    command.envs(QUIET).env("ANTHROPIC_BASE_URL", format!("http://{}", api.addr));
    let done = command.current_dir(world.path(project)).done();
    assert_eq!(done.code(), Some(0), "{done:?}");
    done
}

/// One world, because each start of Claude Code takes seconds under emulation.
#[test]
fn conversations_memory_and_servers_are_the_projects_own_and_move_with_it() {
    let (world, api) = world();
    world.enroll();
    // In the first project: a conversation, a memory, an MCP server with a secret. And that they are there.
    run(&world, &api, "p", "claude -p 'the secret is ALPHA'");
    let first = run(
        &world,
        &api,
        "p",
        "mkdir -p ~/.claude/projects/-workspace/memory && \
         echo MEMORY-OF-P > ~/.claude/projects/-workspace/memory/MEMORY.md && \
         claude mcp add mysrv -e KEY=SECRET-OF-P -- /bin/true && claude -c -p 'what was said? RUN:echo $FROM_SHARED'",
    );
    assert!(first.out().contains("TOOLRESULT:yes"), "settings of the user's reach it: {first:?}");
    let bodies = api.bodies();
    for words in
        ["the secret is ALPHA", "MEMORY-OF-P", "INSTRUCTIONS-OF-THE-USER", "SKILL-OF-THE-USER", "AGENT-OF-THE-USER"]
    {
        assert!(bodies.contains(words), "the control: {words}\n{first:?}");
    }
    // In the second: nothing of it, and the user's own things all the same.
    let asked = "claude -c -p '/c' && claude mcp list";
    let second = run(&world, &api, "q", asked);
    let bodies = api.bodies()[bodies.len()..].to_owned();
    for words in ["INSTRUCTIONS-OF-THE-USER", "SKILL-OF-THE-USER", "COMMAND-OF-THE-USER"] {
        assert!(bodies.contains(words), "{words}\n{second:?}");
    }
    for words in ["ALPHA", "MEMORY-OF-P", "mysrv", "SECRET-OF-P"] {
        assert!(!bodies.contains(words) && !second.out().contains(words), "{words}: {second:?}");
    }
    // What the command is called and what it says: nothing came before them.
    let new = second.out().contains("turns=2; seen=[\"<command-message>c");
    assert!(new, "a new conversation: {second:?}");
    // The directory moves, and what it keeps goes with it.
    fs::rename(world.path("p"), world.path("moved")).expect("mv");
    let done = world.vmclaude(&["enroll"]).current_dir(world.path("moved")).done();
    assert_eq!(done.code(), Some(0), "{done:?}");
    let third = run(&world, &api, "moved", "claude -c -p 'and now?' && claude mcp list; ls ~/.claude/sessions");
    assert!(third.out().contains("the secret is ALPHA") && third.out().contains("mysrv"), "{third:?}");
    the_key_is_in_no_file(&world);
    world.assert_clean();
}

/// The whole key is nowhere in what is kept; its end is, by which Claude Code remembers that it may use it.
fn the_key_is_in_no_file(world: &World) {
    let has = |done: &Done, what: &str| {
        done.out().lines().filter(|l| !l.is_empty()).map(|l| format!("{what} {l}")).collect::<Vec<_>>()
    };
    let find = |text: &str| {
        world
            .command("grep")
            .current_dir(&world.root)
            .args(["-rlF", "-e", text])
            .arg(world.path("home/.vm-claude"))
            .arg(world.state())
            .done()
    };
    assert_eq!(has(&find(KEY), "key in"), Vec::<String>::new());
    assert!(!has(&find(&KEY[KEY.len() - 20..]), "end in").is_empty(), "it looked where Claude Code keeps something");
}

/// On a terminal: no theme to pick, no question about the key, no warnings; but the workspace is asked about, in each
/// project, and a history that is only its own.
#[test]
fn the_first_start_asks_about_the_workspace_and_nothing_else() {
    if !full() {
        println!("skipped state::claude::the_first_start_asks: some minutes under emulation (tests/run --full)");
        return;
    }
    let (world, api) = world();
    for (project, prompt) in [("p", "PROMPT-OF-P"), ("q", "PROMPT-OF-Q")] {
        let mut typist = Typist::new(&world);
        let start = started(&mut typist, &world, &api, project);
        // The arrow up brings what was typed here before: nothing, although something was typed in the other project.
        typist.wait("❯");
        typist.keys("\u{1b}[A");
        typist.keys(prompt);
        typist.keys("\r");
        let screen = typist.wait("turns=1");
        typist.keys("\u{3}\u{3}");
        let screen = squeezed(&(start + &screen + &typist.wait(crate::support::pty::PROMPT)));
        for unwanted in
            ["missingorbroken", "Auto-updatefailed", "customAPIkey", "PROMPT-OF-P"].iter().filter(|w| **w != prompt)
        {
            assert!(!screen.contains(unwanted), "{unwanted:?} in {screen}");
        }
        let history = fs::read_to_string(world.kept(project).join("claude/history.jsonl")).expect("a history");
        assert!(history.contains(prompt) && history.lines().count() == 1, "{history}");
    }
    world.assert_clean();
}

/// Starts Claude Code on a terminal in a project that it does not trust yet, and says yes to that: what it showed since then.
fn started(typist: &mut Typist, world: &World, api: &Api, project: &str) -> String {
    let exports: String = QUIET.iter().map(|(name, value)| format!("export {name}={value}; ")).collect();
    typist.step(&format!("{exports} export ANTHROPIC_BASE_URL=http://{}", api.addr));
    trusted(typist, world, project);
    typist.wait("Billing")
}

/// The same, no further than the yes.
fn trusted(typist: &mut Typist, world: &World, project: &str) {
    typist.step(&format!("cd \"{}\"", world.path(project).display()));
    typist.keys(&format!("\"{}\" run\n", world.path("opt/bin/vmclaude").display()));
    let first = squeezed(&typist.wait("confirm"));
    assert!(first.contains("trustthisfolder") && first.contains("/workspace"), "{first}");
    for unwanted in ["Darkmode", "customAPIkey", "Selectlogin", "missingorbroken", "Auto-update"] {
        assert!(!first.contains(unwanted), "{unwanted:?} in {first}");
    }
    typist.wait("cancel");
    typist.press_until("\u{1b}[B", "❯");
    typist.keys("\r");
}

/// Who starts without a key and exports one later is not asked about it, either; where there is a login, the question is a real
/// one, and is asked.
#[test]
fn a_key_that_comes_later_is_not_asked_about() {
    if !full() {
        println!("skipped state::claude::a_key_that_comes_later: some minutes under emulation (tests/run --full)");
        return;
    }
    let (world, api) = world();
    for project in ["p", "q"] {
        let done =
            world.vm(&["claude", "-p", "hi"]).envs(QUIET.into_iter().skip(1)).current_dir(world.path(project)).done();
        assert!(done.code() == Some(1) && done.out().contains("Not logged in"), "{done:?}");
        let kept = fs::read_to_string(world.kept(project).join("claude/.claude.json")).expect("its own file");
        assert!(kept.contains("userID") && !kept.contains(&KEY[KEY.len() - 20..]), "{kept}");
    }
    let mut typist = Typist::new(&world);
    let start = squeezed(&started(&mut typist, &world, &api, "p"));
    assert!(!start.contains("customAPIkey"), "{start}");
    typist.wait("❯");
    typist.keys("\u{3}\u{3}");
    typist.wait(crate::support::pty::PROMPT);
    // The control.
    world.write("home/.vm-claude/login/claude/.credentials.json", "{}");
    trusted(&mut typist, &world, "q");
    typist.wait("custom");
    drop(typist);
    until("nothing of it runs", || leaks::processes(&world).is_empty().then_some(()));
}

/// What is noted of a key, and when.
#[test]
fn the_end_of_a_key_is_noted_where_nothing_was_answered() {
    let world = World::new(Who::nth(1));
    world.configure("[network]\nmode = 'none'\n");
    let run = |key: Option<&str>| {
        let mut command = world.vm(&["true"]);
        let done = command.envs(key.map(|key| ("ANTHROPIC_API_KEY", key))).done();
        assert_eq!(done.code(), Some(0), "{done:?}");
        fs::read_to_string(world.kept("p").join("claude/.claude.json")).expect("Claude's own file")
    };
    assert_eq!(run(None), r#"{"hasCompletedOnboarding":true}"#);
    let end = &KEY[KEY.len() - 20..];
    let noted =
        format!(r#"{{"customApiKeyResponses":{{"approved":["{end}"],"rejected":[]}},"hasCompletedOnboarding":true}}"#);
    assert_eq!((run(Some(KEY)), run(Some(KEY))), (noted.clone(), noted));
    let refused = format!("{{ \"customApiKeyResponses\": {{\"rejected\": [\"{end}\"]}} }}\n");
    fs::write(world.kept("p").join("claude/.claude.json"), &refused).expect("write");
    assert_eq!(run(Some(KEY)), refused);
    world.assert_clean();
}

/// What a screen says: without the sequences that place it, which stand for its spaces.
fn squeezed(screen: &str) -> String {
    let mut text = String::new();
    let mut rest = screen.chars().peekable();
    while let Some(c) = rest.next() {
        if c == '\u{1b}' && rest.peek() == Some(&'[') {
            rest.next();
            while rest.next().is_some_and(|c| !('@'..='~').contains(&c)) {}
        } else if !c.is_whitespace() && !c.is_control() {
            text.push(c);
        }
    }
    text
}
