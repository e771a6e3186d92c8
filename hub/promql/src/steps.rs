//! May a range query be answered in pieces, some steps now and others kept from before? If the value at each step is the
//! step's own affair, and it is known which samples that depends on.
//!
//! It is not where an expression looks at the whole range that was asked for (`@ start()`, `range()`), or at a fixed time
//! (`@ 1234`, which is one, but not near the step), and where something is refused for all steps because of what there is at
//! different ones: names are dropped from series that differ in nothing else. So this says yes only where it is sure, by a list of what
//! is known to be harmless.
//!
//! Two things cannot be seen in the expression. Annotations are not told step by step. And what is said of native
//! histograms may depend on the samples before those that a step sees: see [`crate::QueryStats::histograms_read`].

use crate::EngineOptions;
use crate::ast::{
    Aggregate, AggregateOp, Binary, BinaryOp, Call, Expr, RangeMode, SignedDuration, Subquery,
    VectorSelector,
};
use crate::eval::range_argument;
use crate::functions::FunctionId;
use crate::stack::deep;
use model::{METRIC_NAME, MatchOp};

/// The samples that the value at a step may depend on: those at times `step - before_ms ..= step + after_ms`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepReach {
    /// Below 0: all of them are later than the step.
    pub before_ms: i64,
    /// Below 0: all of them are earlier than the step.
    pub after_ms: i64,
}

/// No reach is longer: sums of some stay far from what 64 bits hold.
const REACH_MS_MAX: i64 = 1 << 50;

/// What the value at a step of a range query depends on, if that is all it depends on. None: it is not, or nobody knows; or
/// there are no samples that it depends on.
pub fn step_reach(expr: &Expr, options: &EngineOptions, lookback_ms: i64) -> Option<StepReach> {
    if options.delayed_name_removal || options.type_and_unit_labels {
        return None;
    }
    Steps { lookback_ms }.of(expr)?.reach
}

struct Steps {
    lookback_ms: i64,
}

/// What is known of an expression that may be answered in pieces.
#[derive(Clone, Copy)]
struct Known {
    reach: Option<StepReach>,
    /// No two of its series differ in their metric name alone, whatever the steps.
    distinct: bool,
    /// None of its series has a metric name.
    nameless: bool,
}

impl Known {
    const NUMBER: Known = Known {
        reach: None,
        distinct: true,
        nameless: true,
    };

    fn nameless(reach: Option<StepReach>) -> Self {
        Known {
            reach,
            ..Known::NUMBER
        }
    }
}

fn both(a: Option<StepReach>, b: Option<StepReach>) -> Option<StepReach> {
    match (a, b) {
        (Some(a), Some(b)) => Some(StepReach {
            before_ms: a.before_ms.max(b.before_ms),
            after_ms: a.after_ms.max(b.after_ms),
        }),
        (a, b) => a.or(b),
    }
}

fn millis(duration: SignedDuration) -> Option<i64> {
    Some(duration.millis()).filter(|ms| ms.abs() < REACH_MS_MAX)
}

impl Steps {
    fn of(&self, expr: &Expr) -> Option<Known> {
        deep(|| match expr {
            Expr::Number(_) | Expr::String(_) => Some(Known::NUMBER),
            Expr::Vector(selector) => self.selector(selector, self.lookback_ms),
            Expr::Matrix(matrix) if matrix.range_expr.is_none() => {
                self.selector(&matrix.selector, millis(matrix.range)?)
            }
            Expr::Matrix(_) => None,
            Expr::Subquery(subquery) => self.subquery(subquery),
            Expr::Call(call) => self.call(call),
            Expr::Aggregate(aggregate) => self.aggregate(aggregate),
            Expr::Binary(binary) => self.binary(binary),
            Expr::Unary(unary) => {
                let of = self.of(&unary.expr)?;
                of.distinct.then_some(Known::nameless(of.reach))
            }
            Expr::Paren(paren) => self.of(&paren.expr),
        })
    }

    fn selector(&self, selector: &VectorSelector, length_ms: i64) -> Option<Known> {
        let plain = selector.at.is_none()
            && selector.offset_expr.is_none()
            && selector.mode == RangeMode::Plain;
        let offset = millis(selector.offset).filter(|_| plain)?;
        let is_name = |matcher: &&model::Matcher| {
            matcher.name() == METRIC_NAME
                && matcher.op() == MatchOp::Equal
                && !matcher.value().is_empty()
        };
        let length_ms = Some(length_ms).filter(|length| (0..REACH_MS_MAX).contains(length))?;
        Some(Known {
            reach: Some(StepReach {
                before_ms: offset + length_ms,
                after_ms: -offset,
            }),
            distinct: selector.matchers.iter().any(|matcher| is_name(&matcher)),
            nameless: false,
        })
    }

    fn subquery(&self, subquery: &Subquery) -> Option<Known> {
        let plain = subquery.at.is_none()
            && subquery.offset_expr.is_none()
            && subquery.range_expr.is_none()
            && subquery.step_expr.is_none();
        let (offset, range) = (millis(subquery.offset)?, millis(subquery.range)?);
        let inside = self.of(&subquery.expr).filter(|_| plain)?;
        let reach = inside.reach.map(|reach| StepReach {
            before_ms: offset + range + reach.before_ms,
            after_ms: reach.after_ms - offset,
        });
        let fits = |reach: StepReach| {
            reach.before_ms.abs() < REACH_MS_MAX && reach.after_ms.abs() < REACH_MS_MAX
        };
        reach.is_none_or(fits).then_some(Known { reach, ..inside })
    }

