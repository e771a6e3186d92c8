//! Spoilt pages, served to Debian's Prometheus and to our scraper: both take the same ones, and read the same from them, but for
//! what [`explained`] lists.
//!
//! Each page is scraped several times, so that ours is read by the knowledge of the scrape before, too. `BRANCHLINE_SEED=N` spoils in
//! another way.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path as UrlPath, State};
use daemon::{SystemClock, Tasks};
use model::{LabelSet, is_legacy_label_name, is_legacy_metric_name};

use super::peer::{Latest, Prometheus, binary};
use super::*;
use crate::config::EdgeConfig;
use crate::kept::Kept;

const PAGES: usize = 500;
const WITHIN: Duration = Duration::from_secs(90);

const CLASSIC: [&str; 4] = [
    "# HELP http_requests_total The \\\"total\\\" number of\\nHTTP requests.\n# TYPE http_requests_total counter\nhttp_requests_total{method=\"post\",code=\"200\"} 1027\nhttp_requests_total{method=\"post\",code=\"400\"}    3 1395066363000\n",
    "# Escaping in label values:\nmsdos_file_access_time_seconds{path=\"C:\\\\DIR\\\\FILE.TXT\",error=\"Cannot find file:\\n\\\"FILE.TXT\\\"\"} 1.458255915e9\n\n# Minimalistic line:\nmetric_without_timestamp_and_labels 12.47\n",
    "# TYPE wait histogram\nwait_bucket{le=\"0.05\"} 24054\nwait_bucket{le=\"1\"} 133988\nwait_bucket{le=\"+Inf\"} 144320\nwait_sum 53423\nwait_count 144320\n# TYPE rpc summary\nrpc{quantile=\"0.5\"} 4773\nrpc_sum 1.7560473e+07\nrpc_count 2693\n",
    "a{} 1\nb {x = \"y\" , z=\"\",} +Inf\nc{x=\"1\"} NaN\nc{x=\"1\"} 5\n\td -3.5e-7\n# a comment\n#\ne{l=\"\u{e4}\u{4e16}\"} 0\n",
];

const OPEN_METRICS: [&str; 3] = [
    "# TYPE a counter\n# HELP a Some \\\\ \\\"help\\\"\na_total{x=\"1\"} 17.0 1520879607.789 # {id=\"counter-test\"} 5\na_created{x=\"1\"} 1520430000.123\n# EOF\n",
    "# TYPE wait_seconds histogram\n# UNIT wait_seconds seconds\nwait_seconds_bucket{le=\"0.1\"} 8 # {} 0.054\nwait_seconds_bucket{le=\"1\"} 10 # {trace=\"KOO5S4vxi0o\"} 0.67\nwait_seconds_bucket{le=\"+Inf\"} 17 # {trace=\"oHg5SJYRHA0\"} 9.8 1520879607.789\nwait_seconds_count 17\nwait_seconds_sum 324789.3\n# EOF\n",
    "# TYPE foo info\nfoo_info{name=\"pretty\\nname\",version=\"8.2\"} 1\n# TYPE s stateset\ns{s=\"a\"} 1\ns{s=\"b\"} 0\n# TYPE g gauge\ng -Inf\n# TYPE q summary\nq{quantile=\"0.95\"} 123.7\nq_count 5\n# EOF\n",
];

/// The same pages for the same seed (xorshift).
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }

    fn spoil(&mut self, page: &str) -> Vec<u8> {
        const BYTES: &[u8] = b"{}\"\\=,#_ab0159 \t\n.e+-:NIETHU\xc3\xff\0";
        let mut bytes = page.as_bytes().to_vec();
        for _ in 0..1 + self.below(2) {
            if bytes.is_empty() {
                break;
            }
            let at = self.below(bytes.len());
            let byte = BYTES[self.below(BYTES.len())];
            match self.below(6) {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                2 => drop(bytes.remove(at)),
                3 => {
                    let end = at + 1 + self.below(bytes.len() - at);
                    bytes.drain(at..end.min(at + 12));
                }
                4 => {
                    let end = at + 1 + self.below(bytes.len() - at);
                    let piece = bytes[at..end.min(at + 30)].to_vec();
                    let to = self.below(bytes.len());
                    bytes.splice(to..to, piece);
                }
                _ => {
                    let other = self.below(bytes.len());
                    bytes.swap(at, other);
                }
            }
        }
        bytes
    }
}

