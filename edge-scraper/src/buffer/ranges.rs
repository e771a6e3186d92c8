//! Sets of sequence numbers, kept as ranges.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use wire::edge_headers::SequenceRange;

/// A set of sequence numbers. Its memory grows with the number of gaps, not of members.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SequenceSet {
    /// First to last (included); neither overlapping nor touching.
    ranges: BTreeMap<u64, u64>,
}

impl SequenceSet {
    /// Adds a sequence.
    pub fn insert(&mut self, seq: u64) {
        self.insert_range(seq, seq);
    }

    /// Adds `first` to `last`, both included; nothing when `first > last`.
    pub fn insert_range(&mut self, mut first: u64, mut last: u64) {
        if first > last {
            return;
        }
        if let Some((&start, &end)) = self.ranges.range(..=first).next_back()
            && end >= first.saturating_sub(1)
        {
            first = start;
            last = last.max(end);
        }
        while let Some((&start, &end)) = self.ranges.range(first..=last.saturating_add(1)).next() {
            self.ranges.remove(&start);
            last = last.max(end);
        }
        self.ranges.insert(first, last);
    }

    /// Takes `first` to `last`, both included, out.
    pub fn remove_range(&mut self, first: u64, last: u64) {
        if first > last {
            return;
        }
        if let Some((&start, &end)) = self.ranges.range(..first).next_back()
            && end >= first
        {
            self.ranges.insert(start, first - 1);
            if end > last {
                self.ranges.insert(last + 1, end);
                return;
            }
        }
        while let Some((&start, &end)) = self.ranges.range(first..=last).next() {
            self.ranges.remove(&start);
            if end > last {
                self.ranges.insert(last + 1, end);
            }
        }
    }

    /// Adds all members of `other`.
    pub fn extend(&mut self, other: &SequenceSet) {
        for range in other.ranges() {
            self.insert_range(range.first, range.last);
        }
    }

    /// Whether the sequence is in it.
    pub fn contains(&self, seq: u64) -> bool {
        self.ranges
            .range(..=seq)
            .next_back()
            .is_some_and(|(_, last)| *last >= seq)
    }

    /// How many members lie from `first` to `last`, both included.
    pub fn count_within(&self, first: u64, last: u64) -> u64 {
        if first > last {
            return 0;
        }
        let before = self
            .ranges
            .range(..first)
            .next_back()
            .map_or(0, |(_, end)| {
                if *end >= first {
                    (*end).min(last) - first + 1
                } else {
                    0
                }
            });
        let within = self
            .ranges
            .range(first..=last)
            .map(|(start, end)| (*end).min(last) - start + 1);
        before + within.sum::<u64>()
    }

    /// The first sequence from `seq` on that is not in it.
    pub fn first_gap(&self, seq: u64) -> u64 {
        match self.ranges.range(..=seq).next_back() {
            Some((_, last)) if *last >= seq => last + 1,
            _ => seq,
        }
    }

    /// The ranges, rising.
    pub fn ranges(&self) -> impl DoubleEndedIterator<Item = SequenceRange> + '_ {
        self.ranges.iter().map(|(first, last)| SequenceRange {
            first: *first,
            last: *last,
        })
    }

    /// How many ranges.
    pub fn range_count(&self) -> usize {
        self.ranges.len()
    }

    /// The last member.
    pub fn last(&self) -> Option<u64> {
        self.ranges.last_key_value().map(|(_, last)| *last)
    }

    /// Whether it has no member.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }
}

impl FromIterator<u64> for SequenceSet {
    fn from_iter<I: IntoIterator<Item = u64>>(sequences: I) -> Self {
        let mut set = SequenceSet::default();
        for seq in sequences {
            set.insert(seq);
        }
        set
    }
}

impl fmt::Display for SequenceSet {
    /// `120-135,140`; nothing when empty.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, range) in self.ranges().enumerate() {
            write!(f, "{}{range}", if number > 0 { "," } else { "" })?;
        }
        Ok(())
    }
}

impl fmt::Debug for SequenceSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{{self}}}")
    }
}

impl FromStr for SequenceSet {
    type Err = ();

    /// Reads what `Display` writes.
    fn from_str(text: &str) -> Result<Self, ()> {
        let mut set = SequenceSet::default();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (
                first.parse().map_err(|_| ())?,
                last.parse().map_err(|_| ())?,
            );
            if first > last || last > u64::MAX / 2 {
                return Err(());
            }
            set.insert_range(first, last);
        }
        Ok(set)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn joins_neighbours() {
        let mut set = SequenceSet::default();
        for seq in [5, 7, 1, 6, 2] {
            set.insert(seq);
        }
        assert_eq!(set.to_string(), "1-2,5-7");
        set.insert_range(3, 10);
        set.remove_range(4, 8);
        assert_eq!(set.to_string(), "1-3,9-10");
        assert_eq!(
            (set.first_gap(1), set.first_gap(4), set.last()),
            (4, 4, Some(10))
        );
        assert_eq!("1-3,9-10".parse(), Ok(set));
        for bad in ["x", "3-1", "1-", "18446744073709551615"] {
            assert_eq!(bad.parse::<SequenceSet>(), Err(()), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn is_a_set(steps in proptest::collection::vec((any::<bool>(), 1..60_u64, 0..12_u64), 0..40)) {
            let (mut set, mut plain) = (SequenceSet::default(), BTreeSet::new());
            for (add, first, length) in steps {
                if add {
                    set.insert_range(first, first + length);
                    plain.extend(first..=first + length);
                } else {
                    set.remove_range(first, first + length);
                    plain.retain(|seq| !(first..=first + length).contains(seq));
                }
            }
            let members: Vec<u64> = set.ranges().flat_map(|r| r.first..=r.last).collect();
            prop_assert_eq!(&members, &plain.iter().copied().collect::<Vec<_>>());
            let ranges: Vec<_> = set.ranges().collect();
            prop_assert!(ranges.windows(2).all(|pair| pair[0].last + 1 < pair[1].first));
            for seq in 0..80 {
                prop_assert_eq!(set.contains(seq), plain.contains(&seq));
                prop_assert_eq!(set.count_within(seq, 40), plain.range(seq..=40.max(seq)).filter(|s| **s <= 40).count() as u64);
                prop_assert!(!set.contains(set.first_gap(seq)));
            }
            prop_assert_eq!(set.to_string().parse(), Ok(set));
        }
    }
}
