//! What Apple's service keeps on disk, where it keeps it, and what the double is asked to do wrong.

use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// See the module.
pub(crate) struct State {
    root: PathBuf,
    pub(crate) home: PathBuf,
}

/// How the double is to behave: `double.json` in its directory. Without it, as a sound 1.2.2 whose service runs.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Double {
    /// Whether the service runs.
    pub(crate) running: bool,
    /// The program's version.
    pub(crate) client: String,
    /// The service's.
    pub(crate) server: String,
    /// Whether there is a kernel; without, `system start` asks.
    pub(crate) kernel: bool,
    /// Whether the service runs once it was started.
    pub(crate) starts: bool,
    /// Commands that never answer.
    pub(crate) hang: Vec<String>,
    /// Commands that answer late: milliseconds.
    pub(crate) slow: BTreeMap<String, u64>,
    /// For how many milliseconds a container is `stopping` after its process ended.
    pub(crate) stopping: u64,
    /// A destination whose mount is dropped without a word (#2148).
    pub(crate) drop_mount: Option<String>,
    /// Whether sockets are relayed.
    pub(crate) relay: bool,
    /// Every so many seconds the guest's clock is set by the host's.
    pub(crate) set_clock: u64,
}

impl Default for Double {
    fn default() -> Double {
        Double {
            running: true,
            client: "1.2.2".into(),
            server: "1.2.2".into(),
            kernel: true,
            starts: true,
            hang: Vec::new(),
            slow: BTreeMap::new(),
            stopping: 0,
            drop_mount: None,
            relay: true,
            set_clock: 30,
        }
    }
}

/// The state of one container beside its configuration.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Entity {
    pub(crate) state: String,
    pub(crate) started: Option<String>,
}

impl State {
    #[allow(clippy::disallowed_methods)] // Host is for the program under test
    pub(crate) fn open() -> State {
        let home = PathBuf::from(std::env::var_os("HOME").unwrap_or_else(|| "/nonexistent".into()));
        State { root: home.join("Library/Application Support/com.apple.container"), home }
    }

    pub(crate) fn double(&self) -> Double {
        match fs::read(self.root.join("double.json")) {
            Ok(text) => serde_json::from_slice(&text).expect("double.json"),
            Err(_) => Double::default(),
        }
    }

    pub(crate) fn set_double(&self, double: &Double) {
        let _ = fs::create_dir_all(&self.root);
        let _ = fs::write(self.root.join("double.json"), serde_json::to_vec(double).expect("JSON"));
    }

    pub(crate) fn images(&self) -> BTreeMap<String, Value> {
        fs::read(self.root.join("images.json")).ok().and_then(|t| serde_json::from_slice(&t).ok()).unwrap_or_default()
    }

    pub(crate) fn add_image(&self, reference: &str, image: &Value) {
        let mut all = self.images();
        all.insert(reference.to_owned(), image.clone());
        let _ = fs::create_dir_all(&self.root);
        let _ = fs::write(self.root.join("images.json"), serde_json::to_vec(&all).expect("JSON"));
    }

    /// The builder's settings at its last start, and how often it was started anew.
    pub(crate) fn builder(&self) -> PathBuf {
        self.root.join("builder.json")
    }

    pub(crate) fn container(&self, name: &str) -> PathBuf {
        self.root.join("containers").join(name)
    }

    /// A directory beside the containers, for one that is not there yet or no longer.
    pub(crate) fn aside(&self, name: &str) -> io::Result<PathBuf> {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_nanos());
        let dir = self.root.join("aside").join(format!("{name}.{now:x}"));
        fs::create_dir_all(&dir)?;
        Ok(dir)
    }

    /// What was made aside is a container from now on, unless there is one of this name.
    pub(crate) fn place(&self, dir: &Path, name: &str) -> io::Result<()> {
        fs::create_dir_all(self.root.join("containers"))?;
        // An empty directory would be replaced, and no container's is.
        fs::rename(dir, self.container(name))
    }

    /// Removes a container at once: nobody sees a part of it.
    pub(crate) fn remove(&self, name: &str) -> io::Result<()> {
        self.discard(&self.container(name), name)
    }

    /// The directory of a volume.
    pub(crate) fn volume(&self, name: &str) -> PathBuf {
        self.root.join("volumes").join(name)
    }

    /// Removes a directory at once.
    pub(crate) fn discard(&self, dir: &Path, name: &str) -> io::Result<()> {
        let aside = self.aside(name)?;
        let moved = fs::rename(dir, &aside);
        fs::remove_dir_all(aside)?;
        moved
    }

    pub(crate) fn exists(&self, name: &str) -> bool {
        self.container(name).join("config.json").exists()
    }

    /// The names of all containers. One whose helper died is cleaned up first, as the service does.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.root.join("containers")).into_iter().flatten().flatten();
        let names: Vec<String> = entries.map(|e| e.file_name().to_string_lossy().into_owned()).collect();
        names.iter().for_each(|name| self.reconcile(name));
        names.into_iter().filter(|name| self.exists(name)).collect()
    }

    fn reconcile(&self, name: &str) {
        let dir = self.container(name);
        let Some(entity) = self.entity(name) else { return };
        if entity.state != "stopped" && lock(&dir).is_ok() {
            match self.config(name).is_some_and(|c| c["autoRemove"] == true) {
                true => drop(self.remove(name)),
                false => self.set_entity(name, &Entity { state: "stopped".into(), ..entity }),
            }
        }
    }

    pub(crate) fn config(&self, name: &str) -> Option<Value> {
        serde_json::from_slice(&fs::read(self.container(name).join("config.json")).ok()?).ok()
    }

    pub(crate) fn entity(&self, name: &str) -> Option<Entity> {
        serde_json::from_slice(&fs::read(self.container(name).join("entity.json")).ok()?).ok()
    }

    pub(crate) fn set_entity(&self, name: &str, entity: &Entity) {
        let dir = self.container(name);
        let new = dir.join("entity.new");
        let text = serde_json::to_vec(entity).expect("JSON");
        let _ = fs::write(&new, text).and_then(|()| fs::rename(new, dir.join("entity.json")));
    }

    /// One container as `list` and `inspect` show it; without what is only the double's.
    pub(crate) fn shown(&self, name: &str) -> Option<Value> {
        let (mut config, entity) = (self.config(name)?, self.entity(name)?);
        let map = config.as_object_mut()?;
        map.retain(|key, _| key != "autoRemove" && key != "double");
        let mut status = json!({ "networks": [], "state": entity.state });
        if let Some(started) = entity.started {
            status["startedDate"] = started.into();
        }
        Some(json!({ "configuration": config, "id": name, "status": status }))
    }
}

/// The lock that a container's helper holds while it lives.
pub(crate) fn lock(dir: &Path) -> io::Result<Flock<File>> {
    let file = File::options().create(true).truncate(false).write(true).open(dir.join("lock"))?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, e)| e.into())
}

/// Now, as the service writes dates.
pub(crate) fn now() -> String {
    let seconds = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let (days, rest) = (seconds / 86400, seconds % 86400);
    // Civil from days, after 1970.
    let z = days + 719_468;
    let (era, doe) = (z / 146_097, z % 146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let (day, month) = (doy - (153 * mp + 2) / 5 + 1, if mp < 10 { mp + 3 } else { mp - 9 });
    let year = yoe + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", rest / 3600, rest / 60 % 60, rest % 60)
}
