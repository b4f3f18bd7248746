//! Saved machines: which one fits, and what QEMU is told to save and to restore one. Data only.

use super::{
    Accel, Flavor, Life, Machine, PORT, SHARE_ADDRESS, SHARE_DEVICE, SHARE_QUEUE, SHARE_TAG, VOLUME, VOLUME_ADDRESS,
    program,
};
use crate::plan::Limits;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::fmt::Write;

/// The version of everything that a template depends on and that no argument shows: its file's form, and how the
/// supervisor makes itself ready.
pub const FORMAT: u32 = 2;

/// QEMU's name for the pipe.
const PIPE: &str = "state";

/// The event that says that the supervisor has opened its wire, and so waits for its host.
pub const OPENED: &str = "VSERPORT_CHANGE";
/// The event that says how far the restoring has come.
pub const RESTORING: &str = "MIGRATION";

/// What a file was: device, inode, bytes, and seconds and nanoseconds of its last change. Whoever verified an image
/// compared the very same, so no file is read again.
pub type Stamp = (u64, u64, u64, i64, i64);

/// The name of the template of this flavor that fits this machine: a digest of everything that its memory or its devices depend on.
/// `stamps`: of QEMU's program and the image's files; `cpu`: the host's processor, where the guest sees it.
pub fn key(machine: &Machine, limits: &Limits, flavor: Flavor, stamps: &[Stamp], cpu: &str) -> String {
    let mut digest = Sha256::new();
    digest.update(format!("{FORMAT} {stamps:?}\n"));
    for life in [Life::Template(flavor), Life::Copy] {
        let program = program(machine, limits, life, None);
        digest.update(format!("{:?} {:?}\n", program.path, program.args));
    }
    if machine.accel == Accel::Kvm {
        digest.update(cpu);
    }
    digest.finalize()[..16].iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The first words on a control connection: what QEMU may do, that shared memory stays where it is, and that we hear how it goes.
pub fn prepare() -> [Value; 2] {
    let wanted = ["x-ignore-shared", "events"].map(|name| json!({ "capability": name, "state": true }));
    [command("qmp_capabilities", json!({})), command("migrate-set-capabilities", json!({ "capabilities": wanted }))]
}

/// Takes the descriptor that comes with these words: the pipe for the state of devices. (By number, QEMU takes one for
/// reading but not for writing.)
pub fn take_pipe() -> Value {
    command("getfd", json!({ "fdname": PIPE }))
}

/// Saves the devices' state into the pipe. The machine stops; its memory is then complete where it is.
pub fn save() -> Value {
    command("migrate", json!({ "uri": format!("fd:{PIPE}") }))
}

/// Asks how the saving goes.
pub fn progress() -> Value {
    command("query-migrate", json!({}))
}

/// Restores the devices from the pipe. The machine stands still behind it.
pub fn restore() -> Value {
    command("migrate-incoming", json!({ "uri": format!("fd:{PIPE}") }))
}

/// Whether what comes with [`RESTORING`] says that everything is restored.
pub fn is_restored(data: &Value) -> bool {
    data["status"] == "completed"
}

/// Lets the machine run.
pub fn go() -> Value {
    command("cont", json!({}))
}

/// Plugs the share in; with a volume, that first: the guest looks when the first function is there. While the machine stands still, because
/// of what QEMU makes of a processor that works meanwhile (see [`super`]). Only with a volume is the share one of several functions: that is how
/// the guest knows that there is something to look for (`image/init/src/slot.rs`), before another processor of its own has work.
pub fn plug(volume: bool) -> Vec<Value> {
    let share = json!({
        "driver": SHARE_DEVICE, "id": "share", "chardev": "share", "tag": SHARE_TAG, "queue-size": SHARE_QUEUE, "bus": PORT,
        "addr": SHARE_ADDRESS, "multifunction": volume
    });
    if !volume {
        return vec![command("device_add", share)];
    }
    let disk = json!({
        "driver": "virtio-blk-pci", "id": VOLUME, "drive": VOLUME, "bus": PORT, "addr": VOLUME_ADDRESS, "multifunction": true,
        "werror": "report", "rerror": "report"
    });
    vec![command("device_add", disk), command("device_add", share)]
}

fn command(name: &str, arguments: Value) -> Value {
    json!({ "execute": name, "arguments": arguments })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::launch::Source;
    use crate::engine::qemu::Files;

    fn machine() -> Machine {
        let file = |name: &str| format!("/img/{name}").into();
        let files = Files {
            kernel: file("vmlinux"),
            initrd: file("initrd"),
            base: file("base"),
            claude: file("claude"),
            scratch: file("scratch"),
        };
        Machine { qemu: "/usr/bin/qemu".into(), accel: Accel::Tcg, cores: 2, files }
    }

    const LIMITS: Limits = Limits { cpus: None, memory: 1024 };

    /// The arguments without the kernel's command line and without what is told apart at the end.
    fn common(life: Life) -> Vec<String> {
        let args = program(&machine(), &LIMITS, life, Some("/v".as_ref())).args;
        let args: Vec<_> = args.iter().map(|a| a.to_string_lossy().into_owned()).collect();
        let port = args.iter().position(|a| a.starts_with("pcie-root-port")).expect("a port");
        args[..=port]
            .iter()
            .map(|a| a.replace(" vmclaude.template.claude", "").replace(" vmclaude.template", ""))
            .collect()
    }

    #[test]
    fn a_copy_has_the_machine_of_its_template() {
        assert_eq!(common(Life::Template(Flavor::Plain)), common(Life::Copy));
        assert_eq!(common(Life::Template(Flavor::Claude)), common(Life::Copy));
        assert_eq!(common(Life::Boot), common(Life::Copy));
        assert_eq!(common(Life::Trial), common(Life::Copy));
    }

    #[test]
    fn nothing_of_a_user_is_attached_to_a_template() {
        let template = program(&machine(), &LIMITS, Life::Template(Flavor::Claude), Some("/v".as_ref()));
        let text = format!("{:?}", template.args);
        assert!(!text.contains("volume"), "{text}");
        assert!(!template.fds.iter().any(|s| matches!(s, Source::Dir(..) | Source::ShareListener | Source::Volume(_))));
    }

    #[test]
    fn whatever_differs_has_another_key() {
        let stamps = [(1, 2, 3, 4, 5)];
        let key_of = |m: &Machine, l: &Limits| key(m, l, Flavor::Plain, &stamps, "cpu");
        let first = key_of(&machine(), &LIMITS);
        assert_eq!(first, key_of(&machine(), &LIMITS));
        assert_eq!(first.len(), 32);
        let more = Limits { memory: 2048, ..LIMITS };
        let one = Limits { cpus: Some(1), ..LIMITS };
        let kvm = Machine { accel: Accel::Kvm, ..machine() };
        let qemu = Machine { qemu: "/usr/local/bin/qemu".into(), ..machine() };
        let others = [
            key_of(&machine(), &more),
            key_of(&machine(), &one),
            key_of(&kvm, &LIMITS),
            key_of(&qemu, &LIMITS),
            key(&machine(), &LIMITS, Flavor::Plain, &[(1, 2, 3, 4, 6)], "cpu"),
            key(&machine(), &LIMITS, Flavor::Claude, &stamps, "cpu"),
        ];
        assert!(others.iter().all(|k| *k != first));
        assert_eq!(
            key(&machine(), &LIMITS, Flavor::Plain, &stamps, "other"),
            first,
            "an emulated processor is the same everywhere"
        );
        assert_ne!(key(&kvm, &LIMITS, Flavor::Plain, &stamps, "other"), others[2]);
    }

    #[test]
    fn the_words_to_qemu() {
        assert_eq!(restore().to_string(), r#"{"arguments":{"uri":"fd:state"},"execute":"migrate-incoming"}"#);
        assert_eq!(go().to_string(), r#"{"arguments":{},"execute":"cont"}"#);
        assert!(is_restored(&json!({"status": "completed"})) && !is_restored(&json!({"status": "active"})));
        assert_eq!(save().to_string(), r#"{"arguments":{"uri":"fd:state"},"execute":"migrate"}"#);
        assert_eq!(take_pipe().to_string(), r#"{"arguments":{"fdname":"state"},"execute":"getfd"}"#);
        assert_eq!(
            plug(false).iter().map(Value::to_string).collect::<Vec<_>>(),
            [
                r#"{"arguments":{"addr":"0.0","bus":"share-port","chardev":"share","driver":"vhost-user-fs-pci","id":"share","multifunction":false,"queue-size":1024,"tag":"vmclaude"},"execute":"device_add"}"#
            ]
        );
        let both = plug(true);
        let at = |n: usize| both[n]["arguments"]["addr"].as_str();
        assert!(
            both.iter().all(|one| one["arguments"]["multifunction"] == true),
            "the guest is told that there are two"
        );
        assert_eq!((both.len(), at(0), at(1)), (2, Some("0.1"), Some("0.0")), "the first function comes last");
    }
}
