//! The catalogue against a plain model.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use journal::{Disk as _, read_file, sim::SimDisk};
use model::{LabelSet, MatchOp, Matcher, Metadata, MetricType};
use proptest::prelude::*;
use roaring::RoaringBitmap;

use super::{file, *};

const DIR: &str = "/catalogue";

fn set(pairs: &[(&str, &str)]) -> LabelSet {
    LabelSet::from_pairs(pairs.iter().copied()).unwrap()
}

fn key(number: u128) -> SeriesKey {
    // Spread as a hash is.
    let half = (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    SeriesKey(u128::from(half) << 64 | u128::from(half.rotate_left(29)))
}

fn catalogue(series: &[LabelSet]) -> Catalogue {
    let mut catalogue = Catalogue::default();
    for (id, labels) in series.iter().enumerate() {
        catalogue.insert(key(id as u128), id as u32, "b07", labels);
    }
    catalogue
}

/// Writes what changed, and the manifest.
fn save(catalogue: &mut Catalogue, disk: &SimDisk, which: Unsaved) -> Vec<SegmentMeta> {
    let dir = Path::new(DIR);
    disk.create_dir_all(dir).unwrap();
    for image in catalogue.unsaved(which) {
        let saved = image.write(disk, dir).unwrap();
        catalogue.mark_saved(saved);
    }
    let removed = catalogue.take_removed();
    let listed = catalogue.listed();
    remove_files(disk, dir, &removed);
    listed
}

fn load(disk: &SimDisk, listed: &[SegmentMeta]) -> (Catalogue, Vec<String>) {
    Catalogue::load(disk, Path::new(DIR), listed).unwrap()
}

/// The same series, all of them in frozen segments.
fn reloaded(mut catalogue: Catalogue) -> Catalogue {
    let disk = SimDisk::new(1);
    let listed = save(&mut catalogue, &disk, Unsaved::All);
    let (loaded, damage) = load(&disk, &listed);
    assert_eq!(damage, [""; 0]);
    loaded
}

const PATTERNS: [&str; 14] = [
    "",
    "node",
    "node.*",
    "node|hub",
    ".*",
    ".+",
    "nod(e|es)",
    "no.e",
    "prod|",
    "a.b",
    "a\\.b",
    "zzz",
    "(?i)NODE",
    "b07",
];

fn all_matchers() -> Vec<Matcher> {
    let mut matchers = Vec::new();
    for name in ["__name__", "job", "env", "absent", ""] {
        for pattern in PATTERNS {
            for op in [
                MatchOp::Equal,
                MatchOp::NotEqual,
                MatchOp::Regex,
                MatchOp::NotRegex,
            ] {
                matchers.push(Matcher::new(op, name, pattern).unwrap());
            }
        }
    }
    matchers
}

#[test]
fn matchers_find_what_matching_every_series_finds() {
    let mut sets = vec![
        set(&[("__name__", "up"), ("job", "node"), ("env", "prod")]),
        set(&[("__name__", "up"), ("job", "nodes")]),
        set(&[("__name__", "up"), ("job", "hub"), ("env", "test")]),
        set(&[("__name__", "down"), ("job", "a.b")]),
        set(&[("__name__", "down")]),
    ];
    // Enough that names get sides: `job` seldom changes, `i` always does.
    for job in ["node", "nodes", "hub", "a.b"] {
        for i in 0..40 {
            sets.push(set(&[
                ("__name__", "up"),
                ("job", job),
                ("i", &i.to_string()),
            ]));
        }
    }
    let open = catalogue(&sets);
    let frozen = reloaded(catalogue(&sets));
    let mut tested = 0;
    for matcher in all_matchers() {
        for also in [None, Some(Matcher::equal("__name__", "up"))] {
            let mut matchers = vec![matcher.clone()];
            matchers.extend(also);
            let expected: Vec<u32> = (0..sets.len() as u32)
                .filter(|id| {
                    matchers
                        .iter()
                        .all(|m| m.matches_labels(&sets[*id as usize]))
                })
                .collect();
            for (form, catalogue) in [("open", &open), ("frozen", &frozen)] {
                let found: Vec<u32> = catalogue.select(&matchers).into_iter().collect();
                assert_eq!(found, expected, "{form} {matchers:?}");
            }
            tested += expected.len();
        }
    }
    assert!(tested > 100);
    assert_eq!(frozen.select(&[]).len(), sets.len() as u64);
}

#[test]
fn names_and_values_are_those_in_use() {
    let sets = [set(&[("a", "1"), ("b", "x")]), set(&[("a", "2")])];
    for mut catalogue in [catalogue(&sets), reloaded(catalogue(&sets))] {
        let all = catalogue.select(&[]);
        assert_eq!(catalogue.label_names(&all), ["a", "b"]);
        assert_eq!(catalogue.label_values("a", &all), ["1", "2"]);
        assert_eq!(catalogue.label_values("c", &all), [""; 0]);
        assert_eq!(
            catalogue.label_values("", &all),
            [""; 0],
            "the scope is no label"
        );
        assert_eq!(
            catalogue.label_values("a", &RoaringBitmap::from_iter([1])),
            ["2"]
        );
        assert_eq!(catalogue.retain(&RoaringBitmap::from_iter([1])), 1);
        assert_eq!(catalogue.label_names(&all), ["a"]);
        assert_eq!(catalogue.label_values("a", &all), ["2"]);
        assert_eq!(catalogue.select(&[]).len(), 1);
    }
}

#[test]
fn only_the_first_few_spellings_are_remembered() {
    let mut catalogue = catalogue(&[set(&[("a", "1")])]);
    for spelling in 1..20 {
        catalogue.insert_alias(key(spelling), 0);
    }
    let known = (0..20).filter(|spelling| catalogue.id_of_key(key(*spelling)) == Some(0));
    assert_eq!(known.count(), 8);
    assert!(!catalogue.takes_alias(0));
    catalogue.retain(&RoaringBitmap::new());
    assert_eq!(catalogue.id_of_key(key(1)), None);
    assert!(!catalogue.takes_alias(0), "no such series");
}

/// A series that died and came back while its segment's file still had it: both ids are read, the later one holds.
#[test]
fn of_two_ids_with_one_label_set_the_later_holds() {
    let labels = set(&[("a", "1")]);
    let mut catalogue = Catalogue::default();
    // Before the tables are there, nobody looks.
    catalogue.insert(key(1), 5, "x", &labels);
    catalogue.insert(key(1), 70_000, "x", &labels);
    catalogue.build_tables();
    assert_eq!(catalogue.id_of_labels(&labels), Some(70_000));
    assert_eq!(catalogue.id_of_key(key(1)), Some(70_000));
    catalogue.insert(key(2), 70_001, "x", &set(&[("a", "2")]));
    assert_eq!((catalogue.len(), catalogue.series_in_scope("x")), (2, 2));
    assert!(!catalogue.contains_id(5));
    // With tables, at once.
    catalogue.insert(key(3), 70_002, "x", &labels);
    assert_eq!((catalogue.len(), catalogue.series_in_scope("x")), (2, 2));
    assert_eq!(catalogue.id_of_labels(&labels), Some(70_002));
    assert_eq!(catalogue.id_of_key(key(1)), None);
}

#[test]
fn many_keys_at_once() {
    let sets: Vec<LabelSet> = (0..500).map(|i| set(&[("i", &i.to_string())])).collect();
    let catalogue = catalogue(&sets);
    let mut out = vec![1];
    for order in [1_u128, 7, 499, 250] {
        let keys: Vec<SeriesKey> = (0..600).map(|i| key(i * order % 600)).collect();
        catalogue.resolve(&keys, &mut out);
        let expected: Vec<u32> = (0..600)
            .map(|i| i * order % 600)
            .map(|id| if id < 500 { id as u32 } else { UNKNOWN })
            .collect();
        assert_eq!(out, expected);
    }
}

#[test]
fn a_full_segment_is_offered_at_once_and_then_held_frozen() {
    let mut catalogue = Catalogue::default();
    let disk = SimDisk::new(1);
    for id in 0..65_540_u32 {
        let (target, metric) = (id / 100, id % 100);
        let labels = set(&[
            ("__name__", &format!("m{metric}")),
            ("instance", &format!("t{target}")),
        ]);
        catalogue.insert(key(u128::from(id)), id, "b07", &labels);
        assert_eq!(catalogue.has_full_unsaved(), id >= 65_535);
    }
    let fat = catalogue.bytes();
    let listed = save(&mut catalogue, &disk, Unsaved::Full);
    assert!(!catalogue.has_full_unsaved());
    assert_eq!(listed.len(), 1);
    assert_eq!(catalogue.unsaved(Unsaved::Full).len(), 0);
    assert!(catalogue.bytes() * 2 < fat, "{} {fat}", catalogue.bytes());
    let found = catalogue.select(&[Matcher::equal("instance", "t655")]);
    assert_eq!(found, RoaringBitmap::from_iter(65_500..65_540));
    let (loaded, _) = load(&disk, &listed);
    assert_eq!((loaded.len(), loaded.next_id()), (65_536, 65_536));
    assert_eq!(loaded.file_bytes(), catalogue.file_bytes());
    assert!(
        catalogue.file_bytes() < 18 * 65_536,
        "{}",
        catalogue.file_bytes()
    );
    assert_eq!(
        loaded.labels(65_535),
        Some(set(&[("__name__", "m35"), ("instance", "t655")]))
    );
    assert_eq!(loaded.id_of_key(key(65_535)), Some(65_535));
}

#[test]
fn a_damaged_or_missing_segment_costs_its_own_series_only() {
    for missing in [false, true] {
        let disk = SimDisk::new(1);
        let mut catalogue = Catalogue::default();
        catalogue.insert(key(1), 7, "x", &set(&[("a", "1")]));
        catalogue.insert(key(2), 65_536, "x", &set(&[("a", "2")]));
        let mut listed = save(&mut catalogue, &disk, Unsaved::All);
        let path = Path::new(DIR).join("0000065536.seg");
        match missing {
            true => disk.remove(&path).unwrap(),
            false => disk.flip_bit(&path, 400).unwrap(),
        }
        for round in 0..3 {
            let (mut loaded, damage) = load(&disk, &listed);
            let expected = match (round, missing) {
                (0, true) => {
                    "the names of 1 series are lost: /catalogue/0000065536.seg is damaged: expected the file"
                }
                (0, false) => {
                    "the names of 1 series are lost: /catalogue/0000065536.seg is damaged: expected a file that \
                     passes its checksum; it is set aside as 0000065536.seg.damaged"
                }
                _ => "the names of 1 series are lost: damage found earlier",
            };
            assert_eq!(damage, [expected], "round {round}");
            assert_eq!((loaded.len(), loaded.next_id()), (1, 131_072));
            assert_eq!(loaded.id_of_labels(&set(&[("a", "1")])), Some(7));
            listed = save(&mut loaded, &disk, Unsaved::All);
            if round == 2 {
                loaded.retain(&RoaringBitmap::from_iter([7]));
                assert_eq!(
                    loaded.listed().len(),
                    1,
                    "nobody needs those names any more"
                );
            }
        }
    }
}

#[test]
fn another_version_is_refused() {
    let disk = SimDisk::new(1);
    let mut catalogue = catalogue(&[set(&[("a", "1")])]);
    let listed = save(&mut catalogue, &disk, Unsaved::All);
    let path = Path::new(DIR).join("0000000000.seg");
    let mut bytes = read_file(&disk, &path, 1 << 20).unwrap();
    bytes[8] = 9;
    let checksum = crc32c::crc32c_append(crc32c::crc32c(&bytes[..12]), &bytes[16..]);
    bytes[12..16].copy_from_slice(&checksum.to_le_bytes());
    journal::write_atomic(&disk, &path, &bytes).unwrap();
    let error = Catalogue::load(&disk, Path::new(DIR), &listed)
        .err()
        .unwrap();
    assert!(
        error
            .to_string()
            .contains("has store format 9, this release reads format 1"),
        "{error}"
    );
}

fn small() -> Catalogue {
    let mut catalogue = Catalogue::default();
    catalogue.insert(
        key(0),
        3,
        "b07",
        &set(&[("__name__", "up"), ("job", "node")]),
    );
    catalogue.insert(
        key(1),
        4,
        "b07",
        &set(&[("__name__", "down"), ("job", "node")]),
    );
    catalogue.insert(key(2), 9, "", &set(&[("__name__", "up")]));
    catalogue
}

fn small_file() -> Vec<u8> {
    let disk = SimDisk::new(1);
    save(&mut small(), &disk, Unsaved::All);
    read_file(&disk, &Path::new(DIR).join("0000000000.seg"), 1 << 20).unwrap()
}

/// Bytes of released formats stay readable: never change them, add the next version's beside it.
#[test]
fn version_1_is_read_and_written() {
    let hex: String = small_file()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(hex, VERSION_1);
    let bytes: Vec<u8> = (0..VERSION_1.len() / 2)
        .map(|at| u8::from_str_radix(&VERSION_1[at * 2..at * 2 + 2], 16).unwrap())
        .collect();
    let file = file::decode(&bytes).unwrap();
    assert_eq!(file.number, 0);
    assert_eq!(file.live.iter().collect::<Vec<_>>(), [3, 4, 9]);
    assert_eq!(file.segment.labels(4), small().labels(4));
    assert_eq!(file.segment.labels(9), small().labels(9));
    assert_eq!(file.keys[9], key(2).0);
}

const VERSION_1: &str = "\
    42524c5345474d0a0100000079c8a147000000000300000037efc6b3824fe92f157c4a7fb979379e6ede8d47059fd25f\
    2af894fe72f36e3ca5cd54fb87eebb8f3f74df7d2c6da6da430203020401030001020003623037085f5f6e616d655f5f\
    010204646f776e027570036a6f620101046e6f64650100030301010003010001020002010000000001000200";

#[test]
fn no_bit_of_a_file_can_be_flipped_in_silence() {
    let bytes = small_file();
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut bytes = bytes.clone();
            bytes[at] ^= 1 << bit;
            assert!(file::decode(&bytes).is_err(), "{at} {bit}");
        }
        assert!(file::decode(&bytes[..at]).is_err());
    }
}

