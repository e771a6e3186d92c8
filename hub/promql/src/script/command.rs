//! Reads a script into commands.

use std::sync::LazyLock;
use std::time::Duration;

use model::{LabelSet, Sample, Timestamp, Value};
use regex::Regex;

use super::expect::{Expectation, Expected, ExpectedSeries, Text};
use crate::lexer::unquote_bytes;
use crate::parser::{SeriesValue, parse_series};

/// One command of a script.
#[derive(Clone, Debug)]
pub enum Command {
    /// Empties the storage.
    Clear,
    /// Adds series.
    Load(Load),
    /// Evaluates and compares.
    Eval(Box<Eval>),
}

/// Series to add.
#[derive(Clone, Debug)]
pub struct Load {
    /// The series, no label set twice.
    pub series: Vec<LoadedSeries>,
}

/// A series and its samples.
#[derive(Clone, Debug)]
pub struct LoadedSeries {
    /// Its labels.
    pub labels: LabelSet,
    /// By rising time.
    pub samples: Vec<Sample>,
}

/// What to evaluate, when, and what to expect.
#[derive(Clone, Debug)]
pub struct Eval {
    /// Line of the command in the script, from 1.
    pub line: usize,
    /// The expression.
    pub expr: String,
    /// When.
    pub time: EvalTime,
    /// What to expect.
    pub expected: Expected,
}

/// When an expression is evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EvalTime {
    /// At one instant.
    Instant(Timestamp),
    /// At steps.
    Range {
        /// First step.
        start: Timestamp,
        /// Last possible step.
        end: Timestamp,
        /// Between steps.
        step: Duration,
    },
}

/// What is wrong with a script.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct ScriptError {
    /// From 1.
    pub line: usize,
    /// What is wrong.
    pub message: String,
}

/// Values at steps from the epoch on, `every` apart.
pub(super) fn step_time(every: Duration, step: usize) -> Timestamp {
    let millis = i64::try_from(every.as_millis()).unwrap_or(i64::MAX);
    Timestamp::from_millis(millis.saturating_mul(step as i64))
}

/// Reads a script.
///
/// # Errors
/// The first line that is no part of the language. An expression that does not parse is no such error: its case fails,
/// or expects to.
pub fn parse(script: &str) -> Result<Vec<Command>, ScriptError> {
    let lines: Vec<&str> = script.lines().map(without_comment).collect();
    let mut commands = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        let line = lines[at];
        if line.is_empty() {
            at += 1;
            continue;
        }
        let end = lines[at..].iter().position(|line| line.is_empty());
        let end = end.map_or(lines.len(), |length| at + length);
        let block = Block {
            number: at + 1,
            lines: &lines[at..end],
        };
        let word = line.split([' ', '\t']).next().unwrap_or_default();
        let word = word.to_ascii_lowercase();
        let mut used = block.lines.len();
        commands.push(if word == "clear" {
            used = 1;
            Command::Clear
        } else if word.starts_with("load") {
            Command::Load(block.load()?)
        } else if word.starts_with("eval") {
            let (eval, lines) = block.eval()?;
            used = lines;
            Command::Eval(Box::new(eval))
        } else {
            return Err(block.error(0, format!("invalid command {line:?}")));
        });
        at += used;
    }
    Ok(commands)
}

fn without_comment(line: &str) -> &str {
    let line = line.trim();
    if line.starts_with('#') { "" } else { line }
}

fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).expect("a pattern of our own compiles")
}

static LOAD: LazyLock<Regex> = LazyLock::new(|| regex(r"^load(?:_(with_nhcb))?\s+(.+?)$"));
static INSTANT: LazyLock<Regex> = LazyLock::new(|| {
    regex(r"^eval(?:_(fail|warn|ordered|info))?\s+instant\s+(?:at\s+(.+?))?\s+(.+)$")
});
static RANGE: LazyLock<Regex> = LazyLock::new(|| {
    regex(r"^eval(?:_(fail|warn|info))?\s+range\s+from\s+(.+)\s+to\s+(.+)\s+step\s+(.+?)\s+(.+)$")
});
static EXPECT: LazyLock<Regex> = LazyLock::new(|| {
    regex(r"^expect\s+(ordered|fail|warn|no_warn|info|no_info)(?:\s+(regex|msg):(.+))?$")
});
static EXPECT_RANGE: LazyLock<Regex> =
    LazyLock::new(|| regex(r"^expect range vector\s+from\s+(.+)\s+to\s+(.+)\s+step\s+(.+)$"));

/// A command's line and those behind it up to an empty one.
struct Block<'a> {
    /// Of the first line, from 1.
    number: usize,
    lines: &'a [&'a str],
}

