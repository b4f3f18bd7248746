//! The stand-in for Anthropic's Messages API on this machine's loopback (`fake_anthropic.py`).

use super::until;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// See the module. Ends when dropped.
pub(crate) struct Api {
    pub(crate) addr: SocketAddr,
    log: PathBuf,
    dump: PathBuf,
    server: Child,
}

impl Api {
    /// Starts one; `dir` is for its log.
    pub(crate) fn new(dir: &Path) -> Api {
        let (log, dump, port) = (dir.join("api.log"), dir.join("api.dump"), dir.join("api.port"));
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/fake_anthropic.py");
        let mut command = Command::new("python3");
        command.arg(script).arg("--log").arg(&log).arg("--port-file").arg(&port).arg("--dump").arg(&dump);
        let server = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().expect("python3");
        let number = until("the API listens", || fs::read_to_string(&port).ok()?.parse::<u16>().ok());
        Api { addr: ([127, 0, 0, 1], number).into(), log, dump, server }
    }

    /// All requests so far, a JSON text in each line.
    pub(crate) fn requests(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The bodies of all requests so far.
    pub(crate) fn bodies(&self) -> String {
        fs::read_to_string(&self.dump).unwrap_or_default()
    }

    /// The requests for messages so far, one JSON text each.
    pub(crate) fn messages(&self) -> Vec<String> {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        text.lines().filter(|l| l.contains("/v1/messages")).map(str::to_owned).collect()
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}
