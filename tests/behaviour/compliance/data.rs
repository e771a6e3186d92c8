//! The demo service that the compliance queries ask about: three instances, scraped every five seconds, with a counter reset, missing
//! scrapes, and a metric that comes and goes with staleness markers.

use std::time::{SystemTime, UNIX_EPOCH};

use tests::remote_write;
use wire::remote_write::proto::TimeSeries;

use super::random::Random;

const INSTANCES: usize = 3;
const SCRAPES: i64 = 600;
const SCRAPE_MS: i64 = 5_000;
/// After whole seconds: see the module above.
const SAMPLE_OFFSET_MS: i64 = 137;
const QUERY_OFFSET_MS: i64 = 317;
/// As many scrapes as one request brings.
const BATCH_SCRAPES: i64 = 60;
/// How much of the data lies before the first query time: the longest range or offset asked often, and some more.
const LEAD_MS: i64 = 30 * 60_000;
/// Prometheus's staleness marker.
const STALE: u64 = 0x7ff0_0000_0000_0002;

const BOUNDS: [&str; 8] = ["0.005", "0.01", "0.05", "0.1", "0.5", "1", "5", "+Inf"];

/// A series with its own walk through the scrapes.
struct Walk {
    labels: Vec<(&'static str, String)>,
    instance: usize,
    values: Vec<Option<f64>>,
}

pub(super) struct Data {
    first: i64,
    walks: Vec<Walk>,
}

impl Data {
    /// The last scrape is half a minute old.
    pub(super) fn until_now() -> Self {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("after 1970");
        let end = now.as_secs() as i64 * 1000 - 30_000;
        let first = end - end.rem_euclid(60_000) - SCRAPES * SCRAPE_MS + SAMPLE_OFFSET_MS;
        let mut random = Random::of(7);
        let walks = (0..INSTANCES)
            .flat_map(|instance| instance_walks(instance, &mut random))
            .collect();
        Self { first, walks }
    }

    pub(super) fn asked_from(&self) -> i64 {
        self.first - SAMPLE_OFFSET_MS + QUERY_OFFSET_MS + LEAD_MS
    }

    /// In order of time, as a sender would.
    pub(super) fn batches(&self) -> impl Iterator<Item = Vec<TimeSeries>> {
        (0..SCRAPES / BATCH_SCRAPES).map(|batch| {
            let scrapes = batch * BATCH_SCRAPES..(batch + 1) * BATCH_SCRAPES;
            let series = self.walks.iter().map(|walk| {
                let labels: Vec<(&str, &str)> = walk
                    .labels
                    .iter()
                    .map(|(name, value)| (*name, value.as_str()))
                    .collect();
                let samples: Vec<(i64, f64)> = scrapes
                    .clone()
                    .filter_map(|scrape| {
                        // Instances are scraped one after the other.
                        let at = self.first + scrape * SCRAPE_MS + walk.instance as i64 * 1_111;
                        Some((at, walk.values[scrape as usize]?))
                    })
                    .collect();
                remote_write::series(&labels, &samples)
            });
            series.filter(|series| !series.samples.is_empty()).collect()
        })
    }
}

/// Scrapes that failed.
fn is_missing(instance: usize, scrape: i64) -> bool {
    (scrape + 13 * instance as i64) % 97 < 2 || (instance == 1 && (400..470).contains(&scrape))
}

fn instance_walks(instance: usize, random: &mut Random) -> Vec<Walk> {
    let mut walks = Vec::new();
    let mut add =
        |name: &str, more: &[(&'static str, &str)], next: &mut dyn FnMut(i64) -> Option<f64>| {
            let mut labels = vec![
                ("__name__", name.to_owned()),
                ("instance", format!("demo.promlabs.com:1000{instance}")),
                ("job", "demo".to_owned()),
            ];
            labels.extend(
                more.iter()
                    .map(|(name, value)| (*name, (*value).to_owned())),
            );
            labels.sort();
            let values =
                (0..SCRAPES).map(|scrape| next(scrape).filter(|_| !is_missing(instance, scrape)));
            walks.push(Walk {
                labels,
                instance,
                values: values.collect(),
            });
        };
    for kind in ["used", "free", "cached", "buffers"] {
        let mut at = 1e9 + random.unit() * 1e9;
        let mut next = |_| {
            at += (random.unit() - 0.5) * 1e7;
            Some(at.round())
        };
        add("demo_memory_usage_bytes", &[("type", kind)], &mut next);
    }
    add("demo_num_cpus", &[], &mut |_| Some(4.0));
    for mode in ["user", "system", "idle"] {
        let mut at = 1e5 + random.unit() * 1e5;
        let mut next = |scrape| {
            // One instance restarts.
            at = if scrape == 333 && instance == 2 {
                0.0
            } else {
                at + random.unit() * 5.0
            };
            Some(at)
        };
        add("demo_cpu_usage_seconds_total", &[("mode", mode)], &mut next);
    }
    let mut disk = 1e11 * (1.0 + random.unit());
    let mut used = |_| {
        disk += random.unit() * 1e6;
        Some(disk.round())
    };
    add("demo_disk_usage_bytes", &[], &mut used);
    add("demo_disk_total_bytes", &[], &mut |_| {
        Some(268_435_456_000.0)
    });
    for (method, path, status) in [
        ("GET", "/api/foo", "200"),
        ("GET", "/api/foo", "500"),
        ("POST", "/api/bar", "200"),
        ("GET", "/api/nonexistent", "404"),
    ] {
        requests(
            [("method", method), ("path", path), ("status", status)],
            random,
            &mut add,
        );
    }
    let mut batch = 1.6e9;
    let mut success = |scrape| {
        if scrape % 50 == 7 {
            batch = 1.6e9 + scrape as f64 * 5.0;
        }
        Some(batch)
    };
    add(
        "demo_batch_last_success_timestamp_seconds",
        &[],
        &mut success,
    );
    let mut intermittent = |scrape: i64| match scrape % 40 {
        0..25 => Some(1.0),
        25 => Some(f64::from_bits(STALE)),
        _ => None,
    };
    add("demo_intermittent_metric", &[], &mut intermittent);
    walks
}

/// Adds a series: its name, its labels, and what its value is at each scrape.
type Add<'a> = dyn FnMut(&str, &[(&'static str, &str)], &mut dyn FnMut(i64) -> Option<f64>) + 'a;

/// A classic histogram: buckets that add up, their count, and a sum.
fn requests(labels: [(&'static str, &str); 3], random: &mut Random, add: &mut Add<'_>) {
    const NAME: &str = "demo_api_request_duration_seconds";
    let mut counts = vec![[0_u64; BOUNDS.len()]; SCRAPES as usize];
    let mut now = [100_000_u64; BOUNDS.len()];
    for at in &mut counts {
        let mut below = 0;
        for count in &mut now {
            // What falls into this bucket and not into one before it.
            below += (random.unit() * 6.0) as u64;
            *count += below;
        }
        *at = now;
    }
    for (index, bound) in BOUNDS.iter().enumerate() {
        let mut more = labels.to_vec();
        more.push(("le", bound));
        let mut next = |scrape: i64| Some(counts[scrape as usize][index] as f64);
        add(&format!("{NAME}_bucket"), &more, &mut next);
    }
    let total = |scrape: i64| counts[scrape as usize][BOUNDS.len() - 1] as f64;
    add(&format!("{NAME}_count"), &labels, &mut |scrape| {
        Some(total(scrape))
    });
    add(&format!("{NAME}_sum"), &labels, &mut |scrape| {
        Some(total(scrape) * 0.321)
    });
}
