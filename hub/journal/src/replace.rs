//! Replacing a closed segment: the same sequences, other payloads, in one step.
//!
//! The new file is written beside the old one, synced, and renamed over it. A crash at any point leaves one of the two, whole;
//! a new file that was not renamed is removed by the next [`Journal::open`]. Readers that stand in the old file read it to its end.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::{
    disk::{Disk, DiskFile, read_exact_at},
    error::JournalError,
    log::{Journal, SegmentInfo},
    segment::{self, HEADER_BYTES, RECORD_HEADER_BYTES},
    shared::Shared,
};

/// Records are handed to the system in pieces of this size.
const WRITE_BYTES: usize = 256 << 10;
const SUFFIX: &str = ".new";

/// What is to stand in a segment's place. Dropped without [`Journal::replace`], it is gone.
pub struct Replacement {
    shared: Arc<Shared>,
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    first_seq: u64,
    /// Of the next record.
    next_seq: u64,
    bytes: u64,
    unwritten: Vec<u8>,
    is_in_place: bool,
}

impl Journal {
    /// Begins what is to stand in a closed segment's place.
    ///
    /// # Errors
    /// The system's, [`JournalError::DiskFull`] among them: nothing has changed then. [`JournalError::Damaged`] when the segment's
    /// header is.
    pub fn replacement_of(&self, info: &SegmentInfo) -> Result<Replacement, JournalError> {
        self.shared.lock().check_writable()?;
        let old = &info.path;
        let mut header = vec![0; HEADER_BYTES as usize];
        let read = self.shared.disk.open(old);
        read.and_then(|file| read_exact_at(&*file, &mut header, 0))
            .map_err(|e| JournalError::io("reading", old, e))?;
        if segment::decode_header(&header).is_err() {
            return Err(JournalError::Damaged {
                path: old.clone(),
                offset: 0,
                lost_first: info.first_seq,
                lost_last: info.first_seq - 1,
            });
        }
        let mut name = old.clone().into_os_string();
        name.push(SUFFIX);
        let path = PathBuf::from(name);
        let file = self.shared.disk.create(&path);
        let file = file.map_err(|e| JournalError::io("creating", &path, e))?;
        Ok(Replacement {
            shared: self.shared.clone(),
            path,
            file,
            first_seq: info.first_seq,
            next_seq: info.first_seq,
            bytes: HEADER_BYTES,
            unwritten: header,
            is_in_place: false,
        })
    }

    /// Puts it in the segment's place, durably. Returns the bytes that this frees.
    ///
    /// # Errors
    /// The system's, and [`JournalError::Damaged`] when it lacks records of the segment. Should the renaming itself fail, nobody knows
    /// which of the two a crash would leave: the journal is poisoned.
    pub fn replace(&self, mut replacement: Replacement) -> Result<u64, JournalError> {
        replacement.finish()?;
        let dir = &self.shared.dir;
        let mut state = self.shared.lock();
        state.check_writable()?;
        let active = state.segments.len() - 1;
        let first_seq = replacement.first_seq;
        let at = state
            .segments
            .partition_point(|segment| segment.first_seq < first_seq);
        let found = state.segments.get_mut(at);
        let Some(segment) = found.filter(|segment| at < active && segment.first_seq == first_seq)
        else {
            return Err(JournalError::Closed);
        };
        if segment.next_seq != replacement.next_seq {
            return Err(JournalError::Damaged {
                path: replacement.path.clone(),
                offset: replacement.bytes,
                lost_first: replacement.next_seq,
                lost_last: segment.next_seq - 1,
            });
        }
        let (path, old_bytes) = (segment.path.clone(), segment.bytes);
        // Under the lock: whoever opens the file by its name afterwards knows that it is another one.
        let renamed = self.shared.disk.rename(&replacement.path, &path);
        segment.bytes = replacement.bytes;
        segment.generation += 1;
        if renamed.is_ok() {
            replacement.is_in_place = true;
        }
        if let Err(e) = renamed.and_then(|()| self.shared.disk.sync_dir(dir)) {
            let error = JournalError::Io {
                operation: "replacing",
                path,
                source: Arc::new(e),
            };
            self.shared.poison(&mut state, &error);
            return Err(error);
        }
        Ok(old_bytes.saturating_sub(replacement.bytes))
    }
}

impl Replacement {
    /// The next record of the segment.
    ///
    /// # Errors
    /// The system's, [`JournalError::DiskFull`] among them.
    pub fn push(&mut self, record: &[u8]) -> Result<(), JournalError> {
        segment::encode_record(&mut self.unwritten, self.next_seq, record);
        self.next_seq += 1;
        self.bytes += RECORD_HEADER_BYTES + record.len() as u64;
        match self.unwritten.len() >= WRITE_BYTES {
            true => self.write(),
            false => Ok(()),
        }
    }

    /// Its size so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Makes its bytes durable: what is left to [`Journal::replace`] needs no room.
    ///
    /// # Errors
    /// As [`Replacement::push`].
    pub fn finish(&mut self) -> Result<(), JournalError> {
        self.write()?;
        let synced = self.file.sync();
        synced.map_err(|e| JournalError::io("fsync", &self.path, e))
    }

    fn write(&mut self) -> Result<(), JournalError> {
        let written = self.file.append(&self.unwritten);
        self.unwritten.clear();
        written.map_err(|e| JournalError::io("writing", &self.path, e))
    }
}

impl Drop for Replacement {
    fn drop(&mut self) {
        if !self.is_in_place {
            // Should it stay, the next opening removes it.
            let _ = self.shared.disk.remove(&self.path);
        }
    }
}

