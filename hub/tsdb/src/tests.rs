//! The store as its users see it.

use std::{path::Path, sync::Arc, time::Duration};

use journal::sim::SimDisk;
use model::{LabelSet, MatchOp, Matcher, Metadata, MetricType, Sample, Timestamp, stale_nan};

use crate::*;

pub(crate) const DIR: &str = "/data/store";

/// A store that can be replayed: no thread, a fixed key.
pub(crate) fn options() -> StoreOptions {
    StoreOptions {
        wal: WalOptions {
            sync: SyncPolicy::Manual,
            segment_bytes_max: 4096,
        },
        create: CreateOptions {
            partition: Duration::from_secs(60),
            hash_key: Some([7; 16]),
        },
        ..StoreOptions::default()
    }
}

pub(crate) fn open(disk: &SimDisk, options: &StoreOptions) -> Store {
    Store::open(Arc::new(disk.clone()), Path::new(DIR), options.clone()).unwrap()
}

pub(crate) fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

pub(crate) fn labels(text: &str) -> Result<LabelSet, String> {
    let pairs = text
        .split(',')
        .map(|pair| pair.split_once('=').unwrap_or(("__name__", pair)));
    LabelSet::from_pairs(pairs).map_err(|e| e.to_string())
}

/// Appends samples `time:value` of one series, written like `up,job=node`.
pub(crate) fn append(store: &Store, series: &str, samples: &str) -> Appended {
    let samples: Vec<Sample> = samples
        .split_whitespace()
        .map(|sample| {
            let (time, value) = sample.split_once(':').unwrap();
            Sample::float(at(time.parse().unwrap()), value.parse().unwrap())
        })
        .collect();
    append_samples(store, "b07", series, &samples).unwrap()
}

pub(crate) fn append_samples(
    store: &Store,
    scope: &str,
    series: &str,
    samples: &[Sample],
) -> Result<Appended, AppendError> {
    let parse = || labels(series);
    let key = store.series_key(scope, series.as_bytes());
    let series = vec![BatchSeries {
        key,
        labels: &parse,
        samples,
    }];
    store.append(&Batch {
        scope,
        series,
        metadata: vec![],
    })
}

fn select(store: &Store, matchers: &[Matcher], range: TimeRange) -> Selection {
    store
        .select(matchers, range, &SelectLimits::default(), &|| false)
        .unwrap()
}

/// Everything in the store, as text: a line for each series.
fn dump(store: &Store) -> String {
    show(&select(store, &[], TimeRange::ALL))
}

fn show(selection: &Selection) -> String {
    let mut text = String::new();
    for series in &selection.series {
        text += &series.labels.to_string();
        for (time, value) in series.timestamps.iter().zip(series.values.iter()) {
            text += &match value {
                model::Value::Float(value) => format!(" {time}:{value}"),
                model::Value::Histogram(histogram) => format!(" {time}:{histogram}"),
            };
        }
        text += "\n";
    }
    text
}

#[test]
fn samples_are_readable_at_once_and_after_a_restart() {
    let disk = SimDisk::new(1);
    let store = open(&disk, &options());
    let appended = append(&store, "up,job=node", "1000:1 2000:0");
    assert_eq!(
        (
            appended.samples,
            appended.series_created,
            appended.refused.len()
        ),
        (2, 1, 0)
    );
    append(&store, "up,job=hub", "1500:7");
    let expected = "up{job=\"hub\"} 1500:7\nup{job=\"node\"} 1000:1 2000:0\n";
    assert_eq!(dump(&store), expected);
    appended.commit.wait().unwrap();
    store.sync().unwrap();
    disk.crash();
    drop(store);
    let store = open(&disk, &options());
    assert_eq!(dump(&store), expected);
    store.close().unwrap();
    drop(store);
    let store = open(&disk, &options());
    assert_eq!(dump(&store), expected);
    let stats = store.stats();
    assert_eq!(
        (
            stats.memory_rows,
            stats.part_rows,
            stats.parts,
            stats.series
        ),
        (0, 3, 1, 2)
    );
    assert_eq!(append(&store, "up,job=node", "3000:1").series_created, 0);
}