/// Wherever the power goes while changed segments are written, the manifest of before finds each of them whole: as it was
/// or as it should be.
#[test]
fn a_crash_while_saving_leaves_each_segment_old_or_new() {
    let labels = |id: u32| set(&[("__name__", "up"), ("instance", &id.to_string())]);
    let old: Vec<u32> = vec![1, 2, 3, 65_536, 65_537, 131_072];
    let new: Vec<u32> = vec![2, 65_536, 65_538, 131_072];
    let mut crashes = 0;
    for changes in 1.. {
        let disk = SimDisk::new(changes);
        let mut catalogue = Catalogue::default();
        for id in &old {
            catalogue.insert(key(u128::from(*id)), *id, "x", &labels(*id));
        }
        let listed = save(&mut catalogue, &disk, Unsaved::All);
        catalogue.retain(&new.iter().copied().collect());
        catalogue.insert(key(7), 65_538, "x", &labels(65_538));
        disk.crash_after(Some(changes));
        for image in catalogue.unsaved(Unsaved::All) {
            let _ = image.write(&disk, Path::new(DIR));
        }
        let done = !disk.is_down();
        crashes += u32::from(!done);
        disk.crash();
        let (loaded, damage) = load(&disk, &listed);
        assert_eq!(damage, [""; 0]);
        let found = loaded.select(&[]);
        for number in 0..3 {
            let of = |ids: &[u32]| -> Vec<u32> {
                ids.iter()
                    .copied()
                    .filter(|id| id >> 16 == number)
                    .collect()
            };
            let here: Vec<u32> = found.range(number << 16..=number << 16 | 0xffff).collect();
            assert!(
                here == of(&new) || (here == of(&old) && !done),
                "{changes}: {here:?}"
            );
        }
        assert!(found.iter().all(|id| loaded.labels(id) == Some(labels(id))));
        let names = disk.list(Path::new(DIR)).unwrap();
        assert!(names.iter().all(|name| name.ends_with(".seg")), "{names:?}");
        if done {
            break;
        }
    }
    assert!(crashes >= 8, "{crashes}");
}

