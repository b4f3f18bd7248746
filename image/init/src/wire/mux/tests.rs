use super::core::{Core, MAX_STREAMS};
use super::frame::{HEADER, Header, Kind, MAX_FRAME};
use super::{Side, Wire, answer, greet};
use crate::wire::proto::{Open, Target, encode};
use proptest::prelude::*;
use std::collections::HashMap;
use std::io::ErrorKind;
use std::task::Waker;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

pub(super) fn frame(stream: u32, kind: Kind, payload: &[u8]) -> Vec<u8> {
    [&Header { stream, kind, len: payload.len() }.encode()[..], payload].concat()
}

pub(super) fn opening(id: u32, open: &Open) -> Vec<u8> {
    frame(id, Kind::Open, &encode(open).expect("encodes")[4..])
}

/// Moves everything that is ready from one side to the other, in pieces of `chunk` bytes.
pub(super) fn transfer(from: &mut Core, to: &mut Core, chunk: usize) -> bool {
    let mut out = Vec::new();
    from.next_round();
    to.next_round();
    from.fill(&mut out);
    assert!(out.len() <= MAX_FRAME, "one write at most");
    for piece in out.chunks(chunk.max(1)) {
        to.feed(piece).expect("what a core sends, a core accepts");
    }
    !out.is_empty()
}

fn run(local: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    runtime.block_on(async {
        tokio::time::timeout(std::time::Duration::from_secs(20), local).await.expect("in time");
    });
}

fn pair() -> (Wire, Wire) {
    let (a, b) = tokio::io::duplex(10_000);
    let (host, guest) = (Wire::new(Side::Host), Wire::new(Side::Guest));
    let (h, g) = (host.clone(), guest.clone());
    tokio::spawn(async move { h.drive(a).await });
    tokio::spawn(async move { g.drive(b).await });
    (host, guest)
}

#[test]
fn both_sides_greet_with_their_version() {
    run(async {
        let (mut a, mut b) = tokio::io::duplex(64);
        let (x, y) = tokio::join!(greet(&mut a), answer(&mut b));
        assert_eq!((x.expect("a"), y.expect("b")), (crate::wire::proto::VERSION, crate::wire::proto::VERSION));
        b.write_all(b"HTTP/1.1 400 Bad").await.expect("write");
        assert_eq!(greet(&mut a).await.expect_err("no hello").kind(), ErrorKind::InvalidData);
    });
}

#[test]
fn bytes_arrive_and_half_closes_are_kept() {
    run(async {
        let (host, guest) = pair();
        let mut ours = host.open(&Open::Stdin).expect("open");
        let (open, mut theirs) = guest.accept().await.expect("accept");
        assert_eq!(open, Open::Stdin);
        ours.write_all(b"to the guest").await.expect("write");
        ours.shutdown().await.expect("shutdown");
        let mut got = Vec::new();
        theirs.read_to_end(&mut got).await.expect("read");
        assert_eq!(got, b"to the guest");
        theirs.write_all(b"and back").await.expect("the other direction is open");
        theirs.shutdown().await.expect("shutdown");
        got.clear();
        ours.read_to_end(&mut got).await.expect("read");
        assert_eq!(got, b"and back");
    });
}

#[test]
fn megabytes_pass_both_ways_and_a_slow_reader_only_slows_its_own_stream() {
    run(async {
        let (host, guest) = pair();
        let stuck = host.open(&Open::Stdin).expect("open");
        let mut bulk = host.open(&Open::Stdout).expect("open");
        let (_, _never_read) = guest.accept().await.expect("accept");
        let (_, mut far) = guest.accept().await.expect("accept");
        let sent: Vec<u8> = (0..3_000_000u32).map(|i| (i % 251) as u8).collect();
        let copy = sent.clone();
        tokio::spawn(async move {
            let mut stuck = stuck;
            stuck.write_all(&vec![0; 1 << 20]).await
        });
        let writer = tokio::spawn(async move {
            bulk.write_all(&copy).await.expect("write");
            bulk.shutdown().await.expect("shutdown");
            bulk
        });
        let mut got = Vec::new();
        far.read_to_end(&mut got).await.expect("read");
        assert!(got == sent, "{} bytes", got.len());
        drop(writer.await.expect("writer"));
    });
}

