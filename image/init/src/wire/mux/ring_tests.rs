use super::core::Core;
use super::frame::{HEADER, Header, Kind, PIECE};
use super::ring::{BEHIND_A_KEY, LEAST, MOST, Memory, PORTION, Ring};
use super::tests::{frame, opening, transfer};
use super::{Side, Wire};
use crate::wire::proto::Open;
use proptest::prelude::*;
use std::io;
use std::sync::{Arc, Mutex};
use std::task::Waker;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Memory that both sides of a test see.
#[derive(Clone)]
struct Both(Arc<Mutex<Vec<u8>>>);

impl Both {
    fn new(size: usize) -> Both {
        Both(Arc::new(Mutex::new(vec![0; size])))
    }
}

impl Memory for Both {
    fn size(&self) -> usize {
        self.0.lock().expect("lock").len()
    }

    fn put(&mut self, at: usize, parts: [&[u8]; 2]) -> io::Result<()> {
        let bytes = parts.concat();
        self.0.lock().expect("lock")[at..at + bytes.len()].copy_from_slice(&bytes);
        Ok(())
    }

    fn show(&mut self, at: usize, len: usize, to: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        to(&self.0.lock().expect("lock")[at..at + len]);
        Ok(())
    }
}

/// Host and guest with so much memory between them.
fn cores(size: usize) -> (Core, Core) {
    let memory = Both::new(size);
    let [host, guest] = [Side::Host, Side::Guest].map(|side| {
        let mut core = Core::new(side);
        let mut ring = Ring::new(Box::new(memory.clone()), side == Side::Guest);
        ring.open();
        core.ring = Some(ring);
        core
    });
    (host, guest)
}

fn kinds(mut bytes: &[u8]) -> Vec<Kind> {
    let mut kinds = Vec::new();
    while let Some((header, rest)) = bytes.split_first_chunk::<HEADER>() {
        let header = Header::decode(*header).expect("a frame");
        kinds.push(header.kind);
        bytes = &rest[header.len..];
    }
    kinds
}

#[test]
fn long_data_goes_through_memory_and_short_data_does_not() {
    let (mut host, _) = cores(1 << 20);
    let id = host.open(&Open::Stdin).expect("open");
    let mut sent = |bytes: &[u8]| {
        host.write(id, bytes, Waker::noop());
        let mut out = Vec::new();
        host.fill(&mut out);
        (kinds(&out).pop(), out.len())
    };
    assert_eq!(sent(&vec![1; LEAST - 1]).0, Some(Kind::Data));
    assert_eq!(sent(&vec![1; LEAST]), (Some(Kind::Piece), HEADER + 8));
    assert_eq!(sent(&vec![1; MOST]), (Some(Kind::Piece), HEADER + 8));
    // The other side takes nothing, and there is little memory: at the end of the half, frames do.
    let (mut host, _) = cores(2 * MOST);
    let id = host.open(&Open::Stdin).expect("open");
    let mut all = Vec::new();
    for _ in 0..3 {
        host.write(id, &vec![1; MOST], Waker::noop());
        let mut out = Vec::new();
        host.fill(&mut out);
        all.extend(kinds(&out));
    }
    assert_eq!(all.iter().filter(|kind| **kind == Kind::Piece).count(), 1, "{all:?}");
    assert!(all.contains(&Kind::Data), "{all:?}");
}

/// The pieces that the next write of the host's names, and what they carry together.
fn pieces(host: &mut Core) -> (usize, usize) {
    let mut out = Vec::new();
    host.fill(&mut out);
    let all = kinds(&out);
    assert!(!all.contains(&Kind::Data), "{all:?}");
    let lengths: Vec<usize> = out
        .chunks(HEADER + PIECE)
        .filter(|frame| frame[HEADER - 1] == Kind::Piece as u8)
        .map(|frame| u32::from_le_bytes([frame[12], frame[13], frame[14], frame[15]]) as usize)
        .collect();
    (lengths.len(), lengths.iter().sum())
}