/// A reader bounds what it unpacks by the file's size: text that shrinks more is written as it is.
#[test]
fn text_that_shrinks_too_much_is_read_back() {
    let long = "a".repeat(4000);
    let sets: Vec<LabelSet> = (0..500)
        .map(|i| set(&[("a", &format!("{long}{i}"))]))
        .collect();
    let loaded = reloaded(catalogue(&sets));
    assert!(loaded.file_bytes() > 2_000_000, "{}", loaded.file_bytes());
    assert_eq!(loaded.labels(77).as_ref(), Some(&sets[77]));
}

#[test]
fn series_without_order_take_the_flat_form() {
    let sets: Vec<LabelSet> = (0..3000_u32)
        .map(|i| {
            let i = i.wrapping_mul(2_654_435_761) >> 8;
            set(&[
                ("__name__", &format!("m{}", i % 50)),
                ("instance", &format!("t{}", i / 50 % 200)),
                ("pod", &i.to_string()),
            ])
        })
        .collect();
    let mut catalogue = catalogue(&sets);
    catalogue.reserve(0xffff);
    let loaded = reloaded(catalogue);
    for (id, labels) in sets.iter().enumerate() {
        assert_eq!(loaded.labels(id as u32).as_ref(), Some(labels));
        assert_eq!(loaded.id_of_labels(labels), Some(id as u32));
    }
    let found = loaded.select(&[Matcher::equal("instance", "t7")]);
    let expected = (0..3000).filter(|id| sets[*id as usize].get("instance") == Some("t7"));
    assert!(found.iter().eq(expected));
}

