use std::collections::BTreeMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::HeaderMap;
use daemon::SimClock;
use daemon::web::{Web, WebFlags};
use journal::sim::SimDisk;
use model::Timestamp;
use wire::remote_write;
use wire::remote_write::proto::{
    Histogram, Label, MetricMetadata, Sample, TimeSeries, WriteRequest,
};

use crate::{Features, Hub, HubConfig, HubOptions};

/// When every test begins: a full minute, in ms.
pub(super) const START: i64 = 1_800_000_000_000;
/// Longest wait for something that is about to happen.
const PATIENCE: Duration = Duration::from_secs(10);

/// A hub on a free port. What is below its folder's `hub` is on the simulated disk, configuration and rules are real
/// files.
pub(super) struct TestHub {
    pub(super) hub: Hub,
    pub(super) clock: SimClock,
    pub(super) disk: SimDisk,
    folder: Arc<tempfile::TempDir>,
    features: Features,
    client: reqwest::Client,
}

/// What the hub answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("text")
    }

    pub(super) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(super) fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value.map_or("", |value| value.to_str().expect("text"))
    }
}

impl TestHub {
    pub(super) async fn start(yaml: &str) -> Self {
        Self::start_with(yaml, Features::default()).await
    }

    pub(super) async fn start_with(yaml: &str, features: Features) -> Self {
        let folder = Arc::new(tempfile::tempdir().expect("a folder"));
        std::fs::write(folder.path().join("hub.yml"), yaml).expect("a file");
        let clock = SimClock::new(Timestamp::from_millis(START));
        Self::open(folder, clock, SimDisk::new(1), features, Web::default()).await
    }

    /// A hub with users; `web` is a web configuration file without TLS.
    pub(super) async fn start_with_web(yaml: &str, web: &str) -> Self {
        let folder = Arc::new(tempfile::tempdir().expect("a folder"));
        std::fs::write(folder.path().join("hub.yml"), yaml).expect("a file");
        let file = folder.path().join("web.yml");
        std::fs::write(&file, web).expect("a file");
        let flags = WebFlags {
            config_file: Some(file),
            ..WebFlags::default()
        };
        let web = Web::load(&flags).expect("a web configuration");
        let clock = SimClock::new(Timestamp::from_millis(START));
        Self::open(folder, clock, SimDisk::new(1), Features::default(), web).await
    }

    async fn open(
        folder: Arc<tempfile::TempDir>,
        clock: SimClock,
        disk: SimDisk,
        features: Features,
        web: Web,
    ) -> Self {
        let hub = Hub::start(HubOptions {
            config: HubConfig::load_with(&folder.path().join("hub.yml"), features)
                .expect("a configuration"),
            listen: "127.0.0.1:0".parse().expect("an address"),
            web,
            data_dir: folder.path().join("hub"),
            cors_origin: Default::default(),
            local_edge: false,
            clock: Arc::new(clock.clone()),
            disk: Arc::new(disk.clone()),
            flags: BTreeMap::from([("listen".to_owned(), "127.0.0.1:0".to_owned())]),
        })
        .await
        .expect("a hub");
        let client = daemon::http::client(&Default::default()).expect("a client");
        let hub = TestHub {
            hub,
            clock,
            disk,
            folder,
            features,
            client,
        };
        // By the time of an answer its tasks have begun, and wait on the clock.
        assert_eq!(hub.get("/-/ready").await.status, 200);
        hub
    }

    /// Stops it in order and starts it again, some time later, in the same folder.
    pub(super) async fn restart(self, later: Duration) -> Self {
        self.hub.shutdown().await.expect("an orderly end");
        self.clock.advance(later);
        Self::open(
            self.folder,
            self.clock,
            self.disk,
            self.features,
            Web::default(),
        )
        .await
    }

    /// Cuts the power and starts it again.
    pub(super) async fn crash(self) -> Self {
        self.disk.crash();
        drop(self.hub);
        Self::open(
            self.folder,
            self.clock,
            self.disk,
            self.features,
            Web::default(),
        )
        .await
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(super) fn put_file(&self, name: &str, text: &str) {
        put_file(self.folder.path(), name, text);
    }

    pub(super) fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        let method = method.parse().expect("a method");
        let url = format!("http://{}{path}", self.hub.address());
        self.client.request(method, url)
    }

