//! The certificate authorities that the host trusts, for this machine's programs.

use crate::sys::{at, make_dir};
use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::symlink;
use std::path::Path;

/// All that is trusted, in one file: for curl, git, apt and, by variables, Node.js, Python's packages and others.
const BUNDLE: &str = "/etc/ssl/certs/ca-certificates.crt";
/// Where Debian expects what a machine trusts beyond its list, so that the bundle can be made anew at any time.
const OWN: &str = "/usr/local/share/ca-certificates";
/// Where OpenSSL looks by itself: Python does, too.
const OPENSSL: &str = "/usr/lib/ssl/cert.pem";

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

/// What is trusted already. To read and take it apart is as much work as all else that a session sets up, so a machine that is
/// going to be copied knows it before.
pub(crate) struct Known(HashSet<String>);

impl Known {
    pub(crate) fn read() -> Known {
        Known::of(&std::fs::read_to_string(BUNDLE).unwrap_or_default())
    }

    fn of(bundle: &str) -> Known {
        Known(bundle.split(BEGIN).skip(1).filter_map(body).collect())
    }

    /// Those that are not known, whatever the lengths of their lines, each once.
    fn unknown(mut self, certificates: &[String]) -> Vec<&str> {
        let new = |text: &&String| text.split(BEGIN).nth(1).and_then(body).is_some_and(|body| self.0.insert(body));
        certificates.iter().filter(new).map(String::as_str).collect()
    }
}

/// Trusts these certificates, each a text, beside those that are trusted already.
///
/// # Errors
/// When a file cannot be written.
pub(crate) fn add(certificates: &[String], known: Option<Known>) -> io::Result<()> {
    if certificates.is_empty() {
        return Ok(()); // Most machines: nothing is read.
    }
    let new = known.unwrap_or_else(Known::read).unknown(certificates);
    if new.is_empty() {
        return Ok(());
    }
    make_dir(Path::new(OWN))?;
    for (n, certificate) in new.iter().enumerate() {
        let file = Path::new(OWN).join(format!("of-the-host-{n}.crt"));
        std::fs::write(&file, certificate).map_err(|e| at("cannot write", &file, e))?;
    }
    let bundle = Path::new(BUNDLE);
    let mut to = File::options().append(true).create(true).open(bundle).map_err(|e| at("cannot open", bundle, e))?;
    to.write_all(new.concat().as_bytes()).map_err(|e| at("cannot write", bundle, e))?;
    match symlink(bundle, OPENSSL) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(at("cannot link", Path::new(OPENSSL), e)),
        _ => Ok(()),
    }
}

fn body(rest: &str) -> Option<String> {
    Some(rest.split_once(END)?.0.split_whitespace().collect())
}

#[cfg(test)]
mod tests {
    use super::{BEGIN, END, Known};

    #[test]
    fn only_what_is_not_known_is_new_and_only_once() {
        let pem = |body: &str| format!("{BEGIN}\n{body}\n{END}\n");
        let known = pem("QUFB\nQUFB") + &pem("QkJC").replace('\n', "\r\n");
        let told = ["QUFBQUFB", "Q0ND", "QkJC", "Q0\nND"].map(pem);
        assert_eq!(Known::of(&known).unknown(&told), [pem("Q0ND")]);
        assert_eq!(Known::of("").unknown(&["no certificate".to_owned()]), [""; 0]);
    }
}
