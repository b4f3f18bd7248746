//! Settings with a terminal: somebody types, and looks at the screen.

use crate::deeds::Deed;
use crate::engine::Engine;
use crate::piped::{ready, send, state};
use crate::seen::Seen;
use crate::settings::{Setting, quoted};
use crate::support::pty::{PROMPT, Typist};
use crate::support::{World, leaks, until};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{LocalFlags, tcgetattr};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

pub(crate) const SSHD: &str = "/usr/sbin/sshd";

/// What the terminal answers to the questions of [`Deed::Asks`].
const ANSWERS: &str = "\x1b[?62;22c\x1bP>|XT(9)\x1b\\\x1b[?0u\x1b[3;5R";

/// Runs the program once.
pub(crate) fn see(world: &World, engine: Engine, setting: Setting, deed: &Deed) -> Seen {
    let server = (setting == Setting::Ssh).then(|| Server::new(world));
    let mut typist = Typist::new(world);
    let before = typist.settings();
    if *deed == Deed::HungUp {
        typist.step("trap : HUP");
    }
    let line = line(world, setting, server.as_ref());
    typist.keys(&format!("{line}\n"));
    typist.wait("\r\n");
    let mut seen = Seen::default();
    let screen = act(world, engine, setting, deed, &mut typist);
    if [Deed::Closed, Deed::HungUp].contains(deed) {
        return seen;
    }
    // What dash says of a job holds its number.
    let screen = screen + &typist.wait(PROMPT);
    until("the terminal is as it was", || (typist.settings() == before).then_some(()));
    // One line: two would be echoed in whichever order.
    typist.keys("echo code=$?\n");
    let code = typist.wait("\r\ncode=") + &typist.wait(PROMPT);
    if *deed == Deed::Killed {
        // Whoever keeps the terminal may come behind the shell that saw the death.
        let shown = screen.clone() + &code;
        assert!(engine == Engine::Host || shown.contains("\x1b[?1000l"), "modes are left on: {shown:?}");
    } else if setting != Setting::Tmux && ![Deed::TypedAhead, Deed::Paged].contains(deed) {
        seen.note("screen", told(screen.clone(), setting, deed));
    }
    let at = code.find("\r\ncode=").unwrap_or_else(|| panic!("no code: {screen:?}, {code:?}"));
    seen.note("code", &code[at..]);
    let _ = fs::remove_file(world.path("out/tmux")); // tmux leaves its socket.
    seen.note("tmux's code", fs::read(world.path("p/code")).unwrap_or_default());
    seen
}

/// The screen without what differs from run to run: bash says `Quit` of a child only where that died before bash looked,
/// and of the key itself the echo was seen to be lost under script on a busy machine, which is a known gap. xargs waits for
/// nobody: the shell's words may come before the echo of the key. In a pipeline what goes through the other program and what goes
/// past it race, within a line too: a line may come from the guest in pieces.
fn told(screen: String, setting: Setting, deed: &Deed) -> String {
    match deed {
        Deed::Exits(_) if setting == Setting::Pipeline => {
            let mut characters: Vec<char> = screen.chars().collect();
            characters.sort_unstable();
            characters.into_iter().collect()
        }
        Deed::Key(..) if setting == Setting::XargsTyped => String::new(),
        Deed::Key('\x1c', _) => screen.replace("Quit\r\n", "").replace("^\\", ""),
        _ => screen,
    }
}

