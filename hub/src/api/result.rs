//! The answer to a query, as JSON.

use std::sync::Arc;
use std::time::Duration;

use axum::response::Response;
use model::{Timestamp, Value};
use promql::{QueryStats, ResultValue, StepSamples};

use super::json::{Annotations, Json};
use super::params::Params;
use super::query::Ran;
use super::stream::success_of;
use crate::state::HubState;

/// What an answer says when not all of it is there.
pub(super) const TRUNCATED: &str = "results truncated due to limit";

/// What `stats` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StatsWanted {
    No,
    Yes,
    /// And for each step, where that is on.
    All,
    /// Yes, by a word that has no meaning.
    Oddly,
}

impl StatsWanted {
    pub(super) fn of(params: &Params) -> Self {
        match params.get("stats") {
            None => StatsWanted::No,
            Some("true") => StatsWanted::Yes,
            Some("all") => StatsWanted::All,
            Some(_) => StatsWanted::Oddly,
        }
    }
}

/// At most `limit` series of a result.
pub(super) async fn answer(
    state: &Arc<HubState>,
    ran: Ran,
    limit: Option<usize>,
    stats: StatsWanted,
) -> Response {
    let Ran {
        mut result,
        queued,
        evaluated,
    } = ran;
    if limit.is_some_and(|limit| cut(&mut result.value, limit)) {
        result.warnings.push(TRUNCATED.to_owned());
    }
    if stats == StatsWanted::Oddly {
        let text = "a value of the parameter stats other than true and all is deprecated: it counts as true";
        result.warnings.push(text.to_owned());
    }
    let annotations = Annotations {
        warnings: std::mem::take(&mut result.warnings),
        infos: std::mem::take(&mut result.infos),
    };
    let stats = (stats != StatsWanted::No).then(|| stats_json(&result.stats, queued, evaluated));
    let values = values(&result.value);
    success_of(values, &state.clock, annotations, move |json| {
        write_value(json, result.value);
        if let Some(stats) = stats {
            json.raw(",\"stats\":").raw(&stats.to_string());
        }
        json.raw("}");
        // What it held counts until it is written.
        drop(result.held);
    })
    .await
}

/// Whether there was anything to take away.
fn cut(value: &mut ResultValue, limit: usize) -> bool {
    match value {
        ResultValue::Vector(all) if all.len() > limit => all.truncate(limit),
        ResultValue::Matrix(all) if all.len() > limit => all.truncate(limit),
        _ => return false,
    }
    true
}

/// How much there is to write.
fn values(value: &ResultValue) -> usize {
    match value {
        ResultValue::Scalar(..) => 1,
        ResultValue::String(_, text) => text.len() / 16,
        ResultValue::Vector(all) => all.len(),
        ResultValue::Matrix(all) => all
            .iter()
            .map(|series| 1 + series.floats.len() + series.histograms.len())
            .sum(),
    }
}

/// What a query took, in the API and in the query log. Sorting and preparing are parts of the evaluation here and not timed apart.
pub(crate) fn stats_json(
    stats: &QueryStats,
    queued: Duration,
    evaluated: Duration,
) -> serde_json::Value {
    let mut samples = serde_json::json!({
        "totalQueryableSamples": stats.queryable_samples,
        "samplesRead": stats.samples_read,
        "peakSamples": stats.peak_samples,
    });
    if !stats.samples_by_step.is_empty() {
        samples["totalQueryableSamplesPerStep"] = by_step(stats, |step| step.queryable);
        samples["samplesReadPerStep"] = by_step(stats, |step| step.read);
    }
    serde_json::json!({
        "timings": {
            "evalTotalTime": evaluated.as_secs_f64(),
            "resultSortTime": 0,
            "queryPreparationTime": 0,
            "innerEvalTime": evaluated.as_secs_f64(),
            "execQueueTime": queued.as_secs_f64(),
            "execTotalTime": (queued + evaluated).as_secs_f64(),
        },
        "samples": samples,
    })
}

/// `[seconds, number]` for each step.
fn by_step(stats: &QueryStats, number: impl Fn(&StepSamples) -> u64) -> serde_json::Value {
    let steps = stats.samples_by_step.iter();
    let steps = steps.map(|step| match step.at.millis() {
        whole if whole % 1000 == 0 => serde_json::json!([whole / 1000, number(step)]),
        millis => serde_json::json!([millis as f64 / 1000.0, number(step)]),
    });
    steps.collect()
}

/// Each series is let go of when it is written.
fn write_value(json: &mut Json, value: ResultValue) {
    match value {
        ResultValue::Scalar(at, value) => {
            json.raw("{\"resultType\":\"scalar\",\"result\":");
            write_point(json, at, value);
        }
        ResultValue::String(at, text) => {
            json.raw("{\"resultType\":\"string\",\"result\":[")
                .time(at)
                .raw(",")
                .string(&text)
                .raw("]");
        }
        ResultValue::Vector(all) => {
            json.raw("{\"resultType\":\"vector\",\"result\":")
                .array(all, |json, sample| {
                    json.raw("{\"metric\":").labels(&sample.labels);
                    match &sample.value {
                        Value::Float(value) => {
                            json.raw(",\"value\":");
                            write_point(json, sample.at, *value);
                        }
                        Value::Histogram(histogram) => {
                            json.raw(",\"histogram\":[")
                                .time(sample.at)
                                .raw(",")
                                .histogram(histogram)
                                .raw("]");
                        }
                    }
                    json.raw("}");
                });
        }
        ResultValue::Matrix(all) => {
            json.raw("{\"resultType\":\"matrix\",\"result\":")
                .array(all, |json, series| {
                    json.raw("{\"metric\":").labels(&series.labels);
                    if !series.floats.is_empty() {
                        json.raw(",\"values\":")
                            .array(&series.floats, |json, (at, value)| {
                                write_point(json, *at, *value);
                            });
                    }
                    if !series.histograms.is_empty() {
                        json.raw(",\"histograms\":").array(
                            &series.histograms,
                            |json, (at, histogram)| {
                                json.raw("[")
                                    .time(*at)
                                    .raw(",")
                                    .histogram(histogram)
                                    .raw("]");
                            },
                        );
                    }
                    json.raw("}");
                });
        }
    }
}

fn write_point(json: &mut Json, at: Timestamp, value: f64) {
    json.raw("[").time(at).raw(",").float(value).raw("]");
}
