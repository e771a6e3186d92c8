//! Series on their way out: `write_relabel_configs`, and metadata, exemplars and native histograms left out where they are not wanted.

use std::borrow::Cow;

use model::relabel::{self, RelabelRule};
use wire::remote_write::convert::{append_parts, label_set, put_label_bytes};
use wire::remote_write::proto::WriteRequest;
use wire::remote_write::{DecodeError, Part, SeriesView, Walk, encode_message};

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

/// Rewrites a message that this edge encoded, one series at a time: a request decoded whole takes many times its bytes. Series that a rule
/// drops, or leaves without a metric name, are left out.
pub(super) fn rewrite<'m>(
    message: &'m [u8],
    rules: &[RelabelRule],
    wanted: Wanted,
) -> Cow<'m, [u8]> {
    if rules.is_empty() && wanted == Wanted::default() {
        return Cow::Borrowed(message);
    }
    match rewritten(message, rules, wanted) {
        Ok(message) => Cow::Owned(message),
        // Our own encoding; should it ever be unreadable, the receiver says so, and nothing is lost silently.
        Err(_) => Cow::Borrowed(message),
    }
}

fn rewritten(
    message: &[u8],
    rules: &[RelabelRule],
    wanted: Wanted,
) -> Result<Vec<u8>, DecodeError> {
    let mut out = Vec::with_capacity(message.len());
    let (mut walk, mut view) = (Walk::new(message), SeriesView::new());
    let mut label_bytes = Vec::new();
    while let Some(part) = walk.next_part(&mut view)? {
        match part {
            // Messages one behind the other are one message.
            Part::Metadata(metadata) if wanted.metadata => {
                let metadata = vec![metadata];
                out.extend_from_slice(&encode_message(&WriteRequest {
                    metadata,
                    ..WriteRequest::default()
                }));
            }
            Part::Metadata(_) => {}
            Part::Series => series(&view, rules, wanted, &mut label_bytes, &mut out)?,
        }
    }
    Ok(out)
}

/// Appends what is wanted of the series, if anything is.
fn series(
    view: &SeriesView<'_>,
    rules: &[RelabelRule],
    wanted: Wanted,
    label_bytes: &mut Vec<u8>,
    out: &mut Vec<u8>,
) -> Result<(), DecodeError> {
    let if_wanted = |wanted, parts| if wanted { parts } else { &[][..] };
    let histograms = if_wanted(wanted.native_histograms, view.raw_histograms());
    let exemplars = if_wanted(wanted.exemplars, view.raw_exemplars());
    if view.samples.is_empty() && histograms.is_empty() && exemplars.is_empty() {
        return Ok(());
    }
    let mut bytes = view.label_bytes();
    if !rules.is_empty() {
        let labels = label_set(&view.raw_labels()?).ok();
        let labels = labels.and_then(|labels| relabel::apply(rules, &labels));
        let Some(labels) = labels.filter(|labels| labels.name().is_some()) else {
            return Ok(());
        };
        put_label_bytes(&labels, label_bytes);
        bytes = label_bytes;
    }
    append_parts(out, bytes, &view.samples, exemplars, histograms);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::relabel::{Action, RelabelOptions};
    use std::sync::Arc;

    use model::{Exemplar, Histogram, LabelSet, Metadata, Sample, Timestamp, Value};
    use wire::remote_write::convert::{append_exemplar, append_metadata, append_series};
    use wire::remote_write::proto::TimeSeries;
    use wire::remote_write::{Limits, decode_message};

    #[test]
    fn drops_renames_and_leaves_the_rest() {
        let mut message = Vec::new();
        append_metadata(&mut message, "up", &Metadata::default());
        for name in ["up", "go_gc", "x"] {
            let labels = LabelSet::from_pairs([("__name__", name), ("job", "node")]).unwrap();
            append_series(
                &mut message,
                &labels,
                &[Sample::float(Timestamp::from_millis(1), -0.0)],
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
        let values: Vec<u64> = series.samples.iter().map(|s| s.value.to_bits()).collect();
        assert_eq!(
            (labels, values),
            (vec!["up", "node", "t-node"], vec![(-0.0_f64).to_bits()]),
            "bit for bit"
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
