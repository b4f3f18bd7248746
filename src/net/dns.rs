//! Messages of the domain name system, as far as a go-between needs them: the question is understood and written anew, so
//! that nothing that the guest made up reaches the host's resolver; answers with addresses are our own.

use std::net::IpAddr;

/// Record types.
pub(super) const A: u16 = 1;
pub(super) const AAAA: u16 = 28;
/// Service bindings: they name other servers, and keys for hiding which one is meant.
pub(super) const BINDINGS: [u16; 2] = [64, 65];
/// Whole zones and their changes.
const TRANSFERS: [u16; 2] = [251, 252];
const OPT: u16 = 41;
const INTERNET: u16 = 1;
const HEADER: usize = 12;
/// The size of a datagram's answer for whoever does not say that more is welcome, and the most that we ask others for.
const SMALL: usize = 512;
const LARGE: u16 = 4096;
/// How long an answer of ours may be kept: short, because the host may join another network at any time.
const TTL: u32 = 5;

/// How an answer without an answer says why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Code {
    NoError = 0,
    BadFormat = 1,
    Failed = 2,
    NoSuchName = 3,
    NotImplemented = 4,
}

/// A question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    id: u16,
    /// The flags that matter to a resolver: recursion desired, authentic data, checking disabled.
    flags: u16,
    /// Labels with their lengths, as on the wire.
    labels: Vec<u8>,
    /// The name with dots, in lower case, when it is made of letters, digits, `-` and `_` only.
    pub name: Option<String>,
    /// The type of record.
    pub kind: u16,
    /// The largest datagram that the asker takes and whether it wants signatures; `None`: it knows of neither.
    extended: Option<(u16, bool)>,
}

/// Understands a question; `Err` is the answer for one that is not, if anything can be said at all.
///
/// # Errors
/// For what is no question, or one that is not for a resolver.
pub fn question(message: &[u8]) -> Result<Question, Option<Vec<u8>>> {
    let header: [u16; 6] = std::array::from_fn(|n| u16_at(message, 2 * n).unwrap_or(0));
    let [id, flags, questions, answers, authorities, additional] = header;
    if message.len() < HEADER || flags & 0x8000 != 0 {
        return Err(None); // Too short, or an answer: an answer to it could go round for ever.
    }
    let refuse = |code: Code| Err(Some(head(id, flags, code, 0)));
    if flags & 0x7800 != 0 {
        return refuse(Code::NotImplemented);
    }
    let shape = (questions, answers, authorities) == (1, 0, 0) && additional <= 2;
    let Some((labels, rest)) = labels(&message[HEADER..]).filter(|_| shape) else { return refuse(Code::BadFormat) };
    let (Some(kind), Some(class)) = (u16_at(rest, 0), u16_at(rest, 2)) else { return refuse(Code::BadFormat) };
    if class != INTERNET || TRANSFERS.contains(&kind) {
        return refuse(Code::NotImplemented);
    }
    let extended = if additional > 0 { extension(&rest[4..]) } else { None };
    Ok(Question { id, flags: flags & 0x0130, name: dotted(&labels), labels, kind, extended })
}

/// The labels of a name, and what is behind them. Compression has no place in a question.
fn labels(bytes: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut at = 0;
    loop {
        let length = usize::from(*bytes.get(at)?);
        if length > 63 || at + length > 254 {
            return None;
        }
        at += 1 + length;
        if length == 0 {
            return Some((bytes[..at].to_vec(), bytes.get(at..)?));
        }
    }
}

fn dotted(labels: &[u8]) -> Option<String> {
    let mut rest = labels;
    let mut name = String::new();
    while let Some((length, more)) = rest.split_first().filter(|(length, _)| **length > 0) {
        let (label, more) = more.split_at_checked(usize::from(*length))?;
        if !label.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_')) {
            return None;
        }
        if !name.is_empty() {
            name.push('.');
        }
        name.extend(label.iter().map(|b| char::from(b.to_ascii_lowercase())));
        rest = more;
    }
    (!name.is_empty()).then_some(name)
}

fn extension(record: &[u8]) -> Option<(u16, bool)> {
    let opt = record.first() == Some(&0) && u16_at(record, 1)? == OPT;
    opt.then_some((u16_at(record, 3)?, u16_at(record, 7)? & 0x8000 != 0))
}

impl Question {
    /// A question of our own; `None`: this is no name.
    pub(super) fn of(name: &str, kind: u16) -> Option<Question> {
        let name = name.trim_end_matches('.');
        let label = |label: &str| [&[label.len() as u8][..], label.as_bytes()].concat();
        let bytes: Vec<u8> = name.split('.').flat_map(label).chain([0]).collect();
        let (labels, _) = labels(&bytes).filter(|(labels, _)| *labels == bytes)?;
        Some(Question { id: 0, flags: 0, name: Some(dotted(&labels)?), labels, kind, extended: None })
    }

