//! The message of a request: what the buffer has is one of remote write 1.0, and becomes one of 2.0 where that is spoken.
//!
//! Series by series: neither message is ever decoded whole. In 2.0
//!
//! - a series has samples or native histograms, never both, and never neither: exemplars, which stand alone in the buffer's message, go with
//!   their series;
//! - the metadata of its family stands with every series. Of a message that has metadata and no series nothing is left to send; it is
//!   remembered, and goes with the next series of the family ([`Families`]).

use std::borrow::Cow;
use std::collections::HashMap;

use model::relabel::{self, RelabelRule};
use model::{METRIC_NAME, Timestamp};
use wire::remote_write::convert::{label_set, metadata_from_proto};
use wire::remote_write::headers::{Version, Written};
use wire::remote_write::v2::{RequestWriter, SeriesWriter};
use wire::remote_write::{DecodeError, Part, SeriesView, Walk, read_exemplar};

use super::families::Families;
use super::rewrite::{Wanted, rewrite};

/// A message ready to be compressed.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) bytes: Vec<u8>,
    /// What it holds. Of messages of 1.0 it is not counted: nobody answers how much was written.
    pub(super) carried: Written,
    /// Exemplars that stay behind, since their series is not in the message: a receiver of 2.0 refuses what has no sample.
    pub(super) exemplars_left: u64,
}

/// Makes the message from the one that the buffer has.
pub(super) fn message(
    version: Version,
    buffered: Vec<u8>,
    rules: &[RelabelRule],
    wanted: Wanted,
    families: &mut Families,
) -> Message {
    match version {
        Version::V1 => {
            let rewritten = match rewrite(&buffered, rules, wanted) {
                Cow::Owned(rewritten) => Some(rewritten),
                Cow::Borrowed(_) => None,
            };
            Message {
                bytes: rewritten.unwrap_or(buffered),
                carried: Written::default(),
                exemplars_left: 0,
            }
        }
        Version::V2 => match second(&buffered, rules, wanted, families) {
            Ok(message) => message,
            // Our own encoding; should it ever be unreadable, the receiver refuses it, or says that it has written nothing of it.
            Err(_) => Message {
                bytes: buffered,
                carried: Written {
                    samples: 1,
                    ..Written::default()
                },
                exemplars_left: 0,
            },
        },
    }
}

fn second(
    buffered: &[u8],
    rules: &[RelabelRule],
    wanted: Wanted,
    families: &mut Families,
) -> Result<Message, DecodeError> {
    let mut exemplars = gather(buffered, wanted, families)?;
    let mut request = RequestWriter::new();
    let (mut walk, mut view) = (Walk::new(buffered), SeriesView::new());
    while let Some(part) = walk.next_part(&mut view)? {
        if part != Part::Series || view.samples.is_empty() && view.histogram_count() == 0 {
            continue;
        }
        let of_series = view
            .label_bytes_in_place()
            .and_then(|labels| exemplars.remove(labels));
        put(
            &mut request,
            &view,
            of_series.unwrap_or_default(),
            rules,
            wanted,
            families,
        )?;
    }
    Ok(Message {
        carried: request.written(),
        bytes: request.finish(),
        exemplars_left: exemplars.values().map(|left| left.len() as u64).sum(),
    })
}

/// For fuzzing: the message of 2.0, with everything.
pub(crate) fn probe(buffered: &[u8]) -> Option<Vec<u8>> {
    let made = second(buffered, &[], Wanted::default(), &mut Families::default());
    Some(made.ok()?.bytes)
}

/// Exemplars by the labels of their series.
type Exemplars<'m> = HashMap<&'m [u8], Vec<&'m [u8]>>;

/// What stands behind the samples that it belongs to.
fn gather<'m>(
    buffered: &'m [u8],
    wanted: Wanted,
    families: &mut Families,
) -> Result<Exemplars<'m>, DecodeError> {
    let mut exemplars = Exemplars::new();
    let (mut walk, mut view) = (Walk::new(buffered), SeriesView::new());
    while let Some(part) = walk.next_part(&mut view)? {
        match part {
            Part::Metadata(metadata) if wanted.metadata => {
                let (family, metadata) = metadata_from_proto(&metadata);
                families.learn(family, metadata);
            }
            Part::Metadata(_) => {}
            Part::Series if wanted.exemplars && view.exemplar_count() > 0 => {
                let labels = view.label_bytes_in_place().unwrap_or_default();
                let of_series = exemplars.entry(labels).or_default();
                of_series.extend_from_slice(view.raw_exemplars());
            }
            Part::Series => {}
        }
    }
    Ok(exemplars)
}

