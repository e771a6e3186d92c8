//! Read one by one, series are what [`Store::select`] gives at once; that this is right, `properties.rs` shows.

use std::collections::BTreeMap;

use journal::sim::SimDisk;
use model::{LabelSet, Sample, Value, is_stale};

use super::*;
use crate::{
    tests::{append_samples, at, labels, open, options},
    types::{Column, Selection, Series},
};

/// Reads some places; whether times are told to be the same only if they are.
fn read(
    found: &FoundSeries<'_>,
    places: Range<usize>,
) -> Result<BTreeMap<LabelSet, Series>, String> {
    let mut all = BTreeMap::new();
    let mut last_times: Option<Vec<i64>> = None;
    let mut last_place = None;
    let mut wrong = None;
    let result = found.read(places.clone(), &|| false, &mut |place, view| {
        if view.same_times && last_times.as_deref() != Some(view.times) {
            wrong = Some(format!("times at {place} are others than before"));
        }
        if view.times.is_empty() || last_place >= Some(place) || !places.contains(&place) {
            wrong = Some(format!("{place} of {places:?} after {last_place:?}"));
        }
        (last_times, last_place) = (Some(view.times.to_vec()), Some(place));
        let mut series = Series::from(view);
        series.labels = found.labels(place).unwrap_or_else(LabelSet::empty);
        all.insert(series.labels.clone(), series);
        true
    });
    result.map_err(|e| e.to_string())?;
    wrong.map_or(Ok(all), Err)
}

fn times_only(series: &Series) -> (Vec<i64>, Vec<bool>) {
    let stale = |value: Value| value.is_stale();
    (
        series.timestamps.clone(),
        series.values.iter().map(stale).collect(),
    )
}

/// Compares all ways of reading one by one with what was read at once.
pub(crate) fn check(store: &Store, range: TimeRange, selection: &Selection) -> Result<(), String> {
    let limits = SelectLimits::default();
    let open = |wanted| {
        let found = store.open_series(&[], range, wanted, &limits, &|| false);
        found.map_err(|e| e.to_string())
    };
    let found = open(Wanted::Samples)?;
    let mut expected = BTreeMap::new();
    for series in &selection.series {
        expected.insert(series.labels.clone(), series.clone());
    }
    for stretch in [1, 2, 3, found.len().max(1)] {
        let starts: Vec<usize> = (0..found.len()).step_by(stretch).collect();
        let stretches: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = starts
                .iter()
                .map(|from| scope.spawn(|| read(&found, *from..*from + stretch)))
                .collect();
            threads.into_iter().map(|thread| thread.join()).collect()
        });
        let mut all = BTreeMap::new();
        for stretch in stretches {
            all.extend(stretch.map_err(|_| "a reader panicked")??);
        }
        if all != expected {
            return Err(format!("by {stretch}: {all:?}\nat once: {expected:?}"));
        }
    }
    let found = open(Wanted::Times)?;
    let all = read(&found, 0..found.len())?;
    let times =
        |all: &BTreeMap<LabelSet, Series>| -> Vec<_> { all.values().map(times_only).collect() };
    if times(&all) != times(&expected) {
        return Err(format!("times only: {all:?}\nall: {expected:?}"));
    }
    for keep in [&["job"][..], &["__name__", "job"], &["x"], &[]] {
        check_groups(&found, &|name| keep.contains(&name))?;
        check_groups(&found, &|name| !keep.contains(&name))?;
    }
    Ok(())
}

