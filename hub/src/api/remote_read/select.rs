//! The one place where remote read meets the store: the series of a query, one after the other, as they are answered.

use std::collections::HashMap;

use model::{LabelSet, Sample, Timestamp, Value};
use promql::{Budget, Cancel, OverBudget, QueryError, Weight};
use tsdb::{
    Column, FoundSeries, SelectError, SelectLimits, Series, SeriesView, TimeRange, ValuesView,
    Wanted,
};
use wire::remote_read::Query;
use wire::remote_read::chunk::Values;

use super::ReadError;
use super::external::External;
use crate::state::HubState;

/// One series with its samples in the order of their times.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReadSeries<'a> {
    /// As answered.
    pub(super) labels: &'a LabelSet,
    pub(super) times: &'a [i64],
    pub(super) values: Values<'a>,
}

impl ReadSeries<'_> {
    pub(super) fn samples(&self) -> Vec<Sample> {
        let sample = |(at, value)| Sample {
            at: Timestamp::from_millis(at),
            start: None,
            value,
        };
        let times = self.times.iter().copied();
        match self.values {
            Values::Floats(all) => {
                let values = all.iter().map(|value| Value::Float(*value));
                times.zip(values).map(sample).collect()
            }
            Values::Mixed(all) => times.zip(all.iter().cloned()).map(sample).collect(),
        }
    }
}

/// Samples of a stretch of series take about so much memory: several stretches are read in turn, rather than everything at once.
const STRETCH_BYTES: usize = 64 << 20;
/// Series of the first stretch; later ones are shorter if that was too long.
const STRETCH_SERIES: usize = 65_536;

/// A series that was found: as answered, how many labels of its own it has, and where it is.
struct Place {
    answered: LabelSet,
    own: usize,
    at: usize,
}

/// Shows the series of a query in the order of the labels that they are answered with, no label set twice; at most so many
/// samples of one are read. The store knows another order, so a stretch of series is read at a time, and counts as a query's memory.
pub(super) fn read(
    state: &HubState,
    query: &Query,
    external: &External,
    samples_max: u64,
    cancel: &Cancel,
    visit: &mut dyn FnMut(&ReadSeries<'_>) -> Result<(), ReadError>,
) -> Result<(), ReadError> {
    // As in Prometheus: nothing said of any label selects nothing, rather than everything.
    if query.matchers.is_empty() || query.end < query.start {
        return Ok(());
    }
    let limits = SelectLimits {
        samples: samples_max,
        ..SelectLimits::default()
    };
    let range = TimeRange::new(query.start, query.end);
    let matchers = external.stored(&query.matchers);
    let stopped = || cancel.check().is_err();
    loop {
        let (budget, wanted) = (state.queries.engine().budget(), Wanted::Samples);
        let found = state
            .store
            .open_series(&matchers, range, wanted, &limits, &stopped)?;
        let stretches = Stretches {
            places: places(&found, query, external, &budget)?,
            found,
            budget,
            bytes_max: STRETCH_BYTES,
        };
        let mut shown = false;
        let result = stretches.show(&stopped, &mut |series| {
            shown = true;
            visit(series)
        });
        match result {
            // A part was set aside: from the beginning, if nobody has seen that yet. Ends: each time there is one part less.
            Err(ReadError::Store(SelectError::Changed { .. })) if !shown => {}
            result => return result,
        }
    }
}

/// In the order of the answer. External labels change the order, and may make two series one: what has more labels of its own goes first.
fn places(
    found: &FoundSeries<'_>,
    query: &Query,
    external: &External,
    budget: &Budget,
) -> Result<Vec<Place>, ReadError> {
    for warning in found.warnings() {
        // The protocol has no place for it.
        tracing::warn!("remote read: {warning}");
    }
    let mut places = Vec::new();
    for at in 0..found.len() {
        // None: forgotten meanwhile, with all of its samples.
        let Some(own) = found.labels(at) else {
            continue;
        };
        let answered = external.answered(&own);
        if external.fits(&query.matchers, &answered) {
            let bytes = 2 * answered.as_bytes().len() + 2 * size_of::<Place>();
            budget.take(Weight::bytes(bytes)).map_err(over)?;
            let own = own.len();
            places.push(Place { answered, own, at });
        }
    }
    places.sort_by(|a, b| a.answered.cmp(&b.answered).then(b.own.cmp(&a.own)));
    Ok(places)
}

fn over(over: OverBudget) -> ReadError {
    ReadError::Memory(QueryError::from(over))
}

struct Stretches<'s> {
    found: FoundSeries<'s>,
    places: Vec<Place>,
    budget: Budget,
    /// See [`STRETCH_BYTES`].
    bytes_max: usize,
}

