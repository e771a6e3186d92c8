//! One group: what was pushed under one key, and how it is kept on disk.
//!
//! ```text
//! # branchline-push-group 1
//! # {"labels":{"job":"backup"},"pushed":1700000000000,"failed":0}
//! # native CgcKBQ…           native histograms, if there are some: a remote-write request in base64
//! the families, in the classic text format
//! # crc32c 0f3a9b21          of all bytes before this line
//! ```
//!
//! Times are in ms since 1970, 0 for never. A release from before native histograms reads the rest.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use model::{LabelSet, Metadata, MetricType, Sample, Timestamp, Value};
use serde::{Deserialize, Serialize};
use wire::exposition::Encoder;
use wire::remote_write::convert::{append_series, series_from_proto};
use wire::remote_write::{Limits, decode_message};

use super::super::families::{self, Families};

const TITLE: &str = "# branchline-push-group 1\n";
const NATIVE: &str = "# native ";
const CHECKSUM: &str = "# crc32c ";
/// The series that tell when a group was pushed last, and when one last failed; nobody else's are taken.
pub(super) const PUSHED: &str = "push_time_seconds";
pub(super) const FAILED: &str = "push_failure_time_seconds";

/// A group of pushed metrics.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Group {
    /// Its key, `job` among them.
    pub(super) labels: LabelSet,
    /// When a push last succeeded.
    pub(super) pushed: Option<Timestamp>,
    /// When one last failed.
    pub(super) failed: Option<Timestamp>,
    /// With the key's labels on every series.
    pub(super) families: Families,
    /// Bytes of the families as text: what it takes of the gateway's room.
    pub(super) bytes: usize,
}

#[derive(Serialize, Deserialize)]
struct Head {
    labels: BTreeMap<String, String>,
    pushed: i64,
    failed: i64,
}

impl Group {
    pub(super) fn new(labels: LabelSet) -> Group {
        Group {
            labels,
            pushed: None,
            failed: None,
            families: Families::new(),
            bytes: 0,
        }
    }

    /// Puts families in the place of those of the same name, or of all.
    ///
    /// # Errors
    /// Two series that the key's labels make one.
    pub(super) fn put(&mut self, mut pushed: Families, replace_all: bool) -> Result<(), String> {
        pushed.remove(PUSHED);
        pushed.remove(FAILED);
        for family in pushed.values_mut() {
            let mut seen = std::collections::BTreeSet::new();
            let samples = family.samples.iter_mut().map(|(labels, _)| labels);
            let natives = family.natives.iter_mut().map(|(labels, _)| labels);
            for labels in samples.chain(natives) {
                let mut builder = labels.builder();
                for (name, value) in self.labels.iter() {
                    builder.set(name, value);
                }
                *labels = builder.build();
                if !seen.insert(labels.clone()) {
                    return Err(families::twice(labels));
                }
            }
        }
        if replace_all {
            self.families.clear();
        }
        self.families.append(&mut pushed);
        self.bytes = self.text().len() + self.natives().len();
        Ok(())
    }

    /// When it was pushed, and when that failed, as series.
    pub(super) fn times(&self) -> [(&'static str, LabelSet, f64); 2] {
        let series = |name: &'static str, at: Option<Timestamp>| {
            let labels = self.labels.builder().set(model::METRIC_NAME, name).build();
            (name, labels, at.map_or(0.0, Timestamp::seconds_f64))
        };
        [series(PUSHED, self.pushed), series(FAILED, self.failed)]
    }

    /// The families as text.
    fn text(&self) -> String {
        let mut page = Encoder::new(true);
        for (name, family) in &self.families {
            page.family(name, family.about.kind, &family.about.help);
            for (labels, value) in &family.samples {
                page.sample(labels, *value, None);
            }
        }
        page.finish()
    }

    /// The native histograms as a message, empty if there are none.
    fn natives(&self) -> Vec<u8> {
        let mut message = Vec::new();
        for (labels, value) in self.families.values().flat_map(|family| &family.natives) {
            let sample = Sample {
                at: Timestamp::from_millis(0),
                start: None,
                value: Value::Histogram(Arc::clone(value)),
            };
            append_series(&mut message, labels, &[sample]);
        }
        message
    }

