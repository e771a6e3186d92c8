use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// The label that holds the metric name.
pub const METRIC_NAME: &str = "__name__";
/// The upper bound of a classic histogram's bucket.
pub const BUCKET_LABEL: &str = "le";
/// The quantile of a summary's series.
pub const QUANTILE_LABEL: &str = "quantile";
/// The name of an alert.
pub const ALERT_NAME: &str = "alertname";
/// The scrape job that a series came from.
pub const JOB: &str = "job";
/// The target that a series came from.
pub const INSTANCE: &str = "instance";
/// The branch office that a series came from.
pub const BRANCH: &str = "branch";

/// A set of labels: sorted by name (bytes), names unique and not empty, no empty values (an empty value means
/// "no such label" in Prometheus). Cloning is cheap. Equal sets have equal [bytes](LabelSet::as_bytes).
///
/// Order is that of Prometheus: by the first differing name, then value; a prefix comes first.
//
// One allocation for the whole set. The text is a row of length-prefixed strings, name, value, name, value…;
// a length is written in base 64 with the low digit first, a digit is one ASCII byte, and bit 6 says that more
// follow: so the text as a whole is UTF-8, and slicing it needs no unsafe code.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct LabelSet {
    text: Arc<str>,
}

/// Why labels do not make a set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LabelError {
    /// The same name twice.
    #[error("duplicate label name {name:?}: send every label once")]
    DuplicateName {
        /// The name.
        name: String,
    },
    /// A label without a name.
    #[error("label with an empty name (value {value:?}): give it a name or leave it out")]
    EmptyName {
        /// The value that stood with it.
        value: String,
    },
    /// A series needs a metric name.
    #[error("no metric name: every series needs a non-empty __name__ label")]
    NoMetricName,
}

impl LabelSet {
    /// The set without labels.
    pub fn empty() -> Self {
        LabelSet {
            text: Arc::from(""),
        }
    }

    /// A set of the pairs, which may come in any order; pairs with an empty value are left out.
    ///
    /// # Errors
    /// A name that occurs twice (also when one of its values is empty), or an empty name.
    pub fn from_pairs<N, V>(pairs: impl IntoIterator<Item = (N, V)>) -> Result<Self, LabelError>
    where
        N: AsRef<str>,
        V: AsRef<str>,
    {
        let mut pairs: Vec<(N, V)> = pairs.into_iter().collect();
        if !pairs.is_sorted_by(|a, b| a.0.as_ref() < b.0.as_ref()) {
            pairs.sort_by(|a, b| a.0.as_ref().cmp(b.0.as_ref()));
        }
        let mut text = String::with_capacity(
            pairs
                .iter()
                .map(|(n, v)| n.as_ref().len() + v.as_ref().len() + 2)
                .sum(),
        );
        let mut previous: Option<&str> = None;
        for (name, value) in &pairs {
            let (name, value) = (name.as_ref(), value.as_ref());
            if name.is_empty() {
                return Err(LabelError::EmptyName {
                    value: value.to_owned(),
                });
            }
            if previous == Some(name) {
                return Err(LabelError::DuplicateName {
                    name: name.to_owned(),
                });
            }
            previous = Some(name);
            if !value.is_empty() {
                push(&mut text, name);
                push(&mut text, value);
            }
        }
        Ok(LabelSet { text: text.into() })
    }

    /// The value of the label, if it is there.
    pub fn get(&self, name: &str) -> Option<&str> {
        for (n, value) in self.iter() {
            match n.cmp(name) {
                Ordering::Less => {}
                Ordering::Equal => return Some(value),
                Ordering::Greater => return None,
            }
        }
        None
    }

    /// The metric name, if there is one.
    pub fn name(&self) -> Option<&str> {
        self.get(METRIC_NAME)
    }

