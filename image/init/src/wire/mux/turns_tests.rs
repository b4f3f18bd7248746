use super::Side;
use super::core::{Core, MAX_STREAMS};
use super::frame::{HEADER, Header, Kind};
use super::pace::ROUND;
use super::tests::{frame, opening};
use crate::wire::proto::Open;
use std::collections::HashMap;
use std::task::Waker;

static FULL: [u8; 64 << 10] = [7; 64 << 10];

/// The streams whose bytes the next write carries; the other side reads them at once.
fn speakers(core: &mut Core) -> Vec<u32> {
    let mut out = Vec::new();
    core.fill(&mut out);
    let (mut rest, mut ids) = (&out[..], Vec::new());
    while let Some((header, behind)) = rest.split_first_chunk::<HEADER>() {
        let header = Header::decode(*header).expect("a frame");
        if header.kind == Kind::Data {
            ids.push(header.stream);
            let read = u32::try_from(header.len).expect("little").to_le_bytes();
            core.feed(&frame(header.stream, Kind::Credit, &read)).expect("credit");
        }
        rest = &behind[header.len..];
    }
    ids
}

fn open(core: &mut Core) -> u32 {
    core.open(&Open::Stdin).expect("opens")
}

fn say(core: &mut Core, id: u32, bytes: &[u8]) {
    // As much as there is room for.
    assert!(!matches!(core.write(id, bytes, Waker::noop()), Some(Err(_))));
}

/// A host whose streams have all had their first turn, and always have more to say.
fn busy(streams: usize) -> (Core, Vec<u32>) {
    let mut host = Core::new(Side::Host);
    let ids: Vec<u32> = (0..streams).map(|_| open(&mut host)).collect();
    ids.iter().for_each(|id| say(&mut host, *id, &FULL));
    let mut turns = HashMap::<u32, usize>::new();
    // A write carries half of what is a first turn.
    while turns.len() < streams || turns.values().any(|n| *n < 3) {
        for id in speakers(&mut host) {
            *turns.entry(id).or_default() += 1;
            say(&mut host, id, &FULL);
        }
    }
    (host, ids)
}

#[test]
fn who_has_said_nothing_for_a_while_passes_hundreds_that_have_much_to_say() {
    let (mut host, _) = busy(400);
    let fresh = open(&mut host);
    say(&mut host, fresh, b"a question");
    let wait = (0..).find(|_| speakers(&mut host).contains(&fresh)).expect("some time");
    assert!(wait <= 2, "{wait} writes came before it");
}

#[test]
fn the_fresh_do_not_keep_the_others_waiting() {
    let (mut host, busy) = busy(20);
    let mut passed = 0;
    for _ in 0..20 {
        let fresh = open(&mut host);
        say(&mut host, fresh, &FULL[..20_000]);
        passed += usize::from(speakers(&mut host).iter().any(|id| busy.contains(id)));
    }
    assert!(passed >= 9, "{passed} of 20 writes carried theirs");
}

#[test]
fn who_spoke_just_now_is_not_fresh() {
    let (mut host, busy) = busy(9);
    let talker = open(&mut host);
    let mut turns = 0;
    for _ in 0..10 {
        say(&mut host, talker, b"me again");
        turns += speakers(&mut host).iter().filter(|id| **id == talker).count();
    }
    assert!((1..=3).contains(&turns), "{turns} turns in ten writes, beside {busy:?}");
}

/// The other side opens, is answered, resets, and never reads.
#[test]
fn what_waits_is_bounded_although_nobody_reads() {
    let mut host = Core::new(Side::Host);
    let mut most = 0;
    for id in (1..=20_000).map(|n| 2 * n) {
        host.feed(&opening(id, &Open::Stdout)).expect("opens");
        let (_, accepted) = host.accept(Waker::noop()).expect("one").expect("lives");
        say(&mut host, accepted, b"an answer");
        host.feed(&frame(id, Kind::Reset, b"")).expect("resets");
        host.drop_stream(accepted);
        most = most.max(host.waiting());
    }
    assert!(most <= MAX_STREAMS + 2, "{most} wait");
}

/// A guest's core whose `n` streams have each got so many bytes, and one stream more with a key.
fn full(n: u32, each: usize) -> (Core, Vec<u32>, u32) {
    let mut guest = Core::new(Side::Guest);
    let ids: Vec<u32> = (0..n).map(|n| 2 * n + 1).collect();
    for id in &ids {
        guest.feed(&opening(*id, &Open::Stdin)).expect("opens");
        guest.feed(&frame(*id, Kind::Data, &FULL[..each])).expect("data");
    }
    let terminal = 2 * n + 1;
    guest.feed(&opening(terminal, &Open::Terminal)).expect("opens");
    guest.feed(&frame(terminal, Kind::Data, &FULL[..each])).expect("keys");
    (guest, ids, terminal)
}

fn hear(core: &mut Core, id: u32) -> usize {
    core.read(id, 1 << 20, |_| {}, Waker::noop()).map_or(0, |read| read.expect("lives"))
}

#[test]
fn readers_of_much_have_rounds_and_keys_and_little_have_not() {
    let (mut guest, ids, terminal) = full(100, 30_000);
    let heard: usize = ids.iter().map(|id| hear(&mut guest, *id)).sum();
    assert_eq!(heard, ROUND);
    assert_eq!(hear(&mut guest, terminal), 30_000);
    guest.feed(&opening(1001, &Open::Stdin)).expect("opens");
    guest.feed(&frame(1001, Kind::Data, b"a question")).expect("data");
    assert_eq!(hear(&mut guest, 1001), 10);
    let mut rounds = 1;
    let mut left = 3_000_000 - heard;
    while left > 0 {
        assert!(guest.next_round(), "somebody waits");
        let heard: usize = ids.iter().map(|id| hear(&mut guest, *id)).sum();
        assert!(heard <= ROUND + (4 << 10), "{heard}, of which the last may be little");
        left -= heard;
        rounds += 1;
        assert!(rounds < 100);
    }
    assert!(rounds >= 11, "{rounds}");
}

#[test]
fn at_the_end_of_the_wire_nobody_waits_for_a_round() {
    let (mut guest, ids, _) = full(100, 30_000);
    guest.end(std::io::ErrorKind::UnexpectedEof);
    assert_eq!(ids.iter().map(|id| hear(&mut guest, *id)).sum::<usize>(), 3_000_000);
}
