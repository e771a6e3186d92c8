//! `/api/v1/search/*`: names and values that somebody half remembers. Off unless the feature `search-api` is on.

mod score;

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use model::{METRIC_NAME, Matcher};
use promql::Cancel;
use serde_json::{Value, json};
use tsdb::TimeRange;

use self::score::{Algorithm, Terms};
use super::error::{ApiError, Kind};
use super::labels::or_all;
use super::params::Params;
use super::query::{CancelOnDrop, END_BEFORE_START};
use crate::state::HubState;

/// Where `start` is when nothing says so.
const BEFORE: Duration = Duration::from_secs(3600);
const TERMS_MAX: usize = 32;
/// Longer ones than any label are no names.
const TERM_BYTES_MAX: usize = 4096;
const LIMIT_DEFAULT: usize = 100;
const LIMIT_MAX: usize = 10_000;
const BATCH_DEFAULT: usize = 100;
/// Names between two looks whether anybody still waits.
const CANCEL_EVERY: usize = 256;

/// What is looked through.
enum Of {
    Metrics { with_metadata: bool },
    LabelNames,
    LabelValues(String),
}

#[derive(Clone, Copy, PartialEq)]
enum Order {
    Rising,
    Falling,
    Score,
}

struct Search {
    of: Of,
    range: TimeRange,
    selectors: Vec<Vec<Matcher>>,
    /// None: everything fits.
    terms: Option<Terms>,
    order: Order,
    with_score: bool,
    limit: usize,
    batch: usize,
}

type Answer = Result<Response, ApiError>;

pub(crate) async fn metric_names(State(state): State<Arc<HubState>>, params: Params) -> Answer {
    let with_metadata = switch(&params, "include_metadata", false)?;
    search(state, params, Of::Metrics { with_metadata }).await
}

pub(crate) async fn label_names(State(state): State<Arc<HubState>>, params: Params) -> Answer {
    search(state, params, Of::LabelNames).await
}

pub(crate) async fn label_values(State(state): State<Arc<HubState>>, params: Params) -> Answer {
    let label = params.get("label").unwrap_or_default().to_owned();
    search(state, params, Of::LabelValues(label)).await
}

async fn search(state: Arc<HubState>, params: Params, of: Of) -> Answer {
    if !state.features.search_api {
        let text = "search API is disabled: start the hub with --enable-feature=search-api";
        return Err(ApiError::new(Kind::Unavailable, text));
    }
    if matches!(&of, Of::LabelValues(label) if label.is_empty()) {
        params.required("label")?;
    }
    let search = Search::new(&state, &params, of)?;
    let turn = state.queries.turn().await;
    let cancel = Cancel::new();
    let _guard = CancelOnDrop(cancel.clone());
    let lines = daemon::blocking(move || {
        let _turn = turn;
        search.lines(&state, &cancel)
    })
    .await?;
    // Each line is sent on its own.
    let lines = lines.into_iter().map(Ok::<_, std::convert::Infallible>);
    let body = Body::from_stream(stream::iter(lines));
    let kind = "application/x-ndjson; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, kind)], body).into_response())
}

impl Search {
    fn new(state: &HubState, params: &Params, of: Of) -> Result<Self, ApiError> {
        let now = state.clock.now();
        let end = params.time("end")?.unwrap_or(now);
        let start = params.time("start")?;
        let start = start.unwrap_or_else(|| now.saturating_sub(BEFORE).min(end));
        if end < start {
            return Err(ApiError::bad_parameter("end", END_BEFORE_START));
        }
        let terms = terms(params)?;
        let order = match (params.get("sort_by"), params.get("sort_dir")) {
            (None | Some("alpha"), None | Some("asc")) => Order::Rising,
            (None | Some("alpha"), Some("dsc")) => Order::Falling,
            (Some("score"), None) if terms.is_some() => Order::Score,
            (Some("score"), None) => {
                return Err(ApiError::bad_parameter("sort_by", "score needs search[]"));
            }
            (Some("score"), Some(_)) => {
                return Err(ApiError::bad_parameter(
                    "sort_dir",
                    "only with sort_by=alpha",
                ));
            }
            (Some("alpha") | None, _) => {
                return Err(ApiError::bad_parameter("sort_dir", "asc or dsc"));
            }
            _ => return Err(ApiError::bad_parameter("sort_by", "alpha or score")),
        };
        Ok(Search {
            of,
            range: TimeRange::new(start, end),
            selectors: or_all(params.matchers()?),
            terms,
            order,
            with_score: switch(params, "include_score", false)?,
            limit: number(params, "limit", LIMIT_DEFAULT, LIMIT_MAX)?,
            batch: number(params, "batch_size", BATCH_DEFAULT, LIMIT_MAX)?,
        })
    }

