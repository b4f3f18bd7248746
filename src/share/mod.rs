//! The share server: the directories of one run, served to its virtual machine over vhost-user.
//!
//! It is a process of its own, `vmclaude __share`, because it locks itself in. How to start it:
//!
//! 1. Open every directory of the plan with `O_PATH | O_DIRECTORY | O_NOFOLLOW` and check its identity on that descriptor.
//!    The server shares that very directory or nothing; a path is never trusted again.
//! 2. Bind and listen on a unix socket in a private directory (with a descriptor `d` of that directory,
//!    `/proc/self/fd/d/fs.sock` is short enough for any home), so there is no waiting until a socket appears.
//! 3. Start `vmclaude __share` in a session of its own (`setsid`), from a thread that lives as long as the program (the
//!    kernel ties a child to the *thread* that made it), with the JSON of [`Config`] on stdin up to its end, stderr into
//!    a log file, and all descriptors that the configuration names inherited under the same numbers.
//! 4. Close the listener on your side. Then QEMU, connecting to a server that died, fails at once instead of waiting.
//!
//! In the guest, the share is one virtiofs file system with a directory for each tag, and each of those (and each mount of
//! the user inside them) has a device number of its own: files of two file systems may have equal inode numbers, and `cp`
//! would take them for the same file. The guest mounts it once and binds the tags from there to where they belong. To mount
//! it a second time is a trap: Linux 6.1 then takes any of those inner file systems for the root.
//!
//! It ends with code 0 when QEMU hangs up, and otherwise with a failure on stderr. It dies with the process that started
//! it, however that ends; kill it with `SIGKILL` or `SIGTERM`. Nothing is left of it in either case: its mounts are its own. QEMU does not end with it,
//! and the guest then waits for its files for ever: whoever started both watches both.

mod bounded;
pub mod events;
mod guard;
mod nodes;
mod places;
mod queues;
mod rules;
mod sandbox;
mod server;

use crate::error::{Failure, Result};
use crate::plan::Plan;
use serde::{Deserialize, Serialize};
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStrExt;

pub use server::serve;

pub use crate::engine::share::VERB;

/// Everything that the server is told; nothing of it is on its command line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The process id of the one that starts it, and with which it dies.
    pub parent: u32,
    /// The listening unix socket for QEMU's vhost-user connection.
    pub listener: RawFd,
    /// What is shared.
    pub mounts: Vec<Mount>,
    /// What of it the guest never changes.
    pub protected: Vec<Protected>,
    /// The socket over which what the host does is told; `None`: it is not.
    pub events: Option<RawFd>,
    /// The user id in the guest that stands for the user who runs the server.
    pub guest_uid: u32,
    /// The group id in the guest that stands for that user's group.
    pub guest_gid: u32,
}

/// One directory of the share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mount {
    /// The directory, opened with `O_PATH` and checked by the one that starts the server.
    pub dir: RawFd,
    /// Its name in the root of the share.
    pub tag: String,
    /// Whether the guest may write.
    pub writable: bool,
    /// Whether the guest may believe nothing that it was told before.
    pub coherent: bool,
}

/// A path that is read-only, whether it is there or not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Protected {
    /// The mount.
    pub tag: String,
    /// From the mount's root: the bytes, because paths need not be text.
    pub path: Vec<u8>,
    /// Whether its last name is meant in this spelling only.
    pub exact: bool,
}

impl Config {
    /// What the server of this plan is told; `events` are not used where the plan wants none. `dirs` are the opened directories of `plan.mounts`, in that order.
    ///
    /// # Errors
    /// When a tag is used twice or is not the name of a directory, or the directories are not as many as the mounts.
    pub fn new(plan: &Plan, dirs: &[RawFd], listener: RawFd, events: RawFd, parent: u32) -> Result<Config> {
        if dirs.len() != plan.mounts.len() {
            return Err(Failure::new("cannot share the project").because(format!(
                "{} directories were opened for {} mounts",
                dirs.len(),
                plan.mounts.len()
            )));
        }
        let mount = |(m, dir): (&crate::plan::Mount, &RawFd)| Mount {
            dir: *dir,
            tag: m.tag.clone(),
            writable: m.writable,
            coherent: m.coherent,
        };
        let protected = |p: &crate::plan::Protected| Protected {
            tag: p.tag.clone(),
            path: p.path.as_os_str().as_bytes().to_vec(),
            exact: p.exact,
        };
        let config = Config {
            parent,
            listener,
            mounts: plan.mounts.iter().zip(dirs).map(mount).collect(),
            protected: plan.protected.iter().map(protected).collect(),
            events: plan.watch.enabled.then_some(events),
            guest_uid: plan.user.uid,
            guest_gid: plan.user.gid,
        };
        config.check()?;
        Ok(config)
    }

