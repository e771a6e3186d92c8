//! Instant and range queries, and the exemplars behind them.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use model::Timestamp;
use moka::sync::Cache;
use promql::{
    Cancel, Engine, Expr, ParseOptions, QueryError, QueryOptions, QueryResult, ValueType,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tsdb::TimeRange;

use super::asker::Asker;
use super::error::{ApiError, Kind};
use super::json::{Annotations, success};
use super::missing;
use super::params::Params;
use super::range_cache::{RangeCache, RangeQuery};
use super::result::{self, StatsWanted};
use super::stream::success_of;
use crate::query_log::Entry;
use crate::state::HubState;
use crate::storage::StoreReader;

/// Queries that run at a time, as in Prometheus; more wait.
const RUNNING_MAX: usize = 20;
/// Longest time of a query, waiting included, as in Prometheus.
const TIMEOUT_MAX: Duration = Duration::from_secs(120);
/// Points of one series in an answer.
const POINTS_MAX: i64 = 11_000;
/// How far back an instant looks, as in Prometheus: the engine's default.
const LOOKBACK: Duration = Duration::from_secs(5 * 60);
/// Bytes of query text whose parsed form is kept: dashboards ask the same again and again.
const PARSED_BYTES_MAX: u64 = 4 << 20;

/// As Prometheus says it.
pub(super) const END_BEFORE_START: &str = "end timestamp must not be before start time";

type Answer = Result<Response, ApiError>;

/// Runs queries: how many at a time, for how long, and parsed once.
pub(crate) struct Queries {
    engine: Engine,
    parse: ParseOptions,
    parsed: Cache<String, Arc<Expr>>,
    running: Arc<Semaphore>,
    pub(crate) cache: RangeCache,
}

/// What the query log says of a query before it is run.
struct Asked {
    query: String,
    asker: Asker,
    start: Timestamp,
    end: Timestamp,
    step_ms: i64,
}

impl Asked {
    fn of(params: &Params, asker: Asker, grid: (Timestamp, Timestamp, i64)) -> Self {
        let (start, end, step_ms) = grid;
        Asked {
            query: params.get("query").unwrap_or_default().to_owned(),
            asker,
            start,
            end,
            step_ms,
        }
    }

    fn log(self, state: &HubState, began: Duration, result: &Result<Ran, QueryError>) {
        if !state.query_log.is_on() {
            return;
        }
        let took = state.clock.elapsed().saturating_sub(began);
        let (stats, queued, evaluated) = match result {
            Ok(ran) => (ran.result.stats.clone(), ran.queued, ran.evaluated),
            Err(_) => (Default::default(), Duration::ZERO, took),
        };
        state.query_log.put(Entry {
            at: state.clock.now(),
            query: &self.query,
            start: self.start,
            end: self.end,
            step_ms: self.step_ms,
            stats: result::stats_json(&stats, queued, evaluated),
            error: result.as_ref().err().map(ToString::to_string),
            origin: self.asker.origin(),
        });
    }
}

/// A query that is to be logged when it ends: also when its client leaves, and with it everything that waits for its end.
struct Logged<'a> {
    state: &'a HubState,
    asked: Option<Asked>,
    began: Duration,
}

impl Logged<'_> {
    fn end(&mut self, result: &Result<Ran, QueryError>) {
        if let Some(asked) = self.asked.take() {
            asked.log(self.state, self.began, result);
        }
    }
}

impl Drop for Logged<'_> {
    fn drop(&mut self) {
        self.end(&Err(QueryError::Canceled));
    }
}

/// A result, and how long it waited for its turn and took then.
pub(super) struct Ran {
    pub(super) result: QueryResult,
    pub(super) queued: Duration,
    pub(super) evaluated: Duration,
}

impl Ran {
    /// Says what of the branches' data is not there, before all other warnings.
    fn note_missing(
        &mut self,
        state: &HubState,
        expr: &Expr,
        (start, end): (Timestamp, Timestamp),
        lookback: Option<Duration>,
    ) {
        let lookback = lookback.unwrap_or(LOOKBACK);
        let now = state.clock.now();
        let missing = missing::warnings(&state.ledger, expr, start, end, lookback, now);
        self.result.warnings.splice(0..0, missing);
    }
}

impl Queries {
    pub(crate) fn new(engine: Engine, parse: ParseOptions, cache: RangeCache) -> Self {
        let weigh =
            |text: &String, _: &Arc<Expr>| u32::try_from(text.len() + 64).unwrap_or(u32::MAX);
        let parsed = Cache::builder()
            .weigher(weigh)
            .max_capacity(PARSED_BYTES_MAX)
            .build();
        Queries {
            engine,
            parse,
            parsed,
            running: Arc::new(Semaphore::new(RUNNING_MAX)),
            cache,
        }
    }

