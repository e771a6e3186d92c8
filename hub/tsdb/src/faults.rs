//! Damage, full disks, failed fsyncs, retention: one story a test.

use std::{path::Path, sync::Arc, time::Duration};

use journal::{Disk as _, sim::SimDisk};
use model::{Matcher, Sample};

use crate::{
    tests::{DIR, append_samples, at, labels, open, options},
    *,
};

fn append(store: &Store, series: &str, times: &[i64]) -> Result<Appended, AppendError> {
    let samples: Vec<Sample> = times
        .iter()
        .map(|time| Sample::float(at(*time), *time as f64))
        .collect();
    append_samples(store, "b07", series, &samples)
}

/// Times of a series, or of all of them.
fn times(store: &Store) -> Vec<i64> {
    let selection = store
        .select(&[], TimeRange::ALL, &SelectLimits::default(), &|| false)
        .unwrap();
    selection
        .series
        .into_iter()
        .flat_map(|series| series.timestamps)
        .collect()
}

fn warnings(store: &Store, range: TimeRange) -> Vec<String> {
    store
        .select(&[], range, &SelectLimits::default(), &|| false)
        .unwrap()
        .warnings
}

fn file(disk: &SimDisk, suffix: &str) -> (std::path::PathBuf, u64) {
    let files = disk.files();
    files
        .into_iter()
        .find(|(path, _)| path.to_string_lossy().ends_with(suffix))
        .unwrap()
}

/// Two parts: minutes 0 and 2.
fn two_parts(disk: &SimDisk) -> Store {
    let store = open(disk, &options());
    append(&store, "up", &[1000, 2000]).unwrap();
    append(&store, "up", &[121_000]).unwrap();
    store.close().unwrap();
    assert_eq!(store.stats().parts, 2);
    store
}

#[test]
fn a_damaged_block_sets_the_part_aside_and_the_rest_is_served() {
    let disk = SimDisk::new(1);
    let store = two_parts(&disk);
    disk.flip_bit(&file(&disk, "1.part").0, 20 * 8).unwrap();
    assert_eq!(times(&store), [121_000]);
    let expected = "samples between 1 and 2 (Unix seconds) may be missing: part 1 is damaged and set aside \
                    (at offset 16: expected a block that passes its checksum)";
    for round in 0..3 {
        let store = match round {
            0 => &store,
            _ => &open(&disk, &options()),
        };
        assert_eq!(times(store), [121_000]);
        assert_eq!(warnings(store, TimeRange::ALL), [expected]);
        assert_eq!(
            warnings(store, TimeRange::new(at(100_000), at(200_000))),
            [""; 0],
            "not touched, not warned"
        );
        assert_eq!(
            (store.stats().parts_quarantined, store.stats().parts),
            (1, 1)
        );
        append(store, "up", &[121_000]).unwrap();
        store.maintain(at(122_000)).unwrap();
        store.sync().unwrap();
    }
    assert!(
        disk.open(&file(&disk, "1.part").0).is_ok(),
        "kept for whoever wants to look at it"
    );
    let mut aged = options();
    aged.retention.age = Some(Duration::from_secs(60));
    let store = open(&disk, &aged);
    assert_eq!(store.maintain(at(150_000)).unwrap().parts_dropped, 1);
    assert_eq!(warnings(&store, TimeRange::ALL), [""; 0]);
    assert_eq!(
        disk.files()
            .iter()
            .filter(|(path, _)| path.ends_with("00000000000000000001.part"))
            .count(),
        0
    );
}

#[test]
fn a_damaged_or_missing_part_is_found_when_opening() {
    let damages: [fn(&SimDisk); 4] = [
        |disk| disk.flip_bit(&file(disk, "1.part").0, 3).unwrap(),
        |disk| {
            let (path, bytes) = file(disk, "1.part");
            disk.flip_bit(&path, (bytes - 40) * 8).unwrap();
        },
        |disk| {
            let (path, bytes) = file(disk, "1.part");
            disk.open(&path).unwrap().truncate(bytes - 1).unwrap();
        },
        |disk| disk.remove(&file(disk, "1.part").0).unwrap(),
    ];
    for (number, damage) in damages.into_iter().enumerate() {
        let disk = SimDisk::new(1);
        drop(two_parts(&disk));
        damage(&disk);
        for _ in 0..2 {
            let store = open(&disk, &options());
            assert_eq!(times(&store), [121_000], "damage {number}");
            assert_eq!(warnings(&store, TimeRange::ALL).len(), 1);
        }
    }
}

