//! A whole hub in this process, asked over HTTP: what scripts load goes through remote write 2.0 to the store, and answers are
//! read from the API's JSON.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use daemon::SimClock;
use hub::{Features, Hub, HubConfig, HubOptions};
use journal::sim::SimDisk;
use model::{BucketBound, LabelSet, Sample, Timestamp, Value};
use promql::ParseOptions;
use promql::script::{
    Answer, AnswerSeries, AnswerValue, Found, FoundHistogram, Load, LoadedSeries, Subject,
    engine_options,
};
use serde_json::Value as Json;
use tests::http;
use wire::remote_write::histogram_to_proto;
use wire::remote_write::v2::{self, proto};

/// Far behind whatever a script loads: what is ahead of the hub's clock is refused. In ms.
const NOW: i64 = 100_000_000_000_000;
/// Retention by size alone: scripts begin in 1970.
const CONFIG: &str = "storage: {tsdb: {retention: {size: 1TB}}}";
const HEADERS: [(&str, &str); 3] = [
    (
        "Content-Type",
        "application/x-protobuf;proto=io.prometheus.write.v2.Request",
    ),
    ("Content-Encoding", "snappy"),
    ("X-Prometheus-Remote-Write-Version", "2.0.0"),
];

/// Cases that a hub answers otherwise than they expect, by their expressions, and why.
pub(crate) const DIFFER: [(&str, &str); 1] = [(
    "histogram_count(avg_over_time(mixed[2m]))",
    "it expects a warning about a counter reset between the first sample of the range and one before it: Prometheus knows \
     that one from the chunk that both are in, the hub reads what was asked for",
)];

/// The hub that a script is put to; a new one whenever the script forgets what it loaded.
pub(crate) struct HubSubject {
    runtime: tokio::runtime::Runtime,
    running: Option<Running>,
    /// Queries asked so far.
    pub(crate) queries: Cell<usize>,
}

struct Running {
    hub: Hub,
    base: String,
    /// The hub's own folder; its store is on a simulated disk.
    _folder: tempfile::TempDir,
}

impl HubSubject {
    pub(crate) fn new() -> Result<Self, String> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build();
        Ok(HubSubject {
            runtime: runtime.map_err(|error| format!("cannot start threads: {error}"))?,
            running: None,
            queries: Cell::new(0),
        })
    }

    fn start(&self) -> anyhow::Result<Running> {
        let folder = tempfile::tempdir()?;
        let mut config = HubConfig::parse(CONFIG, Path::new("promqltest"))?;
        let engine = engine_options();
        config.features = Features {
            search_api: false,
            parse: ParseOptions::all(),
            delayed_name_removal: engine.delayed_name_removal,
            start_timestamps: engine.start_timestamps,
            type_and_unit_labels: engine.type_and_unit_labels,
            ..Features::default()
        };
        let hub = self.runtime.block_on(Hub::start(HubOptions {
            web: daemon::web::Web::default(),
            config,
            listen: "127.0.0.1:0".parse()?,
            data_dir: folder.path().join("hub"),
            cors_origin: Default::default(),
            local_edge: false,
            clock: Arc::new(SimClock::new(Timestamp::from_millis(NOW))),
            disk: Arc::new(SimDisk::new(1)),
            flags: BTreeMap::new(),
        }))?;
        Ok(Running {
            base: format!("http://{}", hub.address()),
            hub,
            _folder: folder,
        })
    }

    fn stop(&mut self) -> Result<(), String> {
        let Some(running) = self.running.take() else {
            return Ok(());
        };
        let stopped = self.runtime.block_on(running.hub.shutdown());
        stopped.map_err(|error| format!("the hub does not stop: {error:#}"))
    }

    fn url(&self, path: &str) -> Result<String, String> {
        match &self.running {
            Some(running) => Ok(format!("{}{path}", running.base)),
            None => Err("no hub runs".to_owned()),
        }
    }

    fn ask(&self, path: &str, form: &[(&str, &str)]) -> Result<Answer, String> {
        self.queries.set(self.queries.get() + 1);
        let answer = http::post_form(&self.url(path)?, form).map_err(|e| e.to_string())?;
        let envelope: Json = serde_json::from_slice(&answer.body)
            .map_err(|error| format!("status {}, no JSON: {error}", answer.status))?;
        if envelope["status"] != "success" {
            return Err(engine_error(envelope["error"].as_str().unwrap_or_default()));
        }
        let texts = |key: &str| {
            let texts = envelope[key].as_array().into_iter().flatten();
            texts.filter_map(Json::as_str).map(str::to_owned).collect()
        };
        Ok(Answer {
            value: read_value(&envelope["data"])?,
            warnings: texts("warnings"),
            infos: texts("infos"),
        })
    }
}

impl Drop for HubSubject {
    fn drop(&mut self) {
        let _ = self.stop();
    }
}

impl Subject for HubSubject {
    fn clear(&mut self) -> Result<(), String> {
        self.stop()?;
        let running = self.start().map_err(|error| format!("no hub: {error:#}"))?;
        self.running = Some(running);
        Ok(())
    }

    fn load(&mut self, load: &Load) -> Result<(), String> {
        let body = v2::encode(&request(&load.series));
        let answer = http::post(&self.url("/api/v1/write")?, &HEADERS, &body)
            .map_err(|error| error.to_string())?;
        match answer.status {
            204 => Ok(()),
            status => Err(format!("write refused: status {status}: {}", answer.text())),
        }
    }

