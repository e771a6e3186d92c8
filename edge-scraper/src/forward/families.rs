//! What is known of metric families: remote write 2.0 says it beside every series, the buffer only when it is new, has changed, or is an hour old.

use std::collections::HashMap;
use std::sync::Arc;

use model::{Metadata, MetricType};

/// Text of one generation, with what the maps take for an entry.
const BYTES_MAX: usize = 512 << 10;
const ENTRY_BYTES: usize = 128;

/// Endings of a family's series, and the types whose series have them.
const ENDINGS: [(&str, &[MetricType]); 7] = [
    (
        "_bucket",
        &[MetricType::Histogram, MetricType::GaugeHistogram],
    ),
    ("_count", &[MetricType::Histogram, MetricType::Summary]),
    ("_sum", &[MetricType::Histogram, MetricType::Summary]),
    ("_total", &[MetricType::Counter]),
    ("_info", &[MetricType::Info]),
    ("_gcount", &[MetricType::GaugeHistogram]),
    ("_gsum", &[MetricType::GaugeHistogram]),
];

/// The last metadata of each family, as far as there is room: what was neither told nor asked for during a whole generation is forgotten, and comes
/// again with the next scrape that hands it over.
#[derive(Debug, Default)]
pub(super) struct Families {
    young: HashMap<Box<str>, Arc<Metadata>>,
    old: HashMap<Box<str>, Arc<Metadata>>,
    young_bytes: usize,
}

impl Families {
    /// This is said of a family from now on.
    pub(super) fn learn(&mut self, family: String, metadata: Metadata) {
        self.old.remove(family.as_str());
        let metadata = match self.young.get(family.as_str()) {
            Some(known) if **known == metadata => return,
            _ => Arc::new(metadata),
        };
        self.keep(family.into(), metadata);
    }

    /// What is said of the family that a series of this name belongs to.
    pub(super) fn of(&mut self, name: &str) -> Option<Arc<Metadata>> {
        if let Some(metadata) = self.family(name) {
            return Some(metadata);
        }
        ENDINGS.iter().find_map(|(ending, kinds)| {
            let metadata = self.family(name.strip_suffix(ending)?)?;
            kinds.contains(&metadata.kind).then_some(metadata)
        })
    }

    fn family(&mut self, family: &str) -> Option<Arc<Metadata>> {
        if let Some(metadata) = self.young.get(family) {
            return Some(Arc::clone(metadata));
        }
        let (family, metadata) = self.old.remove_entry(family)?;
        self.keep(family, Arc::clone(&metadata));
        Some(metadata)
    }

    fn keep(&mut self, family: Box<str>, metadata: Arc<Metadata>) {
        let bytes = family.len() + metadata.help.len() + metadata.unit.len() + ENTRY_BYTES;
        if self.young_bytes + bytes > BYTES_MAX && !self.young.is_empty() {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
        // One that was there before counts twice: a family whose help changes all the time makes generations shorter, not larger.
        self.young_bytes += bytes;
        self.young.insert(family, metadata);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn about(kind: MetricType, help: &str) -> Metadata {
        Metadata {
            kind,
            help: help.to_owned(),
            unit: String::new(),
        }
    }

    #[test]
    fn series_find_their_family() {
        let mut families = Families::default();
        let mut learn = |family: &str, kind| families.learn(family.to_owned(), about(kind, family));
        learn("took", MetricType::Histogram);
        learn("took_count", MetricType::Gauge);
        learn("asked", MetricType::Counter);
        learn("size", MetricType::GaugeHistogram);
        learn("plain", MetricType::Gauge);
        let mut of = |name: &str| families.of(name).map(|found| found.help.clone());
        for (name, family) in [
            ("took_bucket", Some("took")),
            ("took", Some("took")),
            ("took_sum", Some("took")),
            ("took_count", Some("took_count")),
            ("took_total", None),
            ("asked_total", Some("asked")),
            ("size_gsum", Some("size")),
            ("size_sum", None),
            ("plain", Some("plain")),
            ("plain_total", None),
            ("_total", None),
        ] {
            assert_eq!(of(name).as_deref(), family, "{name}");
        }
        families.learn("plain".into(), about(MetricType::Gauge, "other"));
        assert_eq!(families.of("plain").unwrap().help, "other");
    }

    #[test]
    fn what_is_used_stays_and_the_room_is_bounded() {
        let mut families = Families::default();
        families.learn("used".into(), about(MetricType::Gauge, "x"));
        families.learn("forgotten".into(), about(MetricType::Gauge, "x"));
        let help = "x".repeat(1000);
        for n in 0..5_000 {
            families.learn(format!("family_{n}"), about(MetricType::Gauge, &help));
            assert!(families.of("used").is_some());
        }
        let bytes = |map: &HashMap<Box<str>, Arc<Metadata>>| -> usize {
            let entries = map.iter();
            entries
                .map(|(family, about)| family.len() + about.help.len())
                .sum()
        };
        assert!(bytes(&families.young) <= BYTES_MAX && bytes(&families.old) <= BYTES_MAX);
        assert!(families.of("forgotten").is_none());
        assert!(families.of("family_4999").is_some());
        // One that is larger than all the room is known until the next comes.
        families.learn(
            "large".into(),
            about(MetricType::Gauge, &"x".repeat(BYTES_MAX)),
        );
        assert!(families.of("large").is_some());
    }
}