#[test]
fn the_later_write_wins_wherever_the_earlier_one_is() {
    let disk = SimDisk::new(1);
    let store = open(&disk, &options());
    append(&store, "up", "3000:1 1000:1 2000:1 2000:2");
    assert_eq!(dump(&store), "up 1000:1 2000:2 3000:1\n");
    store.seal().unwrap();
    append(&store, "up", "2000:3 500:1");
    assert_eq!(dump(&store), "up 500:1 1000:1 2000:3 3000:1\n");
    store.seal().unwrap();
    append(&store, "up", "2000:4");
    store.seal().unwrap();
    append(&store, "up", "3000:9");
    let expected = "up 500:1 1000:1 2000:4 3000:9\n";
    assert_eq!(dump(&store), expected);
    store.seal().unwrap();
    assert_eq!(store.stats().parts, 4);
    assert_eq!(store.maintain(at(4000)).unwrap().merges, 1);
    assert_eq!(store.stats().parts, 1);
    assert_eq!(dump(&store), expected);
    append(&store, "up", "1000:1 3000:9");
    assert_eq!(
        dump(&store),
        expected,
        "an identical replay changes nothing"
    );
}

#[test]
fn keys_are_only_spellings_of_a_label_set() {
    let disk = SimDisk::new(1);
    let store = open(&disk, &options());
    assert_eq!(append(&store, "up,a=1,b=2", "1:1").series_created, 1);
    assert_eq!(append(&store, "up,b=2,a=1", "2:2").series_created, 0);
    assert_eq!(append(&store, "b=2,up,a=1", "3:3").series_created, 0);
    let same_labels = || labels("up,a=1,b=2");
    let never = || -> Result<LabelSet, String> { panic!("asked for the labels of a known key") };
    let sample = [Sample::float(at(4), 4.0)];
    for scope in ["b07", "b08"] {
        let key = store.series_key(scope, b"raw");
        let series = vec![BatchSeries {
            key,
            labels: &same_labels,
            samples: &sample,
        }];
        store
            .append(&Batch {
                scope,
                series,
                metadata: vec![],
            })
            .unwrap();
        let series = vec![BatchSeries {
            key,
            labels: &never,
            samples: &sample,
        }];
        store
            .append(&Batch {
                scope,
                series,
                metadata: vec![],
            })
            .unwrap();
    }
    assert_ne!(
        store.series_key("b07", b"raw"),
        store.series_key("b08", b"raw")
    );
    assert_ne!(
        store.series_key("b0", b"7raw"),
        store.series_key("b07", b"raw")
    );
    let expected = "up{a=\"1\", b=\"2\"} 1:1 2:2 3:3 4:4\n";
    assert_eq!(dump(&store), expected);
    for round in 0..2 {
        store.sync().unwrap();
        let store = open(&disk, &options());
        assert_eq!(dump(&store), expected);
        // The log knows all spellings, the catalogue only the first.
        let (scope, raw, parse): (_, _, &LabelsFn<'_>) = match round {
            0 => ("b08", &b"raw"[..], &never),
            _ => ("b07", &b"up,a=1,b=2"[..], &never),
        };
        let key = store.series_key(scope, raw);
        let series = vec![BatchSeries {
            key,
            labels: parse,
            samples: &sample,
        }];
        store
            .append(&Batch {
                scope,
                series,
                metadata: vec![],
            })
            .unwrap();
        store.close().unwrap();
    }
}