impl Stretches<'_> {
    fn show(
        &self,
        stopped: &dyn Fn() -> bool,
        visit: &mut dyn FnMut(&ReadSeries<'_>) -> Result<(), ReadError>,
    ) -> Result<(), ReadError> {
        let (mut rest, mut length) = (&self.places[..], STRETCH_SERIES);
        while !rest.is_empty() {
            let mut end = length.min(rest.len());
            // What is answered as one series is read at once.
            while end < rest.len() && rest[end].answered == rest[end - 1].answered {
                end += 1;
            }
            let mut held = Weight::default();
            let read = self.read(&rest[..end], &mut held, stopped)?;
            let Some(series) = read else {
                self.budget.release(held);
                length = (end / 2).max(1);
                continue;
            };
            show(&rest[..end], series, visit)?;
            self.budget.release(held);
            rest = &rest[end..];
        }
        Ok(())
    }

    /// The samples of these places, as far as they have any; None when they are too many, and the places more than one.
    fn read(
        &self,
        places: &[Place],
        held: &mut Weight,
        stopped: &dyn Fn() -> bool,
    ) -> Result<Option<Vec<Option<Series>>>, ReadError> {
        let mut of: HashMap<usize, usize> = HashMap::with_capacity(places.len());
        of.extend(
            places
                .iter()
                .enumerate()
                .map(|(index, place)| (place.at, index)),
        );
        let (first, last) = (of.keys().min(), of.keys().max());
        let range = first.map_or(0, |first| *first)..last.map_or(0, |last| *last + 1);
        let mut series: Vec<Option<Series>> = Vec::new();
        series.resize_with(places.len(), || None);
        let (mut room, mut fits) = (Ok(()), true);
        self.found.read(range, stopped, &mut |at, view| {
            let Some(index) = of.get(&at) else {
                return true;
            };
            let weight = weight(&view);
            *held = *held + weight;
            fits = places.len() == 1 || held.bytes <= self.bytes_max as u64;
            room = self.budget.take(weight);
            series[*index] = Some(Series::from(view));
            fits && room.is_ok()
        })?;
        match (fits, room) {
            (false, _) => Ok(None),
            (true, Err(full)) => Err(over(full)),
            (true, Ok(())) => Ok(Some(series)),
        }
    }
}

fn weight(view: &SeriesView<'_>) -> Weight {
    let values = match view.values {
        ValuesView::Floats(values) => size_of_val(values),
        ValuesView::Mixed(values) => {
            let weight = Weight::from(promql::ValuesView::Mixed(values).weight());
            usize::try_from(weight.bytes).unwrap_or(usize::MAX)
        }
    };
    Weight::bytes(size_of_val(view.times) + size_of_val(view.starts) + values)
}

