//! Binary operators between scalars, vectors, and both.

use std::collections::{HashMap, HashSet};

use model::LabelSet;

use super::binary_elements::{columns, elements, scalars};
use super::matching::{Groups, changes_meaning, match_labels, result_labels};
use super::row::{ABSENT, Out, Point, Row, empty_weight, is_absent};
use super::{Eval, Evaluator, Grid, execution};
use crate::annotations::Annotation;
use crate::ast::{Binary, BinaryOp, Cardinality, ValueType, VectorMatching};
use crate::limits::Budget;

impl Evaluator<'_> {
    pub(super) fn scalar_binary(&mut self, binary: &Binary, grid: Grid) -> Eval<Vec<f64>> {
        let left = self.scalar(&binary.lhs, grid)?;
        let right = self.scalar(&binary.rhs, grid)?;
        let pairs = left.into_iter().zip(right);
        Ok(pairs.map(|(l, r)| scalars(binary.op, l, r)).collect())
    }

    pub(super) fn vector_binary(&mut self, binary: &Binary, grid: Grid) -> Eval<Vec<Row>> {
        let left_is_scalar = binary.lhs.value_type() == ValueType::Scalar;
        if left_is_scalar {
            let numbers = self.scalar(&binary.lhs, grid)?;
            let rows = self.vector(&binary.rhs, grid)?;
            return self.with_scalar(binary, rows, &numbers, grid, true);
        }
        let left = self.vector(&binary.lhs, grid)?;
        if binary.rhs.value_type() == ValueType::Scalar {
            let numbers = self.scalar(&binary.rhs, grid)?;
            return self.with_scalar(binary, left, &numbers, grid, false);
        }
        let right = self.vector(&binary.rhs, grid)?;
        let Some(matching) = &binary.matching else {
            return Err(super::unsupported("operation between vectors"));
        };
        self.release(&left);
        self.release(&right);
        let rows = if binary.op.is_set() {
            set_operation(binary.op, left, right, matching, grid)
        } else {
            let rows = self.with_vector(binary, matching, &left, &right, grid)?;
            rows.into_iter().filter(|row| !row.is_empty()).collect()
        };
        let rows = self.settle(rows, grid)?;
        self.hold(&rows)?;
        Ok(rows)
    }

    /// A vector and a number per step; `swapped` if the number stands on the left.
    fn with_scalar(
        &mut self,
        binary: &Binary,
        mut rows: Vec<Row>,
        numbers: &[f64],
        grid: Grid,
        swapped: bool,
    ) -> Eval<Vec<Row>> {
        let op = binary.op;
        let drops_name = changes_meaning(op) || binary.return_bool;
        // Numbers by columns; what has histograms step by step, since each may fail in its own way.
        let trims = matches!(op, BinaryOp::TrimUpper | BinaryOp::TrimLower);
        for row in rows
            .iter_mut()
            .filter(|row| row.histograms.is_none() && !trims)
        {
            self.cancel.check()?;
            with_numbers(binary, &mut row.floats, numbers, swapped);
        }
        for (step, number) in numbers.iter().enumerate() {
            let number = Point::Float(*number);
            let mut failed = None;
            for row in rows
                .iter_mut()
                .filter(|row| row.histograms.is_some() || trims)
            {
                let Some(point) = row.point(step) else {
                    continue;
                };
                let result = if swapped {
                    elements(op, number, point)
                } else {
                    elements(op, point, number)
                };
                let value = match result {
                    Err(why) => {
                        failed = Some(why);
                        None
                    }
                    Ok(element) if binary.return_bool => {
                        Some(Out::Float(f64::from(u8::from(element.keep))))
                    }
                    Ok(element) if !element.keep => None,
                    // A comparison keeps the vector's value, whatever side it stands on.
                    Ok(_) if swapped && op.is_comparison() => Some(Out::from(point)),
                    Ok(element) => Some(element.value),
                };
                row.clear(step);
                if let Some(value) = value {
                    row.set(step, value);
                }
            }
            if let Some(why) = failed {
                self.annotate(&why, binary.span);
            }
        }
        rows.retain(|row| !row.is_empty());
        if !drops_name {
            return Ok(rows);
        }
        for row in &mut rows {
            self.drop_name(row);
        }
        self.settle(rows, grid)
    }

    /// Two vectors, step by step: which series are there decides who matches whom.
    fn with_vector(
        &mut self,
        binary: &Binary,
        matching: &VectorMatching,
        left: &[Row],
        right: &[Row],
        grid: Grid,
    ) -> Eval<Vec<Row>> {
        let groups = Groups::new(left, right, matching);
        if let Some(rows) = self.column_by_column(binary, matching, left, right, &groups) {
            return Ok(rows);
        }
        // From here on the right side is the one of which each group may have one series only.
        let swapped = matching.cardinality == Cardinality::OneToMany;
        let (many, one) = if swapped {
            (right, left)
        } else {
            (left, right)
        };
        let (many_groups, one_groups) = if swapped {
            (&groups.right, &groups.left)
        } else {
            (&groups.left, &groups.right)
        };
        let mut pairing = Pairing {
            binary,
            matching,
            swapped,
            many,
            one,
            drop_name: !self.options.delayed_name_removal && binary.return_bool,
            len: grid.len,
            places: HashMap::new(),
            budget: self.budget,
            rows: Vec::new(),
            matched: vec![HashSet::new(); groups.count],
            failed: None,
        };
        let mut partner: Vec<Option<usize>> = vec![None; groups.count];
        for step in 0..grid.len {
            self.cancel.check()?;
            partner.fill(None);
            pairing.matched.iter_mut().for_each(HashSet::clear);
            let is_there = |rows: &[Row]| rows.iter().any(|row| row.has(step));
            let fills = matching.fill_left.is_some() || matching.fill_right.is_some();
            let nothing = if fills {
                !is_there(many) && !is_there(one)
            } else {
                !is_there(many) || !is_there(one)
            };
            if nothing {
                continue;
            }
            for (at, row) in one.iter().enumerate().filter(|(_, row)| row.has(step)) {
                let group = one_groups[at];
                if let Some(other) = partner[group] {
                    return Err(duplicate(matching, &row.labels, &one[other].labels));
                }
                partner[group] = Some(at);
            }
            for (at, row) in many.iter().enumerate() {
                let Some(point) = row.point(step) else {
                    continue;
                };
                let group = many_groups[at];
                match partner[group] {
                    Some(other) => {
                        if let Some(found) = one[other].point(step) {
                            pairing.pair(step, group, Some(at), point, Some(other), found)?;
                        }
                    }
                    None => {
                        if let Some(fill) = matching.fill_right {
                            let fill = Point::Float(fill);
                            pairing.pair(step, group, Some(at), point, None, fill)?;
                        }
                    }
                }
            }
            if let Some(fill) = matching.fill_left {
                for (at, row) in one.iter().enumerate() {
                    let Some(point) = row.point(step) else {
                        continue;
                    };
                    let group = one_groups[at];
                    if pairing.matched[group].is_empty() {
                        let fill = Point::Float(fill);
                        pairing.pair(step, group, None, fill, Some(at), point)?;
                    }
                }
            }
            if let Some(why) = pairing.failed.take() {
                self.annotate(&why, binary.span);
            }
        }
        let taken = empty_weight(grid.len) * pairing.rows.len() as u64;
        self.budget.release(taken);
        Ok(pairing.rows)
    }
}