#[test]
fn one_batch_may_say_a_series_twice() {
    let store = open(&SimDisk::new(1), &options());
    let (one, two) = (
        [Sample::float(at(1), 1.0)],
        [Sample::float(at(1), 2.0), Sample::float(at(2), 2.0)],
    );
    let (parse, other) = (|| labels("up,a=1,b=2"), || labels("up,b=2,a=1"));
    let (key, other_key) = (store.series_key("", b"1"), store.series_key("", b"2"));
    let series = vec![
        BatchSeries {
            key,
            labels: &parse,
            samples: &one,
        },
        BatchSeries {
            key,
            labels: &parse,
            samples: &two,
        },
        BatchSeries {
            key: other_key,
            labels: &other,
            samples: &two[1..],
        },
    ];
    let appended = store
        .append(&Batch {
            scope: "",
            series,
            metadata: vec![],
        })
        .unwrap();
    assert_eq!((appended.samples, appended.series_created), (4, 1));
    assert_eq!(dump(&store), "up{a=\"1\", b=\"2\"} 1:2 2:2\n");
}

#[test]
fn what_is_refused_says_why_and_the_rest_is_stored() {
    let mut options = options();
    options.limits = Limits {
        series_per_scope_max: 2,
        labels_per_series_max: 3,
        label_bytes_max: 9,
        ..Limits::default()
    };
    options.retention.age = Some(Duration::from_secs(10));
    options.limits.future_max = Duration::from_secs(5);
    let disk = SimDisk::new(1);
    let store = open(&disk, &options);
    store.maintain(at(20_000)).unwrap();
    let check = |series: &str, samples: &str, expected: &[(u64, &str)]| {
        let refused: Vec<(u64, String)> = append(&store, series, samples)
            .refused
            .into_iter()
            .map(|r| (r.samples, r.reason.to_string()))
            .collect();
        let refused: Vec<(u64, &str)> = refused
            .iter()
            .map(|(samples, reason)| (*samples, &**reason))
            .collect();
        assert_eq!(refused, expected, "{series}");
    };
    let range = "is outside of what is kept: 10000 ms to 25000 ms";
    check("a", "10000:1 25000:1", &[]);
    check(
        "a",
        "9999:1 25001:1 20000:1",
        &[(2, &format!("timestamp 9999 ms {range}"))],
    );
    check(
        "b",
        "25001:1",
        &[(1, &format!("timestamp 25001 ms {range}"))],
    );
    check(
        "a,x=1,y=2,z=3",
        "20000:1",
        &[(1, "4 labels are more than the limit of 3")],
    );
    check(
        "a,x=1234567890",
        "20000:1 20001:1",
        &[(2, "label x has 10 bytes, the limit is 9")],
    );
    check(
        "a,a",
        "20000:1",
        &[(
            1,
            "invalid labels: duplicate label name \"__name__\": send every label once",
        )],
    );
    check("b", "20000:1", &[]);
    check(
        "c",
        "20000:1",
        &[(1, "series limit reached: scope \"b07\" may have 2 series")],
    );
    check("b", "20001:1", &[]);
    assert_eq!(
        append_samples(&store, "b08", "c", &[Sample::float(at(20_000), 1.0)])
            .unwrap()
            .series_created,
        1
    );
    assert_eq!(
        dump(&store),
        "a 10000:1 20000:1 25000:1\nb 20000:1 20001:1\nc 20000:1\n"
    );
    let stats = store.stats();
    assert_eq!((stats.samples_appended, stats.samples_refused), (6, 8));
    assert_eq!(
        stats.series_by_scope,
        [("b07".to_owned(), 2), ("b08".to_owned(), 1)].into()
    );
    let bad = model::Histogram {
        schema: 99,
        ..model::Histogram::default()
    };
    let refused = append_samples(&store, "b07", "a", &[Sample::histogram(at(20_000), bad)])
        .unwrap()
        .refused;
    assert!(matches!(refused[0].reason, RefusedReason::Histogram(_)));
}

