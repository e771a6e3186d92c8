//! The journal's segments, and what the store has on disk.

use std::{path::Path, sync::Arc};

use journal::{Disk, Journal, Options, read_file, sim::SimDisk};
use model::{Exemplar, LabelSet, Metadata, MetricType, Sample, Timestamp, Value};
use tsdb::{Batch, BatchSeries, ColumnBatch, Columns, Store, StoreOptions, probe};

use crate::remote::histogram;

pub(crate) fn journal_segment(bytes: &[u8]) {
    let disk = SimDisk::new(1);
    let dir = Path::new("/wal");
    let written = disk
        .create_dir_all(dir)
        .and_then(|()| disk.create(&dir.join("00000000000000000001.seg")))
        .and_then(|file| file.append(bytes));
    assert!(written.is_ok());
    if let Ok((journal, _)) = Journal::open(Arc::new(disk), dir, Options::default()) {
        // Damaged stretches are errors, behind which reading goes on.
        let most = bytes.len() + 2;
        assert!(
            journal.read_from(1).take(most).count() < most,
            "reading comes to an end"
        );
    }
}

pub(crate) fn split_index(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (end, index) = bytes.split_first_chunk::<8>()?;
    Some((u64::from_le_bytes(*end), index))
}

pub(crate) const STORE: &str = "/store";

pub(crate) fn append(store: &Store, scope: &str, names: &[&str], samples: &[Sample]) {
    let labels: Vec<_> = names
        .iter()
        .map(|name| {
            move || {
                LabelSet::from_pairs([("__name__", *name), ("branch", "b07")])
                    .map_err(|e| e.to_string())
            }
        })
        .collect();
    let series = names.iter().zip(&labels).map(|(name, labels)| BatchSeries {
        key: store.series_key(scope, name.as_bytes()),
        labels,
        samples,
    });
    let metadata = Metadata {
        kind: MetricType::Counter,
        help: "what it counts".to_owned(),
        unit: "s".to_owned(),
    };
    let appended = store.append(&Batch {
        scope,
        series: series.collect(),
        metadata: vec![(names[0], &metadata)],
    });
    assert!(appended.is_ok_and(|appended| appended.refused.is_empty()));
}

pub(crate) fn append_exemplars(store: &Store) {
    let mut columns = Columns::default();
    columns.push_floats(store.series_key("b07", b"a"), []);
    for at in 0..20 {
        let trace = format!("{at:016x}");
        let labels = LabelSet::from_pairs([("trace_id", &*trace), ("span_id", "7")]);
        columns.push_exemplar(Exemplar {
            labels: labels.unwrap_or_default(),
            value: 0.1 * at as f64,
            at: Timestamp::from_millis(at),
        });
    }
    let batch = ColumnBatch {
        scope: "b07",
        labels: &|_| Err("known".to_owned()),
        metadata: &[],
        urgency: tsdb::Urgency::Now,
    };
    let appended = store.append_columns(&mut columns, batch);
    assert!(appended.is_ok_and(|appended| appended.exemplars.refused.len() != 20));
}

/// A store with parts, a catalogue, exemplars and a log, which has every kind of value.
pub(crate) fn store() -> SimDisk {
    let disk = SimDisk::new(1);
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let store = Store::open(shared, Path::new(STORE), StoreOptions::default());
    let Ok(store) = store else {
        unreachable!("an empty disk");
    };
    let floats = |values: &[f64], start: Option<i64>| -> Vec<Sample> {
        let sample = |(i, value): (usize, &f64)| Sample {
            at: Timestamp::from_millis(1000 + 15_000 * i as i64),
            start: start.map(Timestamp::from_millis),
            value: Value::Float(*value),
        };
        values.iter().enumerate().map(sample).collect()
    };
    for part in 0..2 {
        append(
            &store,
            "b07",
            &["a", "b", "c"],
            &floats(&[0.25, 0.5, -1.75], None),
        );
        append(
            &store,
            "b07",
            &["started"],
            &floats(&[1.0, 2.0, model::stale_nan()], Some(500)),
        );
        append(&store, "b08", &["constant"], &floats(&[7.0; 100], None));
        append(
            &store,
            "b08",
            &["random"],
            &floats(&[std::f64::consts::PI, std::f64::consts::E * 1e-9], None),
        );
        let mixed = [
            Sample::histogram(Timestamp::from_millis(5), histogram()),
            Sample::float(Timestamp::from_millis(6), 1.0),
        ];
        append(&store, "b08", &["latency"], &mixed);
        append_exemplars(&store);
        // What comes last stays in the log.
        assert!(if part == 0 {
            store.close().is_ok()
        } else {
            store.sync().is_ok()
        });
    }
    disk
}

/// The content of files behind a header of 16 bytes.
pub(crate) fn files(suffix: &str) -> Vec<Vec<u8>> {
    let disk = store();
    let paths = disk.files().into_iter().map(|(path, _)| path);
    let read = |path: std::path::PathBuf| {
        read_file(&disk, &path, u64::MAX).unwrap_or_default()[16..].to_vec()
    };
    paths
        .filter(|path| path.ends_with(suffix))
        .map(read)
        .collect()
}

pub(crate) fn parts() -> Vec<probe::Pieces> {
    let disk = store();
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let paths = disk.files().into_iter().map(|(path, _)| path);
    let parts = paths.filter(|path| path.extension().is_some_and(|end| end == "part"));
    parts
        .filter_map(|path| probe::pieces(&shared, &path))
        .collect()
}

/// A segment of a journal, and the records that a store wrote.
pub(crate) fn wal() -> (Vec<u8>, Vec<Vec<u8>>) {
    let disk: Arc<dyn Disk> = Arc::new(store());
    let dir = Path::new(STORE).join("wal");
    let records: Vec<Vec<u8>> = match Journal::open(disk, &dir, Options::default()) {
        Ok((journal, _)) => journal
            .read_from(1)
            .flatten()
            .map(|(_, record)| record)
            .collect(),
        Err(error) => unreachable!("{error}"),
    };
    let disk = SimDisk::new(1);
    let dir = Path::new("/wal");
    if let Ok((journal, _)) = Journal::open(Arc::new(disk.clone()), dir, Options::default()) {
        for record in &records {
            assert!(journal.append(record).is_ok());
        }
    }
    let path = dir.join("00000000000000000001.seg");
    (
        read_file(&disk, &path, u64::MAX).unwrap_or_default(),
        records,
    )
}