    /// The labels in order of their names.
    pub fn iter(&self) -> Iter<'_> {
        Iter { rest: &self.text }
    }

    /// The labels in order of their names, each with its part of the [bytes](LabelSet::as_bytes).
    pub fn encoded(&self) -> impl Iterator<Item = EncodedLabel<'_>> {
        let mut rest = &*self.text;
        std::iter::from_fn(move || {
            let all = rest;
            let (name, value);
            (name, rest) = (!rest.is_empty()).then(|| split(rest))?;
            (value, rest) = split(rest);
            Some(EncodedLabel {
                name,
                value,
                text: &all[..all.len() - rest.len()],
            })
        })
    }

    /// How many labels.
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Whether there is no label at all.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// A canonical encoding: equal sets, and only they, have equal bytes. Not a disk or wire format.
    pub fn as_bytes(&self) -> &[u8] {
        self.text.as_bytes()
    }

    /// A builder that starts with these labels.
    pub fn builder(&self) -> LabelSetBuilder {
        LabelSetBuilder {
            labels: self
                .iter()
                .map(|(n, v)| (n.to_owned(), v.to_owned()))
                .collect(),
        }
    }

    /// The set without the labels that `keep` refuses.
    #[must_use]
    pub fn retain(&self, mut keep: impl FnMut(&str) -> bool) -> LabelSet {
        let mut text = String::with_capacity(self.text.len());
        for (name, value) in self.iter() {
            if keep(name) {
                push(&mut text, name);
                push(&mut text, value);
            }
        }
        LabelSet { text: text.into() }
    }

    /// The set with those of `others` whose names it lacks: external labels, for example.
    #[must_use]
    pub fn filled_from(&self, others: &LabelSet) -> LabelSet {
        if others.iter().all(|(name, _)| self.get(name).is_some()) {
            return self.clone();
        }
        let mut builder = self.builder();
        for (name, value) in others.iter() {
            if self.get(name).is_none() {
                builder.set(name, value);
            }
        }
        builder.build()
    }

    /// The set without its metric name.
    #[must_use]
    pub fn without_name(&self) -> LabelSet {
        self.retain(|name| name != METRIC_NAME)
    }

    /// 64-bit FNV-1a over names and values, each ended by byte 255: the fingerprint of Prometheus and
    /// Alertmanager (`prometheus/common` `model/signature.go`). For naming things, not for telling hostile
    /// label sets apart.
    pub fn fingerprint(&self) -> u64 {
        const OFFSET: u64 = 14_695_981_039_346_656_037;
        const PRIME: u64 = 1_099_511_628_211;
        let mut hash = OFFSET;
        let mut add = |bytes: &[u8]| {
            for byte in bytes.iter().chain(&[255]) {
                hash = (hash ^ u64::from(*byte)).wrapping_mul(PRIME);
            }
        };
        for (name, value) in self.iter() {
            add(name.as_bytes());
            add(value.as_bytes());
        }
        hash
    }
}

impl Default for LabelSet {
    fn default() -> Self {
        LabelSet::empty()
    }
}

impl PartialOrd for LabelSet {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for LabelSet {
    fn cmp(&self, other: &Self) -> Ordering {
        self.iter().cmp(other.iter())
    }
}

impl fmt::Debug for LabelSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for LabelSet {
    /// As Prometheus prints a series: `up{branch="b07", job="node"}`; a metric or label name outside the
    /// classic characters stands quoted inside the braces.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name();
        let bare = name.filter(|n| is_legacy_metric_name(n));
        if let Some(name) = bare {
            f.write_str(name)?;
            if self.len() == 1 {
                return Ok(());
            }
        }
        f.write_str("{")?;
        let mut separator = "";
        if let (Some(name), None) = (name, bare) {
            write_quoted(f, name)?;
            separator = ", ";
        }
        for (label, value) in self.iter().filter(|(label, _)| *label != METRIC_NAME) {
            f.write_str(separator)?;
            separator = ", ";
            if is_legacy_label_name(label) {
                f.write_str(label)?;
            } else {
                write_quoted(f, label)?;
            }
            f.write_str("=")?;
            write_quoted(f, value)?;
        }
        f.write_str("}")
    }
}

/// A label, and how it stands in a [`LabelSet`].
#[derive(Clone, Copy, Debug)]
pub struct EncodedLabel<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its value.
    pub value: &'a str,
    /// Equal for equal labels, and only for them.
    pub text: &'a str,
}

/// Appends a label as [`EncodedLabel::text`] has it.
pub fn encode_label(text: &mut String, name: &str, value: &str) {
    push(text, name);
    push(text, value);
}

/// Makes a [`LabelSet`] of labels that come in order already, as those of most senders do: each is looked at once.
#[derive(Clone, Debug, Default)]
pub struct SortedLabels {
    text: String,
    /// Where in `text` the last name is.
    last: std::ops::Range<usize>,
}

impl SortedLabels {
    /// With room for so many bytes of names and values.
    pub fn with_capacity(bytes: usize) -> Self {
        SortedLabels {
            text: String::with_capacity(bytes),
            last: 0..0,
        }
    }

    /// Adds a label; whether that was possible: its name comes after the last one's, and its value is not empty.
    #[must_use]
    pub fn push(&mut self, name: &str, value: &str) -> bool {
        if value.is_empty() || name <= &self.text[self.last.clone()] {
            return false;
        }
        push(&mut self.text, name);
        self.last = self.text.len() - name.len()..self.text.len();
        push(&mut self.text, value);
        true
    }

