//! Questions good and bad, and the answers to them.

use super::{A, AAAA, Code, Question, is_cut, question, u16_at, words};
use proptest::prelude::*;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

fn ask(name: &str, kind: u16, opt: bool) -> Vec<u8> {
    let mut message = words(&[0xabcd, 0x0120, 1, 0, 0, u16::from(opt)]);
    for label in name.split('.').filter(|l| !l.is_empty()) {
        message.push(label.len() as u8);
        message.extend(label.bytes());
    }
    message.push(0);
    message.extend(words(&[kind, 1]));
    if opt {
        message.push(0);
        message.extend(words(&[41, 1232, 0, 0x8000, 0]));
    }
    message
}

fn good(message: &[u8]) -> Question {
    question(message).unwrap_or_else(|e| panic!("{e:?}"))
}

#[test]
fn a_question_is_understood_and_written_anew() {
    let asked = good(&ask("WWW.Example.com", AAAA, true));
    assert_eq!((asked.name.as_deref(), asked.kind), (Some("www.example.com"), AAAA));
    let anew = asked.anew(7, false);
    assert_eq!(good(&anew), Question { id: 7, ..asked.clone() });
    assert_eq!(good(&asked.anew(7, true)).extended, Some((4096, true)));
    assert_eq!(good(&ask("x", A, false)).anew(0xabcd, false), ask("x", A, false));
    assert_eq!(good(&ask("", 2, false)).name, None, "the root");
    assert_eq!(good(&ask("a b.c", A, false)).name, None);
}

#[test]
fn nonsense_gets_an_error_or_nothing() {
    let whole = ask("www.example.com", A, true);
    let mut answer = whole.clone();
    answer[2] |= 0x80;
    assert_eq!(question(&answer), Err(None));
    assert_eq!(question(&whole[..11]), Err(None));
    let code = |message: &[u8]| question(message).expect_err("refused").map(|m| m[3] & 15);
    for cut in 12..whole.len() - 11 {
        assert_eq!(code(&whole[..cut]), Some(Code::BadFormat as u8), "{cut}");
    }
    let with = |at: usize, byte: u8| {
        let mut message = whole.clone();
        message[at] = byte;
        message
    };
    for (at, byte) in [(5, 0), (5, 2), (7, 1), (9, 1), (12, 64), (12, 0xc0)] {
        assert_eq!(code(&with(at, byte)), Some(Code::BadFormat as u8), "{at}");
    }
    assert_eq!(code(&with(2, 0x28)), Some(Code::NotImplemented as u8), "another operation");
    assert_eq!(code(&ask("a", 252, false)), Some(Code::NotImplemented as u8), "a whole zone");
    assert_eq!(code(&ask(&"a.".repeat(130), A, false)), Some(Code::BadFormat as u8), "too long");
}

#[test]
fn addresses_become_records_of_the_right_family() {
    let addrs: Vec<IpAddr> = vec![Ipv4Addr::new(9, 9, 9, 9).into(), Ipv6Addr::from(1u128).into()];
    for (kind, size) in [(A, 4), (AAAA, 16)] {
        let asked = good(&ask("a.example", kind, false));
        let answer = asked.addresses(&addrs, false);
        assert_eq!([0, 4, 6].map(|at| u16_at(&answer, at)), [Some(0xabcd), Some(1), Some(1)]);
        assert_eq!(answer.len(), ask("a.example", kind, false).len() + 12 + size);
        assert_eq!(asked.adopt(answer.clone(), 0xabcd), Some(answer.clone()), "our own answer fits our own question");
        assert_eq!(asked.adopt(answer.clone(), 1), None);
        assert_eq!(good(&ask("b.example", kind, false)).adopt(answer, 0xabcd), None);
    }
    let many = vec![IpAddr::from(Ipv6Addr::from(1u128)); 100];
    let asked = good(&ask("a.example", AAAA, false));
    assert!(asked.addresses(&many, false).len() <= 512 && asked.addresses(&many, true).len() > 2800);
    assert!(!is_cut(&asked.addresses(&many, false)));
    assert_eq!(asked.empty(Code::NoSuchName)[3] & 15, 3);
}

proptest! {
    #[test]
    fn no_message_is_too_odd(bytes in proptest::collection::vec(any::<u8>(), 0..300), at in any::<prop::sample::Index>(), byte: u8) {
        let mut near = ask("www.example.com", A, true);
        let at = at.index(near.len());
        near[at] = byte;
        for message in [bytes.clone(), near] {
            if let Ok(asked) = question(&message) {
                prop_assert!(question(&asked.anew(1, false)).is_ok());
                let _ = asked.adopt(bytes.clone(), 1);
                prop_assert!(asked.addresses(&[IpAddr::from([1, 2, 3, 4])], false).len() <= 512);
            }
        }
    }
}
