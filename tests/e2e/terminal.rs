//! On a terminal: size, keys, job control, and a terminal that is as it was after every end.

use crate::support::pty::{PROMPT, Typist};
use crate::support::{Engine, Who, World, leaks, until};
use nix::sys::signal::{Signal, kill, killpg};

/// A command that has the terminal until it is ended, and says so.
const HOLDS: &str = r#""$V" sh -c 'echo rea''dy; exec cat'"#;

#[test]
fn size_keys_and_job_control() {
    for who in Who::all() {
        let world = World::new(*who);
        let mut typist = Typist::new(&world);
        let before = typist.settings();
        let script = r#"[ -t 0 ] && [ -t 1 ] && [ -t 2 ] && tty && stty size </dev/tty; stty -g | sha256sum
            trap 'echo window $(stty size); seen=1' WINCH; echo rea''dy
            while [ -z "$seen" ]; do sleep 0.1; done; for i in 1 2; do read x; echo "got <$x>"; done; exit 9"#;
        typist.keys(&format!("\"$V\" bash -c '{}'\n", script.replace('\'', "'\\''")));
        let start = typist.wait("ready\r\n");
        assert!(start.contains("/dev/pts/") && start.contains("40 100"), "{start}");
        typist.wait_raw();
        typist.resize(31, 77);
        typist.wait("window 31 77");
        typist.keys("h\u{fc}\n");
        typist.wait("got <h\u{fc}>");
        typist.keys("\x1a");
        typist.wait(PROMPT);
        until("the shell has the terminal as it was", || (typist.settings() == before).then_some(()));
        let jobs = typist.step("jobs");
        assert!(jobs.contains("Stopped") || jobs.contains("Suspended"), "{jobs}");
        typist.keys("fg\n");
        typist.wait_raw();
        typist.keys("again\n");
        typist.wait("got <again>");
        typist.wait(PROMPT);
        let end = typist.step("echo code=$?");
        assert!(end.contains("code=9"), "{end}");
        assert_eq!(typist.settings(), before);
        world.assert_clean();
    }
}

#[test]
fn what_is_not_there_is_127_here_too() {
    let world = World::new(Who::nth(0));
    let mut typist = Typist::new(&world);
    let before = typist.settings();
    typist.keys("\"$V\" no-such-command\n");
    typist.wait("command not found in the VM");
    typist.wait(PROMPT);
    let end = typist.step("echo code=$?");
    assert!(end.contains("code=127"), "{end}");
    assert_eq!(typist.settings(), before);
    world.assert_clean();
}

/// Node's `detached` children have such streams: terminals, and no terminal of their own.
#[test]
fn a_terminal_that_is_not_ours_is_read_and_written_and_filtered() {
    let world = World::new(Who::nth(0));
    let mut typist = Typist::new(&world);
    let script = r#"printf "to\033[21t you\n"; echo err >&2; read -r x; echo "got <$x>"; exit 3"#;
    for (program, out) in [("", "to\x1b[21t you\r\n"), ("\"$V\"", "to you\r\n")] {
        typist.keys(&format!("setsid -w {program} bash -c '{script}'\n"));
        let mut seen = typist.wait("err\r\n");
        typist.keys("abc\n");
        seen += &typist.wait("got <abc>\r\n");
        typist.wait(PROMPT);
        assert!(seen.contains(out), "{program}: {seen:?}");
        let end = typist.step("echo code=$?");
        assert!(end.contains("code=3"), "{program}: {end}");
    }
    world.assert_clean();
}

#[test]
fn interrupt_and_quit_keys_kill_as_on_the_host() {
    let world = World::new(Who::nth(1));
    let mut typist = Typist::new(&world);
    let before = typist.settings();
    for (key, code) in [("\x03", 130), ("\x1c", 131)] {
        typist.keys(&format!("{HOLDS}\n"));
        typist.wait("ready\r\n");
        typist.wait_raw();
        typist.keys(key);
        typist.wait(PROMPT);
        let end = typist.step("echo code=$?");
        assert!(end.contains(&format!("code={code}")), "{end}");
        assert_eq!(typist.settings(), before);
    }
    world.assert_clean();
}

