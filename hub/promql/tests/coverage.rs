//! Everything that the parser knows is in some script of our own, in a case that has an answer: whatever is added and not
//! tried makes this fail.

use std::collections::BTreeSet;
use std::path::Path;

use promql::ast::{At, Cardinality, DurationExpr, RangeMode, VectorMatching, VectorSelector};
use promql::script::{Command, EvalTime, parse as parse_script};
use promql::{Expr, FUNCTIONS, ParseOptions, parse};

const AGGREGATIONS: [&str; 14] = [
    "sum",
    "avg",
    "count",
    "min",
    "max",
    "group",
    "stddev",
    "stdvar",
    "topk",
    "bottomk",
    "count_values",
    "quantile",
    "limitk",
    "limit_ratio",
];
const OPERATORS: [&str; 18] = [
    "+", "-", "*", "/", "%", "^", "atan2", "==", "!=", "<", "<=", ">", ">=", "</", ">/", "and",
    "or", "unless",
];
const OTHERS: [&str; 31] = [
    "by",
    "without",
    "bool",
    "on",
    "ignoring",
    "group_left",
    "group_right",
    "labels of group_left",
    "fill_left",
    "fill_right",
    "minus before a vector",
    "plus before a vector",
    "offset",
    "offset back",
    "offset that is computed",
    "@ time",
    "@ start()",
    "@ end()",
    "anchored",
    "smoothed",
    "range",
    "range that is computed",
    "subquery",
    "subquery with the default step",
    "subquery with offset",
    "subquery with @",
    "duration +",
    "duration *",
    "string",
    "an instant",
    "a range of steps",
];

#[derive(Default)]
struct Seen(BTreeSet<String>);

impl Seen {
    fn add(&mut self, what: impl Into<String>) {
        self.0.insert(what.into());
    }

    fn when(&mut self, is_so: bool, what: &str) {
        if is_so {
            self.add(what);
        }
    }

    fn selector(&mut self, selector: &VectorSelector) {
        self.when(selector.offset.millis() > 0, "offset");
        self.when(selector.offset.millis() < 0, "offset back");
        self.duration(selector.offset_expr.as_deref(), "offset that is computed");
        self.when(selector.mode == RangeMode::Anchored, "anchored");
        self.when(selector.mode == RangeMode::Smoothed, "smoothed");
        self.at(selector.at);
    }

    fn at(&mut self, at: Option<At>) {
        match at {
            Some(At::Time(_)) => self.add("@ time"),
            Some(At::Start) => self.add("@ start()"),
            Some(At::End) => self.add("@ end()"),
            None => {}
        }
    }

    fn duration(&mut self, duration: Option<&DurationExpr>, what: &str) {
        let Some(DurationExpr::Operation(operation)) = duration else {
            return;
        };
        self.add(what);
        self.add(format!("duration {}", operation.op.symbol()));
        for side in [&operation.lhs, &operation.rhs] {
            self.duration(side.as_deref(), what);
        }
    }

    fn matching(&mut self, matching: &VectorMatching) {
        self.when(matching.on, "on");
        self.when(!matching.on && !matching.labels.is_empty(), "ignoring");
        let cardinality = matching.cardinality;
        self.when(cardinality == Cardinality::ManyToOne, "group_left");
        self.when(cardinality == Cardinality::OneToMany, "group_right");
        self.when(!matching.include.is_empty(), "labels of group_left");
        self.when(matching.fill_left.is_some(), "fill_left");
        self.when(matching.fill_right.is_some(), "fill_right");
    }

    fn expr(&mut self, expr: &Expr) {
        match expr {
            Expr::Number(_) | Expr::Paren(_) => {}
            Expr::String(_) => self.add("string"),
            Expr::Vector(selector) => self.selector(selector),
            Expr::Matrix(matrix) => {
                self.add("range");
                self.duration(matrix.range_expr.as_deref(), "range that is computed");
                self.selector(&matrix.selector);
            }
            Expr::Subquery(subquery) => {
                self.add("subquery");
                let default_step = subquery.step.is_zero() && subquery.step_expr.is_none();
                self.when(default_step, "subquery with the default step");
                self.when(!subquery.offset.is_zero(), "subquery with offset");
                self.when(subquery.at.is_some(), "subquery with @");
            }
            Expr::Call(call) => self.add(format!("{}()", call.function.name)),
            Expr::Aggregate(aggregate) => {
                self.add(aggregate.op.name());
                self.when(aggregate.without, "without");
                let by = !aggregate.without && !aggregate.grouping.is_empty();
                self.when(by, "by");
            }
            Expr::Binary(binary) => {
                self.add(binary.op.symbol());
                self.when(binary.return_bool, "bool");
                if let Some(matching) = &binary.matching {
                    self.matching(matching);
                }
            }
            Expr::Unary(unary) => {
                self.when(unary.negative, "minus before a vector");
                self.when(!unary.negative, "plus before a vector");
            }
        }
        expr.children().into_iter().for_each(|expr| self.expr(expr));
    }
}

#[test]
fn everything_is_in_a_script() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
    let mut seen = Seen::default();
    for entry in std::fs::read_dir(folder).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        for command in parse_script(&text).unwrap() {
            let Command::Eval(case) = command else {
                continue;
            };
            // What fails shows nothing of what it would give.
            if case.expected.fail.is_some() {
                continue;
            }
            seen.add(match case.time {
                EvalTime::Instant(_) => "an instant",
                EvalTime::Range { .. } => "a range of steps",
            });
            seen.expr(&parse(&case.expr, &ParseOptions::all()).unwrap());
        }
    }
    let functions = FUNCTIONS
        .iter()
        .map(|function| format!("{}()", function.name));
    let others = [&AGGREGATIONS[..], &OPERATORS, &OTHERS].concat();
    let all = functions.chain(others.into_iter().map(str::to_owned));
    let missing: Vec<String> = all.filter(|what| !seen.0.contains(what)).collect();
    assert!(missing.is_empty(), "no script has {missing:?}");
}
