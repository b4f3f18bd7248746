//! The host as the model: a guest with a cache of its own does the same as the host's own calls in a second tree, and both
//! must agree in every answer and in the end.

use super::*;
use std::collections::BTreeMap;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::PathBuf;

/// What a guest's kernel does between its programs and the share: it keeps the numbers of paths that it walked, and gives
/// them back when it likes.
struct Guest {
    fs: Fs,
    known: BTreeMap<PathBuf, u64>,
    open: Vec<(u64, u64, File)>,
}

impl Guest {
    fn walk(&mut self, path: &Path) -> io::Result<u64> {
        let mut at = ROOT_ID;
        let mut so_far = PathBuf::new();
        for name in path.iter() {
            so_far.push(name);
            at = match self.known.get(&so_far) {
                Some(id) => *id,
                None => {
                    let entry = self.fs.lookup(ctx(), at, &c(name.to_str().expect("text")))?;
                    self.known.insert(so_far.clone(), entry.inode);
                    entry.inode
                }
            };
        }
        Ok(at)
    }

    fn parent(&mut self, path: &Path) -> io::Result<(u64, CString)> {
        let parent = self.walk(path.parent().expect("a parent"))?;
        Ok((parent, c(path.file_name().expect("a name").to_str().expect("text"))))
    }

    /// Gives back what is known of `path` and below it, deepest first, as a kernel does.
    fn forget(&mut self, path: &Path) {
        let gone: Vec<PathBuf> = self.known.keys().rev().filter(|p| p.starts_with(path)).cloned().collect();
        for path in gone {
            let id = self.known.remove(&path).expect("known");
            self.fs.forget(ctx(), id, 1);
        }
    }

    fn moved(&mut self, from: &Path, to: &Path) {
        self.forget(to);
        let below: Vec<PathBuf> = self.known.keys().filter(|p| p.starts_with(from)).cloned().collect();
        for path in below {
            let id = self.known.remove(&path).expect("known");
            let rest = path.strip_prefix(from).expect("below");
            self.known.insert(to.components().chain(rest.components()).collect(), id);
        }
    }
}

struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % n as u64).expect("small")
    }

    /// A path of few, so that they meet: up to four names of three letters.
    fn path(&mut self) -> PathBuf {
        let depth = 1 + self.below(4);
        (0..depth).map(|_| ["a", "b", "c"][self.below(3)]).collect()
    }
}

/// Does one thing on both sides; the two answers.
fn step(guest: &mut Guest, model: &Path, random: &mut Random) -> (String, String) {
    let (path, other) = (random.path(), random.path());
    let (on_host, other_on_host) = (model.join(&path), model.join(&other));
    let said = |a: i32, b: i32, what: &str| {
        (
            format!("{what} {} {}: {a}", path.display(), other.display()),
            format!("{what} {} {}: {b}", path.display(), other.display()),
        )
    };
    match random.below(16) {
        0 | 1 => {
            let made = guest.parent(&path).and_then(|(dir, name)| {
                let entry = guest.fs.mkdir(ctx(), dir, &name, 0o755, 0, Extensions::default())?;
                guest.known.insert(path.clone(), entry.inode);
                Ok(())
            });
            said(code(made), code(fs::DirBuilder::new().mode(0o755).create(&on_host)), "mkdir")
        }
        2..=4 => {
            let made = guest.parent(&path).and_then(|(dir, name)| {
                let flags = (libc::O_CREAT | libc::O_EXCL | libc::O_RDWR) as u32;
                let (entry, handle, _) =
                    guest.fs.create(ctx(), dir, &name, 0o644, false, flags, 0, Extensions::default())?;
                guest.known.insert(path.clone(), entry.inode);
                Ok((entry.inode, handle.expect("a handle")))
            });
            let there = File::options().create_new(true).read(true).write(true).mode(0o644).open(&on_host);
            let (a, b) = (code(made.as_ref()), code(there.as_ref()));
            if let (Ok((id, handle)), Ok(file)) = (made, there) {
                guest.open.push((id, handle, file));
            }
            said(a, b, "create")
        }
        5 => {
            let opened =
                guest.walk(&path).and_then(|id| Ok((id, guest.fs.open(ctx(), id, false, libc::O_RDWR as u32)?.0)));
            let there = File::options().read(true).write(true).custom_flags(libc::O_NOFOLLOW).open(&on_host);
            let (a, b) = (code(opened.as_ref()), code(there.as_ref()));
            if let (Ok((id, handle)), Ok(file)) = (opened, there) {
                guest.open.push((id, handle.expect("a handle"), file));
            }
            said(a, b, "open")
        }
        6 => {
            let done = guest.parent(&path).and_then(|(dir, name)| guest.fs.unlink(ctx(), dir, &name));
            if done.is_ok() {
                guest.forget(&path);
            }
            said(code(done), code(fs::remove_file(&on_host)), "unlink")
        }
        7 => {
            let done = guest.parent(&path).and_then(|(dir, name)| guest.fs.rmdir(ctx(), dir, &name));
            if done.is_ok() {
                guest.forget(&path);
            }
            said(code(done), code(fs::remove_dir(&on_host)), "rmdir")
        }
        8 | 9 => {
            if path == other {
                return said(0, 0, "nothing");
            }
            let done = guest.parent(&path).and_then(|(old, name)| {
                let (new, to) = guest.parent(&other)?;
                guest.fs.rename(ctx(), old, &name, new, &to, 0)
            });
            let same = |a: &Path, b: &Path| {
                let id = |p: &Path| fs::symlink_metadata(p).ok().map(|m| m.ino());
                id(a).is_some() && id(a) == id(b)
            };
            let one_file = same(&on_host, &other_on_host);
            if done.is_ok() && !one_file {
                guest.moved(&path, &other);
            }
            said(code(done), code(fs::rename(&on_host, &other_on_host)), "rename")
        }
        10 => {
            let done = guest.walk(&path).and_then(|id| {
                let (dir, name) = guest.parent(&other)?;
                let entry = guest.fs.link(ctx(), id, dir, &name)?;
                guest.known.insert(other.clone(), entry.inode);
                Ok(())
            });
            said(code(done), code(fs::hard_link(&on_host, &other_on_host)), "link")
        }
        11 => {
            guest.forget(&path);
            said(0, 0, "forget")
        }
        12 => {
            let seen = guest.walk(&path).and_then(|id| guest.fs.getattr(ctx(), id, None));
            let there = fs::symlink_metadata(&on_host);
            let a = seen.map(|(attr, _)| {
                (attr.mode, attr.nlink, if attr.mode & libc::S_IFMT == libc::S_IFREG { attr.size } else { 0 })
            });
            let b = there
                .map(|m| (m.mode(), u32::try_from(m.nlink()).expect("small"), if m.is_file() { m.size() } else { 0 }));
            let text = |r: io::Result<(u32, u32, u64)>| {
                format!("stat {}: {:?}", path.display(), r.map_err(|e| code::<(), _>(Err(e))))
            };
            (text(a), text(b))
        }
        _ => handles(guest, random),
    }
}