impl Evaluator<'_> {
    /// The common case: numbers only, and no match group that could ever be ambiguous. Then pairs do not depend on the
    /// step, and whole columns are combined. None if it is another case.
    fn column_by_column(
        &self,
        binary: &Binary,
        matching: &VectorMatching,
        left: &[Row],
        right: &[Row],
        groups: &Groups,
    ) -> Option<Vec<Row>> {
        let floats_only = |rows: &[Row]| rows.iter().all(|row| row.histograms.is_none());
        let trims = matches!(binary.op, BinaryOp::TrimUpper | BinaryOp::TrimLower);
        let fills = matching.fill_left.is_some() || matching.fill_right.is_some();
        if trims || fills || !floats_only(left) || !floats_only(right) {
            return None;
        }
        let swapped = matching.cardinality == Cardinality::OneToMany;
        let (many, many_groups, one, one_groups) = if swapped {
            (right, &groups.right, left, &groups.left)
        } else {
            (left, &groups.left, right, &groups.right)
        };
        let mut partner: Vec<Option<usize>> = vec![None; groups.count];
        for (at, group) in one_groups.iter().enumerate() {
            if partner[*group].replace(at).is_some() {
                return None;
            }
        }
        let drop_name = !self.options.delayed_name_removal && binary.return_bool;
        let one_to_one = matching.cardinality == Cardinality::OneToOne;
        let mut taken: HashSet<(usize, LabelSet)> = HashSet::new();
        let mut rows = Vec::with_capacity(many.len());
        for (row, group) in many.iter().zip(many_groups) {
            let Some(other) = partner[*group] else {
                continue;
            };
            let other = &one[other];
            let labels = result_labels(&row.labels, &other.labels, binary.op, matching, drop_name);
            let key = if one_to_one {
                LabelSet::empty()
            } else {
                labels.clone()
            };
            if !taken.insert((*group, key)) {
                return None;
            }
            let (l, r) = if swapped { (other, row) } else { (row, other) };
            let floats = columns(binary.op, binary.return_bool, &l.floats, &r.floats);
            let mut result = Row::of_floats(labels, floats);
            result.drop_name = binary.return_bool;
            rows.push(result);
        }
        Some(rows)
    }
}

/// The results of pairs of series so far.
struct Pairing<'a> {
    binary: &'a Binary,
    matching: &'a VectorMatching,
    swapped: bool,
    many: &'a [Row],
    one: &'a [Row],
    drop_name: bool,
    len: usize,
    /// Which result row a pair of series has; a side that is filled in has no series.
    places: HashMap<(Option<usize>, Option<usize>), usize>,
    budget: &'a Budget,
    rows: Vec<Row>,
    /// The labels that each match group has given a result at this step.
    matched: Vec<HashSet<LabelSet>>,
    /// The last thing that went wrong at this step.
    failed: Option<Annotation<'static>>,
}

