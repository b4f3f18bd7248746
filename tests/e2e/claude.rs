//! The real Claude Code in the real VM, against a stand-in for its API.

use crate::support::api::Api;
use crate::support::{Limited, Who, World, leaks};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicBool, Ordering};

const KEY: &str = "sk-ant-SECRET-of-the-test-0123456789";

#[test]
fn its_version() {
    let world = World::new(Who::nth(0));
    let done = world.vmclaude(&["--version"]).done();
    assert_eq!(done.code(), Some(0), "{done:?}");
    assert!(done.out().contains("(Claude Code)") && done.err.is_empty(), "{done:?}");
    world.assert_clean();
}

#[test]
fn a_prompt_that_runs_a_tool_and_writes_a_file() {
    let who = Who::nth(1);
    let world = World::new(who);
    let api = Api::new(&world.root);
    world.configure(&format!("[network]\nallow_hosts = ['{}']\n", api.addr));
    let prompt = "RUN:pwd; id -u; uname -n | cut -c1-8; echo written > by-claude; stat -c %a by-claude";
    let mut command = world.vmclaude(&["-p", prompt, "--allowedTools", "Bash"]);
    command.env("ANTHROPIC_API_KEY", KEY).env("ANTHROPIC_BASE_URL", format!("http://{}", api.addr));
    command.env("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1").env("CLAUDE_CODE_MAX_RETRIES", "0");
    command.env("CLAUDE_CODE_DISABLE_OFFICIAL_MARKETPLACE_AUTOINSTALL", "1");
    let over = AtomicBool::new(false);
    let (done, sightings) = std::thread::scope(|scope| {
        let watcher = scope.spawn(|| watch_for_the_key(&world, &over));
        let done = command.done();
        over.store(true, Ordering::SeqCst);
        (done, watcher.join().expect("the watcher"))
    });
    let expected = format!("TOOLRESULT:/workspace\n{}\nvmclaude\n644\n", who.guest_uid());
    assert_eq!((done.code(), done.out()), (Some(0), expected), "{done:?}");
    let meta = fs::metadata(world.path("p/by-claude")).expect("the file is on the host");
    assert_eq!((meta.uid(), meta.gid()), who.ids());
    let requests = api.messages();
    assert!(requests.len() >= 2 && requests[0].contains(KEY), "the key arrives: {requests:?}");
    assert!(sightings.machines > 0 && sightings.files > 0, "it looked, and there was something to see");
    assert_eq!(sightings.keys, Vec::<String>::new());
    world.assert_clean();
}

#[derive(Default)]
struct Sightings {
    machines: usize,
    files: usize,
    keys: Vec<String>,
}

/// Looks for the key in arguments, in our children's environments and in the files of the run, until it is over.
fn watch_for_the_key(world: &World, over: &AtomicBool) -> Sightings {
    let has_key = |bytes: &[u8]| bytes.windows(KEY.len()).any(|w| w == KEY.as_bytes());
    let mut seen = Sightings::default();
    while !over.load(Ordering::SeqCst) {
        for process in leaks::processes(world) {
            seen.machines += usize::from(process.is_machine());
            let child = process.is_machine() || process.is_share();
            let environ = fs::read(format!("/proc/{}/environ", process.pid)).unwrap_or_default();
            if has_key(&process.cmdline) || child && has_key(&environ) {
                seen.keys.push(format!("{process:?}"));
            }
        }
        let runs = fs::read_dir(world.state().join("run")).into_iter().flatten().flatten();
        for file in runs.flat_map(|run| fs::read_dir(run.path()).into_iter().flatten().flatten()) {
            seen.files += 1;
            if file.file_type().is_ok_and(|t| t.is_file()) && fs::read(file.path()).is_ok_and(|text| has_key(&text)) {
                seen.keys.push(file.path().display().to_string());
            }
        }
        std::thread::sleep(std::time::Duration::from_millis(250));
    }
    seen
}
