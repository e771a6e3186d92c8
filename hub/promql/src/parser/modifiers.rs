//! What stands behind an operand: ranges, subqueries, `offset`, `@`, `anchored` and `smoothed`.

use super::{Parse, Parsed, Parser};
use crate::ast::{
    At, DurationExpr, Expr, MatrixSelector, RangeMode, SignedDuration, Span, Subquery,
};
use crate::token::{Keyword, Kind, Preprocessor};

impl Parser<'_> {
    /// All modifiers behind an operand; they bind tighter than any operator.
    pub(super) fn postfix(&mut self, mut operand: Parsed) -> Parse<Parsed> {
        loop {
            match self.peek_kind()? {
                Kind::LeftBracket => operand = self.brackets(operand)?,
                Kind::Keyword(Keyword::Offset) => {
                    self.advance()?;
                    let offset = self.within(
                        "offset",
                        "number, duration, step(), or range()",
                        Self::offset_duration,
                    )?;
                    self.set_offset(&mut operand.expr, offset)?;
                }
                Kind::At => {
                    self.advance()?;
                    let at = self.within("@", "timestamp", Self::at_modifier)?;
                    self.set_at(&mut operand.expr, at)?;
                }
                Kind::Keyword(Keyword::Anchored) => {
                    self.advance()?;
                    self.set_mode(&mut operand.expr, RangeMode::Anchored, "anchored")?;
                }
                Kind::Keyword(Keyword::Smoothed) => {
                    self.advance()?;
                    self.set_mode(&mut operand.expr, RangeMode::Smoothed, "smoothed")?;
                }
                _ => return Ok(operand),
            }
        }
    }

    fn brackets(&mut self, operand: Parsed) -> Parse<Parsed> {
        const DURATION: &str = "number, duration, step(), or range()";
        let open = self.advance()?;
        let range = self.within(
            "subquery or range selector",
            DURATION,
            Self::positive_duration,
        )?;
        if self.take(Kind::Colon)?.is_some() {
            return self.subquery(operand, range);
        }
        if self.take(Kind::RightBracket)?.is_none() {
            return Err(self.unexpected_in("subquery or range", "\":\" or \"]\""));
        }
        let misplaced = match operand.expr {
            Expr::Vector(selector) => {
                if !selector.offset.is_zero() || selector.offset_expr.is_some() {
                    "no offset modifiers allowed before range"
                } else if selector.at.is_some() {
                    "no @ modifiers allowed before range"
                } else {
                    let span = Span::new(selector.span.start, self.last_end);
                    let (range, range_expr) = split(range);
                    return Ok(Parsed::leaf(Expr::Matrix(MatrixSelector {
                        selector,
                        range,
                        range_expr,
                        span,
                    })));
                }
            }
            _ => "ranges only allowed for vector selectors",
        };
        Err(self.error_at(open.start, misplaced))
    }

    fn subquery(&mut self, operand: Parsed, range: DurationExpr) -> Parse<Parsed> {
        const PLACE: &str = "subquery selector";
        let mut step = None;
        if self.peek_kind()? != Kind::RightBracket {
            step = Some(self.within(
                PLACE,
                "number, duration, step(), range(), or \"]\"",
                Self::positive_duration,
            )?);
        }
        if self.take(Kind::RightBracket)?.is_none() {
            return Err(self.unexpected_in(PLACE, "\"]\""));
        }
        let (range, range_expr) = split(range);
        let (step, step_expr) = step.map_or((SignedDuration::ZERO, None), split);
        let span = Span::new(operand.expr.span().start, self.last_end);
        let subquery = Subquery {
            expr: Box::new(operand.expr),
            range,
            range_expr,
            step,
            step_expr,
            offset: SignedDuration::ZERO,
            offset_expr: None,
            at: None,
            span,
        };
        self.node(Expr::Subquery(subquery), operand.depth)
    }

    fn set_offset(&mut self, expr: &mut Expr, offset: DurationExpr) -> Parse<()> {
        let end = self.last_end;
        let whole = expr.span();
        let (fixed, computed, span) = match expr {
            Expr::Vector(s) => (&mut s.offset, &mut s.offset_expr, &mut s.span),
            Expr::Matrix(m) => (
                &mut m.selector.offset,
                &mut m.selector.offset_expr,
                &mut m.span,
            ),
            Expr::Subquery(s) => (&mut s.offset, &mut s.offset_expr, &mut s.span),
            _ => {
                return Err(self.error_at(
                    whole.start,
                    "offset modifier must be preceded by an instant vector selector or range vector selector or a subquery",
                ));
            }
        };
        if !fixed.is_zero() || computed.is_some() {
            return Err(self.error_at(whole.start, "offset may not be set multiple times"));
        }
        (*fixed, *computed) = split(offset);
        span.end = end;
        Ok(())
    }

    /// What follows `@`.
    fn at_modifier(&mut self) -> Parse<AtModifier> {
        let token = self.peek()?;
        match token.kind {
            Kind::Preprocessor(word @ (Preprocessor::Start | Preprocessor::End)) => {
                self.advance()?;
                self.expect(Kind::LeftParen)?;
                self.expect(Kind::RightParen)?;
                Ok(AtModifier::Fixed(if word == Preprocessor::Start {
                    At::Start
                } else {
                    At::End
                }))
            }
            Kind::Add | Kind::Sub => {
                self.advance()?;
                let sign = if token.kind == Kind::Sub { -1.0 } else { 1.0 };
                Ok(AtModifier::Seconds(sign * self.number_literal()?.value))
            }
            _ => Ok(AtModifier::Seconds(self.number_literal()?.value)),
        }
    }

    fn set_at(&mut self, expr: &mut Expr, modifier: AtModifier) -> Parse<()> {
        let end = self.last_end;
        let whole = expr.span();
        let at = match modifier {
            AtModifier::Fixed(at) => at,
            AtModifier::Seconds(seconds) => {
                const LIMIT: f64 = i64::MAX as f64;
                if seconds.is_nan() || seconds.abs() >= LIMIT {
                    let shown = match crate::text::format_float(seconds) {
                        text if seconds.is_finite() => format!("{text}.000000"),
                        text => text,
                    };
                    return Err(self.error_at(
                        whole.start,
                        format!("timestamp out of bounds for @ modifier: {shown}"),
                    ));
                }
                At::Time((seconds * 1000.0).round() as i64)
            }
        };
        let (slot, span) = match expr {
            Expr::Vector(s) => (&mut s.at, &mut s.span),
            Expr::Matrix(m) => (&mut m.selector.at, &mut m.span),
            Expr::Subquery(s) => (&mut s.at, &mut s.span),
            _ => {
                return Err(self.error_at(
                    whole.start,
                    "@ modifier must be preceded by an instant vector selector or range vector selector or a subquery",
                ));
            }
        };
        if slot.is_some() {
            return Err(self.error_at(whole.start, "@ <timestamp> may not be set multiple times"));
        }
        *slot = Some(at);
        span.end = end;
        Ok(())
    }

    fn set_mode(&mut self, expr: &mut Expr, mode: RangeMode, name: &str) -> Parse<()> {
        let start = expr.span().start;
        if !self.options.extended_range_selectors {
            let message = format!("{name} modifier is experimental and not enabled");
            return Err(self.error_at(start, message));
        }
        let slot = match expr {
            Expr::Vector(selector) => &mut selector.mode,
            Expr::Matrix(matrix) => &mut matrix.selector.mode,
            Expr::Subquery(_) => {
                let message = format!("{name} modifier is not supported for subqueries");
                return Err(self.error_at(start, message));
            }
            _ => {
                let message = format!("{name} modifier not implemented");
                return Err(self.error_at(start, message));
            }
        };
        if *slot != RangeMode::Plain && *slot != mode {
            return Err(self.error_at(
                start,
                "anchored and smoothed modifiers cannot be used together",
            ));
        }
        *slot = mode;
        Ok(())
    }
}

enum AtModifier {
    Fixed(At),
    Seconds(f64),
}

/// A literal becomes a fixed duration; anything else has to wait for step and range.
fn split(duration: DurationExpr) -> (SignedDuration, Option<Box<DurationExpr>>) {
    match duration {
        DurationExpr::Number(number) => (SignedDuration::from_seconds(number.value), None),
        expr => (SignedDuration::ZERO, Some(Box::new(expr))),
    }
}
