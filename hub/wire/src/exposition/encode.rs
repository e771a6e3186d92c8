use std::fmt::Write;

use model::{
    Histogram, INSTANCE, LabelSet, METRIC_NAME, MetricType, Timestamp, is_legacy_label_name,
    is_legacy_metric_name,
};

use super::delimited::cumulative;
use super::number::format_float;

/// Writes the classic text format.
///
/// Samples of one metric name should come one after the other: a `# TYPE` line is written whenever the name changes.
#[derive(Debug)]
pub struct Encoder {
    out: String,
    utf8_names: bool,
    family: Option<(String, MetricType)>,
}

impl Encoder {
    /// An empty text. Without `utf8_names`, characters that the classic format does not know in names are written as
    /// `_`; with it such names stand in quotes.
    pub fn new(utf8_names: bool) -> Self {
        Encoder {
            out: String::new(),
            utf8_names,
            family: None,
        }
    }

    /// Writes a family's `# HELP` and `# TYPE` lines; an empty help text is left out. Samples that follow until the next
    /// call belong to it, whatever their names (`_bucket`, `_sum`…).
    pub fn family(&mut self, name: &str, kind: MetricType, help: &str) {
        let name = self.name(name, is_legacy_metric_name);
        if !help.is_empty() {
            let _ = write!(self.out, "# HELP {name} ");
            push_escaped(&mut self.out, help, false);
            self.out.push('\n');
        }
        let _ = writeln!(self.out, "# TYPE {name} {}", word(kind));
        self.family = None;
    }

    /// Writes a sample below the family written before it.
    pub fn sample(&mut self, labels: &LabelSet, value: f64, at: Option<Timestamp>) {
        self.write(labels, None, value, at);
    }

    /// `empty` is a label written with an empty value, which a label set cannot hold.
    fn write(&mut self, labels: &LabelSet, empty: Option<&str>, value: f64, at: Option<Timestamp>) {
        let name = labels.name().unwrap_or_default();
        let bare = is_legacy_metric_name(name) || !self.utf8_names;
        let mut separator = if bare {
            let name = self.name(name, is_legacy_metric_name);
            self.out.push_str(&name);
            "{"
        } else {
            self.out.push('{');
            let name = self.name(name, is_legacy_metric_name);
            self.out.push_str(&name);
            ","
        };
        let mut braces = !bare;
        let others = labels.iter().filter(|(label, _)| *label != METRIC_NAME);
        for (label, value) in others.chain(empty.map(|label| (label, ""))) {
            braces = true;
            self.out.push_str(separator);
            separator = ",";
            let label = self.name(label, is_legacy_label_name);
            let _ = write!(self.out, "{label}=\"");
            push_escaped(&mut self.out, value, true);
            self.out.push('"');
        }
        if braces {
            self.out.push('}');
        }
        let _ = write!(self.out, " {}", format_float(value));
        if let Some(at) = at {
            let _ = write!(self.out, " {}", at.millis());
        }
        self.out.push('\n');
    }

    /// Writes a sample and, when its name is another than the last one's, a `# TYPE` line above it: the form of
    /// `/federate`, where every metric name is a family of its own. A series without an instance gets `instance=""`, so
    /// that the scraper does not give it the instance of the federating server.
    pub fn federated(
        &mut self,
        kind: MetricType,
        labels: &LabelSet,
        value: f64,
        at: Option<Timestamp>,
    ) {
        let name = labels.name().unwrap_or_default();
        self.federated_family(name, kind);
        self.write_with_instance(labels, value, at);
    }

    /// Writes a sample below the family written before it, as somebody handed it over for others: without an instance it
    /// gets `instance=""`, so that it is not taken for the handing process's own.
    pub fn passed_on(&mut self, labels: &LabelSet, value: f64) {
        self.write_with_instance(labels, value, None);
    }

    fn write_with_instance(&mut self, labels: &LabelSet, value: f64, at: Option<Timestamp>) {
        let no_instance = labels.get(INSTANCE).is_none();
        self.write(labels, no_instance.then_some(INSTANCE), value, at);
    }

    /// The same for a native histogram with custom bounds, as a classic one; others have no place in this format.
    pub fn federated_custom(&mut self, labels: &LabelSet, value: &Histogram, at: Timestamp) {
        let name = labels.name().unwrap_or_default();
        self.federated_family(name, MetricType::Histogram);
        let no_instance = labels.get(INSTANCE).is_none().then_some(INSTANCE);
        let infinite = (f64::INFINITY, value.count);
        for (bound, count) in cumulative(value).into_iter().chain([infinite]) {
            let mut bucket = labels.builder();
            bucket.set(METRIC_NAME, format!("{name}_bucket"));
            bucket.set("le", format_float(bound));
            self.write(&bucket.build(), no_instance, count, Some(at));
        }
        for (suffix, value) in [("sum", value.sum), ("count", value.count)] {
            let mut part = labels.builder();
            part.set(METRIC_NAME, format!("{name}_{suffix}"));
            self.write(&part.build(), no_instance, value, Some(at));
        }
    }