fn check_groups(found: &FoundSeries<'_>, keep: &dyn Fn(&str) -> bool) -> Result<(), String> {
    let groups = found.groups(keep);
    let mut seen = Vec::new();
    for place in 0..found.len() {
        let kept = found.labels(place).map(|labels| labels.retain(keep));
        let group = groups.labels.get(groups.of[place] as usize);
        if group != kept.as_ref() {
            return Err(format!("{kept:?} is in the group {group:?}"));
        }
        seen.extend(kept);
    }
    let mut distinct = groups.labels.clone();
    distinct.sort_unstable();
    distinct.dedup();
    let all = (groups.labels.len(), groups.of.len());
    if all != (distinct.len(), found.len()) {
        return Err("a group twice, or not one for each place".to_owned());
    }
    let (count, are_distinct) = (seen.len(), found.are_distinct(keep));
    seen.sort_unstable();
    seen.dedup();
    match are_distinct == (seen.len() == count) {
        true => Ok(()),
        false => Err(format!("distinct: {are_distinct}")),
    }
}

/// Scrapes of `targets` with `metrics` each, `times` times.
fn fill(store: &Store, targets: usize, metrics: usize, times: Range<i64>) {
    for target in 0..targets {
        for metric in 0..metrics {
            let samples: Vec<Sample> = times
                .clone()
                .map(|time| {
                    let value = (time * metric as i64) as f64 / 4.0;
                    Sample::float(at(time * 100 + target as i64), value)
                })
                .collect();
            let series = format!("m{metric},job=j{},instance=i{target}", target % 2);
            append_samples(store, "b07", &series, &samples).unwrap();
        }
    }
}

fn select(store: &Store, range: TimeRange) -> Selection {
    store
        .select(&[], range, &SelectLimits::default(), &|| false)
        .unwrap()
}

#[test]
fn series_of_a_target_are_known_to_have_the_same_times() {
    let disk = SimDisk::new(1);
    let mut all = options();
    all.seal.merge_width = 9;
    let store = open(&disk, &all);
    // Two parts, and some in memory.
    fill(&store, 3, 50, 0..20);
    store.close().unwrap();
    fill(&store, 3, 50, 20..40);
    store.close().unwrap();
    fill(&store, 3, 50, 40..45);
    for range in [TimeRange::ALL, TimeRange::new(at(950), at(4_220))] {
        let selection = select(&store, range);
        assert_eq!(selection.series.len(), 150);
        assert_eq!(check(&store, range, &selection), Ok(()));
        let found = store
            .open_series(
                &[],
                range,
                Wanted::Samples,
                &SelectLimits::default(),
                &|| false,
            )
            .unwrap();
        let mut same = 0;
        let mut visit = |_, view: SeriesView<'_>| {
            same += usize::from(view.same_times);
            true
        };
        found.read(0..150, &|| false, &mut visit).unwrap();
        assert_eq!(same, 147);
    }
}

/// The second series ends before the others do: what the first had behind that is no longer held.
#[test]
fn a_shorter_series_between_longer_ones_of_the_same_times() {
    let disk = SimDisk::new(1);
    let mut all = options();
    all.seal.merge_width = 9;
    let store = open(&disk, &all);
    for (times, series) in [(0..5, &["a", "b", "c"][..]), (5..9, &["a", "c"])] {
        for name in series {
            let sample = |time| Sample::float(at(time), time as f64);
            let samples: Vec<Sample> = times.clone().map(sample).collect();
            append_samples(&store, "b07", name, &samples).unwrap();
        }
        store.close().unwrap();
    }
    for range in [TimeRange::ALL, TimeRange::new(at(2), at(7))] {
        let selection = select(&store, range);
        let lens: Vec<usize> = (selection.series.iter())
            .map(|series| series.timestamps.len())
            .collect();
        let expected = if range == TimeRange::ALL {
            [9, 5, 9]
        } else {
            [6, 3, 6]
        };
        assert_eq!(lens, expected);
        assert_eq!(check(&store, range, &selection), Ok(()));
    }
}

