use std::{
    path::Path,
    sync::{Arc, mpsc},
    time::Duration,
};

use super::*;
use crate::{
    disk::{RealDisk, read_file},
    sim::SimDisk,
};

const DIR: &str = "/data/journal";

fn manual() -> Options {
    Options {
        sync: SyncPolicy::Manual,
        segment_bytes_max: 200,
        unsynced_bytes_max: 1000,
        ..Options::default()
    }
}

fn open(disk: &SimDisk, options: Options) -> (Journal, Recovery) {
    Journal::open(Arc::new(disk.clone()), Path::new(DIR), options).unwrap()
}

type Records = Vec<(u64, Vec<u8>)>;

fn read(journal: &Journal, from: u64) -> Records {
    journal.read_from(from).collect::<Result<_, _>>().unwrap()
}

fn record(seq: u64, payload: &[u8]) -> (u64, Vec<u8>) {
    (seq, payload.to_vec())
}

#[test]
fn records_are_read_back_after_a_clean_restart() {
    let disk = SimDisk::new(1);
    let (journal, recovery) = open(&disk, Options::default());
    assert_eq!(
        recovery,
        Recovery {
            segments: 1,
            next_seq: 1,
            ..Recovery::default()
        }
    );
    let appended = journal.append_all(&[b"a", b"b"]).unwrap();
    assert_eq!((appended.seq, appended.last_seq), (1, 2));
    assert_eq!(journal.append_all(&[]).unwrap().last_seq, 2);
    assert_eq!(
        read(&journal, 2),
        [record(2, b"b")],
        "readable before it is durable"
    );
    drop(journal);
    let (journal, recovery) = open(&disk, Options::default());
    assert_eq!(
        recovery,
        Recovery {
            segments: 1,
            next_seq: 3,
            ..Recovery::default()
        }
    );
    assert_eq!(read(&journal, 0), [record(1, b"a"), record(2, b"b")]);
    assert_eq!(journal.synced_seq(), 2);
}

#[test]
fn many_appends_share_an_fsync_and_every_commit_completes() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(Arc::new(RealDisk), dir.path(), Options::default()).unwrap();
    let (sender, receiver) = mpsc::channel();
    std::thread::scope(|scope| {
        for thread in 0..4_u8 {
            let (journal, sender) = (&journal, sender.clone());
            scope.spawn(move || {
                for i in 0..100_u8 {
                    let appended = journal.append(&[thread, i]).unwrap();
                    let sender = sender.clone();
                    let seq = appended.seq;
                    appended
                        .commit
                        .on_done(move |result| sender.send((seq, result.is_ok())).unwrap());
                    if i % 10 == 0 {
                        appended.commit.wait().unwrap();
                        assert!(appended.commit.is_durable());
                    }
                }
            });
        }
    });
    journal.sync().unwrap();
    let mut answered: Vec<_> = (0..400)
        .map(|_| receiver.recv_timeout(Duration::from_secs(20)).unwrap())
        .collect();
    answered.sort_unstable();
    assert_eq!(
        answered,
        (1..=400).map(|seq| (seq, true)).collect::<Vec<_>>()
    );
    assert_eq!(read(&journal, 1).len(), 400);
}

#[test]
fn a_bounded_delay_needs_few_fsyncs_and_sync_does_not_wait_it_out() {
    let disk = SimDisk::new(1);
    let options = Options {
        sync: SyncPolicy::Within(Duration::from_secs(3600)),
        ..Options::default()
    };
    let (journal, _) = open(&disk, options);
    let before = disk.syncs();
    for _ in 0..50 {
        journal.append(b"x").unwrap();
    }
    journal.sync().unwrap();
    assert_eq!(disk.syncs() - before, 1);
    assert_eq!(journal.synced_seq(), 50);
    let late = journal.append(b"y").unwrap().commit;
    drop(journal);
    late.wait().unwrap();
}

#[test]
fn who_has_time_shares_fsyncs_and_is_durable_without_others() {
    let disk = SimDisk::new(1);
    let options = Options {
        sync: SyncPolicy::Together(Duration::from_millis(2)),
        ..Options::default()
    };
    let (journal, _) = open(&disk, options);
    let before = disk.syncs();
    let append = |urgency| journal.append_with(&[b"x"], urgency).unwrap().commit;
    let patient: Vec<_> = (0..50).map(|_| append(Urgency::Patient)).collect();
    patient[49].wait().unwrap();
    // One, but for a test that stands still for a while.
    assert!(disk.syncs() - before < 25, "{}", disk.syncs() - before);
    assert!(patient.iter().all(Commit::is_durable));
    // Whoever is in a hurry takes along what waits.
    let (patient, urgent) = (append(Urgency::Patient), append(Urgency::Now));
    urgent.wait().unwrap();
    assert!(patient.is_durable());
    let late = append(Urgency::Patient);
    drop(journal);
    late.wait().unwrap();
}

