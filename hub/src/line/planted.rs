//! Faults that tests plant, to see that the plays from a seed find them. A build that is no test has none of them: every question is
//! answered "no" by the compiler.

/// A fault, at the place that asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Planted {
    /// Records are called taken when they are in the store, not when they are on disk.
    SaysTakenTooEarly,
    /// Records are in the ledger when they are in the store, not when they are on disk.
    LedgerAheadOfStore,
    /// A record that was refused is in the ledger.
    LedgerTakesRefused,
    /// What the store had no room for is called taken.
    TakesWhatHadNoRoom,
    /// What is said to be taken ends one record too late.
    SaysOneMore,
    /// The first reply says nothing of what is on disk.
    SaysNothingOfWhatItHas,
    /// A session that another one goes on with is taken as it is now, not as it was told.
    ForgetsWhatItTold,
    /// A connection that has just begun, or says late what it had to say, vouches for the time since the last report.
    VouchesForSilence,
    /// A report's pending intervals are not looked at.
    OverlooksPending,
    /// What a restored hub can never get again is not lost.
    OverlooksRestoration,
}

#[cfg(not(test))]
#[inline(always)]
pub(crate) const fn is(_: Planted) -> bool {
    false
}

#[cfg(test)]
pub(crate) use planting::{is, while_planted};

#[cfg(test)]
mod planting {
    use std::cell::Cell;

    use super::Planted;

    thread_local! {
        static PLANTED: Cell<Option<Planted>> = const { Cell::new(None) };
    }

    pub(crate) fn is(fault: Planted) -> bool {
        PLANTED.get() == Some(fault)
    }

    /// Plants a fault in what this thread does meanwhile.
    pub(crate) fn while_planted<T>(fault: Planted, does: impl FnOnce() -> T) -> T {
        PLANTED.set(Some(fault));
        let done = does();
        PLANTED.set(None);
        done
    }
}