impl Pairing<'_> {
    fn pair(
        &mut self,
        step: usize,
        group: usize,
        many_at: Option<usize>,
        many: Point<'_>,
        one_at: Option<usize>,
        one: Point<'_>,
    ) -> Eval<()> {
        let (left, right) = if self.swapped {
            (one, many)
        } else {
            (many, one)
        };
        let element = match elements(self.binary.op, left, right) {
            Ok(element) => element,
            Err(why) => {
                self.failed = Some(why);
                return Ok(());
            }
        };
        if element.note.is_some() {
            self.failed = element.note;
        }
        let place = self.place(many_at, one_at)?;
        let row = &mut self.rows[place];
        let matched = &mut self.matched[group];
        if self.matching.cardinality == Cardinality::OneToOne {
            if !matched.is_empty() {
                return Err(execution(
                    "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)",
                ));
            }
            matched.insert(LabelSet::empty());
        } else if !matched.insert(row.labels.clone()) {
            return Err(execution(
                "multiple matches for labels: grouping labels must ensure unique matches",
            ));
        }
        if self.binary.return_bool {
            row.set(step, Out::Float(f64::from(u8::from(element.keep))));
        } else if element.keep {
            row.set(step, element.value);
        }
        Ok(())
    }

    fn place(&mut self, many_at: Option<usize>, one_at: Option<usize>) -> Eval<usize> {
        if let Some(place) = self.places.get(&(many_at, one_at)) {
            return Ok(*place);
        }
        self.budget.take(empty_weight(self.len))?;
        let labels_of = |rows: &[Row], at: Option<usize>, others: &[Row], other: Option<usize>| {
            // A filled-in side has what the match group has in common.
            match (at, other) {
                (Some(at), _) => rows[at].labels.clone(),
                (None, Some(other)) => match_labels(&others[other].labels, self.matching),
                (None, None) => LabelSet::empty(),
            }
        };
        let many = labels_of(self.many, many_at, self.one, one_at);
        let one = labels_of(self.one, one_at, self.many, many_at);
        let labels = result_labels(&many, &one, self.binary.op, self.matching, self.drop_name);
        let mut row = Row::empty(labels, self.len);
        row.drop_name = self.binary.return_bool;
        let place = self.rows.len();
        self.rows.push(row);
        self.places.insert((many_at, one_at), place);
        Ok(place)
    }
}

/// Numbers of a series and a number per step.
fn with_numbers(binary: &Binary, floats: &mut [f64], numbers: &[f64], swapped: bool) {
    let op = binary.op;
    let filters = op.is_comparison() && !binary.return_bool;
    for (value, number) in floats.iter_mut().zip(numbers) {
        if is_absent(*value) {
            continue;
        }
        let (left, right) = if swapped {
            (*number, *value)
        } else {
            (*value, *number)
        };
        let result = scalars(op, left, right);
        // A comparison keeps the vector's value, whatever side it stands on.
        match (filters, result != 0.0) {
            (true, true) => {}
            (true, false) => *value = ABSENT,
            (false, _) => *value = result,
        }
    }
}

fn duplicate(matching: &VectorMatching, a: &LabelSet, b: &LabelSet) -> crate::result::QueryError {
    let side = if matching.cardinality == Cardinality::OneToMany {
        "left"
    } else {
        "right"
    };
    let group = match_labels(a, matching);
    let mut both = [a.to_string(), b.to_string()];
    both.sort();
    let [first, second] = both;
    execution(format!(
        "found duplicate series for the match group {group} on the {side} hand-side of the operation: [{first}, {second}];many-to-many matching not allowed: matching labels must be unique on one side"
    ))
}

/// `and`, `or`, `unless`: values of one side where the other side's match group has, or lacks, a series.
fn set_operation(
    op: BinaryOp,
    mut left: Vec<Row>,
    mut right: Vec<Row>,
    matching: &VectorMatching,
    grid: Grid,
) -> Vec<Row> {
    let groups = Groups::new(&left, &right, matching);
    let (deciding, decided) = if op == BinaryOp::Or {
        ((&left, &groups.left), (&mut right, &groups.right))
    } else {
        ((&right, &groups.right), (&mut left, &groups.left))
    };
    // Per group and step: whether the deciding side has a series there. Only for groups that it has at all.
    let mut present: Vec<Option<Vec<bool>>> = vec![None; groups.count];
    for (row, group) in deciding.0.iter().zip(deciding.1) {
        let steps = present[*group].get_or_insert_with(|| vec![false; grid.len]);
        for (step, present) in steps.iter_mut().enumerate() {
            *present |= row.has(step);
        }
    }
    let wanted = op == BinaryOp::And;
    for (row, group) in decided.0.iter_mut().zip(decided.1) {
        for step in 0..grid.len {
            let present = present[*group].as_ref().is_some_and(|steps| steps[step]);
            if present != wanted {
                row.clear(step);
            }
        }
    }
    if op == BinaryOp::Or {
        left.append(&mut right);
    }
    left.retain(|row| !row.is_empty());
    left
}