#[test]
fn when_much_memory_is_full_bulk_waits_until_something_is_taken_and_others_do_not() {
    let (mut host, _) = cores(1 << 20);
    let ids: Vec<u32> = (0..20).map(|_| host.open(&Open::Stdin).expect("open")).collect();
    host.fill(&mut Vec::new());
    ids.iter().for_each(|id| drop(host.write(*id, &[1; MOST], Waker::noop())));
    assert_eq!(pieces(&mut host), (8, 8 * MOST));
    assert_eq!(pieces(&mut host), (0, 0), "the half is full");
    let other = host.open(&Open::Stdin).expect("open");
    host.write(other, b"little", Waker::noop());
    let mut out = Vec::new();
    host.fill(&mut out);
    assert_eq!(kinds(&out), [Kind::Open, Kind::Data]);
    host.feed(&frame(0, Kind::Taken, &2u32.to_le_bytes())).expect("taken");
    assert_eq!(pieces(&mut host), (2, 2 * MOST));
}

#[test]
fn behind_a_key_little_is_under_way_and_the_guest_says_sooner_that_it_took_it() {
    let (mut host, mut guest) = cores(2 << 20);
    let terminal = host.open(&Open::Terminal).expect("open");
    let bulk = host.open(&Open::Stdin).expect("open");
    while transfer(&mut host, &mut guest, 9999) {}
    host.write(terminal, b"k", Waker::noop());
    while transfer(&mut host, &mut guest, 9999) {}
    let (mut passed, mut portions) = (0, 0);
    while passed < BEHIND_A_KEY {
        host.write(bulk, &[1; MOST], Waker::noop());
        host.write(bulk, &[1; MOST], Waker::noop());
        let mut out = Vec::new();
        host.fill(&mut out);
        let under_way = host.ring.as_ref().expect("one").under_way();
        // With the last portion it is as before the key.
        assert!(under_way <= PORTION || passed + PORTION >= BEHIND_A_KEY, "{under_way} bytes, {passed} passed");
        guest.feed(&out).expect("fine");
        while guest.read(bulk, MOST, |bytes| passed += bytes.len(), Waker::noop()).is_some() {}
        assert!(transfer(&mut guest, &mut host, 9999), "taken, and said");
        portions += 1;
    }
    assert!(portions > BEHIND_A_KEY / PORTION - 9);
    // As before the key.
    for _ in 0..3 {
        host.write(bulk, &[1; MOST], Waker::noop());
        host.fill(&mut Vec::new());
    }
    assert!(host.ring.as_ref().expect("one").under_way() > PORTION);
}

#[test]
fn where_nothing_was_taken_nothing_is_said_however_small_the_memory() {
    for size in [0, 1, 127, 128, 1 << 20] {
        let (mut host, _) = cores(size);
        let mut out = Vec::new();
        host.fill(&mut out);
        assert_eq!(kinds(&out), [], "{size} bytes");
    }
}

#[test]
fn what_a_hostile_side_says_of_the_memory_ends_the_wire() {
    let piece = |at: u32, len: u32| frame(2, Kind::Piece, &[at.to_le_bytes(), len.to_le_bytes()].concat());
    let open = opening(2, &Open::Stdout);
    let half = 512 << 10;
    let with = |more: Vec<u8>| [open.clone(), more].concat();
    let fed = |bytes: &[u8]| cores(1 << 20).0.feed(bytes);
    // The control: the guest's half is the first.
    assert!(fed(&with(piece(0, 5000))).is_ok() && fed(&with(piece(half - 5000, 5000))).is_ok());
    for (what, bytes) in [
        ("our half", with(piece(half, 5000))),
        ("half of it ours", with(piece(half - 4999, 5000))),
        ("behind the memory", with(piece(u32::MAX, 5000))),
        ("more than there is", with(piece(0, u32::MAX))),
        ("nothing", with(piece(0, 0))),
        ("more than allowed", with([piece(0, 200 << 10), piece(0, 200 << 10)].concat())),
        ("taken and never sent", frame(0, Kind::Taken, &1u32.to_le_bytes())),
        ("of a stream", with(frame(2, Kind::Taken, &0u32.to_le_bytes()))),
        ("too short", with(frame(2, Kind::Piece, &[0; 4]))),
        ("a stream that is not there", piece(0, 5000)),
    ] {
        assert!(fed(&bytes).is_err(), "{what}");
    }
    // Without any memory, nothing may be said of it.
    for bytes in [with(piece(0, 5000)), frame(0, Kind::Taken, &0u32.to_le_bytes())] {
        assert!(Core::new(Side::Host).feed(&bytes).is_err());
    }
}

