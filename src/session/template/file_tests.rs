//! Templates that are written, read, and damaged.

use super::*;

fn sparse(pieces: &[(u64, &[u8])]) -> File {
    let file = tempfile::tempfile().expect("file");
    file.set_len(8 << 20).expect("len");
    pieces.iter().for_each(|(at, bytes)| file.write_all_at(bytes, *at).expect("write"));
    file
}

fn template(dir: &Path) -> std::path::PathBuf {
    let path = dir.join("t");
    let noise: Vec<u8> = (0..600_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let memory = sparse(&[(0, b"first"), (1 << 20, &noise), (5 << 20, &[0; 4096])]);
    let file = File::create_new(&path).expect("create");
    write(&file, &memory, &sparse(&[(4 << 20, b"disk")]), b"state").expect("write");
    path
}

#[test]
fn what_was_written_is_laid_out_again() {
    let dir = tempfile::tempdir().expect("dir");
    let template = Template::open(&template(dir.path())).expect("open");
    let to = tempfile::tempfile().expect("file");
    to.set_len(template.memory().size).expect("len");
    template.lay_out(template.memory(), &to).expect("lay out");
    let mut bytes = [0; 5];
    to.read_exact_at(&mut bytes, 0).expect("read");
    assert_eq!(&bytes, b"first");
    let mut noise = vec![0; 600_000];
    to.read_exact_at(&mut noise, 1 << 20).expect("read");
    assert!(noise.iter().enumerate().all(|(n, b)| *b == ((n as u32).wrapping_mul(2_654_435_761) >> 13) as u8));
    assert!(to.metadata().expect("meta").blocks() * 512 < 1 << 20, "zeroes are holes");
    assert_eq!(template.state().expect("state"), b"state");
    assert_eq!((template.memory().size, template.scratch().size), (8 << 20, 8 << 20));
}

#[test]
fn damage_anywhere_is_found() {
    let dir = tempfile::tempdir().expect("dir");
    let good = std::fs::read(template(dir.path())).expect("read");
    let path = dir.path().join("bad");
    let works = |bytes: &[u8]| {
        std::fs::write(&path, bytes).expect("write");
        let Ok(template) = Template::open(&path) else { return false };
        let to = tempfile::tempfile().expect("file");
        to.set_len(8 << 20).expect("len");
        let laid = template.lay_out(template.memory(), &to).is_ok();
        laid && template.copy(template.scratch(), &to).is_ok() && template.state().is_ok()
    };
    assert!(works(&good));
    for at in (0..good.len()).step_by(good.len() / 97).chain(good.len() - 40..good.len()) {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        assert!(!works(&bad), "a flipped bit at {at} of {}", good.len());
    }
    for len in [0, 1, 19, 20, 4096, good.len() / 2, good.len() - 1] {
        assert!(!works(&good[..len]), "cut to {len}");
    }
}