    fn call(&self, call: &Call) -> Option<Known> {
        let id = call.function.id;
        if looks_further(id) {
            return None;
        }
        let (mut reach, mut distinct) = (None, true);
        for arg in &call.args {
            let arg = self.of(arg)?;
            reach = both(reach, arg.reach);
            distinct &= arg.distinct;
        }
        match id {
            FunctionId::Absent | FunctionId::AbsentOverTime | FunctionId::Scalar => {
                Some(Known::nameless(reach))
            }
            FunctionId::LastOverTime | FunctionId::FirstOverTime => {
                let of = self.of(&call.args[range_argument(call)?])?;
                Some(Known { reach, ..of })
            }
            FunctionId::LabelReplace | FunctionId::LabelJoin => Some(Known {
                reach,
                distinct: false,
                nameless: false,
            }),
            _ => distinct.then_some(Known::nameless(reach)),
        }
    }

    fn aggregate(&self, aggregate: &Aggregate) -> Option<Known> {
        let fixed = aggregate.param.as_ref().is_none_or(|param| {
            matches!(param.without_parens(), Expr::Number(_) | Expr::String(_))
        });
        let of = self.of(&aggregate.expr).filter(|_| fixed)?;
        let names = |label: &String| label == METRIC_NAME;
        let keeps_name = !aggregate.without && aggregate.grouping.iter().any(names);
        Some(match aggregate.op {
            AggregateOp::Topk
            | AggregateOp::Bottomk
            | AggregateOp::Limitk
            | AggregateOp::LimitRatio => of,
            // Its label may be the name.
            AggregateOp::CountValues => Known {
                reach: of.reach,
                distinct: false,
                nameless: false,
            },
            _ if keeps_name => Known {
                distinct: of.nameless,
                ..of
            },
            _ => Known::nameless(of.reach),
        })
    }

    fn binary(&self, binary: &Binary) -> Option<Known> {
        let (lhs, rhs) = (self.of(&binary.lhs)?, self.of(&binary.rhs)?);
        let reach = both(lhs.reach, rhs.reach);
        let includes_name = binary
            .matching
            .as_ref()
            .is_some_and(|matching| matching.include.iter().any(|label| label == METRIC_NAME));
        let nameless = lhs.nameless && rhs.nameless;
        Some(match binary.op {
            BinaryOp::TrimUpper | BinaryOp::TrimLower => return None,
            BinaryOp::Or => Known {
                reach,
                distinct: nameless,
                nameless,
            },
            BinaryOp::And | BinaryOp::Unless => Known { reach, ..lhs },
            _ if includes_name || !lhs.distinct || !rhs.distinct => return None,
            op if op.is_comparison() && !binary.return_bool => Known {
                reach,
                distinct: true,
                nameless,
            },
            _ => Known::nameless(reach),
        })
    }
}

/// Functions that look at the query's own range, say something that depends on whether it is one step or several, or match series in ways
/// of their own.
fn looks_further(id: FunctionId) -> bool {
    matches!(
        id,
        FunctionId::Start
            | FunctionId::End
            | FunctionId::Range
            | FunctionId::Step
            | FunctionId::Sort
            | FunctionId::SortDesc
            | FunctionId::SortByLabel
            | FunctionId::SortByLabelDesc
            | FunctionId::StartTimestamp
            | FunctionId::Info
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parser::{ParseOptions, parse};

    fn reach(text: &str) -> Option<(i64, i64)> {
        let options = ParseOptions {
            experimental_functions: true,
            ..ParseOptions::default()
        };
        let expr = parse(text, &options).unwrap();
        let reach = step_reach(&expr, &EngineOptions::default(), 300_000)?;
        Some((reach.before_ms / 1000, reach.after_ms / 1000))
    }

    #[test]
    fn steps_depend_on_what_selectors_reach() {
        let check = |text: &str, expected: (i64, i64)| {
            assert_eq!(reach(text), Some(expected), "{text}");
        };
        check("up", (300, 0));
        check("up offset 1h", (3900, -3600));
        check("up offset -1h", (-3300, 3600));
        check("sum(rate(a_total[5m])) / count(up offset -1m)", (300, 60));
        check(
            "max_over_time(rate(a_total[5m])[1h:1m] offset 10m)",
            (4500, -600),
        );
        check("topk(3, up) or absent(up offset 1h)", (3900, 0));
        check("label_replace(up, \"a\", \"b\", \"c\", \"d\")", (300, 0));
        check(
            "histogram_quantile(0.9, sum by (le) (rate(h_bucket[10m])))",
            (600, 0),
        );
        check("{job=\"x\"}", (300, 0));
        check("sum(last_over_time({job=\"x\"}[1m]))", (60, 0));
    }

    #[test]
    fn what_looks_further_is_left_alone() {
        for text in [
            "1",
            "time()",
            "up @ start()",
            "up @ 123",
            "rate(up[5m] @ end())",
            "max_over_time(up[1h:1m] @ 5)",
            "up * range()",
            "sort(up)",
            "info(up)",
            // The names may be all that tells two series apart.
            "rate({job=\"x\"}[5m])",
            "-{job=\"x\"}",
            "max_over_time((a or b)[5m:1m])",
            "abs(label_replace(up, \"__name__\", \"$1\", \"c\", \"(.*)\"))",
            "topk(scalar(up), up)",
        ] {
            assert_eq!(reach(text), None, "{text}");
        }
    }
}
