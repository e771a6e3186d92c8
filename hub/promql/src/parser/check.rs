//! Type checks, once the whole text has parsed: what fits where, and which combinations have no meaning.

use model::METRIC_NAME;

use crate::ast::{
    Aggregate, AggregateOp, Binary, Call, Cardinality, Expr, ValueType, VectorSelector,
};
use crate::functions::FunctionId;
use crate::lexer::is_space;
use crate::stack::deep;
use crate::text::quote;

/// Byte position and message of the first error.
type Check = Result<(), (usize, String)>;

/// Checks the types below `expr` and completes the matching of binary operators.
pub(super) fn check(expr: &mut Expr, input: &str) -> Check {
    deep(|| match expr {
        Expr::Number(_) | Expr::String(_) => Ok(()),
        Expr::Vector(selector) => check_selector(selector, false),
        Expr::Matrix(matrix) => check_selector(&matrix.selector, false),
        Expr::Paren(paren) => check(&mut paren.expr, input),
        Expr::Unary(unary) => {
            check(&mut unary.expr, input)?;
            match unary.expr.value_type() {
                ValueType::Scalar | ValueType::Vector => Ok(()),
                other => fail(
                    unary.span.start,
                    format!(
                        "unary expression only allowed on expressions of type scalar or instant vector, got {}",
                        quote(other.documented_name())
                    ),
                ),
            }
        }
        Expr::Subquery(subquery) => {
            check(&mut subquery.expr, input)?;
            match subquery.expr.value_type() {
                ValueType::Vector => Ok(()),
                other => fail(
                    subquery.span.start,
                    format!(
                        "subquery is only allowed on instant vector, got {} instead",
                        other.name()
                    ),
                ),
            }
        }
        Expr::Aggregate(aggregate) => check_aggregate(aggregate, input),
        Expr::Call(call) => check_call(call, input),
        Expr::Binary(binary) => check_binary(binary, input),
    })
}

fn fail(at: usize, message: impl Into<String>) -> Check {
    Err((at, message.into()))
}

fn expect(expr: &mut Expr, wanted: ValueType, place: &str, input: &str) -> Check {
    check(expr, input)?;
    let found = expr.value_type();
    if found == wanted {
        return Ok(());
    }
    fail(
        expr.span().start,
        format!(
            "expected type {} in {place}, got {}",
            wanted.documented_name(),
            found.documented_name()
        ),
    )
}

fn check_aggregate(aggregate: &mut Aggregate, input: &str) -> Check {
    expect(
        &mut aggregate.expr,
        ValueType::Vector,
        "aggregation expression",
        input,
    )?;
    let wanted = match aggregate.op {
        AggregateOp::CountValues => ValueType::String,
        _ => ValueType::Scalar,
    };
    match &mut aggregate.param {
        Some(param) => expect(param, wanted, "aggregation parameter", input),
        None => Ok(()),
    }
}

fn check_selector(selector: &VectorSelector, may_match_all: bool) -> Check {
    if let Some(name) = &selector.name {
        let others = &selector.matchers[..selector.matchers.len() - 1];
        return match others.iter().find(|m| m.name() == METRIC_NAME) {
            Some(other) => fail(
                selector.span.start,
                format!(
                    "metric name must not be set twice: {} or {}",
                    quote(name),
                    quote(other.value())
                ),
            ),
            None => Ok(()),
        };
    }
    // Guards against selecting everything by a typo.
    if may_match_all || selector.matchers.iter().any(|m| !m.matches_empty()) {
        return Ok(());
    }
    fail(
        selector.span.start,
        "vector selector must contain at least one non-empty matcher",
    )
}

