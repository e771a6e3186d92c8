//! Regular expressions as Prometheus writes them: the syntax of RE2, by Go's `regexp`, run by the `regex` crate.
//!
//! The two look alike and differ in silence: `\w` is ASCII in RE2, `[a&&b]` are three characters, `a{,5}` are five.
//! So every such expression is read here by RE2's rules (`translate`), refused where and as Go refuses it, and
//! written anew for the crate. Whoever takes a Prometheus regex from outside compiles it with [`Re2`].

mod class;
mod escape;
mod expand;
mod translate;

#[cfg(test)]
mod tests;

use regex::{Captures, Regex, RegexBuilder};

/// Longest expression taken, in bytes: compiling costs memory and time that grow with it.
const PATTERN_BYTES_MAX: usize = 64 * 1024;
/// Memory that one compiled expression may take.
const COMPILED_BYTES_MAX: usize = 8 * 1024 * 1024;

/// A compiled expression.
#[derive(Clone, Debug)]
pub struct Re2 {
    regex: Regex,
    /// The groups' names, the first group's first; empty: it has none. Kept here, since RE2 takes names that the
    /// crate does not: `1x`, and the same name twice.
    names: Vec<String>,
}

/// Why an expression is none, in the words of Go's parser, which people know from Prometheus.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("error parsing regexp: {reason}")]
pub struct Re2Error {
    reason: String,
}

impl Re2Error {
    /// Go's form: what is wrong, and the part of the pattern that is.
    fn at(what: &str, part: &str) -> Self {
        Re2Error {
            reason: format!("{what}: `{part}`"),
        }
    }
}

impl Re2 {
    /// An expression that matches anywhere in a text; `.` is not a newline.
    ///
    /// # Errors
    /// It is no expression of RE2, or too large a one.
    pub fn new(pattern: &str) -> Result<Self, Re2Error> {
        Self::build(pattern, str::to_owned)
    }

    /// An expression that matches a whole text, as matchers and relabel rules do; `.` is a newline too.
    ///
    /// # Errors
    /// As [`Re2::new`].
    pub fn anchored(pattern: &str) -> Result<Self, Re2Error> {
        Self::build(pattern, |translated| format!("^(?s:{translated})$"))
    }

    fn build(pattern: &str, whole: impl Fn(&str) -> String) -> Result<Self, Re2Error> {
        if pattern.len() > PATTERN_BYTES_MAX {
            return Err(Re2Error {
                reason: format!(
                    "{} bytes long, at most {PATTERN_BYTES_MAX} are taken: split it",
                    pattern.len()
                ),
            });
        }
        let translated = translate::translate(pattern)?;
        let regex = RegexBuilder::new(&whole(&translated.text))
            .size_limit(COMPILED_BYTES_MAX)
            .build()
            .map_err(|error| Re2Error {
                reason: short(&error),
            })?;
        Ok(Re2 {
            regex,
            names: translated.names,
        })
    }

    /// Whether a text fits.
    pub fn is_match(&self, text: &str) -> bool {
        self.regex.is_match(text)
    }

    /// The groups of the first match.
    pub fn captures<'t>(&self, text: &'t str) -> Option<Captures<'t>> {
        self.regex.captures(text)
    }

    /// The groups of each match.
    pub fn captures_iter<'t>(&self, text: &'t str) -> impl Iterator<Item = Captures<'t>> {
        self.regex.captures_iter(text)
    }

    /// Writes a replacement with its `$1` and `${name}` filled in from a match of this expression.
    pub fn expand(&self, template: &str, groups: &Captures<'_>, out: &mut String) {
        expand::expand(template, &self.names, groups, out);
    }
}

/// The last line of the regex crate's report: what is wrong, without the drawing.
fn short(error: &regex::Error) -> String {
    let text = error.to_string();
    text.lines()
        .last()
        .unwrap_or_default()
        .trim_start_matches("error: ")
        .to_owned()
}
