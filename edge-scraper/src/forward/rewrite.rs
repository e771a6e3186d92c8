//! Series on their way out: `write_relabel_configs`, and metadata left out where it is not wanted.

use std::borrow::Cow;

use model::relabel::{self, RelabelRule};
use wire::remote_write::convert::label_set;
use wire::remote_write::proto::{Label, TimeSeries};
use wire::remote_write::{Limits, decode_message, encode_message};

/// Rewrites a message that this edge encoded. Series that a rule drops, or leaves without a metric name, are left out.
pub(super) fn rewrite<'m>(
    message: &'m [u8],
    rules: &[RelabelRule],
    metadata: bool,
) -> Cow<'m, [u8]> {
    if rules.is_empty() && metadata {
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
    if !metadata {
        request.metadata.clear();
    }
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
    use model::{LabelSet, Metadata, Sample, Timestamp};
    use wire::remote_write::convert::{append_metadata, append_series};

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
        assert_eq!(*rewrite(&message, &[], true), message);
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
        let request =
            decode_message(&rewrite(&message, &rules, false), &Limits::default()).unwrap();
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
}
