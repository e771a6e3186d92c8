//! Ways in for fuzzing: what the hub reads from its disk beside the store. No part of the crate's interface: anything here may change.

use crate::federation::ledger;

/// Reads bytes as the ledger's record of an edge, and asks it all that is asked of it; whether it is one. Total.
pub fn read_ledger_record(bytes: &[u8]) -> bool {
    ledger::probe::read(bytes)
}

/// Records as the hub writes them.
pub fn ledger_records() -> Vec<Vec<u8>> {
    ledger::probe::records()
}
