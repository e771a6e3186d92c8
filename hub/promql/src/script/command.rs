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
    /// Line of the command in the script, from 1.
    pub line: usize,
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

/// Start timestamps that one item may repeat: a repetition must not become memory without bound.
const STARTS_MAX: usize = 10_000_000;

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
    commands(script).into_iter().collect()
}

/// Reads a script to its end: a block that is no part of the language stands as an error among the commands.
pub(super) fn commands(script: &str) -> Vec<Result<Command, ScriptError>> {
    let lines: Vec<&str> = script.lines().map(without_comment).collect();
    let mut commands = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        if lines[at].is_empty() {
            at += 1;
            continue;
        }
        let end = lines[at..].iter().position(|line| line.is_empty());
        let end = end.map_or(lines.len(), |length| at + length);
        let block = Block {
            number: at + 1,
            lines: &lines[at..end],
        };
        let read = block.command();
        at += read.as_ref().map_or(block.lines.len(), |(_, used)| *used);
        commands.push(read.map(|(command, _)| command));
    }
    commands
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

    /// The first command and how many of the lines belong to it.
    fn command(&self) -> Result<(Command, usize), ScriptError> {
        let line = self.lines[0];
        let word = line.split([' ', '\t']).next().unwrap_or_default();
        let word = word.to_ascii_lowercase();
        if word == "clear" {
            Ok((Command::Clear, 1))
        } else if word.starts_with("load") {
            Ok((Command::Load(self.load()?), self.lines.len()))
        } else if word.starts_with("eval") {
            let (eval, used) = self.eval()?;
            Ok((Command::Eval(Box::new(eval)), used))
        } else {
            Err(self.error(
                0,
                format!("invalid command {line:?}: write clear, load or eval"),
            ))
        }
    }

    fn load(&self) -> Result<Load, ScriptError> {
        let Some(parts) = LOAD.captures(self.lines[0]) else {
            return Err(self.error(0, "write `load <step>` or `load_with_nhcb <step>`"));
        };
        let every = self.duration(0, &parts[2])?;
        let mut series: Vec<LoadedSeries> = Vec::new();
        // What the line above says of the next series, and what stands for all that say nothing.
        let mut starts: Option<(usize, LabelSet, Vec<Option<i64>>)> = None;
        let mut default_starts: Vec<Option<i64>> = Vec::new();
        for (at, line) in self.lines.iter().enumerate().skip(1) {
            if let Some((metric, items)) = start_line(line) {
                if let Some((above, ..)) = &starts {
                    return Err(self.error(*above, "an @st line has no sample line behind it"));
                }
                let items = start_items(items).map_err(|e| self.error(at, e))?;
                if metric.is_empty() {
                    default_starts = items;
                } else {
                    let metric = parse_series(metric).map_err(|e| self.error(at, e.to_string()))?;
                    starts = Some((at, metric.labels, items));
                }
                continue;
            }
            let found = parse_series(line).map_err(|e| self.error(at, e.to_string()))?;
            let starts = match starts.take() {
                Some((_, labels, items))
                    if labels != found.labels || items.len() != found.values.len() =>
                {
                    return Err(self.error(at, "the @st line above is for another series"));
                }
                Some((_, _, items)) => items,
                None => {
                    let all = default_starts.iter().copied().cycle();
                    all.take(found.values.len()).collect()
                }
            };
            let samples = samples(&found.values, &starts, every);
            series.retain(|known| known.labels != found.labels);
            series.push(LoadedSeries {
                labels: found.labels,
                samples,
            });
        }
        if let Some((above, ..)) = starts {
            return Err(self.error(above, "an @st line has no sample line behind it"));
        }
        if parts.get(1).is_some() {
            let converted = super::classic::convert(&series).map_err(|e| self.error(0, e))?;
            series.extend(converted);
        }
        Ok(Load {
            line: self.number,
            series,
        })
    }

    /// The case and how many of the lines belong to it.
    fn eval(&self) -> Result<(Eval, usize), ScriptError> {
        let line = self.lines[0];
        let (word, mut time, expr) = if let Some(parts) = INSTANT.captures(line) {
            let at = parts.get(2).map_or("0", |at| at.as_str());
            let time = EvalTime::Instant(self.time(0, at)?);
            (word_of(&parts), time, parts[3].to_owned())
        } else if let Some(parts) = RANGE.captures(line) {
            let (start, end) = (self.time(0, &parts[2])?, self.time(0, &parts[3])?);
            if end < start {
                return Err(self.error(0, "the end is before the start"));
            }
            let step = self.duration(0, &parts[4])?;
            let time = EvalTime::Range { start, end, step };
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
            let instant = matches!(time, EvalTime::Instant(_));
            if instant && found.values.len() > 1 && expected.range_steps.is_none() {
                return Err(self.error(
                    at,
                    "an instant query gives one value: say `expect range vector from <start> to <end> step <step>` before it if it gives more",
                ));
            }
            let row = ExpectedSeries {
                labels: found.labels,
                values: found.values,
            };
            match &mut expected.values {
                Expectation::Series(rows) => rows.push(row),
                other => *other = Expectation::Series(vec![row]),
            }
        }
        if let (Some((_, end, _)), EvalTime::Instant(at)) = (expected.range_steps, &mut time) {
            // Upstream evaluates where the rows end, whatever the command says.
            *at = end;
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
            "fail" if expected.fail.is_some() => {
                return Err(self.error(at, "a case fails in one way: two `expect fail` lines"));
            }
            "fail" => expected.fail = Some(text),
            "warn" => expected.warnings.push(text),
            "info" => expected.infos.push(text),
            "no_warn" => expected.no_warnings = true,
            _ => expected.no_infos = true,
        }
        let both = |some: &[Text], none: bool| none && !some.is_empty();
        if both(&expected.warnings, expected.no_warnings)
            || both(&expected.infos, expected.no_infos)
        {
            return Err(self.error(at, "a kind of annotation is expected and excluded at once"));
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
    if bare.eq_ignore_ascii_case("infinity") {
        return line.parse().ok();
    }
    if !special && !first.is_ascii_digit() && first != '.' {
        return None;
    }
    let sign = if line.starts_with('-') { -1.0 } else { 1.0 };
    let number = crate::parser::number::number(bare).ok()?;
    Some(sign * number)
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

/// A repetition, bounded as those of values are.
fn count(times: &str) -> Option<usize> {
    let times: usize = times.parse().ok()?;
    (times <= STARTS_MAX).then_some(times)
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
        if let Some(again) = item.strip_prefix('*') {
            // The last start again, relative to each sample anew.
            let last = all.iter().rev().copied().find(Option::is_some).flatten();
            let count = match again.strip_prefix('x') {
                Some(times) => count(times).ok_or_else(bad)? + 1,
                None if again.is_empty() => 1,
                None => return Err(bad()),
            };
            all.extend(std::iter::repeat_n(Some(last.unwrap_or(0)), count));
            continue;
        }
        let (text, times) = match item.split_once('x') {
            Some((text, times)) => (text, Some(count(times).ok_or_else(bad)?)),
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
        all.extend((0..count).map(|n| Some(first.saturating_add(by.saturating_mul(n as i64)))));
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