#[test]
fn too_large_records_are_refused() {
    let disk = SimDisk::new(1);
    let (journal, _) = open(
        &disk,
        Options {
            record_bytes_max: 10,
            ..manual()
        },
    );
    journal.append(&[0; 10]).unwrap();
    let error = journal.append_all(&[b"ok", &[0; 11]]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "record of 11 bytes is larger than the limit of 10 bytes"
    );
    assert_eq!(journal.last_seq(), 1);
}

#[test]
fn unsynced_bytes_are_bounded() {
    for sync in [
        SyncPolicy::Manual,
        SyncPolicy::Within(Duration::from_secs(3600)),
    ] {
        let disk = SimDisk::new(1);
        let (journal, _) = open(
            &disk,
            Options {
                sync,
                unsynced_bytes_max: 100,
                ..Options::default()
            },
        );
        for _ in 0..20 {
            journal.append(&[7; 30]).unwrap();
            assert!(journal.last_seq() - journal.synced_seq() <= 2);
        }
        journal.append(&[7; 500]).unwrap();
    }
}

#[test]
fn segments_roll_and_are_freed_whole() {
    let disk = SimDisk::new(1);
    let (journal, _) = open(&disk, manual());
    for i in 0..10 {
        journal.append(&[i; 60]).unwrap();
    }
    let bounds = |journal: &Journal| -> Vec<(u64, u64, bool)> {
        journal
            .segments()
            .iter()
            .map(|s| (s.first_seq, s.last_seq, s.active))
            .collect()
    };
    let all = [
        (1, 2, false),
        (3, 4, false),
        (5, 6, false),
        (7, 8, false),
        (9, 10, true),
    ];
    assert_eq!(bounds(&journal), all);
    let mut slow = journal.read_from(1);
    assert_eq!(slow.next().unwrap().unwrap().0, 1);
    assert_eq!(
        journal.free_through(5).unwrap(),
        Freed {
            segments: 2,
            bytes: 2 * (32 + 2 * 76)
        }
    );
    assert_eq!(journal.free_through(5).unwrap(), Freed::default());
    assert_eq!(
        slow.map(|r| r.unwrap().0).collect::<Vec<_>>(),
        [2, 5, 6, 7, 8, 9, 10]
    );
    assert_eq!(read(&journal, 1).first().unwrap().0, 5);
    journal.free_through(100).unwrap();
    assert_eq!(
        bounds(&journal),
        [(9, 10, true)],
        "the active segment stays"
    );
    journal.roll().unwrap();
    journal.roll().unwrap();
    journal.free_through(100).unwrap();
    assert_eq!(bounds(&journal), [(11, 10, true)]);
    journal.sync().unwrap();
    drop(journal);
    let (journal, recovery) = open(&disk, manual());
    assert_eq!(recovery.next_seq, 11, "the sequence outlives its records");
    assert_eq!(journal.bytes(), 32);
}

#[test]
fn numbers_can_be_left_out_on_purpose() {
    let disk = SimDisk::new(1);
    let (journal, _) = open(&disk, manual());
    journal.append(b"1").unwrap();
    journal.sync().unwrap();
    drop(journal);
    let (journal, recovery) = open(
        &disk,
        Options {
            next_seq_min: 50,
            ..manual()
        },
    );
    assert_eq!((recovery.next_seq, recovery.damage.len()), (50, 0));
    journal.append(b"50").unwrap();
    assert_eq!(read(&journal, 0), [record(1, b"1"), record(50, b"50")]);
    journal.sync().unwrap();
    drop(journal);
    let (journal, recovery) = open(&disk, manual());
    assert_eq!((recovery.next_seq, recovery.damage.len()), (51, 0));
    assert_eq!(read(&journal, 0).len(), 2);
}

#[test]
fn a_reader_goes_on_after_more_was_appended() {
    let disk = SimDisk::new(1);
    let (journal, _) = open(&disk, manual());
    let (mut reader, mut synced) = (journal.read_from(1), journal.read_synced_from(1));
    assert!(reader.next().is_none());
    for i in 1..=20 {
        journal.append(&[i; 50]).unwrap();
        assert_eq!(
            reader.next().unwrap().unwrap(),
            record(u64::from(i), &[i; 50])
        );
        assert!(reader.next().is_none());
    }
    let count = synced.by_ref().count() as u64;
    assert_eq!(count, journal.synced_seq());
    assert!(count < 20);
    journal.sync().unwrap();
    assert_eq!(synced.count() as u64, 20 - count);
}

