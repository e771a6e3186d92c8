use crate::{LabelSet, SortedLabels};

/// Label sets in a row, each kept as what differs from the one before it: a target's series have most of their labels in common, so one takes
/// a tenth of its text or so.
//
// A set whose names are those of the set before it: twice the bits of which values differ (the first label's is the lowest), plus one; then each of
// those values: how much of it begins like the one before, the length of the rest, the rest. Any other set: twice its number of labels; then each
// name and value, length first. Numbers have 7 bits a byte, the low ones first. Every 64th is of the second kind, so that no set is far
// from one that needs nothing else.
#[derive(Clone, Debug, Default)]
pub struct PackedLabels {
    bytes: Vec<u8>,
    /// Where each 64th set begins.
    whole: Vec<u32>,
    len: u32,
    text_bytes: usize,
}

const WHOLE_EVERY: usize = 64;
/// More labels do not fit into the bits of a number.
const LABELS_MAX: usize = 62;

impl PackedLabels {
    /// How many sets.
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes of the text of all sets.
    pub fn text_bytes(&self) -> usize {
        self.text_bytes
    }

    /// Bytes that it holds.
    pub fn held_bytes(&self) -> usize {
        self.bytes.capacity() + self.whole.capacity() * size_of::<u32>()
    }

    /// Appends sets in order.
    pub fn extend<'l>(&mut self, sets: impl IntoIterator<Item = &'l LabelSet>) {
        let last = self.len().checked_sub(1);
        let mut before = last.and_then(|last| self.get(last));
        for labels in sets {
            if self.len().is_multiple_of(WHOLE_EVERY) {
                self.whole.push(self.bytes.len() as u32);
                before = None;
            }
            match before.filter(|before| have_same_names(before, labels)) {
                Some(before) => self.put_difference(&before, labels),
                None => self.put_whole(labels),
            }
            self.len += 1;
            self.text_bytes += labels.as_bytes().len();
            before = Some(labels.clone());
        }
    }

    fn put_whole(&mut self, labels: &LabelSet) {
        put(&mut self.bytes, (labels.len() as u64) << 1);
        for text in labels.iter().flat_map(|(name, value)| [name, value]) {
            put_text(&mut self.bytes, text);
        }
    }

    fn put_difference(&mut self, before: &LabelSet, labels: &LabelSet) {
        let pairs = || {
            before
                .iter()
                .zip(labels)
                .map(|((_, old), (_, new))| (old, new))
        };
        let mut differ = 0;
        for (place, (old, new)) in pairs().enumerate() {
            differ |= u64::from(old != new) << place;
        }
        put(&mut self.bytes, differ << 1 | 1);
        for (old, new) in pairs().filter(|(old, new)| old != new) {
            let same = in_common(old, new);
            put(&mut self.bytes, same as u64);
            put_text(&mut self.bytes, &new[same..]);
        }
    }

    /// The set at a place.
    pub fn get(&self, place: usize) -> Option<LabelSet> {
        self.iter_from(place).next()
    }

    /// All sets from a place on.
    pub fn iter_from(&self, place: usize) -> impl Iterator<Item = LabelSet> {
        let whole = self.whole.get(place / WHOLE_EVERY).copied();
        let rest = whole.and_then(|at| self.bytes.get(at as usize..));
        let mut walk = Walk {
            rest: rest.unwrap_or_default(),
            labels: Vec::new(),
        };
        let skipped = (0..place % WHOLE_EVERY).all(|_| walk.step().is_some());
        let left = if skipped {
            self.len().saturating_sub(place)
        } else {
            0
        };
        (0..left).map_while(move |_| {
            walk.step()?;
            Some(walk.set())
        })
    }

    /// Gives back room that is not needed.
    pub fn shrink_to_fit(&mut self) {
        self.bytes.shrink_to_fit();
        self.whole.shrink_to_fit();
    }
}

impl<'l> FromIterator<&'l LabelSet> for PackedLabels {
    fn from_iter<I: IntoIterator<Item = &'l LabelSet>>(sets: I) -> PackedLabels {
        let mut packed = PackedLabels::default();
        packed.extend(sets);
        packed.shrink_to_fit();
        packed
    }
}

struct Walk<'p> {
    rest: &'p [u8],
    /// Of the set that was read last: names, which stand in the bytes, and values.
    labels: Vec<(&'p str, String)>,
}

impl<'p> Walk<'p> {
    /// Reads the next set.
    fn step(&mut self) -> Option<()> {
        let first = self.number()?;
        if first & 1 == 0 {
            self.labels.clear();
            for _ in 0..first >> 1 {
                let (name, value) = (self.text()?, self.text()?);
                self.labels.push((name, value.to_owned()));
            }
            return Some(());
        }
        let mut differ = first >> 1;
        while differ != 0 {
            let (same, rest) = (self.number()?, self.text()?);
            let (_, value) = self.labels.get_mut(differ.trailing_zeros() as usize)?;
            value.truncate(same as usize);
            value.push_str(rest);
            differ &= differ - 1;
        }
        Some(())
    }

