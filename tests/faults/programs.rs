//! Programs that stand in for QEMU and misbehave: on the wire, at the share, on the control connection.

use crate::case::{Case, Lab, Outcome};
use crate::support::{Limited, leaks, until};
use nix::sys::signal::Signal;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

/// What a machine does on the wire: `wire` is its end. Hello is 16 bytes, the version in the ninth.
const WIRE: &[(&str, &str, &str)] = &[
    ("QEMU starts", "error: exits with 0", "sys.exit(0)"),
    ("QEMU starts", "error: exits with 1 and words", "sys.stderr.write('no such device\\n'); sys.exit(1)"),
    ("QEMU starts", "kill -9", "os.kill(os.getpid(), 9)"),
    ("QEMU starts", "error: closes the wire", "wire.close(); time.sleep(600)"),
    ("hello", "error: not ours", "wire.recv(16); wire.sendall(b'x' * 16); time.sleep(600)"),
    ("hello", "error: half", "wire.recv(16); wire.sendall(b'vmcl'); sys.exit(0)"),
    (
        "hello",
        "error: another version",
        "h = bytearray(wire.recv(16)); h[8] = 99; wire.sendall(bytes(h)); time.sleep(600)",
    ),
    ("hello", "kill -9", "wire.recv(16); os.kill(os.getpid(), 9)"),
    ("after hello", "error: end", "wire.sendall(wire.recv(16)); sys.exit(0)"),
    ("after hello", "error: garbage", "wire.sendall(wire.recv(16)); wire.sendall(b'\\xff' * 4096); time.sleep(600)"),
    ("after hello", "error: zeroes", "wire.sendall(wire.recv(16)); wire.sendall(b'\\0' * 4096); time.sleep(600)"),
    ("after hello", "error: half a frame", "wire.sendall(wire.recv(16)); wire.sendall(b'\\1\\0\\0'); sys.exit(0)"),
    ("after hello", "kill -9", "wire.sendall(wire.recv(16)); wire.recv(100); os.kill(os.getpid(), 9)"),
    ("share", "error: nobody comes", "share.close(); sys.exit(4)"),
    ("share", "error: garbage", "share.connect(path); share.sendall(b'\\xff' * 4096); time.sleep(600)"),
    ("share", "error: hangs up", "share.connect(path); share.close(); time.sleep(600)"),
];

/// As above, and the machine goes on for ever: a person ends it.
const SILENT: &[(&str, &str)] = &[
    ("QEMU starts", "time.sleep(600)"),
    ("hello", "wire.recv(16); wire.sendall(b'vmcl'); time.sleep(600)"),
    ("after hello", "wire.sendall(wire.recv(16)); time.sleep(600)"),
    ("share", "share.connect(path); time.sleep(600)"),
];

/// What a copy does on its control connection, at which command. After it, a boot is tried, and that one dies.
const COMMANDS: [&str; 5] = ["qmp_capabilities", "migrate-set-capabilities", "getfd", "migrate-incoming", "device_add"];
const CONTROL: &[(&str, &str)] = &[
    ("error", "say({'error': {'desc': 'no'}}); time.sleep(600)"),
    ("error: garbage", "control.sendall(b'\\0\\xff\\n'); time.sleep(600)"),
    ("error: hangs up", "control.close(); time.sleep(600)"),
    ("kill -9", "os.kill(os.getpid(), 9)"),
];

/// Where a stand-in has its ends of what QEMU is given.
pub(crate) const HEAD: &str = r"#!/usr/bin/python3 -IS
import json, os, re, socket, sys, time
words = ' '.join(sys.argv)
fd = lambda what: int(re.search(what + r',fd=(\d+)', words).group(1))
wire = socket.socket(fileno=fd('id=wire'))
share = socket.socket(socket.AF_UNIX)
path = (re.search(r'id=share,path=(\S+)', words) or [0, ''])[1]
";

const COPY: &str = r"
if 'id=control' not in words: sys.exit(3)
control = socket.socket(fileno=fd('id=control'))
say = lambda what: control.sendall(json.dumps(what).encode() + b'\n')
say({'QMP': {}})
lines = control.makefile()
for line in lines:
    if json.loads(line)['execute'] == FAULTY: break
    say({'return': {}})
    if 'migrate-incoming' in line: say({'event': 'RESUME', 'data': {}})
