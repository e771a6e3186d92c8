//! What does this expression mean over those samples?
//!
//! PromQL as Prometheus 3.14 has it: lexer, parser with positions and Prometheus's error texts, printers, and an
//! evaluator over series that it reads through a trait of its own, [`Storage`]. Series come as columns; every node of
//! an expression is evaluated over all steps of a query at once, and aggregations fold series as they come.
//!
//! Not here, on purpose: where samples are stored, HTTP and JSON, rules, caches of results, clocks (whoever starts a
//! query stops it when its time is up, by [`Cancel`]).
//!
//! Where it differs from Prometheus on purpose: nesting is limited to a thousand levels and a text to a mebibyte; the
//! limit on samples counts what is held (columns and results), not what windows copy; `limitk`, `topk` and `bottomk`
//! choose among equals by label order; with delayed name removal, series that keep their name and series that will
//! lose it stay apart until the end, also in range queries.
//!
//! ```
//! use model::Timestamp;
//! use promql::script::{Command, MemoryTarget, Target, parse as parse_script};
//! use promql::{Engine, ParseOptions, QueryOptions, ResultValue, parse};
//!
//! let mut target = MemoryTarget::default();
//! for command in parse_script("load 1m\n  requests_total{branch=\"b07\"} 0+60x10").unwrap() {
//!     if let Command::Load(load) = command {
//!         target.load(&load).unwrap();
//!     }
//! }
//! let expr = parse("sum by (branch) (rate(requests_total[5m]))", &ParseOptions::default()).unwrap();
//! let at = Timestamp::from_millis(600_000);
//! let answer = Engine::default().instant(&target, &expr, at, &QueryOptions::default()).unwrap();
//! let ResultValue::Vector(samples) = answer.value else { panic!("an instant vector") };
//! assert_eq!(samples[0].labels.get("branch"), Some("b07"));
//! assert_eq!(samples[0].value, model::Value::Float(1.0));
//! ```

mod annotations;
pub mod ast;
mod ast_json;
mod engine;
mod eval;
mod functions;
mod histogram;
mod kahan;
mod lexer;
mod limits;
mod parser;
mod printer;
mod result;
pub mod script;
mod stack;
mod steps;
mod storage;
mod text;
mod time;
mod token;
mod xxhash;

pub use ast::{Expr, ValueType};
pub use ast_json::{AstJsonError, ast_json};
pub use engine::{Engine, EngineOptions, QueryOptions};
pub use functions::{FUNCTIONS, Function, FunctionId, function};
pub use histogram::note_resets;
pub use limits::{Budget, Cancel, OverBudget, Pool, Stop, Weight};
pub use parser::{
    EXPR_BYTES_MAX, ParseError, ParseOptions, SeriesDescription, SeriesValue, parse,
    parse_selector, parse_series,
};
pub use printer::pretty;
pub use result::{
    InstantSample, QueryError, QueryResult, QueryStats, RangeSeries, ResultValue, StepSamples,
};
pub use steps::{StepReach, step_reach};
pub use storage::{
    Column, Groups, Hints, NO_GROUP, Select, Selection, SeriesColumns, SeriesSet, SeriesView,
    Storage, StorageError, ValuesView,
};
pub use text::format_float;