impl Block<'_> {
    fn error(&self, at: usize, message: impl Into<String>) -> ScriptError {
        ScriptError {
            line: self.number + at,
            message: message.into(),
        }
    }

    fn duration(&self, at: usize, text: &str) -> Result<Duration, ScriptError> {
        model::duration::parse(text).map_err(|e| self.error(at, e.to_string()))
    }

    fn time(&self, at: usize, text: &str) -> Result<Timestamp, ScriptError> {
        let since_epoch = self.duration(at, text)?;
        Ok(Timestamp::from_millis(0).saturating_add(since_epoch))
    }

    fn load(&self) -> Result<Load, ScriptError> {
        let Some(parts) = LOAD.captures(self.lines[0]) else {
            return Err(self.error(0, "write `load <step>` or `load_with_nhcb <step>`"));
        };
        let every = self.duration(0, &parts[2])?;
        let mut series: Vec<LoadedSeries> = Vec::new();
        let mut starts: Option<(LabelSet, Vec<Option<i64>>)> = None;
        for (at, line) in self.lines.iter().enumerate().skip(1) {
            if let Some((metric, items)) = start_line(line) {
                let metric = parse_series(metric).map_err(|e| self.error(at, e.to_string()))?;
                let items = start_items(items).map_err(|e| self.error(at, e))?;
                starts = Some((metric.labels, items));
                continue;
            }
            let found = parse_series(line).map_err(|e| self.error(at, e.to_string()))?;
            let starts = starts.take();
            if let Some((labels, items)) = &starts
                && (*labels != found.labels || items.len() != found.values.len())
            {
                return Err(self.error(at, "the @st line above is for another series"));
            }
            let starts = starts.map(|(_, items)| items).unwrap_or_default();
            let samples = samples(&found.values, &starts, every);
            series.retain(|known| known.labels != found.labels);
            series.push(LoadedSeries {
                labels: found.labels,
                samples,
            });
        }
        if starts.is_some() {
            return Err(self.error(0, "an @st line has no sample line behind it"));
        }
        if parts.get(1).is_some() {
            let converted = super::classic::convert(&series).map_err(|e| self.error(0, e))?;
            series.extend(converted);
        }
        Ok(Load { series })
    }

    /// The case and how many of the lines belong to it.
    fn eval(&self) -> Result<(Eval, usize), ScriptError> {
        let line = self.lines[0];
        let (word, mut time, expr) = if let Some(parts) = INSTANT.captures(line) {
            let at = parts.get(2).map_or("0", |at| at.as_str());
            let time = EvalTime::Instant(self.time(0, at)?);
            (word_of(&parts), time, parts[3].to_owned())
        } else if let Some(parts) = RANGE.captures(line) {
            let time = EvalTime::Range {
                start: self.time(0, &parts[2])?,
                end: self.time(0, &parts[3])?,
                step: self.duration(0, &parts[4])?,
            };
            (word_of(&parts), time, parts[5].to_owned())
        } else {
            return Err(self.error(
                0,
                "write `eval instant at <time> <expr>` or `eval range from <start> to <end> step <step> <expr>`",
            ));
        };
        let mut expected = Expected::default();
        match word.as_str() {
            "ordered" => expected.ordered = true,
            "fail" => expected.fail = Some(Text::Any),
            "warn" => expected.some_warning = true,
            "info" => expected.some_info = true,
            _ => {}
        }
        let mut used = 1;
        for (at, line) in self.lines.iter().enumerate().skip(1) {
            used = at + 1;
            let line = *line;
            if let Some(text) = line.strip_prefix("expected_fail_message") {
                expected.fail = Some(Text::Exactly(text.trim().to_owned()));
                break;
            }
            if let Some(text) = line.strip_prefix("expected_fail_regexp") {
                expected.fail = Some(self.pattern(at, text)?);
                break;
            }
            if let Some(parts) = EXPECT_RANGE.captures(line) {
                let end = self.time(at, &parts[2])?;
                expected.range_steps = Some((
                    self.time(at, &parts[1])?,
                    end,
                    self.duration(at, &parts[3])?,
                ));
                continue;
            }
            if let Some(text) = line.strip_prefix("expect string ") {
                expected.values = Expectation::String(self.quoted(at, text)?);
                continue;
            }
            if line.split(' ').next() == Some("expect") {
                self.expect(at, line, &mut expected)?;
                continue;
            }
            if let Some(number) = number(line) {
                expected.values = Expectation::Scalar(number);
                break;
            }
            let found = parse_series(line).map_err(|e| self.error(at, e.to_string()))?;
            let row = ExpectedSeries {
                labels: found.labels,
                values: found.values,
            };
            match &mut expected.values {
                Expectation::Series(rows) => rows.push(row),
                other => *other = Expectation::Series(vec![row]),
            }
        }
        if let (Some((_, end, _)), EvalTime::Instant(_)) = (expected.range_steps, time) {
            time = EvalTime::Instant(end);
            // The instant is the one the command says; the end only names where the rows are.
            if let Some(parts) = INSTANT.captures(line)
                && let Some(at) = parts.get(2)
            {
                time = EvalTime::Instant(self.time(0, at.as_str())?);
            }
        }
        let eval = Eval {
            line: self.number,
            expr,
            time,
            expected,
        };
        Ok((eval, used))
    }

    fn expect(&self, at: usize, line: &str, expected: &mut Expected) -> Result<(), ScriptError> {
        let Some(parts) = EXPECT.captures(line) else {
            return Err(self.error(at, format!("invalid expectation {line:?}")));
        };
        let text = match (parts.get(2).map(|m| m.as_str()), parts.get(3)) {
            (Some("msg"), Some(text)) => Text::Exactly(text.as_str().trim().to_owned()),
            (Some(_), Some(text)) => self.pattern(at, text.as_str())?,
            _ => Text::Any,
        };
        match &parts[1] {
            "ordered" => expected.ordered = true,
            "fail" => expected.fail = Some(text),
            "warn" => expected.warnings.push(text),
            "info" => expected.infos.push(text),
            "no_warn" => expected.no_warnings = true,
            _ => expected.no_infos = true,
        }
        Ok(())
    }

    fn pattern(&self, at: usize, text: &str) -> Result<Text, ScriptError> {
        let pattern = Regex::new(text.trim());
        let pattern = pattern.map_err(|e| self.error(at, e.to_string()))?;
        Ok(Text::Matching(Box::new(pattern)))
    }

    fn quoted(&self, at: usize, text: &str) -> Result<String, ScriptError> {
        let text = text.trim();
        let quote = text.chars().next().filter(|c| matches!(c, '"' | '`'));
        match quote {
            Some(quote) if text.len() >= 2 && text.ends_with(quote) => Ok(unquote_bytes(text).0),
            _ => Err(self.error(at, "the string that is expected has to be quoted")),
        }
    }
}

