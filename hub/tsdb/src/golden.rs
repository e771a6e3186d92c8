//! Bytes of released formats stay readable: `tests/formats` has a store of each version, and what it must answer.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use journal::{Disk, read_file, sim::SimDisk};
use model::{Buckets, Exemplar, Histogram, LabelSet, Metadata, MetricType, Sample, Span, Value};

use crate::{
    tests::{DIR, append_samples, at, labels, open, options},
    *,
};

type Make = fn(&SimDisk) -> Store;

/// What is written today, and by what.
const CURRENT: [(&str, Make); 2] = [("store-1", make), ("store-1-exemplars", make_exemplars)];
/// Of keys that were made in another way.
const SIPHASH: &str = "store-1-siphash";

fn folder(version: &str) -> PathBuf {
    let formats = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/formats");
    formats.join(version)
}

fn histogram() -> Histogram {
    Histogram {
        schema: 1,
        zero_threshold: 0.5,
        zero_count: 1.0,
        count: 6.0,
        sum: 9.5,
        positive: Buckets {
            spans: vec![Span {
                offset: -1,
                length: 2,
            }],
            counts: vec![2.0, 3.0],
        },
        ..Histogram::default()
    }
}

/// Every section of every file: two partitions, all forms of a chunk, an alias, metadata, samples only in the log.
fn make(disk: &SimDisk) -> Store {
    let store = open(disk, &options());
    let floats = |values: &[f64]| -> Vec<Sample> {
        values
            .iter()
            .enumerate()
            .map(|(i, value)| Sample::float(at(1000 + 15_000 * i as i64), *value))
            .collect()
    };
    let mut samples = floats(&[0.25, 0.5, -1.75]);
    samples[1].start = Some(at(900));
    append_samples(&store, "b07", "decimal,branch=b07", &samples).unwrap();
    append_samples(&store, "b07", "branch=b07,decimal", &floats(&[0.75])).unwrap();
    append_samples(
        &store,
        "b07",
        "stale",
        &floats(&[1.0, 2.0, 3.0, model::stale_nan(), 4.0]),
    )
    .unwrap();
    append_samples(&store, "", "constant", &floats(&[7.0; 6])).unwrap();
    append_samples(
        &store,
        "",
        "random",
        &floats(&[std::f64::consts::PI, std::f64::consts::E * 1e-9]),
    )
    .unwrap();
    append_samples(
        &store,
        "",
        "latency",
        &[
            Sample::histogram(at(5), histogram()),
            Sample::float(at(6), 1.0),
        ],
    )
    .unwrap();
    let metadata = Metadata {
        kind: MetricType::Counter,
        help: "help".to_owned(),
        unit: "s".to_owned(),
    };
    store
        .append(&Batch {
            scope: "",
            series: vec![],
            metadata: vec![("constant", &metadata)],
        })
        .unwrap();
    store.close().unwrap();
    append_samples(&store, "b08", "late", &floats(&[1.0, 1.5, f64::NAN])).unwrap();
    append_samples(&store, "b08", "constant", &floats(&[8.0])).unwrap();
    store.sync().unwrap();
    store
}

/// Exemplars in their file and in the log.
fn make_exemplars(disk: &SimDisk) -> Store {
    let store = open(disk, &options());
    let append = |samples: &[(i64, f64)], exemplars: &[(&str, f64, i64)]| {
        let mut columns = Columns::default();
        columns.push_floats(store.series_key("b07", b"requests"), samples.to_vec());
        for (trace, value, millis) in exemplars {
            columns.push_exemplar(Exemplar {
                labels: LabelSet::from_pairs([("trace_id", *trace)]).unwrap(),
                value: *value,
                at: at(*millis),
            });
        }
        let labels = |_: usize| labels("requests");
        let batch = ColumnBatch {
            scope: "b07",
            labels: &labels,
            metadata: &[],
            urgency: crate::Urgency::Now,
        };
        store.append_columns(&mut columns, batch).unwrap();
    };
    append(
        &[(1000, 1.0)],
        &[("", f64::NAN, -7), ("4bf92f3577b34da6", 0.25, 900)],
    );
    store.close().unwrap();
    append(&[(2000, 2.0)], &[("00f067aa0ba902b7", 0.5, 1900)]);
    append(&[], &[("00f067aa0ba902b8", -1e300, 1901)]);
    store.sync().unwrap();
    store
}

fn everything(store: &Store) -> String {
    let selection = store
        .select(&[], TimeRange::ALL, &SelectLimits::default(), &|| false)
        .unwrap();
    assert_eq!(selection.warnings, [""; 0]);
    let mut text = String::new();
    for series in &selection.series {
        text += &format!("{} {:?}", series.labels, series.starts);
        for (time, value) in series.timestamps.iter().zip(series.values.iter()) {
            text += &match value {
                Value::Float(value) => format!(" {time}:{:016x}", value.to_bits()),
                Value::Histogram(histogram) => format!(" {time}:{histogram:?}"),
            };
        }
        text += "\n";
    }
    for (metric, known) in store.metadata(None) {
        for about in known {
            text += &format!("# {metric} {about:?}\n");
        }
    }
    let exemplars = store.select_exemplars(&[&[]], TimeRange::ALL);
    assert_eq!(exemplars.warnings, [""; 0]);
    for series in exemplars.series {
        for exemplar in series.exemplars {
            let (at, bits) = (exemplar.at.millis(), exemplar.value.to_bits());
            text += &format!("{} {} {at}:{bits:016x}\n", series.labels, exemplar.labels);
        }
    }
    text
}