/// Something with a file that is open on both sides, whatever became of its name.
fn handles(guest: &mut Guest, random: &mut Random) -> (String, String) {
    if guest.open.is_empty() {
        return Default::default();
    }
    let n = random.below(guest.open.len());
    let (id, handle) = (guest.open[n].0, guest.open[n].1);
    let at = random.below(64) as u64;
    match random.below(3) {
        0 => {
            let bytes = vec![b'0' + random.below(10) as u8; 1 + random.below(30)];
            let size = u32::try_from(bytes.len()).expect("small");
            let a = guest.fs.write(ctx(), id, handle, Bytes(bytes.clone()), size, at, None, false, false, 0);
            (
                format!("write {:?}", a.map_err(|e| e.to_string())),
                format!("write {:?}", guest.open[n].2.write_at(&bytes, at).map_err(|e| e.to_string())),
            )
        }
        1 => {
            let mut a = Bytes(Vec::new());
            let got = guest.fs.read(ctx(), id, handle, &mut a, 64, at, None, 0);
            let mut b = vec![0; 64];
            let there = guest.open[n].2.read_at(&mut b, at);
            (
                format!("read {:?} {:?}", got.map_err(|e| e.to_string()), a.0),
                format!("read {:?} {b:?}", there.map_err(|e| e.to_string())),
            )
        }
        _ => {
            guest.open.swap_remove(n);
            let done = guest.fs.release(ctx(), id, 0, handle, false, false, None);
            (format!("close {}", code(done)), "close 0".into())
        }
    }
}

/// Names, kinds, modes, links and bytes of a tree.
fn picture(dir: &Path) -> Vec<(PathBuf, u32, u64, Vec<u8>)> {
    let mut all = Vec::new();
    for entry in walk(dir) {
        let meta = fs::symlink_metadata(&entry).expect("stat");
        let bytes = if meta.is_file() { fs::read(&entry).expect("read") } else { Vec::new() };
        all.push((
            entry.strip_prefix(dir).expect("below").to_path_buf(),
            meta.permissions().mode(),
            meta.nlink(),
            bytes,
        ));
    }
    all.sort();
    all
}

fn walk(dir: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in fs::read_dir(dir).expect("list").flatten() {
        if entry.file_type().expect("type").is_dir() {
            all.extend(walk(&entry.path()));
        }
        all.push(entry.path());
    }
    all
}

#[test]
fn whatever_is_open_unlinked_renamed_or_closed_meanwhile_is_as_on_the_host() {
    let (rounds, steps) = if full() { (200, 5_000) } else { (12, 1_500) };
    for seed in 1..=rounds {
        let (share, model) = (tempfile::tempdir().expect("tempdir"), tempfile::tempdir().expect("tempdir"));
        let most = [24, 40, 1000][seed as usize % 3];
        let mut guest = Guest { fs: bounded(share.path(), most), known: BTreeMap::new(), open: Vec::new() };
        let mut random = Random(seed * 7919);
        for n in 0..steps {
            if guest.open.len() > 8 {
                let (id, handle, _) = guest.open.swap_remove(0);
                guest.fs.release(ctx(), id, 0, handle, false, false, None).expect("close");
            }
            let (a, b) = step(&mut guest, model.path(), &mut random);
            assert_eq!(a, b, "seed {seed}, step {n}");
            assert!(guest.fs.table().open() <= most.max(24), "{}", guest.fs.table().open());
        }
        assert_eq!(picture(share.path()), picture(model.path()), "seed {seed}");
        for (id, handle, _) in std::mem::take(&mut guest.open) {
            guest.fs.release(ctx(), id, 0, handle, false, false, None).expect("close");
        }
        guest.forget(Path::new(""));
        assert_eq!(guest.fs.table().len(), 1, "what the guest gave back is gone");
        assert_eq!(guest.fs.table().open(), 1);
    }
}
