//! `info`: series enriched with the labels of info metrics such as `target_info`.

use std::collections::{BTreeMap, HashMap, HashSet};

use model::{LabelSet, METRIC_NAME, MatchOp, Matcher};

use super::row::{Out, Point, Row, empty_weight, merge_same_labels};
use super::selector::When;
use super::{Eval, Evaluator, Grid, execution};
use crate::ast::{Call, Expr};

/// The labels by which a series finds its info series.
const IDENTIFYING: [&str; 2] = ["instance", "job"];

/// What the second argument asks for.
#[derive(Default)]
struct Filter {
    /// Which info metrics.
    names: Vec<Matcher>,
    /// Which labels of them to take, and which values to insist on; everything if empty.
    data: BTreeMap<String, Vec<Matcher>>,
}

impl Filter {
    fn new(arg: Option<&Expr>) -> Eval<Self> {
        let mut filter = Filter::default();
        if let Some(Expr::Vector(selector)) = arg {
            for matcher in &selector.matchers {
                if matcher.name() == METRIC_NAME {
                    filter.names.push(matcher.clone());
                } else {
                    let of_label = filter.data.entry(matcher.name().to_owned()).or_default();
                    of_label.push(matcher.clone());
                }
            }
        }
        if filter.names.is_empty() {
            filter
                .names
                .push(Matcher::equal(METRIC_NAME, "target_info"));
        } else if filter
            .names
            .iter()
            .all(|m| matches!(m.op(), MatchOp::NotEqual | MatchOp::NotRegex))
        {
            // Something has to say that it is about info metrics at all.
            let any = Matcher::new(MatchOp::Regex, METRIC_NAME, ".+_info");
            filter
                .names
                .insert(0, any.map_err(|e| execution(e.to_string()))?);
        }
        Ok(filter)
    }

    /// Whether a series without info series can stay.
    fn matches_nothing(&self) -> bool {
        self.data.values().flatten().all(Matcher::matches_empty)
    }
}

impl Evaluator<'_> {
    pub(super) fn info(&mut self, call: &Call, grid: Grid) -> Eval<Vec<Row>> {
        let filter = Filter::new(call.args.get(1))?;
        let when = reference_time(&call.args[0]);
        let base = self.vector(&call.args[0], grid)?;
        // Info series themselves are left as they are.
        let is_info = |row: &Row| {
            let name = row.labels.name().unwrap_or_default();
            filter.names.iter().all(|matcher| matcher.matches(name))
        };
        let plain: Vec<bool> = base.iter().map(is_info).collect();
        let info = self.info_series(&base, &plain, &filter, when, grid)?;
        let mut result: Vec<Row> = Vec::new();
        let mut places: HashMap<LabelSet, usize> = HashMap::new();
        let budget = self.budget;
        for (row, plain) in base.iter().zip(&plain) {
            self.cancel.check()?;
            let mut put = |labels: LabelSet, step: usize, point: Point<'_>| -> Eval<()> {
                let place = match places.get(&labels) {
                    Some(place) => *place,
                    None => {
                        budget.take(empty_weight(grid.len))?;
                        result.push(Row {
                            drop_name: row.drop_name,
                            ..Row::empty(labels.clone(), grid.len)
                        });
                        places.insert(labels, result.len() - 1);
                        result.len() - 1
                    }
                };
                if result[place].has(step) {
                    return Err(super::row::same_labels_error());
                }
                result[place].set(step, point.into());
                Ok(())
            };
            for step in 0..grid.len {
                let Some(point) = row.point(step) else {
                    continue;
                };
                if *plain {
                    put(row.labels.clone(), step, point)?;
                } else if let Some(labels) = enriched(&row.labels, &info, &filter, step)? {
                    put(labels, step, point)?;
                }
            }
        }
        self.release(&base);
        budget.release(empty_weight(grid.len) * result.len() as u64);
        self.hold(&result)?;
        merge_same_labels(result)
    }

    /// The info series of all base series, each with the times of its samples, by what identifies them.
    fn info_series(
        &mut self,
        base: &[Row],
        plain: &[bool],
        filter: &Filter,
        when: When,
        grid: Grid,
    ) -> Eval<HashMap<LabelSet, Vec<Row>>> {
        let mut matchers = Vec::new();
        for label in IDENTIFYING {
            let values: HashSet<&str> = base
                .iter()
                .zip(plain)
                .filter(|(_, plain)| !**plain)
                .filter_map(|(row, _)| row.labels.get(label))
                .collect();
            if values.is_empty() {
                continue;
            }
            let mut values: Vec<String> = values.into_iter().map(regex::escape).collect();
            values.sort_unstable();
            let matcher = Matcher::new(MatchOp::Regex, label, values.join("|"));
            matchers.push(matcher.map_err(|e| execution(e.to_string()))?);
        }
        let mut by_identity: HashMap<LabelSet, Vec<Row>> = HashMap::new();
        if matchers.is_empty() {
            return Ok(by_identity);
        }
        matchers.extend(filter.data.values().flatten().cloned());
        matchers.extend(filter.names.iter().cloned());
        let mut mistyped = None;
        let rows = self.newest_of(&matchers, when, grid, |row, step, series, at| {
            if matches!(
                super::samples::value_of(&series.values, at),
                Out::Histogram(_)
            ) {
                mistyped = Some(series.labels.clone());
            }
            row.set(step, Out::Float(series.timestamps[at] as f64));
        })?;
        if let Some(labels) = mistyped {
            return Err(execution(format!(
                "this should be an info metric, with float samples: {labels}"
            )));
        }
        self.release(&rows);
        for row in rows {
            self.counts.add_row(&row);
            by_identity
                .entry(identity(&row.labels))
                .or_default()
                .push(row);
        }
        Ok(by_identity)
    }
}

