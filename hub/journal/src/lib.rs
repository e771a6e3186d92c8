//! How is an append-only log kept whole on disk?
//!
//! A [`Journal`] is a folder of segment files. Each segment holds opaque records, each with a checksum and a sequence
//! number that rises by one. [`Journal::append`] returns as soon as the bytes are handed to the operating system; the
//! [`Commit`] it returns completes once they are durable. Many appends share one fsync.
//!
//! Below it stands the [`Disk`] trait: everything the project's engines ask of a file system, so that tests can pass
//! a simulated one ([`sim::SimDisk`]) that forgets what was not synced.
//!
//! Not in here: what the records mean, compression, any thread but the one that syncs, any lock between processes
//! (a process locks its data folder once; [`Disk::lock`] is how). The bytes on disk are drawn in `FORMAT.md`.
//!
//! # What may be lost, and what each kind of damage means
//!
//! - **Torn tail** (normal): the bytes behind the last whole record of the *last* segment, when no whole record follows
//!   them. An interrupted write leaves them. [`Journal::open`] cuts them and says so in [`Recovery::torn_tail`]. Only
//!   records whose `Commit` had not completed can be in there. (A disk that spoils exactly the last record cannot be told
//!   from an interrupted write; the cut is reported either way.)
//! - **Torn creation** (normal): a last segment without a whole header and without records. It is removed.
//! - **Torn replacement** (normal): the file that was to stand in a closed segment's place ([`Journal::replace`]) and was not renamed. It is
//!   removed; the segment is as it was.
//! - **Damage in the middle** (an error, typed): a bad checksum with a whole record behind it, or anywhere in a segment that
//!   is not the last (a segment is synced before the next one is created), or a missing segment. Never silent: `open`
//!   lists what it sees in [`Recovery::damage`], a [`Reader`] yields [`JournalError::Damaged`] once per damaged stretch,
//!   with the sequence numbers that are gone, and goes on behind it. `open` reads only the last segment whole; damage in
//!   older ones is met by whoever reads them.
//! - **Unknown version**: refused with the way out; nothing is changed.
//! - **Failed fsync**: the kernel may have dropped the bytes and would call the next fsync a success. The journal is
//!   *poisoned*: every waiting `Commit` and every later append fails with [`JournalError::Poisoned`]. Reads go on. The way
//!   out is to open the folder again, best after a reboot: until then the kernel may show bytes that the platter lacks.
//! - **Disk full**: the append is refused with [`JournalError::DiskFull`], its partial bytes are cut off again, and the
//!   journal stays usable. Should even the cut fail, the journal is poisoned.
//!
//! # Example
//!
//! ```
//! use std::{path::Path, sync::Arc};
//! use journal::{Journal, Options, sim::SimDisk};
//!
//! let disk = Arc::new(SimDisk::new(1));
//! let (journal, recovery) = Journal::open(disk, Path::new("/data/wal"), Options::default())?;
//! assert_eq!(recovery.next_seq, 1);
//! let appended = journal.append(b"first")?;
//! appended.commit.wait()?; // durable from here on
//! let records: Vec<_> = journal.read_from(1).collect::<Result<_, _>>()?;
//! assert_eq!(records, [(1, b"first".to_vec())]);
//! # Ok::<(), journal::JournalError>(())
//! ```

mod disk;
mod error;
mod log;
mod reader;
mod recover;
mod replace;
mod segment;
mod shared;
pub mod sim;

pub use disk::{
    DIRTY_BYTES_MAX, Disk, DiskFile, DiskLock, RealDisk, is_disk_full, read_exact_at, read_file,
    write_atomic,
};
pub use error::JournalError;
pub use log::{
    Appended, Freed, Journal, Options, PATIENCE, PATIENT_BYTES_MAX, SegmentInfo, SyncPolicy,
    Urgency,
};
pub use reader::Reader;
pub use recover::{Damage, Recovery, TornTail};
pub use replace::Replacement;
pub use segment::RECORD_BYTES_LIMIT;
pub use shared::Commit;
