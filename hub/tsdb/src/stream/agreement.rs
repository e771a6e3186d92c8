//! Whatever was written, selected and asked for: what is read one by one, at once, and by several threads is what a map of
//! all samples says, bit for bit.

use std::collections::BTreeMap;

use journal::sim::SimDisk;
use model::{LabelSet, MatchOp, Matcher, Sample};
use proptest::prelude::*;

use super::*;
use crate::{
    tests::{append_samples, at, labels, open, options},
    types::{Column, Series},
};

/// Bits, so that NaN is equal to itself.
type Map = BTreeMap<LabelSet, Vec<(i64, u64)>>;

/// Targets whose series share times, and how each value came about.
#[derive(Debug, Clone)]
struct Data {
    targets: usize,
    metrics: usize,
    scrapes: i64,
    /// Scrapes after which memory is sealed into a part.
    seals: Vec<i64>,
    /// Nothing ever changes, and times are regular: columns take as few bytes as they can.
    constant: bool,
    /// Some series miss some scrapes, some values never change, some times are not regular.
    seed: u64,
}

fn data() -> impl Strategy<Value = Data> {
    let seals = prop::collection::vec(1_i64..24, 0..4);
    let sizes = (1_usize..14, 1_usize..50, 1_i64..24);
    (sizes, seals, any::<bool>(), any::<u64>()).prop_map(
        |((targets, metrics, scrapes), seals, constant, seed)| Data {
            targets,
            metrics,
            scrapes,
            seals,
            constant,
            seed,
        },
    )
}

