//! Our scraping against Debian's Prometheus: the same configuration, the same targets, the same series.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::{Path as UrlPath, RawQuery, State};
use daemon::{SystemClock, Tasks};
use model::{LabelSet, Value};

use super::told::Told;
use super::*;
use crate::config::EdgeConfig;
use crate::kept::Kept;

/// What a scraper knows now: series that are not stale, and their values as Prometheus prints them.
pub(super) type Current = BTreeMap<String, String>;

#[derive(Default)]
pub(super) struct Latest {
    series: Mutex<BTreeMap<String, (i64, f64)>>,
    told: Told,
}

impl Sink for Latest {
    fn append(&self, scrape: &Scrape) -> Result<(), NotKept> {
        let scrape = self.told.completed(scrape)?;
        let mut series = self.series.lock().unwrap();
        for (of, sample) in &scrape.series {
            let labels = of.labels.as_ref().unwrap();
            let Value::Float(value) = sample.value else {
                continue;
            };
            let entry = series.entry(labels.to_string()).or_insert((i64::MIN, 0.0));
            if sample.at.millis() >= entry.0 {
                *entry = (sample.at.millis(), value);
            }
        }
        Ok(())
    }
}

impl Latest {
    pub(super) fn current(&self) -> Current {
        let series = self.series.lock().unwrap();
        let live = series
            .iter()
            .filter(|(_, (_, value))| !model::is_stale(*value));
        live.map(|(labels, (_, value))| (labels.clone(), wire::exposition::format_float(*value)))
            .collect()
    }
}