#[test]
fn metadata_is_bounded_and_read_back() {
    let disk = SimDisk::new(1);
    let mut catalogue = Catalogue::default();
    let metadata = |help: &str| Metadata {
        kind: MetricType::Counter,
        help: help.to_owned(),
        unit: "s".to_owned(),
    };
    for help in ["1", "2", "3", "4", "5"] {
        assert!(catalogue.insert_metadata("a", &metadata(help), 2));
    }
    assert!(!catalogue.insert_metadata("a", &metadata("5"), 2));
    assert!(catalogue.insert_metadata("b", &metadata("1"), 2));
    assert!(!catalogue.insert_metadata("c", &metadata("1"), 2));
    assert_eq!(catalogue.metadata()["a"].len(), 4);
    let listed = save(&mut catalogue, &disk, Unsaved::All);
    assert_eq!(catalogue.unsaved(Unsaved::All).len(), 0);
    let (loaded, _) = load(&disk, &listed);
    assert_eq!(loaded.metadata(), catalogue.metadata());
    disk.flip_bit(&Path::new(DIR).join("metadata"), 200)
        .unwrap();
    let (loaded, damage) = load(&disk, &listed);
    assert!(loaded.metadata().is_empty());
    assert!(
        damage[0].starts_with("metadata of metrics is lost"),
        "{damage:?}"
    );
}

