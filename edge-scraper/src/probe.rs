//! Ways in for fuzzing: what an edge reads from its disk, what is pushed to it, and what it makes of that for others. No part of the crate's interface: anything here may
//! change.

use crate::{forward, kept, push};

/// Reads what stands behind `/metrics/` in a path of the Pushgateway's API; whether it names a group. Total.
pub fn read_push_path(path: &str) -> bool {
    push::gateway::parse_key(path).is_ok()
}

/// Makes a message of remote write 2.0 of one of 1.0, if that can be read. Total.
pub fn second_version(message: &[u8]) -> Option<Vec<u8>> {
    forward::probe_second_version(message)
}

/// Reads a pushed body, and writes the file of its group if it is taken. Total.
pub fn read_push(body: &[u8], is_protobuf: bool) -> Option<Vec<u8>> {
    push::probe(body, is_protobuf)
}

/// Reads the file of a group, and writes it again. Total.
pub fn read_group(file: &[u8]) -> Option<Vec<u8>> {
    push::gateway::probe_file(file)
}

/// Bytes behind which the checksum of a group's file is right.
pub fn seal_group(body: &[u8]) -> Vec<u8> {
    push::gateway::probe_seal(body)
}

/// Reads the content of a file of kept targets; how many targets. Total.
pub fn read_kept_targets(content: &[u8]) -> Option<usize> {
    kept::probe_targets(content)
}

/// Reads the content of a kept configuration; whether it is one. Total.
pub fn read_kept_configuration(content: &[u8]) -> bool {
    kept::probe_configuration(content)
}