#[test]
fn a_merge_that_meets_damage_leaves_the_rest() {
    let disk = SimDisk::new(1);
    let store = open(&disk, &options());
    for time in 1..=6 {
        append(&store, "up", &[time]).unwrap();
        store.seal().unwrap();
    }
    disk.flip_bit(&file(&disk, "2.part").0, 20 * 8).unwrap();
    store.maintain(at(10)).unwrap();
    assert_eq!(times(&store), [1, 3, 4, 5, 6]);
    assert_eq!(
        (store.stats().parts, store.stats().parts_quarantined),
        (2, 1),
        "3 to 6 are merged, nothing across 2"
    );
}

/// Whatever bit of whatever file is flipped: no panic, and no wrong answer without a warning. Only the last record of the
/// log cannot be told from a torn write.
#[test]
fn no_bit_can_be_flipped_in_silence() {
    let pristine = || {
        let disk = SimDisk::new(1);
        let store = open(&disk, &options());
        append(&store, "up,job=a", &[1000, 2000, 3000]).unwrap();
        append(&store, "up,job=b", &[1000, 61_000]).unwrap();
        store.close().unwrap();
        append(&store, "up,job=b", &[62_000]).unwrap();
        append(&store, "up,job=c", &[62_000, 63_000]).unwrap();
        append(&store, "up,job=c", &[64_000]).unwrap();
        store.sync().unwrap();
        disk
    };
    let disk = pristine();
    let whole = times(&open(&disk, &options()));
    assert_eq!(whole.len(), 9);
    let mut silent = 0;
    for (path, bytes) in disk.files() {
        for byte in 0..bytes {
            let disk = pristine();
            disk.flip_bit(&path, byte * 8 + byte % 8).unwrap();
            let opened = Store::open(Arc::new(disk.clone()), Path::new(DIR), options());
            let Ok(store) = opened else { continue };
            let selection = store
                .select(&[], TimeRange::ALL, &SelectLimits::default(), &|| false)
                .unwrap();
            let found: Vec<i64> = selection
                .series
                .iter()
                .flat_map(|series| series.timestamps.clone())
                .collect();
            if found != whole && selection.warnings.is_empty() {
                assert!(
                    path.starts_with("/data/store/wal") && found.len() == whole.len() - 1,
                    "{path:?} {byte}"
                );
                silent += 1;
            }
        }
    }
    assert!(silent < 60, "{silent}: only the last record");
}

#[test]
fn a_damaged_log_record_is_counted_and_said() {
    let disk = SimDisk::new(1);
    let store = open(&disk, &options());
    for time in [1, 2, 3] {
        append(&store, "up", &[time]).unwrap();
    }
    store.sync().unwrap();
    drop(store);
    let (path, _) = disk
        .files()
        .into_iter()
        .find(|(path, _)| path.starts_with("/data/store/wal"))
        .unwrap();
    let bytes = journal::read_file(&disk, &path, 1 << 20).unwrap();
    // The second record: it has no series section, so it is the one that follows the first's end.
    let first = 32 + 16 + u64::from(u32::from_le_bytes(bytes[32..36].try_into().unwrap()));
    disk.flip_bit(&path, (first + 20) * 8).unwrap();
    let store = open(&disk, &options());
    assert_eq!(times(&store), [1, 3]);
    assert_eq!(store.stats().records_lost, 1);
    let said = format!(
        "the write-ahead log is damaged ({} at offset {first}): 1 records are lost",
        path.display()
    );
    assert_eq!(warnings(&store, TimeRange::ALL), [said]);
}

#[test]
fn after_a_failed_fsync_of_the_log_reads_go_on_and_writes_do_not() {
    let disk = SimDisk::new(1);
    let store = open(&disk, &options());
    append(&store, "up", &[1]).unwrap().commit.wait().unwrap();
    disk.fail_syncs(1);
    let lost = append(&store, "up", &[2]).unwrap().commit;
    assert!(matches!(lost.wait(), Err(AppendError::Poisoned { .. })));
    assert!(matches!(
        append(&store, "up", &[3]),
        Err(AppendError::Poisoned { .. })
    ));
    assert!(matches!(store.close(), Err(StoreError::Journal(_))));
    assert!(store.stats().poisoned.is_some());
    assert_eq!(times(&store)[0], 1);
    disk.crash();
    drop(store);
    assert_eq!(times(&open(&disk, &options())), [1]);
}

