//! The rules of this repository that no compiler holds: which crate may use which, what lies where, what no source may contain.
//! Each rule is a test, and each failure says what to do.

mod arrows;
mod files;
mod layout;
mod links;
mod sources;
