//! The certificates that this host trusts beyond its distribution's list: a company's proxy must work in the guest too.

use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Certificates in PEM form, by a digest of what they say.
pub(super) type Certificates = BTreeMap<String, String>;

/// What the host added below `/usr/local/share/ca-certificates`, and what its bundle holds and its distribution's
/// directory does not (some hosts only have the bundle). Whether the guest lacks it is decided in the guest.
pub(super) fn read(root: &Path) -> Certificates {
    let mut found = below(&root.join("usr/local/share/ca-certificates"));
    let bundle = std::fs::read_to_string(root.join("etc/ssl/certs/ca-certificates.crt")).unwrap_or_default();
    let distribution = below(&root.join("usr/share/ca-certificates"));
    found.extend(certificates(&bundle).filter(|(digest, _)| !distribution.contains_key(digest)));
    found
}

fn below(dir: &Path) -> Certificates {
    let mut found = Certificates::new();
    let mut dirs: Vec<PathBuf> = vec![dir.to_path_buf()];
    while let Some(dir) = dirs.pop() {
        let Ok(entries) = std::fs::read_dir(dir) else { continue };
        for path in entries.filter_map(|e| Some(e.ok()?.path())) {
            if path.is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|e| e == "crt") {
                found.extend(certificates(&std::fs::read_to_string(path).unwrap_or_default()));
            }
        }
    }
    found
}

fn certificates(text: &str) -> impl Iterator<Item = (String, String)> + '_ {
    const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
    const END: &str = "-----END CERTIFICATE-----";
    text.split(BEGIN).skip(1).filter_map(|rest| {
        let body: Vec<&str> = rest.split_once(END)?.0.split_whitespace().collect();
        let digest = format!("{:x}", Sha256::digest(body.concat()));
        Some((digest, format!("{BEGIN}\n{}\n{END}\n", body.join("\n"))))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pem(body: &str) -> String {
        format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n")
    }

    #[test]
    fn the_hosts_own_are_found_and_the_distributions_are_not() {
        let root = tempfile::tempdir().unwrap();
        let write = |name: &str, text: String| {
            let path = root.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("usr/share/ca-certificates/mozilla/a.crt", pem("QUFB\nQUFB"));
        write("usr/local/share/ca-certificates/company/b.crt", pem("QkJC"));
        write("etc/ssl/certs/ca-certificates.crt", pem("QUFBQUFB") + &pem("QkJC") + &pem("Q0ND").replace('\n', "\r\n"));
        let found: Vec<_> = read(root.path()).into_values().collect();
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found.contains(&pem("QkJC")) && found.contains(&pem("Q0ND")));
    }
}