fn identity(labels: &LabelSet) -> LabelSet {
    labels.retain(|name| IDENTIFYING.contains(&name))
}

/// The labels of a series with those of its info series at a step; None if it has none and has to have.
fn enriched(
    base: &LabelSet,
    info: &HashMap<LabelSet, Vec<Row>>,
    filter: &Filter,
    step: usize,
) -> Eval<Option<LabelSet>> {
    // The newest one of each info metric.
    let mut newest: BTreeMap<&str, (&Row, f64)> = BTreeMap::new();
    for row in info.get(&identity(base)).into_iter().flatten() {
        let Some(Point::Float(at)) = row.point(step) else {
            continue;
        };
        let name = row.labels.name().unwrap_or_default();
        match newest.get(name) {
            Some((_, other)) if *other > at => {}
            Some((other, other_at)) if *other_at == at => {
                return Err(execution(format!(
                    "found duplicate series for info metric: existing {} @ {at}, new {} @ {at}",
                    other.labels, row.labels
                )));
            }
            _ => {
                newest.insert(name, (row, at));
            }
        }
    }
    if newest.is_empty() && !filter.matches_nothing() {
        return Ok(None);
    }
    let mut added: BTreeMap<&str, &str> = BTreeMap::new();
    for (row, _) in newest.values() {
        for (name, value) in &row.labels {
            let wanted = filter.data.is_empty() || filter.data.contains_key(name);
            if name == METRIC_NAME || !wanted {
                continue;
            }
            if added.get(name).is_some_and(|known| *known != value) {
                return Err(execution(format!("conflicting label: {name}")));
            }
            if base.get(name).is_none() {
                added.insert(name, value);
            }
        }
    }
    let mut labels = base.builder();
    for (name, value) in added {
        labels.set(name, value);
    }
    Ok(Some(labels.build()))
}

/// When info series are looked at: when the first selector of the argument looks at its samples. Offsets add up from
/// the selector outwards, until an `@` fixes the time.
fn reference_time(expr: &Expr) -> When {
    fn find(expr: &Expr) -> Option<(Option<crate::ast::At>, i64)> {
        crate::stack::deep(|| match expr {
            Expr::Vector(selector) => Some((selector.at, selector.offset.millis())),
            Expr::Matrix(matrix) => {
                let selector = &matrix.selector;
                Some((selector.at, selector.offset.millis()))
            }
            Expr::Subquery(subquery) => {
                let (at, offset) = find(&subquery.expr)?;
                Some(match at {
                    Some(at) => (Some(at), offset),
                    None => (subquery.at, offset.saturating_add(subquery.offset.millis())),
                })
            }
            other => other.children().into_iter().find_map(find),
        })
    }
    let (at, offset_ms) = find(expr).unwrap_or((None, 0));
    When::new(at, offset_ms)
}
