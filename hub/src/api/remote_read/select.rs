//! The one place where remote read meets the store: the series of a query, one after the other, as they are answered.

use model::{LabelSet, Sample, Timestamp, Value};
use promql::Cancel;
use tsdb::{Column, SelectError, SelectLimits, Series, TimeRange};
use wire::remote_read::Query;
use wire::remote_read::chunk::Values;

use super::external::External;
use crate::state::HubState;

/// Series of one query, in the order of the labels that they are answered with, no label set twice.
pub(super) struct SeriesReader {
    series: std::vec::IntoIter<ReadSeries>,
}

/// One series with its samples in the order of their times.
#[derive(Debug)]
pub(super) struct ReadSeries {
    /// As answered.
    pub(super) labels: LabelSet,
    pub(super) times: Vec<i64>,
    column: Column,
}

impl ReadSeries {
    pub(super) fn values(&self) -> Values<'_> {
        match &self.column {
            Column::Floats(all) => Values::Floats(all),
            Column::Mixed(all) => Values::Mixed(all),
        }
    }

    pub(super) fn samples(&self) -> Vec<Sample> {
        let sample = |(at, value): (&i64, Value)| Sample {
            at: Timestamp::from_millis(*at),
            start: None,
            value,
        };
        self.times
            .iter()
            .zip(self.column.iter())
            .map(sample)
            .collect()
    }

    /// With the samples of another series that is answered with the same labels; at equal times its own stay.
    fn merged(self, other: &Self) -> Self {
        let (mut times, mut values) = (Vec::new(), Vec::new());
        let mut others = other.times.iter().zip(other.column.iter()).peekable();
        for (at, value) in self.times.iter().zip(self.column.iter()) {
            while let Some((earlier, value)) = others.next_if(|(other, _)| *other < at) {
                times.push(*earlier);
                values.push(value);
            }
            others.next_if(|(other, _)| *other == at);
            times.push(*at);
            values.push(value);
        }
        for (at, value) in others {
            times.push(*at);
            values.push(value);
        }
        ReadSeries {
            labels: self.labels,
            times,
            column: Column::Mixed(values),
        }
    }
}

impl SeriesReader {
    /// Selects; at most so many samples.
    pub(super) fn open(
        state: &HubState,
        query: &Query,
        external: &External,
        samples_max: u64,
        cancel: &Cancel,
    ) -> Result<Self, SelectError> {
        // As in Prometheus: nothing said of any label selects nothing, rather than everything.
        if query.matchers.is_empty() || query.end < query.start {
            return Ok(SeriesReader {
                series: Vec::new().into_iter(),
            });
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
        let answered = |series: Series| {
            let own = series.labels.len();
            let read = ReadSeries {
                labels: external.answered(&series.labels),
                times: series.timestamps,
                column: series.values,
            };
            (read, own)
        };
        let mut all: Vec<(ReadSeries, usize)> =
            selection.series.into_iter().map(answered).collect();
        all.retain(|(series, _)| external.fits(&query.matchers, &series.labels));
        // External labels change the order, and may make two series one: what has more labels of its own goes first.
        all.sort_by(|(a, a_own), (b, b_own)| a.labels.cmp(&b.labels).then(b_own.cmp(a_own)));
        let mut series: Vec<ReadSeries> = Vec::with_capacity(all.len());
        for (next, _) in all {
            match series.pop_if(|last| last.labels == next.labels) {
                Some(last) => series.push(last.merged(&next)),
                None => series.push(next),
            }
        }
        Ok(SeriesReader {
            series: series.into_iter(),
        })
    }

    pub(super) fn next(&mut self) -> Option<ReadSeries> {
        self.series.next()
    }
}
