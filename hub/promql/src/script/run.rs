//! Runs a script against a storage, each case in all its forms.

use std::fmt;
use std::sync::LazyLock;
use std::time::Duration;

use model::{Timestamp, Value};
use regex::Regex;

use super::command::{Command, Eval, EvalTime, Load, commands};
use super::compare::{self, Check};
use super::expect::Expectation;
use crate::ast::{At, Expr};
use crate::engine::{Engine, EngineOptions, QueryOptions};
use crate::functions::FunctionId;
use crate::parser::ParseOptions;
use crate::result::{InstantSample, QueryResult, RangeSeries, ResultValue};
use crate::storage::Storage;

/// A storage that scripts can fill.
pub trait Target {
    /// Empties it.
    fn clear(&mut self);

    /// Adds series.
    ///
    /// # Errors
    /// Why they cannot be stored.
    fn load(&mut self, load: &Load) -> Result<(), String>;

    /// What queries read.
    fn storage(&self) -> &dyn Storage;
}

/// How a script went.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Cases that gave what they expect, in all forms.
    pub passed: usize,
    /// The others.
    pub failures: Vec<Failure>,
}

/// A case that failed.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Line of the case in the script.
    pub line: usize,
    /// What was evaluated; empty when the script itself is wrong there.
    pub expr: String,
    /// What was wrong.
    pub message: String,
}

impl fmt::Display for Failure {
    /// `line 12: rate(x[5m]): expected 1, got 2`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.expr.as_str() {
            "" => write!(f, "line {}: {}", self.line, self.message),
            expr => write!(f, "line {}: {expr}: {}", self.line, self.message),
        }
    }
}

/// The options that upstream's scripts assume.
pub fn engine_options() -> EngineOptions {
    EngineOptions {
        delayed_name_removal: true,
        start_timestamps: true,
        ..EngineOptions::default()
    }
}

/// Runs a script to its end. A block that is no part of the language, or series that cannot be stored, count as a
/// failure of their own.
pub fn run(script: &str, target: &mut dyn Target, engine: &Engine) -> Report {
    target.clear();
    let mut report = Report::default();
    for command in commands(script) {
        let failure = match command {
            Err(error) => Some(Failure {
                line: error.line,
                expr: String::new(),
                message: error.message,
            }),
            Ok(Command::Clear) => {
                target.clear();
                None
            }
            Ok(Command::Load(load)) => target.load(&load).err().map(|message| Failure {
                line: load.line,
                expr: String::new(),
                message,
            }),
            Ok(Command::Eval(eval)) => {
                let case = Case {
                    eval: &eval,
                    storage: target.storage(),
                    engine,
                };
                let failed = case.run().err();
                report.passed += usize::from(failed.is_none());
                failed.map(|message| Failure {
                    line: eval.line,
                    expr: eval.expr.clone(),
                    message,
                })
            }
        };
        report.failures.extend(failure);
    }
    report
}

struct Case<'a> {
    eval: &'a Eval,
    storage: &'a dyn Storage,
    engine: &'a Engine,
}

/// These give something else in a range query.
static KNOWS_ITS_QUERY: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(start|end|range|step)\(\)").expect("a pattern of our own compiles")
});

fn query_options() -> QueryOptions {
    QueryOptions {
        annotations_max: 0,
        ..QueryOptions::default()
    }
}