fn show(
    places: &[Place],
    series: Vec<Option<Series>>,
    visit: &mut dyn FnMut(&ReadSeries<'_>) -> Result<(), ReadError>,
) -> Result<(), ReadError> {
    let read = places.iter().zip(series);
    let mut rest = read
        .filter_map(|(place, series)| Some((&place.answered, series?)))
        .peekable();
    while let Some((labels, mut series)) = rest.next() {
        while let Some((_, other)) = rest.next_if(|(next, _)| *next == labels) {
            series = merged(series, &other);
        }
        visit(&ReadSeries {
            labels,
            times: &series.timestamps,
            values: match &series.values {
                Column::Floats(all) => Values::Floats(all),
                Column::Mixed(all) => Values::Mixed(all),
            },
        })?;
    }
    Ok(())
}

/// A series with the samples of another that is answered with the same labels; at equal times its own stay.
fn merged(own: Series, other: &Series) -> Series {
    let (mut timestamps, mut values) = (Vec::new(), Vec::new());
    let mut others = other.timestamps.iter().zip(other.values.iter()).peekable();
    for (at, value) in own.timestamps.iter().zip(own.values.iter()) {
        while let Some((earlier, value)) = others.next_if(|(other, _)| *other < at) {
            timestamps.push(*earlier);
            values.push(value);
        }
        others.next_if(|(other, _)| *other == at);
        timestamps.push(*at);
        values.push(value);
    }
    for (at, value) in others {
        timestamps.push(*at);
        values.push(value);
    }
    Series {
        timestamps,
        values: Column::Mixed(values),
        ..own
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use journal::sim::SimDisk;
    use model::Matcher;
    use std::path::Path;
    use std::sync::Arc;
    use tsdb::{Batch, BatchSeries, Store, StoreOptions};

    /// However little is read at a time, the answer is the same, and nothing stays counted.
    #[test]
    fn stretches_make_one_answer() {
        let disk = Arc::new(SimDisk::new(1));
        let store = Store::open(disk, Path::new("/store"), StoreOptions::default()).unwrap();
        // In another order than that of the labels, and of different lengths.
        for n in (0..300_i64).map(|n| n * 7 % 300) {
            let text = n.to_string();
            let labels = LabelSet::from_pairs([("__name__", "m"), ("n", &text)]).unwrap();
            let sample = |at| Sample::float(Timestamp::from_millis(at), n as f64);
            let samples: Vec<Sample> = (0..1 + n % 50).map(sample).collect();
            let get = || Ok(labels.clone());
            let series = vec![BatchSeries {
                key: store.series_key("", labels.as_bytes()),
                labels: &get,
                samples: &samples,
            }];
            let metadata = Vec::new();
            let scope = "";
            let batch = Batch {
                scope,
                series,
                metadata,
            };
            store.append(&batch).unwrap();
        }
        let answer = |bytes_max: usize| {
            let (limits, never) = (SelectLimits::default(), || false);
            let matchers = [Matcher::equal("__name__", "m")];
            let found = store
                .open_series(&matchers, TimeRange::ALL, Wanted::Samples, &limits, &never)
                .unwrap();
            let place = |at| {
                let answered = found.labels(at).unwrap();
                let own = answered.len();
                Place { answered, own, at }
            };
            let mut places: Vec<Place> = (0..found.len()).map(place).collect();
            places.sort_by(|a, b| a.answered.cmp(&b.answered));
            let stretches = Stretches {
                found,
                places,
                budget: Budget::with_memory(1, 100_000),
                bytes_max,
            };
            let mut all = Vec::new();
            let mut visit = |series: &ReadSeries<'_>| {
                all.push((series.labels.to_string(), series.samples()));
                Ok(())
            };
            let shown = stretches.show(&never, &mut visit).map(|()| all);
            shown.map_err(|error| error.to_string())
        };
        let whole = answer(2_000).unwrap();
        assert_eq!(whole.len(), 300);
        assert!(whole.is_sorted_by(|a, b| a.0 != b.0));
        assert_eq!(whole[5].1.len(), 3);
        // Down to one series at a time, however long that is.
        assert_eq!(answer(1).unwrap(), whole);
        assert_eq!(answer(50_000).unwrap(), whole);
        // All together are more than a query may hold.
        assert!(answer(1 << 20).unwrap_err().contains("of memory"));
    }
}
