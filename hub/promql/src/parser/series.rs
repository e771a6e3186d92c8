//! Series descriptions of test scripts and of rule unit tests: `metric{label="x"} 1 2+1x5 _ stale {{sum:1}}`.

use std::sync::Arc;

use model::{Buckets, Histogram, LabelSet, METRIC_NAME, ResetHint, Span, Value, stale_nan};

use super::number::number;
use super::{Parse, ParseError, ParseOptions, Parser};
use crate::histogram;
use crate::lexer::unquote;
use crate::text::quote;
use crate::token::Kind;

/// Values one series may have: a repetition must not become memory without bound.
const VALUES_MAX: usize = 10_000_000;

/// A series and its values at regular steps.
#[derive(Clone, Debug, PartialEq)]
pub struct SeriesDescription {
    /// The labels.
    pub labels: LabelSet,
    /// One per step, from the first.
    pub values: Vec<SeriesValue>,
}

/// What stands at one step.
#[derive(Clone, Debug, PartialEq)]
pub struct SeriesValue {
    /// The value; None where the sample is left out.
    pub value: Option<Value>,
    /// A histogram with its reset hint written down: a test then compares it.
    pub hint_set: bool,
}

/// Reads a series description.
///
/// # Errors
/// What does not have the form, with its position.
pub fn parse_series(input: &str) -> Result<SeriesDescription, ParseError> {
    let mut parser = Parser::new(input, ParseOptions::default())?;
    let labels = parser.metric()?;
    let at = parser.last_end;
    let mut items = Items {
        text: input,
        at,
        values: Vec::new(),
    };
    match items.read() {
        Ok(()) => Ok(SeriesDescription {
            labels,
            values: items.values,
        }),
        Err(message) => Err(parser.error_at(items.at, message)),
    }
}

impl Parser<'_> {
    /// `name{label="value"}`, `{"name", label="value"}`; reads nothing behind it.
    fn metric(&mut self) -> Parse<LabelSet> {
        const PLACE: &str = "label set";
        let mut pairs: Vec<(String, String)> = Vec::new();
        let first = self.peek()?;
        let mut braces = first.kind == Kind::LeftBrace;
        if first.kind.is_metric_name() {
            pairs.push((METRIC_NAME.to_owned(), self.text(first).to_owned()));
            self.advance()?;
            braces = self.input[self.last_end..].starts_with('{');
        } else if !braces {
            return Err(self.unexpected());
        }
        if braces {
            self.advance()?;
            while self.take(Kind::RightBrace)?.is_none() {
                let label = self.peek()?;
                let name = match label.kind {
                    Kind::Identifier => self.text(label).to_owned(),
                    Kind::String => unquote(self.text(label)),
                    _ => return Err(self.unexpected_in(PLACE, "identifier or \"}\"")),
                };
                self.advance()?;
                if self.take(Kind::Assign)?.is_some() {
                    let Some(value) = self.take(Kind::String)? else {
                        return Err(self.unexpected_in(PLACE, "string"));
                    };
                    pairs.push((name, unquote(self.text(value))));
                } else if label.kind == Kind::String {
                    pairs.push((METRIC_NAME.to_owned(), name));
                } else {
                    return Err(self.unexpected_in(PLACE, "\"=\""));
                }
                if self.take(Kind::Comma)?.is_none() && self.peek_kind()? != Kind::RightBrace {
                    return Err(self.unexpected_in(PLACE, "\",\" or \"}\""));
                }
            }
        }
        let start = first.start;
        LabelSet::from_pairs(pairs).map_err(|e| self.error_at(start, e.to_string()))
    }
}

/// Reads the values behind the metric.
struct Items<'a> {
    text: &'a str,
    at: usize,
    values: Vec<SeriesValue>,
}

type Read<T> = Result<T, String>;