/// What is typed to start it.
fn line(world: &World, setting: Setting, server: Option<&Server>) -> String {
    let text = |path: &Path| String::from_utf8(quoted(path.as_os_str().as_bytes())).expect("text");
    match setting {
        Setting::Mixed => "echo piped | bash job".into(),
        Setting::Background => "bash job & wait $!".into(),
        Setting::MakeTyped => "make -s -f ../out/rules".into(),
        Setting::XargsTyped => "echo word | xargs bash job".into(),
        Setting::Pipeline => "bash job | cat".into(),
        Setting::Less => "bash job | LESS= less".into(),
        Setting::Script => "script -qec 'bash job' /dev/null".into(),
        Setting::Tmux => {
            world.write("p/outer", "exec tmux -S ../out/tmux -f /dev/null new-session 'bash job; echo $? >code'\n");
            "bash outer".into()
        }
        Setting::Ssh => {
            let server = server.expect("a server");
            let job = text(&world.path("p/job"));
            let remote = String::from_utf8(quoted(format!("exec bash {job}").as_bytes())).expect("text");
            let key = text(&world.path("out/ssh/id"));
            let quiet =
                "-qtt -F none -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o IdentitiesOnly=yes";
            world.write("p/outer", format!("exec ssh {quiet} -i {key} -p {} 127.0.0.1 {remote}\n", server.port));
            "bash outer".into()
        }
        _ => "bash job".into(),
    }
}

/// Does what is to be done while the program runs; what was on the screen meanwhile.
fn act(world: &World, engine: Engine, setting: Setting, deed: &Deed, typist: &mut Typist) -> String {
    let mut screen = String::new();
    match deed {
        Deed::Gets(Signal::SIGTSTP, false) if matches!(setting, Setting::Terminal | Setting::Mixed) => {
            stop_by_signal(world, engine, typist)
        }
        Deed::Gets(signal, caught) => send(world, *signal, *caught, setting),
        Deed::Key(key, _) => {
            // In a pipeline the keys are whoever's is behind it.
            let program = if setting == Setting::Pipeline { ready(world) } else { settle(world, engine) };
            typist.keys(&key.to_string());
            if setting == Setting::XargsTyped {
                // xargs waits for nobody, and what is typed next could still be read by the program.
                until("the program is gone", || matches!(state(program), None | Some('Z')).then_some(()));
            }
        }
        Deed::ReadsAll => {
            await_start(world, engine);
            typist.keys("abc\n");
            screen += &typist.wait("abc\r\nabc\r\n");
            typist.keys("\x04");
        }
        Deed::TypesLines => {
            settle(world, engine);
            for word in ["one", "tw\u{f6}", "x\x7fthree"] {
                typist.keys(&format!("{word}\n"));
                screen += &typist.wait(&format!("got <{}>", word.trim_start_matches("x\x7f")));
            }
        }
        Deed::StopsAndGoesOn => {
            settle(world, engine);
            typist.keys("\x1a");
            screen += &typist.wait(PROMPT);
            typist.keys("fg\n");
            screen += &typist.wait("fg\r\n");
            screen += &typist.wait("bash job");
            settle(world, engine);
            typist.keys("hello\n");
        }
        Deed::TypedAhead => {
            await_start(world, engine);
            typist.keys("first\n");
            typist.wait("got <first>");
            ready(world);
            typist.keys("echo typed''ahead\n");
            world.write("p/go", "");
            typist.wait("typedahead\r\n");
        }
        Deed::Paged => turn_pages(typist),
        Deed::Closed => {
            let pid = settle(world, engine);
            typist.close();
            until("the program is gone", || state(pid).is_none().then_some(()));
            until("nothing of it runs", || leaks::processes(world).is_empty().then_some(()));
        }
        Deed::HungUp => {
            settle(world, engine);
            typist.close();
            until("the program has found out", || world.path("p/files").exists().then_some(()));
            until("nothing of it runs", || leaks::processes(world).is_empty().then_some(()));
        }
        Deed::Killed => {
            let pid = settle(world, engine);
            kill(pid, Signal::SIGKILL).expect("kill");
            until("nothing of it runs", || leaks::processes(world).is_empty().then_some(()));
        }
        Deed::Resized => {
            settle(world, engine);
            for n in 0..300 {
                typist.resize(20 + n % 30, 60 + n % 50);
            }
            typist.resize(23, 71);
        }
        Deed::Pasted => {
            settle(world, engine);
            let text: String = (0..1 << 20).map(|n| char::from(b' ' + (n * 7 % 94) as u8)).collect();
            typist.keys(&format!("\x1b[200~{text}\x1b[201~"));
        }
        Deed::Asks => {
            settle(world, engine);
            screen += &typist.wait("\x1b[6n");
            typist.keys(ANSWERS);
        }
        _ => {}
    }
    screen
}

