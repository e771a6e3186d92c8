//! What a case expects.

use std::time::Duration;

use model::{LabelSet, Timestamp};
use regex::Regex;

use crate::parser::SeriesValue;

/// What a case expects.
#[derive(Clone, Debug, Default)]
pub struct Expected {
    /// The values.
    pub values: Expectation,
    /// The query fails with this text.
    pub fail: Option<Text>,
    /// Rows in the order given.
    pub ordered: bool,
    /// If there are any, each warning is one of these and each of these is a warning.
    pub warnings: Vec<Text>,
    /// Likewise.
    pub infos: Vec<Text>,
    /// There is no warning.
    pub no_warnings: bool,
    /// There is no info.
    pub no_infos: bool,
    /// There is at least one warning.
    pub some_warning: bool,
    /// There is at least one info.
    pub some_info: bool,
    /// An instant query gives a range vector: where the rows' values are, first, last and step.
    pub range_steps: Option<(Timestamp, Timestamp, Duration)>,
}

/// The values that are expected.
#[derive(Clone, Debug)]
pub enum Expectation {
    /// Exactly these series; none if the query is to fail.
    Series(Vec<ExpectedSeries>),
    /// A number.
    Scalar(f64),
    /// A text.
    String(String),
}

impl Default for Expectation {
    fn default() -> Self {
        Expectation::Series(Vec::new())
    }
}

/// A series that is expected.
#[derive(Clone, Debug)]
pub struct ExpectedSeries {
    /// Its labels.
    pub labels: LabelSet,
    /// One value, or one per step.
    pub values: Vec<SeriesValue>,
}

/// A text that is expected.
#[derive(Clone, Debug)]
pub enum Text {
    /// Whatever.
    Any,
    /// This.
    Exactly(String),
    /// One that the pattern finds something in.
    Matching(Box<Regex>),
}

impl Text {
    /// Whether a text is as expected.
    pub fn fits(&self, text: &str) -> bool {
        match self {
            Text::Any => true,
            Text::Exactly(expected) => expected == text,
            Text::Matching(pattern) => pattern.is_match(text),
        }
    }
}