    /// The question anew, for another resolver, under another number. `whole`: the answer may have any size.
    pub(super) fn anew(&self, id: u16, whole: bool) -> Vec<u8> {
        let mut message = words(&[id, self.flags | 0x0100, 1, 0, 0, u16::from(self.extended.is_some())]);
        message.extend(&self.labels);
        message.extend(words(&[self.kind, INTERNET]));
        if let Some((size, signatures)) = self.extended {
            let size = if whole { LARGE } else { size.clamp(SMALL as u16, LARGE) };
            message.push(0);
            message.extend(words(&[OPT, size, 0, if signatures { 0x8000 } else { 0 }, 0]));
        }
        message
    }

    /// Another resolver's answer as the one to this question; `None`: it is not.
    pub(super) fn adopt(&self, mut answer: Vec<u8>, id: u16) -> Option<Vec<u8>> {
        let same = u16_at(&answer, 0)? == id && u16_at(&answer, 2)? & 0x8000 != 0 && u16_at(&answer, 4)? == 1;
        let (theirs, rest) = labels(answer.get(HEADER..)?)?;
        let same = same && theirs.eq_ignore_ascii_case(&self.labels) && u16_at(rest, 0)? == self.kind;
        answer[..2].copy_from_slice(&self.id.to_be_bytes());
        same.then_some(answer)
    }

    /// An answer with addresses, those of the wrong family left out. `whole`: it may have any size.
    pub(super) fn addresses(&self, addrs: &[IpAddr], whole: bool) -> Vec<u8> {
        let room = if whole { usize::from(u16::MAX) } else { SMALL };
        let mut records = Vec::new();
        let mut count = 0;
        for addr in addrs {
            let octets = match addr {
                IpAddr::V4(v4) if self.kind == A => v4.octets().to_vec(),
                IpAddr::V6(v6) if self.kind == AAAA => v6.octets().to_vec(),
                _ => continue,
            };
            if HEADER + self.labels.len() + 4 + records.len() + 12 + octets.len() > room {
                break; // Some addresses are as good as all.
            }
            records.extend(words(&[0xc00c, self.kind, INTERNET, 0, TTL as u16, octets.len() as u16]));
            records.extend(octets);
            count += 1;
        }
        let mut message = self.answer(Code::NoError, count);
        message.extend(records);
        message
    }

    /// An answer without records.
    pub(super) fn empty(&self, code: Code) -> Vec<u8> {
        self.answer(code, 0)
    }

    fn answer(&self, code: Code, records: u16) -> Vec<u8> {
        let mut message = head(self.id, self.flags, code, records);
        message[5] = 1;
        message.extend(&self.labels);
        message.extend(words(&[self.kind, INTERNET]));
        message
    }
}

/// The addresses in another resolver's answer, by whatever names it came to them; `None`: it has no answer.
pub(super) fn addresses(answer: &[u8]) -> Option<Vec<IpAddr>> {
    let mut found = Vec::new();
    match u16_at(answer, 2)? & 15 {
        code if code == Code::NoSuchName as u16 => return Some(found),
        code if code != Code::NoError as u16 => return None,
        _ => {}
    }
    let mut rest = labels(answer.get(HEADER..)?)?.1.get(4..)?;
    for _ in 0..u16_at(answer, 6)? {
        rest = behind_name(rest)?;
        let (data, more) = rest.get(10..)?.split_at_checked(usize::from(u16_at(rest, 8)?))?;
        match (u16_at(rest, 0)?, u16_at(rest, 2)?) {
            (A, INTERNET) => found.push(<[u8; 4]>::try_from(data).ok()?.into()),
            (AAAA, INTERNET) => found.push(<[u8; 16]>::try_from(data).ok()?.into()),
            _ => {}
        }
        rest = more;
    }
    Some(found)
}

/// What is behind a record's name, the end of which may be a reference to another place.
fn behind_name(mut rest: &[u8]) -> Option<&[u8]> {
    loop {
        rest = match rest.first()? {
            0 => return rest.get(1..),
            0xc0.. => return rest.get(2..),
            length => rest.get(1 + usize::from(*length)..)?,
        };
    }
}

/// Whether an answer was cut to fit a datagram.
pub(super) fn is_cut(answer: &[u8]) -> bool {
    answer.get(2).is_some_and(|flags| flags & 2 != 0)
}

fn head(id: u16, flags: u16, code: Code, records: u16) -> Vec<u8> {
    // An answer, recursion available, and of the question's flags those that are echoed.
    words(&[id, 0x8080 | flags & 0x7910 | code as u16, 0, records, 0, 0])
}

fn words(words: &[u16]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2).and_then(|b| b.try_into().ok()).map(u16::from_be_bytes)
}

#[cfg(test)]
#[path = "dns_tests.rs"]
mod tests;