    /// How many run now.
    pub(crate) fn running(&self) -> usize {
        RUNNING_MAX - self.running.available_permits().min(RUNNING_MAX)
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    fn parse(&self, params: &Params) -> Result<Arc<Expr>, ApiError> {
        let text = params.required("query")?;
        if let Some(expr) = self.parsed.get(text) {
            return Ok(expr);
        }
        let expr = promql::parse(text, &self.parse)
            .map_err(|error| ApiError::bad_parameter("query", error))?;
        let expr = Arc::new(expr);
        self.parsed.insert(text.to_owned(), expr.clone());
        Ok(expr)
    }

    /// Waits until one more query may run; it is over when the permit is dropped.
    pub(super) async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        // The semaphore is never closed.
        self.running.clone().acquire_owned().await.ok()
    }

    /// Runs a query off the async threads; it stops when its time is up, or when the returned future is dropped
    /// because the client left.
    async fn run(
        &self,
        state: &Arc<HubState>,
        timeout: Duration,
        asked_by: Asked,
        query: impl FnOnce(&Engine, &StoreReader, Cancel) -> Result<QueryResult, QueryError>
        + Send
        + 'static,
    ) -> Result<Ran, ApiError> {
        let cancel = Cancel::new();
        let guard = CancelOnDrop(cancel.clone());
        let began = state.clock.elapsed();
        let mut logged = Logged {
            state,
            asked: Some(asked_by),
            began,
        };
        let work = async {
            let asked = began;
            let turn = self.turn().await;
            let (state, cancel) = (state.clone(), cancel.clone());
            daemon::blocking(move || {
                let began = state.clock.elapsed();
                let reader = StoreReader {
                    store: state.store.clone(),
                };
                let result = query(state.queries.engine(), &reader, cancel);
                // Its turn lasts until it has stopped, even when nobody waits for it any more.
                drop(turn);
                Ok::<_, QueryError>(Ran {
                    result: result?,
                    queued: began.saturating_sub(asked),
                    evaluated: state.clock.elapsed().saturating_sub(began),
                })
            })
            .await
        };
        let result = tokio::select! {
            // Time first: no time at all is always too little, as in Prometheus.
            biased;
            () = state.clock.sleep(timeout) => {
                guard.0.time_out();
                Err(QueryError::Timeout)
            }
            result = work => result,
        };
        logged.end(&result);
        result.map_err(|error| {
            let kind = match error {
                QueryError::Parse(_) => Kind::BadData,
                QueryError::Execution(_) | QueryError::Storage(_) | QueryError::Changed(_) => {
                    Kind::Execution
                }
                QueryError::Timeout => Kind::Timeout,
                QueryError::Canceled => Kind::Canceled,
            };
            ApiError::new(kind, error)
        })
    }
}

/// Cancels the query when nobody waits for it any more; after its end that changes nothing.
pub(super) struct CancelOnDrop(pub(super) Cancel);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

fn options(params: &Params) -> Result<(Duration, QueryOptions), ApiError> {
    let timeout = params
        .duration("timeout")?
        .unwrap_or(TIMEOUT_MAX)
        .min(TIMEOUT_MAX);
    let mut options = QueryOptions::default();
    // None at all is as good as none given, as in Prometheus.
    let lookback = params.duration("lookback_delta")?;
    options.lookback = lookback.filter(|lookback| !lookback.is_zero());
    Ok((timeout, options))
}

pub(crate) async fn instant(
    State(state): State<Arc<HubState>>,
    asker: Asker,
    params: Params,
) -> Answer {
    let at = params.time("time")?.unwrap_or_else(|| state.clock.now());
    let (limit, expr) = (params.limit()?, state.queries.parse(&params)?);
    let (timeout, mut options) = options(&params)?;
    let stats = StatsWanted::of(&params);
    options.count_by_step = stats == StatsWanted::All && state.features.per_step_stats;
    let (wanted, lookback) = (expr.clone(), options.lookback);
    let run = move |engine: &Engine, reader: &StoreReader, cancel| {
        options.cancel = cancel;
        engine.instant(reader, &expr, at, &options)
    };
    let asked = Asked::of(&params, asker, (at, at, 0));
    let mut ran = state.queries.run(&state, timeout, asked, run).await?;
    ran.note_missing(&state, &wanted, (at, at), lookback);
    Ok(result::answer(&state, ran, limit, stats).await)
}