struct Page {
    open_metrics: bool,
    bytes: Vec<u8>,
}

async fn page(
    State(pages): State<Arc<Vec<Page>>>,
    UrlPath(index): UrlPath<usize>,
) -> axum::response::Response {
    let kind = match pages[index].open_metrics {
        true => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        false => "text/plain; version=0.0.4; charset=utf-8",
    };
    axum::response::Response::builder()
        .header("content-type", kind)
        .body(axum::body::Body::from(pages[index].bytes.clone()))
        .unwrap()
}

/// What a scraper has of each page: whether it took it, and its series, without the labels that the target gave them.
type Verdicts = BTreeMap<usize, BTreeMap<String, String>>;

fn verdicts(current: &BTreeMap<String, String>) -> Verdicts {
    let mut verdicts = Verdicts::new();
    for (labels, value) in current {
        // As Prometheus prints it, which is JSON's form within braces.
        let Some(labels) = parse(labels) else {
            panic!("{labels}");
        };
        let name = labels.name().unwrap_or_default().to_owned();
        if name.starts_with("scrape_") {
            continue;
        }
        let index: usize = labels.get("page").unwrap().parse().unwrap();
        let mut plain = labels.builder();
        for own in ["page", "job", "job_kind", "instance"] {
            plain.del(own);
        }
        for bound in ["le", "quantile"] {
            // Prometheus 3 makes one form of them, 2 leaves them as they are.
            let form = labels.get(bound).and_then(|text| text.parse::<f64>().ok());
            if let Some(number) = form {
                plain.set(bound, number.to_string());
            }
        }
        let series = plain.build().to_string();
        verdicts
            .entry(index)
            .or_default()
            .insert(series, value.clone());
    }
    verdicts
}

/// Reads what [`LabelSet`] prints.
fn parse(text: &str) -> Option<LabelSet> {
    let line = format!("{text} 1\n");
    let mut parser =
        wire::exposition::Parser::new(wire::exposition::Format::Classic, line.as_bytes());
    match parser.next_entry().ok()?? {
        wire::exposition::Entry::Sample(sample) => sample.labels.to_label_set().ok(),
        _ => None,
    }
}

/// Why Debian's Prometheus, of version 2, reads a page otherwise than we and Prometheus 3 do.
fn explained(page: &Page, ours: &BTreeMap<String, String>) -> Option<&'static str> {
    let text = String::from_utf8_lossy(&page.bytes);
    let squeezed: String = text.chars().filter(|c| !matches!(c, ' ' | '\t')).collect();
    let braces = squeezed.contains("{\"")
        || squeezed.contains(",\"")
        || squeezed.contains("\n{")
        || squeezed.starts_with('{');
    let quoted_family = ["HELP\"", "TYPE\"", "UNIT\""]
        .iter()
        .any(|word| squeezed.contains(word));
    if braces || quoted_family {
        return Some("Prometheus 3 takes metric and label names in quotes");
    }
    let foreign = ours
        .keys()
        .filter_map(|series| parse(series))
        .any(|labels| {
            labels.iter().any(|(name, _)| !is_legacy_label_name(name))
                || labels
                    .name()
                    .is_some_and(|name| !is_legacy_metric_name(name))
        });
    if foreign {
        return Some("Prometheus 3 takes names of any characters");
    }
    let exemplar_of_another = |line: &str| {
        let name = line.split(['{', ' ']).next().unwrap_or_default();
        line.contains(" # {") && !name.ends_with("_bucket") && !name.ends_with("_total")
    };
    if page.open_metrics && text.lines().any(exemplar_of_another) {
        return Some("Prometheus 3 takes exemplars of any series");
    }
    if page.open_metrics && text.contains(",}") {
        return Some("Prometheus 3 takes a comma behind the last label of OpenMetrics");
    }
    if page.bytes.contains(&0) {
        return Some("what a NUL byte ends differs between the versions");
    }
    if std::str::from_utf8(&page.bytes).is_err() {
        return Some("Prometheus 3 refuses more of what is not UTF-8");
    }
    None
}