    /// The file.
    pub(super) fn encode(&self) -> Vec<u8> {
        let millis = |at: Option<Timestamp>| at.map_or(0, Timestamp::millis);
        let labels = self.labels.iter();
        let head = Head {
            labels: labels
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            pushed: millis(self.pushed),
            failed: millis(self.failed),
        };
        // A map of strings and two numbers is always JSON.
        let head = serde_json::to_string(&head).unwrap_or_default();
        let natives = match self.natives() {
            none if none.is_empty() => String::new(),
            some => format!("{NATIVE}{}\n", STANDARD.encode(some)),
        };
        let mut file = format!("{TITLE}# {head}\n{natives}{}", self.text());
        let checksum = crc32c::crc32c(file.as_bytes());
        file.push_str(&format!("{CHECKSUM}{checksum:08x}\n"));
        file.into_bytes()
    }

    /// Reads the file.
    ///
    /// # Errors
    /// What is damaged.
    pub(super) fn decode(bytes: &[u8]) -> Result<Group, String> {
        let text = std::str::from_utf8(bytes).map_err(|_| "it is not UTF-8")?;
        let end = text.rfind(CHECKSUM).ok_or("it has no checksum")?;
        let (body, checksum) = text.split_at(end);
        let said = checksum[CHECKSUM.len()..].trim_end();
        if u32::from_str_radix(said, 16) != Ok(crc32c::crc32c(body.as_bytes())) {
            return Err("its checksum is wrong".to_owned());
        }
        let body = body
            .strip_prefix(TITLE)
            .ok_or("it is of another version")?
            .strip_prefix("# ")
            .ok_or("it has no head")?;
        let (head, body) = body.split_once('\n').ok_or("it has no head")?;
        let head: Head = serde_json::from_str(head).map_err(|error| error.to_string())?;
        let labels = LabelSet::from_pairs(&head.labels).map_err(|error| error.to_string())?;
        let at = |millis: i64| (millis != 0).then(|| Timestamp::from_millis(millis));
        let (natives, text) = match body.strip_prefix(NATIVE) {
            None => (Vec::new(), body),
            Some(rest) => {
                let (natives, text) = rest.split_once('\n').ok_or("it ends too early")?;
                let natives = STANDARD
                    .decode(natives)
                    .map_err(|error| error.to_string())?;
                (natives, text)
            }
        };
        let mut families =
            families::read_all(text.as_bytes()).map_err(|error| error.to_string())?;
        read_natives(&natives, &mut families)?;
        families.retain(|_, family| !family.is_empty());
        Ok(Group {
            labels,
            pushed: at(head.pushed),
            failed: at(head.failed),
            families,
            bytes: text.len() + natives.len(),
        })
    }
}

/// Puts the histograms of a message into their families.
fn read_natives(message: &[u8], families: &mut Families) -> Result<(), String> {
    let request = decode_message(message, &Limits::default()).map_err(|error| error.to_string())?;
    for series in &request.timeseries {
        let series = series_from_proto(series).map_err(|error| error.to_string())?;
        let name = series.labels.name().ok_or("a histogram without a name")?;
        let family = families.entry(name.to_owned()).or_default();
        for sample in series.samples {
            if let Value::Histogram(value) = sample.value {
                family.natives.push((series.labels.clone(), value));
            }
        }
    }
    Ok(())
}

