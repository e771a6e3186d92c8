//! Series on their way out: `write_relabel_configs`, and metadata, exemplars and native histograms left out where they are not wanted.

use std::borrow::Cow;

use model::relabel::{self, RelabelRule};
use wire::remote_write::convert::label_set;
use wire::remote_write::proto::{Label, TimeSeries};
use wire::remote_write::{Limits, decode_message, encode_message};

/// What besides float samples leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Type and help of metrics (`metadata_config.send`).
    pub metadata: bool,
    /// Exemplars (`send_exemplars`).
    pub exemplars: bool,
    /// Native histograms (`send_native_histograms`).
    pub native_histograms: bool,
}

impl Default for Wanted {
    /// Everything.
    fn default() -> Wanted {
        Wanted {
            metadata: true,
            exemplars: true,
            native_histograms: true,
        }
    }
}

/// Rewrites a message that this edge encoded. Series that a rule drops, or leaves without a metric name, are left out.
pub(super) fn rewrite<'m>(
    message: &'m [u8],
    rules: &[RelabelRule],
    wanted: Wanted,
) -> Cow<'m, [u8]> {
    if rules.is_empty() && wanted == Wanted::default() {
        return Cow::Borrowed(message);
    }
    let limits = Limits {
        messages_max: usize::MAX,
        ..Limits::default()
    };
    let Ok(mut request) = decode_message(message, &limits) else {
        // Our own encoding; should it ever be unreadable, the receiver says so, and nothing is lost silently.
        return Cow::Borrowed(message);
    };
    if !wanted.metadata {
        request.metadata.clear();
    }
    request.timeseries.retain_mut(|series| {
        if !wanted.exemplars {
            series.exemplars.clear();
        }
        if !wanted.native_histograms {
            series.histograms.clear();
        }
        !(series.samples.is_empty() && series.histograms.is_empty() && series.exemplars.is_empty())
    });
    if !rules.is_empty() {
        request.timeseries = request
            .timeseries
            .into_iter()
            .filter_map(|series| relabelled(series, rules))
            .collect();
    }
    Cow::Owned(encode_message(&request))
}

fn relabelled(mut series: TimeSeries, rules: &[RelabelRule]) -> Option<TimeSeries> {
    let pairs: Vec<(&str, &str)> = series
        .labels
        .iter()
        .map(|l| (l.name.as_str(), l.value.as_str()))
        .collect();
    let labels = relabel::apply(rules, &label_set(&pairs).ok()?)?;
    labels.name()?;
    series.labels = labels
        .iter()
        .map(|(name, value)| Label {
            name: name.to_owned(),
            value: value.to_owned(),
        })
        .collect();
    Some(series)
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::relabel::{Action, RelabelOptions};
    use std::sync::Arc;

    use model::{Exemplar, Histogram, LabelSet, Metadata, Sample, Timestamp, Value};
    use wire::remote_write::convert::{append_exemplar, append_metadata, append_series};

    #[test]
    fn drops_renames_and_leaves_the_rest() {
        let mut message = Vec::new();
        append_metadata(&mut message, "up", &Metadata::default());
        for name in ["up", "go_gc", "x"] {
            let labels = LabelSet::from_pairs([("__name__", name), ("job", "node")]).unwrap();
            append_series(
                &mut message,
                &labels,
                &[Sample::float(Timestamp::from_millis(1), 2.0)],
            );
        }
        assert_eq!(*rewrite(&message, &[], Wanted::default()), message);
        let rule = |action, source: &str, regex: &str, target: &str, replacement: &str| {
            RelabelRule::new(RelabelOptions {
                action,
                source_labels: vec![source.to_owned()],
                regex: regex.to_owned(),
                target_label: target.to_owned(),
                replacement: replacement.to_owned(),
                ..RelabelOptions::default()
            })
            .unwrap()
        };
        let rules = [
            rule(Action::Drop, "__name__", "go_.*", "", "$1"),
            rule(Action::Replace, "job", "(.*)", "team", "t-$1"),
            rule(Action::Replace, "__name__", "x", "__name__", ""),
        ];
        let no_metadata = Wanted {
            metadata: false,
            ..Wanted::default()
        };
        let request =
            decode_message(&rewrite(&message, &rules, no_metadata), &Limits::default()).unwrap();
        assert!(request.metadata.is_empty());
        let [series] = &request.timeseries[..] else {
            panic!("{request:?}")
        };
        let labels: Vec<&str> = series
            .labels
            .iter()
            .map(|label| label.value.as_str())
            .collect();
        assert_eq!(
            (labels, series.samples.len()),
            (vec!["up", "node", "t-node"], 1)
        );
    }

    #[test]
    fn exemplars_and_native_histograms_stay_where_they_are_not_wanted() {
        let mut message = Vec::new();
        let labels = |name| LabelSet::from_pairs([("__name__", name)]).unwrap();
        let at = Timestamp::from_millis(1);
        append_series(&mut message, &labels("plain"), &[Sample::float(at, 2.0)]);
        let histogram = Value::Histogram(Arc::new(Histogram::default()));
        let native = Sample {
            value: histogram,
            ..Sample::float(at, 0.0)
        };
        append_series(&mut message, &labels("native"), &[native]);
        let exemplar = Exemplar {
            labels: labels("trace"),
            value: 1.0,
            at,
        };
        append_exemplar(&mut message, &labels("plain"), &exemplar);
        let left = |wanted| {
            let request = decode_message(&rewrite(&message, &[], wanted), &Limits::default());
            let series = request.unwrap().timeseries;
            let count = |of: fn(&TimeSeries) -> usize| series.iter().map(of).sum::<usize>();
            (
                series.len(),
                count(|series| series.samples.len()),
                count(|series| series.histograms.len()),
                count(|series| series.exemplars.len()),
            )
        };
        let wanted = Wanted::default();
        assert_eq!(left(wanted), (3, 1, 1, 1));
        let no_exemplars = Wanted {
            exemplars: false,
            ..wanted
        };
        assert_eq!(left(no_exemplars), (2, 1, 1, 0));
        let floats = Wanted {
            native_histograms: false,
            ..no_exemplars
        };
        assert_eq!(left(floats), (1, 1, 0, 0));
    }
}