impl Items<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn take(&mut self, text: &str) -> bool {
        let found = self.rest().starts_with(text);
        if found {
            self.at += text.len();
        }
        found
    }

    fn skip_space(&mut self) -> bool {
        let blank = self.rest().len() - self.rest().trim_start().len();
        self.at += blank;
        blank > 0
    }

    fn take_while(&mut self, fits: impl Fn(u8) -> bool) -> &str {
        let start = self.at;
        self.at += self.rest().bytes().take_while(|b| fits(*b)).count();
        &self.text[start..self.at]
    }

    fn unexpected<T>(&self, place: &str) -> Read<T> {
        match self.rest().chars().next() {
            Some(c) => Err(format!("unexpected character in {place}: {c:?}")),
            None => Err(format!("unexpected end of input in {place}")),
        }
    }

    fn read(&mut self) -> Read<()> {
        loop {
            let blank = self.skip_space();
            if self.rest().is_empty() {
                return Ok(());
            }
            if !blank {
                return self.unexpected("series values");
            }
            self.item()?;
        }
    }

    fn item(&mut self) -> Read<()> {
        if self.rest().starts_with("{{") {
            return self.histogram_item();
        }
        if self.take("_") {
            let times = if self.take("x") { self.count()? } else { 1 };
            return self.push(times, |_| None);
        }
        if self.take("stale") {
            return self.push(1, |_| Some(Value::Float(stale_nan())));
        }
        let first = self.signed_number()?;
        if self.take("x") {
            let times = self.count()?;
            return self.push(times + 1, |_| Some(Value::Float(first)));
        }
        if !self.rest().starts_with(['+', '-']) {
            return self.push(1, |_| Some(Value::Float(first)));
        }
        let by = self.signed_number()?;
        if !self.take("x") {
            return self.unexpected("series values, expected a repetition such as x5");
        }
        let times = self.count()?;
        let mut value = first;
        self.push(times + 1, |at| {
            if at > 0 {
                value += by;
            }
            Some(Value::Float(value))
        })
    }

    fn push(&mut self, times: usize, mut value: impl FnMut(usize) -> Option<Value>) -> Read<()> {
        self.room_for(times)?;
        self.values.extend((0..times).map(|at| SeriesValue {
            value: value(at),
            hint_set: false,
        }));
        Ok(())
    }

    fn room_for(&self, times: usize) -> Read<()> {
        if times > VALUES_MAX - self.values.len() {
            return Err(format!("more than {VALUES_MAX} values in one series"));
        }
        Ok(())
    }

    fn count(&mut self) -> Read<usize> {
        let digits = self.take_while(|b| b.is_ascii_digit());
        digits
            .parse()
            .map_err(|_| format!("invalid repetition in series values: {}", quote(digits)))
    }

    fn signed_number(&mut self) -> Read<f64> {
        let sign = if self.take("-") {
            -1.0
        } else {
            self.take("+");
            1.0
        };
        Ok(sign * self.unsigned_number()?)
    }

    fn unsigned_number(&mut self) -> Read<f64> {
        let start = self.at;
        let word = self.take_while(|b| b.is_ascii_alphabetic()).to_owned();
        if word.eq_ignore_ascii_case("nan") || word.eq_ignore_ascii_case("inf") {
            return number(&word);
        }
        self.at = start;
        self.take_while(|b| b.is_ascii_digit() || b == b'.' || b == b'_');
        let mantissa_end = self.at;
        if self.take("e") || self.take("E") {
            let _ = self.take("+") || self.take("-");
            if self.take_while(|b| b.is_ascii_digit()).is_empty() {
                self.at = mantissa_end;
            }
        }
        let text = &self.text[start..self.at];
        if text.is_empty() {
            return self.unexpected("series values, expected number or \"stale\"");
        }
        // A hexadecimal prefix would read as a repetition here.
        number(text)
    }

    fn histogram_item(&mut self) -> Read<()> {
        let (first, hint_set) = self.histogram()?;
        let first = Arc::new(first);
        let combine = if self.take("x") {
            let times = self.count()? + 1;
            return self.push_histograms(times, hint_set, |_| Ok(Arc::clone(&first)));
        } else if self.take("+") {
            histogram::add
        } else if self.take("-") {
            histogram::sub
        } else {
            return self.push_histograms(1, hint_set, |_| Ok(Arc::clone(&first)));
        };
        let (by, hint_set) = self.histogram()?;
        if !self.take("x") {
            return self.unexpected("series values, expected a repetition such as x5");
        }
        let times = self.count()? + 1;
        let mut running = first;
        self.push_histograms(times, hint_set, |at| {
            if at > 0 {
                if running.schema > by.schema {
                    return Err(format!(
                        "error combining histograms: cannot merge from schema {} to {}",
                        by.schema, running.schema
                    ));
                }
                let combined = combine(&running, &by).map_err(|e| e.to_string())?;
                running = Arc::new(combined.histogram);
            }
            Ok(Arc::clone(&running))
        })
    }

    fn push_histograms(
        &mut self,
        times: usize,
        hint_set: bool,
        mut histogram: impl FnMut(usize) -> Read<Arc<Histogram>>,
    ) -> Read<()> {
        self.room_for(times)?;
        for at in 0..times {
            self.values.push(SeriesValue {
                value: Some(Value::Histogram(histogram(at)?)),
                hint_set,
            });
        }
        Ok(())
    }

    /// `{{key:value …}}` and whether it says a reset hint.
    fn histogram(&mut self) -> Read<(Histogram, bool)> {
        if !self.take("{{") {
            return self.unexpected("series values, expected a histogram");
        }
        let mut histogram = Histogram {
            integer: false,
            ..Histogram::default()
        };
        let mut seen: Vec<String> = Vec::new();
        let (mut offset, mut negative_offset) = (0, 0);
        let (mut buckets, mut negative_buckets) = (Vec::new(), Vec::new());
        loop {
            self.skip_space();
            if self.take("}}") {
                break;
            }
            let key = self
                .take_while(|b| b.is_ascii_alphabetic() || b == b'_')
                .to_ascii_lowercase();
            if !self.take(":") {
                return Err(format!("bad histogram descriptor found: {}", quote(&key)));
            }
            match key.as_str() {
                "schema" => histogram.schema = self.integer()?,
                "sum" => histogram.sum = self.signed_number()?,
                "count" => histogram.count = self.signed_number()?,
                "z_bucket" => histogram.zero_count = self.signed_number()?,
                "z_bucket_w" => histogram.zero_threshold = self.unsigned_number()?,
                "custom_values" => histogram.custom_values = self.list()?,
                "buckets" => buckets = self.list()?,
                "n_buckets" => negative_buckets = self.list()?,
                "offset" => offset = self.integer()?,
                "n_offset" => negative_offset = self.integer()?,
                "counter_reset_hint" => {
                    let word = self.take_while(|b| b.is_ascii_alphabetic() || b == b'_');
                    histogram.reset_hint = match word {
                        "unknown" => ResetHint::Unknown,
                        "reset" => ResetHint::Reset,
                        "not_reset" => ResetHint::NotReset,
                        "gauge" => ResetHint::Gauge,
                        other => return Err(format!("bad counter reset hint: {}", quote(other))),
                    };
                }
                _ => return Err(format!("bad histogram descriptor found: {}", quote(&key))),
            }
            if seen.contains(&key) {
                return Err(format!("duplicate key \"{key}\" in histogram"));
            }
            seen.push(key);
        }
        histogram.positive = one_span(offset, buckets);
        histogram.negative = one_span(negative_offset, negative_buckets);
        let hint_set = seen.iter().any(|key| key == "counter_reset_hint");
        Ok((histogram, hint_set))
    }

    fn integer(&mut self) -> Read<i32> {
        let start = self.at;
        self.take("-");
        self.take_while(|b| b.is_ascii_digit());
        let text = &self.text[start..self.at];
        text.parse()
            .map_err(|_| format!("bad integer in histogram: {}", quote(text)))
    }

    fn list(&mut self) -> Read<Vec<f64>> {
        if !self.take("[") {
            return self.unexpected("histogram, expected a list such as [5 10 7]");
        }
        let mut list = Vec::new();
        loop {
            self.skip_space();
            if self.take("]") {
                return Ok(list);
            }
            list.push(self.signed_number()?);
        }
    }
}

