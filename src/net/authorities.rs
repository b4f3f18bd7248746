//! The certificate authorities that this host trusts beyond its distribution's list: a company's network must work in the
//! guest too.

use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Certificates in PEM form, by a digest of what they say.
pub type Certificates = BTreeMap<String, String>;

/// Where distributions keep all that is trusted in one file; the first that is there counts.
const BUNDLES: [&str; 4] = [
    "etc/ssl/certs/ca-certificates.crt",
    "etc/pki/tls/certs/ca-bundle.crt",
    "etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "etc/ssl/ca-bundle.pem",
];

/// Variables by which programs of the host's are told of one more file: the first is Claude Code's own.
const NAMED: [&str; 2] = ["NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE"];

/// The most that a guest is told of: a host that lists more than ten times what is usual has no list of authorities there.
const MOST: usize = 2048;

/// What this host trusts: [`installed`], and what its variables name. For a guest, which adds what it lacks.
pub fn trusted<'a>(variable: impl Fn(&str) -> Option<&'a str>) -> Vec<String> {
    let root = Path::new("/");
    let named = NAMED.into_iter().filter_map(variable).map(PathBuf::from).collect::<Vec<_>>();
    beyond(root, &named).into_values().take(MOST).collect()
}

/// What the host added below `/usr/local/share/ca-certificates`, and what its bundle holds and its distribution's
/// directory does not (some hosts only have the bundle). Whether the guest lacks it is decided in the guest.
pub fn installed(root: &Path) -> Certificates {
    beyond(root, &[])
}

fn beyond(root: &Path, named: &[PathBuf]) -> Certificates {
    let mut found = below(&root.join("usr/local/share/ca-certificates"));
    let bundle = BUNDLES.iter().map(|file| root.join(file)).find(|file| file.exists());
    let distribution = below(&root.join("usr/share/ca-certificates"));
    for file in bundle.iter().chain(named) {
        let text = text(file);
        found.extend(certificates(&text).filter(|(digest, _)| !distribution.contains_key(digest)));
    }
    found.extend(keychains());
    found
}

/// Only a plain file, and none that is no list of certificates: a variable may name anything.
fn text(file: &Path) -> String {
    const LARGEST: u64 = 16 << 20;
    let plain = std::fs::metadata(file).is_ok_and(|meta| meta.is_file() && meta.len() <= LARGEST);
    if plain { String::from_utf8_lossy(&std::fs::read(file).unwrap_or_default()).into_owned() } else { String::new() }
}

/// What a Mac keeps in its keychains.
#[cfg(target_os = "macos")]
fn keychains() -> Certificates {
    use base64::Engine;
    let pem = |der: &[u8]| {
        let body = base64::engine::general_purpose::STANDARD.encode(der);
        certificates(&format!("{BEGIN}\n{body}\n{END}\n")).next()
    };
    rustls_native_certs::load_native_certs().certs.iter().filter_map(|der| pem(der)).collect()
}

#[cfg(not(target_os = "macos"))]
fn keychains() -> Certificates {
    Certificates::new()
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
                found.extend(certificates(&text(&path)));
            }
        }
    }
    found
}

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

/// The certificates in a text, each by its digest. Private keys and whatever else is there stay behind.
fn certificates(text: &str) -> impl Iterator<Item = (String, String)> + '_ {
    text.split(BEGIN).skip(1).filter_map(|rest| {
        let body: Vec<&str> = rest.split_once(END)?.0.split_whitespace().collect();
        let plain = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'+' | b'/' | b'=');
        if body.is_empty() || !body.iter().all(|line| line.bytes().all(plain)) {
            return None;
        }
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
        let found: Vec<_> = installed(root.path()).into_values().collect();
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found.contains(&pem("QkJC")) && found.contains(&pem("Q0ND")));
        let key = "-----BEGIN PRIVATE KEY-----\nS0VZ\n-----END PRIVATE KEY-----\n";
        write("home/company.pem", pem("RERE") + key + &pem("$(id)") + &pem("QUFBQUFB"));
        let named = [root.path().join("home/company.pem"), "/dev/zero".into(), "nowhere".into()];
        let more: Vec<_> = beyond(root.path(), &named).into_values().collect();
        assert_eq!(more.len(), 3, "{more:?}");
        assert!(more.contains(&pem("RERE")) && more.iter().all(|pem| !pem.contains("S0VZ")));
    }
}