/// Label, pattern, and whether it must not match.
type Selector = Vec<(&'static str, String, bool)>;

fn selector() -> impl Strategy<Value = Selector> {
    let one = prop_oneof![
        (0..50_u32).prop_map(|m| ("__name__", format!("m{m}"), false)),
        (0..5_u32).prop_map(|m| ("__name__", format!("m{m}.*"), false)),
        (0..14_u32).prop_map(|i| ("instance", format!("i{i}"), false)),
        (0..14_u32).prop_map(|i| ("instance", format!("i{i}"), true)),
        (0..3_u32).prop_map(|j| ("job", format!("j{j}|j0"), false)),
    ];
    prop::collection::vec(one, 0..3)
}

fn matchers(selector: &Selector) -> Vec<Matcher> {
    let matcher = |(name, pattern, not): &(&str, String, bool)| {
        let op = if *not {
            MatchOp::NotRegex
        } else {
            MatchOp::Regex
        };
        Matcher::new(op, *name, pattern).unwrap()
    };
    selector.iter().map(matcher).collect()
}

fn mixed(seed: u64, words: [u64; 3]) -> u64 {
    let mut hash = seed | 1;
    for word in words {
        hash = (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        hash ^= hash >> 29;
    }
    hash
}

impl Data {
    /// Writes all of it, and what it should be.
    fn write(&self, store: &Store) -> Map {
        let mut map = Map::new();
        let regular = self.constant || self.seed.is_multiple_of(3);
        for scrape in 0..self.scrapes {
            for target in 0..self.targets {
                for metric in 0..self.metrics {
                    let chance = |what| mixed(self.seed, [target as u64, metric as u64, what]);
                    if !self.constant
                        && chance(0).is_multiple_of(7)
                        && chance(100 + scrape as u64).is_multiple_of(4)
                    {
                        continue;
                    }
                    let text = format!("m{metric},instance=i{target},job=j{}", target % 3);
                    let jitter = if regular {
                        0
                    } else {
                        mixed(self.seed, [target as u64, scrape as u64, 7]) % 90
                    };
                    let time = scrape * 1_500 + target as i64 * 100 + jitter as i64;
                    let value = match chance(1) % 4 {
                        _ if self.constant => 1.0,
                        0 => 1.0,
                        1 => (scrape * (metric as i64 + 1)) as f64,
                        2 => f64::from_bits(chance(1_000 + scrape as u64)),
                        _ => (chance(2_000 + scrape as u64) % 1_000) as f64 / 8.0,
                    };
                    append_samples(store, "b07", &text, &[Sample::float(at(time), value)]).unwrap();
                    let all = map.entry(labels(&text).unwrap()).or_default();
                    all.push((time, value.to_bits()));
                }
            }
            if self.seals.contains(&scrape) {
                store.close().unwrap();
            }
        }
        map
    }
}

fn expected(map: &Map, matchers: &[Matcher], (start, end): (i64, i64)) -> Map {
    let fits = |labels: &LabelSet| matchers.iter().all(|m| m.matches_labels(labels));
    let within = |all: &Vec<(i64, u64)>| -> Vec<(i64, u64)> {
        let inside = all.iter().filter(|(time, _)| (start..=end).contains(time));
        inside.copied().collect()
    };
    (map.iter().filter(|(labels, _)| fits(labels)))
        .map(|(labels, all)| (labels.clone(), within(all)))
        .filter(|(_, all)| !all.is_empty())
        .collect()
}

fn samples(series: &Series) -> Vec<(i64, u64)> {
    match &series.values {
        Column::Floats(values) => {
            let bits = values.iter().map(|value| value.to_bits());
            series.timestamps.iter().copied().zip(bits).collect()
        }
        Column::Mixed(_) => Vec::new(),
    }
}

/// Reads stretches of so many series, each on a thread of its own.
fn by_stretches(found: &FoundSeries<'_>, stretch: usize) -> Map {
    let read = |from: usize| {
        let mut map = Map::new();
        let mut visit = |place, view: SeriesView<'_>| {
            map.insert(found.labels(place).unwrap(), samples(&Series::from(view)));
            true
        };
        found
            .read(from..from + stretch, &|| false, &mut visit)
            .unwrap();
        map
    };
    std::thread::scope(|scope| {
        let starts = (0..found.len()).step_by(stretch);
        let threads: Vec<_> = starts.map(|from| scope.spawn(move || read(from))).collect();
        let maps = threads.into_iter().map(|thread| thread.join().unwrap());
        maps.flatten().collect()
    })
}

fn check(data: &Data, asked: &[(Selector, i64, i64)]) -> Result<(), TestCaseError> {
    let mut all = options();
    // A few parts stay apart, so that their columns have to be joined.
    all.seal.merge_width = 9;
    let disk = SimDisk::new(1);
    let store = open(&disk, &all);
    let map = data.write(&store);
    for (selector, from, to) in asked {
        let (matchers, limits) = (matchers(selector), SelectLimits::default());
        let expected = expected(&map, &matchers, (*from, *to));
        let range = TimeRange::new(at(*from), at(*to));
        let selection = store.select(&matchers, range, &limits, &|| false).unwrap();
        let at_once = selection.series.iter();
        let at_once: Map = at_once.map(|s| (s.labels.clone(), samples(s))).collect();
        prop_assert_eq!(&at_once, &expected, "at once: {:?}", selector);
        let found = store
            .open_series(&matchers, range, Wanted::Samples, &limits, &|| false)
            .unwrap();
        for stretch in [5, 128, found.len().max(1)] {
            let read = by_stretches(&found, stretch);
            prop_assert_eq!(&read, &expected, "by {}: {:?}", stretch, selector);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn all_ways_of_reading_agree_with_a_map(
        data in data(),
        asked in prop::collection::vec((selector(), 0_i64..20_000, 0_i64..40_000), 1..6),
    ) {
        let asked: Vec<(Selector, i64, i64)> = (asked.into_iter())
            .map(|(selector, from, length)| (selector, from, from + length))
            .collect();
        check(&data, &asked)?;
    }
}

/// As large as it takes for blocks to be left out and jumped into: many targets that look alike, of which each question wants
/// one series, or a few.
#[test]
fn few_series_of_many_blocks_have_their_own_times() {
    for seed in [3, 4] {
        let data = Data {
            targets: 40,
            metrics: 200,
            scrapes: 20,
            seals: vec![9, 19],
            constant: false,
            seed,
        };
        let one = |text: &str| vec![("__name__", text.to_owned(), false)];
        let asked = [
            (one("m150"), 0, 40_000),
            (one("m1|m77|m78|m199"), 2_000, 20_000),
            (one(".*9"), 0, 40_000),
        ];
        check(&data, &asked).unwrap();
    }
}
