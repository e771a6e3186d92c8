//! Operators by precedence climbing, then everything that an operand can be.

use super::duration::span_of;
use super::{Parse, Parsed, Parser};
use crate::ast::{
    Aggregate, AggregateOp, Binary, BinaryOp, Call, Cardinality, Expr, Paren, Span, StringLiteral,
    Unary, ValueType, VectorMatching,
};
use crate::functions::function;
use crate::lexer::{unquote, unquote_bytes};
use crate::stack::{DEPTH_MAX, deep};
use crate::token::{Keyword, Kind, Token};

/// How tightly operators bind; a sign binds like a product.
const POW: u8 = 6;

fn operator(kind: Kind) -> Option<(BinaryOp, u8)> {
    Some(match kind {
        Kind::Or => (BinaryOp::Or, 1),
        Kind::And => (BinaryOp::And, 2),
        Kind::Unless => (BinaryOp::Unless, 2),
        Kind::Equal => (BinaryOp::Equal, 3),
        Kind::NotEqual => (BinaryOp::NotEqual, 3),
        Kind::Less => (BinaryOp::Less, 3),
        Kind::LessEqual => (BinaryOp::LessEqual, 3),
        Kind::Greater => (BinaryOp::Greater, 3),
        Kind::GreaterEqual => (BinaryOp::GreaterEqual, 3),
        Kind::TrimUpper => (BinaryOp::TrimUpper, 3),
        Kind::TrimLower => (BinaryOp::TrimLower, 3),
        Kind::Add => (BinaryOp::Add, 4),
        Kind::Sub => (BinaryOp::Sub, 4),
        Kind::Mul => (BinaryOp::Mul, 5),
        Kind::Div => (BinaryOp::Div, 5),
        Kind::Mod => (BinaryOp::Mod, 5),
        Kind::Atan2 => (BinaryOp::Atan2, 5),
        Kind::Pow => (BinaryOp::Pow, POW),
        _ => return None,
    })
}

