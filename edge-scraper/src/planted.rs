//! Faults that tests plant, to see that the plays from a seed find them. A build that is no test has none of them: every
//! question is answered "no" by the compiler.

/// A fault, at the place that asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(test), expect(dead_code, reason = "only tests plant"))]
pub(crate) enum Planted {
    /// An answer acknowledges the record behind it, too.
    AcknowledgesOneMore,
    /// When a connection ends, what was under way counts as acknowledged.
    AcknowledgesWhatWasLost,
    /// A record that the hub refused is acknowledged.
    AcknowledgesRefused,
    /// The record right before the live lane's first is left to nobody.
    BacklogEndsOneTooEarly,
    /// Records are sent before they are durable.
    SendsBeforeSync,
    /// Evicted samples are not counted.
    EvictsInSilence,
    /// Cursors are not saved before a segment goes.
    EvictsBeforeSaving,
    /// Thinned samples are not counted.
    ThinsInSilence,
    /// Cursors are not saved before a thinned segment takes the old one's place.
    ThinsBeforeSaving,
    /// What a thinning was to take counts after a crash, whether or not it came about.
    CountsThinningAnyway,
    /// Thinning takes staleness markers, too.
    ThinsMarkers,
    /// Thinning takes samples of series that are to be kept.
    ThinsKeptSeries,
    /// A frame of a thinned segment is sent in place of the one before.
    MixesSessions,
    /// A new segment goes on with the session of the one before.
    SegmentNeedsTheOneBefore,
    /// After a frame that was not kept the session goes on.
    GoesOnAfterAGap,
    /// After a scrape for which there was no room the session goes on.
    GoesOnAfterARefusal,
    /// The running count begins at zero after a restart.
    ForgetsWhatWasScraped,
    /// What a restored hub lacks stays acknowledged.
    BelievesInBackups,
    /// A hub that lost a backlog session is not listened to.
    IgnoresUnknownSessions,
    /// A report leaves quarantined samples out.
    ReportsNoQuarantine,
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
