//! What does a million series cost? Builds a catalogue of targets with 250 series each, saves it, reads it back, and
//! prints times and sizes.
//!
//! `cargo run --release -p tsdb --example catalogue [series]`

use std::{error::Error, hint::black_box, path::Path, time::Instant};

use model::{LabelSet, MatchOp, Matcher};
use roaring::RoaringBitmap;
use tsdb::{
    SeriesKey,
    catalogue::{Catalogue, Unsaved},
};

const METRICS: usize = 250;

fn main() -> Result<(), Box<dyn Error>> {
    let series: usize = match std::env::args().nth(1) {
        Some(series) => series.parse()?,
        None => 1_000_000,
    };
    let dir = std::env::temp_dir().join(format!("catalogue-{}", std::process::id()));
    let measured = measure(series, &dir);
    std::fs::remove_dir_all(&dir)?;
    measured
}

fn measure(series: usize, dir: &Path) -> Result<(), Box<dyn Error>> {
    let disk = journal::RealDisk;
    journal::Disk::create_dir_all(&disk, dir)?;
    let base = resident();
    let mut catalogue = Catalogue::default();
    catalogue.build_tables();
    let (mut inserting, mut saving, mut worst) = (0.0, 0.0, 0.0_f64);
    let (mut bytes, mut some) = (0, LabelSet::empty());
    // A target at a time, so that making the labels is not measured and keeps no memory.
    for target in 0..series / METRICS {
        let sets: Vec<LabelSet> = (0..METRICS).map(|metric| labels(target, metric)).collect();
        bytes += sets
            .iter()
            .map(|labels| labels.as_bytes().len())
            .sum::<usize>();
        let start = Instant::now();
        for (metric, labels) in sets.iter().enumerate() {
            // As the store does for an unknown key.
            if catalogue.id_of_labels(labels).is_none() {
                let id = catalogue.next_id();
                catalogue.insert(key(target * METRICS + metric), id, branch(target), labels);
            }
        }
        let took = start.elapsed().as_secs_f64();
        inserting += took;
        worst = worst.max(took);
        some = sets[0].clone();
        if catalogue.has_full_unsaved() {
            let start = Instant::now();
            for image in catalogue.unsaved(Unsaved::Full) {
                let saved = image.write(&disk, dir)?;
                catalogue.mark_saved(saved);
            }
            saving += start.elapsed().as_secs_f64();
        }
    }
    let count = catalogue.len() as f64;
    println!(
        "series                {count}, of {:.0} bytes of labels",
        bytes as f64 / count
    );
    println!(
        "new series            {:.0} ns each, worst target {:.2} ms",
        inserting / count * 1e9,
        worst * 1e3
    );
    println!("freeze and save       {:.0} ns each", saving / count * 1e9);
    println!(
        "memory                {:.1} B each by its own count, {:.1} B resident",
        catalogue.bytes() as f64 / count,
        (resident() - base) / count
    );
    assert!(catalogue.id_of_labels(&some).is_some());

    for image in catalogue.unsaved(Unsaved::All) {
        let saved = image.write(&disk, dir)?;
        catalogue.mark_saved(saved);
    }
    println!(
        "files                 {:.1} B each",
        catalogue.file_bytes() as f64 / count
    );
    let listed = catalogue.listed();
    drop(catalogue);

    let start = Instant::now();
    let (mut catalogue, damage) = Catalogue::load(&disk, dir, &listed)?;
    println!(
        "load                  {:.0} ms",
        start.elapsed().as_secs_f64() * 1e3
    );
    assert_eq!((catalogue.len() as f64, damage.len()), (count, 0));
    queries(&catalogue)?;
    let start = Instant::now();
    catalogue.build_tables();
    println!(
        "tables                {:.0} ms",
        start.elapsed().as_secs_f64() * 1e3
    );
    // What was freed before is used again: resident memory says nothing here.
    println!(
        "memory after load     {:.1} B each by its own count",
        catalogue.bytes() as f64 / count
    );
    lookups(&catalogue, series / METRICS * METRICS);
    let live =
        RoaringBitmap::from_iter(catalogue.select(&[]).iter().filter(|id| id / 250 % 2 == 0));
    let start = Instant::now();
    catalogue.retain(&live);
    println!(
        "half of it dies       {:.0} ms",
        start.elapsed().as_secs_f64() * 1e3
    );
    let start = Instant::now();
    for image in catalogue.unsaved(Unsaved::All) {
        let saved = image.write(&disk, dir)?;
        catalogue.mark_saved(saved);
    }
    println!(
        "compact and save      {:.0} ms",
        start.elapsed().as_secs_f64() * 1e3
    );
    Ok(())
}

