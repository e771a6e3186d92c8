//! Which branches a query asks for, and when: for the warning that not all of it is there.
//!
//! Computed beside the evaluation, for every answer: what is missing changes while a result stays the same.

use std::collections::BTreeMap;
use std::time::Duration;

use model::{BRANCH, METRIC_NAME, MatchOp, Matcher, Timestamp};
use promql::Expr;
use promql::ast::At;

use crate::federation::ledger::{Ledger, Section, fold, fold_clocks};

/// The hub makes these itself, whether the branch is there or not.
const OWN_PREFIX: &str = "branchline_branch_";

/// The warnings for an expression over a range; none when all is there, which costs next to nothing.
pub(super) fn warnings(
    ledger: &Ledger,
    expr: &Expr,
    start: Timestamp,
    end: Timestamp,
    lookback: Duration,
    now: Timestamp,
) -> Vec<String> {
    let (start, end) = (start.millis(), end.millis());
    let mut asked = Asked {
        query: (start, end),
        lookback: i64::try_from(lookback.as_millis()).unwrap_or(i64::MAX),
        ranges: Vec::new(),
    };
    asked.walk(expr, start, end);
    let mut gaps: BTreeMap<String, Vec<Section>> = BTreeMap::new();
    let mut clocks: BTreeMap<String, i64> = BTreeMap::new();
    let (mut first, mut last) = (i64::MAX, i64::MIN);
    for range in asked.merged() {
        (first, last) = (first.min(range.start), last.max(range.end));
        let wanted = |branch: &str| range.matchers.iter().all(|matcher| matcher.matches(branch));
        clocks.extend(ledger.clocks_off(wanted));
        // Ranges of queries include their last instant.
        let (from, to) = (range.start, range.end.saturating_add(1));
        let (from, to) = (Timestamp::from_millis(from), Timestamp::from_millis(to));
        for (branch, sections) in ledger.gaps(from, to, wanted) {
            let known = gaps.entry(branch).or_default();
            for section in sections {
                if !known.contains(&section) {
                    known.push(section);
                }
            }
        }
    }
    let mut gaps: Vec<_> = gaps.into_iter().collect();
    for (_, sections) in &mut gaps {
        sections.sort_by_key(|section| section.start);
    }
    let time = Timestamp::from_millis;
    let clocks: Vec<_> = clocks.into_iter().collect();
    fold(&gaps, time(first), time(last), now.millis())
        .into_iter()
        .chain(fold_clocks(&clocks))
        .collect()
}

/// What a selector reads.
struct Range<'e> {
    /// Of its label `branch`.
    matchers: Vec<&'e Matcher>,
    start: i64,
    end: i64,
}

struct Asked<'e> {
    /// Of the whole query, for `@`.
    query: (i64, i64),
    lookback: i64,
    ranges: Vec<Range<'e>>,
}

impl<'e> Asked<'e> {
    fn walk(&mut self, expr: &'e Expr, start: i64, end: i64) {
        match expr {
            Expr::Vector(node) => {
                let (start, end) = self.shifted(node.at, node.offset.millis(), start, end);
                self.add(&node.matchers, start.saturating_sub(self.lookback), end);
            }
            Expr::Matrix(node) => {
                let selector = &node.selector;
                let (start, end) = self.shifted(selector.at, selector.offset.millis(), start, end);
                self.add(
                    &selector.matchers,
                    start.saturating_sub(node.range.millis()),
                    end,
                );
            }
            Expr::Subquery(node) => {
                let (start, end) = self.shifted(node.at, node.offset.millis(), start, end);
                self.walk(&node.expr, start.saturating_sub(node.range.millis()), end);
            }
            other => {
                for child in other.children() {
                    self.walk(child, start, end);
                }
            }
        }
    }

    fn shifted(&self, at: Option<At>, offset: i64, start: i64, end: i64) -> (i64, i64) {
        let (start, end) = match at {
            None => (start, end),
            Some(At::Time(at)) => (at, at),
            Some(At::Start) => (self.query.0, self.query.0),
            Some(At::End) => (self.query.1, self.query.1),
        };
        (start.saturating_sub(offset), end.saturating_sub(offset))
    }

    fn add(&mut self, matchers: &'e [Matcher], start: i64, end: i64) {
        let own = |matcher: &Matcher| {
            matcher.name() == METRIC_NAME
                && matcher.op() == MatchOp::Equal
                && matcher.value().starts_with(OWN_PREFIX)
        };
        if !matchers.iter().any(own) {
            let matchers = matchers.iter().filter(|matcher| matcher.name() == BRANCH);
            self.ranges.push(Range {
                matchers: matchers.collect(),
                start,
                end,
            });
        }
    }

    /// Ranges of the same branches that overlap become one, so that what is missing is counted once.
    fn merged(mut self) -> Vec<Range<'e>> {
        self.ranges.sort_by_key(|range| range.start);
        let mut merged: Vec<Range<'e>> = Vec::new();
        for range in self.ranges {
            let joins = |other: &&mut Range<'e>| {
                other.matchers == range.matchers && range.start <= other.end
            };
            match merged.iter_mut().find(joins) {
                Some(other) => other.end = other.end.max(range.end),
                None => merged.push(range),
            }
        }
        merged
    }
}
