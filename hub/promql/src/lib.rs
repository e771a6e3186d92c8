//! What does this expression mean over those samples?
//!
//! PromQL as Prometheus 3.14 has it: lexer, parser with positions and Prometheus's error texts, printers, and an
//! evaluator over series that it reads through a trait of its own.
//!
//! Not here, on purpose: where samples are stored, HTTP and JSON, rules, caches of results.

pub mod ast;
mod functions;
mod lexer;
mod parser;
mod printer;
mod regex_error;
mod stack;
mod text;
mod token;

pub use ast::{Expr, ValueType};
pub use functions::{FUNCTIONS, Function, FunctionId, function};
pub use parser::{EXPR_BYTES_MAX, ParseError, ParseOptions, parse, parse_selector};
pub use printer::pretty;
pub use text::format_float;