#[test]
fn after_a_failed_fsync_of_a_part_nothing_is_lost_and_nothing_more_is_written() {
    // Catalogue, part, folder of the parts, manifest, folder of the manifest.
    for fails in 1..=5 {
        let disk = SimDisk::new(1);
        let store = open(&disk, &options());
        append(&store, "up", &[1, 2])
            .unwrap()
            .commit
            .wait()
            .unwrap();
        // Syncs before the one that fails must work.
        let counting = disk.syncs();
        disk.fail_sync_after(fails - 1);
        let error = store.seal().unwrap_err();
        assert!(disk.syncs() - counting <= fails, "{error}");
        assert!(
            matches!(
                append(&store, "up", &[3]),
                Err(AppendError::Poisoned { .. })
            ),
            "sync {fails}: {error}"
        );
        assert!(matches!(
            store.maintain(at(3)),
            Err(StoreError::Poisoned { .. })
        ));
        assert_eq!(times(&store), [1, 2]);
        disk.crash();
        drop(store);
        let store = open(&disk, &options());
        assert_eq!(times(&store), [1, 2], "sync {fails}");
        assert_eq!(warnings(&store, TimeRange::ALL), [""; 0]);
        append(&store, "up", &[3]).unwrap();
    }
}

#[test]
fn a_full_disk_refuses_appends_keeps_reading_and_recovers() {
    let disk = SimDisk::new(1);
    let mut options = options();
    options.seal.rows_max = 5;
    let store = open(&disk, &options);
    append(&store, "up", &[1]).unwrap();
    disk.set_capacity(Some(disk.used_bytes() + 10));
    assert!(matches!(
        append(&store, "up", &[2]),
        Err(AppendError::DiskFull { .. })
    ));
    assert_eq!(times(&store), [1]);
    disk.set_capacity(Some(disk.used_bytes() + 500));
    let mut stored = vec![1];
    for time in 2..100 {
        match append(&store, "up", &[time]) {
            Ok(_) => stored.push(time),
            Err(error) => assert!(matches!(error, AppendError::DiskFull { .. }), "{error}"),
        }
        match store.maintain(at(100)) {
            Ok(_)
            | Err(
                StoreError::DiskFull { .. }
                | StoreError::Journal(journal::JournalError::DiskFull { .. }),
            ) => {}
            Err(error) => panic!("{error}"),
        }
        assert_eq!(times(&store), stored);
    }
    assert!(stored.len() < 90, "the disk was full");
    assert!(
        store.stats().memory_rows <= 2 * 5 + 10,
        "memory is bounded meanwhile"
    );
    disk.set_capacity(None);
    append(&store, "up", &[200]).unwrap();
    stored.push(200);
    store.maintain(at(100)).unwrap();
    store.close().unwrap();
    assert_eq!(times(&store), stored);
    disk.crash();
    drop(store);
    let store = open(&disk, &options);
    assert_eq!(times(&store), stored);
    let parts = disk
        .files()
        .into_iter()
        .filter(|(path, _)| path.starts_with("/data/store/parts"))
        .count();
    assert_eq!(parts as u64, store.stats().parts, "nothing is left over");
}

#[test]
fn memory_log_and_parts_stay_bounded() {
    let disk = SimDisk::new(1);
    let mut options = options();
    options.seal.rows_max = 50;
    options.seal.merge_width = 2;
    options.retention.age = Some(Duration::from_secs(120));
    let store = open(&disk, &options);
    for round in 0..400_i64 {
        let now = round * 1000;
        append(&store, "up", &[now, now + 1, now + 2]).unwrap();
        let maintained = store.maintain(at(now)).unwrap();
        let stats = store.stats();
        assert!(stats.memory_rows <= 60, "{stats:?}");
        assert!(stats.parts <= 4 * 5, "{stats:?}");
        assert!(stats.wal_bytes < 8192, "{stats:?}");
        assert!(maintained.rows_dropped <= 200);
        let oldest = stats.time.unwrap().0;
        assert!(
            oldest >= at((now - 120_000 - 60_000).max(0)),
            "{oldest:?} at {now}"
        );
    }
    assert!(store.stats().part_rows < 600);
    assert_eq!(times(&store).last(), Some(&399_002));
}

/// A part goes as a whole, but nothing older than the retention is answered, wherever it is.
#[test]
fn what_is_older_than_the_retention_is_not_answered() {
    let disk = SimDisk::new(1);
    let mut options = options();
    options.retention.age = Some(Duration::from_secs(60));
    let store = open(&disk, &options);
    append(&store, "up", &[61_000, 70_000, 119_000]).unwrap();
    append(&store, "old,x=1", &[61_000]).unwrap();
    store.seal().unwrap();
    append(&store, "up", &[62_000, 90_000]).unwrap();
    let names = || store.label_names(&[], TimeRange::ALL);
    assert_eq!(times(&store).len(), 6);
    assert_eq!(names(), ["__name__", "x"]);
    store.maintain(at(130_000)).unwrap();
    assert_eq!(store.stats().part_rows + store.stats().memory_rows, 6);
    assert_eq!(times(&store), [70_000, 90_000, 119_000]);
    let at_the_limit = TimeRange::new(at(0), at(70_000));
    let limits = SelectLimits::default();
    let found = store.select(&[], at_the_limit, &limits, &|| false).unwrap();
    assert_eq!(found.series[0].timestamps, [70_000]);
    let before = TimeRange::new(at(0), at(69_999));
    let found = store.select(&[], before, &limits, &|| false).unwrap();
    assert_eq!(found.series, []);
    assert_eq!(store.series(&[], before, &limits).unwrap(), []);
}