#[derive(Debug, Clone)]
enum Op {
    /// A series of a target and a metric, under the next id; ids may be left out before it.
    Insert(u8, u8, u8),
    Alias(u8, u8, u8),
    /// Keeps the ids whose product with this has a bit set.
    Retain(u32),
    Save(bool),
    /// From the files alone, as after a crash.
    Load,
    BuildTables,
    /// The next segment.
    Skip,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        30 => (0..6_u8, 0..12_u8, 0..20_u8).prop_map(|(target, metric, gap)| Op::Insert(target, metric, gap)),
        3 => (0..6_u8, 0..12_u8, 0..10_u8).prop_map(|(target, metric, spelling)| Op::Alias(target, metric, spelling)),
        2 => any::<u32>().prop_map(Op::Retain),
        4 => any::<bool>().prop_map(Op::Save),
        2 => Just(Op::Load),
        1 => Just(Op::BuildTables),
        1 => Just(Op::Skip),
    ]
}

fn labels_of(target: u8, metric: u8) -> LabelSet {
    let (name, target) = (format!("node_{metric}"), format!("t{target}"));
    match metric {
        0 => set(&[("__name__", "up"), ("job", &target)]),
        1 => set(&[("job", "node"), ("instance", &target)]),
        2..6 => set(&[("__name__", &name), ("instance", &target), ("job", "node")]),
        _ => set(&[
            ("__name__", "cpu"),
            ("cpu", &name),
            ("instance", &target),
            ("job", "node"),
            ("zone", "a.b"),
        ]),
    }
}