";

/// Lets go of what the test does not need; the machine's own end of the wire stays.
fn machine(does: &str) -> String {
    format!("{HEAD}{}\n", does.replace("; ", "\n"))
}

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (step, fault, does) in WIRE {
        cases.push(Case::new(*step, fault, move |lab| Ok(Outcome::Ended(with(lab, &machine(does))))));
    }
    for (step, does) in SILENT {
        cases.push(Case::new(*step, "hang, and TERM", move |lab| {
            lab.qemu(&machine(does));
            let mut live = lab.run().live();
            until("QEMU and the share run", || (leaks::processes(&lab.world).len() >= 3).then_some(()));
            live.signal(Signal::SIGTERM);
            let done = live.end();
            lab.as_before();
            match done.end() {
                (None, Some(15)) => Ok(Outcome::Killed(done)),
                _ => Err(format!("{done:?}")),
            }
        }));
    }
    for command in COMMANDS {
        for (fault, does) in CONTROL {
            let program =
                format!("{HEAD}{}{}\n", COPY.replace("FAULTY", &format!("'{command}'")), does.replace("; ", "\n"));
            cases.push(Case::new(format!("a copy's {command}"), fault, move |lab| copy(lab, &program)));
        }
    }
    for (fault, mode) in [("error: not executable", 0o644), ("error: not readable", 0o000)] {
        cases.push(Case::new("QEMU's program", fault, move |lab| {
            lab.as_before();
            let path = lab.world.path("opt/qemu");
            fs::set_permissions(&path, PermissionsExt::from_mode(mode)).map_err(|e| e.to_string())?;
            let done = lab.run().done();
            fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).map_err(|e| e.to_string())?;
            Ok(Outcome::Ended(done))
        }));
    }
    cases
}

fn with(lab: &Lab, program: &str) -> crate::support::Done {
    lab.qemu(program);
    let done = lab.run().done();
    lab.as_before();
    done
}

/// A run that finds a template: an empty one, of which nothing but its form is right.
fn copy(lab: &Lab, program: &str) -> Result<Outcome, String> {
    lab.qemu(program);
    let template = template(lab)?;
    let done = lab.run().env("VMCLAUDE_WARM_START", "1").done();
    let there = template.exists();
    let _ = fs::remove_dir_all(lab.world.path("home/.cache/vmclaude/templates"));
    lab.as_before();
    match (there, done.err().contains("exited with 3")) {
        (false, true) => Ok(Outcome::Ended(done)),
        _ => Err(format!("no boot was tried, or the template is still there ({there}): {done:?}")),
    }
}

fn template(lab: &Lab) -> Result<PathBuf, String> {
    // It is known then what runs instructions, and with that, which template is meant.
    lab.run().done();
    let dry = lab.world.vmclaude(&["run", "--dry-run"]).env("VMCLAUDE_WARM_START", "1").done();
    let out = dry.out();
    let line = out.lines().find(|line| line.starts_with("or, while there is ")).ok_or(format!("{dry:?}"))?;
    let name = line.rsplit('/').next().unwrap_or_default().trim_end_matches([':', '\'']);
    let path = lab.world.path("home/.cache/vmclaude/templates").join(name);
    fs::create_dir_all(path.parent().expect("a parent")).map_err(|e| e.to_string())?;
    let part = |size: u64| serde_json::json!({ "size": size, "pieces": [] });
    let index = serde_json::json!({ "memory": part(4 << 30), "scratch": part(64 << 30), "state": part(0) });
    let text = serde_json::to_vec(&index).map_err(|e| e.to_string())?;
    let mut bytes = text.clone();
    bytes.extend((text.len() as u64).to_le_bytes());
    bytes.extend(crc32fast::hash(&text).to_le_bytes());
    bytes.extend(b"vmctmpl1");
    fs::write(&path, bytes).map_err(|e| e.to_string())?;
    fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).map_err(|e| e.to_string())?;
    lab.world.give("home");
    Ok(path)
}
