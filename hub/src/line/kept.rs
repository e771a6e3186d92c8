//! Sessions of edges that are not connected: so that an edge that comes back goes on where it was, for a few bytes.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use super::receiver::Receiver;

/// Memory that sessions without a connection may take, of all edges: those that left first go first. At about 100 bytes a
/// series that is 300 edges of 5,000 series; the others describe themselves again.
const KEPT_BYTES_MAX: usize = 160 << 20;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Kept(Mutex<Shelf>);

#[derive(Debug, Default)]
struct Shelf {
    by_edge: HashMap<(String, String), Entry>,
    bytes: usize,
    /// Counts up: the smallest left first.
    left: u64,
}

#[derive(Debug)]
struct Entry {
    receiver: Receiver,
    bytes: usize,
    left: u64,
}

impl Kept {
    /// The sessions of an edge of a branch; none if they had to go.
    pub(super) fn take(&self, branch: &str, edge: &str) -> Receiver {
        let mut shelf = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = shelf.by_edge.remove(&(branch.to_owned(), edge.to_owned()));
        entry.map_or_else(Receiver::default, |entry| {
            shelf.bytes -= entry.bytes;
            entry.receiver
        })
    }

    /// Its connection has ended.
    pub(super) fn put(&self, branch: &str, edge: &str, receiver: Receiver) {
        let bytes = receiver.bytes();
        let mut shelf = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if bytes == 0 || bytes > KEPT_BYTES_MAX {
            return;
        }
        shelf.left += 1;
        let entry = Entry {
            receiver,
            bytes,
            left: shelf.left,
        };
        shelf.bytes += bytes;
        if let Some(before) = shelf
            .by_edge
            .insert((branch.to_owned(), edge.to_owned()), entry)
        {
            shelf.bytes -= before.bytes;
        }
        while shelf.bytes > KEPT_BYTES_MAX {
            let first = shelf.by_edge.iter().min_by_key(|(_, entry)| entry.left);
            let Some(first) = first.map(|(edge, _)| edge.clone()) else {
                return;
            };
            if let Some(gone) = shelf.by_edge.remove(&first) {
                shelf.bytes -= gone.bytes;
            }
        }
    }

    /// Memory taken, about.
    pub(super) fn bytes(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).bytes
    }
}