#[test]
fn a_torn_tail_is_cut_and_reported_as_normal() {
    let disk = SimDisk::new(1);
    let (journal, _) = open(&disk, manual());
    journal.append(b"whole").unwrap();
    journal.sync().unwrap();
    drop(journal);
    let path = Path::new(DIR).join(segment::file_name(1));
    disk.open(&path).unwrap().append(b"torn").unwrap();
    let (journal, recovery) = open(&disk, manual());
    assert_eq!(
        recovery.torn_tail,
        Some(crate::TornTail {
            path,
            offset: 53,
            bytes: 4
        })
    );
    assert_eq!((recovery.next_seq, recovery.damage), (2, vec![]));
    journal.append(b"next").unwrap();
    assert_eq!(read(&journal, 1), [record(1, b"whole"), record(2, b"next")]);
}

#[test]
fn damage_in_the_middle_is_typed_skipped_and_counted() {
    let disk = SimDisk::new(1);
    let (journal, _) = open(&disk, manual());
    for i in 0..7 {
        journal.append(&[i; 60]).unwrap();
    }
    journal.sync().unwrap();
    drop(journal);
    let path = |seq| Path::new(DIR).join(segment::file_name(seq));
    // Record 1 of the first segment, the last record of the second, and the only one of the last.
    disk.flip_bit(&path(1), 50 * 8).unwrap();
    disk.flip_bit(&path(3), (32 + 76 + 30) * 8).unwrap();
    let (journal, recovery) = open(&disk, manual());
    assert_eq!(
        recovery.damage,
        [],
        "closed segments are not read when opening"
    );
    let items: Vec<_> = journal
        .read_from(1)
        .map(|item| item.map(|(seq, _)| seq))
        .collect();
    let shown: Vec<String> = items
        .iter()
        .map(|item| match item {
            Ok(seq) => seq.to_string(),
            Err(JournalError::Damaged {
                lost_first,
                lost_last,
                offset,
                ..
            }) => {
                format!("lost {lost_first}-{lost_last} at {offset}")
            }
            Err(e) => e.to_string(),
        })
        .collect();
    assert_eq!(
        shown,
        ["lost 1-1 at 32", "2", "3", "lost 4-4 at 108", "5", "6", "7"]
    );
    assert_eq!(
        journal.read_from(2).filter(Result::is_err).count(),
        1,
        "what was not asked for is not reported"
    );
    drop(journal);
    // A whole segment gone; a header gone.
    disk.remove(&path(3)).unwrap();
    disk.flip_bit(&path(5), 9).unwrap();
    let (journal, recovery) = open(&disk, manual());
    assert_eq!(recovery.damage.len(), 1, "{recovery:?}");
    assert_eq!(recovery.damage[0].path, path(5));
    let readable: Vec<u64> = journal.read_from(1).flatten().map(|(seq, _)| seq).collect();
    assert_eq!(readable, [2, 5, 6, 7]);
    drop(journal);
    disk.flip_bit(&path(5), 9).unwrap();
    let (journal, _) = open(&disk, manual());
    let lost = journal.read_from(3).find_map(Result::err).unwrap();
    assert!(
        matches!(
            lost,
            JournalError::Damaged {
                lost_first: 3,
                lost_last: 4,
                ..
            }
        ),
        "{lost}"
    );
}

#[test]
fn damage_in_the_last_segment_is_seen_when_opening() {
    let disk = SimDisk::new(1);
    let (journal, _) = open(
        &disk,
        Options {
            sync: SyncPolicy::Manual,
            ..Options::default()
        },
    );
    for i in 0..5 {
        journal.append(&[i; 20]).unwrap();
    }
    journal.sync().unwrap();
    let path = Path::new(DIR).join(segment::file_name(1));
    disk.flip_bit(&path, (32 + 36 + 20) * 8).unwrap();
    let seqs = |journal: &Journal| {
        journal
            .read_from(1)
            .flatten()
            .map(|(seq, _)| seq)
            .collect::<Vec<_>>()
    };
    assert_eq!(seqs(&journal), [1, 3, 4, 5]);
    drop(journal);
    let (journal, recovery) = open(&disk, manual());
    assert_eq!(
        recovery.damage,
        [crate::Damage {
            path,
            offset: 68,
            bytes: 36,
            lost_first: 2,
            lost_last: 2
        }]
    );
    assert_eq!((recovery.next_seq, recovery.torn_tail), (6, None));
    assert_eq!(seqs(&journal), [1, 3, 4, 5]);
}

