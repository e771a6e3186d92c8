//! The manager with a clock that stands still, collectors as targets, and real HTTP where that is what matters.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use daemon::{Clock, SimClock, Tasks};
use model::{LabelSet, Timestamp, Value};

use super::told::Told;
use super::*;
use crate::collect::{CollectError, Collector};
use crate::config::{EdgeConfig, JobConfig};
use crate::kept::Kept;

/// Keeps what it gets as lines `at labels value`.
#[derive(Default)]
struct Store {
    lines: Mutex<Vec<String>>,
    told: Told,
    scrapes: AtomicUsize,
    full: std::sync::atomic::AtomicBool,
}

impl Sink for Store {
    fn append(&self, scrape: &Scrape) -> Result<(), NotKept> {
        if self.full.load(Ordering::SeqCst) {
            self.scrapes.fetch_add(1, Ordering::SeqCst);
            return Err(NotKept::Failed("disk full".to_owned()));
        }
        let scrape = self.told.completed(scrape)?;
        let mut lines = self.lines.lock().unwrap();
        for (series, sample) in &scrape.series {
            let labels = series.labels.as_ref().unwrap();
            if labels
                .name()
                .is_some_and(|name| name.starts_with("scrape_"))
            {
                continue;
            }
            let value = match &sample.value {
                value if value.is_stale() => "stale".to_owned(),
                Value::Float(value) => value.to_string(),
                other => format!("{other:?}"),
            };
            let labels = labels.builder().del("instance").build();
            lines.push(format!("{} {labels} {value}", sample.at.millis() / 1000));
        }
        self.scrapes.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

/// A page that a test may change.
struct Page {
    job: String,
    text: Mutex<String>,
}

impl Collector for Page {
    fn job(&self) -> &str {
        &self.job
    }

    fn collect(&self) -> Result<String, CollectError> {
        let text = self.text.lock().unwrap().clone();
        if text == "broken" {
            return Err(CollectError {
                collector: self.job.clone(),
                reason: text,
            });
        }
        Ok(text)
    }
}

struct Bench {
    clock: SimClock,
    store: Arc<Store>,
    manager: Arc<Manager>,
    tasks: Tasks,
    expected: usize,
}

const INTERVAL: Duration = Duration::from_secs(10);

impl Bench {
    fn new() -> Bench {
        let clock = SimClock::new(Timestamp::from_millis(0));
        let (store, tasks) = (Arc::new(Store::default()), Tasks::new());
        let manager = Manager::start(
            Arc::new(clock.clone()),
            store.clone(),
            "edge",
            Kept::default(),
            &tasks,
        );
        Bench {
            clock,
            store,
            manager,
            tasks,
            expected: 0,
        }
    }

    fn target(&self, page: &Arc<Page>) -> CollectorTarget {
        CollectorTarget {
            collector: page.clone(),
            instance: "me".into(),
            job: JobConfig::for_collector(&page.job, INTERVAL, INTERVAL),
        }
    }

    fn apply(&self, targets: &[CollectorTarget]) {
        self.manager
            .apply(&[], targets, &LabelSet::empty())
            .unwrap();
    }

    /// Lets time pass until `scrapes` more scrapes are stored; then returns the lines.
    async fn run(&mut self, scrapes: usize) -> Vec<String> {
        self.expected += scrapes;
        for _ in 0..60 {
            self.settle().await;
            if self.store.scrapes.load(Ordering::SeqCst) >= self.expected {
                break;
            }
            self.pass(Duration::from_secs(1)).await;
        }
        assert_eq!(
            self.store.scrapes.load(Ordering::SeqCst),
            self.expected,
            "scrapes stored"
        );
        std::mem::take(&mut *self.store.lines.lock().unwrap())
    }

    /// Lets time pass, from one sleeper's waking to the next.
    async fn pass(&self, time: Duration) {
        let until = self.clock.elapsed() + time;
        loop {
            self.settle().await;
            let now = self.clock.elapsed();
            if now >= until {
                return;
            }
            let next = self
                .clock
                .next_wake()
                .map_or(until, |next| next.clamp(now, until));
            self.clock.advance(next - now);
        }
    }

    /// Gives every task the time to do what it can do now.
    async fn settle(&self) {
        for _ in 0..20 {
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
    }

    /// The second at which the target is scraped first.
    fn second(lines: &[String]) -> i64 {
        lines[0].split(' ').next().unwrap().parse().unwrap()
    }
}

fn page(job: &str, text: &str) -> Arc<Page> {
    Arc::new(Page {
        job: job.into(),
        text: Mutex::new(text.into()),
    })
}

#[tokio::test]
async fn a_target_is_scraped_at_its_place_in_the_interval() {
    let mut bench = Bench::new();
    let node = page("node", "a 1\n");
    bench.apply(&[bench.target(&node)]);
    let first = bench.run(1).await;
    let at = Bench::second(&first);
    assert_eq!(
        first,
        [
            format!("{at} a{{job=\"node\"}} 1"),
            format!("{at} up{{job=\"node\"}} 1")
        ]
    );
    *node.text.lock().unwrap() = "broken".into();
    let second = bench.run(1).await;
    let at = at + 10;
    assert_eq!(
        second,
        [
            format!("{at} a{{job=\"node\"}} stale"),
            format!("{at} up{{job=\"node\"}} 0")
        ]
    );
    let status = bench.manager.status();
    let target = &status[0].active[0];
    assert_eq!(
        (target.health, target.last_error.as_deref()),
        (Health::Down, Some("collector node: broken"))
    );
    assert_eq!(
        (
            bench.manager.metrics().scrapes.get(),
            bench.manager.metrics().failed.get()
        ),
        (2, 1)
    );
}

#[tokio::test]
async fn a_reload_keeps_loop_and_place_and_misses_nothing() {
    let mut bench = Bench::new();
    let (node, other) = (page("node", "a 1\n"), page("other", "b 1\n"));
    bench.apply(&[bench.target(&node)]);
    let mut at = Bench::second(&bench.run(1).await);
    for second in 0..20 {
        // A reload every second that changes what does not matter, the external labels, or nothing.
        let external = [("site", if second < 13 { "" } else { "b07" })];
        let external = LabelSet::from_pairs(external).unwrap();
        bench
            .manager
            .apply(&[], &[bench.target(&node)], &external)
            .unwrap();
        bench.pass(Duration::from_secs(1)).await;
    }
    let lines = bench.run(2).await;
    at += 10;
    let later = at + 10;
    assert_eq!(
        lines,
        [
            format!("{at} a{{job=\"node\"}} 1"),
            format!("{at} up{{job=\"node\"}} 1"),
            format!("{later} a{{job=\"node\", site=\"b07\"}} 1"),
            format!("{later} a{{job=\"node\"}} stale"),
            format!("{later} up{{job=\"node\", site=\"b07\"}} 1"),
            format!("{later} up{{job=\"node\"}} stale"),
        ]
    );
    bench.apply(&[bench.target(&node), bench.target(&other)]);
    assert_eq!(bench.manager.status().len(), 2);
}

#[tokio::test]
async fn a_target_that_is_gone_becomes_stale_after_two_intervals() {
    let mut bench = Bench::new();
    let node = page("node", "a 1\n");
    bench.apply(&[bench.target(&node)]);
    let at = Bench::second(&bench.run(1).await);
    bench.apply(&[]);
    bench.settle().await;
    bench.pass(Duration::from_secs(20)).await;
    assert!(
        bench.store.lines.lock().unwrap().is_empty(),
        "it may come back"
    );
    let lines = bench.run(1).await;
    let next = at + 10;
    assert_eq!(
        lines,
        [
            format!("{next} a{{job=\"node\"}} stale"),
            format!("{next} up{{job=\"node\"}} stale")
        ]
    );
    assert!(bench.manager.status().is_empty());
}

#[tokio::test]
async fn a_target_that_comes_back_goes_on() {
    let mut bench = Bench::new();
    let node = page("node", "a 1\n");
    bench.apply(&[bench.target(&node)]);
    let at = Bench::second(&bench.run(1).await);
    bench.apply(&[]);
    bench.pass(Duration::from_secs(15)).await;
    bench.apply(&[bench.target(&node)]);
    let lines = bench.run(1).await;
    assert_eq!(Bench::second(&lines), at + 20);
    assert_eq!(lines.len(), 2, "{lines:?}");
    *node.text.lock().unwrap() = String::new();
    let lines = bench.run(1).await;
    assert!(
        lines[0].ends_with("a{job=\"node\"} stale"),
        "its series were not forgotten: {lines:?}"
    );
}

#[tokio::test]
async fn stopping_marks_nothing_stale() {
    let mut bench = Bench::new();
    let node = page("node", "a 1\n");
    bench.apply(&[bench.target(&node)]);
    bench.run(1).await;
    bench.manager.stop().await.unwrap();
    assert!(bench.store.lines.lock().unwrap().is_empty());
    bench.tasks.shutdown(Duration::from_secs(1)).await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_stored_is_counted() {
    let mut bench = Bench::new();
    let node = page("node", "a 1\n");
    bench.apply(&[bench.target(&node)]);
    bench.run(1).await;
    bench.store.full.store(true, Ordering::SeqCst);
    bench.run(1).await;
    assert_eq!(bench.manager.metrics().lost.get(), 6);
}

/// A target that answers what `answer` makes of its request.
async fn serve(
    tasks: &Tasks,
    answer: impl Fn(axum::http::HeaderMap) -> axum::response::Response + Clone + Send + Sync + 'static,
) -> String {
    let listener = daemon::http::listen("127.0.0.1:0".parse().unwrap())
        .await
        .unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let handler = move |headers: axum::http::HeaderMap| {
        let answer = answer.clone();
        async move { answer(headers) }
    };
    daemon::http::serve(
        listener,
        axum::Router::new().route("/metrics", axum::routing::get(handler)),
        tasks,
    );
    address
}

/// Scrapes one target of a job with these lines once; returns what is stored, and the error.
async fn scrape_http(
    lines: &str,
    answer: impl Fn(axum::http::HeaderMap) -> axum::response::Response + Clone + Send + Sync + 'static,
) -> (Vec<String>, Option<String>) {
    let tasks = Tasks::new();
    let address = serve(&tasks, answer).await;
    let text = format!(
        "scrape_configs:\n- job_name: a\n  scrape_interval: 1s\n  static_configs: [{{targets: ['{address}']}}]\n{lines}"
    );
    let config = EdgeConfig::parse(&text, Path::new("x")).unwrap();
    let clock = daemon::SystemClock::new();
    assert!(clock.elapsed() < Duration::from_secs(1));
    let store = Arc::new(Store::default());
    let manager = Manager::start(
        Arc::new(clock),
        store.clone(),
        "edge",
        Kept::default(),
        &tasks,
    );
    manager
        .apply(&config.jobs, &[], &LabelSet::empty())
        .unwrap();
    while store.scrapes.load(Ordering::SeqCst) == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    while manager.status()[0].active[0].health == Health::Unknown {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let error = manager.status()[0].active[0].last_error.clone();
    manager.stop().await.unwrap();
    let mut lines = store.lines.lock().unwrap().clone();
    lines
        .iter_mut()
        .for_each(|line| *line = line.split_once(' ').unwrap().1.to_owned());
    (lines, error)
}

fn text(body: impl Into<String>, content_type: &str) -> axum::response::Response {
    axum::response::Response::builder()
        .header("content-type", content_type)
        .body(axum::body::Body::from(body.into()))
        .unwrap()
}

#[tokio::test]
async fn pages_come_over_http_as_prometheus_asks_for_them() {
    let (lines, error) = scrape_http("  basic_auth: {username: u, password: p}\n", |headers| {
        let get = |name: &str| {
            headers
                .get(name)
                .map(|v| v.to_str().unwrap().to_owned())
                .unwrap_or_default()
        };
        assert_eq!(get("accept"), wire::exposition::ACCEPT);
        assert_eq!(get("x-prometheus-scrape-timeout-seconds"), "1");
        assert_eq!(get("authorization"), "Basic dTpw");
        assert!(get("accept-encoding").contains("gzip"));
        text(
            "# TYPE a counter\na_total 1.0\n# EOF\n",
            "application/openmetrics-text; version=1.0.0",
        )
    })
    .await;
    assert_eq!(
        (lines, error),
        (
            vec![
                "a_total{job=\"a\"} 1".to_owned(),
                "up{job=\"a\"} 1".to_owned()
            ],
            None
        )
    );
}

#[tokio::test]
async fn answers_that_are_no_page_fail_the_scrape() {
    let down = |lines: &[String]| assert_eq!(lines, ["up{job=\"a\"} 0"]);
    let folder = tempfile::tempdir().unwrap();
    let failures = folder.path().join("failures.log");
    let log_to = format!("  scrape_failure_log_file: {}\n", failures.display());
    let (lines, error) = scrape_http(&log_to, |_| {
        let mut answer = text("a 1\n", "text/plain");
        *answer.status_mut() = axum::http::StatusCode::SERVICE_UNAVAILABLE;
        answer
    })
    .await;
    down(&lines);
    let logged = std::fs::read_to_string(&failures).unwrap();
    let logged: serde_json::Value = serde_json::from_str(&logged).unwrap();
    assert_eq!(
        (&logged["job_name"], &logged["msg"]),
        (&"a".into(), &error.clone().unwrap().into())
    );
    assert_eq!(
        error.unwrap(),
        "server returned HTTP status 503 Service Unavailable"
    );
    let (lines, error) = scrape_http("", |_| text("a 1\n", "text/html")).await;
    down(&lines);
    assert!(error.unwrap().contains("text/html"));
    let (lines, error) = scrape_http("  body_size_limit: 1KB\n", |_| {
        text("a 1\n".repeat(300), "text/plain")
    })
    .await;
    down(&lines);
    assert_eq!(
        error.unwrap(),
        "body size limit exceeded: more than 1024 bytes"
    );
    let (lines, error) = scrape_http("  target_limit: 1\n  file_sd_configs: []\n", |_| {
        text("a 1\n", "text/plain")
    })
    .await;
    assert_eq!((lines.len(), error), (2, None));
}

#[tokio::test]
async fn a_fallback_protocol_reads_what_has_no_type() {
    let (lines, error) = scrape_http("  fallback_scrape_protocol: PrometheusText0.0.4\n", |_| {
        text("a 1\n", "")
    })
    .await;
    assert_eq!((lines.len(), error), (2, None));
}

#[tokio::test]
async fn a_reload_keeps_what_discovery_knows() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("t.json");
    std::fs::write(&file, r#"[{"targets": ["127.0.0.1:1"]}]"#).unwrap();
    let text = "scrape_configs: [{job_name: a, file_sd_configs: [{files: [t.json]}]}]\n";
    let config = EdgeConfig::parse(text, &folder.path().join("edge.yml")).unwrap();
    let bench = Bench::new();
    let apply = || {
        bench
            .manager
            .apply(&config.jobs, &[], &LabelSet::empty())
            .unwrap()
    };
    let targets = || bench.manager.status()[0].active.len();
    apply();
    assert_eq!(targets(), 1);
    std::fs::write(&file, "half writ").unwrap();
    apply();
    assert_eq!(
        targets(),
        1,
        "the file cannot be read now: its targets stay"
    );
    std::fs::write(&file, r#"[{"targets": ["127.0.0.1:1", "127.0.0.1:2"]}]"#).unwrap();
    bench.pass(Duration::from_secs(6)).await;
    bench.settle().await;
    assert_eq!(targets(), 2, "seen by looking");
    bench.tasks.shutdown(Duration::from_secs(5)).await.unwrap();
}
