//! The lines that the kernel shows of NFS clients and servers: a keyword and counters; and the names of NFS's procedures.

use super::roots::{PartError, Text};

/// NFS 2, in the order of the protocol.
pub(super) const NFS2: [&str; 18] = [
    "Null", "GetAttr", "SetAttr", "Root", "Lookup", "ReadLink", "Read", "WrCache", "Write",
    "Create", "Remove", "Rename", "Link", "SymLink", "MkDir", "RmDir", "ReadDir", "FsStat",
];

/// NFS 3, in the order of the protocol.
pub(super) const NFS3: [&str; 22] = [
    "Null",
    "GetAttr",
    "SetAttr",
    "Lookup",
    "Access",
    "ReadLink",
    "Read",
    "Write",
    "Create",
    "MkDir",
    "SymLink",
    "MkNod",
    "Remove",
    "RmDir",
    "Rename",
    "Link",
    "ReadDir",
    "ReadDirPlus",
    "FsStat",
    "FsInfo",
    "PathConf",
    "Commit",
];

/// The counters behind a keyword.
///
/// # Errors
///
/// One that is no number.
pub(super) fn numbers(text: &Text, fields: &str) -> Result<Vec<f64>, PartError> {
    fields
        .split_ascii_whitespace()
        .map(|field| text.number(Some(field)))
        .collect()
}

/// The counters of procedures: the first number says how many follow.
///
/// # Errors
///
/// Fewer or more than it says.
pub(super) fn procedures<'a>(
    text: &Text,
    line: &str,
    numbers: &'a [f64],
) -> Result<&'a [f64], PartError> {
    match numbers.split_first() {
        Some((count, rest)) if *count == rest.len() as f64 => Ok(rest),
        _ => Err(text.malformed("a count and so many numbers", line)),
    }
}