    /// The set.
    pub fn finish(self) -> LabelSet {
        LabelSet {
            text: self.text.into(),
        }
    }
}

impl<'a> IntoIterator for &'a LabelSet {
    type Item = (&'a str, &'a str);
    type IntoIter = Iter<'a>;
    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

/// The labels of a [`LabelSet`] in order.
#[derive(Clone, Debug)]
pub struct Iter<'a> {
    rest: &'a str,
}

impl<'a> Iterator for Iter<'a> {
    type Item = (&'a str, &'a str);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let (name, rest) = split(self.rest);
        let (value, rest) = split(rest);
        self.rest = rest;
        Some((name, value))
    }
}

/// Collects changes to a label set.
#[derive(Clone, Debug, Default)]
pub struct LabelSetBuilder {
    labels: BTreeMap<String, String>,
}

impl LabelSetBuilder {
    /// Sets a label; an empty value removes it.
    pub fn set(&mut self, name: impl Into<String>, value: impl Into<String>) -> &mut Self {
        let (name, value) = (name.into(), value.into());
        if value.is_empty() || name.is_empty() {
            self.labels.remove(&name);
        } else {
            self.labels.insert(name, value);
        }
        self
    }

    /// Removes a label.
    pub fn del(&mut self, name: &str) -> &mut Self {
        self.labels.remove(name);
        self
    }

    /// The value that the label has now.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.labels.get(name).map(String::as_str)
    }

    /// The labels as they are now, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.labels.iter().map(|(n, v)| (n.as_str(), v.as_str()))
    }

    /// Keeps only the labels that `keep` takes.
    pub fn retain(&mut self, mut keep: impl FnMut(&str) -> bool) -> &mut Self {
        self.labels.retain(|name, _| keep(name));
        self
    }

    /// The label set.
    pub fn build(&self) -> LabelSet {
        let mut text = String::new();
        for (name, value) in &self.labels {
            push(&mut text, name);
            push(&mut text, value);
        }
        LabelSet { text: text.into() }
    }
}

/// `[a-zA-Z_][a-zA-Z0-9_]*`: a label name that needs no quotes in PromQL.
pub fn is_legacy_label_name(name: &str) -> bool {
    is_word(name, |byte| byte.is_ascii_alphabetic() || byte == b'_')
}

/// `[a-zA-Z_:][a-zA-Z0-9_:]*`: a metric name that needs no quotes in PromQL.
pub fn is_legacy_metric_name(name: &str) -> bool {
    is_word(name, |byte| {
        byte.is_ascii_alphabetic() || byte == b'_' || byte == b':'
    })
}

fn is_word(name: &str, letter: impl Fn(u8) -> bool) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(&letter) && bytes.all(|byte| letter(byte) || byte.is_ascii_digit())
}

fn write_quoted(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    f.write_str("\"")?;
    for c in text.chars() {
        match c {
            '"' => f.write_str("\\\"")?,
            '\\' => f.write_str("\\\\")?,
            '\n' => f.write_str("\\n")?,
            '\t' => f.write_str("\\t")?,
            '\r' => f.write_str("\\r")?,
            c if (c as u32) < 0x20 || c as u32 == 0x7f => write!(f, "\\x{:02x}", c as u32)?,
            c => write!(f, "{c}")?,
        }
    }
    f.write_str("\"")
}

const MORE: u8 = 0x40;

fn push(text: &mut String, item: &str) {
    let mut rest = item.len();
    loop {
        let digit = (rest & 0x3f) as u8;
        rest >>= 6;
        if rest == 0 {
            text.push(char::from(digit));
            break;
        }
        text.push(char::from(digit | MORE));
    }
    text.push_str(item);
}

#[inline]
fn split(text: &str) -> (&str, &str) {
    // Nearly always one digit.
    match text.as_bytes().first() {
        Some(length) if length & MORE == 0 => text[1..].split_at(usize::from(*length)),
        _ => split_long(text),
    }
}