#[test]
fn values_are_kept_bit_for_bit() {
    let disk = SimDisk::new(1);
    let store = open(&disk, &options());
    let nan = f64::from_bits(0x7ff8_0000_0000_1234);
    let histogram = model::Histogram {
        count: 3.0,
        zero_count: 3.0,
        sum: nan,
        ..model::Histogram::default()
    };
    let mut samples = vec![
        Sample::float(at(1), -0.0),
        Sample::stale(at(2)),
        Sample::float(at(3), nan),
        Sample::histogram(at(4), histogram),
        Sample::float(at(5), f64::NEG_INFINITY),
    ];
    samples[2].start = Some(at(-5));
    append_samples(&store, "b", "x", &samples).unwrap();
    for round in 0..3 {
        let selection = select(&store, &[], TimeRange::ALL);
        let series = &selection.series[0];
        assert_eq!(series.timestamps, [1, 2, 3, 4, 5], "round {round}");
        for (i, sample) in samples.iter().enumerate() {
            assert_eq!(series.values.get(i).as_ref(), Some(&sample.value));
        }
        assert_eq!(series.values.get(1), Some(model::Value::Float(stale_nan())));
        assert_eq!(series.starts, [NO_START, NO_START, -5, NO_START, NO_START]);
        match round {
            0 => assert_eq!(store.seal().unwrap(), 5),
            _ => drop(append_samples(&store, "b", "x", &samples[4..]).unwrap()),
        }
    }
}

#[test]
fn selections_have_matchers_ranges_and_limits() {
    let store = open(&SimDisk::new(1), &options());
    for (series, samples) in [
        ("up,job=a", "1:1 2:2 3:3"),
        ("up,job=b", "2:2 100000:9"),
        ("down,job=a", "50:1"),
    ] {
        append(&store, series, samples);
    }
    for _ in 0..2 {
        let get = |matcher: Matcher, from, to| {
            show(&select(
                &store,
                &[matcher],
                TimeRange::new(at(from), at(to)),
            ))
        };
        let job = |op, value| Matcher::new(op, "job", value).unwrap();
        assert_eq!(
            get(Matcher::equal("__name__", "up"), 2, 2),
            "up{job=\"a\"} 2:2\nup{job=\"b\"} 2:2\n"
        );
        assert_eq!(
            get(job(MatchOp::NotRegex, "a|c"), 0, 1_000_000),
            "up{job=\"b\"} 2:2 100000:9\n"
        );
        assert_eq!(get(job(MatchOp::Regex, ".+"), 60, 70), "");
        assert_eq!(get(job(MatchOp::Regex, ".+"), 3, 2), "");
        let limits = |series, samples| {
            let error = store
                .select(
                    &[],
                    TimeRange::ALL,
                    &SelectLimits { series, samples },
                    &|| false,
                )
                .err();
            error.map(|e| e.to_string())
        };
        assert_eq!(limits(3, 6), None);
        assert_eq!(
            limits(2, 6).unwrap(),
            "the selection has more than 2 series; use narrower matchers"
        );
        assert_eq!(
            limits(3, 5).unwrap(),
            "the selection has more than 5 samples; use narrower matchers or a shorter range"
        );
        let canceled = store.select(&[], TimeRange::ALL, &SelectLimits::default(), &|| true);
        assert!(matches!(canceled, Err(SelectError::Canceled)));
        store.seal().unwrap();
    }
}