    fn federated_family(&mut self, name: &str, kind: MetricType) {
        let same = |(last, of): &(String, MetricType)| last == name && *of == kind;
        if !self.family.as_ref().is_some_and(same) {
            self.family(name, kind, "");
            self.family = Some((name.to_owned(), kind));
        }
    }

    /// The text so far, in bytes.
    pub fn len(&self) -> usize {
        self.out.len()
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.out.is_empty()
    }

    /// The text.
    pub fn finish(self) -> String {
        self.out
    }

    /// A name as it may be written: as it is, in quotes, or with `_` for what the format does not know.
    fn name(&self, name: &str, is_legacy: fn(&str) -> bool) -> String {
        if is_legacy(name) {
            return name.to_owned();
        }
        if self.utf8_names {
            let mut quoted = String::with_capacity(name.len() + 2);
            quoted.push('"');
            push_escaped(&mut quoted, name, true);
            quoted.push('"');
            return quoted;
        }
        escaped_name(name, is_legacy)
    }
}

/// A name with `_` for what classic names do not have.
pub(super) fn escaped_name(name: &str, is_legacy: fn(&str) -> bool) -> String {
    let known = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let mut escaped: String = name
        .chars()
        .map(|c| if known(c) { c } else { '_' })
        .collect();
    if !is_legacy(&escaped) {
        escaped = escaped.replace(':', "_");
        escaped.insert(0, '_');
    }
    escaped
}

/// The classic format's word: it knows four types and `untyped`.
fn word(kind: MetricType) -> &'static str {
    match kind {
        MetricType::Counter => "counter",
        MetricType::Gauge | MetricType::Info | MetricType::StateSet => "gauge",
        MetricType::Histogram | MetricType::GaugeHistogram => "histogram",
        MetricType::Summary => "summary",
        MetricType::Unknown => "untyped",
    }
}

fn push_escaped(out: &mut String, text: &str, quotes: bool) {
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '"' if quotes => out.push_str("\\\""),
            c => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Entry, Format, Parser};
    use super::*;
    use proptest::prelude::*;

    fn set(pairs: &[(&str, &str)]) -> LabelSet {
        LabelSet::from_pairs(pairs.iter().copied()).unwrap()
    }

    #[test]
    fn federate_page() {
        let mut page = Encoder::new(true);
        let at = Some(Timestamp::from_millis(1_700_000_000_000));
        page.federated(
            MetricType::Unknown,
            &set(&[("__name__", "a"), ("instance", "i"), ("x", "1\"\n\\")]),
            1e6,
            at,
        );
        page.federated(
            MetricType::Unknown,
            &set(&[("__name__", "a")]),
            f64::NAN,
            None,
        );
        page.federated(
            MetricType::Unknown,
            &set(&[("__name__", "b.c"), ("d e", "1")]),
            0.5,
            at,
        );
        page.federated(MetricType::Unknown, &set(&[("__name__", "b.d")]), 0.5, None);
        let expected = "# TYPE a untyped\na{instance=\"i\",x=\"1\\\"\\n\\\\\"} 1e+06 1700000000000\n\
            a{instance=\"\"} NaN\n\
            # TYPE \"b.c\" untyped\n{\"b.c\",\"d e\"=\"1\",instance=\"\"} 0.5 1700000000000\n\
            # TYPE \"b.d\" untyped\n{\"b.d\",instance=\"\"} 0.5\n";
        assert_eq!(page.finish(), expected);
    }

    #[test]
    fn names_for_old_readers() {
        let mut page = Encoder::new(false);
        page.family("b.c", MetricType::Counter, "a \\ b\nc \"d\"");
        page.sample(&set(&[("__name__", "b.c"), ("1é:", "1")]), 1.0, None);
        assert_eq!(
            page.finish(),
            "# HELP b_c a \\\\ b\\nc \"d\"\n# TYPE b_c counter\nb_c{_1__=\"1\"} 1\n"
        );
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(
            // A page cannot hold NUL.
            labels in proptest::collection::btree_map("[^\\x00]{1,8}", "[^\\x00]{1,12}", 0..5),
            name in "[^\\x00]{1,8}",
            bits in any::<u64>(),
            at in proptest::option::of(0..i64::MAX),
        ) {
            let labels = LabelSet::from_pairs(&labels).unwrap().builder().set("__name__", name).build();
            let mut page = Encoder::new(true);
            page.federated(MetricType::Gauge, &labels, f64::from_bits(bits), at.map(Timestamp::from_millis));
            let page = page.finish();
            let mut parser = Parser::new(Format::Classic, page.as_bytes());
            parser.next_entry().unwrap();
            let Some(Entry::Sample(sample)) = parser.next_entry().unwrap() else { panic!("{page}") };
            prop_assert_eq!(sample.labels.to_label_set().unwrap(), labels);
            prop_assert!(sample.value.to_bits() == bits || sample.value.is_nan() && f64::from_bits(bits).is_nan());
            prop_assert_eq!(sample.timestamp.map(Timestamp::millis), at);
            prop_assert!(parser.next_entry().unwrap().is_none());
        }
    }
}