/// The files of a folder and of those in it, from the store's own folder.
fn files(dir: &Path, inside: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir.join(inside)).unwrap() {
        let entry = entry.unwrap();
        let path = inside.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => files(dir, &path, found),
            false if path.as_os_str() != EXPECTED => found.push(path),
            false => {}
        }
    }
    found.sort();
}

const EXPECTED: &str = "expected.txt";

/// A committed store, on a disk where opening it changes nothing that is committed.
fn committed(version: &str) -> SimDisk {
    let (disk, from) = (SimDisk::new(1), folder(version));
    let mut paths = Vec::new();
    files(&from, Path::new(""), &mut paths);
    assert!(paths.len() >= 6, "{version}: {paths:?}");
    for path in paths {
        let to = Path::new(DIR).join(&path);
        disk.create_dir_all(to.parent().unwrap()).unwrap();
        let bytes = std::fs::read(from.join(&path)).unwrap();
        disk.create(&to).unwrap().append(&bytes).unwrap();
    }
    disk
}

fn expected(version: &str) -> String {
    std::fs::read_to_string(folder(version).join(EXPECTED)).unwrap()
}

#[test]
fn every_version_is_readable() {
    let mut versions = Vec::new();
    for entry in std::fs::read_dir(folder("")).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            versions.push(entry.file_name().into_string().unwrap());
        }
    }
    versions.sort();
    let [(everything_else, _), (exemplars, _)] = CURRENT;
    assert_eq!(versions, [everything_else, exemplars, SIPHASH]);
    for version in versions {
        let disk = committed(&version);
        assert_eq!(
            everything(&open(&disk, &options())),
            expected(&version),
            "{version}"
        );
        // And again, once it is all in parts of today.
        let store = open(&disk, &options());
        store.close().unwrap();
        store.clean_tombstones().unwrap();
        assert_eq!(everything(&store), expected(&version), "{version}, sealed");
    }
}

#[test]
fn the_current_version_is_written() {
    for (version, make) in CURRENT {
        check_written(version, make);
    }
}

/// What is written today is the current version, but for zstd's choices inside of the blocks: sizes of parts stand in the
/// manifest, and depend on zstd. BRANCHLINE_RENEW_FORMATS=true writes it into the folder first.
fn check_written(version: &str, make: Make) {
    let disk = SimDisk::new(2);
    let store = make(&disk);
    let written = everything(&store);
    drop(store);
    let (dir, golden) = (Path::new(DIR), folder(version));
    let mut paths: Vec<PathBuf> = disk
        .files()
        .iter()
        .map(|(path, _)| path.strip_prefix(dir).unwrap().to_owned())
        .collect();
    paths.sort();
    if std::env::var("BRANCHLINE_RENEW_FORMATS").is_ok_and(|renew| renew == "true") {
        let _ = std::fs::remove_dir_all(&golden);
        for path in &paths {
            std::fs::create_dir_all(golden.join(path).parent().unwrap()).unwrap();
            let bytes = read_file(&disk, &dir.join(path), 1 << 20).unwrap();
            std::fs::write(golden.join(path), bytes).unwrap();
        }
        std::fs::write(golden.join(EXPECTED), &written).unwrap();
    }
    let mut there = Vec::new();
    files(&golden, Path::new(""), &mut there);
    assert_eq!(paths, there);
    assert_eq!(written, expected(version));
    let now: Arc<dyn Disk> = Arc::new(disk.clone());
    let then: Arc<dyn Disk> = Arc::new(committed(version));
    for path in paths {
        let path = dir.join(path);
        if path.extension().is_some_and(|end| end == "part") {
            let blocks = |disk: &Arc<dyn Disk>| probe::pieces(disk, &path).unwrap().blocks;
            assert!(blocks(&now) == blocks(&then), "{} changed", path.display());
        } else if !path.ends_with("MANIFEST") {
            let bytes = |disk: &Arc<dyn Disk>| read_file(&**disk, &path, 1 << 20).unwrap();
            assert_eq!(bytes(&now), bytes(&then), "{} changed", path.display());
        }
    }
}

/// Keys of another kind cost an alias, not a second id.
#[test]
fn a_known_series_gets_no_second_id() {
    let store = open(&committed(SIPHASH), &options());
    let before = store.stats().series;
    let known = ["decimal,branch=b07", "stale"];
    for (name, time) in known.into_iter().zip([50_000, 51_000]) {
        let samples = [Sample::float(at(time), 9.0)];
        let appended = append_samples(&store, "b07", name, &samples).unwrap();
        assert_eq!(appended.series_created, 0, "{name}");
        let late = append_samples(&store, "b08", "late", &[]).unwrap();
        assert_eq!(late.series_created, 0);
    }
    assert_eq!(store.stats().series, before);
    let text = everything(&store);
    assert_eq!(
        text.matches("stale{").count() + text.matches("stale ").count(),
        1,
        "{text}"
    );
}