    pub(super) async fn get(&self, path: &str) -> Answer {
        answer(self.request("GET", path)).await
    }

    /// A form, as Grafana posts it. `parameters` are those of a query string.
    pub(super) async fn post(&self, path: &str, parameters: &str) -> Answer {
        let request = self.request("POST", path);
        let request = request.header("Content-Type", "application/x-www-form-urlencoded");
        answer(request.body(parameters.to_owned())).await
    }

    pub(super) fn write_request(&self, body: Vec<u8>) -> reqwest::RequestBuilder {
        self.request("POST", "/api/v1/write")
            .header("Content-Type", "application/x-protobuf")
            .header("Content-Encoding", "snappy")
            .header("X-Prometheus-Remote-Write-Version", "0.1.0")
            .body(body)
    }

    pub(super) async fn write(&self, series: Vec<TimeSeries>) -> Answer {
        answer(self.write_request(body(series))).await
    }

    /// Writes what must be taken.
    pub(super) async fn store(&self, series: Vec<TimeSeries>) {
        let answer = self.write(series).await;
        assert_eq!(answer.status, 204, "{}", answer.text());
    }

    /// The `result` of an instant query at the hub's time.
    pub(super) async fn query(&self, expr: &str) -> serde_json::Value {
        let query = encode(&[("query", expr)]);
        let answer = self.get(&format!("/api/v1/query?{query}")).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["data"]["result"].take()
    }

    /// How many series a selector finds, staleness apart.
    pub(super) async fn count(&self, selector: &str) -> usize {
        self.query(selector)
            .await
            .as_array()
            .expect("a vector")
            .len()
    }
}

pub(super) fn put_file(folder: &Path, name: &str, text: &str) {
    std::fs::write(folder.join(name), text).expect("a file");
}

pub(super) async fn answer(request: reqwest::RequestBuilder) -> Answer {
    let answer = request.send().await.expect("an answer");
    Answer {
        status: answer.status().as_u16(),
        headers: answer.headers().clone(),
        body: answer.bytes().await.expect("a body").to_vec(),
    }
}

/// A query string or a form.
pub(super) fn encode(pairs: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new())
        .extend_pairs(pairs)
        .finish()
}

/// Waits for what another task is about to do.
pub(super) async fn until<F: Future<Output = bool>>(what: &str, mut so: impl FnMut() -> F) {
    let began = Instant::now();
    while !so().await {
        assert!(began.elapsed() < PATIENCE, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// A series with samples at ms from [`START`].
pub(super) fn series(labels: &[(&str, &str)], samples: &[(i64, f64)]) -> TimeSeries {
    let sample = |&(at, value): &(i64, f64)| Sample {
        value,
        timestamp: START + at,
    };
    TimeSeries {
        labels: labels.iter().copied().map(label).collect(),
        samples: samples.iter().map(sample).collect(),
        ..TimeSeries::default()
    }
}

pub(super) fn label((name, value): (&str, &str)) -> Label {
    Label {
        name: name.to_owned(),
        value: value.to_owned(),
    }
}

/// A native histogram of three observations: 2 in (0.5, 1], 1 in (1, 2].
pub(super) fn native(at: i64) -> Histogram {
    use remote_write::proto::{BucketSpan, histogram};
    Histogram {
        count: Some(histogram::Count::Int(3)),
        sum: 3.5,
        schema: 0,
        zero_threshold: 1e-128,
        zero_count: Some(histogram::ZeroCount::Int(0)),
        positive_spans: vec![BucketSpan {
            offset: 0,
            length: 2,
        }],
        positive_deltas: vec![2, -1],
        timestamp: START + at,
        ..Histogram::default()
    }
}

pub(super) fn body(timeseries: Vec<TimeSeries>) -> Vec<u8> {
    let metadata = Vec::new();
    remote_write::encode(&WriteRequest {
        timeseries,
        metadata,
    })
}

pub(super) fn metadata_body(metadata: Vec<MetricMetadata>) -> Vec<u8> {
    let timeseries = Vec::new();
    remote_write::encode(&WriteRequest {
        timeseries,
        metadata,
    })
}