#[test]
fn old_memory_is_sealed_so_that_a_restart_replays_little() {
    let disk = SimDisk::new(1);
    let mut options = options();
    options.seal.age_max = Duration::from_secs(60);
    let store = open(&disk, &options);
    append(&store, "up", &[1]).unwrap();
    for (now, sealed) in [(0, 0), (59_999, 0), (60_000, 1), (120_000, 0), (180_000, 0)] {
        assert_eq!(
            store.maintain(at(now)).unwrap().rows_sealed,
            sealed,
            "{now}"
        );
    }
}

#[test]
fn retention_by_bytes_drops_the_oldest_partitions() {
    let disk = SimDisk::new(1);
    let mut options = options();
    options.seal.merge_width = 100;
    let store = open(&disk, &options);
    for minute in 0..10 {
        append(&store, "up", &[minute * 60_000]).unwrap();
        store.seal().unwrap();
    }
    let stats = store.stats();
    let part = stats.part_bytes / 10;
    drop(store);
    options.retention.bytes_max =
        Some(stats.part_bytes + stats.wal_bytes + stats.catalogue_bytes - 2 * part - part / 2);
    let store = open(&disk, &options);
    assert_eq!(store.maintain(at(600_000)).unwrap().parts_dropped, 3);
    assert_eq!(times(&store)[0], 3 * 60_000);
    assert_eq!(store.maintain(at(600_000)).unwrap(), Maintained::default());
}

#[test]
fn series_without_samples_are_forgotten_and_come_back_as_new() {
    let disk = SimDisk::new(1);
    let mut options = options();
    options.retention.age = Some(Duration::from_secs(60));
    options.limits.series_per_scope_max = 20;
    let store = open(&disk, &options);
    for series in 0..20 {
        append(&store, &format!("m,series={series}"), &[1]).unwrap();
    }
    assert_eq!(append(&store, "kept", &[1]).unwrap().refused.len(), 1);
    store.seal().unwrap();
    let catalogue = store.stats().catalogue_bytes;
    store.maintain(at(200_000)).unwrap();
    assert_eq!((store.stats().series, store.stats().parts), (0, 0));
    assert_eq!(
        append(&store, "kept", &[200_000]).unwrap().series_created,
        1,
        "there is room again"
    );
    assert_eq!(
        append(&store, "m,series=3", &[200_000])
            .unwrap()
            .series_created,
        1
    );
    store.close().unwrap();
    assert!(store.stats().catalogue_bytes < catalogue);
    drop(store);
    let store = open(&disk, &options);
    let series = store
        .series(&[], TimeRange::ALL, &SelectLimits::default())
        .unwrap();
    assert_eq!(
        series,
        [labels("kept").unwrap(), labels("m,series=3").unwrap()]
    );
    assert_eq!(store.stats().series, 2);
    assert_eq!(
        append(&store, "m,series=3", &[200_001])
            .unwrap()
            .series_created,
        0
    );
    let matcher = [Matcher::equal("series", "3")];
    let selection = store
        .select(&matcher, TimeRange::ALL, &SelectLimits::default(), &|| {
            false
        })
        .unwrap();
    assert_eq!(selection.series[0].timestamps, [200_000, 200_001]);
}

#[test]
fn a_folder_without_its_manifest_is_refused_untouched() {
    let disk = SimDisk::new(1);
    drop(two_parts(&disk));
    let dir = Path::new(DIR);
    disk.remove(&dir.join("MANIFEST")).unwrap();
    let files = disk.files();
    let error = Store::open(Arc::new(disk.clone()), dir, options())
        .err()
        .unwrap();
    assert!(
        error
            .to_string()
            .starts_with("/data/store/MANIFEST is damaged at offset 0: expected a manifest"),
        "{error}"
    );
    assert_eq!(disk.files(), files);
    journal::write_atomic(&disk, &dir.join("FORMAT"), b"branchline store 2\n").unwrap();
    let error = Store::open(Arc::new(disk.clone()), dir, options())
        .err()
        .unwrap();
    assert!(
        matches!(error, StoreError::UnknownVersion { .. }),
        "{error}"
    );
}
