use std::{collections::BTreeMap, path::Path};

use journal::sim::SimDisk;
use model::{Timestamp, Value};
use proptest::prelude::*;

use super::*;
use crate::{compact, deletions::Deletions, probe, rows::tests::rows, types::NO_START};

/// Series by id, each in order of time.
type Model = BTreeMap<u32, Rows>;

fn disk() -> Arc<dyn Disk> {
    Arc::new(SimDisk::new(1))
}

pub(crate) fn meta(number: u64) -> PartMeta {
    PartMeta {
        number,
        level: 0,
        partition: 0,
        seq_first: number,
        seq_last: number,
        first: 0,
        last: 0,
        rows: 0,
        bytes: 0,
        deletions: 0,
    }
}

/// Writes a part with blocks of `block_bytes`.
fn write(disk: &Arc<dyn Disk>, number: u64, series: &Model, block_bytes: usize) -> Part {
    let path = Path::new("/").join(file_name(number));
    let mut writer = PartWriter::create(disk.clone(), path, meta(number)).unwrap();
    writer.block_bytes = block_bytes;
    for (id, rows) in series {
        writer.add(*id, rows).unwrap();
    }
    writer.finish().unwrap()
}

fn reopened(disk: &Arc<dyn Disk>, part: &Part) -> Part {
    Part::open(disk.clone(), part.path.clone(), part.meta.clone()).unwrap()
}

fn read(part: &Part, wanted: &RoaringBitmap, range: TimeRange) -> Model {
    let mut found = Model::new();
    let mut visit = |id, rows: &Rows| {
        assert!(rows.ordered && !rows.is_empty());
        found.entry(id).or_default().overwrite_with(rows.clone());
        true
    };
    part.read(wanted, range, &mut visit).unwrap();
    found
}

fn merged(inputs: &[Arc<Part>]) -> Model {
    let mut found = Model::new();
    let mut last = None;
    let merged = compact::merge(inputs, &Deletions::default(), |id, rows| {
        assert!(rows.ordered && rows.len() < 2 * chunk::CHUNK_ROWS_MAX);
        assert!(last.is_none_or(|(before, at)| before < id || (before == id && at < rows.first)));
        last = Some((id, rows.last));
        found.entry(id).or_default().extend(rows);
        Ok::<(), ()>(())
    });
    assert!(merged.is_ok());
    found
}

fn within(series: &Model, wanted: &RoaringBitmap, range: TimeRange) -> Model {
    let wanted = series.iter().filter(|(id, _)| wanted.contains(**id));
    wanted
        .map(|(id, rows)| (*id, rows.within(range)))
        .filter(|(_, rows)| !rows.is_empty())
        .collect()
}

/// A column with no start at all is as good as one that says so for each row.
fn without_empty_starts(mut series: Model) -> Model {
    for rows in series.values_mut() {
        if rows.starts.iter().all(|start| *start == NO_START) {
            rows.starts.clear();
        }
    }
    series
}

/// Blocks of many targets look alike: their times stand at the same places, and only say something else.
#[test]
fn times_of_another_block_are_not_taken_for_those_of_this_one() {
    let disk = disk();
    let (targets, metrics) = (40, 60);
    for (number, constant) in [(1, false), (100, true)] {
        let mut series = Model::new();
        for target in 0..targets {
            for metric in 0..metrics {
                let mut rows = Rows::default();
                for step in 0..12_i64 {
                    let jitter = if constant { 0 } else { step * step % 7 };
                    let value = match constant {
                        true => 1.0,
                        false => (step * 7919 * (metric + 1) % 1009) as f64,
                    };
                    let time = 1_000_000 + target * 100 + step * 15_000 + jitter;
                    rows.push(time, NO_START, Value::Float(value));
                }
                series.insert((target * metrics + metric) as u32, rows);
            }
        }
        for (index, block_bytes) in (900..5_000).step_by(150).enumerate() {
            let part = write(&disk, number + index as u64, &series, block_bytes);
            for (apart, from) in [(60, 59), (60, 30), (20, 3), (1, 0)] {
                let wanted: RoaringBitmap = (from..2_400).step_by(apart).collect();
                let found = read(&part, &wanted, TimeRange::ALL);
                let expected = within(&series, &wanted, TimeRange::ALL);
                assert!(
                    without_empty_starts(found) == without_empty_starts(expected),
                    "{constant} {block_bytes} {apart}"
                );
            }
        }
    }
}

