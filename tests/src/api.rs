//! The Prometheus HTTP API, asked: of our hub and of a real Prometheus alike.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::http;

/// Labels by name.
pub type Labels = BTreeMap<String, String>;

/// One series of an answer with its points: one for an instant vector, many for a matrix.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// With `__name__`, where the result has one.
    pub labels: Labels,
    /// (seconds since the epoch, value), in the order of the answer.
    pub points: Vec<(f64, f64)>,
}

impl Series {
    /// The value of a label; empty when there is none.
    pub fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }
}

/// What a query answered.
#[derive(Debug, Clone)]
pub struct Answer {
    /// A scalar is one series without labels.
    pub series: Vec<Series>,
    /// As sent.
    pub warnings: Vec<String>,
}

/// A server that speaks the Prometheus HTTP API.
#[derive(Debug, Clone)]
pub struct Api {
    base: String,
}

impl Api {
    /// The server at `http://host:port` (or with a path prefix).
    pub fn at(base: impl Into<String>) -> Self {
        Self { base: base.into() }
    }

    /// An address under the base.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// An instant query, now.
    ///
    /// # Errors
    /// The server's message, or why there was no answer.
    pub fn query(&self, expression: &str) -> Result<Vec<Series>, String> {
        self.query_with(&[("query", expression)])
            .map(|answer| answer.series)
    }

    /// An instant query at a time (seconds since the epoch).
    ///
    /// # Errors
    /// The server's message, or why there was no answer.
    pub fn query_at(&self, expression: &str, at: f64) -> Result<Vec<Series>, String> {
        self.query_with(&[("query", expression), ("time", &at.to_string())])
            .map(|answer| answer.series)
    }

    /// An instant query with any parameters.
    ///
    /// # Errors
    /// The server's message, or why there was no answer.
    pub fn query_with(&self, form: &[(&str, &str)]) -> Result<Answer, String> {
        read_result(&self.post("/api/v1/query", form)?)
    }

    /// A range query; all three in seconds.
    ///
    /// # Errors
    /// The server's message, or why there was no answer.
    pub fn query_range(
        &self,
        expression: &str,
        start: f64,
        end: f64,
        step: f64,
    ) -> Result<Answer, String> {
        let (start, end, step) = (start.to_string(), end.to_string(), step.to_string());
        read_result(&self.post(
            "/api/v1/query_range",
            &[
                ("query", expression),
                ("start", &start),
                ("end", &end),
                ("step", &step),
            ],
        )?)
    }

    /// The value of a query that must answer exactly one series.
    ///
    /// # Errors
    /// Also when it answers none or many.
    pub fn value(&self, expression: &str) -> Result<f64, String> {
        let series = self.query(expression)?;
        match series.as_slice() {
            [one] => one
                .points
                .last()
                .map(|(_, value)| *value)
                .ok_or_else(|| format!("{expression}: no point")),
            others => Err(format!("{expression}: {} series", others.len())),
        }
    }

    /// The series that a selector matches, by their labels.
    ///
    /// # Errors
    /// The server's message, or why there was no answer.
    pub fn series(&self, selector: &str) -> Result<Vec<Labels>, String> {
        let data = self.get(&format!(
            "/api/v1/series?match[]={}",
            http::percent_encode(selector)
        ))?;
        data["data"]
            .as_array()
            .into_iter()
            .flatten()
            .map(read_labels)
            .collect()
    }

    /// Any `GET` of the API; the whole envelope of a success.
    ///
    /// # Errors
    /// The server's message, or why there was no answer.
    pub fn get(&self, path_and_query: &str) -> Result<Value, String> {
        read_envelope(http::get(&self.url(path_and_query)))
    }

    /// Any `POST` of a form; the whole envelope of a success.
    ///
    /// # Errors
    /// The server's message, or why there was no answer.
    pub fn post(&self, path: &str, form: &[(&str, &str)]) -> Result<Value, String> {
        read_envelope(http::post_form(&self.url(path), form))
    }
}

fn read_envelope(answer: std::io::Result<http::Response>) -> Result<Value, String> {
    let answer = answer.map_err(|error| error.to_string())?;
    let text = answer.text();
    let envelope: Value =
        serde_json::from_str(&text).map_err(|_| format!("status {}: {text}", answer.status))?;
    if envelope["status"] == "success" {
        Ok(envelope)
    } else {
        Err(format!(
            "status {}: {}",
            answer.status,
            envelope["error"].as_str().unwrap_or(&text)
        ))
    }
}

fn read_result(envelope: &Value) -> Result<Answer, String> {
    let data = &envelope["data"];
    let result = &data["result"];
    let series = match data["resultType"].as_str() {
        Some("vector" | "matrix") => result
            .as_array()
            .into_iter()
            .flatten()
            .map(read_series)
            .collect::<Result<_, _>>()?,
        Some("scalar") => vec![Series {
            labels: Labels::new(),
            points: vec![read_point(result)?],
        }],
        Some("string") => Vec::new(),
        _ => return Err(format!("no result in {envelope}")),
    };
    let warnings = envelope["warnings"].as_array().into_iter().flatten();
    Ok(Answer {
        series,
        warnings: warnings
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect(),
    })
}

fn read_series(series: &Value) -> Result<Series, String> {
    let labels = read_labels(&series["metric"])?;
    let points = match (&series["value"], &series["values"]) {
        (Value::Null, Value::Array(points)) => {
            points.iter().map(read_point).collect::<Result<_, _>>()?
        }
        (Value::Null, _) => Vec::new(),
        (point, _) => vec![read_point(point)?],
    };
    Ok(Series { labels, points })
}

fn read_point(point: &Value) -> Result<(f64, f64), String> {
    let broken = || format!("not a point: {point}");
    let at = point[0].as_f64().ok_or_else(broken)?;
    let value = point[1].as_str().ok_or_else(broken)?;
    let value = match value {
        "+Inf" => f64::INFINITY,
        "-Inf" => f64::NEG_INFINITY,
        other => other.parse().map_err(|_| broken())?,
    };
    Ok((at, value))
}

fn read_labels(labels: &Value) -> Result<Labels, String> {
    let object = labels
        .as_object()
        .ok_or_else(|| format!("not labels: {labels}"))?;
    object
        .iter()
        .map(|(name, value)| {
            let value = value
                .as_str()
                .ok_or_else(|| format!("label {name} is no string"))?;
            Ok((name.clone(), value.to_owned()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(body: &str, expected: &[(&str, &[(f64, f64)])]) {
        let answer = read_result(&serde_json::from_str(body).expect("JSON")).expect("a result");
        let found: Vec<(&str, &[(f64, f64)])> = answer
            .series
            .iter()
            .map(|series| (series.label("job"), series.points.as_slice()))
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn reads_every_kind_of_result() {
        check(
            r#"{"data":{"resultType":"vector","result":[{"metric":{"job":"a"},"value":[1.5,"+Inf"]}]}}"#,
            &[("a", &[(1.5, f64::INFINITY)])],
        );
        check(
            r#"{"data":{"resultType":"matrix","result":[{"metric":{"job":"a"},"values":[[1,"2"],[2,"3e+06"]]}]}}"#,
            &[("a", &[(1.0, 2.0), (2.0, 3e6)])],
        );
        check(
            r#"{"data":{"resultType":"scalar","result":[4,"2"]}}"#,
            &[("", &[(4.0, 2.0)])],
        );
    }
}
