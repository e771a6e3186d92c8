//! Series, label names and values, metadata.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::Response;
use daemon::Clock;
use model::{LabelSet, Matcher, Metadata, Timestamp};
use tsdb::{SelectError, SelectLimits, TimeRange};

use super::error::{ApiError, Kind};
use super::json::{Annotations, Json};
use super::params::Params;
use super::query::END_BEFORE_START;
use super::result::TRUNCATED;
use super::stream::success_of;
use crate::state::HubState;

type Answer = Result<Response, ApiError>;

pub(crate) async fn series(State(state): State<Arc<HubState>>, params: Params) -> Answer {
    let (selectors, range, limit) = (params.matchers()?, range(&params)?, params.limit()?);
    if selectors.is_empty() {
        return Err(ApiError::bad_data("no match[] parameter provided"));
    }
    let clock = state.clock.clone();
    let all: BTreeSet<LabelSet> = union(selectors, move |matchers| {
        state
            .store
            .series(matchers, range, &SelectLimits::default())
    })
    .await?;
    let annotations = truncation(all.len(), limit);
    let shown = all.len().min(limit.unwrap_or(usize::MAX));
    Ok(success_of(shown, &clock, annotations, move |json| {
        json.array(all.into_iter().take(shown), |json, labels| {
            json.labels(&labels);
        });
    })
    .await)
}

pub(crate) async fn names(State(state): State<Arc<HubState>>, params: Params) -> Answer {
    let (selectors, range, limit) = (or_all(params.matchers()?), range(&params)?, params.limit()?);
    let clock = state.clock.clone();
    let all: BTreeSet<String> = union(selectors, move |matchers| {
        Ok(state.store.label_names(matchers, range))
    })
    .await?;
    Ok(strings(all, limit, &clock).await)
}

pub(crate) async fn values(
    State(state): State<Arc<HubState>>,
    name: Result<Path<String>, PathRejection>,
    params: Params,
) -> Answer {
    let Path(name) = name.map_err(|error| {
        ApiError::bad_data(format!("invalid label name: {}", error.body_text()))
    })?;
    let name = unescape(&name);
    let (selectors, range, limit) = (or_all(params.matchers()?), range(&params)?, params.limit()?);
    let clock = state.clock.clone();
    let all: BTreeSet<String> = union(selectors, move |matchers| {
        Ok(state.store.label_values(&name, matchers, range))
    })
    .await?;
    Ok(strings(all, limit, &clock).await)
}

pub(crate) async fn metadata(State(state): State<Arc<HubState>>, params: Params) -> Answer {
    // Here, unlike elsewhere, 0 gives nothing and a negative number everything.
    let bound = |name: &str| -> Result<usize, ApiError> {
        let Some(text) = params.get(name) else {
            return Ok(usize::MAX);
        };
        let number: i64 = text
            .parse()
            .map_err(|_| ApiError::bad_parameter(name, "must be a number"))?;
        Ok(usize::try_from(number).unwrap_or(usize::MAX))
    };
    let (limit, per_metric) = (bound("limit")?, bound("limit_per_metric")?);
    let metric = params.get("metric").map(str::to_owned);
    let clock = state.clock.clone();
    let all = daemon::blocking(move || state.store.metadata(metric.as_deref())).await;
    // Grafana reads the first entry of each without looking whether there is one.
    let shown = all.into_iter().take(limit);
    let shown: Vec<_> = shown
        .filter(|(_, entries)| !entries.is_empty() && per_metric > 0)
        .collect();
    let entries = move |json: &mut Json, entries: &[Metadata]| {
        json.array(entries.iter().take(per_metric), |json, entry| {
            json.raw("{\"type\":").string(entry.kind.as_str());
            json.raw(",\"help\":").string(&entry.help);
            json.raw(",\"unit\":").string(&entry.unit).raw("}");
        });
    };
    let annotations = Annotations::default();
    Ok(success_of(shown.len(), &clock, annotations, move |json| {
        json.object(shown, |json, (name, about)| {
            json.string(&name).raw(":");
            entries(json, &about);
        });
    })
    .await)
}

pub(super) fn range(params: &Params) -> Result<TimeRange, ApiError> {
    let start = params.time("start")?.unwrap_or(Timestamp::MIN);
    let end = params.time("end")?.unwrap_or(Timestamp::MAX);
    if end < start {
        return Err(ApiError::bad_parameter("end", END_BEFORE_START));
    }
    Ok(TimeRange::new(start, end))
}

/// No selector means everything.
pub(super) fn or_all(selectors: Vec<Vec<Matcher>>) -> Vec<Vec<Matcher>> {
    if selectors.is_empty() {
        vec![Vec::new()]
    } else {
        selectors
    }
}

/// What any of the selectors finds, off the async threads.
async fn union<T: Ord + Send + 'static>(
    selectors: Vec<Vec<Matcher>>,
    find: impl Fn(&[Matcher]) -> Result<Vec<T>, SelectError> + Send + 'static,
) -> Result<BTreeSet<T>, ApiError> {
    daemon::blocking(move || {
        let mut all = BTreeSet::new();
        for matchers in &selectors {
            all.extend(find(matchers).map_err(|error| {
                let kind = match error {
                    SelectError::Io { .. } => Kind::Internal,
                    _ => Kind::Execution,
                };
                ApiError::new(kind, error)
            })?);
        }
        Ok(all)
    })
    .await
}

fn truncation(found: usize, limit: Option<usize>) -> Annotations {
    let mut annotations = Annotations::default();
    if limit.is_some_and(|limit| found > limit) {
        annotations.warnings.push(TRUNCATED.to_owned());
    }
    annotations
}

async fn strings(all: BTreeSet<String>, limit: Option<usize>, clock: &Arc<dyn Clock>) -> Response {
    let annotations = truncation(all.len(), limit);
    let shown = all.len().min(limit.unwrap_or(usize::MAX));
    success_of(shown, clock, annotations, move |json| {
        json.array(all.into_iter().take(shown), |json, text| {
            json.string(&text);
        });
    })
    .await
}

/// Undoes the escaping of names in paths: after `U__`, `__` is `_` and `_HEX_` a code point. A name that is
/// not escaped that way stays as it is.
fn unescape(name: &str) -> String {
    let Some(mut rest) = name.strip_prefix("U__") else {
        return name.to_owned();
    };
    let mut out = String::new();
    while let Some(at) = rest.find('_') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        if let Some(tail) = after.strip_prefix('_') {
            (out, rest) = (out + "_", tail);
            continue;
        }
        let code = after.find('_').and_then(|end| {
            let code = u32::from_str_radix(&after[..end], 16)
                .ok()
                .and_then(char::from_u32)?;
            Some((code, &after[end + 1..]))
        });
        match code {
            Some((code, tail)) => {
                out.push(code);
                rest = tail;
            }
            None => return name.to_owned(),
        }
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaped_names() {
        let check = |escaped: &str, name: &str| assert_eq!(unescape(escaped), name);
        check("job", "job");
        check("U__a_2e_b", "a.b");
        check("U__a__b", "a_b");
        check("U___e9_t_e9_", "été");
        check("U__a_zz_b", "U__a_zz_b");
        check("__name__", "__name__");
    }
}