/// What is said of the two series about pushes, in the Pushgateway's words.
pub(super) fn about_times(name: &str) -> Metadata {
    let end = match name {
        PUSHED => "succeeded",
        _ => "failed",
    };
    Metadata {
        kind: MetricType::Gauge,
        help: format!("Last Unix time when changing this group in the Pushgateway {end}."),
        unit: String::new(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// What is taken is read from its file as it was.
        #[test]
        fn texts_survive_the_disk(text in r#"(# TYPE a (counter|gauge|histogram)\n|a(_sum|_bucket|_count)?(\{b="[a-z\\\\n]{0,4}"\})? [0-9]{1,3}\n|\PC){0,12}"#) {
            let mut group = Group::new(LabelSet::from_pairs([("job", "j")]).unwrap());
            if let Ok(families) = families::read(text.as_bytes())
                && group.put(families, true).is_ok()
                && super::super::State::default().consistent(&group).is_ok()
            {
                let read = Group::decode(&group.encode()).unwrap();
                prop_assert_eq!(read.encode(), group.encode());
            }
        }
    }

    #[test]
    fn a_file_is_read_as_it_was_written_and_damage_is_seen() {
        let mut group =
            Group::new(LabelSet::from_pairs([("job", "a\nb"), ("path", "/x")]).unwrap());
        let text = "# TYPE d histogram\n# HELP d of\\nlines\nd_bucket{le=\"1\"} 1\nd_bucket{le=\"+Inf\"} 1\nd_sum 0.1\nd_count 1\n\
                    # TYPE n gauge\nn{job=\"other\",q=\"\\\"\"} NaN\npush_time_seconds 5\n";
        group
            .put(families::read(text.as_bytes()).unwrap(), true)
            .unwrap();
        group.pushed = Some(Timestamp::from_millis(1_700_000_000_123));
        assert!(!group.families.contains_key(PUSHED), "ours alone");
        let bytes = group.encode();
        let read = Group::decode(&bytes).unwrap();
        assert_eq!(read.encode(), bytes);
        assert_eq!(
            (&read.labels, read.pushed, read.bytes),
            (&group.labels, group.pushed, group.bytes)
        );
        assert_eq!(read.families["d"], group.families["d"]);
        for at in [0, 30, bytes.len() / 2, bytes.len() - 3] {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert!(Group::decode(&damaged).is_err(), "byte {at}");
        }
        assert!(Group::decode(&bytes[..bytes.len() - 20]).is_err());
    }

    #[test]
    fn native_histograms_are_kept_too() {
        let native = |sum: f64| {
            Arc::new(model::Histogram {
                schema: 3,
                count: 3.0,
                sum,
                positive: model::Buckets::from_indexed([(-2, 1.0), (7, 2.0)]),
                integer: true,
                ..model::Histogram::default()
            })
        };
        let labels = |x: &str| LabelSet::from_pairs([("__name__", "h"), ("x", x)]).unwrap();
        let family = families::Family {
            about: Metadata {
                kind: MetricType::Histogram,
                help: "of it".to_owned(),
                unit: String::new(),
            },
            samples: Vec::new(),
            natives: vec![(labels("1"), native(1.5)), (labels("2"), native(2.5))],
        };
        let mut group = Group::new(LabelSet::from_pairs([("job", "a")]).unwrap());
        let pushed = Families::from([("h".to_owned(), family)]);
        group.put(pushed.clone(), true).unwrap();
        let more = families::read(b"x 1\n").unwrap();
        group.put(more, false).unwrap();
        let read = Group::decode(&group.encode()).unwrap();
        assert_eq!((&read.families, read.bytes), (&group.families, group.bytes));
        let kept = &read.families["h"];
        assert_eq!((kept.natives.len(), kept.about.help.as_str()), (2, "of it"));
        assert_eq!(kept.natives[0].0.to_string(), r#"h{job="a", x="1"}"#);
        assert_eq!(kept.natives[1].1, native(2.5));
        // The key may make two of them one.
        let mut group = Group::new(LabelSet::from_pairs([("job", "a"), ("x", "1")]).unwrap());
        assert!(
            group
                .put(pushed, true)
                .unwrap_err()
                .contains("collected before")
        );
    }

    #[test]
    fn the_key_wins_and_may_make_two_series_one() {
        let mut group = Group::new(LabelSet::from_pairs([("job", "a"), ("x", "1")]).unwrap());
        let pushed = families::read(b"m{x=\"7\",job=\"b\"} 1\n").unwrap();
        group.put(pushed, true).unwrap();
        assert_eq!(
            group.families["m"].samples[0].0.to_string(),
            r#"m{job="a", x="1"}"#
        );
        let two = families::read(b"m{x=\"7\"} 1\nm{x=\"8\"} 1\n").unwrap();
        assert!(
            group
                .put(two, true)
                .unwrap_err()
                .contains("collected before")
        );
    }
}
