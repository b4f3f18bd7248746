//! First messages made by hand, whole, in pieces, and broken.

use super::{Checked, Hello, hello};
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn vector(bytes: usize, content: &[u8]) -> Vec<u8> {
    let length = (content.len() as u32).to_be_bytes();
    [&length[4 - bytes..], content].concat()
}

fn extension(kind: u16, content: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &vector(2, content)].concat()
}

fn sni(name: &str) -> Vec<u8> {
    extension(0, &vector(2, &[&[0][..], &vector(2, name.as_bytes())].concat()))
}

/// A first message with these extensions.
fn message(extensions: &[Vec<u8>]) -> Vec<u8> {
    let body = [
        &[3u8, 3][..],
        &[7; 32],
        &vector(1, &[9; 32]),
        &vector(2, &[0x13, 1]),
        &vector(1, &[0]),
        &vector(2, &extensions.concat()),
    ];
    [&[1u8][..], &vector(3, &body.concat())].concat()
}

fn records(message: &[u8], size: usize) -> Vec<u8> {
    message.chunks(size).flat_map(|piece| [&[22u8, 3, 1][..], &vector(2, piece)].concat()).collect()
}

fn client(name: &str) -> Vec<u8> {
    records(&message(&[extension(16, b"\0\x03\x02h2"), sni(name), extension(43, &[2, 3, 4])]), 1 << 14)
}

#[test]
fn the_name_is_read_in_whole_and_in_pieces() {
    let expected = Hello::Name("a.example".into());
    assert_eq!(hello(&client("A.example")), expected);
    for size in [1, 3, 50] {
        assert_eq!(hello(&records(&message(&[sni("a.example")]), size)), expected);
    }
    let whole = client("a.example");
    for n in 0..whole.len() {
        assert_eq!(hello(&whole[..n]), Hello::More, "{n}");
    }
    assert_eq!(hello(&[&whole[..], b"more"].concat()), expected);
}

#[test]
fn what_hides_its_name_is_nameless_and_what_is_no_tls_is_plain() {
    let one = |extensions: &[Vec<u8>]| hello(&records(&message(extensions), 1 << 14));
    for (what, extensions) in [
        ("no name", vec![]),
        ("two extensions", vec![sni("a.example"), sni("b.example")]),
        ("a hidden one", vec![sni("a.example"), extension(0xfe0d, &[0; 40])]),
        ("an empty one", vec![sni("")]),
        ("a zero byte", vec![sni("evil.example\0.a.example")]),
        ("no host name", vec![extension(0, &vector(2, &[1, 0, 1, b'a']))]),
        ("two names", vec![extension(0, &vector(2, b"\0\0\x01a\0\0\x01b"))]),
        ("bytes behind", vec![extension(0, &[&vector(2, b"\0\0\x01a")[..], b"x"].concat())]),
    ] {
        assert_eq!(one(&extensions), Hello::Nameless, "{what}");
    }
    for plain in [&b"GET / HTTP/1.1\r\n"[..], b"SSH-2.0-x\r\n", b"\x16\x02\x00\x00\x01x", b"\x80\x2e\x01"] {
        assert_eq!(hello(plain), Hello::Plain, "{plain:?}");
    }
    assert_eq!(hello(&[22, 3, 1, 0, 0, 22, 3]), Hello::Plain, "an empty record");
    assert_eq!(hello(&[22, 3, 1, 0, 4, 1, 0xff, 0xff, 0xff]), Hello::Nameless, "far too long");
    assert_eq!(hello(&[22, 3, 1, 0, 4, 2, 0, 0, 0]), Hello::Nameless, "another message");
}

#[tokio::test]
async fn only_the_named_server_hears_anything() {
    let bytes = client("a.example");
    let hidden = records(&message(&[sni("a.example"), extension(0xfe0d, &[0; 40])]), 1 << 14);
    for (names, plain, sent, passes) in [
        (vec!["a.example"], false, &bytes[..], true),
        (vec!["b.example", "a.example"], true, &bytes, true),
        (vec!["b.example"], true, &bytes, false),
        (vec![], false, &bytes, false),
        (vec!["a.example"], false, b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n", false),
        (vec!["a.example"], true, b"SSH-2.0-x\r\n", true),
        (vec!["a.example"], true, &bytes[..30], false),
        (vec!["a.example"], false, b"", true),
        (vec!["a.example"], true, &hidden, false),
    ] {
        let (mut guest, host) = tokio::io::duplex(100);
        let names = names.into_iter().map(String::from).collect();
        let send = sent.to_vec();
        let task = tokio::spawn(async move { guest.write_all(&send).await });
        let mut got = Vec::new();
        let end = Checked::new(host, names, plain).read_to_end(&mut got).await;
        assert_eq!((end.is_ok(), got.is_empty()), (passes, !passes || sent.is_empty()), "{sent:?}");
        assert!(got.is_empty() || got == sent);
        drop(task);
    }
}

#[test]
fn patience_has_an_end_in_small_pieces_too() {
    let slow = records(&[&[1u8, 0, 0x7f, 0xff][..], &vec![0; 20_000]].concat(), 1);
    assert_eq!(hello(&slow), Hello::Nameless);
    assert_eq!(hello(&slow[..60_000]), Hello::More, "the control");
}

proptest! {
    #[test]
    fn no_bytes_are_too_odd(bytes in proptest::collection::vec(any::<u8>(), 0..400), at in any::<prop::sample::Index>(), byte: u8) {
        let _ = hello(&bytes);
        let mut near = client("a.example");
        let at = at.index(near.len());
        near[at] = byte;
        let _ = hello(&near);
    }

    /// A message is never waited for without end.
    #[test]
    fn patience_has_an_end(piece in 1usize..300) {
        let endless = records(&[&[1u8, 0, 0x7f, 0xff][..], &vec![0; 40_000]].concat(), piece);
        prop_assert_ne!(hello(&endless), Hello::More);
    }
}