#[test]
fn groups_are_those_of_the_labels_in_frozen_segments_too() {
    let disk = SimDisk::new(1);
    let mut store = open(&disk, &options());
    fill(&store, 20, 30, 0..2);
    for _ in 0..2 {
        let selection = select(&store, TimeRange::ALL);
        assert_eq!(selection.series.len(), 600);
        assert_eq!(check(&store, TimeRange::ALL, &selection), Ok(()));
        let found = store
            .open_series(
                &[],
                TimeRange::ALL,
                Wanted::Times,
                &SelectLimits::default(),
                &|| false,
            )
            .unwrap();
        for name in ["instance", "job", "__name__"] {
            check_groups(&found, &|label| label == name).unwrap();
            check_groups(&found, &|label| label != name).unwrap();
        }
        drop(found);
        store.close().unwrap();
        store = open(&disk, &options());
    }
}

#[test]
fn what_is_found_stays_whatever_happens() {
    let disk = SimDisk::new(1);
    let store = open(&disk, &options());
    fill(&store, 2, 5, 0..10);
    store.close().unwrap();
    fill(&store, 2, 5, 10..12);
    let before = select(&store, TimeRange::ALL);
    let found = store
        .open_series(
            &[],
            TimeRange::ALL,
            Wanted::Samples,
            &SelectLimits::default(),
            &|| false,
        )
        .unwrap();
    fill(&store, 2, 5, 5..30);
    store.delete(&[], TimeRange::new(at(0), at(700))).unwrap();
    store.close().unwrap();
    store.clean_tombstones().unwrap();
    let read: Vec<Series> = read(&found, 0..10).unwrap().into_values().collect();
    assert_eq!(read, before.series);
}

#[test]
fn limits_and_whoever_asked_end_a_read() {
    let disk = SimDisk::new(1);
    let store = open(&disk, &options());
    fill(&store, 1, 600, 0..3);
    let open = |series, samples, cancel: &dyn Fn() -> bool| {
        let limits = SelectLimits { series, samples };
        store.open_series(&[], TimeRange::ALL, Wanted::Samples, &limits, cancel)
    };
    assert!(matches!(
        open(599, 9, &|| false),
        Err(SelectError::TooManySeries { max: 599 })
    ));
    assert!(matches!(open(600, 9, &|| true), Err(SelectError::Canceled)));
    for _ in 0..2 {
        let found = open(600, 2, &|| false).unwrap();
        let read = found.read(0..600, &|| false, &mut |_, _| true);
        assert!(matches!(read, Err(SelectError::TooManySamples { max: 2 })));
        let found = open(600, 3, &|| false).unwrap();
        let mut seen = 0;
        let read = found.read(0..600, &|| true, &mut |_, _| true);
        assert!(matches!(read, Err(SelectError::Canceled)));
        found
            .read(7..600, &|| false, &mut |place, _| {
                seen = place;
                place < 9
            })
            .unwrap();
        assert_eq!(seen, 9);
        drop(found);
        store.close().unwrap();
    }
}

/// Staleness markers are told apart even where numbers are not decoded.
#[test]
fn times_alone_know_staleness_markers() {
    let disk = SimDisk::new(1);
    let store = open(&disk, &options());
    let values = [1.0, 2.0, model::stale_nan(), 3.0];
    let samples: Vec<Sample> = (0..)
        .zip(values)
        .map(|(time, value)| Sample::float(at(time), value))
        .collect();
    append_samples(&store, "b07", "up", &samples).unwrap();
    append_samples(&store, "b07", "down", &samples[..2]).unwrap();
    store.close().unwrap();
    let found = store
        .open_series(
            &[],
            TimeRange::ALL,
            Wanted::Times,
            &SelectLimits::default(),
            &|| false,
        )
        .unwrap();
    let read = read(&found, 0..2).unwrap();
    let stale = |series: &Series| match &series.values {
        Column::Floats(values) => values.iter().filter(|value| is_stale(**value)).count(),
        Column::Mixed(_) => 0,
    };
    assert_eq!(stale(&read[&labels("up").unwrap()]), 1);
    assert_eq!(
        read[&labels("down").unwrap()].values,
        Column::Floats(vec![0.0; 2])
    );
}