/// (scope, labels, key) by id.
type Series = BTreeMap<u32, (String, LabelSet, u128)>;

#[derive(Default, Clone)]
struct Model {
    series: Series,
}

struct Pair {
    catalogue: Catalogue,
    model: Model,
    /// As of the last manifest.
    saved: (Vec<SegmentMeta>, Series),
    disk: SimDisk,
    next_key: u128,
}

impl Pair {
    fn step(&mut self, op: &Op) {
        match op {
            Op::Insert(target, metric, gap) => {
                let labels = labels_of(*target, *metric);
                let known = self
                    .model
                    .series
                    .iter()
                    .find(|(_, (_, known, _))| *known == labels);
                let known = known.map(|(id, _)| *id);
                let found = self.catalogue.id_of_labels(&labels);
                assert_eq!(found, known);
                if known.is_none() {
                    let id = self.catalogue.next_id() + u32::from(gap / 15);
                    let scope = format!("b{}", target % 2);
                    self.next_key += 1;
                    self.catalogue
                        .insert(key(self.next_key), id, &scope, &labels);
                    self.model.series.insert(id, (scope, labels, self.next_key));
                }
            }
            Op::Alias(target, metric, spelling) => {
                let labels = labels_of(*target, *metric);
                if let Some(id) = self.catalogue.id_of_labels(&labels) {
                    let alias = key(1 << 40 | u128::from(id) << 8 | u128::from(*spelling));
                    let takes = self.catalogue.takes_alias(id);
                    self.catalogue.insert_alias(alias, id);
                    assert!(!takes || self.catalogue.id_of_key(alias) == Some(id));
                }
            }
            Op::Retain(factor) => {
                let keep = |id: u32| id.wrapping_mul(*factor) & 4 == 0;
                let live: RoaringBitmap = self
                    .model
                    .series
                    .keys()
                    .copied()
                    .filter(|id| keep(*id))
                    .collect();
                let dead = self.model.series.len() as u64 - live.len();
                assert_eq!(self.catalogue.count_dead(&live) as u64, dead);
                assert_eq!(self.catalogue.retain(&live), dead);
                self.model.series.retain(|id, _| keep(*id));
            }
            Op::Save(all) => {
                let grows = self.catalogue.next_id() & 0xffff_0000;
                let before = self.saved.1.clone();
                let which = if *all { Unsaved::All } else { Unsaved::Full };
                self.saved.0 = save(&mut self.catalogue, &self.disk, which);
                self.saved.1 = self.model.series.clone();
                if !*all {
                    // Of the growing segment the file is as it was, unless all its series died.
                    let there = self
                        .saved
                        .0
                        .iter()
                        .any(|meta| u32::from(meta.number) << 16 == grows);
                    let old = before.into_iter().filter(|(id, _)| there && *id >= grows);
                    self.saved.1.retain(|id, _| *id < grows);
                    self.saved.1.extend(old);
                }
            }
            Op::Load => {
                let next = self.catalogue.next_id();
                let (loaded, damage) = load(&self.disk, &self.saved.0);
                assert_eq!(damage, [""; 0]);
                self.catalogue = loaded;
                // The manifest says it too.
                self.catalogue.reserve(next.saturating_sub(1));
                self.model.series = self.saved.1.clone();
            }
            Op::BuildTables => self.catalogue.build_tables(),
            Op::Skip => {
                let next = self.catalogue.next_id();
                if next >> 16 < 6 {
                    self.catalogue.reserve(next | 0xffff);
                }
            }
        }
        self.check();
    }

    fn check(&self) {
        let (catalogue, series) = (&self.catalogue, &self.model.series);
        assert_eq!(catalogue.len(), series.len());
        assert!(catalogue.select(&[]).iter().eq(series.keys().copied()));
        for (id, (_, labels, number)) in series {
            assert_eq!(catalogue.labels(*id).as_ref(), Some(labels));
            assert!(catalogue.has_key_at(*id, key(*number)) && catalogue.contains_id(*id));
            assert!(*id < catalogue.next_id());
        }
        let mut scopes: BTreeMap<&str, usize> = BTreeMap::new();
        for (scope, ..) in series.values() {
            *scopes.entry(scope).or_default() += 1;
        }
        assert!(catalogue.scopes().eq(scopes));
    }

