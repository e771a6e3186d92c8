//! Aggregations that pick series: `topk`, `bottomk`, `limitk`, `limit_ratio`.

use model::LabelSet;

use super::aggregate::Grouped;
use super::row::{Point, Row};
use super::{Eval, Evaluator, Grid, execution};
use crate::annotations::Annotation;
use crate::ast::{Aggregate, AggregateOp};
use crate::xxhash::xxhash64;

impl Evaluator<'_> {
    pub(super) fn select_k(&mut self, aggregate: &Aggregate, grid: Grid) -> Eval<Vec<Row>> {
        let Some(param) = &aggregate.param else {
            return Err(super::unsupported("aggregation with a parameter"));
        };
        let wanted = self.scalar(param, grid)?;
        let rows = self.vector(&aggregate.expr, grid)?;
        if !self.check_wanted(aggregate, &wanted)? {
            self.release(&rows);
            return Ok(Vec::new());
        }
        let groups = Grouped::new(&rows, aggregate);
        let mut members: Vec<Vec<usize>> = vec![Vec::new(); groups.labels.len()];
        for (row, group) in groups.of_row.iter().enumerate() {
            members[*group].push(row);
        }
        // Equals are told apart by their labels: the choice does not hang on how the rows came about.
        for members in &mut members {
            members.sort_by(|a, b| rows[*a].labels.cmp(&rows[*b].labels));
        }
        // The rows picked at each step, in the order of an instant query's answer.
        let mut order: Vec<usize> = Vec::new();
        let mut picked: Vec<Row> = rows
            .iter()
            .map(|row| Row {
                drop_name: row.drop_name,
                ..Row::empty(row.labels.clone(), grid.len)
            })
            .collect();
        for (step, wanted) in wanted.iter().enumerate() {
            self.cancel.check()?;
            for members in &members {
                let chosen = self.choose(aggregate, &rows, members, step, *wanted);
                for at in chosen {
                    if let Some(point) = rows[at].point(step) {
                        picked[at].set(step, point.into());
                    }
                    if grid.len == 1 {
                        order.push(at);
                    }
                }
            }
        }
        self.release(&rows);
        let result: Vec<Row> = if grid.len == 1 {
            let mut picked: Vec<Option<Row>> = picked.into_iter().map(Some).collect();
            order.iter().filter_map(|at| picked[*at].take()).collect()
        } else {
            picked.into_iter().filter(|row| !row.is_empty()).collect()
        };
        self.hold(&result)?;
        Ok(result)
    }

    /// Whether the parameter can pick anything; an error if it has no meaning.
    fn check_wanted(&mut self, aggregate: &Aggregate, wanted: &[f64]) -> Eval<bool> {
        let span = aggregate
            .param
            .as_ref()
            .map_or(aggregate.span, |p| p.span());
        let any_nan = wanted.iter().any(|value| value.is_nan());
        let least = wanted.iter().copied().fold(f64::INFINITY, f64::min);
        let greatest = wanted.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        if aggregate.op == AggregateOp::LimitRatio {
            if any_nan {
                return Err(execution("Ratio value is NaN"));
            }
            for (found, used) in [(greatest, 1.0), (least, -1.0)] {
                if found.abs() > 1.0 && found.signum() == used {
                    self.annotate(&Annotation::InvalidRatio { found, used }, span);
                }
            }
            return Ok(!(greatest == 0.0 && least == 0.0));
        }
        if !any_nan && greatest < 1.0 {
            return Ok(false);
        }
        if any_nan {
            return Err(execution("Parameter value is NaN"));
        }
        const LIMIT: f64 = i64::MAX as f64;
        let general = crate::text::format_general;
        if least <= -LIMIT {
            let least = general(least);
            return Err(execution(format!("Scalar value {least} underflows int64")));
        }
        if greatest >= LIMIT {
            let greatest = general(greatest);
            return Err(execution(format!(
                "Scalar value {greatest} overflows int64"
            )));
        }
        Ok(true)
    }

    /// The members of a group that are picked at a step.
    fn choose(
        &mut self,
        aggregate: &Aggregate,
        rows: &[Row],
        members: &[usize],
        step: usize,
        wanted: f64,
    ) -> Vec<usize> {
        let count = if wanted >= 1.0 { wanted as usize } else { 0 };
        let there = members.iter().copied().filter(|at| rows[*at].has(step));
        match aggregate.op {
            AggregateOp::LimitRatio => there
                .filter(|at| is_sampled(wanted.clamp(-1.0, 1.0), &rows[*at].labels))
                .collect(),
            AggregateOp::Limitk => there.take(count).collect(),
            op => {
                let mut ignored = false;
                let mut values: Vec<(f64, usize)> = there
                    .filter_map(|at| match rows[at].point(step) {
                        Some(Point::Float(value)) => Some((value, at)),
                        _ => {
                            ignored = true;
                            None
                        }
                    })
                    .collect();
                if ignored && count > 0 {
                    let operator = op.name();
                    let annotation = Annotation::IgnoredInAggregation { operator };
                    self.annotate(&annotation, aggregate.span);
                }
                let top = op == AggregateOp::Topk;
                // NaN is the last choice either way; among equals the first one is taken.
                values.sort_by(|(a, _), (b, _)| match (a.is_nan(), b.is_nan()) {
                    (false, false) if top => b.total_cmp(a),
                    (false, false) => a.total_cmp(b),
                    (a, b) => a.cmp(&b),
                });
                values.truncate(count);
                values.into_iter().map(|(_, at)| at).collect()
            }
        }
    }
}

/// Whether a series is among the part `ratio` of all: the same ones whenever asked, and those for `r` and for
/// `r - 1` complement each other.
fn is_sampled(ratio: f64, labels: &LabelSet) -> bool {
    let place = hash(labels) as f64 / u64::MAX as f64;
    if ratio >= 0.0 {
        place < ratio
    } else {
        place >= 1.0 + ratio
    }
}

/// The hash that Prometheus has of a label set, so that both pick the same series.
fn hash(labels: &LabelSet) -> u64 {
    let mut bytes = Vec::new();
    let mut push = |text: &str| {
        match u8::try_from(text.len()) {
            Ok(length) if length < 255 => bytes.push(length),
            _ => {
                bytes.push(255);
                bytes.extend_from_slice(&(text.len() as u32).to_le_bytes()[..3]);
            }
        }
        bytes.extend_from_slice(text.as_bytes());
    };
    for (name, value) in labels {
        push(name);
        push(value);
    }
    xxhash64(&bytes)
}