    fn names(&self, state: &HubState, matchers: &[Matcher]) -> Vec<String> {
        match &self.of {
            Of::Metrics { .. } => state.store.label_values(METRIC_NAME, matchers, self.range),
            Of::LabelNames => state.store.label_names(matchers, self.range),
            Of::LabelValues(label) => state.store.label_values(label, matchers, self.range),
        }
    }

    /// All of the answer: a bounded number of names.
    fn lines(&self, state: &HubState, cancel: &Cancel) -> Result<Vec<String>, ApiError> {
        let gone = |_| ApiError::new(Kind::Canceled, "the search was canceled");
        let mut names: Vec<String> = Vec::new();
        for matchers in &self.selectors {
            cancel.check().map_err(gone)?;
            names.extend(self.names(state, matchers));
        }
        if self.selectors.len() > 1 {
            names.sort_unstable();
            names.dedup();
        }
        let mut found: Vec<(String, f64)> = Vec::new();
        for (number, name) in names.into_iter().enumerate() {
            if number % CANCEL_EVERY == 0 {
                cancel.check().map_err(gone)?;
            }
            let score = match &self.terms {
                None => Some(1.0),
                Some(terms) => terms.score(&name),
            };
            found.extend(score.map(|score| (name, score)));
        }
        match self.order {
            Order::Rising => {}
            Order::Falling => found.reverse(),
            // Stable: the alphabet decides among equals.
            Order::Score => found.sort_by(|a, b| b.1.total_cmp(&a.1)),
        }
        let has_more = found.len() > self.limit;
        found.truncate(self.limit);
        let mut lines: Vec<String> = found
            .chunks(self.batch)
            .map(|batch| {
                let results: Vec<Value> = batch.iter().map(|one| self.result(state, one)).collect();
                format!("{}\n", json!({"results": results}))
            })
            .collect();
        if lines.is_empty() {
            lines.push("{\"results\":[]}\n".to_owned());
        }
        lines.push(format!(
            "{}\n",
            json!({"status": "success", "has_more": has_more})
        ));
        Ok(lines)
    }

    fn result(&self, state: &HubState, (name, score): &(String, f64)) -> Value {
        let key = match self.of {
            Of::LabelValues(_) => "value",
            _ => "name",
        };
        let mut result = json!({key: name});
        if self.with_score && self.terms.is_some() {
            result["score"] = (*score).into();
        }
        if let Of::Metrics {
            with_metadata: true,
        } = self.of
        {
            let known = state.store.metadata(Some(name));
            if let Some(about) = known.get(name).and_then(|all| all.first()) {
                result["type"] = about.kind.as_str().into();
                result["help"] = about.help.as_str().into();
                result["unit"] = about.unit.as_str().into();
            }
        }
        result
    }
}

fn terms(params: &Params) -> Result<Option<Terms>, ApiError> {
    let bad = |name: &str, why: String| Err(ApiError::bad_parameter(name, why));
    let algorithm = match params.get("fuzz_alg") {
        None | Some("subsequence") => Algorithm::Subsequence,
        Some("jarowinkler") => Algorithm::JaroWinkler,
        Some(_) => return bad("fuzz_alg", "subsequence or jarowinkler".to_owned()),
    };
    let threshold = match params.get("fuzz_threshold").map(str::parse::<u32>) {
        None => 0,
        Some(Ok(percent)) if percent <= 100 => percent,
        Some(_) => return bad("fuzz_threshold", "a number from 0 to 100".to_owned()),
    };
    let case_sensitive = switch(params, "case_sensitive", true)?;
    let given = params.all("search[]").filter(|term| !term.is_empty());
    let terms: Vec<String> = given
        .map(|term| match case_sensitive {
            true => term.to_owned(),
            false => term.to_lowercase(),
        })
        .collect();
    if terms.len() > TERMS_MAX || terms.iter().any(|term| term.len() > TERM_BYTES_MAX) {
        let why = format!("at most {TERMS_MAX} terms of at most {TERM_BYTES_MAX} bytes");
        return bad("search[]", why);
    }
    Ok((!terms.is_empty()).then_some(Terms {
        terms,
        algorithm,
        threshold: f64::from(threshold) / 100.0,
        case_sensitive,
    }))
}

fn switch(params: &Params, name: &str, default: bool) -> Result<bool, ApiError> {
    match params.get(name) {
        None => Ok(default),
        Some("true" | "1") => Ok(true),
        Some("false" | "0") => Ok(false),
        Some(_) => Err(ApiError::bad_parameter(name, "true or false")),
    }
}

fn number(params: &Params, name: &str, default: usize, max: usize) -> Result<usize, ApiError> {
    match params.get(name).map(str::parse::<usize>) {
        None => Ok(default),
        Some(Ok(number)) if (1..=max).contains(&number) => Ok(number),
        Some(_) => Err(ApiError::bad_parameter(
            name,
            format!("a number from 1 to {max}"),
        )),
    }
}
