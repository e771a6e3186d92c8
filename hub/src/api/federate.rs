//! `/federate`: the newest sample of each selected series, for a Prometheus above us.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use model::{CUSTOM_BUCKETS_SCHEMA, LabelSet, Matcher, MetricType, Timestamp, Value};
use promql::{Budget, Cancel, QueryError};
use tsdb::TimeRange;
use wire::exposition::{DelimitedEncoder, Encoder, PageResponse};

use super::params::Params;
use super::query::CancelOnDrop;
use crate::state::HubState;
use crate::storage::StoreReader;

/// A series whose newest sample is older is left out.
const LOOKBACK: Duration = Duration::from_secs(5 * 60);

pub(crate) async fn federate(
    State(state): State<Arc<HubState>>,
    headers: HeaderMap,
    params: Params,
) -> Response {
    let accept = headers
        .get(header::ACCEPT)
        .and_then(|value| value.to_str().ok());
    let format = PageResponse::for_accept(accept);
    let selectors: Result<Vec<Vec<Matcher>>, _> =
        params.all("match[]").map(promql::parse_selector).collect();
    let selectors = match selectors {
        Ok(selectors) => selectors,
        Err(error) => return (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    };
    let cancel = Cancel::new();
    let _guard = CancelOnDrop(cancel.clone());
    let turn = state.queries.turn().await;
    let page = daemon::blocking(move || {
        let _turn = turn;
        // Held until the page is made.
        let budget = state.queries.engine().budget();
        let newest = newest(&state, &selectors, &budget, &cancel)?;
        let external = state.external_labels();
        Ok::<_, QueryError>(match format {
            PageResponse::Text(format) => text(newest, &external, format.utf8_names).into_bytes(),
            PageResponse::Delimited { utf8_names, .. } => delimited(newest, &external, utf8_names),
        })
    })
    .await;
    match page {
        Ok(page) => ([(header::CONTENT_TYPE, format.content_type())], page).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

/// By metric name and labels: a family stands in one piece. (Label sets alone do not do: a label in capitals sorts
/// before the name.)
type Newest = BTreeMap<(String, LabelSet), (Timestamp, Value)>;

fn newest(
    state: &HubState,
    selectors: &[Vec<Matcher>],
    budget: &Budget,
    cancel: &Cancel,
) -> Result<Newest, QueryError> {
    let now = state.clock.now();
    let range = TimeRange::new(now.saturating_sub(LOOKBACK), now);
    let reader = StoreReader {
        store: state.store.clone(),
    };
    let mut all = BTreeMap::new();
    for matchers in selectors {
        for found in reader.newest(matchers, range, budget, cancel)? {
            if !found.value.is_stale() {
                let name = found.labels.name().unwrap_or_default().to_owned();
                all.insert((name, found.labels), (found.at, found.value));
            }
        }
    }
    Ok(all)
}

/// With the external labels that are not there.
fn completed(labels: &LabelSet, external: &LabelSet) -> LabelSet {
    let mut builder = labels.builder();
    for (name, value) in external {
        if labels.get(name).is_none() {
            builder.set(name, value);
        }
    }
    builder.build()
}

/// Native histograms have no place in the text format and are left out, but for those with custom bounds, which are
/// written as classic ones.
fn text(newest: Newest, external: &LabelSet, utf8_names: bool) -> String {
    let mut out = Encoder::new(utf8_names);
    for ((_, labels), (at, value)) in newest {
        let labels = completed(&labels, external);
        match value {
            Value::Float(value) => out.federated(MetricType::Unknown, &labels, value, Some(at)),
            Value::Histogram(value) if value.schema == CUSTOM_BUCKETS_SCHEMA => {
                out.federated_custom(&labels, &value, at);
            }
            Value::Histogram(_) => {}
        }
    }
    out.finish()
}

fn delimited(newest: Newest, external: &LabelSet, utf8_names: bool) -> Vec<u8> {
    let mut out = DelimitedEncoder::new(utf8_names);
    // A nameless series has no family.
    let named = newest.into_iter().filter(|((name, _), _)| !name.is_empty());
    for ((_, labels), (at, value)) in named {
        let labels = completed(&labels, external);
        match value {
            Value::Float(value) => out.federated(&labels, value, at),
            Value::Histogram(value) => out.federated_histogram(&labels, &value, at),
        }
    }
    out.finish()
}