    fn instant(&self, expr: &str, at: Timestamp) -> Result<Answer, String> {
        self.ask(
            "/api/v1/query",
            &[("query", expr), ("time", &at.to_string())],
        )
    }

    fn range(
        &self,
        expr: &str,
        start: Timestamp,
        end: Timestamp,
        step: Duration,
    ) -> Result<Answer, String> {
        let (start, end) = (start.to_string(), end.to_string());
        let step = step.as_secs_f64().to_string();
        let form = [
            ("query", expr),
            ("start", &start),
            ("end", &end),
            ("step", &step),
        ];
        self.ask("/api/v1/query_range", &form)
    }
}

/// The API says of which parameter an error is, and where it is in it; scripts know the rest.
fn engine_error(text: &str) -> String {
    let after_position = text
        .strip_prefix("invalid parameter \"query\": ")
        .and_then(|rest| rest.split_once("parse error: "));
    match after_position {
        Some((_, message)) => message.to_owned(),
        None => text.to_owned(),
    }
}

fn request(series: &[LoadedSeries]) -> proto::Request {
    let mut symbols = vec![String::new()];
    let mut places: BTreeMap<String, u32> = BTreeMap::new();
    let mut place = |text: &str| {
        *places.entry(text.to_owned()).or_insert_with(|| {
            symbols.push(text.to_owned());
            symbols.len() as u32 - 1
        })
    };
    let start_of = |sample: &Sample| sample.start.map_or(0, Timestamp::millis);
    // A series without samples leaves nothing in a store, and nobody sends one.
    let timeseries = series
        .iter()
        .filter(|series| !series.samples.is_empty())
        .map(|series| {
            let labels = series.labels.iter();
            let mut all = proto::TimeSeries {
                labels_refs: labels.flat_map(|(n, v)| [place(n), place(v)]).collect(),
                ..proto::TimeSeries::default()
            };
            for sample in &series.samples {
                match &sample.value {
                    Value::Float(value) => all.samples.push(proto::Sample {
                        value: *value,
                        timestamp: sample.at.millis(),
                        start_timestamp: start_of(sample),
                    }),
                    Value::Histogram(histogram) => all.histograms.push(proto::Histogram {
                        start_timestamp: start_of(sample),
                        ..histogram_to_proto(histogram, sample.at)
                    }),
                }
            }
            all
        })
        .collect();
    proto::Request {
        symbols,
        timeseries,
    }
}

fn read_value(data: &Json) -> Result<AnswerValue, String> {
    let result = &data["result"];
    let all = || result.as_array().into_iter().flatten();
    match data["resultType"].as_str() {
        Some("scalar") => Ok(AnswerValue::Scalar(number(&result[1])?)),
        Some("string") => {
            let text = result[1].as_str().ok_or("a string without text")?;
            Ok(AnswerValue::String(text.to_owned()))
        }
        Some("vector") => {
            let one = |series: &Json| {
                let found = match &series["value"][1] {
                    Json::Null => Found::Histogram(read_histogram(&series["histogram"][1])?),
                    value => Found::Float(number(value)?),
                };
                Ok((read_labels(&series["metric"])?, found))
            };
            Ok(AnswerValue::Vector(
                all().map(one).collect::<Result<_, String>>()?,
            ))
        }
        Some("matrix") => {
            let series = all().map(read_series);
            Ok(AnswerValue::Matrix(series.collect::<Result<_, String>>()?))
        }
        other => Err(format!("result of type {other:?}")),
    }
}

fn read_series(series: &Json) -> Result<AnswerSeries, String> {
    let points = |key: &str| series[key].as_array().into_iter().flatten();
    let floats = points("values").map(|point| Ok((time(&point[0])?, number(&point[1])?)));
    let histograms =
        points("histograms").map(|point| Ok((time(&point[0])?, read_histogram(&point[1])?)));
    Ok(AnswerSeries {
        labels: read_labels(&series["metric"])?,
        floats: floats.collect::<Result<_, String>>()?,
        histograms: histograms.collect::<Result<_, String>>()?,
    })
}

fn read_labels(labels: &Json) -> Result<LabelSet, String> {
    let labels = labels.as_object().ok_or("a series without labels")?;
    let pairs = labels
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str().unwrap_or("")));
    LabelSet::from_pairs(pairs).map_err(|error| error.to_string())
}

fn time(value: &Json) -> Result<Timestamp, String> {
    let seconds = value.as_f64().ok_or_else(|| format!("no time: {value}"))?;
    Ok(Timestamp::from_seconds_f64(seconds))
}

fn number(value: &Json) -> Result<f64, String> {
    let text = value
        .as_str()
        .ok_or_else(|| format!("no number: {value}"))?;
    text.parse().map_err(|_| format!("no number: {text}"))
}

fn read_histogram(shown: &Json) -> Result<FoundHistogram, String> {
    let bucket = |bucket: &Json| {
        let rule = bucket[0]
            .as_u64()
            .ok_or_else(|| format!("no bucket: {bucket}"))?;
        Ok(BucketBound {
            lower: number(&bucket[1])?,
            upper: number(&bucket[2])?,
            lower_inclusive: matches!(rule, 1 | 3),
            upper_inclusive: matches!(rule, 0 | 3),
            count: number(&bucket[3])?,
        })
    };
    let buckets = shown["buckets"]
        .as_array()
        .into_iter()
        .flatten()
        .map(bucket);
    Ok(FoundHistogram::Shown {
        count: number(&shown["count"])?,
        sum: number(&shown["sum"])?,
        buckets: buckets.collect::<Result<_, String>>()?,
    })
}