/// Puts a series into the request, or none if relabelling drops it or leaves it without a metric name.
fn put(
    request: &mut RequestWriter,
    view: &SeriesView<'_>,
    mut exemplars: Vec<&[u8]>,
    rules: &[RelabelRule],
    wanted: Wanted,
    families: &mut Families,
) -> Result<(), DecodeError> {
    // Sorted, and no name twice: the buffer holds label sets.
    let pairs = view.raw_labels()?;
    let name = pairs.iter().find(|(name, _)| *name == METRIC_NAME);
    let metadata = match wanted.metadata {
        // Of the name that the target gave it, whatever relabelling makes of it.
        true => name.and_then(|(_, name)| families.of(name)),
        false => None,
    };
    let relabelled;
    let pairs = if rules.is_empty() {
        pairs
    } else {
        let labels = label_set(&pairs).ok();
        let labels = labels.and_then(|labels| relabel::apply(rules, &labels));
        let Some(labels) = labels.filter(|labels| labels.name().is_some()) else {
            return Ok(());
        };
        relabelled = labels;
        relabelled.iter().collect()
    };
    let mut end = |mut series: SeriesWriter<'_>| -> Result<(), DecodeError> {
        for exemplar in std::mem::take(&mut exemplars) {
            let exemplar = read_exemplar(exemplar)?;
            let labels = exemplar.labels.iter().map(|l| (&*l.name, &*l.value));
            series.exemplar(labels, exemplar.value, exemplar.timestamp);
        }
        if let Some(metadata) = &metadata {
            series.metadata(metadata);
        }
        series.end();
        Ok(())
    };
    if !view.samples.is_empty() {
        let mut series = request.series(pairs.iter().copied());
        for (at, value) in &view.samples {
            series.sample(Timestamp::from_millis(*at), *value);
        }
        end(series)?;
    }
    if wanted.native_histograms && view.histogram_count() > 0 {
        let mut series = request.series(pairs.iter().copied());
        for histogram in view.raw_histograms() {
            series.histogram(histogram);
        }
        end(series)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use model::relabel::{Action, RelabelOptions};
    use model::{Buckets, Exemplar, Histogram, LabelSet, Metadata, MetricType, Sample};
    use proptest::prelude::*;
    use wire::remote_write::convert::{append_exemplar, append_metadata, append_series};
    use wire::remote_write::v2::{SeriesViewV2, WalkV2};
    use wire::remote_write::{Limits, decode_message};

    use super::*;

    fn labels(name: &str) -> LabelSet {
        LabelSet::from_pairs([("__name__", name), ("job", "node"), ("Upper", "ü\n")]).unwrap()
    }

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn native(count: f64) -> Sample {
        let histogram = Histogram {
            count,
            positive: Buckets::from_indexed([(1, count)]),
            integer: true,
            ..Histogram::default()
        };
        Sample::histogram(at(5), histogram)
    }

    fn about(kind: MetricType, help: &str) -> Metadata {
        Metadata {
            kind,
            help: help.to_owned(),
            unit: "seconds".to_owned(),
        }
    }

    /// Series as text: labels, floats, histograms, exemplars, metadata.
    fn read(message: &[u8]) -> Vec<String> {
        let mut walk = WalkV2::new(message, &Limits::default()).unwrap();
        let symbols = walk.symbols().to_vec();
        let (mut view, mut read) = (SeriesViewV2::new(), Vec::new());
        let name = || String::new();
        while walk.next_series(&mut view).unwrap() {
            let labels = view.labels(&symbols).unwrap();
            assert!(view.raw_labels(&symbols).unwrap().is_sorted());
            let mut text = labels.get("__name__").unwrap().to_owned();
            for float in view.floats() {
                text += &format!(" {:?}@{}", float.value, float.at.millis());
            }
            for histogram in view.histograms(&name) {
                text += &format!(" h@{}", histogram.unwrap().at.millis());
            }
            for exemplar in view.exemplars(&symbols) {
                let exemplar = exemplar.unwrap();
                text += &format!(" e{}{}", exemplar.value, exemplar.labels);
            }
            if let Some((family, about)) = view.metadata(labels.name().unwrap(), &symbols).unwrap()
            {
                text += &format!(" {family}:{}:{}", about.kind.as_str(), about.help);
            }
            read.push(text);
        }
        read
    }

    fn convert(buffered: &[u8], rules: &[RelabelRule], families: &mut Families) -> Message {
        second(buffered, rules, Wanted::default(), families).unwrap()
    }

    #[test]
    fn exemplars_and_metadata_go_with_their_series() {
        let mut buffered = Vec::new();
        append_series(
            &mut buffered,
            &labels("asked_total"),
            &[Sample::float(at(1), 2.0)],
        );
        append_series(&mut buffered, &labels("up"), &[Sample::float(at(1), 1.0)]);
        append_series(&mut buffered, &labels("took"), &[native(3.0)]);
        append_metadata(
            &mut buffered,
            "asked",
            &about(MetricType::Counter, "of what"),
        );
        append_metadata(&mut buffered, "took", &about(MetricType::Histogram, "long"));
        for (series, value) in [
            ("asked_total", 1.0),
            ("asked_total", 2.0),
            ("took", 3.0),
            ("gone", 4.0),
        ] {
            let exemplar = Exemplar {
                labels: LabelSet::from_pairs([("trace", "a")]).unwrap(),
                value,
                at: at(1),
            };
            append_exemplar(&mut buffered, &labels(series), &exemplar);
        }
        append_series(
            &mut buffered,
            &labels("asked_total"),
            &[Sample::float(at(2), 3.0)],
        );
        let mut families = Families::default();
        let made = convert(&buffered, &[], &mut families);
        assert_eq!(
            read(&made.bytes),
            [
                "asked_total Float(2.0)@1 e1{trace=\"a\"} e2{trace=\"a\"} asked_total:counter:of what",
                "up Float(1.0)@1",
                "took h@5 e3{trace=\"a\"} took:histogram:long",
                "asked_total Float(3.0)@2 asked_total:counter:of what",
            ]
        );
        let carried = (
            made.carried.samples,
            made.carried.histograms,
            made.carried.exemplars,
        );
        assert_eq!((carried, made.exemplars_left), ((3, 1, 3), 1));
        // What was said is known from then on.
        let mut later = Vec::new();
        append_series(
            &mut later,
            &labels("took_count"),
            &[Sample::float(at(9), 3.0)],
        );
        assert_eq!(
            read(&convert(&later, &[], &mut families).bytes),
            ["took_count Float(3.0)@9 took:histogram:long"]
        );
        // Metadata alone is nothing to send, and not lost.
        let mut alone = Vec::new();
        append_metadata(&mut alone, "took", &about(MetricType::Summary, "quick"));
        assert_eq!(
            convert(&alone, &[], &mut families).bytes,
            RequestWriter::new().finish()
        );
        assert_eq!(
            read(&convert(&later, &[], &mut families).bytes),
            ["took_count Float(3.0)@9 took:summary:quick"]
        );
    }

    #[test]
    fn floats_and_histograms_of_a_series_are_two() {
        let mut buffered = Vec::new();
        let both = [
            Sample::float(at(1), 1.0),
            native(2.0),
            Sample::float(at(2), 2.0),
        ];
        append_series(&mut buffered, &labels("both"), &both);
        let exemplar = Exemplar {
            labels: LabelSet::default(),
            value: 1.0,
            at: at(1),
        };
        append_exemplar(&mut buffered, &labels("both"), &exemplar);
        let made = convert(&buffered, &[], &mut Families::default());
        assert_eq!(
            read(&made.bytes),
            ["both Float(1.0)@1 Float(2.0)@2 e1{}", "both h@5"]
        );
        let floats = Wanted {
            native_histograms: false,
            exemplars: false,
            metadata: false,
        };
        let made = second(&buffered, &[], floats, &mut Families::default()).unwrap();
        assert_eq!(read(&made.bytes), ["both Float(1.0)@1 Float(2.0)@2"]);
        assert_eq!(made.exemplars_left, 0);
    }

    #[test]
    fn relabelling_changes_the_labels_and_not_what_is_said() {
        let mut buffered = Vec::new();
        for name in ["up", "go_gc"] {
            append_series(&mut buffered, &labels(name), &[Sample::float(at(1), 1.0)]);
        }
        append_metadata(&mut buffered, "up", &about(MetricType::Gauge, "is it"));
        let rule = |action, regex: &str, target: &str, replacement: &str| {
            RelabelRule::new(RelabelOptions {
                action,
                source_labels: vec!["__name__".to_owned()],
                regex: regex.to_owned(),
                target_label: target.to_owned(),
                replacement: replacement.to_owned(),
                ..RelabelOptions::default()
            })
            .unwrap()
        };
        let rules = [
            rule(Action::Drop, "go_.*", "", "$1"),
            rule(Action::Replace, "(.*)", "__name__", "branch_$1"),
            rule(Action::Replace, "(.*)", "A", "first"),
        ];
        let made = convert(&buffered, &rules, &mut Families::default());
        assert_eq!(
            read(&made.bytes),
            ["branch_up Float(1.0)@1 branch_up:gauge:is it"]
        );
        assert_eq!(made.carried.samples, 1);
    }

    #[test]
    fn what_cannot_be_read_goes_as_it_is() {
        let broken = vec![0x0a, 9, 0];
        let mut families = Families::default();
        let made = message(
            Version::V2,
            broken.clone(),
            &[],
            Wanted::default(),
            &mut families,
        );
        assert_eq!((made.bytes, made.carried.samples), (broken, 1));
    }

    fn any_sample() -> impl Strategy<Value = Sample> {
        let float = (any::<i64>(), any::<u64>());
        let float =
            float.prop_map(|(millis, bits)| Sample::float(at(millis), f64::from_bits(bits)));
        let native = (1..9_u32).prop_map(|count| native(f64::from(count)));
        prop_oneof![4 => float, 1 => native]
    }

    /// Labels, then timestamp and bits, or the histogram's message; in order.
    type Content = Vec<(String, i64, Result<u64, Vec<u8>>)>;

    fn of_first(message: &[u8]) -> Content {
        use prost::Message as _;
        let mut content = Content::new();
        for series in decode_message(message, &Limits::default())
            .unwrap()
            .timeseries
        {
            let pairs = series.labels.iter().map(|l| (&*l.name, &*l.value));
            let labels = LabelSet::from_pairs(pairs).unwrap().to_string();
            for float in &series.samples {
                content.push((labels.clone(), float.timestamp, Ok(float.value.to_bits())));
            }
            for native in &series.histograms {
                content.push((
                    labels.clone(),
                    native.timestamp,
                    Err(native.encode_to_vec()),
                ));
            }
        }
        content
    }

    fn of_second(message: &[u8]) -> Content {
        use prost::Message as _;
        let request = wire::remote_write::v2::decode_message(message).unwrap();
        let mut content = Content::new();
        for series in &request.timeseries {
            assert!(series.samples.is_empty() != series.histograms.is_empty());
            let text = |at: u32| request.symbols[at as usize].as_str();
            let pairs = series
                .labels_refs
                .chunks(2)
                .map(|pair| (text(pair[0]), text(pair[1])));
            let labels = LabelSet::from_pairs(pairs).unwrap().to_string();
            for float in &series.samples {
                content.push((labels.clone(), float.timestamp, Ok(float.value.to_bits())));
            }
            for native in &series.histograms {
                content.push((
                    labels.clone(),
                    native.timestamp,
                    Err(native.encode_to_vec()),
                ));
            }
        }
        content
    }

    proptest! {
        #[test]
        fn both_messages_say_the_same(
            series in proptest::collection::vec(
                (
                    proptest::collection::btree_map("[a-zA-Z_]{1,3}", ".{0,9}", 0..5),
                    proptest::collection::vec(any_sample(), 1..4),
                ),
                0..8,
            ),
        ) {
            let mut buffered = Vec::new();
            for (pairs, samples) in &series {
                let name = [("__name__", "m")];
                let pairs = pairs.iter().map(|(n, v)| (&**n, &**v)).filter(|(n, _)| *n != "__name__");
                let labels = LabelSet::from_pairs(name.into_iter().chain(pairs)).unwrap();
                append_series(&mut buffered, &labels, samples);
            }
            let made = convert(&buffered, &[], &mut Families::default());
            let (first, again) = (of_first(&buffered), of_second(&made.bytes));
            prop_assert_eq!(made.carried.values(), first.len() as u64);
            prop_assert_eq!(first, again);
        }
    }

    #[test]
    fn values_share_their_symbols() {
        let mut buffered = Vec::new();
        for n in 0..1000 {
            let value = n.to_string();
            let labels = [
                ("__name__", "m"),
                ("n", &*value),
                ("job", "a long name of a job"),
            ];
            let labels = LabelSet::from_pairs(labels).unwrap();
            append_series(&mut buffered, &labels, &[Sample::float(at(1), 1.0)]);
        }
        let made = convert(&buffered, &[], &mut Families::default());
        assert!(
            made.bytes.len() * 2 < buffered.len(),
            "{} of {}",
            made.bytes.len(),
            buffered.len()
        );
    }
}
