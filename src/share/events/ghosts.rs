//! The layer at the top: it answers the one thread of the guest that repeats what the host did, and notes what everybody
//! else in the guest does, so that it is not repeated to them.

mod requests;

use super::echo::Kind;
use super::server::{Events, Ghost, State, stamp};
use crate::share::bounded::Bounded;
use crate::share::guard::Guard;
use crate::share::rules::errno;
use std::ffi::{CStr, CString};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use virtiofsd::filesystem::{Context, Entry, FileSystem};
use virtiofsd::fuse::Attr;

/// See the module. Without events it is only in between.
pub(in crate::share) struct Ghosts<F> {
    pub(super) fs: Arc<Guard<Bounded<F>>>,
    pub(super) events: Option<Arc<Events>>,
}

impl<F: FileSystem<Inode = u64, Handle = u64>> Ghosts<F> {
    pub(in crate::share) fn new(fs: Arc<Guard<Bounded<F>>>, events: Option<Arc<Events>>) -> Ghosts<F> {
        Ghosts { fs, events }
    }

    /// The events, if this request is a repetition.
    fn repeated(&self, ctx: Context) -> Option<&Events> {
        self.events.as_deref().filter(|events| events.repeats(ctx.pid))
    }

    /// Refuses a request of the repeating thread that would change something.
    fn refuse(&self, ctx: Context) -> io::Result<()> {
        if self.repeated(ctx).is_some() { Err(errno(libc::EPERM)) } else { Ok(()) }
    }

    /// Does what the guest wants to be done, and notes it, in one step for whoever looks at what happened.
    fn noted<T>(
        &self,
        ctx: Context,
        act: impl FnOnce() -> io::Result<T>,
        note: impl FnOnce(&mut State, &T),
    ) -> io::Result<T> {
        self.refuse(ctx)?;
        let Some(events) = &self.events else { return act() };
        let mut state = events.state();
        let done = act()?;
        note(&mut state, &done);
        if state.echo.was_crowded() {
            events.out.not_all();
        }
        Ok(done)
    }

    /// Something was made: by the guest, or the repeating thread is told that it made what is there.
    fn made(
        &self,
        ctx: Context,
        parent: u64,
        name: &CStr,
        make: impl FnOnce() -> io::Result<Entry>,
    ) -> io::Result<Entry> {
        if let Some(events) = self.repeated(ctx) {
            let mut state = events.state();
            let Some(Ghost::Create(kind)) = state.ghost(parent, name).cloned() else {
                return Err(errno(libc::EPERM));
            };
            state.lay(self.fs.inner(), parent, name);
            let found = self.fs.lookup(ctx, parent, name).or_else(|e| self.gone(ctx, parent, name, kind, e))?;
            return Ok(not_believed(self.learn(parent, name, found)));
        }
        let entry = self.noted(ctx, make, |state, entry| {
            state.did(parent, name, Kind::Created);
            state.echo.left(self.fs.inner().identity(entry.inode), stamp(&entry.attr));
        })?;
        Ok(self.learn(parent, name, entry))
    }

    /// Something was removed: by the guest, or the repeating thread is told so.
    fn removed(
        &self,
        ctx: Context,
        parent: u64,
        name: &CStr,
        remove: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<()> {
        if let Some(events) = self.repeated(ctx) {
            let mut state = events.state();
            let Some(Ghost::Delete(node)) = state.ghost(parent, name).cloned() else {
                return Err(errno(libc::EPERM));
            };
            self.fs.inner().lose(parent, name, node);
            state.lay(self.fs.inner(), parent, name);
            return Ok(());
        }
        self.noted(ctx, remove, |state, ()| state.did(parent, name, Kind::Deleted))
    }

    /// What the repeating thread finds under a name. Where nothing is announced, that is what the guest knows: should something
    /// else be there, then that is told later, and the guest's kernel must not find it out on the way to something in it.
    fn haunted(&self, ctx: Context, events: &Events, parent: u64, name: &CStr) -> io::Result<Entry> {
        let ghost = {
            let mut state = events.state();
            state.progress();
            state.ghost(parent, name).cloned()
        };
        match ghost {
            Some(Ghost::Create(_) | Ghost::To(None)) => Err(errno(libc::ENOENT)),
            Some(Ghost::Delete(node) | Ghost::To(Some(node)) | Ghost::From(Some(node), ..)) => {
                self.fs.recall(ctx, parent, name, node)
            }
            Some(Ghost::From(None, (dir, now), kind)) => {
                let now = CString::new(now).map_err(|_| errno(libc::EINVAL))?;
                let mut entry = match self.fs.lookup(ctx, dir, &now) {
                    Ok(entry) => entry,
                    Err(e) => {
                        let entry = self.gone(ctx, parent, name, kind, e)?;
                        events.state().settle(self.fs.inner(), parent, name, entry.inode);
                        entry
                    }
                };
                (entry.entry_timeout, entry.attr_timeout) = (Duration::ZERO, Duration::ZERO);
                Ok(entry)
            }
            None => match self.fs.inner().outdated(parent, name) {
                Some(known) => self.fs.recall(ctx, parent, name, known),
                None => Ok(self.learn(parent, name, self.fs.lookup(ctx, parent, name)?)),
            },
        }
    }

    /// What the repeating thread finds of a file that was there when it was announced, and which nobody in the guest knew.
    fn gone(&self, ctx: Context, parent: u64, name: &CStr, kind: u32, why: io::Error) -> io::Result<Entry> {
        if why.raw_os_error() != Some(libc::ENOENT) {
            return Err(why);
        }
        self.fs.recall(ctx, parent, name, self.fs.inner().phantom(kind))
    }

    /// How a file is for the repeating thread: as long as it is not told that it is gone, it has a name. A guest's kernel ends
    /// the watches of what has none as soon as it is done with it, and does not come to tell the rest.
    fn attributes(&self, ctx: Context, inode: u64, handle: Option<u64>) -> io::Result<(Attr, Duration)> {
        let (mut attr, timeout) = self.fs.getattr(ctx, inode, handle)?;
        if self.repeated(ctx).is_none() {
            return Ok((attr, timeout));
        }
        attr.nlink = attr.nlink.max(1);
        Ok((attr, Duration::ZERO))
    }

    /// A directory that the guest is told of may be watched there.
    fn learn(&self, parent: u64, name: &CStr, entry: Entry) -> Entry {
        if let Some(events) = &self.events
            && entry.attr.mode & libc::S_IFMT == libc::S_IFDIR
        {
            events.learn(entry.inode, || self.fs.inner().path(parent, name));
        }
        entry
    }

    /// How the guest left a file.
    fn left(&self, ctx: Context, state: &mut State, inode: u64) {
        if let Ok((attr, _)) = self.fs.getattr(ctx, inode, None) {
            state.echo.left(self.fs.inner().identity(inode), stamp(&attr));
        }
    }
}

/// What the repeating thread is told of a file is not believed by anybody. The guest's kernel takes it over when that thread comes to
/// it, and in place of what others were told of a later change in between: they have to ask again.
fn not_believed(mut entry: Entry) -> Entry {
    entry.attr_timeout = Duration::ZERO;
    entry
}
