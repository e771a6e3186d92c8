//! Durations in ranges, steps and offsets: literals, and arithmetic on them where that is switched on.

use super::number::{duration_seconds, number, out_of_range};
use super::{Parse, Parser};
use crate::ast::{DurationExpr, DurationOp, DurationOperation, NumberLiteral, Span};
use crate::stack::{DEPTH_MAX, deep};
use crate::token::{Kind, Preprocessor, Token};

impl Parser<'_> {
    /// A number or duration token as a number.
    pub(super) fn number_literal(&mut self) -> Parse<NumberLiteral> {
        let token = self.peek()?;
        let text = self.text(token);
        let (value, is_duration) = match token.kind {
            Kind::Number => (number(text), false),
            Kind::Duration => (duration_seconds(text), true),
            _ => return Err(self.unexpected()),
        };
        let value = value.map_err(|message| self.error_at(token.start, message))?;
        self.advance()?;
        Ok(NumberLiteral {
            value,
            is_duration,
            span: span_of(token),
        })
    }

    /// A range or step: above zero, as far as that can be known yet.
    pub(super) fn positive_duration(&mut self) -> Parse<DurationExpr> {
        self.duration_nodes = 0;
        let duration = self.duration(0)?;
        match &duration {
            DurationExpr::Number(number) if number.value <= 0.0 => {
                Err(self.error_at(number.span.start, "duration must be greater than 0"))
            }
            _ => Ok(duration),
        }
    }

    /// What follows `offset`. A sign or function here takes in as little as possible, so that `a offset -2^2`
    /// is `(a offset -2)^2`.
    pub(super) fn offset_duration(&mut self) -> Parse<DurationExpr> {
        self.duration_nodes = 0;
        let first = self.peek()?;
        match first.kind {
            Kind::Number | Kind::Duration | Kind::Preprocessor(_) => self.duration_operand(),
            Kind::Add | Kind::Sub => {
                self.advance()?;
                match self.peek_kind()? {
                    Kind::Number | Kind::Duration => {
                        let operand = self.duration_operand()?;
                        self.signed_duration(first, operand)
                    }
                    Kind::LeftParen => {
                        let operand = self.parenthesised_duration()?;
                        self.signed_duration(first, operand)
                    }
                    Kind::Preprocessor(word) => {
                        let name = self.peek()?;
                        let operand = self.duration_function(name, word)?;
                        self.require_duration_expressions(Span::new(first.start, first.end))?;
                        let span = Span::new(first.start, operand.span().end);
                        Ok(DurationExpr::Operation(DurationOperation {
                            op: sign(first),
                            lhs: None,
                            rhs: Some(Box::new(operand)),
                            wrapped: false,
                            span,
                        }))
                    }
                    _ => {
                        let operand = self.duration(UNARY)?;
                        let operand = self.signed_duration(first, operand)?;
                        self.duration_operators(operand, 0)
                    }
                }
            }
            _ => self.duration(0),
        }
    }

    /// A duration expression whose operators bind at least as tightly as `floor`.
    fn duration(&mut self, floor: u8) -> Parse<DurationExpr> {
        self.count_duration_node()?;
        deep(|| {
            let operand = match self.peek()?.kind {
                Kind::Add | Kind::Sub => {
                    let op = self.advance()?;
                    let operand = self.duration(UNARY)?;
                    self.signed_duration(op, operand)?
                }
                _ => self.duration_operand()?,
            };
            self.duration_operators(operand, floor)
        })
    }

    fn count_duration_node(&mut self) -> Parse<()> {
        self.duration_nodes += 1;
        if self.duration_nodes > DEPTH_MAX {
            let at = self.peek()?;
            return Err(self.too_deep(span_of(at)));
        }
        Ok(())
    }

    fn duration_operators(&mut self, mut lhs: DurationExpr, floor: u8) -> Parse<DurationExpr> {
        loop {
            let token = self.peek()?;
            let (op, binding) = match token.kind {
                Kind::Add => (DurationOp::Add, 1),
                Kind::Sub => (DurationOp::Sub, 1),
                Kind::Mul => (DurationOp::Mul, 2),
                Kind::Div => (DurationOp::Div, 2),
                Kind::Mod => (DurationOp::Mod, 2),
                Kind::Pow => (DurationOp::Pow, POW),
                _ => return Ok(lhs),
            };
            if binding < floor {
                return Ok(lhs);
            }
            self.advance()?;
            let rhs = self.duration(if op == DurationOp::Pow {
                POW
            } else {
                binding + 1
            })?;
            self.require_duration_expressions(lhs.span())?;
            let zero = matches!(&rhs, DurationExpr::Number(number) if number.value == 0.0);
            match op {
                DurationOp::Div if zero => {
                    return Err(self.error_at(token.start, "division by zero"));
                }
                DurationOp::Mod if zero => {
                    return Err(self.error_at(token.start, "modulo by zero"));
                }
                _ => {}
            }
            let span = Span::new(lhs.span().start, rhs.span().end);
            lhs = DurationExpr::Operation(DurationOperation {
                op,
                lhs: Some(Box::new(lhs)),
                rhs: Some(Box::new(rhs)),
                wrapped: false,
                span,
            });
        }
    }

    fn duration_operand(&mut self) -> Parse<DurationExpr> {
        let first = self.peek()?;
        match first.kind {
            Kind::Number | Kind::Duration => {
                let literal = self.number_literal()?;
                if out_of_range(literal.value) {
                    return Err(self.error_at(literal.span.start, "duration out of range"));
                }
                Ok(DurationExpr::Number(literal))
            }
            Kind::LeftParen => {
                let inner = self.parenthesised_duration()?;
                self.require_duration_expressions(match &inner {
                    // The carrier of the parentheses begins with them, what is inside behind them.
                    DurationExpr::Operation(DurationOperation {
                        lhs: None,
                        rhs: Some(number),
                        ..
                    }) => number.span(),
                    other => other.span(),
                })?;
                Ok(inner)
            }
            Kind::Preprocessor(word) => {
                let function = self.duration_function(first, word)?;
                self.require_duration_expressions(function.span())?;
                Ok(function)
            }
            _ => Err(self.unexpected()),
        }
    }

    fn parenthesised_duration(&mut self) -> Parse<DurationExpr> {
        let open = self.expect(Kind::LeftParen)?;
        let inner = self.duration(0)?;
        let close = self.expect(Kind::RightParen)?;
        Ok(wrap(inner, open.start, close.end))
    }

    /// `step()`, `range()`, `min_of(a, b)`, `max_of(a, b)`.
    fn duration_function(&mut self, name: Token, word: Preprocessor) -> Parse<DurationExpr> {
        let op = match word {
            Preprocessor::Step => DurationOp::Step,
            Preprocessor::Range => DurationOp::Range,
            Preprocessor::MinOf => DurationOp::MinOf,
            Preprocessor::MaxOf => DurationOp::MaxOf,
            Preprocessor::Start | Preprocessor::End => return Err(self.unexpected()),
        };
        self.advance()?;
        self.expect(Kind::LeftParen)?;
        let (mut lhs, mut rhs) = (None, None);
        if matches!(op, DurationOp::MinOf | DurationOp::MaxOf) {
            lhs = Some(Box::new(self.duration(0)?));
            self.expect(Kind::Comma)?;
            rhs = Some(Box::new(self.duration(0)?));
        }
        let close = self.expect(Kind::RightParen)?;
        // Prometheus places a function of two operands where the first operand is.
        let start = lhs.as_ref().map_or(name.start, |lhs| lhs.span().start);
        let span = Span::new(start, close.end);
        Ok(DurationExpr::Operation(DurationOperation {
            op,
            lhs,
            rhs,
            wrapped: false,
            span,
        }))
    }

    /// A sign before a duration: literals take it in.
    fn signed_duration(&mut self, op: Token, operand: DurationExpr) -> Parse<DurationExpr> {
        let negative = op.kind == Kind::Sub;
        match operand {
            DurationExpr::Number(mut number) => {
                if negative {
                    number.value = -number.value;
                }
                if out_of_range(number.value) {
                    return Err(self.error_at(op.start, "duration out of range"));
                }
                number.span.start = op.start;
                Ok(DurationExpr::Number(number))
            }
            operand if negative => {
                let span = Span::new(op.start, operand.span().end);
                Ok(DurationExpr::Operation(DurationOperation {
                    op: DurationOp::Sub,
                    lhs: None,
                    rhs: Some(Box::new(operand)),
                    wrapped: false,
                    span,
                }))
            }
            operand => Ok(operand),
        }
    }

    fn require_duration_expressions(&self, span: Span) -> Parse<()> {
        if self.options.duration_expressions {
            return Ok(());
        }
        Err(self.error_at(
            span.start,
            "experimental duration expression is not enabled",
        ))
    }
}

/// How tightly a sign binds: like a product, so only powers are taken in.
const UNARY: u8 = 3;
const POW: u8 = 3;

/// Parentheses are kept for printing; a literal has no place for them and gets a plus sign as carrier.
fn wrap(inner: DurationExpr, start: usize, end: usize) -> DurationExpr {
    match inner {
        DurationExpr::Operation(mut operation) => {
            operation.wrapped = true;
            DurationExpr::Operation(operation)
        }
        number => DurationExpr::Operation(DurationOperation {
            op: DurationOp::Add,
            lhs: None,
            rhs: Some(Box::new(number)),
            wrapped: true,
            span: Span::new(start, end),
        }),
    }
}

fn sign(token: Token) -> DurationOp {
    if token.kind == Kind::Sub {
        DurationOp::Sub
    } else {
        DurationOp::Add
    }
}

pub(super) fn span_of(token: Token) -> Span {
    Span::new(token.start, token.end)
}