#[tokio::test(flavor = "multi_thread")]
async fn spoilt_pages_are_read_as_prometheus_reads_them() {
    let Some(binary) = binary() else {
        println!(
            "left out: spoilt pages against Prometheus: set BRANCHLINE_PROMETHEUS or run tests/run --peers"
        );
        return;
    };
    let seed = std::env::var("BRANCHLINE_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let mut chance = Chance(0x9e37_79b9_7f4a_7c15 ^ seed.unwrap_or(1_u64));
    let pages: Vec<Page> = (0..PAGES)
        .map(|index| {
            let open_metrics = index % 2 == 1;
            let page = match open_metrics {
                true => OPEN_METRICS[chance.below(OPEN_METRICS.len())],
                false => CLASSIC[chance.below(CLASSIC.len())],
            };
            let bytes = chance.spoil(page);
            Page {
                open_metrics,
                bytes,
            }
        })
        .collect();
    let pages = Arc::new(pages);
    let tasks = Tasks::new();
    let listener = daemon::http::listen("127.0.0.1:0".parse().unwrap())
        .await
        .unwrap();
    let address = listener.local_addr().unwrap();
    let router = axum::Router::new()
        .route("/{index}", axum::routing::get(page))
        .with_state(Arc::clone(&pages));
    daemon::http::serve(listener, router, &tasks);

    let targets: String = (0..PAGES)
        .map(|index| format!("  - {{targets: ['{address}'], labels: {{job_kind: x, page: '{index}', __metrics_path__: '/{index}'}}}}\n"))
        .collect();
    let text = format!(
        "global: {{scrape_interval: 3s, scrape_timeout: 3s}}\nscrape_configs:\n- job_name: spoilt\n  honor_timestamps: false\n  static_configs:\n{targets}"
    );
    let theirs = Prometheus::start(&binary, &text);
    let config = EdgeConfig::parse(&text, Path::new("edge.yml")).unwrap();
    let ours = Arc::new(Latest::default());
    let manager = Manager::start(
        Arc::new(SystemClock::new()),
        ours.clone(),
        "edge",
        Kept::default(),
        &tasks,
    );
    manager
        .apply(&config.jobs, &[], &LabelSet::empty())
        .unwrap();

    let scraped = |verdicts: &Verdicts| verdicts.len() == PAGES;
    let (mut ours_now, mut theirs_now) = (Verdicts::new(), Verdicts::new());
    let all = async {
        while !scraped(&ours_now) || !scraped(&theirs_now) {
            tokio::time::sleep(Duration::from_millis(500)).await;
            ours_now = verdicts(&ours.current());
            theirs_now = verdicts(&theirs.current().await);
        }
    };
    tokio::time::timeout(WITHIN, all)
        .await
        .expect("both have scraped every page");
    // Twice more, so that every page has been read with what was known of it.
    tokio::time::sleep(Duration::from_secs(7)).await;
    ours_now = verdicts(&ours.current());
    theirs_now = verdicts(&theirs.current().await);
    manager.stop().await.unwrap();

    let (mut wrong, mut reasons, mut taken) = (Vec::new(), BTreeSet::new(), 0);
    for (index, page) in pages.iter().enumerate() {
        let (ours, theirs) = (&ours_now[&index], &theirs_now[&index]);
        taken += usize::from(ours.len() > 1);
        if ours == theirs {
            continue;
        }
        match explained(page, ours) {
            Some(reason) => drop(reasons.insert(reason)),
            None => wrong.push(format!(
                "{:?}\n  ours   {ours:?}\n  theirs {theirs:?}",
                String::from_utf8_lossy(&page.bytes)
            )),
        }
    }
    println!("{taken} of {PAGES} pages have series; differences are explained by {reasons:?}");
    assert!(
        wrong.is_empty(),
        "{} pages are read otherwise:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert!(
        taken > PAGES / 10 && taken < PAGES,
        "{taken} pages have series"
    );
}
