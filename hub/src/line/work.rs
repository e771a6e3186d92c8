//! What a connection has done off the async threads: frames read and put into the store, one after the other.

use axum::body::Bytes;
use model::Timestamp;
use tsdb::{Commit, SeriesKeys, Urgency};
use wire::edge_headers::{Lane, SequenceRange};
use wire::line::LineError;
use wire::line::link::UnknownFrame;

use super::LineHub;
use super::batch::{Batch, BatchStored, FrameStored};
use super::counts::add;
use super::planted::{self, Planted};
use super::receiver::{Read, Reading, Receiver};
use crate::ingest::Identity;

/// Whose frames they are.
pub(super) struct Sender {
    pub(super) identity: Identity,
    pub(super) branch: String,
    pub(super) edge: String,
    pub(super) keys: SeriesKeys,
}

/// What became of frames.
pub(super) enum Done {
    /// They are in the store, and on disk when the commits have completed.
    Stored(Box<Stored>),
    Unknown(UnknownFrame),
    /// Not now; those after it were not looked at.
    Later(String),
    /// No frame: the connection is over, the sessions are gone.
    Broken(LineError),
}

pub(super) struct Stored {
    pub(super) lane: Lane,
    pub(super) frames: Vec<FrameStored>,
    pub(super) newest: Option<Timestamp>,
    pub(super) commits: Vec<Commit>,
}

/// Takes frames of one lane to the store, in order, several with one append. Blocks.
pub(super) fn work(
    hub: &LineHub,
    sender: &Sender,
    receiver: &mut Receiver,
    (lane, urgency): (Lane, Urgency),
    frames: Vec<Bytes>,
) -> Vec<Done> {
    let counts = hub.counts.lane(lane);
    add(&counts.frames, frames.len() as u64);
    add(
        &counts.bytes,
        frames.iter().map(Bytes::len).sum::<usize>() as u64,
    );
    let (mut done, mut batch) = (Vec::new(), Batch::of(urgency));
    for frame in frames {
        let with = Reading {
            keys: &sender.keys,
            latest: hub.ingest.latest().millis(),
            limits: &hub.limits,
        };
        match receiver.read(lane, &frame, &with, &mut batch) {
            Ok(Read::Frame(read)) => {
                let record = SequenceRange {
                    first: read.seq,
                    last: read.seq,
                };
                let held = hub
                    .ledger
                    .has_all(&sender.branch, &sender.edge, read.epoch, &[record]);
                add(&hub.counts.repeated, u64::from(held));
                batch.end_frame(read, held);
            }
            Ok(Read::Unknown(unknown)) => done.push(Done::Unknown(unknown)),
            Err(error) => {
                // What is in the batch was not acknowledged: it comes again.
                done.push(Done::Broken(error));
                return done;
            }
        }
        if batch.is_full() && !store(hub, sender, receiver, lane, &mut batch, &mut done) {
            return done;
        }
    }
    store(hub, sender, receiver, lane, &mut batch, &mut done);
    done
}

/// Stores what is in the batch; whether more can be stored.
fn store(
    hub: &LineHub,
    sender: &Sender,
    receiver: &mut Receiver,
    lane: Lane,
    batch: &mut Batch,
    done: &mut Vec<Done>,
) -> bool {
    let mut batch = batch.take();
    if batch.is_empty() {
        return true;
    }
    let stored = match batch.store(&hub.ingest, &sender.identity, receiver.unstored()) {
        Ok(stored) => stored,
        Err(why) => {
            if planted::is(Planted::TakesWhatHadNoRoom) {
                done.push(Done::Stored(Box::new(not_stored(lane, &batch))));
                return true;
            }
            batch
                .frames()
                .for_each(|read| receiver.forget_session(read));
            done.push(Done::Later(why));
            return false;
        }
    };
    let BatchStored {
        commits,
        newest,
        mut frames,
    } = stored;
    for frame in frames.iter().filter(|frame| frame.forgotten) {
        receiver.forget_session(&frame.read);
        done.push(Done::Unknown(frame.read.frame));
    }
    frames.retain(|frame| !frame.forgotten);
    done.push(Done::Stored(Box::new(Stored {
        lane,
        frames,
        newest,
        commits,
    })));
    true
}

/// What a batch comes to that is called stored without being so: a fault that tests plant.
fn not_stored(lane: Lane, batch: &Batch) -> Stored {
    let frames = batch.frames().map(|read| FrameStored {
        read: *read,
        samples: 0,
        refused: None,
        forgotten: false,
    });
    Stored {
        lane,
        frames: frames.collect(),
        newest: None,
        commits: Vec::new(),
    }
}