pub(super) struct Prometheus {
    child: Child,
    url: String,
    client: reqwest::Client,
    _folder: tempfile::TempDir,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Prometheus {
    pub(super) fn start(binary: &Path, config: &str) -> Prometheus {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("prometheus.yml");
        std::fs::write(&file, config).unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let child = Command::new(binary)
            .arg(format!("--config.file={}", file.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                folder.path().join("data").display()
            ))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let url = format!("http://127.0.0.1:{port}/api/v1/query");
        Prometheus {
            child,
            url,
            client: daemon::http::client(&Default::default()).unwrap(),
            _folder: folder,
        }
    }

    pub(super) async fn current(&self) -> Current {
        let url =
            reqwest::Url::parse_with_params(&self.url, [("query", "{job_kind=\"x\"}")]).unwrap();
        let request = self.client.get(url);
        let Ok(answer) = request.send().await else {
            return Current::new(); // not up yet
        };
        let text = answer.text().await.unwrap_or_default();
        let answer: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
        let result = answer["data"]["result"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let series = result.iter().map(|series| {
            let labels: BTreeMap<String, String> =
                serde_json::from_value(series["metric"].clone()).unwrap();
            let value: f64 = series["value"][1].as_str().unwrap().parse().unwrap();
            (
                LabelSet::from_pairs(labels).unwrap().to_string(),
                wire::exposition::format_float(value),
            )
        });
        series.collect()
    }
}

pub(super) fn binary() -> Option<PathBuf> {
    let target = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()?
        .join("target/peers/usr/bin/prometheus");
    let from_environment = std::env::var_os("BRANCHLINE_PROMETHEUS").map(PathBuf::from);
    from_environment
        .into_iter()
        .chain([target])
        .find(|path| path.is_file())
}

/// Every job scrapes the same page, each with other settings.
fn config(address: &str) -> String {
    let job = |name: &str, settings: &str| {
        format!(
            "- job_name: {name}\n  metrics_path: /{name}\n  static_configs: [{{targets: ['{address}'], labels: {{rack: r1, job_kind: x}}}}]\n{settings}"
        )
    };
    let jobs = [
        job("plain", ""),
        job("honor", "  honor_labels: true\n"),
        job("own_time_ignored", "  honor_timestamps: false\n"),
        job("too_many", "  sample_limit: 4\n"),
        job("too_wide", "  label_limit: 6\n"),
        job("too_long", "  label_value_length_limit: 12\n"),
        job("too_big", "  body_size_limit: 64B\n"),
        job("broken", ""),
        job("missing", ""),
        job("param", "  params: {a: [x, y], b: ['1 2']}\n"),
        job(
            "rules",
            "  relabel_configs:\n  - {source_labels: [__address__], target_label: instance, regex: '(.*):.*', replacement: 'host-$1'}\n  \
             - {target_label: __param_module, replacement: icmp}\n  - {regex: job_(.*), action: labelmap}\n  - {regex: rack, action: labeldrop}\n  \
             metric_relabel_configs:\n  - {source_labels: [__name__], regex: dropped.*, action: drop}\n  - {regex: 'quoted|exported_.*', action: labeldrop}\n  \
             - {source_labels: [color], target_label: shade, replacement: 'dark-$1', regex: (r.*)}\n  - {source_labels: [color], modulus: 7, target_label: hash, action: hashmod}\n",
        ),
        job(
            "nobody",
            "  relabel_configs: [{source_labels: [rack], regex: r1, action: drop}]\n",
        ),
    ];
    format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\nscrape_configs:\n{}",
        jobs.concat()
    )
}

const PAGE: &str = "# HELP colors Some help.\n# TYPE colors gauge\ncolors{color=\"red\"} 1\ncolors{color=\"blue\",job=\"mine\"} 2\n\
colors{color=\"green\",instance=\"there\",exported_instance=\"elsewhere\"} 3\ncolors{color=\"\",job=\"\"} 4\n\
quoted{quoted=\"a \\\"b\\\" \\\\ c\\nd\"} -1.5e-7\n# TYPE lat histogram\nlat_bucket{le=\"0.5\"} 3\nlat_bucket{le=\"+Inf\"} 4\nlat_sum 1.25\nlat_count 4\n\
twice 1\ntwice 2\ntwice{} 3\ndropped_a 1\ndropped_b 2\nnot_a_number NaN\nendless -Inf\n";

#[derive(Clone)]
struct Pages {
    /// What every job shows.
    text: Arc<Mutex<String>>,
}

async fn page(
    State(pages): State<Pages>,
    UrlPath(job): UrlPath<String>,
    RawQuery(query): RawQuery,
) -> axum::response::Response {
    let text = pages.text.lock().unwrap().clone();
    let (status, body) = match job.as_str() {
        "broken" => (200, format!("{text}this is {{no sample\n")),
        "missing" => (404, String::new()),
        _ => (
            200,
            format!("{text}asked{{query=\"{}\"}} 1\n", query.unwrap_or_default()),
        ),
    };
    axum::response::Response::builder()
        .status(status)
        .header("content-type", "text/plain; version=0.0.4")
        .body(axum::body::Body::from(body))
        .unwrap()
}

/// Compares until both agree, or for good.
async fn agree(
    what: &str,
    ours: &Latest,
    theirs: &Prometheus,
    expected: impl Fn(&Current) -> bool,
) {
    let comparable = |mut current: Current| {
        current.retain(|labels, _| !labels.starts_with("scrape_duration_seconds"));
        current
    };
    let mut difference = String::new();
    for _ in 0..120 {
        tokio::time::sleep(Duration::from_millis(250)).await;
        let (ours, theirs) = (
            comparable(ours.current()),
            comparable(theirs.current().await),
        );
        if ours == theirs && expected(&ours) {
            return;
        }
        let missing = theirs
            .iter()
            .filter(|(labels, value)| ours.get(*labels) != Some(*value));
        let extra = ours
            .iter()
            .filter(|(labels, value)| theirs.get(*labels) != Some(*value));
        difference = format!(
            "only Prometheus: {:#?}\nonly ours: {:#?}",
            missing.collect::<Vec<_>>(),
            extra.collect::<Vec<_>>()
        );
    }
    panic!("{what}: no agreement\n{difference}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_series_as_prometheus() {
    let Some(binary) = binary() else {
        println!(
            "left out: scraping against Prometheus: set BRANCHLINE_PROMETHEUS or run tests/run --peers"
        );
        return;
    };
    let tasks = Tasks::new();
    let listener = daemon::http::listen("127.0.0.1:0".parse().unwrap())
        .await
        .unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let pages = Pages {
        text: Arc::new(Mutex::new(PAGE.to_owned())),
    };
    let router = axum::Router::new()
        .route("/{job}", axum::routing::get(page))
        .with_state(pages.clone());
    daemon::http::serve(listener, router, &tasks);

    let text = config(&address);
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

    agree("the whole page", &ours, &theirs, |current| {
        current.len() > 100
    })
    .await;
    // A series goes, one comes, and one of a pair of duplicates goes.
    let changed = PAGE
        .replace("colors{color=\"red\"} 1\n", "")
        .replace("twice 1\ntwice 2\n", "")
        .replace("endless -Inf\n", "endless +Inf\nnew 5\n");
    *pages.text.lock().unwrap() = changed;
    agree("series went and came", &ours, &theirs, |current| {
        !current
            .keys()
            .any(|labels| labels.starts_with("colors{color=\"red\""))
            && current.keys().any(|labels| labels.starts_with("new{"))
    })
    .await;
    *pages.text.lock().unwrap() = String::from("nothing but an error {");
    agree("every scrape fails", &ours, &theirs, |current| {
        current
            .iter()
            .all(|(labels, value)| !labels.starts_with("up{") || value == "0")
    })
    .await;
    manager.stop().await.unwrap();
}
