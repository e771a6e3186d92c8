//! Recording rules: the elements of a result, renamed and relabelled.

use std::collections::HashSet;

use model::{LabelSet, METRIC_NAME, Sample, Timestamp, Value};

use crate::RuleError;
use crate::context::RuleSample;
use crate::file::RuleSpec;

/// Samples of a recording rule from its query's result.
pub(crate) fn record(
    spec: &RuleSpec,
    result: Vec<(LabelSet, Value)>,
    at: Timestamp,
    limit: Option<usize>,
) -> Result<Vec<RuleSample>, RuleError> {
    let count = result.len();
    let mut samples = Vec::with_capacity(count);
    let mut seen = HashSet::with_capacity(count);
    for (element, value) in result {
        let mut builder = element.builder();
        builder.set(METRIC_NAME, spec.name.as_str());
        for (name, value) in &spec.labels {
            builder.set(name.as_str(), value.as_str());
        }
        let labels = builder.build();
        if !seen.insert(labels.clone()) {
            return Err(RuleError::DuplicateSeries);
        }
        samples.push(RuleSample {
            labels,
            sample: Sample {
                at,
                start: None,
                value,
            },
        });
    }
    match limit {
        Some(limit) if count > limit => Err(RuleError::Limit {
            limit,
            count,
            what: "series",
        }),
        _ => Ok(samples),
    }
}
