//! Questions good and bad, and the answers to them.

use super::{A, AAAA, Code, Question, addresses, is_cut, question, u16_at, words};
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
fn questions_of_our_own_are_as_others() {
    let of = |name: &str| Question::of(name, A).map(|asked| asked.anew(0xabcd, false));
    assert_eq!(
        of("www.example.com"),
        Some([&words(&[0xabcd, 0x0100]), &ask("www.example.com", A, false)[4..]].concat())
    );
    assert_eq!(of("x."), of("x"));
    for bad in ["", ".", "a..b", ".a", "a b", &"a".repeat(64), &"a".repeat(300), &"a.".repeat(130)] {
        assert_eq!(of(bad), None, "{bad}");
    }
}

#[test]
fn addresses_are_found_in_the_answers_of_others() {
    let head = |code: u16, records: u16| words(&[1, 0x8180 | code, 1, records, 0, 0]);
    let asked = &ask("www.example.com", A, false)[12..];
    // Another name, by reference and in whole, and addresses of that.
    let cname = [&[0xc0, 12][..], &words(&[5, 1, 0, 5, 4]), &[1, b'b', 0xc0, 16]].concat();
    let named = [&[1, b'b', 0][..], &words(&[A, 1, 0, 5, 4]), &[192, 0, 2, 1]].concat();
    let referred = [&[0xc0, 33][..], &words(&[AAAA, 1, 0, 5, 16, 0x2001, 0xdb8, 0, 0, 0, 0, 0, 1])].concat();
    let whole = [&head(0, 3), asked, &cname, &named, &referred].concat();
    let found: Vec<IpAddr> = vec!["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()];
    assert_eq!(addresses(&whole), Some(found));
    for cut in 0..whole.len() {
        assert_eq!(addresses(&whole[..cut]), None, "{cut}");
    }
    assert_eq!(addresses(&[&head(0, 0), asked].concat()), Some(vec![]));
    assert_eq!(addresses(&[&head(3, 0), asked].concat()), Some(vec![]), "no such name");
    assert_eq!(addresses(&[&head(2, 0), asked].concat()), None, "the server failed");
    let wrong = [&head(0, 1), asked, &[0][..], &words(&[A, 1, 0, 5, 2]), &[1, 2]].concat();
    assert_eq!(addresses(&wrong), None, "an address of two bytes");
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
            let _ = addresses(&message);
            if let Ok(asked) = question(&message) {
                prop_assert!(question(&asked.anew(1, false)).is_ok());
                let _ = asked.adopt(bytes.clone(), 1);
                prop_assert!(asked.addresses(&[IpAddr::from([1, 2, 3, 4])], false).len() <= 512);
            }
        }
    }
}