/// The first page, the second, and away.
fn turn_pages(typist: &mut Typist) {
    typist.wait("\r\n39\r\n");
    typist.wait(":");
    typist.keys(" ");
    typist.wait("\r\n78\r\n");
    typist.keys("q");
}

fn stop_by_signal(world: &World, engine: Engine, typist: &mut Typist) {
    let pid = settle(world, engine);
    kill(pid, Signal::SIGTSTP).expect("kill");
    typist.wait(PROMPT);
    typist.keys("fg\n");
    typist.wait("fg\r\n");
    typist.wait("bash job");
    until("it goes on", || (state(pid) != Some('T')).then_some(()));
    settle(world, engine);
    kill(pid, Signal::SIGTERM).expect("kill");
}

/// Waits until the program is ready and has the terminal; its process.
fn settle(world: &World, engine: Engine) -> nix::unistd::Pid {
    ready(world);
    await_start(world, engine)
}

/// Waits until what is typed is for the program: here at once, else when vmclaude has its terminal.
fn await_start(world: &World, engine: Engine) -> nix::unistd::Pid {
    let pid = until("it is started", || {
        let text = fs::read_to_string(world.path("p/pid")).ok()?;
        Some(nix::unistd::Pid::from_raw(text.trim().parse().ok()?))
    });
    until("the terminal is the program's", || {
        let mut options = fs::OpenOptions::new();
        let options = options.read(true).custom_flags(nix::libc::O_NOCTTY);
        let terminal = options.open(format!("/proc/{pid}/fd/2")).ok()?;
        let raw = tcgetattr(&terminal).is_ok_and(|modes| !modes.local_flags.contains(LocalFlags::ICANON));
        (raw || engine == Engine::Host).then_some(())
    });
    pid
}

/// An sshd of the test's own, on loopback.
struct Server {
    port: u16,
    child: std::process::Child,
    _plain: tempfile::TempDir,
}

impl Server {
    fn new(world: &World) -> Server {
        let dir = world.path("out/ssh");
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).expect("mkdir");
        let _ = fs::create_dir_all("/run/sshd"); // It wants this directory when root starts it.
        let keygen = |name: &str| {
            let mut command = world.command("ssh-keygen");
            let done = command.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(dir.join(name)).status();
            assert!(done.expect("ssh-keygen").success());
        };
        keygen("host");
        keygen("id");
        // sshd knows no quotes in these; links have plain names.
        let plain = tempfile::Builder::new().prefix("vmclaude-ssh").tempdir().expect("dir");
        std::os::unix::fs::symlink(&dir, plain.path().join("d")).expect("ln");
        let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = socket.local_addr().expect("an address").port();
        drop(socket);
        let d = plain.path().join("d");
        let config = format!(
            "ListenAddress 127.0.0.1\nPort {port}\nHostKey {0}/host\nAuthorizedKeysFile {0}/id.pub\nStrictModes no\n\
             UsePAM no\nPermitRootLogin yes\nPidFile none\nPrintMotd no\nPrintLastLog no\n",
            d.display()
        );
        fs::write(dir.join("config"), config).expect("write");
        let mut command = std::process::Command::new(SSHD);
        command.args(["-D", "-f"]).arg(d.join("config"));
        command.stdin(std::process::Stdio::null()).stderr(std::process::Stdio::null());
        let child = command.spawn().expect("sshd");
        until("sshd listens", || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
        Server { port, child, _plain: plain }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
