//! How fast are typical questions answered from the data, and are the answers Prometheus's?

use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::Value;

use crate::ask::{Asker, seconds};
use crate::data::Shape;
use crate::latency::Latencies;
use crate::measured::Measured;
use crate::progress::Progress;
use crate::systems::Running;

/// How often each is asked ...
const TIMES: usize = 20;
/// ... unless that takes too long, but at least so often.
const TIMES_MIN: usize = 3;
const ASKED_WITHIN: Duration = Duration::from_secs(20);

/// One question: where its time and its mark go, and how it is asked.
struct Question {
    time: &'static str,
    differs: &'static str,
    path: &'static str,
    form: Vec<(&'static str, String)>,
    by_get: bool,
}

/// The answers, in the order of the questions, with the key of the mark that says they differ.
pub(super) type Answers = Vec<(&'static str, Value)>;

pub(super) fn queries(
    running: &Running,
    shape: &Shape,
    progress: &mut Progress,
) -> anyhow::Result<(Measured, Answers)> {
    let (mut measured, mut answers) = (Measured::default(), Vec::new());
    let mut asker = Asker::at(&running.address)?;
    for question in questions(shape) {
        progress.phase(format!("{}: {}", running.kind, question.time));
        let (mut latencies, began) = (Latencies::default(), Instant::now());
        let mut answer = Value::Null;
        for time in 0..TIMES {
            if time >= TIMES_MIN && began.elapsed() > ASKED_WITHIN {
                break;
            }
            let asked = Instant::now();
            answer = question.ask(&mut asker).context(question.time)?;
            latencies.add(asked.elapsed());
            progress.at(time as u64, TIMES as u64);
        }
        measured.set_if(question.time, latencies.quantile(0.5).map(super::millis));
        answers.push((question.differs, answer));
    }
    Ok((measured, answers))
}

impl Question {
    fn ask(&self, asker: &mut Asker) -> anyhow::Result<Value> {
        let form: Vec<(&str, &str)> = self
            .form
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        if self.by_get {
            let form = tests::http::form_encode(&form);
            asker.get(&format!("{}?{form}", self.path))
        } else {
            asker.post(self.path, &form)
        }
    }
}

fn questions(shape: &Shape) -> Vec<Question> {
    let long = shape.span_s() >= 600;
    let (window, step) = if long { ("5m", "60") } else { ("1m", "15") };
    let start_ms = shape.end_ms - shape.span_s().min(3_600) * 1000;
    let (start, end) = (seconds(start_ms), seconds(shape.end_ms));
    let range = |query: String| {
        vec![
            ("query", query),
            ("start", start.clone()),
            ("end", end.clone()),
            ("step", step.to_owned()),
        ]
    };
    let instant = |query: String| vec![("query", query), ("time", end.clone())];
    let question = |time, differs, path, form| Question {
        time,
        differs,
        path,
        form,
        by_get: false,
    };
    vec![
        question(
            "query_rate_ms",
            "query_rate_differs",
            "/api/v1/query_range",
            range(format!(
                "sum by (branch) (rate(node_network_receive_bytes_total[{window}]))"
            )),
        ),
        question(
            "query_count_ms",
            "query_count_differs",
            "/api/v1/query",
            instant("count({__name__!=\"\"})".to_owned()),
        ),
        Question {
            by_get: true,
            ..question(
                "query_values_ms",
                "query_values_differs",
                "/api/v1/label/instance/values",
                vec![("start", start.clone()), ("end", end.clone())],
            )
        },
        question(
            "query_series_ms",
            "query_series_differs",
            "/api/v1/query_range",
            range(format!("node_load1{{instance=\"{}\"}}", shape.probe())),
        ),
        question(
            "query_quantile_ms",
            "query_quantile_differs",
            "/api/v1/query",
            instant(format!(
                "histogram_quantile(0.99, sum by (le, route) (rate(till_http_request_duration_seconds_bucket[{window}])))"
            )),
        ),
    ]
}
