//! `POST /api/v1/read`: Prometheus's remote read, with samples or with streamed chunks.
//!
//! A first walk counts the samples of each wanted series; then the series are answered in the order of their labels, as many to a
//! walk as there is room to hold samples of.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use daemon::http::{Pieces, in_pieces};
use model::{LabelSet, Sample, Timestamp, Value};
use wire::remote_read::chunk::{Chunks, Values};
use wire::remote_read::{
    self, CHUNKS_CONTENT_TYPE, Limits, Query, ResponseType, SAMPLES_CONTENT_TYPE, SamplesBody,
    frame,
};
use wire::remote_write::{Part, SeriesView, Walk, histogram_from_proto};

use super::select::Selection;
use super::{Local, LocalError, Reader, Stop, Turn};

/// Samples of one series, which is held whole.
const SERIES_SAMPLES_MAX: usize = 1_000_000;
/// Samples of an answer that is made whole before it is sent.
const ANSWER_SAMPLES_MAX: usize = 1_000_000;
/// What is taken of a request.
const LIMITS: Limits = Limits {
    bytes_max: 1 << 20,
    queries_max: 100,
    matchers_max: 1000,
    regexes_max: 100,
};

pub(super) async fn read(State(local): State<Arc<Local>>, body: Body) -> Response {
    match begin(&local, body).await {
        Ok((request, turn, reader)) => match request.response {
            ResponseType::Samples => samples(local, request.queries, turn, reader).await,
            ResponseType::StreamedXorChunks => {
                let make =
                    move |pieces: &mut Pieces| chunks(&local, &request.queries, &turn, pieces);
                in_pieces(CHUNKS_CONTENT_TYPE, reader, make).await
            }
        },
        Err(error) => error.into_response(),
    }
}

async fn begin(
    local: &Local,
    body: Body,
) -> Result<(remote_read::Request, Turn, Reader), LocalError> {
    let (body, room) = local.bodies.read(body, LIMITS.bytes_max).await?;
    let (turn, reader) = local.turn().await?;
    // Regular expressions are compiled: that is work.
    let request = daemon::blocking(move || remote_read::decode(&body, &LIMITS)).await?;
    drop(room);
    Ok((request, turn, reader))
}

async fn samples(local: Arc<Local>, queries: Vec<Query>, turn: Turn, _reader: Reader) -> Response {
    let body = daemon::blocking(move || {
        let (mut body, mut left) = (SamplesBody::new(), ANSWER_SAMPLES_MAX);
        for query in &queries {
            body.begin_query();
            select(&local, query, &turn.stop, &mut |labels, found| {
                left = left
                    .checked_sub(found.len())
                    .ok_or(LocalError::TooManySamples {
                        max: ANSWER_SAMPLES_MAX,
                    })?;
                let sample = |(at, value)| Sample {
                    at: Timestamp::from_millis(at),
                    start: None,
                    value,
                };
                let samples: Vec<Sample> = found.into_iter().map(sample).collect();
                Ok(body.series(labels, &samples)?)
            })?;
            body.end_query();
        }
        Ok::<_, LocalError>(body.finish())
    });
    let headers = [
        (header::CONTENT_TYPE, SAMPLES_CONTENT_TYPE),
        (header::CONTENT_ENCODING, "snappy"),
    ];
    match body.await {
        Ok(body) => (headers, body).into_response(),
        Err(error) => error.into_response(),
    }
}

