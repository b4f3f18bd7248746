//! The guest's image on macOS: what `container build` made of `image/Containerfile`, and what is known of it.

use crate::engine::apple::answers;
use crate::error::{Context, Failure, Result};
use crate::host::Dirs;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use vmclaude_init::wire::proto::VERSION;

/// The processor of an image, as it is named in one.
pub const ARCH: &str = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
/// The label that says which version of the wire the supervisor inside speaks.
pub const WIRE_LABEL: &str = "vmclaude.wire";
/// The label that says which version of Claude Code is inside.
pub const CLAUDE_LABEL: &str = "vmclaude.claude";

const BUILD: &str = "vmclaude image build";

/// What the last build made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// Its name.
    pub reference: String,
    /// The digest of its index.
    pub digest: String,
    /// Seconds since 1970.
    pub created: u64,
    /// Claude Code's version.
    pub claude: String,
    /// The version of the wire that the supervisor inside speaks.
    pub wire: u16,
}

/// Where that is kept.
pub fn file(dirs: &Dirs) -> PathBuf {
    dirs.images().join("apple.json")
}

impl Known {
    /// Reads what the last build wrote.
    ///
    /// # Errors
    /// When there was none.
    pub fn read(dirs: &Dirs) -> Result<Known> {
        let path = file(dirs);
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                return Err(Failure::new("there is no image to run").next(BUILD));
            }
            Err(e) => return Err(Failure::new(format!("cannot read {}", path.display())).because(e).next(BUILD)),
        };
        serde_json::from_slice(&text)
            .what(|| format!("cannot understand {}", path.display()))
            .map_err(|e| e.next(BUILD))
    }

    /// The image that is there is the one that was built, and fits this program.
    ///
    /// # Errors
    /// When it is another one.
    pub fn check(&self, image: &answers::Image) -> Result<()> {
        if image.digest != self.digest {
            return Err(Failure::new(format!("the image {} is not the one that was built", self.reference))
                .because(format!("its digest is {}, and {} was built", image.digest, self.digest))
                .next(BUILD));
        }
        let wire = image.labels.get(WIRE_LABEL);
        match wire.and_then(|w| w.parse::<u16>().ok()) {
            Some(VERSION) => Ok(()),
            _ => Err(Failure::new("the image does not fit this vmclaude")
                .because(format!(
                    "its supervisor speaks version {} of the wire, this program version {VERSION}",
                    wire.map_or("no", String::as_str)
                ))
                .next(BUILD)),
        }
    }
}