    /// Slower.
    fn check_all(&self) {
        let (catalogue, series) = (&self.catalogue, &self.model.series);
        let numbers: Vec<u128> = (0..=self.next_key).collect();
        let keys: Vec<SeriesKey> = numbers.iter().map(|number| key(*number)).collect();
        let mut ids = Vec::new();
        catalogue.resolve(&keys, &mut ids);
        for (number, found) in numbers.iter().zip(ids) {
            let id = series.iter().find(|(_, (_, _, known))| known == number);
            let id = id.map(|(id, _)| *id);
            assert_eq!(catalogue.id_of_key(key(*number)), id);
            assert_eq!(found, id.unwrap_or(UNKNOWN));
        }
        for (id, (_, labels, _)) in series {
            assert_eq!(catalogue.id_of_labels(labels), Some(*id));
        }
        let names = ["__name__", "instance", "job", "cpu", "zone", "none"];
        let patterns = [
            "up",
            "cpu",
            "node",
            "node_[357]",
            "node_1.*",
            "t1|t2",
            ".+",
            "",
            "a.b",
        ];
        for (name, pattern) in names.iter().flat_map(|name| patterns.map(|p| (*name, p))) {
            for op in [
                MatchOp::Equal,
                MatchOp::NotEqual,
                MatchOp::Regex,
                MatchOp::NotRegex,
            ] {
                let matchers = [
                    Matcher::new(op, name, pattern).unwrap(),
                    Matcher::new(MatchOp::NotEqual, "instance", "t0").unwrap(),
                ];
                let fits = |labels: &LabelSet| matchers.iter().all(|m| m.matches_labels(labels));
                let expected: RoaringBitmap = series
                    .iter()
                    .filter(|(_, (_, l, _))| fits(l))
                    .map(|(id, _)| *id)
                    .collect();
                let found = catalogue.select(&matchers);
                assert_eq!(found, expected, "{matchers:?}");
                let labels = || found.iter().map(|id| &series[&id].1);
                let used: BTreeSet<&str> =
                    labels().flat_map(|l| l.iter().map(|(n, _)| n)).collect();
                assert!(catalogue.label_names(&found).iter().eq(used));
                let used: BTreeSet<&str> = labels().filter_map(|l| l.get(name)).collect();
                assert!(catalogue.label_values(name, &found).iter().eq(used));
            }
        }
        for name in names {
            let used: BTreeSet<&str> = series
                .values()
                .filter_map(|(_, l, _)| l.get(name))
                .collect();
            assert!(
                catalogue
                    .label_values(name, &catalogue.select(&[]))
                    .iter()
                    .eq(used)
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn the_catalogue_answers_as_a_map_does(ops in prop::collection::vec(op(), 1..120)) {
        let mut pair = Pair {
            catalogue: Catalogue::default(),
            model: Model::default(),
            saved: Default::default(),
            disk: SimDisk::new(1),
            next_key: 0,
        };
        for op in &ops {
            pair.step(op);
        }
        pair.check_all();
        pair.step(&Op::Save(true));
        pair.check_all();
        pair.step(&Op::Load);
        pair.check_all();
    }

    #[test]
    fn garbage_behind_a_good_checksum_is_no_panic(
        cuts in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        // The body is too small to be compressed: changes reach all of it.
        let mut content = small_file()[16..].to_vec();
        for (at, byte) in cuts {
            let at = at.index(content.len());
            content[at] = byte;
        }
        let mut bytes = small_file()[..12].to_vec();
        let checksum = crc32c::crc32c_append(crc32c::crc32c(&bytes), &content);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        bytes.extend_from_slice(&content);
        if let Ok(read) = file::decode(&bytes) {
            let mut pairs = Vec::new();
            for low in read.live.iter() {
                pairs.push(read.segment.labels(low));
            }
            read.segment.for_hashes(&read.live, |_, _| 1, |_, _| {});
            read.segment.for_used(&read.live, |_, _| {});
            let _ = file::encode(read.number, &read.segment, &read.live, &read.keys);
        }
        let _ = file::decode(&content);
    }
}