/// Ends vmclaude in the middle by this signal; what the shell then says of it.
fn ended_by(signal: Signal, who: Who) {
    let world = World::new(who);
    let mut typist = Typist::new(&world);
    let before = typist.settings();
    typist.keys(&format!("{HOLDS}\n"));
    typist.wait("ready\r\n");
    typist.wait_raw();
    let job = typist.foreground();
    kill(job, signal).expect("kill");
    typist.wait(PROMPT);
    // After the one that nobody can catch, the keeper does it.
    until("the terminal is as it was", || (typist.settings() == before).then_some(()));
    until("every process of it is gone", || leaks::processes(&world).is_empty().then_some(()));
    let code = 128 + signal as i32;
    let end = typist.step("echo code=$?");
    assert!(end.contains(&format!("code={code}")), "{signal}: {end}");
    // The next run finishes what only a kill can leave.
    typist.keys("\"$V\" sh -c 'exit 5'; echo code=$?\n");
    typist.wait("code=5");
    typist.wait(PROMPT);
    world.assert_clean();
}

#[test]
fn ended_by_term() {
    ended_by(Signal::SIGTERM, Who::nth(0));
}

#[test]
fn ended_by_hup() {
    ended_by(Signal::SIGHUP, Who::nth(1));
}

#[test]
fn ended_by_int() {
    ended_by(Signal::SIGINT, Who::nth(0));
}

#[test]
fn ended_by_quit() {
    ended_by(Signal::SIGQUIT, Who::nth(1));
}

#[test]
fn ended_by_kill() {
    ended_by(Signal::SIGKILL, Who::nth(0));
}

/// Switches on what a program may switch on, and holds the terminal.
const MODES: &str =
    r#""$V" sh -c 'printf "\033[?1049h\033[?1000h\033[?2004h\033[?1004h\033[>1u\033[?25l"; echo rea''dy; exec cat'"#;

/// The virtual machine or the share server is gone in the middle: the terminal is as before, its modes are off, it is said why,
/// and nothing is left.
#[test]
fn a_lost_machine_gives_the_terminal_back() {
    type Victim = fn(&leaks::Process) -> bool;
    // With Apple's `container` the share server is the system's, and its client tells of the machine.
    let (victims, why): (&[Victim], _) = match Engine::of_this_run() {
        Engine::Apple => (&[leaks::Process::is_machine], "container exited with 255"),
        Engine::Qemu => (&[leaks::Process::is_machine, leaks::Process::is_share], "killed by signal 9"),
    };
    for (n, victim) in victims.iter().enumerate() {
        let world = World::new(Who::nth(n));
        let mut typist = Typist::new(&world);
        let before = typist.settings();
        let words = typist.step("stty -g");
        typist.keys(&format!("{MODES}\n"));
        typist.wait("ready\r\n");
        typist.wait_raw();
        let lost = leaks::processes(&world).into_iter().find(victim).expect("it runs");
        kill(nix::unistd::Pid::from_raw(lost.pid), Signal::SIGKILL).expect("kill");
        let end = typist.wait(PROMPT);
        assert!(end.contains("the virtual machine was lost") && end.contains(why), "{end}");
        for off in ["[?1049l", "[?1000l", "[?2004l", "[?1004l", "[<u", "[?25h"] {
            assert!(end.contains(off), "{off} in {end:?}");
        }
        assert_eq!(typist.settings(), before);
        let code = typist.step("echo code=$?");
        assert!(code.contains("code=125"), "{code}");
        let after = typist.step("stty -g");
        // Behind a prompt, where that came late.
        let told = |text: &str| text.split_whitespace().find(|word| word.matches(':').count() > 10).map(str::to_owned);
        assert_eq!(told(&after).expect("settings"), told(&words).expect("settings"));
        world.assert_clean();
    }
}

#[test]
fn stopped_by_a_signal_and_continued() {
    let world = World::new(Who::nth(0));
    let mut typist = Typist::new(&world);
    let before = typist.settings();
    typist.keys(&format!("{HOLDS}\n"));
    typist.wait("ready\r\n");
    typist.wait_raw();
    let job = typist.foreground();
    killpg(job, Signal::SIGTSTP).expect("kill");
    typist.wait(PROMPT);
    assert_eq!(typist.settings(), before);
    typist.keys("fg\n");
    typist.wait_raw();
    typist.keys("still here\n");
    typist.wait("still here\r\nstill here");
    typist.keys("\x04");
    typist.wait(PROMPT);
    assert!(typist.step("echo code=$?").contains("code=0"));
    world.assert_clean();
}

#[test]
fn a_closed_window_ends_the_machine() {
    let world = World::new(Who::nth(1));
    let mut typist = Typist::new(&world);
    typist.keys("\"$V\" bash -c 'trap \"\" HUP INT TERM; echo rea''dy; while :; do sleep 1; done'\n");
    typist.wait("ready\r\n");
    typist.wait_raw();
    assert!(leaks::processes(&world).iter().any(leaks::Process::is_machine), "a machine to be ended");
    typist.close();
    until("nothing of it runs", || leaks::processes(&world).is_empty().then_some(()));
}