/// Marks in large blocks are where a walk comes by, whatever is between.
#[test]
fn series_of_a_large_block_are_found_without_walking_all_of_it() {
    let mut series = Model::new();
    let mut id = 0;
    for index in 0..3000_i64 {
        // A target of several sets of times, with gaps between ids, and now and then histograms or starts.
        id += 1 + (index as u32 * 7919) % 3 * (index as u32 % 5);
        let mut rows = Rows::default();
        for step in 0..8 {
            let start = if index % 97 == 0 { step } else { NO_START };
            let value = match index % 131 {
                0 => Value::Histogram(Arc::default()),
                _ => Value::Float((index * step) as f64 / 8.0),
            };
            rows.push(step * 1000 + index % 11, start, value);
        }
        series.insert(id, rows);
    }
    let disk = disk();
    let part = write(&disk, 1, &series, 1 << 20);
    assert_eq!(part.blocks.len(), 1);
    let ids: Vec<u32> = series.keys().copied().collect();
    for apart in [1, 5, 17, 100, 1000, 2999] {
        for from in [0, 1, apart / 2] {
            let wanted: RoaringBitmap = ids.iter().skip(from).step_by(apart).copied().collect();
            let found = read(&part, &wanted, TimeRange::ALL);
            let expected = within(&series, &wanted, TimeRange::ALL);
            assert_eq!(without_empty_starts(found), without_empty_starts(expected));
        }
    }
}

fn range(from: i64, to: i64) -> TimeRange {
    TimeRange::new(Timestamp::from_millis(from), Timestamp::from_millis(to))
}

/// Series of few targets, so that times are shared; ids with and without gaps.
fn series() -> impl Strategy<Value = Model> {
    let id = prop_oneof![3 => 0..40_u32, 1 => any::<u32>()];
    let own = prop::collection::btree_map(id, rows(-50..50, 1..20), 0..12);
    (own, any::<u16>()).prop_map(|(own, shared)| {
        let mut series = Model::new();
        let mut times: Option<Vec<i64>> = None;
        for (index, (id, rows)) in own.into_iter().enumerate() {
            let rows = rows.into_ordered();
            let values: Vec<Value> = rows.values.iter().collect();
            let taken = times.clone().filter(|_| shared >> (index % 16) & 1 == 1);
            let taken = taken.unwrap_or_else(|| rows.times.clone());
            let mut kept = Rows::default();
            for (index, (at, value)) in taken.iter().zip(values).enumerate() {
                let start = rows.starts.get(index).copied().unwrap_or(NO_START);
                kept.push(*at, start, value);
            }
            times = Some(kept.times.clone());
            series.insert(id, kept);
        }
        series
    })
}

proptest! {
    #[test]
    fn parts_are_read_back(
        series in series(), others in prop::collection::vec(0..45_u32, 0..6), from in -60..60_i64, length in 0..80_i64, block_bytes in 1..400_usize,
    ) {
        let disk = disk();
        let part = write(&disk, 1, &series, block_bytes);
        prop_assert_eq!(part.meta.rows, series.values().map(|rows| rows.len() as u64).sum::<u64>());
        let all: RoaringBitmap = series.keys().copied().collect();
        prop_assert_eq!(&part.ids, &all);
        let cache = Arc::new(BlockCache::new(4000));
        let opened = reopened(&disk, &part).cached(&cache);
        let wanted: RoaringBitmap = others.into_iter().chain(series.keys().copied().step_by(2)).collect();
        let range = range(from, from + length);
        for part in [&part, &opened, &opened] {
            prop_assert_eq!(&without_empty_starts(read(part, &all, TimeRange::ALL)), &without_empty_starts(series.clone()));
            let (found, expected) = (read(part, &wanted, range), within(&series, &wanted, range));
            prop_assert_eq!(without_empty_starts(found), without_empty_starts(expected));
        }
        prop_assert_eq!(without_empty_starts(merged(&[Arc::new(opened)])), without_empty_starts(series));
    }

    #[test]
    fn a_merge_keeps_the_later_write(parts in prop::collection::vec((series(), -60..60_i64), 1..5), block_bytes in 1..400_usize) {
        let disk = disk();
        let (mut inputs, mut expected) = (Vec::new(), Model::new());
        for (number, (mut series, shift)) in parts.into_iter().enumerate() {
            for rows in series.values_mut() {
                let times = rows.times.iter().map(|at| at + shift).collect();
                *rows = Rows::from_columns(times, rows.values.clone(), rows.starts.clone());
            }
            inputs.push(Arc::new(write(&disk, number as u64, &series, block_bytes)));
            for (id, rows) in series {
                expected.entry(id).or_default().overwrite_with(rows);
            }
        }
        let found = merged(&inputs);
        prop_assert_eq!(without_empty_starts(found.clone()), without_empty_starts(expected.clone()));
        // And once more through a file.
        let part = write(&disk, 100, &found, block_bytes);
        prop_assert_eq!(without_empty_starts(merged(&[Arc::new(part)])), without_empty_starts(expected));
    }

    #[test]
    fn changed_bytes_are_refused_without_panic(
        series in series(), changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4), cut in any::<prop::sample::Index>(),
    ) {
        let mut builder = BlockBuilder::default();
        for (id, rows) in &series {
            let values = match &rows.values {
                Column::Floats(values) => Values::Floats(values),
                Column::Mixed(values) => Values::Mixed(values),
            };
            builder.add(*id, &rows.times, &values, &rows.starts);
        }
        let mut block = Vec::new();
        builder.take(&mut block);
        let count = series.values().map(Rows::len).sum::<usize>();
        prop_assert_eq!(probe::read_block(&block), Some(count));
        let disk = disk();
        let part = write(&disk, 1, &series, 1);
        let mut index = Vec::new();
        put_index(&mut index, &part.meta, &part.ids, &part.blocks).unwrap();
        let end = HEADER_BYTES as u64 + part.blocks.iter().map(|block| u64::from(block.bytes)).sum::<u64>();
        prop_assert_eq!(probe::read_index(&index, end), Some(part.blocks.len()));
        for bytes in [&mut block, &mut index] {
            let cut = &bytes[..cut.index(bytes.len())];
            prop_assert_eq!(probe::read_index(cut, end), None);
            let _ = probe::read_block(cut);
            for (at, byte) in &changes {
                let at = at.index(bytes.len());
                bytes[at] = *byte;
            }
            let _ = probe::read_index(bytes, end);
            let _ = probe::read_block(bytes);
        }
    }

    #[test]
    fn garbage_is_refused_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), heads in 0..100_u8) {
        let mut block = vec![heads];
        block.extend(&bytes);
        let _ = probe::read_block(&block);
        let _ = probe::read_index(&bytes, 1000);
        let _ = probe::read_chunk(&bytes);
    }
}

