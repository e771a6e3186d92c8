//! The one place where remote read meets the store: the series of a query, one after the other, as they are answered.

use model::{LabelSet, Sample, Timestamp, Value};
use promql::Cancel;
use tsdb::{Column, SelectLimits, Series, TimeRange};
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

/// Shows the series of a query in the order of the labels that they are answered with, no label set twice; at most so many
/// samples are read.
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
    let selection = state.store.select(&matchers, range, &limits, &stopped)?;
    for warning in selection.warnings {
        // The protocol has no place for it.
        tracing::warn!("remote read: {warning}");
    }
    let mut all: Vec<(LabelSet, Series)> = selection
        .series
        .into_iter()
        .map(|series| (external.answered(&series.labels), series))
        .filter(|(answered, _)| external.fits(&query.matchers, answered))
        .collect();
    // External labels change the order, and may make two series one: what has more labels of its own goes first.
    all.sort_by(|(a, a_own), (b, b_own)| {
        let own = b_own.labels.len().cmp(&a_own.labels.len());
        a.cmp(b).then(own)
    });
    let mut rest = all.into_iter().peekable();
    while let Some((labels, mut series)) = rest.next() {
        while let Some((_, other)) = rest.next_if(|(next, _)| *next == labels) {
            series = merged(series, &other);
        }
        visit(&ReadSeries {
            labels: &labels,
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
