//! Which accelerator, and why: decided from facts, one of which is found out by trying.

use super::Accel;
use serde::{Deserialize, Serialize};

/// What a look at `/dev/kvm` tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Device {
    /// There is none.
    Missing,
    /// It is there and we may not open it: the reason.
    Closed(String),
    /// It can be opened. Whether it works is another question: it may hang, or abort QEMU.
    Open,
}

/// What a trial boot told, kept for as long as the same kernel runs with the same QEMU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trial {
    /// The host's boot and QEMU's file: what the verdict is about.
    pub about: String,
    /// Why KVM does not work; `None`: it does.
    pub failed: Option<String>,
}

/// The decision, with the reason that `status` shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// What runs the guest.
    pub accel: Accel,
    /// Why, in words.
    pub why: String,
    /// The command that would make it faster, when there is one.
    pub next: Option<String>,
}

/// Decides; `None`: only a trial boot can tell.
pub fn choose(device: &Device, trial: Option<&Trial>, about: &str) -> Option<Choice> {
    let emulate = |why: String, next: Option<&str>| Some(Choice { accel: Accel::Tcg, why, next: next.map(Into::into) });
    match (device, trial.filter(|t| t.about == about)) {
        (Device::Missing, _) => emulate("there is no /dev/kvm: is virtualisation on in the firmware?".into(), None),
        (Device::Closed(why), _) => emulate(
            format!("/dev/kvm cannot be opened ({why})"),
            Some("sudo usermod -aG kvm \"$USER\"   # then log in again"),
        ),
        (Device::Open, Some(Trial { failed: None, .. })) => {
            Some(Choice { accel: Accel::Kvm, why: "/dev/kvm works".into(), next: None })
        }
        (Device::Open, Some(Trial { failed: Some(why), .. })) => {
            emulate(format!("/dev/kvm is there and does not work: {why}"), None)
        }
        (Device::Open, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kvm_is_used_only_when_a_trial_of_this_boot_and_this_qemu_worked() {
        let trial = |about: &str, failed: Option<&str>| Trial { about: about.into(), failed: failed.map(Into::into) };
        let accel = |device: &Device, trial: Option<&Trial>| choose(device, trial, "boot1").map(|c| c.accel);
        assert_eq!(accel(&Device::Missing, Some(&trial("boot1", None))), Some(Accel::Tcg));
        assert_eq!(accel(&Device::Closed("permission".into()), None), Some(Accel::Tcg));
        assert_eq!(accel(&Device::Open, Some(&trial("boot1", None))), Some(Accel::Kvm));
        assert_eq!(accel(&Device::Open, Some(&trial("boot1", Some("it hangs")))), Some(Accel::Tcg));
        assert_eq!(accel(&Device::Open, Some(&trial("boot0", None))), None, "another boot: try again");
        assert_eq!(accel(&Device::Open, None), None);
        let closed = choose(&Device::Closed("permission denied".into()), None, "b").expect("a choice");
        assert!(closed.next.expect("a command").contains("usermod -aG kvm"));
    }
}