/// Removes what an interrupted replacement left.
pub(crate) fn remove_leftovers(disk: &dyn Disk, dir: &Path) -> Result<(), JournalError> {
    let names = disk
        .list(dir)
        .map_err(|e| JournalError::io("listing", dir, e))?;
    let is_ours = |name: &&String| {
        let segment = name.strip_suffix(SUFFIX);
        segment.and_then(segment::parse_file_name).is_some()
    };
    for name in names.iter().filter(is_ours) {
        let path = dir.join(name);
        disk.remove(&path)
            .map_err(|e| JournalError::io("removing", &path, e))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::SimDisk;
    use crate::{Options, SyncPolicy};

    const DIR: &str = "/j";

    fn open(disk: &SimDisk) -> Journal {
        let options = Options {
            sync: SyncPolicy::Manual,
            ..Options::default()
        };
        Journal::open(Arc::new(disk.clone()), Path::new(DIR), options)
            .unwrap()
            .0
    }

    /// Three segments of ten records each, the last of them active.
    fn filled(disk: &SimDisk) -> Journal {
        let journal = open(disk);
        for n in 1..=30_u64 {
            journal
                .append(format!("old {n}").repeat(20).as_bytes())
                .unwrap();
            if n % 10 == 0 && n < 30 {
                journal.roll().unwrap();
            }
        }
        journal.sync().unwrap();
        journal
    }

    fn read(journal: &Journal, from: u64) -> Vec<(u64, String)> {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes[..6].to_vec()).unwrap();
        let records = journal.read_from(from).map(Result::unwrap);
        records.map(|(seq, bytes)| (seq, text(bytes))).collect()
    }

    fn replace(journal: &Journal, segment: usize, records: u64) -> Result<u64, JournalError> {
        let info = journal.segments()[segment].clone();
        let mut new = journal.replacement_of(&info)?;
        for seq in info.first_seq..info.first_seq + records {
            new.push(format!("new {seq:02}").as_bytes())?;
        }
        journal.replace(new)
    }

    #[test]
    fn the_new_records_are_read_and_stay() {
        let disk = SimDisk::new(1);
        let journal = filled(&disk);
        let before = journal.bytes();
        let freed = replace(&journal, 0, 10).unwrap();
        assert_eq!((before - journal.bytes(), freed > 500), (freed, true));
        let expected = |from: u64| -> Vec<(u64, String)> {
            let text = |seq| match seq {
                1..=10 => format!("new {seq:02}"),
                _ => format!("old {seq}"),
            };
            (from..=30).map(|seq| (seq, text(seq))).collect()
        };
        assert_eq!(read(&journal, 1), expected(1));
        assert_eq!(read(&journal, 7), expected(7));
        drop(journal);
        disk.crash();
        assert_eq!(read(&open(&disk), 1), expected(1));
    }

    #[test]
    fn readers_stay_in_the_file_they_read() {
        let disk = SimDisk::new(1);
        let journal = open(&disk);
        (1..=4).for_each(|n| drop(journal.append(format!("old {n:02}").as_bytes()).unwrap()));
        let mut within_active = journal.read_from(1);
        within_active.next().unwrap().unwrap();
        journal.roll().unwrap();
        let mut within_closed = journal.read_from(1);
        within_closed.next().unwrap().unwrap();
        replace(&journal, 0, 4).unwrap();
        let rest =
            |reader: crate::Reader| -> Vec<(u64, Vec<u8>)> { reader.map(Result::unwrap).collect() };
        assert_eq!(rest(within_closed)[0], (2, b"old 02".to_vec()));
        assert_eq!(rest(within_active)[0], (2, b"new 02".to_vec()));
    }

    #[test]
    fn what_lacks_records_or_is_active_is_refused() {
        let disk = SimDisk::new(1);
        let journal = filled(&disk);
        let lacks = replace(&journal, 1, 9);
        assert!(
            matches!(
                lacks,
                Err(JournalError::Damaged {
                    lost_first: 20,
                    lost_last: 20,
                    ..
                })
            ),
            "{lacks:?}"
        );
        assert!(replace(&journal, 2, 10).is_err());
        assert!(
            disk.files()
                .iter()
                .all(|(path, _)| !path.to_string_lossy().ends_with(SUFFIX))
        );
        assert_eq!(read(&journal, 1).len(), 30);
        journal.append(b"goes on").unwrap();
    }

    #[test]
    fn without_room_nothing_changes() {
        let disk = SimDisk::new(1);
        let journal = filled(&disk);
        disk.set_capacity(Some(disk.used_bytes() + 100));
        assert!(matches!(
            replace(&journal, 0, 10),
            Err(JournalError::DiskFull { .. })
        ));
        assert_eq!(read(&journal, 1)[0].1, "old 1o");
    }

    /// The power goes in the middle of every change in turn.
    #[test]
    fn a_crash_leaves_one_of_the_two() {
        let (mut old, mut new) = (0, 0);
        for change in 1..40 {
            for seed in 1..6 {
                let disk = SimDisk::new(seed);
                let journal = filled(&disk);
                disk.crash_after(Some(change));
                let done = replace(&journal, 1, 10).is_ok();
                drop(journal);
                disk.crash();
                let journal = open(&disk);
                let found = read(&journal, 11);
                assert_eq!(found.len(), 20);
                let is_new = found[0].1 == "new 11";
                assert!(
                    found[..10]
                        .iter()
                        .all(|(_, text)| text.starts_with("new") == is_new)
                );
                assert!(is_new || !done, "what was done stays");
                (old, new) = (old + u32::from(!is_new), new + u32::from(is_new));
                assert!(
                    disk.files()
                        .iter()
                        .all(|(path, _)| !path.to_string_lossy().ends_with(SUFFIX))
                );
            }
        }
        assert!(old > 5 && new > 5, "{old} {new}");
    }
}
