use super::*;

/// One page: lines with their series' names; returns the stale series, sorted.
fn page(cache: &mut Cache, lines: &[(&str, &str)]) -> Vec<String> {
    for (line, name) in lines {
        let key = cache.key(MetricType::Gauge, line.as_bytes());
        let series = match cache.find(key) {
            Some(Found::Series(series)) => series,
            Some(Found::Dropped | Found::Comments(_)) => continue,
            None => cache.add(
                key,
                line.len(),
                LabelSet::from_pairs([("__name__", *name)]).unwrap(),
            ),
        };
        assert_eq!(cache.labels(series).unwrap().name(), Some(*name));
        cache.store(series, 5, None, true);
    }
    let stale = cache.finish().into_iter();
    let labels = |series: Series| series.labels.expect("markers have labels").to_string();
    let mut stale: Vec<String> = stale.map(labels).collect();
    stale.sort();
    stale
}

#[test]
fn series_that_are_not_shown_become_stale_once() {
    let mut cache = Cache::new();
    assert_eq!(page(&mut cache, &[("a", "a"), ("b", "b")]), [""; 0]);
    assert_eq!(page(&mut cache, &[("a", "a")]), ["b"]);
    assert_eq!(page(&mut cache, &[("a", "a"), ("b", "b")]), [""; 0]);
    assert_eq!(page(&mut cache, &[]), ["a", "b"]);
    assert_eq!(page(&mut cache, &[]), [""; 0]);
    assert!(cache.lines.is_empty() && cache.ids.is_empty() && cache.free.is_empty());
}

#[test]
fn lines_are_found_wherever_they_stand() {
    let mut cache = Cache::new();
    let all: Vec<String> = (0..40).map(|n| format!("s{n}")).collect();
    let lines = |order: &[usize]| -> Vec<(&str, &str)> {
        let line = |n: &usize| (all[*n].as_str(), all[*n].as_str());
        order.iter().map(line).collect()
    };
    let straight: Vec<usize> = (0..40).collect();
    page(&mut cache, &lines(&straight));
    for _ in 0..2 {
        page(&mut cache, &lines(&straight));
        assert!(cache.places.is_none() && cache.fresh.is_none(), "in order");
    }
    let places: Vec<u32> = cache.lines.iter().map(|line| line.series).collect();
    let mut without = straight.clone();
    without.remove(7);
    assert_eq!(page(&mut cache, &lines(&without)), ["s7"]);
    let mut backwards = straight.clone();
    backwards.reverse();
    assert_eq!(page(&mut cache, &lines(&backwards)), [""; 0]);
    assert_eq!(page(&mut cache, &lines(&straight)), [""; 0]);
    let now: Vec<u32> = cache.lines.iter().map(|line| line.series).collect();
    assert_eq!(now, places, "the same places, that of s7 used again");
    assert_eq!((cache.ids.len(), cache.labels.len()), (40, 40));
}

#[test]
fn the_line_expected_here_is_the_one_that_stood_here() {
    let mut cache = Cache::new();
    page(&mut cache, &[("a", "a"), ("bb", "b")]);
    assert_eq!(cache.expected(), Some(Expected::Sample(1)));
    assert!(cache.is_expected(MetricType::Gauge, b"a"));
    assert!(!cache.is_expected(MetricType::Gauge, b"b"));
    assert!(!cache.is_expected(MetricType::Histogram, b"a"));
    assert_eq!(cache.take_expected(), Some(Found::Series(0)));
    assert_eq!(cache.expected(), Some(Expected::Sample(2)));
    assert_eq!(cache.take_expected(), Some(Found::Series(1)));
    assert_eq!(cache.expected(), None);
    assert_eq!(cache.take_expected(), None);
}

#[test]
fn two_lines_of_one_series_are_duplicates() {
    let mut cache = Cache::new();
    let labels = LabelSet::from_pairs([("__name__", "a")]).unwrap();
    let (one, two) = (
        cache.key(MetricType::Gauge, b"a"),
        cache.key(MetricType::Gauge, b"a{}"),
    );
    let first = cache.add(one, 1, labels.clone());
    assert_eq!(cache.store(first, 5, None, true), Store::Yes);
    let second = cache.add(two, 3, labels);
    assert_eq!(
        (first, cache.store(second, 5, None, true)),
        (second, Store::Duplicate)
    );
    assert_eq!(
        cache.store(second, 5, Some(6), true),
        Store::Yes,
        "another time is another sample"
    );
    assert_eq!(cache.store(second, 5, Some(6), true), Store::Duplicate);
    assert_eq!(cache.store(second, 5, None, true), Store::Yes);
    assert!(cache.finish().is_empty());
    // The first line goes, the second stands for the series.
    assert_eq!(page(&mut cache, &[("a{}", "a")]), [""; 0]);
    assert_eq!(cache.lines.len(), 1);
}