impl Case<'_> {
    fn run(&self) -> Check {
        match self.eval.time {
            EvalTime::Range { start, end, step } => {
                let result = self.range(&self.eval.expr, start, end, step);
                match self.outcome(result)? {
                    Some(result) => self.compare(&result, Some((start, end, step))),
                    None => Ok(()),
                }
            }
            EvalTime::Instant(at) => {
                self.instant(&self.eval.expr, at)?;
                let Some((expr, times)) = self.fixed_forms(at)? else {
                    return Ok(());
                };
                for at in times {
                    self.instant(&expr, at)
                        .map_err(|e| format!("as {expr} at {at}: {e}"))?;
                }
                Ok(())
            }
        }
    }

    fn parse(&self, expr: &str) -> Result<Expr, String> {
        crate::parser::parse(expr, &ParseOptions::all()).map_err(|e| e.message)
    }

    fn range(
        &self,
        expr: &str,
        start: Timestamp,
        end: Timestamp,
        step: Duration,
    ) -> Result<QueryResult, String> {
        let expr = self.parse(expr)?;
        self.engine
            .range(self.storage, &expr, start, end, step, &query_options())
            .map_err(|e| e.to_string())
    }

    /// The result, if one is expected and there; nothing if the query failed as expected.
    fn outcome(&self, result: Result<QueryResult, String>) -> Result<Option<QueryResult>, String> {
        match (result, &self.eval.expected.fail) {
            (Ok(result), None) => Ok(Some(result)),
            (Ok(_), Some(_)) => Err("expected a failure, got a result".to_owned()),
            (Err(error), Some(text)) if text.fits(&error) => Ok(None),
            (Err(error), Some(text)) => Err(format!("expected failure {text:?}, got {error}")),
            (Err(error), None) => Err(format!("failed: {error}")),
        }
    }

    fn compare(
        &self,
        result: &QueryResult,
        steps: Option<(Timestamp, Timestamp, Duration)>,
    ) -> Check {
        compare::annotations(&self.eval.expected, &result.warnings, &result.infos)?;
        compare::values(&self.eval.expected, &result.value, steps)
    }

    /// The instant query, and the range query around it.
    fn instant(&self, text: &str, at: Timestamp) -> Check {
        let result = self.parse(text).and_then(|expr| {
            self.engine
                .instant(self.storage, &expr, at, &query_options())
                .map_err(|e| e.to_string())
        });
        let Some(result) = self.outcome(result)? else {
            return Ok(());
        };
        let expected = &self.eval.expected;
        self.compare(&result, expected.range_steps)?;
        let only_instant = expected.range_steps.is_some()
            || matches!(expected.values, Expectation::String(_))
            || KNOWS_ITS_QUERY.is_match(text);
        if only_instant {
            return Ok(());
        }
        let minute = Duration::from_secs(60);
        let around = (at.saturating_sub(minute), at.saturating_add(minute));
        let ranged = self
            .range(text, around.0, around.1, minute)
            .map_err(|e| format!("as a range query: {e}"))?;
        if expected.ordered {
            return Ok(());
        }
        let ResultValue::Matrix(series) = ranged.value else {
            return Err("as a range query: no range vector".to_owned());
        };
        let middle: Vec<InstantSample> = series.iter().filter_map(|s| sample_at(s, at)).collect();
        let checked = match (&expected.values, result.value) {
            (Expectation::Scalar(_), ResultValue::Scalar(..)) => match middle.first() {
                Some(InstantSample {
                    value: Value::Float(value),
                    ..
                }) => compare::values(expected, &ResultValue::Scalar(at, *value), None),
                _ => Err("no scalar".to_owned()),
            },
            (Expectation::Series(rows), _) => compare::vector(rows, &middle, false),
            _ => Ok(()),
        };
        checked.map_err(|e| format!("as a range query: {e}"))
    }

    /// The expression with every time fixed to that of the case, printed back, and when to evaluate it.
    fn fixed_forms(&self, at: Timestamp) -> Result<Option<(String, Vec<Timestamp>)>, String> {
        let Ok(mut expr) = self.parse(&self.eval.expr) else {
            // It was to fail, or has failed already.
            return Ok(None);
        };
        if !fix_times(&mut expr, at.millis()) {
            return Ok(None);
        }
        let ms = at.millis();
        let times = if ms == 0 {
            vec![-1000, 0, 1000]
        } else {
            vec![ms.saturating_mul(-10), 0, ms / 5, ms, ms.saturating_mul(10)]
        };
        let times = times.into_iter().map(Timestamp::from_millis).collect();
        Ok(Some((expr.to_string(), times)))
    }
}

fn sample_at(series: &RangeSeries, at: Timestamp) -> Option<InstantSample> {
    let float = series.floats.iter().find(|(t, _)| *t == at);
    let histogram = series.histograms.iter().find(|(t, _)| *t == at);
    let value = match (float, histogram) {
        (Some((_, value)), _) => Value::Float(*value),
        (None, Some((_, histogram))) => Value::Histogram(histogram.clone()),
        (None, None) => return None,
    };
    Some(InstantSample {
        labels: series.labels.clone(),
        at,
        value,
    })
}

/// Puts `@` on every selector and subquery that has no time of its own; what is inside a subquery that has one stays.
/// False if the expression depends on the time of evaluation all the same.
fn fix_times(expr: &mut Expr, at: i64) -> bool {
    let fix = |slot: &mut Option<At>| {
        if !matches!(slot, Some(At::Time(_))) {
            *slot = Some(At::Time(at));
        }
    };
    match expr {
        Expr::Number(_) | Expr::String(_) => true,
        Expr::Vector(selector) => {
            fix(&mut selector.at);
            true
        }
        Expr::Matrix(matrix) => {
            fix(&mut matrix.selector.at);
            true
        }
        Expr::Subquery(subquery) => {
            fix(&mut subquery.at);
            true
        }
        Expr::Call(call) => {
            let fixed = call.args.iter_mut().all(|arg| fix_times(arg, at));
            fixed && !is_time_function(call.function.id)
        }
        Expr::Aggregate(aggregate) => {
            let param = aggregate.param.as_mut().is_none_or(|p| fix_times(p, at));
            fix_times(&mut aggregate.expr, at) && param
        }
        Expr::Binary(binary) => {
            let left = fix_times(&mut binary.lhs, at);
            fix_times(&mut binary.rhs, at) && left
        }
        Expr::Unary(unary) => fix_times(&mut unary.expr, at),
        Expr::Paren(paren) => fix_times(&mut paren.expr, at),
    }
}

fn is_time_function(id: FunctionId) -> bool {
    matches!(
        id,
        FunctionId::DaysInMonth
            | FunctionId::DayOfMonth
            | FunctionId::DayOfWeek
            | FunctionId::DayOfYear
            | FunctionId::Hour
            | FunctionId::Minute
            | FunctionId::Month
            | FunctionId::Year
            | FunctionId::PredictLinear
            | FunctionId::Time
            | FunctionId::Timestamp
            | FunctionId::Start
            | FunctionId::End
            | FunctionId::Step
            | FunctionId::Range
    )
}
