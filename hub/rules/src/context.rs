//! What an evaluation asks of the world.

use std::time::Duration;

use model::{LabelSet, Matcher, Sample, Timestamp, Value};
use promql::{Expr, ParseOptions};

use crate::template::TemplateQuery;

/// A sample on its way to the store.
#[derive(Clone, Debug, PartialEq)]
pub struct RuleSample {
    /// With the metric's name.
    pub labels: LabelSet,
    /// What and when.
    pub sample: Sample,
}

/// Queries, the store, and the time that things take: all that an evaluation needs from outside.
pub trait RuleContext {
    /// The instant vector of an expression. A scalar is one element without labels; strings and range vectors are
    /// the error `rule result is not a vector or scalar`. Other errors: the engine's text.
    fn query(&mut self, expr: &Expr, at: Timestamp) -> Result<Vec<(LabelSet, Value)>, String>;

    /// Takes samples, staleness markers among them. Queries that follow see them. Errors: the store's text; nothing
    /// of the call needs to have been kept then.
    fn append(&mut self, samples: Vec<RuleSample>) -> Result<(), String>;

    /// The newest sample within `from..=to` of every series that matches, staleness markers included. Used once
    /// after a start, to find out since when alerts had been pending.
    fn newest(
        &mut self,
        matchers: &[Matcher],
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<(LabelSet, Sample)>, String>;

    /// How `query` in templates is parsed.
    fn parse_options(&self) -> ParseOptions {
        ParseOptions::default()
    }

    /// A monotonic clock, for the evaluation times that the API shows. Zero where nobody looks.
    fn elapsed(&self) -> Duration {
        Duration::ZERO
    }
}

/// `query` in templates goes to the same engine as the rules.
pub(crate) struct TemplateQueries<'a> {
    pub(crate) context: &'a mut dyn RuleContext,
    pub(crate) at: Timestamp,
}

impl TemplateQuery for TemplateQueries<'_> {
    fn query(&mut self, expr: &str) -> Result<Vec<(LabelSet, Value)>, String> {
        let options = self.context.parse_options();
        let expr = promql::parse(expr, &options).map_err(|error| error.to_string())?;
        self.context.query(&expr, self.at)
    }
}