fn queries(catalogue: &Catalogue) -> Result<(), Box<dyn Error>> {
    let equal = Matcher::equal;
    let all = catalogue.select(&[]);
    for (what, matchers) in [
        ("all", vec![]),
        (
            "one metric",
            vec![equal("__name__", "node_metric_17_total")],
        ),
        ("one target", vec![equal("instance", "10.0.7.7:9100")]),
        (
            "one series",
            vec![
                equal("__name__", "node_metric_17_total"),
                equal("instance", "10.0.7.7:9100"),
            ],
        ),
        (
            "regex",
            vec![Matcher::new(MatchOp::Regex, "instance", ".*7:9100")?],
        ),
        (
            "not",
            vec![Matcher::new(MatchOp::NotEqual, "mode", "idle")?],
        ),
    ] {
        let time = best(|| {
            black_box(catalogue.select(&matchers));
        });
        println!(
            "select {what:14} {:.0} µs, {} series",
            time * 1e6,
            catalogue.select(&matchers).len()
        );
    }
    let some = catalogue.select(&[equal("mode", "idle")]);
    for (what, ids) in [("all", &all), ("some", &some)] {
        let values = best(|| {
            black_box(catalogue.label_values("instance", ids));
        });
        let names = best(|| {
            black_box(catalogue.label_names(ids));
        });
        println!(
            "values, names of {what:4} {:.0} µs, {:.0} µs",
            values * 1e6,
            names * 1e6
        );
    }
    let ids: Vec<u32> = all.iter().step_by(7).collect();
    let time = best(|| {
        ids.iter()
            .for_each(|id| drop(black_box(catalogue.labels(*id))))
    });
    println!(
        "labels                {:.0} ns each",
        time / ids.len() as f64 * 1e9
    );
    let live = RoaringBitmap::from_iter(all.iter().step_by(2));
    let time = best(|| {
        black_box(catalogue.count_dead(&live));
    });
    println!("count dead            {:.0} µs", time * 1e6);
    Ok(())
}

fn lookups(catalogue: &Catalogue, series: usize) {
    let in_order: Vec<SeriesKey> = (0..series).map(key).collect();
    // A step that has no factor in common with any such number.
    let shuffled: Vec<SeriesKey> = (0..series).map(|i| key((i * 7_368_787) % series)).collect();
    let mut ids = Vec::new();
    for (what, keys) in [("predicted", &in_order), ("table", &shuffled)] {
        let time = best(|| {
            for request in keys.chunks(1_800) {
                catalogue.resolve(request, &mut ids);
                black_box(&ids);
            }
        });
        println!(
            "look-up, {what:12} {:.1} ns each",
            time / series as f64 * 1e9
        );
    }
    let sets: Vec<LabelSet> = (0..series.min(50_000))
        .map(|i| labels(i / METRICS, i % METRICS))
        .collect();
    let time = best(|| {
        sets.iter().for_each(|labels| {
            black_box(catalogue.id_of_labels(labels));
        })
    });
    println!(
        "look-up, by labels    {:.0} ns each",
        time / sets.len() as f64 * 1e9
    );
}

fn best(mut run: impl FnMut()) -> f64 {
    let mut times = [0.0; 3];
    for time in &mut times {
        let start = Instant::now();
        run();
        *time = start.elapsed().as_secs_f64();
    }
    times.into_iter().fold(f64::MAX, f64::min)
}

fn branch(target: usize) -> &'static str {
    const BRANCHES: [&str; 4] = [
        "branch-berlin",
        "branch-hamburg",
        "branch-madrid",
        "branch-lisbon",
    ];
    BRANCHES[target / 50 % BRANCHES.len()]
}

fn labels(target: usize, metric: usize) -> LabelSet {
    let instance = format!("10.0.{}.{}:9100", target / 250, target % 250);
    let host = format!("host-{target:05}.example.org");
    let mut pairs = vec![
        ("__name__", format!("node_metric_{}_total", metric / 3)),
        ("branch", branch(target).to_owned()),
        ("env", "production".to_owned()),
        ("host", host),
        ("instance", instance),
        ("job", "node-exporter".to_owned()),
        ("region", "eu-central-1".to_owned()),
        ("team", "infrastructure".to_owned()),
    ];
    if metric < 96 {
        let mode = [
            "idle", "user", "system", "iowait", "irq", "softirq", "steal", "nice",
        ][metric % 8];
        pairs.push(("cpu", (metric / 8).to_string()));
        pairs.push(("mode", mode.to_owned()));
    } else {
        pairs.push(("device", format!("sd{}", metric % 11)));
    }
    LabelSet::from_pairs(pairs).unwrap_or_default()
}

/// As random as a keyed hash.
fn key(number: usize) -> SeriesKey {
    let mut z = number as u64;
    let mut half = || {
        z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = z;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    };
    SeriesKey::from_bits(u128::from(half()) << 64 | u128::from(half()))
}

/// Resident memory in bytes.
fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<f64>().ok());
    kib.unwrap_or(0.0) * 1024.0
}
