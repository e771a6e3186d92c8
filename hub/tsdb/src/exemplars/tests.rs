//! The ring's rules, and what becomes of exemplars when the store is closed, cut off, damaged, deleted from or copied.

use std::{path::Path, sync::Arc, time::Duration};

use journal::{Disk, sim::SimDisk};
use model::{Exemplar, LabelSet, Matcher, Timestamp};

use super::{Exemplars, FILE, Verdict};
use crate::{
    tests::{DIR, at, labels, open, options},
    *,
};

pub(super) fn exemplar(trace: &str, millis: i64, value: f64) -> Exemplar {
    Exemplar {
        labels: LabelSet::from_pairs([("trace_id", trace)]).unwrap(),
        value,
        at: at(millis),
    }
}

/// Series, times of its samples, its exemplars.
pub(super) type Line<'a> = (&'a str, &'a [i64], &'a [Exemplar]);

/// Appends in one batch.
pub(super) fn append(store: &Store, lines: &[Line<'_>]) -> Result<Appended, AppendError> {
    let mut columns = Columns::default();
    for (series, times, exemplars) in lines {
        let key = store.series_key("s", series.as_bytes());
        columns.push_floats(key, times.iter().map(|time| (*time, 1.0)));
        exemplars
            .iter()
            .for_each(|exemplar| columns.push_exemplar(exemplar.clone()));
    }
    let labels = |index: usize| labels(lines[index].0);
    let batch = ColumnBatch {
        scope: "s",
        labels: &labels,
        metadata: &[],
        urgency: crate::Urgency::Now,
    };
    store.append_columns(&mut columns, batch)
}

/// `series trace@time` of all that there is, by series and time.
fn all(store: &Store) -> Vec<String> {
    within(store, TimeRange::ALL)
}

fn within(store: &Store, range: TimeRange) -> Vec<String> {
    let found = store.select_exemplars(&[&[]], range);
    assert_eq!(found.warnings, [""; 0]);
    let line = |labels: &LabelSet, exemplar: &Exemplar| {
        let trace = exemplar.labels.get("trace_id").unwrap_or("");
        format!("{labels} {trace}@{}", exemplar.at.millis())
    };
    let series = found.series.iter();
    let lines = series.flat_map(|s| s.exemplars.iter().map(|exemplar| line(&s.labels, exemplar)));
    lines.collect()
}

#[test]
fn those_of_a_series_come_in_the_order_of_time_and_value() {
    let mut ring = Exemplars::new(100);
    let mut check = |id: u32, new: Exemplar, expected: Verdict| {
        assert_eq!(ring.verdict(id, &new), expected, "{new:?}");
        assert_eq!(ring.insert(id, 1, new), expected);
    };
    let out_of_order = Verdict::OutOfOrder(at(20));
    check(1, exemplar("a", 10, 5.0), Verdict::Stored);
    check(1, exemplar("a", 10, 5.0), Verdict::Repeated);
    check(1, exemplar("a", 20, 5.0), Verdict::Stored);
    check(1, exemplar("a", 10, 5.0), out_of_order);
    check(1, exemplar("a", 19, 9.0), out_of_order);
    check(1, exemplar("a", 20, 4.0), out_of_order);
    check(1, exemplar("b", 20, 5.0), Verdict::Stored);
    // Not the newest any more, and of the same instant.
    check(1, exemplar("a", 20, 5.0), Verdict::Repeated);
    check(1, exemplar("a", 20, f64::NAN), Verdict::Stored);
    check(1, exemplar("a", 20, f64::NAN), Verdict::Repeated);
    check(1, exemplar("a", i64::MAX, f64::INFINITY), Verdict::Stored);
    check(2, exemplar("a", i64::MIN, 0.0), Verdict::Stored);
    let bare = Exemplar {
        labels: LabelSet::empty(),
        ..exemplar("", 0, 0.0)
    };
    check(2, bare.clone(), Verdict::Stored);
    check(2, bare, Verdict::Repeated);
}

#[test]
fn the_oldest_makes_room_for_the_newest() {
    let mut ring = Exemplars::new(3);
    for (id, time) in [(1, 1), (2, 2), (1, 3), (1, 4), (3, 5)] {
        assert_eq!(
            ring.insert(id, 1, exemplar("x", time, 1.0)),
            Verdict::Stored
        );
    }
    assert_eq!((ring.len(), ring.series()), (3, 2));
    let times = |ring: &Exemplars, id, from, to| -> Vec<i64> {
        let found = ring.within(id, TimeRange::new(at(from), at(to)));
        found.iter().map(|e| e.at.millis()).collect()
    };
    assert_eq!(times(&ring, 1, 0, 9), [3, 4]);
    assert_eq!(times(&ring, 1, 4, 4), [4]);
    assert_eq!(times(&ring, 1, 5, 4), [0; 0]);
    assert_eq!(times(&ring, 2, 0, 9), [0; 0]);
    assert_eq!(ring.oldest(), Some(at(3)));
    // Nothing is newer than what has left the ring.
    assert_eq!(ring.insert(2, 1, exemplar("x", 1, 1.0)), Verdict::Stored);
    ring.retain(|id, _, _| id != 1);
    assert_eq!(times(&ring, 1, 0, 9), [0; 0]);
    assert_eq!(
        (times(&ring, 3, 0, 9), times(&ring, 2, 0, 9)),
        (vec![5], vec![1])
    );
    for time in 6..9 {
        ring.insert(2, 1, exemplar("x", time, 1.0));
    }
    assert_eq!((times(&ring, 2, 0, 9), ring.series()), (vec![6, 7, 8], 1));
}

#[test]
fn they_are_of_known_series_and_what_does_not_fit_is_said() {
    let disk = SimDisk::new(1);
    let mut options = options();
    options.retention.age = Some(Duration::from_secs(10));
    options.limits.future_max = Duration::from_secs(5);
    let store = open(&disk, &options);
    store.maintain(at(20_000)).unwrap();
    let fresh = |trace: &str| exemplar(trace, 20_000, 1.0);
    // As Prometheus sends them: the exemplar is a series of its own, here even before the sample that makes it known, and
    // in another spelling.
    let (a, b) = (
        [fresh("1")],
        [fresh("2"), fresh("2"), exemplar("3", 19_999, 1.0)],
    );
    let (long, old, ahead) = (
        [fresh(&"é".repeat(121))],
        [exemplar("4", 9_999, 1.0)],
        [exemplar("5", 25_001, 1.0)],
    );
    let appended = append(
        &store,
        &[
            ("up,job=a,x=1", &[], &a),
            ("up,x=1,job=a", &[20_000], &[]),
            ("up,job=b", &[20_000], &b),
            ("nobody", &[], &a),
            ("up,job=b", &[], &long),
            ("up,job=b", &[], &old),
            ("up,job=b", &[], &ahead),
            ("refused", &[1], &a),
        ],
    )
    .unwrap();
    let exemplars = &appended.exemplars;
    assert_eq!((exemplars.stored, exemplars.repeated), (2, 1));
    let refused: Vec<_> = exemplars
        .refused
        .iter()
        .map(|r| (r.index, r.reason.clone()))
        .collect();
    let newest = at(20_000);
    assert_eq!(
        refused,
        [
            (2, ExemplarRefusal::OutOfOrder { newest }),
            (3, ExemplarRefusal::NoSeries),
            (4, ExemplarRefusal::TooLong),
            (5, ExemplarRefusal::OutOfRange),
            (6, ExemplarRefusal::OutOfRange),
            (7, ExemplarRefusal::NoSeries),
        ]
    );
    assert_eq!((appended.samples, appended.series_created), (2, 2));
    assert_eq!(appended.refused.len(), 1, "of the sample");
    let expected = ["up{job=\"a\", x=\"1\"} 1@20000", "up{job=\"b\"} 2@20000"];
    assert_eq!(all(&store), expected);
    let job = [Matcher::equal("job", "b")];
    let none = [Matcher::equal("job", "c")];
    let some = store.select_exemplars(&[&none, &job], TimeRange::ALL);
    assert_eq!(some.series.len(), 1);
    let stats = store.stats();
    assert_eq!((stats.exemplars, stats.exemplar_series), (2, 2));
    assert_eq!(stats.exemplars_oldest, Some(newest));
    // What is older than the retention is not answered.
    store.maintain(at(30_001)).unwrap();
    assert_eq!(all(&store), [""; 0]);
}

#[test]
fn switched_off_they_are_refused_and_nothing_is_logged() {
    let disk = SimDisk::new(1);
    let store = open(&disk, &options());
    append(&store, &[("up", &[1], &[exemplar("1", 1, 1.0)])]).unwrap();
    store.close().unwrap();
    let mut off = options();
    off.limits.exemplars_max = 0;
    drop(store);
    let store = open(&disk, &off);
    assert_eq!(all(&store), [""; 0]);
    let bytes = store.stats().wal_bytes;
    let appended = append(&store, &[("up", &[], &[exemplar("2", 2, 1.0)])]).unwrap();
    assert_eq!(appended.exemplars.refused[0].reason, ExemplarRefusal::Off);
    assert_eq!(store.stats().wal_bytes, bytes);
    appended.commit.wait().unwrap();
    // What was there before is gone for good once the store has said so.
    append(&store, &[("up", &[2], &[])]).unwrap();
    store.close().unwrap();
    drop(store);
    assert_eq!(all(&open(&disk, &options())), [""; 0]);
}

/// Whatever the power cut interrupts, what was durable before is there, once, and what comes after it too; of what was not
/// durable all of a batch or nothing.
#[test]
fn a_crash_at_any_step_of_sealing_costs_nothing_and_doubles_nothing() {
    let (mut steps, mut cut) = (0, 0);
    for step in 1.. {
        let struck: Vec<bool> = (0..4)
            .map(|seed| crash_in_step(step, seed, &mut cut))
            .collect();
        steps += 1;
        if !struck.contains(&true) {
            break;
        }
    }
    assert!(steps > 15 && cut > 10, "{steps} {cut}");
}

/// Whether the power went while sealing.
fn crash_in_step(step: u64, seed: u64, cut: &mut usize) -> bool {
    let sim = SimDisk::new(step << 2 | seed);
    let store = open(&sim, &options());
    append(&store, &[("a", &[1], &[exemplar("1", 1, 1.0)])]).unwrap();
    store.close().unwrap();
    let more = [exemplar("2", 2, 1.0), exemplar("3", 2, 1.0)];
    append(&store, &[("a", &[2], &more)]).unwrap();
    append(&store, &[("b", &[2], &[exemplar("4", 2, 1.0)])]).unwrap();
    store.sync().unwrap();
    // May be lost with its series, whose id must not be somebody else's then.
    let (one, two) = ([exemplar("5", 3, 1.0)], [exemplar("6", 3, 1.0)]);
    append(&store, &[("c", &[3], &one), ("a", &[3], &two)]).unwrap();
    sim.crash_after(Some(step));
    let sealed = store.seal();
    let struck = sim.is_down();
    sim.crash();
    drop(store);
    let durable = ["a 1@1", "a 2@2", "a 3@2", "b 4@2"];
    let with_last = ["a 1@1", "a 2@2", "a 3@2", "a 6@3", "b 4@2", "c 5@3"];
    let store = open(&sim, &options());
    let found = all(&store);
    assert!(
        found == with_last || sealed.is_err() && found == durable,
        "{step}: {found:?}"
    );
    *cut += usize::from(found == durable);
    append(&store, &[("d", &[4], &[exemplar("7", 4, 1.0)])]).unwrap();
    append(&store, &[("a", &[4], &[exemplar("8", 4, 1.0)])]).unwrap();
    store.sync().unwrap();
    let expected = all(&store);
    assert_eq!(expected.len(), found.len() + 2, "{step}: {expected:?}");
    drop(store);
    for _ in 0..2 {
        sim.crash();
        assert_eq!(all(&open(&sim, &options())), expected, "step {step}");
    }
    struck
}

#[test]
fn records_of_exemplars_only_do_not_hold_back_the_log() {
    let disk = SimDisk::new(1);
    let mut options = options();
    options.seal.rows_max = 500;
    options.limits.exemplars_max = 10;
    let store = open(&disk, &options);
    append(&store, &[("up", &[1], &[])]).unwrap();
    store.seal().unwrap();
    for time in 0..2_000 {
        let appended =
            append(&store, &[("up", &[], &[exemplar("some-trace", time, 1.0)])]).unwrap();
        if appended.seal_due {
            store.seal_when_due(at(time)).unwrap();
        }
        assert!(
            store.stats().wal_bytes < 20_000,
            "{time}: {:?}",
            store.stats()
        );
    }
    store.sync().unwrap();
    let newest: Vec<String> = (1_990..2_000)
        .map(|t| format!("up some-trace@{t}"))
        .collect();
    assert_eq!(all(&store), newest);
    drop(store);
    let store = open(&disk, &options);
    assert_eq!(all(&store), newest);
    // Few of them are freed by age.
    store.maintain(at(0)).unwrap();
    append(&store, &[("up", &[], &[exemplar("last", 2_000, 1.0)])]).unwrap();
    store.maintain(at(1)).unwrap();
    let before = store.stats().wal_bytes;
    store.maintain(at(40 * 60_000)).unwrap();
    assert!(store.stats().wal_bytes < before);
    assert_eq!(all(&store).last().unwrap(), "up last@2000");
}

#[test]
fn they_go_with_what_is_deleted_and_with_series_that_die() {
    let disk = SimDisk::new(1);
    let mut options = options();
    options.retention.age = Some(Duration::from_secs(600));
    let mut store = open(&disk, &options);
    let two = |trace: &str| [exemplar(trace, 1_000, 1.0), exemplar(trace, 2_000, 1.0)];
    append(
        &store,
        &[
            ("a", &[1_000, 2_000], &two("1")),
            ("b", &[1_000], &two("2")),
        ],
    )
    .unwrap();
    let name = |name: &str| [Matcher::equal("__name__", name)];
    store
        .delete(&name("a"), TimeRange::new(at(0), at(1_500)))
        .unwrap();
    let left = ["a 1@2000", "b 2@1000", "b 2@2000"];
    let check = |store: Store, expected: &[&str]| {
        assert_eq!(all(&store), expected);
        disk.crash();
        drop(store);
        let store = open(&disk, &options);
        assert_eq!(all(&store), expected);
        store
    };
    store = check(store, &left);
    store
        .delete(&name("b"), TimeRange::new(at(1_000), at(1_000)))
        .unwrap();
    store = check(store, &["a 1@2000", "b 2@2000"]);
    // A series without samples has none either.
    store.clean_tombstones().unwrap();
    store = check(store, &left[..1]);
    append(&store, &[("b", &[3_000], &[exemplar("3", 3_000, 1.0)])]).unwrap();
    store.sync().unwrap();
    store = check(store, &["a 1@2000", "b 3@3000"]);
    store.seal().unwrap();
    store.maintain(at(700_000)).unwrap();
    let stats = store.stats();
    assert_eq!((stats.series, stats.exemplars), (0, 0));
    append(&store, &[("b", &[700_000], &[])]).unwrap();
    store.sync().unwrap();
    check(store, &[]);
}

#[test]
fn a_snapshot_has_them_and_goes_its_own_way() {
    let disk = SimDisk::new(1);
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let store = open(&disk, &options());
    append(&store, &[("a", &[1], &[exemplar("1", 1, 1.0)])]).unwrap();
    let whole = store.take_snapshot(at(0), SnapshotOf::Everything).unwrap();
    append(&store, &[("a", &[2], &[exemplar("2", 2, 1.0)])]).unwrap();
    let parts = store.take_snapshot(at(0), SnapshotOf::Parts).unwrap();
    store.close().unwrap();
    for (name, millis) in [(whole, 5), (parts, 6)] {
        let dir = Path::new(DIR).join("snapshots").join(name);
        let open_copy = || Store::open(shared.clone(), &dir, options()).unwrap();
        assert_eq!(all(&open_copy()), ["a 1@1"]);
        let copy = open_copy();
        append(&copy, &[("a", &[millis], &[exemplar("x", millis, 1.0)])]).unwrap();
        copy.sync().unwrap();
        drop(copy);
        assert_eq!(
            all(&open_copy()),
            ["a 1@1".to_owned(), format!("a x@{millis}")]
        );
    }
    assert_eq!(all(&open(&disk, &options())), ["a 1@1", "a 2@2"]);
}

/// A copy without log, made while the file was ahead of the manifest: what comes into it is found again all the same.
#[test]
fn a_file_that_is_ahead_of_the_log_hides_nothing() {
    let disk = SimDisk::new(1);
    let store = open(&disk, &options());
    append(&store, &[("a", &[1], &[exemplar("1", 1, 1.0)])]).unwrap();
    store.close().unwrap();
    for time in 2..9 {
        append(&store, &[("a", &[time], &[exemplar("x", time, 1.0)])]).unwrap();
    }
    store.save_exemplars(store.wal.last_seq()).unwrap();
    drop(store);
    let log = disk.files().into_iter().map(|(path, _)| path);
    for segment in log.filter(|path| path.starts_with(Path::new(DIR).join("wal"))) {
        disk.remove(&segment).unwrap();
    }
    let store = open(&disk, &options());
    assert_eq!(all(&store).len(), 8);
    append(&store, &[("a", &[20], &[exemplar("y", 20, 1.0)])]).unwrap();
    store.sync().unwrap();
    drop(store);
    let found = all(&open(&disk, &options()));
    assert_eq!((found.len(), &*found[8]), (9, "a y@20"));
}

#[test]
fn a_damaged_file_is_set_aside_and_said() {
    let pristine = || {
        let disk = SimDisk::new(1);
        let store = open(&disk, &options());
        append(&store, &[("a", &[1], &[exemplar("1", 1, 1.0)])]).unwrap();
        store.close().unwrap();
        append(&store, &[("a", &[2], &[exemplar("2", 2, 1.0)])]).unwrap();
        store.sync().unwrap();
        disk
    };
    let path = Path::new(DIR).join(FILE);
    let bytes = journal::read_file(&pristine(), &path, 1 << 20)
        .unwrap()
        .len() as u64;
    for bit in 0..bytes * 8 {
        let disk = pristine();
        disk.flip_bit(&path, bit).unwrap();
        let store = open(&disk, &options());
        let found = store.select_exemplars(&[&[]], TimeRange::ALL);
        let said = "exemplars are lost: /data/store/exemplars is damaged: expected ";
        assert!(found.warnings[0].starts_with(said), "{:?}", found.warnings);
        assert_eq!(store.stats().records_lost, 1);
        // What the log has is served, and the next file is good again.
        assert_eq!(found.series[0].exemplars, [exemplar("2", 2, 1.0)]);
        store.close().unwrap();
        drop(store);
        assert_eq!(all(&open(&disk, &options())), ["a 2@2"]);
        let aside = Path::new(DIR).join("exemplars.damaged");
        assert!(
            disk.open(&aside).is_ok(),
            "kept for whoever wants to look at it"
        );
    }
}

#[test]
fn a_full_disk_or_a_failed_fsync_while_saving_costs_nothing() {
    let disk = SimDisk::new(1);
    let store = open(&disk, &options());
    append(&store, &[("a", &[1], &[exemplar("1", 1, 1.0)])]).unwrap();
    store.sync().unwrap();
    disk.set_capacity(Some(disk.used_bytes()));
    let full = store.save_exemplars(store.wal.last_seq()).unwrap_err();
    assert!(matches!(full, StoreError::DiskFull { .. }), "{full}");
    let name = [Matcher::equal("__name__", "a")];
    assert!(store.delete(&name, TimeRange::ALL).is_err());
    assert_eq!(all(&store), ["a 1@1"]);
    disk.set_capacity(None);
    store.close().unwrap();
    assert_eq!(all(&store), ["a 1@1"]);
    append(&store, &[("a", &[2], &[exemplar("2", 2, 1.0)])]).unwrap();
    store.sync().unwrap();
    disk.fail_syncs(1);
    assert!(store.seal().is_err());
    assert!(
        append(&store, &[("a", &[3], &[])]).is_err(),
        "no more writes"
    );
    assert_eq!(all(&store), ["a 1@1", "a 2@2"]);
    disk.crash();
    drop(store);
    assert_eq!(all(&open(&disk, &options())), ["a 1@1", "a 2@2"]);
}

#[test]
fn threads_append_and_ask_together() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = StoreOptions::default();
    options.seal.rows_max = 200;
    options.limits.exemplars_max = 300;
    let disk: Arc<dyn Disk> = Arc::new(journal::RealDisk);
    let store = Store::open(disk.clone(), dir.path(), options.clone()).unwrap();
    std::thread::scope(|scope| {
        for series in ["a", "b", "c"] {
            let store = &store;
            scope.spawn(move || {
                for time in 0..500 {
                    let appended =
                        append(store, &[(series, &[time], &[exemplar(series, time, 1.0)])])
                            .unwrap();
                    assert_eq!(appended.exemplars.stored, 1);
                    if time % 100 == 99 {
                        appended.commit.wait().unwrap();
                    }
                }
            });
        }
        scope.spawn(|| {
            for _ in 0..100 {
                let found = store.select_exemplars(&[&[]], TimeRange::ALL);
                for series in found.series {
                    let times = series.exemplars.iter().map(|e| e.at);
                    let times: Vec<Timestamp> = times.collect();
                    assert!(times.is_sorted());
                }
                store.maintain(at(0)).unwrap();
            }
        });
    });
    let found = all(&store);
    assert_eq!(found.len(), 300);
    store.sync().unwrap();
    drop(store);
    assert_eq!(all(&Store::open(disk, dir.path(), options).unwrap()), found);
}

/// Of millions in one batch no more is remembered than how many there were.
#[test]
fn a_batch_has_room_for_so_many() {
    let disk = SimDisk::new(1);
    let mut options = options();
    options.wal.segment_bytes_max = 64 << 20;
    options.limits.exemplars_max = 3;
    let store = open(&disk, &options);
    let many: Vec<Exemplar> = (0..100_010).map(|time| exemplar("1", time, 1.0)).collect();
    let appended = append(&store, &[("a", &[1], &many)]).unwrap().exemplars;
    assert_eq!((appended.stored, appended.too_many), (100_000, 10));
    assert_eq!(all(&store), ["a 1@99997", "a 1@99998", "a 1@99999"]);
}
