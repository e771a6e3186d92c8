//! `GET /federate?match[]=…`: the newest sample of each selected series, as Prometheus answers it. Series whose newest sample is a
//! staleness marker, or older than five minutes, are left out; native histograms have no place in the text format.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use model::{LabelSet, Matcher, MetricType, Timestamp};
use wire::exposition::{Encoder, TextResponse};
use wire::remote_write::{Part, SeriesView, Walk};
use wire::selector;

use super::select::Selection;
use super::{Local, LocalError, Stop};

/// A series whose newest sample is older is left out.
const LOOKBACK: Duration = Duration::from_secs(5 * 60);

pub(super) async fn federate(
    State(local): State<Arc<Local>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let accept = headers
        .get(header::ACCEPT)
        .and_then(|value| value.to_str().ok());
    let format = TextResponse::for_accept(accept);
    match answer(&local, query.unwrap_or_default(), format.utf8_names).await {
        Ok(text) => ([(header::CONTENT_TYPE, format.content_type)], text).into_response(),
        Err(error) => error.into_response(),
    }
}

async fn answer(local: &Arc<Local>, query: String, utf8_names: bool) -> Result<String, LocalError> {
    let (turn, _reader) = local.turn().await?;
    let local = Arc::clone(local);
    // Regular expressions are compiled: that is work.
    daemon::blocking(move || {
        let selectors = form_urlencoded::parse(query.as_bytes())
            .filter(|(name, _)| name == "match[]")
            .map(|(_, text)| selector::parse(&text))
            .collect::<Result<Vec<_>, _>>()?;
        let newest = newest(&local, &selectors, &turn.stop)?;
        Ok(text(newest, utf8_names))
    })
    .await
}

/// The newest sample of a series; no value for a native histogram.
type Newest = Vec<(LabelSet, Timestamp, f64)>;

pub(super) fn newest(
    local: &Local,
    selectors: &[Vec<Matcher>],
    stop: &Stop,
) -> Result<Newest, LocalError> {
    if selectors.is_empty() {
        return Ok(Vec::new());
    }
    let now = local.clock.now();
    let range = now.saturating_sub(LOOKBACK).millis()..=now.millis();
    let mut selection = Selection::new(selectors);
    let mut found: Vec<Option<(i64, Option<f64>)>> = Vec::new();
    local.history.walk(
        Timestamp::from_millis(*range.start()),
        stop,
        &mut |message| {
            let (mut walk, mut view) = (Walk::new(message), SeriesView::new());
            // What is in the buffer was made here, and can be read.
            while let Ok(Some(part)) = walk.next_part(&mut view) {
                if !matches!(part, Part::Series) {
                    continue;
                }
                let Some(number) = selection.find(&view)? else {
                    continue;
                };
                let number = number as usize;
                if found.len() <= number {
                    found.resize(number + 1, None);
                }
                let mut see = |at: i64, value: Option<f64>| {
                    // Of one time, what was written last.
                    if range.contains(&at) && found[number].is_none_or(|(newest, _)| newest <= at) {
                        found[number] = Some((at, value));
                    }
                };
                for (at, value) in &view.samples {
                    see(*at, Some(*value));
                }
                for histogram in view.histograms().flatten() {
                    see(histogram.timestamp, None);
                }
            }
            Ok(())
        },
    )?;
    let labels = selection.labels().iter();
    let newest = labels
        .zip(found)
        .filter_map(|(labels, newest)| match newest? {
            (at, Some(value)) if !model::is_stale(value) => {
                Some((labels.clone(), Timestamp::from_millis(at), value))
            }
            _ => None,
        });
    let mut newest: Newest = newest.collect();
    // A family stands in one piece. (Label sets alone do not do: a label in capitals sorts before the name.)
    newest.sort_by(|(a, ..), (b, ..)| a.name().cmp(&b.name()).then_with(|| a.cmp(b)));
    Ok(newest)
}

fn text(newest: Newest, utf8_names: bool) -> String {
    let mut out = Encoder::new(utf8_names);
    for (labels, at, value) in newest {
        out.federated(MetricType::Unknown, &labels, value, Some(at));
    }
    out.finish()
}