pub(crate) async fn range(
    State(state): State<Arc<HubState>>,
    asker: Asker,
    params: Params,
) -> Answer {
    let required_time = |name: &str| {
        params.required(name)?;
        Ok::<_, ApiError>(params.time(name)?.unwrap_or_default())
    };
    let (start, end) = (required_time("start")?, required_time("end")?);
    if end < start {
        return Err(ApiError::bad_parameter("end", END_BEFORE_START));
    }
    params.required("step")?;
    let step = params.signed_duration("step")?.unwrap_or_default();
    if step <= 0 {
        let why = "zero or negative query resolution step widths are not accepted. Try a positive integer";
        return Err(ApiError::bad_parameter("step", why));
    }
    if end.millis().saturating_sub(start.millis()) / step > POINTS_MAX {
        return Err(ApiError::bad_data(
            "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)",
        ));
    }
    let (limit, expr) = (params.limit()?, state.queries.parse(&params)?);
    let value_type = expr.value_type();
    if !matches!(value_type, ValueType::Scalar | ValueType::Vector) {
        let found = match value_type {
            ValueType::Matrix => "range vector",
            _ => "string",
        };
        let why = format!(
            "invalid expression type {found:?} for range query, must be Scalar or instant Vector"
        );
        return Err(ApiError::bad_parameter("query", why));
    }
    let (timeout, mut options) = options(&params)?;
    let stats = StatsWanted::of(&params);
    options.count_by_step = stats == StatsWanted::All && state.features.per_step_stats;
    let (wanted, lookback) = (expr.clone(), options.lookback);
    let query = RangeQuery {
        text: params.required("query")?.to_owned(),
        expr,
        start,
        end,
        step_ms: step,
    };
    // What a query takes is to be seen, not what it would have taken.
    let uncached = stats != StatsWanted::No || matches!(params.get("nocache"), Some("1" | "true"));
    let asking = state.clone();
    let run = move |engine: &Engine, reader: &StoreReader, cancel| {
        options.cancel = cancel;
        let cache = &asking.queries.cache;
        match uncached {
            true => cache.bypass(&query, engine, reader, &options),
            false => cache.answer(&query, engine, reader, &options, asking.clock.now()),
        }
    };
    let asked = Asked::of(&params, asker, (start, end, step));
    let mut ran = state.queries.run(&state, timeout, asked, run).await?;
    ran.note_missing(&state, &wanted, (start, end), lookback);
    Ok(result::answer(&state, ran, limit, stats).await)
}

/// The exemplars of every series that a selector of the query matches.
pub(crate) async fn exemplars(State(state): State<Arc<HubState>>, params: Params) -> Answer {
    let (start, end) = (params.time("start")?, params.time("end")?);
    if start.zip(end).is_some_and(|(start, end)| end < start) {
        return Err(ApiError::bad_parameter("end", END_BEFORE_START));
    }
    let text = params.required("query")?;
    let expr = promql::parse(text, &state.queries.parse).map_err(ApiError::bad_data)?;
    if expr.selectors().is_empty() {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let range = TimeRange::new(
        start.unwrap_or(Timestamp::MIN),
        end.unwrap_or(Timestamp::MAX),
    );
    let clock = state.clock.clone();
    let turn = state.queries.turn().await;
    let found = daemon::blocking(move || {
        let selectors = expr.selectors();
        let selectors: Vec<_> = selectors.iter().map(|s| s.matchers.as_slice()).collect();
        let found = state.store.select_exemplars(&selectors, range);
        drop(turn);
        found
    })
    .await;
    let annotations = Annotations {
        warnings: found.warnings,
        infos: Vec::new(),
    };
    let exemplars = found.series.iter().map(|series| series.exemplars.len());
    let exemplars = exemplars.sum();
    Ok(success_of(exemplars, &clock, annotations, move |json| {
        json.array(&found.series, |json, series| {
            json.raw("{\"seriesLabels\":").labels(&series.labels);
            json.raw(",\"exemplars\":")
                .array(&series.exemplars, |json, exemplar| {
                    json.raw("{\"labels\":").labels(&exemplar.labels);
                    json.raw(",\"value\":").float(exemplar.value);
                    json.raw(",\"timestamp\":").time(exemplar.at).raw("}");
                });
            json.raw("}");
        });
    })
    .await)
}

/// The expression's tree.
pub(crate) async fn tree(State(state): State<Arc<HubState>>, params: Params) -> Answer {
    let expr = state.queries.parse(&params)?;
    let tree = promql::ast_json(&expr).map_err(ApiError::bad_data)?;
    Ok(success(&Annotations::default(), |json| {
        json.raw(&tree);
    }))
}

pub(crate) async fn format(State(state): State<Arc<HubState>>, params: Params) -> Answer {
    let expr = state.queries.parse(&params)?;
    Ok(success(&Annotations::default(), |json| {
        json.string(&promql::pretty(&expr));
    }))
}
