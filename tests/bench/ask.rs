//! Questions to a server's Prometheus API, answered from the data and not from a cache.

use std::collections::BTreeMap;

use anyhow::{Context, bail};
use serde_json::Value;

use crate::client::Connection;
use crate::data::{STEP_MS, Shape, branch_name};

/// Samples that one counting query reads at most: far below every server's limits, so that counting shows what is stored and not
/// what a query may take.
const COUNTED_SAMPLES_MAX: u64 = 10_000_000;
/// Answers that differ by less are the same: sums may be added up in another order.
const TOLERANCE: f64 = 1e-9;

/// Asks one server over one connection.
pub(crate) struct Asker {
    connection: Connection,
}

impl Asker {
    /// # Errors
    /// When nobody listens there.
    pub(crate) fn at(address: &str) -> anyhow::Result<Self> {
        Ok(Self {
            connection: Connection::open(address)?,
        })
    }

    /// The `data` of an answer to a form.
    ///
    /// # Errors
    /// The server's message, or why there was no answer.
    pub(crate) fn post(&mut self, path: &str, form: &[(&str, &str)]) -> anyhow::Result<Value> {
        let body = self.post_unread(path, form)?;
        data(&body).with_context(|| path.to_owned())
    }

    /// The same, not looked into: what reading it costs is no time of the server's.
    ///
    /// # Errors
    /// When there was no answer.
    pub(crate) fn post_unread(
        &mut self,
        path: &str,
        form: &[(&str, &str)],
    ) -> anyhow::Result<Vec<u8>> {
        let mut form = form.to_vec();
        // Then the hub and VictoriaMetrics evaluate everything, and the latter does not move the ends of a range; Prometheus does not know it.
        form.push(("nocache", "1"));
        Ok(self.connection.post_form(path, &form)?.body)
    }

    /// The `data` of an answer to a `GET`.
    ///
    /// # Errors
    /// The server's message, or why there was no answer.
    pub(crate) fn get(&mut self, path: &str) -> anyhow::Result<Value> {
        let answer = self.connection.get(path)?;
        data(&answer.body).with_context(|| format!("{path}: status {}", answer.status))
    }

    /// An instant query that answers one number; none is 0.
    ///
    /// # Errors
    /// The server's message, or why there was no answer.
    pub(crate) fn number(&mut self, query: &str, at_ms: Option<i64>) -> anyhow::Result<f64> {
        let at = at_ms.map(seconds);
        let mut form = vec![("query", query)];
        form.extend(at.as_deref().map(|at| ("time", at)));
        let data = self.post("/api/v1/query", &form)?;
        let Some(first) = data["result"].get(0) else {
            return Ok(0.0);
        };
        let text = first["value"][1]
            .as_str()
            .context("no value in the answer")?;
        text.parse().with_context(|| format!("no number: {text}"))
    }

    /// How many samples of the whole data set are stored: at each step, how many series have one since the step before. No
    /// function takes a name off a series, so no two become the same; and nobody has to do more than look at each sample.
    ///
    /// # Errors
    /// The server's message, or why there was no answer.
    pub(crate) fn count_all(&mut self, shape: &Shape) -> anyhow::Result<u64> {
        let (start, step) = (
            shape.end_ms - shape.span_s() * 1000 + STEP_MS,
            STEP_MS / 1000,
        );
        let (start, end, step) = (seconds(start), seconds(shape.end_ms), step.to_string());
        let mut sum = 0.0;
        for branches in branch_groups(shape) {
            let query = format!("count(last_over_time({{__name__!=\"\"{branches}}}[{step}s]))");
            let form = [
                ("query", query.as_str()),
                ("start", &start),
                ("end", &end),
                ("step", &step),
            ];
            let data = self.post("/api/v1/query_range", &form)?;
            let points = points(&data).context("no points in the answer")?;
            sum += points
                .values()
                .flatten()
                .map(|(_, count)| count)
                .sum::<f64>();
        }
        Ok(whole(sum))
    }

    /// How many scrapes of the first target are stored.
    ///
    /// # Errors
    /// The server's message, or why there was no answer.
    pub(crate) fn count_probe(&mut self, shape: &Shape) -> anyhow::Result<u64> {
        let query = format!(
            "sum(count_over_time(node_time_seconds{{instance=\"{}\"}}[{}s]))",
            shape.probe(),
            shape.span_s()
        );
        self.number(&query, Some(shape.end_ms)).map(whole)
    }
}

