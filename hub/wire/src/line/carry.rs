//! What a session leaves to the one that follows it.
//!
//! Values anew cost four times as much as values that go on, for a dozen scrapes. That is no matter on disk, but on a link that has just come
//! back it is what live scrapes wait for. So whoever read a session up to where the next one knows it gets the first
//! scrape of each layout coded by what the session before remembered. Having read it, the reader codes the values anew, too, for
//! itself: from then on it remembers what a reader of the plain frame does.

use super::block::{Cell, Head, Layout, Shared};
use super::column::UnknownRule;
use super::range::Coder;

/// Where a session stood after some frame, at either end. See [`LineEncoder::begin_after`](super::LineEncoder::begin_after).
#[derive(Clone, Debug)]
pub struct LineState {
    pub(super) session: u32,
    /// The number of the frame that comes next.
    pub(super) next: u64,
    pub(super) shared: Shared,
    pub(super) layouts: Vec<Layout>,
}

/// The same, while the session that follows uses it up: each layout once.
#[derive(Clone, Debug)]
pub(super) struct Carried {
    shared: Shared,
    layouts: Vec<Layout>,
    /// Which are not used yet.
    waits: Vec<bool>,
    waiting: usize,
    /// So many frames of the session that follows may use them.
    frames_max: u64,
}

impl Carried {
    pub(super) fn new(shared: Shared, layouts: Vec<Layout>) -> Carried {
        // Nothing was remembered of those without series, and a reader need not have heard of them.
        let waits: Vec<bool> = layouts.iter().map(|layout| layout.len() > 0).collect();
        let waiting = waits.iter().filter(|waits| **waits).count();
        Carried {
            shared,
            layouts,
            waits,
            waiting,
            frames_max: 2 * waiting as u64,
        }
    }

    /// Whether a layout was known to the session before and has not been used since.
    pub(super) fn has(&self, layout: u32) -> bool {
        self.waits.get(layout as usize).is_some_and(|waits| *waits)
    }

    /// A layout that is not what it was.
    pub(super) fn forget(&mut self, layout: u32) {
        if self.has(layout) {
            self.waits[layout as usize] = false;
            self.waiting -= 1;
        }
    }

    /// Nothing is left to be used once a session has had so many frames: a target that is gone must not keep the others'
    /// state. Both ends count alike.
    pub(super) fn is_over(&self, frames: u64) -> bool {
        self.waiting == 0 || frames > self.frames_max
    }

    /// The head of a scrape, by what the session before remembered.
    pub(super) fn head<C: Coder>(&mut self, coder: &mut C, head: Head) -> Option<Head> {
        let head = self.shared.head(coder, &mut self.layouts, head)?;
        self.has(head.layout).then_some(head)
    }

    /// The values after [`Carried::head`], of a layout that looks `like` this now.
    pub(super) fn cells<C: Coder>(
        &mut self,
        coder: &mut C,
        number: u32,
        like: &Layout,
        cells: &mut [Cell],
    ) -> Result<(), UnknownRule> {
        self.forget(number);
        let Some(layout) = self.layouts.get_mut(number as usize) else {
            return Ok(());
        };
        let mut used = layout.take_series();
        for place in used.len()..like.len() {
            used.push(like.has_times(place));
        }
        self.shared.cells(coder, &mut used, cells)
    }
}