fn word_of(parts: &regex::Captures<'_>) -> String {
    parts.get(1).map_or("", |word| word.as_str()).to_owned()
}

/// A line that is nothing but a number.
fn number(line: &str) -> Option<f64> {
    let bare = line.strip_prefix(['+', '-']).unwrap_or(line);
    let first = bare.chars().next()?;
    let special = bare.eq_ignore_ascii_case("inf") || bare.eq_ignore_ascii_case("nan");
    if !special && !first.is_ascii_digit() && first != '.' {
        return None;
    }
    line.parse().ok()
}

fn samples(values: &[SeriesValue], starts: &[Option<i64>], every: Duration) -> Vec<Sample> {
    let mut samples = Vec::with_capacity(values.len());
    for (step, value) in values.iter().enumerate() {
        let Some(value) = value.value.clone() else {
            continue;
        };
        let at = step_time(every, step);
        let start = starts.get(step).copied().flatten();
        samples.push(Sample {
            at,
            start: start.map(|offset| Timestamp::from_millis(at.millis().saturating_add(offset))),
            value: match value {
                Value::Float(value) => Value::Float(value),
                histogram => histogram,
            },
        });
    }
    samples
}

/// `metric@st items`: the metric and the items.
fn start_line(line: &str) -> Option<(&str, &str)> {
    let (metric, items) = line.split_once([' ', '\t'])?;
    Some((metric.strip_suffix("@st")?, items.trim()))
}

/// Start timestamps relative to the samples, in milliseconds.
fn start_items(items: &str) -> Result<Vec<Option<i64>>, String> {
    let mut all = Vec::new();
    for item in items.split_whitespace() {
        let bad = || format!("invalid start timestamp {item:?}");
        if item == "_" {
            all.push(None);
            continue;
        }
        let (text, times) = match item.split_once('x') {
            Some((text, times)) => (text, Some(times.parse::<usize>().map_err(|_| bad())?)),
            None => (item, None),
        };
        if text == "_" {
            all.extend(std::iter::repeat_n(None, times.unwrap_or(1)));
            continue;
        }
        let (first, rest) = signed_duration(text).ok_or_else(bad)?;
        let by = if rest.is_empty() {
            0
        } else {
            let (by, rest) = signed_duration(rest).ok_or_else(bad)?;
            if !rest.is_empty() || times.is_none() {
                return Err(bad());
            }
            by
        };
        let count = times.map_or(1, |times| times + 1);
        all.extend((0..count).map(|n| Some(first + by * n as i64)));
    }
    Ok(all)
}

/// The signed duration that a text begins with, in milliseconds, and what follows it.
fn signed_duration(text: &str) -> Option<(i64, &str)> {
    let bare = text.strip_prefix(['+', '-']).unwrap_or(text);
    let end = bare.find(['+', '-']).unwrap_or(bare.len());
    let millis = model::duration::parse(&bare[..end]).ok()?.as_millis();
    let millis = i64::try_from(millis).ok()?;
    let signed = if text.starts_with('-') {
        -millis
    } else {
        millis
    };
    Some((signed, &bare[end..]))
}