#[test]
fn a_spoiled_end_of_the_active_segment_does_not_hide_what_is_appended_later() {
    let disk = SimDisk::new(1);
    let (journal, _) = open(
        &disk,
        Options {
            sync: SyncPolicy::Manual,
            ..Options::default()
        },
    );
    for i in 0..5 {
        journal.append(&[i; 20]).unwrap();
    }
    for at in [3, 4] {
        disk.flip_bit(
            &Path::new(DIR).join(segment::file_name(1)),
            (32 + 36 * at + 20) * 8,
        )
        .unwrap();
    }
    let mut reader = journal.read_from(1);
    assert_eq!(reader.by_ref().flatten().count(), 3);
    journal.append(b"later").unwrap();
    assert_eq!(reader.next().unwrap().unwrap(), record(6, b"later"));
}

#[test]
fn a_torn_creation_is_removed() {
    for size in [0, 10, 32, 60] {
        let disk = SimDisk::new(1);
        let (journal, _) = open(&disk, manual());
        journal.append(b"one").unwrap();
        journal.sync().unwrap();
        drop(journal);
        let path = Path::new(DIR).join(segment::file_name(2));
        disk.create(&path).unwrap().append(&vec![0; size]).unwrap();
        let (journal, recovery) = open(&disk, manual());
        assert_eq!(
            recovery.torn_tail,
            Some(crate::TornTail {
                path,
                offset: 0,
                bytes: size as u64
            })
        );
        assert_eq!((recovery.next_seq, recovery.damage), (2, vec![]));
        assert_eq!(read(&journal, 1), [record(1, b"one")]);
    }
}

#[test]
fn what_a_closed_segment_lacks_is_lost_even_if_its_successor_was_torn() {
    let disk = SimDisk::new(1);
    let (journal, _) = open(&disk, manual());
    for i in 0..3 {
        journal.append(&[i; 20]).unwrap();
    }
    journal.sync().unwrap();
    drop(journal);
    let path = |seq| Path::new(DIR).join(segment::file_name(seq));
    disk.flip_bit(&path(1), (32 + 36 * 2 + 20) * 8).unwrap();
    disk.create(&path(4)).unwrap();
    let (journal, recovery) = open(&disk, manual());
    let damage = recovery.damage.first().unwrap();
    assert_eq!(
        (damage.lost_first, damage.lost_last, recovery.next_seq),
        (3, 3, 4)
    );
    journal.append(b"4").unwrap().commit.wait().unwrap();
    for _ in 0..2 {
        let (journal, recovery) = open(&disk, manual());
        assert_eq!((recovery.damage.len(), recovery.next_seq), (0, 5));
        let items: Vec<_> = journal
            .read_from(1)
            .map(|item| item.map(|(seq, _)| seq))
            .collect();
        assert!(matches!(
            items[2],
            Err(JournalError::Damaged {
                lost_first: 3,
                lost_last: 3,
                ..
            })
        ));
        assert_eq!(items.into_iter().flatten().collect::<Vec<_>>(), [1, 2, 4]);
    }
}

#[test]
fn an_unknown_version_is_refused_with_the_way_out() {
    let disk = SimDisk::new(1);
    drop(open(&disk, manual()));
    let path = Path::new(DIR).join(segment::file_name(1));
    let mut bytes = read_file(&disk, &path, 1000).unwrap();
    bytes[8] = 9;
    let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes[..12]), &bytes[16..]);
    bytes[12..16].copy_from_slice(&crc.to_le_bytes());
    disk.create(&path).unwrap().append(&bytes).unwrap();
    let error = Journal::open(Arc::new(disk.clone()), Path::new(DIR), manual())
        .err()
        .unwrap();
    assert_eq!(
        error.to_string(),
        format!(
            "{} has journal format 9, this release reads format 1; use the release that wrote it",
            path.display()
        )
    );
    assert_eq!(
        read_file(&disk, &path, 1000).unwrap(),
        bytes,
        "left as it was"
    );
}