fn one_span(offset: i32, counts: Vec<f64>) -> Buckets {
    let spans = match u32::try_from(counts.len()) {
        Ok(length @ 1..) => vec![Span { offset, length }],
        _ => Vec::new(),
    };
    Buckets { spans, counts }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floats(input: &str) -> Vec<Option<f64>> {
        let description = parse_series(input).unwrap();
        let float = |value: SeriesValue| match value.value {
            Some(Value::Float(value)) => Some(value),
            _ => None,
        };
        description.values.into_iter().map(float).collect()
    }

    #[test]
    fn values() {
        let check = |items: &str, expected: &[Option<f64>]| {
            assert_eq!(
                floats(&format!("a{{b=\"c\"}} {items}")),
                expected,
                "{items}"
            );
        };
        check("", &[]);
        check("1 -1.5e3 _ 2", &[Some(1.0), Some(-1500.0), None, Some(2.0)]);
        check("_x2 3x1", &[None, None, Some(3.0), Some(3.0)]);
        check("1+2x2", &[Some(1.0), Some(3.0), Some(5.0)]);
        check("1-2x1 Inf", &[Some(1.0), Some(-1.0), Some(f64::INFINITY)]);
        check("1e2-5x1", &[Some(100.0), Some(95.0)]);
    }

    #[test]
    fn histograms() {
        let input = r#"{"a.b", c="d"} {{schema:1 sum:0.3 count:3.1 buckets:[5.1 10 7] offset:-3 counter_reset_hint:gauge}} {{}}x2"#;
        let description = parse_series(input).unwrap();
        assert_eq!(description.labels.to_string(), r#"{"a.b", c="d"}"#);
        assert_eq!(description.values.len(), 4);
        assert!(description.values[0].hint_set && !description.values[1].hint_set);
        let Some(Value::Histogram(first)) = &description.values[0].value else {
            panic!("a histogram");
        };
        assert_eq!(
            first.positive.iter().collect::<Vec<_>>(),
            [(-3, 5.1), (-2, 10.0), (-1, 7.0)]
        );
    }

    #[test]
    fn refuses() {
        for bad in [
            "a 1+1",
            "a 1x",
            "a _y",
            "a 99999999999x99999999999",
            "a {{foo:1}}",
            "a {{sum:1 sum:2}}",
            "a {{sum:1}",
            "a{b=} 1",
            "1 2",
        ] {
            assert!(parse_series(bad).is_err(), "{bad}");
        }
    }
}