#[test]
fn a_type_is_part_of_a_line() {
    let cache = Cache::new();
    assert_ne!(
        cache.key(MetricType::Gauge, b"a"),
        cache.key(MetricType::Histogram, b"a")
    );
    assert_ne!(
        cache.key(MetricType::Gauge, b"a"),
        Cache::new().key(MetricType::Gauge, b"a"),
        "keyed"
    );
}

#[test]
fn a_failed_scrape_makes_all_stale_and_keeps_lines() {
    let mut cache = Cache::new();
    page(&mut cache, &[("a", "a"), ("b", "b")]);
    assert_eq!(cache.fail().len(), 2);
    assert_eq!(cache.lines.len(), 2);
    assert_eq!(cache.fail().len(), 0);
    assert_eq!(
        page(&mut cache, &[("a", "a")]),
        [""; 0],
        "b was stale already"
    );
}

#[test]
fn pages_that_always_fail_are_known_and_take_bounded_memory() {
    let mut cache = Cache::new();
    page(&mut cache, &[("a", "a")]);
    let mut failing = |names: &[String]| {
        let mut added = 0;
        for name in names {
            let key = cache.key(MetricType::Gauge, name.as_bytes());
            if cache.find(key).is_none() {
                let labels = LabelSet::from_pairs([("__name__", name)]).unwrap();
                cache.add(key, name.len(), labels);
                added += 1;
            }
        }
        cache.fail();
        assert!(cache.lines.len() <= LINES_SLACK + 2 && cache.ids.len() <= LINES_SLACK + 2);
        added
    };
    let names: Vec<String> = (0..500).map(|n| format!("s{n}")).collect();
    assert_eq!((failing(&names), failing(&names)), (500, 0));
    for scrape in 0..10 {
        let names: Vec<String> = (0..500).map(|n| format!("s{scrape}_{n}")).collect();
        failing(&names);
    }
    assert_eq!(page(&mut cache, &[("a", "a")]), [""; 0]);
}

#[test]
fn labels_come_with_the_first_sample_and_when_they_are_asked_for() {
    let mut cache = Cache::new();
    let labels = |name: &str| LabelSet::from_pairs([("__name__", name)]).unwrap();
    let key = |cache: &Cache, line: &str| cache.key(MetricType::Gauge, line.as_bytes());
    let a = cache.add(key(&cache, "a"), 1, labels("a"));
    assert_eq!(cache.known(a).labels, Some(labels("a")));
    cache.store(a, 5, None, true);
    cache.finish();
    let b = cache.add(key(&cache, "b"), 1, labels("b"));
    assert_eq!(cache.find(key(&cache, "a")), Some(Found::Series(a)));
    let known = [cache.known(a), cache.known(b)];
    assert_eq!(known[0], Series::from(labels("a")));
    assert_eq!(
        (&known[0].labels, &known[1].labels),
        (&None, &Some(labels("b")))
    );
    assert_eq!(known[0].text_bytes, Series::text_bytes(&labels("a")));
    assert_eq!(cache.with_labels(a).labels, Some(labels("a")));
    cache.finish();
    let mut both = [cache.known(a), cache.known(b)];
    assert!(both.iter().all(|series| series.labels.is_none()));
    cache.complete(&mut both);
    assert_eq!(
        both.map(|series| series.labels),
        [Some(labels("a")), Some(labels("b"))]
    );
}

#[test]
fn series_that_meet_in_their_id_stay_two() {
    let mut cache = Cache::new();
    let labels = |name: &str| LabelSet::from_pairs([("__name__", name)]).unwrap();
    let (a, b) = (labels("a"), labels("b"));
    // As if the ids of both were that of b.
    let first = cache.add_series(SeriesId::of(&b), a);
    let second = cache.series_with(b.clone());
    assert_ne!(first, second);
    assert_eq!(cache.ids[second as usize], SeriesId::of(&b).next());
    assert_eq!(cache.series_with(b), second);
}

/// What the edge's 24 MiB for 50,000 series leave to this: under 70 bytes a series with labels of ordinary length.
#[test]
fn a_series_takes_few_bytes() {
    const SERIES: usize = 5000;
    let mut cache = Cache::new();
    for _ in 0..3 {
        for n in 0..SERIES {
            let line = format!("node_cpu_seconds_total{{cpu=\"{n}\",mode=\"idle\"}}");
            let key = cache.key(MetricType::Counter, line.as_bytes());
            let labels = [
                ("__name__", "node_cpu_seconds_total"),
                ("branch", "b07"),
                ("cpu", &n.to_string()),
                ("instance", "10.7.0.11:9100"),
                ("job", "node"),
                ("mode", "idle"),
            ];
            let labels = LabelSet::from_pairs(labels).unwrap();
            let series = match cache.find(key) {
                Some(Found::Series(series)) => series,
                _ => cache.add(key, line.len(), labels),
            };
            cache.store(series, 5, None, true);
        }
        cache.finish();
    }
    assert_eq!(size_of::<Line>(), 24);
    let own = cache.bytes() - cache.labels.held_bytes();
    assert!(own <= SERIES * (24 + 11) + 64, "{own} bytes");
    assert!(cache.bytes() / SERIES < 70, "{} bytes", cache.bytes());
}