/// Matchers for the branches, each with a comma before it, so that no question is too large. One that would match all is left out.
fn branch_groups(shape: &Shape) -> Vec<String> {
    let per_branch = (shape.samples() / shape.branches() as u64).max(1);
    let group = usize::try_from(COUNTED_SAMPLES_MAX / per_branch).map_or(1, |count| count.max(1));
    let numbers: Vec<usize> = (shape.first_branch..shape.first_branch + shape.branches()).collect();
    if group >= numbers.len() {
        return vec![String::new()];
    }
    numbers
        .chunks(group)
        .map(|chunk| {
            let names: Vec<String> = chunk.iter().map(|number| branch_name(*number)).collect();
            format!(",branch=~\"{}\"", names.join("|"))
        })
        .collect()
}

/// Milliseconds as the API's seconds.
pub(crate) fn seconds(at_ms: i64) -> String {
    format!("{}.{:03}", at_ms.div_euclid(1000), at_ms.rem_euclid(1000))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts of samples are whole, not negative and below 2⁵³"
)]
fn whole(count: f64) -> u64 {
    count as u64
}

/// The `data` of an answer.
///
/// # Errors
/// The server's message.
pub(crate) fn data(body: &[u8]) -> anyhow::Result<Value> {
    let mut envelope: Value = serde_json::from_slice(body).with_context(|| {
        let text = String::from_utf8_lossy(body);
        format!("no JSON: {}", text.chars().take(300).collect::<String>())
    })?;
    if envelope["status"] != "success" {
        bail!("{}", envelope["error"].as_str().unwrap_or("no success"));
    }
    Ok(envelope["data"].take())
}

/// Whether two answers say the same: the same series (in any order) with the same points, or the same list.
pub(crate) fn same(one: &Value, other: &Value) -> bool {
    match (points(one), points(other)) {
        (Some(one), Some(other)) => {
            one.len() == other.len()
                && one
                    .iter()
                    .zip(&other)
                    .all(|((labels, points), (others, theirs))| {
                        labels == others
                            && points.len() == theirs.len()
                            && points
                                .iter()
                                .zip(theirs)
                                .all(|(a, b)| a.0 == b.0 && near(a.1, b.1))
                    })
        }
        _ => one == other,
    }
}

/// The first point in which an answer is not as it should be, for a person to look into.
pub(crate) fn difference(found: &Value, right: &Value) -> Option<String> {
    let (found, right) = (points(found)?, points(right)?);
    if let Some(more) = found.keys().find(|labels| !right.contains_key(*labels)) {
        return Some(format!("unexpected series {more}"));
    }
    for (labels, right) in &right {
        let Some(found) = found.get(labels) else {
            return Some(format!("no series {labels}"));
        };
        if found.len() != right.len() {
            let (found, right) = (found.len(), right.len());
            return Some(format!("{labels}: {found} points, not {right}"));
        }
        let mut pairs = found.iter().zip(right);
        if let Some((a, b)) = pairs.find(|(a, b)| a.0 != b.0 || !near(a.1, b.1)) {
            let ((at, found), (right_at, right)) = (a, b);
            return Some(format!(
                "{labels}: {found} at {at}, not {right} at {right_at}"
            ));
        }
    }
    None
}

fn near(a: f64, b: f64) -> bool {
    a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= TOLERANCE * a.abs().max(b.abs())
}

type Points = BTreeMap<String, Vec<(f64, f64)>>;

fn points(data: &Value) -> Option<Points> {
    let number = |value: &Value| value.as_str().and_then(|text| text.parse().ok());
    let point = |value: &Value| Some((value[0].as_f64()?, number(&value[1])?));
    data["result"]
        .as_array()?
        .iter()
        .map(|series| {
            let points = match &series["values"] {
                Value::Array(all) => all.iter().map(point).collect::<Option<_>>()?,
                _ => vec![point(&series["value"])?],
            };
            // serde_json keeps the keys of an object sorted.
            Some((series["metric"].to_string(), points))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(one: &str, other: &str, expected: bool) {
        let answer = |value: &str| {
            json!({"result": [
                {"metric": {"b": "1", "a": "2"}, "value": [1.0, value]},
                {"metric": {"b": "2"}, "values": [[1.0, "7"], [2.0, value]]},
            ]})
        };
        assert_eq!(
            same(&answer(one), &answer(other)),
            expected,
            "{one} {other}"
        );
    }

    #[test]
    fn answers_are_compared_by_value() {
        check("1", "1.0", true);
        check("0.1", "0.10000000000000001", true);
        check("NaN", "NaN", true);
        check("1", "1.000001", false);
        assert!(same(&json!(["a", "b"]), &json!(["a", "b"])));
        assert!(!same(&json!(["a", "b"]), &json!(["a"])));
    }

    #[test]
    fn large_data_sets_are_counted_in_parts() {
        assert_eq!(branch_groups(&Shape::new(8_000, 10, 0)), [""]);
        assert_eq!(
            branch_groups(&Shape::new(8_000, 1_440, 0)),
            [",branch=~\"b0001\"", ",branch=~\"b0002\""]
        );
        assert_eq!(seconds(1_700_000_000_007), "1700000000.007");
    }
}