#[test]
fn series_and_labels_are_those_of_the_range() {
    let disk = SimDisk::new(1);
    let store = open(&disk, &options());
    append(&store, "old,x=1", "1000:1");
    store.seal().unwrap();
    append(&store, "new,y=2", "200000:1");
    for round in 0..2 {
        let late = TimeRange::new(at(100_000), at(300_000));
        let names = |matchers: &[Matcher], range| store.label_names(matchers, range).join(" ");
        assert_eq!(names(&[], TimeRange::ALL), "__name__ x y", "round {round}");
        assert_eq!(names(&[], late), "__name__ y");
        assert_eq!(
            names(&[Matcher::equal("x", "1")], TimeRange::ALL),
            "__name__ x"
        );
        assert_eq!(
            store.label_values("__name__", &[], TimeRange::ALL),
            ["new", "old"]
        );
        assert_eq!(store.label_values("__name__", &[], late), ["new"]);
        let series = store
            .series(&[], TimeRange::ALL, &SelectLimits::default())
            .unwrap();
        assert_eq!(
            series,
            [labels("new,y=2").unwrap(), labels("old,x=1").unwrap()]
        );
        let few = SelectLimits {
            series: 1,
            ..SelectLimits::default()
        };
        assert!(matches!(
            store.series(&[], TimeRange::ALL, &few),
            Err(SelectError::TooManySeries { max: 1 })
        ));
        store.seal().unwrap();
    }
}

#[test]
fn metadata_is_kept() {
    let disk = SimDisk::new(1);
    let store = open(&disk, &options());
    let say = |store: &Store, help: &str| {
        let metadata = Metadata {
            kind: MetricType::Counter,
            help: help.to_owned(),
            unit: String::new(),
        };
        store
            .append(&Batch {
                scope: "",
                series: vec![],
                metadata: vec![("up", &metadata)],
            })
            .unwrap();
    };
    say(&store, "first");
    let bytes = store.stats().wal_bytes;
    say(&store, "first");
    assert_eq!(
        store.stats().wal_bytes,
        bytes,
        "nothing new, nothing written"
    );
    say(&store, "second");
    append(&store, "up", "1:1");
    let check = |store: &Store| {
        let helps: Vec<String> = store.metadata(Some("up"))["up"]
            .iter()
            .map(|m| m.help.clone())
            .collect();
        assert_eq!(helps, ["first", "second"]);
        assert!(store.metadata(Some("down")).is_empty());
        assert_eq!(store.metadata(None).len(), 1);
    };
    check(&store);
    store.sync().unwrap();
    drop(store);
    let store = open(&disk, &options());
    check(&store);
    store.close().unwrap();
    drop(store);
    check(&open(&disk, &options()));
}

#[test]
fn threads_append_and_select_together() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = StoreOptions::default();
    options.seal.rows_max = 500;
    let store =
        Arc::new(Store::open(Arc::new(journal::RealDisk), dir.path(), options.clone()).unwrap());
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let store = &store;
            scope.spawn(move || {
                for i in 0..100 {
                    let samples: Vec<Sample> = (0..10)
                        .map(|j| Sample::float(at(i * 10 + j), j as f64))
                        .collect();
                    let appended =
                        append_samples(store, "s", &format!("m,thread={thread}"), &samples)
                            .unwrap();
                    if i % 20 == 0 {
                        appended.commit.wait().unwrap();
                    }
                }
            });
        }
        scope.spawn(|| {
            for _ in 0..50 {
                let selection = select(&store, &[], TimeRange::ALL);
                for series in selection.series {
                    assert_eq!(series.timestamps.len() % 10, 0, "a batch is seen whole");
                }
                store.maintain(at(0)).unwrap();
            }
        });
    });
    assert_eq!(store.stats().samples_appended, 4000);
    let whole = dump(&store);
    assert_eq!(
        whole
            .split_whitespace()
            .filter(|word| word.contains(":"))
            .count(),
        4000
    );
    drop(store);
    let store = Store::open(Arc::new(journal::RealDisk), dir.path(), options).unwrap();
    assert_eq!(dump(&store), whole);
}

