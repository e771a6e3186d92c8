//! The entry: an expression, a storage and a time or a range of times in, an answer out.

use std::sync::Arc;
use std::time::Duration;

use model::{Timestamp, Value};

use crate::ast::{Expr, ValueType};
use crate::eval::{Evaluator, Grid, Row, prepare};
use crate::limits::{Budget, Cancel, Pool};
use crate::result::{InstantSample, QueryError, QueryResult, RangeSeries, ResultValue};
use crate::storage::Storage;
use crate::text::quote;

/// Steps a range query may have: bounds what one series of an answer takes.
const STEPS_MAX: i64 = 10_000_000;
/// How often a query begins while the storage changes under it.
const ATTEMPTS_MAX: usize = 20;

/// How an engine evaluates. The default is that of Prometheus 3.14.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// How long a series without a new sample counts as having its last value.
    pub lookback: Duration,
    /// Samples that a query may hold at a time; a native histogram counts for several.
    pub samples_max: u64,
    /// Bytes that a query may hold at a time, as far as they grow with what it asks. All that run may hold twice that.
    pub memory_max: u64,
    /// Step of subqueries that say none.
    pub subquery_step: Duration,
    /// Metric names are dropped at the end of the evaluation rather than by each function: labels made from them
    /// survive, and series that differ in nothing else meet later.
    pub delayed_name_removal: bool,
    /// `rate` and its kin use the start timestamps of samples that have them.
    pub start_timestamps: bool,
    /// The label `__type__` says what is a counter, rather than the metric's name.
    pub type_and_unit_labels: bool,
    /// Threads that one query may use where it has much to do. The answer does not depend on it.
    pub threads: usize,
}

impl Default for EngineOptions {
    fn default() -> Self {
        EngineOptions {
            lookback: Duration::from_secs(300),
            samples_max: 50_000_000,
            memory_max: u64::MAX,
            subquery_step: Duration::from_secs(60),
            delayed_name_removal: false,
            start_timestamps: false,
            type_and_unit_labels: false,
            threads: std::thread::available_parallelism().map_or(1, |threads| threads.get()),
        }
    }
}

/// What one query wants to have different.
#[derive(Clone, Debug)]
pub struct QueryOptions {
    /// In place of the engine's.
    pub lookback: Option<Duration>,
    /// Stops the query from outside.
    pub cancel: Cancel,
    /// Warnings, and infos, that the answer shows of the evaluation; of more it tells the number. 0 for all.
    pub annotations_max: usize,
    /// Samples are counted for each step, too: see [`crate::QueryStats::samples_by_step`].
    pub count_by_step: bool,
}

impl Default for QueryOptions {
    fn default() -> Self {
        QueryOptions {
            lookback: None,
            cancel: Cancel::new(),
            annotations_max: 10,
            count_by_step: false,
        }
    }
}

/// Evaluates expressions. Holds no state between queries but how much memory they have; one serves any number of threads.
#[derive(Clone, Debug)]
pub struct Engine {
    options: EngineOptions,
    /// Clones share it.
    memory: Arc<Pool>,
}

impl Default for Engine {
    fn default() -> Self {
        Engine::new(EngineOptions::default())
    }
}

impl Engine {
    /// An engine with these options.
    pub fn new(options: EngineOptions) -> Self {
        let memory = Arc::new(Pool::new(options.memory_max.saturating_mul(2)));
        Engine { options, memory }
    }

    /// The options.
    pub fn options(&self) -> &EngineOptions {
        &self.options
    }

    /// What one query may hold, taken from what all may: for whoever reads samples without an expression.
    pub fn budget(&self) -> Budget {
        let EngineOptions {
            samples_max,
            memory_max,
            ..
        } = self.options;
        Budget::with_memory(samples_max, memory_max).sharing(&self.memory)
    }