#[test]
fn after_a_failed_fsync_nothing_is_accepted_and_reads_go_on() {
    for sync in [SyncPolicy::Immediate, SyncPolicy::Manual] {
        let disk = SimDisk::new(1);
        let (journal, _) = open(
            &disk,
            Options {
                sync,
                ..Options::default()
            },
        );
        journal.append(b"safe").unwrap().commit.wait().unwrap();
        disk.fail_syncs(1);
        let lost = journal.append(b"lost").unwrap().commit;
        assert!(matches!(lost.wait(), Err(JournalError::Poisoned { .. })));
        assert!(!lost.is_durable());
        assert!(matches!(
            journal.append(b"no"),
            Err(JournalError::Poisoned { .. })
        ));
        assert!(matches!(journal.sync(), Err(JournalError::Poisoned { .. })));
        assert!(matches!(journal.roll(), Err(JournalError::Poisoned { .. })));
        assert!(journal.poisoned().unwrap().contains("fsync"));
        let (sender, receiver) = mpsc::channel();
        lost.on_done(move |result| sender.send(result.is_err()).unwrap());
        assert!(receiver.recv().unwrap());
        assert_eq!(read(&journal, 1)[0], record(1, b"safe"));
        disk.crash();
        drop(journal);
        let (journal, _) = open(&disk, manual());
        assert_eq!(read(&journal, 1), [record(1, b"safe")]);
    }
}

#[test]
fn a_failed_fsync_answers_callbacks_that_wait() {
    let disk = SimDisk::new(1);
    let options = Options {
        sync: SyncPolicy::Within(Duration::from_secs(3600)),
        ..Options::default()
    };
    let (journal, _) = open(&disk, options);
    let (sender, receiver) = mpsc::channel();
    disk.fail_syncs(1);
    journal
        .append(b"x")
        .unwrap()
        .commit
        .on_done(move |result| sender.send(result).unwrap());
    journal.sync().unwrap_err();
    let answer = receiver.recv_timeout(Duration::from_secs(20)).unwrap();
    assert!(matches!(answer, Err(JournalError::Poisoned { .. })));
}

#[test]
fn a_full_disk_refuses_and_recovers() {
    let disk = SimDisk::new(1);
    let (journal, _) = open(&disk, manual());
    journal.append(&[1; 60]).unwrap();
    disk.set_capacity(Some(disk.used_bytes() + 40));
    for _ in 0..2 {
        let error = journal.append(&[2; 60]).unwrap_err();
        assert!(matches!(error, JournalError::DiskFull { .. }), "{error}");
    }
    journal.append(&[3; 20]).unwrap();
    // Now a new segment is due, and does not fit either.
    assert!(matches!(
        journal.append(&[4; 190]),
        Err(JournalError::DiskFull { .. })
    ));
    disk.set_capacity(None);
    journal.append(&[5; 190]).unwrap();
    journal.sync().unwrap();
    disk.crash();
    drop(journal);
    let (journal, recovery) = open(&disk, manual());
    assert_eq!((recovery.torn_tail, recovery.damage), (None, vec![]));
    let expected = [
        record(1, &[1; 60]),
        record(2, &[3; 20]),
        record(3, &[5; 190]),
    ];
    assert_eq!(read(&journal, 1), expected);
}

/// Released bytes stay readable: never change this test, add another for the next version.
#[test]
fn golden_bytes_of_version_1() {
    #[rustfmt::skip]
    let golden: &[u8] = &[
        b'B', b'R', b'L', b'J', b'R', b'N', b'L', b'\n', 1, 0, 0, 0, 0xa1, 0x7b, 0x73, 0xc4, // magic, version, crc
        7, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, // first sequence, expected next of the one before
        2, 0, 0, 0, 0xf4, 0xbc, 0xe2, 0xa1, 7, 0, 0, 0, 0, 0, 0, 0, b'h', b'i', // length, crc, sequence, payload
        0, 0, 0, 0, 0x87, 0xb1, 0x5b, 0x69, 8, 0, 0, 0, 0, 0, 0, 0, // an empty record
    ];
    let disk = SimDisk::new(1);
    disk.create_dir_all(Path::new(DIR)).unwrap();
    let mut written = segment::encode_header(Header {
        first_seq: 7,
        previous_next_seq: 3,
    })
    .to_vec();
    segment::encode_record(&mut written, 7, b"hi");
    segment::encode_record(&mut written, 8, b"");
    assert_eq!(written, golden, "{written:#04x?}");
    disk.create(&Path::new(DIR).join("00000000000000000007.seg"))
        .unwrap()
        .append(golden)
        .unwrap();
    let (journal, recovery) = open(&disk, manual());
    assert_eq!((recovery.next_seq, recovery.damage), (9, vec![]));
    assert_eq!(read(&journal, 1), [record(7, b"hi"), record(8, b"")]);
}