fn check_call(call: &mut Call, input: &str) -> Check {
    let function = call.function;
    let name = quote(function.name);
    let (declared, given) = (function.args.len(), call.args.len());
    if function.variadic == 0 {
        if declared != given {
            return fail(
                call.span.start,
                format!("expected {declared} argument(s) in call to {name}, got {given}"),
            );
        }
    } else {
        let least = declared - 1;
        if given < least {
            return fail(
                call.span.start,
                format!("expected at least {least} argument(s) in call to {name}, got {given}"),
            );
        }
        if let Ok(more) = usize::try_from(function.variadic)
            && given > least + more
        {
            let most = least + more;
            return fail(
                call.span.start,
                format!("expected at most {most} argument(s) in call to {name}, got {given}"),
            );
        }
    }
    let mut data_labels = false;
    if function.id == FunctionId::Info
        && let Some(second) = call.args.get(1)
    {
        check_data_labels(call.span.start, second)?;
        data_labels = true;
    }
    let place = format!("call to function {name}");
    for (at, arg) in call.args.iter_mut().enumerate() {
        if let (true, 1, Expr::Vector(selector)) = (data_labels, at, &*arg) {
            check_selector(selector, true)?;
            continue;
        }
        let wanted = function.args.get(at).or(function.args.last());
        if let Some(wanted) = wanted {
            expect(arg, *wanted, &place, input)?;
        }
    }
    Ok(())
}

/// The second argument of `info` is no selection but a filter: matchers without a name.
fn check_data_labels(call: usize, filter: &Expr) -> Check {
    let found = filter.value_type();
    if found != ValueType::Vector {
        return fail(
            call,
            format!(
                "expected type instant vector in call to function \"info\", got {}",
                found.documented_name()
            ),
        );
    }
    match filter {
        Expr::Vector(selector) if selector.name.is_none() => Ok(()),
        Expr::Vector(_) => fail(
            filter.span().start,
            "expected label selectors only, got vector selector instead",
        ),
        _ => fail(filter.span().start, "expected label selectors only"),
    }
}

fn check_binary(binary: &mut Binary, input: &str) -> Check {
    check(&mut binary.lhs, input)?;
    check(&mut binary.rhs, input)?;
    let (left, right) = (binary.lhs.value_type(), binary.rhs.value_type());
    let op = binary.op;
    let whole = binary.span.start;
    let operator = {
        let behind_lhs = binary.lhs.span().end;
        let blanks = input[behind_lhs..].chars().take_while(|c| is_space(*c));
        behind_lhs + blanks.count()
    };
    if binary.return_bool && !op.is_comparison() {
        return fail(
            operator,
            "bool modifier can only be used on comparison operators",
        );
    }
    let scalars = left == ValueType::Scalar && right == ValueType::Scalar;
    if op.is_comparison() && !binary.return_bool && scalars {
        return fail(
            operator,
            "comparisons between scalars must use BOOL modifier",
        );
    }
    let Some(matching) = &mut binary.matching else {
        return Ok(());
    };
    if op.is_set() && matching.cardinality == Cardinality::OneToOne {
        matching.cardinality = Cardinality::ManyToMany;
    }
    if matching.on
        && let Some(both) = matching
            .labels
            .iter()
            .find(|l| matching.include.contains(l))
    {
        return fail(
            operator,
            format!(
                "label {} must not occur in ON and GROUP clause at once",
                quote(both)
            ),
        );
    }
    for (side, found) in [(&binary.lhs, left), (&binary.rhs, right)] {
        if !matches!(found, ValueType::Scalar | ValueType::Vector) {
            return fail(
                side.span().start,
                "binary expression must contain only scalar and instant vector types",
            );
        }
    }
    let filled = matching.fill_left.is_some() || matching.fill_right.is_some();
    let both_vectors = left == ValueType::Vector && right == ValueType::Vector;
    if !both_vectors {
        if !matching.labels.is_empty() {
            return fail(
                whole,
                "vector matching only allowed between instant vectors",
            );
        }
        if filled {
            return fail(
                whole,
                "filling in missing series only allowed between instant vectors",
            );
        }
        binary.matching = None;
        if op.is_set() {
            return fail(
                whole,
                format!(
                    "set operator {} not allowed in binary scalar expression",
                    quote(op.symbol())
                ),
            );
        }
    } else if op.is_set() {
        if matching.cardinality != Cardinality::ManyToMany {
            return fail(
                whole,
                format!("no grouping allowed for {} operation", quote(op.symbol())),
            );
        }
        if filled {
            return fail(
                whole,
                "filling in missing series not allowed for set operators",
            );
        }
    }
    Ok(())
}