fn split_long(text: &str) -> (&str, &str) {
    let (mut length, mut shift) = (0, 0);
    for (at, byte) in text.bytes().enumerate() {
        length |= usize::from(byte & !MORE) << shift;
        shift += 6;
        if byte & MORE == 0 {
            return text[at + 1..].split_at(length);
        }
    }
    unreachable!("a label set's text is written by push, which ends every length")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn set(pairs: &[(&str, &str)]) -> LabelSet {
        LabelSet::from_pairs(pairs.iter().copied()).unwrap()
    }

    #[test]
    fn sorts_and_drops_empty_values() {
        let labels = set(&[("job", "node"), ("__name__", "up"), ("gone", "")]);
        assert_eq!(
            labels.iter().collect::<Vec<_>>(),
            [("__name__", "up"), ("job", "node")]
        );
        assert_eq!(
            (labels.get("job"), labels.get("gone"), labels.get("zz")),
            (Some("node"), None, None)
        );
        assert_eq!(labels.name(), Some("up"));
    }

    #[test]
    fn labels_in_order_make_the_same_set() {
        let long = "v".repeat(200);
        let pairs = [
            ("", "x"),
            ("a", "1"),
            ("a", "2"),
            ("c", ""),
            ("b", &long),
            ("a", "3"),
        ];
        let mut sorted = SortedLabels::with_capacity(0);
        let taken = pairs.map(|(name, value)| sorted.push(name, value));
        assert_eq!(taken, [false, true, false, false, true, false]);
        let expected = set(&[("a", "1"), ("b", &long)]);
        let labels = sorted.finish();
        assert_eq!(labels, expected);
        let (mut text, mut again) = (String::new(), String::new());
        for label in labels.encoded() {
            assert_eq!(expected.get(label.name), Some(label.value));
            text.push_str(label.text);
            encode_label(&mut again, label.name, label.value);
        }
        assert_eq!((text.as_bytes(), &again), (labels.as_bytes(), &text));
    }

    #[test]
    fn refuses_what_is_not_a_set() {
        let twice = LabelSet::from_pairs([("a", "1"), ("b", "2"), ("a", "")]);
        assert_eq!(twice, Err(LabelError::DuplicateName { name: "a".into() }));
        assert_eq!(
            LabelSet::from_pairs([("", "1")]),
            Err(LabelError::EmptyName { value: "1".into() })
        );
    }

    #[test]
    fn prints_as_prometheus_does() {
        let check = |pairs: &[(&str, &str)], text: &str| assert_eq!(set(pairs).to_string(), text);
        check(&[], "{}");
        check(&[("__name__", "up")], "up");
        check(&[("a", "x\"y\\z\n")], r#"{a="x\"y\\z\n"}"#);
        check(&[("__name__", "a:b"), ("x.y", "1")], r#"a:b{"x.y"="1"}"#);
        check(&[("__name__", "a.b"), ("c", "1")], r#"{"a.b", c="1"}"#);
    }

    #[test]
    fn long_strings_and_any_text() {
        let long = "ä\u{7f}€".repeat(5000);
        let labels = set(&[("k", &long), ("z", "1")]);
        assert_eq!(
            (labels.get("k"), labels.get("z")),
            (Some(long.as_str()), Some("1"))
        );
    }

    #[test]
    fn fingerprint_of_the_empty_set_is_fnvs_offset() {
        // The reference value of prometheus/common: the hash of nothing.
        assert_eq!(LabelSet::empty().fingerprint(), 14_695_981_039_346_656_037);
        assert_ne!(
            set(&[("a", "bc")]).fingerprint(),
            set(&[("ab", "c")]).fingerprint()
        );
    }

    #[test]
    fn orders_as_prometheus_does() {
        assert!(set(&[("a", "1")]) < set(&[("a", "1"), ("b", "1")]));
        assert!(set(&[("a", "2")]) > set(&[("a", "1"), ("b", "1")]));
        assert!(set(&[("a", "2")]) < set(&[("b", "1")]));
    }

    proptest! {
        #[test]
        fn keeps_what_was_given(map in proptest::collection::btree_map(".{1,80}", ".{1,200}", 0..8)) {
            let labels = LabelSet::from_pairs(&map).unwrap();
            let back: BTreeMap<String, String> = labels.iter().map(|(n, v)| (n.into(), v.into())).collect();
            prop_assert_eq!(&back, &map);
            prop_assert_eq!(labels.builder().build(), labels.clone());
            prop_assert_eq!(labels.len(), map.len());
        }

        #[test]
        fn bytes_tell_sets_apart(
            a in proptest::collection::btree_map("[ab]{1,2}", "[ab]{1,2}", 0..3),
            b in proptest::collection::btree_map("[ab]{1,2}", "[ab]{1,2}", 0..3),
        ) {
            let (x, y) = (LabelSet::from_pairs(&a).unwrap(), LabelSet::from_pairs(&b).unwrap());
            prop_assert_eq!(a == b, x.as_bytes() == y.as_bytes());
            prop_assert_eq!(x.cmp(&y), a.iter().cmp(b.iter()));
        }
    }
}