fn chunks(
    local: &Local,
    queries: &[Query],
    turn: &Turn,
    pieces: &mut Pieces,
) -> Result<(), LocalError> {
    for (index, query) in queries.iter().enumerate() {
        select(local, query, &turn.stop, &mut |labels, found| {
            let times: Vec<i64> = found.iter().map(|(at, _)| *at).collect();
            let values: Vec<Value> = found.into_iter().map(|(_, value)| value).collect();
            let mut chunks = Chunks::new(&times, Values::Mixed(&values));
            while let Some(frame) = frame::of_series(index, labels, &mut chunks) {
                pieces.push(&frame)?;
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// Samples of one series, in order of their times, each time once.
pub(super) type Found = Vec<(i64, Value)>;

/// Shows the series of a query in the order of their labels.
pub(super) fn select(
    local: &Local,
    query: &Query,
    stop: &Stop,
    visit: &mut dyn FnMut(&LabelSet, Found) -> Result<(), LocalError>,
) -> Result<(), LocalError> {
    // As in Prometheus: nothing said of any label selects nothing, rather than everything.
    if query.matchers.is_empty() || query.end < query.start {
        return Ok(());
    }
    let selectors = [query.matchers.clone()];
    let mut selection = Selection::new(&selectors);
    let mut counts: Vec<usize> = Vec::new();
    walk(local, query, stop, &mut selection, &mut |number, view| {
        if counts.len() <= number {
            counts.resize(number + 1, 0);
        }
        let times = view.samples.iter().map(|(at, _)| *at);
        counts[number] += times.filter(|at| query.holds(*at)).count() + view.histogram_count();
        Ok(())
    })?;
    let mut order: Vec<usize> = (0..counts.len())
        .filter(|number| counts[*number] > 0)
        .collect();
    let labels = selection.labels().to_vec();
    order.sort_by(|a, b| labels[*a].cmp(&labels[*b]));
    let mut rest = &order[..];
    while let Some(first) = rest.first() {
        if counts[*first] > SERIES_SAMPLES_MAX {
            let series = labels[*first].to_string().chars().take(200).collect();
            let max = SERIES_SAMPLES_MAX;
            return Err(LocalError::LongSeries { series, max });
        }
        let mut held = 0;
        let fits = |number: &&usize| {
            held += counts[**number];
            held <= local.held_max
        };
        let (these, behind) = rest.split_at(rest.iter().take_while(fits).count().max(1));
        rest = behind;
        show(local, query, stop, &mut selection, these, &labels, visit)?;
    }
    Ok(())
}

/// Walks for these series and shows them.
fn show(
    local: &Local,
    query: &Query,
    stop: &Stop,
    selection: &mut Selection<'_>,
    these: &[usize],
    labels: &[LabelSet],
    visit: &mut dyn FnMut(&LabelSet, Found) -> Result<(), LocalError>,
) -> Result<(), LocalError> {
    // Series that come to be while this goes on have higher numbers, and are left out.
    let mut places = vec![None; labels.len()];
    for (place, number) in these.iter().enumerate() {
        places[*number] = Some(place);
    }
    let mut found: Vec<Found> = vec![Vec::new(); these.len()];
    walk(local, query, stop, selection, &mut |number, view| {
        let Some(place) = places.get(number).copied().flatten() else {
            return Ok(());
        };
        let found: &mut Found = &mut found[place];
        let samples = view.samples.iter().filter(|(at, _)| query.holds(*at));
        found.extend(samples.map(|(at, value)| (*at, Value::Float(*value))));
        for histogram in view.histograms().flatten() {
            let at = histogram.timestamp;
            if let Ok(histogram) = histogram_from_proto(&histogram)
                && query.holds(at)
            {
                let at = Timestamp::from_millis(at);
                found.push((at.millis(), Sample::histogram(at, histogram).value));
            }
        }
        match found.len() > SERIES_SAMPLES_MAX {
            true => Err(LocalError::LongSeries {
                series: String::new(),
                max: SERIES_SAMPLES_MAX,
            }),
            false => Ok(()),
        }
    })?;
    for (number, mut found) in these.iter().zip(found) {
        stop.check()?;
        // Stable: of one time, what was written last stays.
        found.sort_by_key(|(at, _)| *at);
        found.reverse();
        found.dedup_by_key(|(at, _)| *at);
        found.reverse();
        if !found.is_empty() {
            visit(&labels[*number], found)?;
        }
    }
    Ok(())
}

/// Shows the series that are wanted, record by record.
fn walk(
    local: &Local,
    query: &Query,
    stop: &Stop,
    selection: &mut Selection<'_>,
    visit: &mut dyn FnMut(usize, &SeriesView<'_>) -> Result<(), LocalError>,
) -> Result<(), LocalError> {
    local.history.walk(query.start, stop, &mut |message| {
        let (mut walk, mut view) = (Walk::new(message), SeriesView::new());
        // What is in the buffer was made here, and can be read.
        while let Ok(Some(part)) = walk.next_part(&mut view) {
            if matches!(part, Part::Series)
                && let Some(number) = selection.find(&view)?
            {
                visit(number as usize, &view)?;
            }
        }
        Ok(())
    })
}