    fn set(&self) -> LabelSet {
        let text = self.labels.iter();
        let text = text.map(|(name, value)| name.len() + value.len() + 2).sum();
        let mut labels = SortedLabels::with_capacity(text);
        for (name, value) in &self.labels {
            let _ = labels.push(name, value);
        }
        labels.finish()
    }

    fn number(&mut self) -> Option<u64> {
        let (mut number, mut shift) = (0, 0);
        loop {
            let (first, rest) = self.rest.split_first()?;
            self.rest = rest;
            number |= u64::from(first & 0x7f).checked_shl(shift)?;
            shift += 7;
            if first & 0x80 == 0 {
                return Some(number);
            }
        }
    }

    fn text(&mut self) -> Option<&'p str> {
        let length = self.number()?;
        let (text, rest) = self.rest.split_at_checked(length as usize)?;
        self.rest = rest;
        std::str::from_utf8(text).ok()
    }
}

fn have_same_names(before: &LabelSet, labels: &LabelSet) -> bool {
    let names = |labels: &LabelSet| labels.len() <= LABELS_MAX;
    names(labels)
        && before
            .iter()
            .map(|(name, _)| name)
            .eq(labels.iter().map(|(name, _)| name))
}

/// Bytes in common at the beginning; characters are not cut.
fn in_common(before: &str, text: &str) -> usize {
    let pairs = before.bytes().zip(text.bytes());
    let mut same = pairs.take_while(|(a, b)| a == b).count();
    while !before.is_char_boundary(same) || !text.is_char_boundary(same) {
        same -= 1;
    }
    same
}

fn put(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn put_text(bytes: &mut Vec<u8>, text: &str) {
    put(bytes, text.len() as u64);
    bytes.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sets(count: usize) -> Vec<LabelSet> {
        let set = |n: usize| {
            LabelSet::from_pairs([
                ("__name__", "http_requests_total".to_owned()),
                ("branch", "b07".to_owned()),
                ("code", ["200", "404", "500"][n % 3].to_owned()),
                ("instance", "10.7.0.11:9100".to_owned()),
                ("job", "shop".to_owned()),
                ("path", format!("/api/v1/orders/{}", n / 3)),
            ])
            .unwrap()
        };
        (0..count).map(set).collect()
    }

    #[test]
    fn takes_a_tenth_of_the_text() {
        let sets = sets(1000);
        let packed: PackedLabels = sets.iter().collect();
        assert_eq!(packed.len(), 1000);
        let text: usize = sets.iter().map(|labels| labels.as_bytes().len()).sum();
        assert_eq!(packed.text_bytes(), text);
        let held = packed.held_bytes();
        assert!(held < text / 8, "{held} bytes for {text}");
        for (place, labels) in sets.iter().enumerate() {
            assert_eq!(packed.get(place).as_ref(), Some(labels));
        }
        assert_eq!(packed.get(1000), None);
        assert_eq!(packed.iter_from(990).collect::<Vec<_>>(), sets[990..]);
        assert_eq!(packed.iter_from(1001).count(), 0);
    }

    #[test]
    fn grows() {
        let sets = sets(300);
        let mut packed = PackedLabels::default();
        for some in sets.chunks(7) {
            packed.extend(some);
        }
        assert_eq!(packed.iter_from(0).collect::<Vec<_>>(), sets);
        packed.extend(&[LabelSet::empty(), LabelSet::empty()]);
        assert_eq!(packed.get(300), Some(LabelSet::empty()));
        assert_eq!(
            (packed.get(301), packed.len()),
            (Some(LabelSet::empty()), 302)
        );
    }

    #[test]
    fn many_labels() {
        let set = |n: usize, last: &str| {
            let pairs = (0..n).map(|n| (format!("l{n:03}"), if n > 0 { "x" } else { last }));
            LabelSet::from_pairs(pairs).unwrap()
        };
        let sets = [62, 62, 63, 63, 200, 200].map(|n| [set(n, "a"), set(n, "ab")]);
        let sets: Vec<LabelSet> = sets.into_iter().flatten().collect();
        let packed: PackedLabels = sets.iter().collect();
        assert_eq!(packed.iter_from(0).collect::<Vec<_>>(), sets);
    }

    proptest! {
        #[test]
        fn any_sets(values in proptest::collection::vec(("[abäö]", "[x-zπ🦀]{0,5}", "[xy]{0,2}"), 0..200)) {
            let sets: Vec<LabelSet> = values
                .iter()
                .map(|(name, value, job)| LabelSet::from_pairs([(name.as_str(), value), ("job", job)]).unwrap())
                .collect();
            let packed: PackedLabels = sets.iter().collect();
            prop_assert_eq!(packed.iter_from(0).collect::<Vec<_>>(), sets.clone());
            for (place, labels) in sets.iter().enumerate() {
                prop_assert_eq!(packed.get(place), Some(labels.clone()));
            }
        }
    }
}