#[test]
fn many_megabytes_go_both_ways_through_little_memory() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    runtime.block_on(async {
        let (a, b) = tokio::io::duplex(1000);
        let memory = Both::new(100 << 10);
        let [host, guest] = [Side::Host, Side::Guest].map(|side| {
            let wire = Wire::new(side);
            wire.share_memory(Box::new(memory.clone()));
            wire
        });
        guest.use_memory();
        host.use_memory();
        let (h, g) = (host.clone(), guest.clone());
        tokio::spawn(async move { h.drive(a).await });
        tokio::spawn(async move { g.drive(b).await });
        let data: Vec<u8> = (0..8u32 << 20).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let near = host.open(&Open::Stdin).expect("open");
        let (_, far) = guest.accept().await.expect("accept");
        tokio::spawn(async move {
            let (mut from, mut to) = tokio::io::split(far);
            let _ = tokio::io::copy(&mut from, &mut to).await;
            let _ = to.shutdown().await;
        });
        let (mut from, mut to) = tokio::io::split(near);
        let sent = data.clone();
        tokio::spawn(async move {
            to.write_all(&sent).await.expect("write");
            to.shutdown().await.expect("end");
        });
        let mut back = Vec::new();
        from.read_to_end(&mut back).await.expect("read");
        assert!(back == data, "{} bytes came back", back.len());
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// Whatever the sizes, and however small the memory: what is written arrives, in order.
    #[test]
    fn pieces_and_frames_keep_their_order(
        sizes in proptest::collection::vec(1..80_000usize, 1..30), size in 1..300_000usize, chunk in 1..40_000usize
    ) {
        let (mut host, mut guest) = cores(size);
        let id = host.open(&Open::Stdin).expect("open");
        let (mut counter, mut sent, mut got) = (0u8, Vec::new(), Vec::new());
        for n in sizes {
            let bytes: Vec<u8> = (0..n).map(|_| { counter = counter.wrapping_add(7); counter }).collect();
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                if let Some(Ok(n)) = host.write(id, rest, Waker::noop()) {
                    rest = &rest[n..];
                }
                transfer(&mut host, &mut guest, chunk);
                let _ = guest.read(id, 50_000, |b| got.extend_from_slice(b), Waker::noop());
                transfer(&mut guest, &mut host, chunk);
            }
            sent.extend(bytes);
        }
        host.finish(id);
        loop {
            while transfer(&mut host, &mut guest, chunk) | transfer(&mut guest, &mut host, chunk) {}
            match guest.read(id, 50_000, |b| got.extend_from_slice(b), Waker::noop()) {
                Some(Ok(0)) => break,
                Some(Ok(_)) => {}
                other => prop_assert!(false, "stuck: {other:?}"),
            }
        }
        prop_assert!(sent == got, "{} bytes sent, {} came", sent.len(), got.len());
    }

    /// Many streams with much to say in much memory, and keys between them: all arrives, and nobody waits for ever.
    #[test]
    fn whoever_waits_for_room_gets_it(
        sizes in proptest::collection::vec((0..12usize, 1..80_000usize, any::<bool>()), 1..60),
        size in (1usize << 20)..(3 << 20), chunk in 1000..40_000usize, lazy in 1..30usize
    ) {
        let (mut host, mut guest) = cores(size);
        let keys = host.open(&Open::Terminal).expect("open");
        let ids: Vec<u32> = (0..12).map(|_| host.open(&Open::Stdin).expect("open")).collect();
        let (mut sent, mut got) = (vec![0; 12], vec![0; 12]);
        for (turn, (n, bytes, key)) in sizes.into_iter().enumerate() {
            if let Some(Ok(written)) = host.write(ids[n], &vec![n as u8; bytes], Waker::noop()) {
                sent[n] += written;
            }
            if key {
                let _ = host.write(keys, b"k", Waker::noop());
            }
            transfer(&mut host, &mut guest, chunk);
            if turn % lazy == 0 {
                transfer(&mut guest, &mut host, chunk);
            }
        }
        for _ in 0..200 {
            while transfer(&mut host, &mut guest, chunk) | transfer(&mut guest, &mut host, chunk) {}
            for (n, id) in ids.iter().enumerate() {
                let mut fits = true;
                let _ = guest.read(*id, 60_000, |b| { got[n] += b.len(); fits &= b.iter().all(|b| *b == n as u8) }, Waker::noop());
                prop_assert!(fits);
            }
        }
        prop_assert_eq!(sent, got);
    }
}