fn long(from: i64, rows: i64, value: f64) -> Rows {
    let times: Vec<i64> = (from..from + rows).map(|i| i * 15_000).collect();
    let values = times.iter().map(|at| value + (at % 7) as f64).collect();
    Rows::from_columns(times, Column::Floats(values), Vec::new())
}

#[test]
fn a_long_series_is_merged_piece_by_piece() {
    let disk = disk();
    let parts = [
        long(0, 10_000, 1.0),
        long(10_000, 9_000, 2.0),
        // Written late, into both.
        long(9_990, 20, 3.0),
        long(30_000, 1, 4.0),
    ];
    let mut expected = Rows::default();
    let mut inputs = Vec::new();
    for (number, rows) in parts.into_iter().enumerate() {
        let series = Model::from([(7, rows.clone())]);
        inputs.push(Arc::new(write(&disk, number as u64, &series, BLOCK_BYTES)));
        expected.overwrite_with(rows);
    }
    let found = merged(&inputs);
    assert_eq!(found, Model::from([(7, expected.clone())]));
    let part = write(&disk, 9, &found, BLOCK_BYTES);
    let some = range(9_000 * 15_000, 12_000 * 15_000);
    let all = RoaringBitmap::from([7]);
    assert_eq!(read(&part, &all, some), within(&found, &all, some));
}

/// The times of a target cost nothing for all but one of its series in a block, even if targets take turns.
#[test]
fn series_share_their_times() {
    let irregular = |target: u32| -> Vec<i64> {
        let noise = |i: u32| i64::from((i + target * 1000).wrapping_mul(2_654_435_761) >> 20);
        (0..240).map(|i| i64::from(i) * 15_000 + noise(i)).collect()
    };
    let bytes = |targets: u32| {
        let mut series = Model::new();
        for id in 0..400 {
            let values = Column::Floats(vec![f64::from(id); 240]);
            let rows = Rows::from_columns(irregular(id % targets), values, Vec::new());
            series.insert(id, rows);
        }
        write(&disk(), 1, &series, BLOCK_BYTES).meta.bytes
    };
    let (one, five) = (bytes(1), bytes(5));
    assert!(one < 240 * 2 + 400 * 3 + 500, "{one}");
    assert!(five < one + 4 * 240 * 2 + 200, "{five}");
}

#[test]
fn the_set_of_series_and_the_blocks_take_little_memory() {
    assert_eq!(size_of::<Block>(), 40);
    let series: Model = (0..20_000).map(|id| (id, long(0, 1, 1.0))).collect();
    let part = write(&disk(), 1, &series, BLOCK_BYTES);
    assert!(part.ids.serialized_size() < 100 && part.blocks.len() < 10);
}

#[test]
fn the_cache_forgets_a_part_that_is_gone() {
    let disk = disk();
    let series = Model::from([(1, long(0, 100, 1.0))]);
    let cache = Arc::new(BlockCache::new(1 << 20));
    let part = write(&disk, 1, &series, BLOCK_BYTES).cached(&cache);
    assert_eq!(
        read(&part, &RoaringBitmap::from([1]), TimeRange::ALL),
        series
    );
    assert!(cache.get((1, 0)).is_some());
    part.mark_obsolete();
    drop(part);
    assert!(cache.get((1, 0)).is_none());
}

#[test]
fn version_1_is_refused_as_another_version() {
    let disk = disk();
    let part = write(&disk, 1, &Model::from([(1, long(0, 1, 1.0))]), BLOCK_BYTES);
    let mut bytes = journal::read_file(&*disk, &part.path, 1 << 20).unwrap();
    bytes[8] = 1;
    let crc = crc32c::crc32c(&bytes[..12]);
    bytes[12..16].copy_from_slice(&crc.to_le_bytes());
    disk.create(&part.path).unwrap().append(&bytes).unwrap();
    let opened = Part::open(disk.clone(), part.path.clone(), part.meta.clone());
    assert!(matches!(opened, Err(PartError::Version(1))));
}
