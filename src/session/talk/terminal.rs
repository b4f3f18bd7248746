//! A conversation's terminal: taken, followed, left.

use super::Talk;
use crate::error::{Context, Result};
use crate::session::keys::{News, Reader, Want};
use crate::session::tty;
use std::sync::atomic::Ordering;
use std::time::Duration;
use vmclaude_init::wire::proto::{self, ToGuest};

impl Talk {
    /// Takes the keys if they are ours to take.
    pub(super) fn take_terminal(&mut self) -> Result<()> {
        let Some(terminal) = self.terminal.as_ref() else { return Ok(()) };
        self.facts.foreground = tty::is_foreground(terminal);
        if !self.facts.takes_keys() {
            return Ok(());
        }
        if self.raw.is_none() {
            self.raw = Some(tty::Raw::enter(terminal, self.signal_keys, self.wanted != proto::Keys::All)?);
            self.cooked.store(false, Ordering::Relaxed);
        }
        if let Some(to) = self.keys.take() {
            let what = || "cannot read the terminal";
            let from = terminal.try_clone().what(what)?;
            self.reader = Some(Reader::start(from, to, self.news.clone()).what(what)?);
        }
        // Whoever waited for a line may not do so any more.
        self.want(if self.wanted == proto::Keys::All { Want::All } else { Want::Word });
        Ok(())
    }

    /// Leaves the terminal to others, as it was.
    pub(super) fn leave_terminal(&mut self) {
        self.want(Want::Nothing);
        self.raw.take().into_iter().for_each(tty::Raw::leave);
        self.cooked.store(true, Ordering::Relaxed);
    }

    pub(super) fn want(&mut self, want: Want) {
        self.reader.iter_mut().for_each(|reader| reader.want(want));
    }

    /// Our terminal's keys are what the guest's are.
    pub(super) fn follow(&self) {
        let lines = self.wanted != proto::Keys::All;
        self.raw.iter().for_each(|raw| raw.follow(self.signal_keys, lines));
    }

    /// Hears news of our terminal: keys wait, and the guest knows who wants them; or it is gone.
    pub(in crate::session) fn learn(&mut self, news: News) -> Result<()> {
        match news {
            News::Wait(behind) => self.send(ToGuest::KeysWait(behind)),
            News::Gone => self.hang_up(),
        }
    }

    /// Our terminal is gone, and so is the guest's: whoever reads or writes it is told what they would be told here. That is all,
    /// where whoever leads our session keeps the news from us: a program that needs no terminal goes on.
    pub(super) fn hang_up(&mut self) -> Result<()> {
        match std::mem::replace(&mut self.hung_up, true) {
            true => Ok(()),
            false => self.send(ToGuest::HungUp),
        }
    }

    /// Waits until so much of the guest's terminal is on ours, but not for a terminal that stands still.
    pub(super) async fn all_shown(&self, bytes: u64) {
        for _ in 0..500 {
            if self.shown.load(Ordering::Acquire) >= bytes {
                return;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}
