//! Joins the store to PromQL: the evaluator's questions, put to `tsdb`.

use std::sync::Arc;

use promql::{Budget, Cancel, Select, SeriesColumns, StorageError};
use tsdb::{SelectError, SelectLimits, Store, TimeRange};

/// Series that one selector may match.
const SERIES_MAX: usize = 2_000_000;

/// The store as PromQL sees it.
#[derive(Clone)]
pub(crate) struct StoreReader {
    pub(crate) store: Arc<Store>,
}

impl promql::Storage for StoreReader {
    fn select(
        &self,
        select: &Select<'_>,
        budget: &Budget,
        cancel: &Cancel,
    ) -> Result<promql::Selection, StorageError> {
        let limits = SelectLimits {
            series: SERIES_MAX,
            samples: budget.samples_max(),
        };
        let range = TimeRange::new(select.start, select.end);
        let selection = self
            .store
            .select(select.matchers, range, &limits, &|| cancel.check().is_err())
            .map_err(|error| match (error, cancel.check()) {
                (SelectError::Canceled, Err(stop)) => StorageError::Stopped(stop),
                (SelectError::TooManySamples { .. }, _) => StorageError::TooManySamples,
                (other, _) => StorageError::Failed(other.to_string()),
            })?;
        let mut series = Vec::with_capacity(selection.series.len());
        for each in selection.series {
            let values = match each.values {
                tsdb::Column::Floats(values) => promql::Column::Floats(values),
                tsdb::Column::Mixed(mut values) => {
                    promql::note_resets(&mut values);
                    promql::Column::Mixed(values)
                }
            };
            budget.take(values.weight())?;
            let starts = each
                .starts
                .into_iter()
                .map(|at| if at == tsdb::NO_START { 0 } else { at })
                .collect();
            series.push(SeriesColumns {
                labels: each.labels,
                timestamps: each.timestamps,
                values,
                starts,
            });
        }
        Ok(promql::Selection {
            series,
            warnings: selection.warnings,
        })
    }
}