    /// What a server is told that serves nothing: it answers a machine that only has to find its device.
    ///
    /// # Errors
    /// None here.
    pub fn empty(listener: RawFd, parent: u32) -> Result<Config> {
        let (mounts, protected) = (Vec::new(), Vec::new());
        let config = Config { parent, listener, mounts, protected, events: None, guest_uid: 0, guest_gid: 0 };
        config.check()?;
        Ok(config)
    }

    /// Refuses a configuration whose tags are not different names of directories.
    fn check(&self) -> Result<()> {
        for (n, mount) in self.mounts.iter().enumerate() {
            let name = &mount.tag;
            let word = !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\0']);
            if !word || self.mounts[..n].iter().any(|m| m.tag == *name) {
                return Err(Failure::new("cannot share the project")
                    .because(format!("the tag {name:?} is used twice, or is not the name of a directory")));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Limits, User};

    fn plan(tags: &[&str]) -> Plan {
        let mount = |tag: &&str| crate::plan::Mount {
            host: format!("/h/{tag}").into(),
            guest: format!("/{tag}").into(),
            tag: (*tag).to_string(),
            writable: *tag != "ro",
            coherent: *tag == "work",
            identity: None,
        };
        Plan {
            argv: Vec::new(),
            cwd: "/".into(),
            mounts: tags.iter().map(mount).collect(),
            local: None,
            links: Vec::new(),
            env: Vec::new(),
            user: User { uid: 1500, gid: 1501 },
            protected: vec![crate::plan::Protected { tag: "work".into(), path: ".git/hooks".into(), exact: false }],
            limits: Limits { cpus: None, memory: 1 << 30 },
            network: crate::plan::Network::default(),
            setup: crate::plan::Setup::default(),
            watch: crate::plan::Watch::default(),
            ports: Vec::new(),
            clipboard: crate::screen::Clipboard::Deny,
        }
    }

    #[test]
    fn the_configuration_follows_the_plan_and_survives_json() {
        let config = Config::new(&plan(&["work", "ro"]), &[7, 8], 5, 9, 99).expect("good");
        assert_eq!(config.mounts[1], Mount { dir: 8, tag: "ro".into(), writable: false, coherent: false });
        assert!(config.mounts[0].coherent);
        assert_eq!(config.events, Some(9));
        assert_eq!(config.protected, [Protected { tag: "work".into(), path: b".git/hooks".to_vec(), exact: false }]);
        assert_eq!((config.guest_uid, config.guest_gid, config.listener, config.parent), (1500, 1501, 5, 99));
        let json = serde_json::to_string(&config).expect("json");
        assert_eq!(serde_json::from_str::<Config>(&json).expect("parses"), config);
        assert!(serde_json::from_str::<Config>(&json.replace("writable", "wriable")).is_err());
    }

    #[test]
    fn an_empty_share_has_nothing_of_anybodys() {
        let config = Config::empty(5, 99).expect("no tags");
        assert_eq!((config.mounts, config.protected, config.events), (vec![], vec![], None));
    }

    #[test]
    fn tags_that_are_no_names_or_not_different_are_refused() {
        for tags in [&["a", "a"][..], &[""], &["."], &[".."], &["a/b"], &["a\0"]] {
            assert!(Config::new(&plan(tags), &[3, 4][..tags.len()], 5, 9, 1).is_err(), "{tags:?}");
        }
        assert!(Config::new(&plan(&["a"]), &[], 5, 9, 1).is_err());
    }
}