#[test]
fn what_was_finished_arrives_although_its_writer_is_gone() {
    run(async {
        let (host, guest) = pair();
        let mut ours = host.open(&Open::Stdin).expect("open");
        ours.write_all(&[7; 50_000]).await.expect("write");
        ours.shutdown().await.expect("shutdown");
        drop(ours);
        let (_, mut theirs) = guest.accept().await.expect("accept");
        let mut got = Vec::new();
        theirs.read_to_end(&mut got).await.expect("read");
        assert_eq!(got.len(), 50_000);
        let error = loop {
            if let Err(e) = theirs.write_all(b"nobody reads this").await {
                break e;
            }
            tokio::task::yield_now().await;
        };
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    });
}

#[test]
fn an_unfinished_stream_that_is_dropped_is_a_reset() {
    run(async {
        let (host, guest) = pair();
        let mut ours = guest.open(&Open::Dial(Target::Name("example".into(), 80))).expect("open");
        let (_, theirs) = host.accept().await.expect("accept");
        drop(theirs);
        let error = ours.read_u8().await.expect_err("reset");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    });
}

#[test]
fn the_end_of_the_wire_reaches_everybody() {
    run(async {
        let (a, b) = tokio::io::duplex(1000);
        let host = Wire::new(Side::Host);
        let mut stream = host.open(&Open::Control).expect("open");
        drop(b);
        assert!(host.drive(a).await.is_err() || stream.read_u8().await.is_err());
        assert!(stream.read_u8().await.is_err());
        assert!(host.accept().await.is_err());
        assert!(host.open(&Open::Control).is_err());
    });
}

#[test]
fn urgent_streams_go_first() {
    let mut host = Core::new(Side::Host);
    let waker = Waker::noop();
    let bulk = host.open(&Open::Stdin).expect("open");
    let tty = host.open(&Open::Terminal).expect("open");
    let mut openings = Vec::new();
    host.fill(&mut openings);
    Core::new(Side::Guest).feed(&openings).expect("openings keep their order, whatever is urgent");
    host.write(bulk, &[0; 60_000], waker).expect("room").expect("open");
    host.write(tty, b"key", waker).expect("room").expect("open");
    let mut out = Vec::new();
    host.fill(&mut out);
    assert_eq!(out[..HEADER + 3], frame(tty, Kind::Data, b"key")[..]);
}

#[test]
fn whoever_breaks_the_rules_loses_the_wire() {
    let open = opening(2, &Open::Stdout);
    let with = |rest: &[Vec<u8>]| [&open[..], &rest.concat()].concat();
    let data = |n| frame(2, Kind::Data, &vec![0; n]);
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("unknown kind", vec![2, 0, 0, 0, 0, 0, 0, 9]),
        ("too long", vec![2, 0, 0, 0, 0, 0, 1, 2]),
        ("never opened", frame(4, Kind::Data, b"x")),
        ("stream zero", frame(0, Kind::Fin, b"")),
        ("our own id", opening(1, &Open::Stdout)),
        ("twice", with(std::slice::from_ref(&open))),
        ("empty data", with(&[frame(2, Kind::Data, b"")])),
        ("data behind the end", with(&[frame(2, Kind::Fin, b""), data(1)])),
        ("beyond the window", with(&vec![data(30_000); 9])),
        ("too much credit", with(&[frame(2, Kind::Credit, &1u32.to_le_bytes())])),
        ("not an opening", frame(2, Kind::Open, b"\xff\xff\xff")),
        (
            "bytes behind an opening",
            frame(2, Kind::Open, &[&encode(&Open::Stdout).expect("encodes")[4..], b"x"].concat()),
        ),
        ("far too many streams", (1..=9000).flat_map(|i| opening(i * 2, &Open::Stdout)).collect()),
    ];
    Core::new(Side::Host)
        .feed(&with(&[data(1), frame(2, Kind::Fin, b"")]))
        .expect("the control: a good peer is accepted");
    for (name, bytes) in cases {
        assert_eq!(Core::new(Side::Host).feed(&bytes).expect_err(name).kind(), ErrorKind::InvalidData, "{name}");
    }
}