    /// The value of an expression at one instant; any type.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub fn instant(
        &self,
        storage: &dyn Storage,
        expr: &Expr,
        at: Timestamp,
        options: &QueryOptions,
    ) -> Result<QueryResult, QueryError> {
        let grid = Grid::instant(at.millis());
        let expr = prepare::prepare(expr, grid, 0)?;
        self.run(storage, grid, options, |evaluator| {
            Ok(match expr.value_type() {
                ValueType::Matrix => ResultValue::Matrix(evaluator.matrix(&expr, grid)?),
                ValueType::Scalar => {
                    let values = evaluator.scalar(&expr, grid)?;
                    ResultValue::Scalar(at, values.first().copied().unwrap_or(f64::NAN))
                }
                ValueType::String => ResultValue::String(at, string_value(&expr)),
                ValueType::Vector => {
                    let rows = evaluator.whole(&expr, grid)?;
                    ResultValue::Vector(
                        rows.into_iter().filter_map(|row| sample(row, at)).collect(),
                    )
                }
            })
        })
    }

    /// The values of an expression at `start`, one `step` later, and so on until `end`; a scalar or an instant vector.
    ///
    /// # Errors
    /// See [`QueryError`]; also an end before the start, a step below a millisecond, or too many steps.
    pub fn range(
        &self,
        storage: &dyn Storage,
        expr: &Expr,
        start: Timestamp,
        end: Timestamp,
        step: Duration,
        options: &QueryOptions,
    ) -> Result<QueryResult, QueryError> {
        let grid = range_grid(start, end, step)?;
        if !matches!(expr.value_type(), ValueType::Scalar | ValueType::Vector) {
            let found = quote(expr.value_type().documented_name());
            return Err(QueryError::Execution(format!(
                "invalid expression type {found} for range query, must be Scalar or instant Vector"
            )));
        }
        let expr = prepare::prepare(expr, grid, end.millis().saturating_sub(start.millis()))?;
        self.run(storage, grid, options, |evaluator| {
            let rows = evaluator.whole(&expr, grid)?;
            let mut series: Vec<RangeSeries> = rows
                .into_iter()
                .map(|row| row.into_points(grid))
                .filter(|series| !series.floats.is_empty() || !series.histograms.is_empty())
                .collect();
            series.sort_by(|a, b| a.labels.cmp(&b.labels));
            Ok(ResultValue::Matrix(series))
        })
    }

    fn run(
        &self,
        storage: &dyn Storage,
        grid: Grid,
        options: &QueryOptions,
        body: impl Fn(&mut Evaluator<'_>) -> Result<ResultValue, QueryError>,
    ) -> Result<QueryResult, QueryError> {
        for _ in 1..ATTEMPTS_MAX {
            match self.attempt(storage, grid, options, &body) {
                // Each time the storage has less that can change.
                Err(QueryError::Changed(_)) => {}
                result => return result,
            }
        }
        self.attempt(storage, grid, options, &body)
    }

    fn attempt(
        &self,
        storage: &dyn Storage,
        grid: Grid,
        options: &QueryOptions,
        body: &dyn Fn(&mut Evaluator<'_>) -> Result<ResultValue, QueryError>,
    ) -> Result<QueryResult, QueryError> {
        let budget = Arc::new(self.budget());
        let lookback = options.lookback.unwrap_or(self.options.lookback);
        let lookback_ms = i64::try_from(lookback.as_millis()).unwrap_or(i64::MAX / 4);
        let mut evaluator = Evaluator::new(
            storage,
            &self.options,
            lookback_ms.min(i64::MAX / 4),
            &options.cancel,
            &budget,
        );
        if options.count_by_step {
            evaluator.count_by_step(grid.len)?;
        }
        let value = body(&mut evaluator)?;
        let (annotations, mut stats) = evaluator.into_parts(grid);
        let (warnings, infos) = annotations.into_texts(options.annotations_max);
        stats.peak_samples = budget.peak();
        Ok(QueryResult {
            value,
            warnings,
            infos,
            stats,
            held: budget,
        })
    }
}

fn range_grid(start: Timestamp, end: Timestamp, step: Duration) -> Result<Grid, QueryError> {
    let refuse = |message: String| Err(QueryError::Execution(message));
    let step_ms = i64::try_from(step.as_millis()).unwrap_or(i64::MAX);
    if step_ms == 0 {
        return refuse("a range query needs a step of at least one millisecond".to_owned());
    }
    let Some(length) = end.millis().checked_sub(start.millis()) else {
        return refuse("the range of the query is too long".to_owned());
    };
    if length < 0 {
        return refuse("end timestamp must not be before start time".to_owned());
    }
    let steps = length / step_ms;
    if steps >= STEPS_MAX {
        return refuse(format!("a range query has at most {STEPS_MAX} steps"));
    }
    Ok(Grid::new(start.millis(), step_ms, steps as usize + 1))
}

fn string_value(expr: &Expr) -> String {
    match expr.without_parens() {
        Expr::String(literal) => literal.value.clone(),
        _ => String::new(),
    }
}

fn sample(row: Row, at: Timestamp) -> Option<InstantSample> {
    let value = match row.point(0)? {
        crate::eval::Point::Float(value) => Value::Float(value),
        crate::eval::Point::Histogram(histogram) => Value::Histogram(histogram.clone()),
    };
    Some(InstantSample {
        labels: row.labels,
        at,
        value,
    })
}