#[test]
fn what_is_deleted_is_gone_and_what_comes_later_stays() {
    let disk = SimDisk::new(1);
    let mut store = open(&disk, &options());
    append(&store, "up,job=a", "1000:1 2000:2 3000:3");
    append(&store, "up,job=b", "1000:1 61000:2");
    store.seal().unwrap();
    append(&store, "up,job=a", "2000:20 62000:4");
    let job = |job: &str| [Matcher::equal("job", job)];
    let range = |from, to| TimeRange::new(at(from), at(to));
    assert_eq!(store.delete(&job("c"), TimeRange::ALL).unwrap().series, 0);
    assert_eq!(store.stats().tombstones, 0);
    assert_eq!(
        store.delete(&job("a"), range(2000, 2999)).unwrap().series,
        1
    );
    let left = "up{job=\"a\"} 1000:1 3000:3 62000:4\nup{job=\"b\"} 1000:1 61000:2\n";
    assert_eq!(dump(&store), left);
    // The same timestamp is written again.
    append(&store, "up,job=a", "2000:7");
    let left = "up{job=\"a\"} 1000:1 2000:7 3000:3 62000:4\nup{job=\"b\"} 1000:1 61000:2\n";
    for _ in 0..2 {
        assert_eq!(dump(&store), left);
        store.sync().unwrap();
        disk.crash();
        drop(store);
        store = open(&disk, &options());
    }
    assert_eq!(store.delete(&job("b"), range(0, 60_000)).unwrap().series, 1);
    assert_eq!(store.label_values("job", &[], range(0, 60_000)), ["a"]);
    assert_eq!(store.label_values("job", &[], TimeRange::ALL), ["a", "b"]);
    assert!(store.stats().tombstones > 0);
    let rows = store.stats().part_rows;
    assert!(store.clean_tombstones().unwrap() > 0);
    assert_eq!(
        (store.stats().tombstones, store.clean_tombstones().unwrap()),
        (0, 0)
    );
    assert_eq!(
        store.stats().part_rows,
        rows - 3,
        "two at 2000 ms, one at 1000 ms"
    );
    let left = "up{job=\"a\"} 1000:1 2000:7 3000:3 62000:4\nup{job=\"b\"} 61000:2\n";
    assert_eq!(dump(&store), left);
    store.delete(&[], TimeRange::ALL).unwrap();
    assert_eq!(dump(&store), "");
    let all = store.series(&[], TimeRange::ALL, &SelectLimits::default());
    assert_eq!(all.unwrap(), []);
    store.clean_tombstones().unwrap();
    let stats = store.stats();
    assert_eq!((stats.parts, stats.tombstones, stats.series), (0, 0, 0));
    assert_eq!(append(&store, "up,job=a", "5:1").series_created, 1);
}

#[test]
fn deletions_are_bounded_and_joined_where_they_say_the_same() {
    let disk = SimDisk::new(1);
    let store = open(&disk, &options());
    append(&store, "a", "1:1 5000:1 10000:1");
    append(&store, "b", "1:1 5000:1 10000:1");
    let name = |name: &str| [Matcher::equal("__name__", name)];
    let delete = |matchers: &[Matcher], from, to| {
        store
            .delete(matchers, TimeRange::new(at(from), at(to)))
            .map(|_| store.stats().tombstones)
    };
    assert_eq!(delete(&name("a"), 0, 10).unwrap(), 1);
    assert_eq!(
        delete(&name("a"), 11, 20).unwrap(),
        1,
        "one after the other"
    );
    assert_eq!(delete(&name("b"), 0, 20).unwrap(), 1, "of the same time");
    assert_eq!(delete(&name("b"), 3, 40).unwrap(), 2);
    assert_eq!(delete(&[], 0, 100).unwrap(), 1, "more than all before");
    let mut refused = None;
    for time in 0..2000 {
        let (from, to) = (200 + time * 2, 200 + time * 2);
        if let Err(error) = delete(&name("a"), from, to) {
            refused = Some(error.to_string());
            break;
        }
    }
    let expected = "1001 deletions are more than the limit of 1000";
    assert!(refused.unwrap().starts_with(expected));
    store.maintain(at(20_000)).unwrap();
    assert_eq!(store.stats().tombstones, 0, "maintenance makes room");
    assert_eq!(
        dump(&store),
        "a{} 5000:1 10000:1\nb{} 5000:1 10000:1\n".replace("{}", "")
    );
}