/// One stream too many is that stream's end, and nobody else's.
#[test]
fn streams_beyond_the_limit_are_reset() {
    run(async {
        let (host, guest) = pair();
        let all: Vec<_> = (0..MAX_STREAMS + 2000).map(|_| guest.open(&Open::Stdout).expect("open")).collect();
        let mut theirs = Vec::new();
        for _ in 0..MAX_STREAMS {
            theirs.push(host.accept().await.expect("accept").1);
        }
        let mut reset = 0;
        for mut stream in all.into_iter().skip(MAX_STREAMS) {
            stream.write_all(b"x").await.ok();
            reset += usize::from(stream.read_u8().await.is_err_and(|e| e.kind() == ErrorKind::ConnectionReset));
        }
        assert_eq!(reset, 2000);
        theirs.truncate(MAX_STREAMS - 1);
        theirs[0].write_all(b"still there").await.expect("the others live");
        tokio::task::yield_now().await;
        let mut next = guest.open(&Open::Stdin).expect("open");
        next.write_all(b"y").await.expect("write");
        let (_, mut accepted) = host.accept().await.expect("room again");
        assert_eq!(accepted.read_u8().await.expect("read"), b'y');
    });
}

#[derive(Debug, Clone)]
enum Op {
    Open,
    Write(usize, usize),
    Read(usize, usize),
    Finish(usize),
    Transfer(bool, usize),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        1 => Just(Op::Open),
        4 => (0..8usize, 0..100_000usize).prop_map(|(s, n)| Op::Write(s, n)),
        4 => (0..8usize, 0..100_000usize).prop_map(|(s, n)| Op::Read(s, n)),
        1 => (0..8usize).prop_map(Op::Finish),
        4 => (any::<bool>(), 1..40_000usize).prop_map(|(d, n)| Op::Transfer(d, n)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever the order of writes, reads and transfers: every stream delivers exactly its bytes, in order, and ends.
    #[test]
    fn streams_deliver_exactly_what_was_written(ops in proptest::collection::vec(op(), 1..80)) {
        let (mut host, mut guest) = (Core::new(Side::Host), Core::new(Side::Guest));
        let waker = Waker::noop();
        let (mut ids, mut sent, mut got) = (Vec::new(), HashMap::<u32, Vec<u8>>::new(), HashMap::<u32, Vec<u8>>::new());
        let mut counter = 0u8;
        let read = |guest: &mut Core, got: &mut HashMap<u32, Vec<u8>>, id, n| {
            let buffer = got.entry(id).or_default();
            guest.read(id, n, |b| buffer.extend_from_slice(b), waker)
        };
        for op in ops {
            match op {
                Op::Open => ids.push(host.open(&Open::Stdin).expect("open")),
                Op::Write(s, n) if !ids.is_empty() => {
                    let id = ids[s % ids.len()];
                    let bytes: Vec<u8> = (0..n).map(|_| { counter = counter.wrapping_add(1); counter }).collect();
                    if let Some(Ok(n)) = host.write(id, &bytes, waker) {
                        sent.entry(id).or_default().extend_from_slice(&bytes[..n]);
                    }
                }
                Op::Read(s, n) if !ids.is_empty() => { let _ = read(&mut guest, &mut got, ids[s % ids.len()], n); }
                Op::Finish(s) if !ids.is_empty() => host.finish(ids[s % ids.len()]),
                Op::Transfer(true, n) => { transfer(&mut host, &mut guest, n); }
                Op::Transfer(false, n) => { transfer(&mut guest, &mut host, n); }
                _ => {}
            }
        }
        ids.iter().for_each(|id| host.finish(*id));
        for id in &ids {
            loop {
                while transfer(&mut host, &mut guest, 4096) | transfer(&mut guest, &mut host, 4096) {}
                match read(&mut guest, &mut got, *id, 10_000) {
                    Some(Ok(0)) => break,
                    Some(Ok(_)) => {}
                    other => prop_assert!(false, "stream {id} is stuck: {other:?}"),
                }
            }
            prop_assert_eq!(sent.remove(id).unwrap_or_default(), got.remove(id).unwrap_or_default());
        }
    }

    /// No bytes whatever make the decoder panic, or keep more than the windows allow.
    #[test]
    fn any_bytes_are_accepted_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..600), small in any::<bool>()) {
        let mut core = Core::new(Side::Host);
        let bytes: Vec<u8> = if small { bytes.iter().map(|b| b % 6).collect() } else { bytes };
        let _ = core.feed(&bytes);
        core.fill(&mut Vec::new());
    }
}
