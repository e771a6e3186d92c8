//! What does this expression mean over those samples?
//!
//! PromQL as Prometheus 3.14 has it: lexer, parser with positions and Prometheus's error texts, printers, and an
//! evaluator over series that it reads through a trait of its own.
//!
//! Not here, on purpose: where samples are stored, HTTP and JSON, rules, caches of results.

mod annotations;
pub mod ast;
mod engine;
mod eval;
mod functions;
mod histogram;
mod kahan;
mod lexer;
mod limits;
mod parser;
mod printer;
mod regex_error;
mod result;
pub mod script;
mod stack;
mod storage;
mod text;
mod time;
mod token;
mod xxhash;

pub use ast::{Expr, ValueType};
pub use engine::{Engine, EngineOptions, QueryOptions};
pub use functions::{FUNCTIONS, Function, FunctionId, function};
pub use limits::{Budget, Cancel, Stop, TooManySamples};
pub use parser::{
    EXPR_BYTES_MAX, ParseError, ParseOptions, SeriesDescription, SeriesValue, parse,
    parse_selector, parse_series,
};
pub use printer::pretty;
pub use result::{InstantSample, QueryError, QueryResult, QueryStats, RangeSeries, ResultValue};
pub use storage::{Column, Hints, Select, Selection, SeriesColumns, Storage, StorageError};
pub use text::format_float;