impl Parser<'_> {
    /// A whole expression.
    pub(super) fn expression(&mut self) -> Parse<Parsed> {
        self.operators(0)
    }

    /// An expression whose operators bind at least as tightly as `floor`.
    fn operators(&mut self, floor: u8) -> Parse<Parsed> {
        self.nesting += 1;
        if self.nesting > DEPTH_MAX {
            let at = self.peek()?;
            return Err(self.too_deep(span_of(at)));
        }
        let result = deep(|| {
            let mut lhs = self.signed()?;
            while let Some((op, binding)) = operator(self.peek_kind()?) {
                if binding < floor {
                    break;
                }
                self.advance()?;
                lhs = self.binary(lhs, op, binding)?;
            }
            Ok(lhs)
        });
        self.nesting -= 1;
        result
    }

    fn binary(&mut self, lhs: Parsed, op: BinaryOp, binding: u8) -> Parse<Parsed> {
        let (matching, return_bool) = self.binary_modifiers()?;
        let right_associative = op == BinaryOp::Pow;
        let rhs = self.operators(binding + u8::from(!right_associative))?;
        let span = Span::new(lhs.expr.span().start, rhs.expr.span().end);
        let filled = matching.fill_left.is_some() || matching.fill_right.is_some();
        if filled && !self.options.fill_modifiers {
            return Err(self.error_at(
                span.start,
                "binop fill modifiers are experimental and not enabled",
            ));
        }
        let both_scalar = lhs.expr.value_type() == ValueType::Scalar
            && rhs.expr.value_type() == ValueType::Scalar;
        let depth = lhs.depth.max(rhs.depth);
        let binary = Binary {
            op,
            lhs: Box::new(lhs.expr),
            rhs: Box::new(rhs.expr),
            matching: Some(matching),
            return_bool,
            value_type: if both_scalar {
                ValueType::Scalar
            } else {
                ValueType::Vector
            },
            span,
        };
        self.node(Expr::Binary(binary), depth)
    }

    /// `bool`, `on`, `ignoring`, `group_left`, `group_right` and `fill` between operator and right operand.
    fn binary_modifiers(&mut self) -> Parse<(VectorMatching, bool)> {
        let mut matching = VectorMatching {
            cardinality: Cardinality::OneToOne,
            labels: Vec::new(),
            on: false,
            include: Vec::new(),
            fill_left: None,
            fill_right: None,
        };
        let return_bool = self.take(Kind::Keyword(Keyword::Bool))?.is_some();
        let grouped = match self.peek_kind()? {
            Kind::Keyword(word @ (Keyword::On | Keyword::Ignoring)) => {
                self.advance()?;
                matching.on = word == Keyword::On;
                matching.labels = self.grouping_labels()?;
                true
            }
            _ => false,
        };
        if let (true, Kind::Keyword(word @ (Keyword::GroupLeft | Keyword::GroupRight))) =
            (grouped, self.peek_kind()?)
        {
            self.advance()?;
            matching.cardinality = if word == Keyword::GroupLeft {
                Cardinality::ManyToOne
            } else {
                Cardinality::OneToMany
            };
            if self.peek_kind()? == Kind::LeftParen {
                matching.include = self.grouping_labels()?;
            }
        }
        match self.peek_kind()? {
            Kind::Keyword(Keyword::Fill) => {
                let value = Some(self.fill_value()?);
                (matching.fill_left, matching.fill_right) = (value, value);
            }
            Kind::Keyword(Keyword::FillLeft) => {
                matching.fill_left = Some(self.fill_value()?);
                if self.peek_kind()? == Kind::Keyword(Keyword::FillRight) {
                    matching.fill_right = Some(self.fill_value()?);
                }
            }
            Kind::Keyword(Keyword::FillRight) => {
                matching.fill_right = Some(self.fill_value()?);
                if self.peek_kind()? == Kind::Keyword(Keyword::FillLeft) {
                    matching.fill_left = Some(self.fill_value()?);
                }
            }
            _ => {}
        }
        Ok((matching, return_bool))
    }

    fn fill_value(&mut self) -> Parse<f64> {
        self.advance()?;
        self.expect(Kind::LeftParen)?;
        let sign = match self.peek_kind()? {
            Kind::Sub => -1.0,
            _ => 1.0,
        };
        if matches!(self.peek_kind()?, Kind::Add | Kind::Sub) {
            self.advance()?;
        }
        let literal = self.number_literal()?;
        self.expect(Kind::RightParen)?;
        Ok(sign * literal.value)
    }

    /// `(a, "b.c", sum)` after `by`, `on` and their kin.
    pub(super) fn grouping_labels(&mut self) -> Parse<Vec<String>> {
        const PLACE: &str = "grouping opts";
        if self.take(Kind::LeftParen)?.is_none() {
            return Err(self.unexpected_in(PLACE, "\"(\""));
        }
        let mut labels = Vec::new();
        if self.take(Kind::RightParen)?.is_some() {
            return Ok(labels);
        }
        loop {
            let token = self.peek()?;
            let label = match token.kind {
                Kind::String => unquote(self.text(token)),
                kind if kind.is_grouping_label() => self.text(token).to_owned(),
                _ => return Err(self.unexpected_in(PLACE, "label")),
            };
            if label.is_empty() {
                return Err(self.error_at(token.start, "invalid label name for grouping: \"\""));
            }
            self.advance()?;
            labels.push(label);
            if self.take(Kind::Comma)?.is_some() {
                if self.take(Kind::RightParen)?.is_some() {
                    return Ok(labels);
                }
            } else if self.take(Kind::RightParen)?.is_some() {
                return Ok(labels);
            } else {
                return Err(self.unexpected_in(PLACE, "\",\" or \")\""));
            }
        }
    }

    fn signed(&mut self) -> Parse<Parsed> {
        let sign = self.peek()?;
        if !matches!(sign.kind, Kind::Add | Kind::Sub) {
            let operand = self.operand()?;
            return self.postfix(operand);
        }
        self.advance()?;
        let negative = sign.kind == Kind::Sub;
        let operand = self.operators(POW)?;
        if let Expr::Number(mut number) = operand.expr {
            if negative {
                number.value = -number.value;
            }
            number.span.start = sign.start;
            return Ok(Parsed::leaf(Expr::Number(number)));
        }
        let span = Span::new(sign.start, operand.expr.span().end);
        let unary = Unary {
            negative,
            expr: Box::new(operand.expr),
            span,
        };
        self.node(Expr::Unary(unary), operand.depth)
    }

    fn operand(&mut self) -> Parse<Parsed> {
        let token = self.peek()?;
        match token.kind {
            Kind::Number | Kind::Duration => Ok(Parsed::leaf(Expr::Number(self.number_literal()?))),
            Kind::String => {
                self.advance()?;
                let (value, raw) = unquote_bytes(self.text(token));
                let span = span_of(token);
                Ok(Parsed::leaf(Expr::String(StringLiteral {
                    value,
                    raw,
                    span,
                })))
            }
            Kind::LeftParen => {
                self.advance()?;
                let inner = self.expression()?;
                let close = self.expect(Kind::RightParen)?;
                let paren = Paren {
                    expr: Box::new(inner.expr),
                    span: Span::new(token.start, close.end),
                };
                self.node(Expr::Paren(paren), inner.depth)
            }
            Kind::LeftBrace => Ok(Parsed::leaf(Expr::Vector(self.vector_selector(None)?))),
            kind if kind.is_metric_name() => self.named(token),
            _ => Err(self.unexpected()),
        }
    }

    /// What begins with a word: what follows it decides.
    fn named(&mut self, name: Token) -> Parse<Parsed> {
        self.advance()?;
        match (name.kind, self.peek_kind()?) {
            (
                Kind::Aggregate(op),
                Kind::LeftParen | Kind::Keyword(Keyword::By | Keyword::Without),
            ) => self.aggregate(name, op),
            (Kind::Identifier | Kind::Preprocessor(_), Kind::LeftParen) => self.call(name),
            _ => Ok(Parsed::leaf(Expr::Vector(
                self.vector_selector(Some(name))?,
            ))),
        }
    }

    fn aggregate(&mut self, name: Token, op: AggregateOp) -> Parse<Parsed> {
        let (mut args, grouping, without, end) = self.within("aggregation", "", |parser| {
            let mut modifier = parser.aggregate_modifier()?;
            let (args, mut end) = parser.call_body()?;
            if modifier.is_none() {
                modifier = parser.aggregate_modifier()?;
                if let Some((_, _, modifier_end)) = &modifier {
                    end = *modifier_end;
                }
            }
            let (grouping, without, _) = modifier.unwrap_or_default();
            Ok((args, grouping, without, end))
        })?;
        let error = |message: String| Err(self.error_at(name.start, message));
        if args.is_empty() {
            return error("no arguments for aggregate expression provided".to_owned());
        }
        if op.is_experimental() && !self.options.experimental_functions {
            return error(format!(
                "{}() is experimental and must be enabled with --enable-feature=promql-experimental-functions",
                op.name()
            ));
        }
        let wanted = 1 + usize::from(op.has_param());
        if args.len() != wanted {
            return error(format!(
                "wrong number of arguments for aggregate expression provided, expected {wanted}, got {}",
                args.len()
            ));
        }
        let depth = args.iter().map(|arg| arg.depth).max().unwrap_or(0);
        let Some(expr) = args.pop() else {
            return error("no arguments for aggregate expression provided".to_owned());
        };
        let aggregate = Aggregate {
            op,
            expr: Box::new(expr.expr),
            param: args.pop().map(|param| Box::new(param.expr)),
            grouping,
            without,
            span: Span::new(name.start, end),
        };
        self.node(Expr::Aggregate(aggregate), depth)
    }

    /// `by (…)` or `without (…)`: labels, whether `without`, and where it ends.
    fn aggregate_modifier(&mut self) -> Parse<Option<(Vec<String>, bool, usize)>> {
        let without = match self.peek_kind()? {
            Kind::Keyword(Keyword::By) => false,
            Kind::Keyword(Keyword::Without) => true,
            _ => return Ok(None),
        };
        self.advance()?;
        let labels = self.grouping_labels()?;
        Ok(Some((labels, without, self.last_end)))
    }

    fn call(&mut self, name: Token) -> Parse<Parsed> {
        let (args, end) = self.call_body()?;
        let text = self.text(name);
        let Some(function) = function(text) else {
            let message = format!("unknown function with name {}", crate::text::quote(text));
            return Err(self.error_at(name.start, message));
        };
        if function.experimental && !self.options.experimental_functions {
            let message = format!("function {} is not enabled", crate::text::quote(text));
            return Err(self.error_at(name.start, message));
        }
        let depth = args.iter().map(|arg| arg.depth).max().unwrap_or(0);
        let call = Call {
            function,
            args: args.into_iter().map(|arg| arg.expr).collect(),
            span: Span::new(name.start, end),
        };
        self.node(Expr::Call(call), depth)
    }

    /// `(a, b)`: the arguments and where they end.
    fn call_body(&mut self) -> Parse<(Vec<Parsed>, usize)> {
        self.expect(Kind::LeftParen)?;
        let mut args = Vec::new();
        if let Some(close) = self.take(Kind::RightParen)? {
            return Ok((args, close.end));
        }
        loop {
            args.push(self.expression()?);
            let Some(comma) = self.take(Kind::Comma)? else {
                let close = self.expect(Kind::RightParen)?;
                return Ok((args, close.end));
            };
            if !self.peek_kind()?.starts_expression() {
                return Err(self.error_at(
                    comma.start,
                    "trailing commas not allowed in function call args",
                ));
            }
        }
    }
}
