use std::fmt;

use crate::LabelSet;
use crate::re2::{Re2, Re2Error};

/// How a matcher compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MatchOp {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`, anchored on both ends
    Regex,
    /// `!~`, anchored on both ends
    NotRegex,
}

impl MatchOp {
    /// As PromQL writes it.
    pub fn symbol(self) -> &'static str {
        match self {
            MatchOp::Equal => "=",
            MatchOp::NotEqual => "!=",
            MatchOp::Regex => "=~",
            MatchOp::NotRegex => "!~",
        }
    }
}

/// A condition on one label. A label that is missing counts as the empty string.
#[derive(Clone)]
pub struct Matcher {
    name: String,
    op: MatchOp,
    value: String,
    pattern: Option<Pattern>,
}

/// Why a matcher cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MatcherError {
    /// The regular expression does not compile (syntax of RE2).
    #[error(transparent)]
    BadRegex(#[from] Re2Error),
}

/// A compiled regular expression. `literals` holds the alternatives when the whole is `a|b|c`: an index can
/// look them up instead of testing every value.
#[derive(Clone)]
struct Pattern {
    regex: Re2,
    literals: Option<Vec<String>>,
    prefix: String,
}

impl Matcher {
    /// A matcher; regular expressions match the whole value, and `.` matches newlines too.
    ///
    /// # Errors
    /// [`MatcherError::BadRegex`].
    pub fn new(
        op: MatchOp,
        name: impl Into<String>,
        value: impl Into<String>,
    ) -> Result<Self, MatcherError> {
        let (name, value) = (name.into(), value.into());
        let pattern = match op {
            MatchOp::Equal | MatchOp::NotEqual => None,
            MatchOp::Regex | MatchOp::NotRegex => Some(Pattern::new(&value)?),
        };
        Ok(Matcher {
            name,
            op,
            value,
            pattern,
        })
    }

    /// `name="value"`, which cannot fail.
    pub fn equal(name: impl Into<String>, value: impl Into<String>) -> Self {
        Matcher {
            name: name.into(),
            op: MatchOp::Equal,
            value: value.into(),
            pattern: None,
        }
    }

    /// The label's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How it compares.
    pub fn op(&self) -> MatchOp {
        self.op
    }

    /// The value or pattern, as written.
    pub fn value(&self) -> &str {
        &self.value
    }

    /// Whether a value fits.
    pub fn matches(&self, value: &str) -> bool {
        match (self.op, &self.pattern) {
            (MatchOp::Equal, _) => value == self.value,
            (MatchOp::NotEqual, _) => value != self.value,
            (MatchOp::Regex, Some(pattern)) => pattern.is_match(value),
            (MatchOp::NotRegex, Some(pattern)) => !pattern.is_match(value),
            (MatchOp::Regex | MatchOp::NotRegex, None) => {
                unreachable!("the constructor compiled it")
            }
        }
    }

    /// Whether the label set has a fitting label (or fits by not having it).
    pub fn matches_labels(&self, labels: &LabelSet) -> bool {
        self.matches(labels.get(&self.name).unwrap_or(""))
    }

    /// Whether series without the label fit.
    pub fn matches_empty(&self) -> bool {
        self.matches("")
    }

    /// The only values that can fit, when the pattern is a plain list such as `a|b|c` (or this is `=`).
    /// None for the negated operators and for real patterns.
    pub fn set_matches(&self) -> Option<&[String]> {
        match (self.op, &self.pattern) {
            (MatchOp::Equal, _) => Some(std::slice::from_ref(&self.value)),
            (MatchOp::Regex, Some(pattern)) => pattern.literals.as_deref(),
            _ => None,
        }
    }

    /// What every fitting value begins with; empty when nothing is known, and for negated operators.
    pub fn prefix(&self) -> &str {
        match (self.op, &self.pattern) {
            (MatchOp::Equal, _) => &self.value,
            (MatchOp::Regex, Some(pattern)) => &pattern.prefix,
            _ => "",
        }
    }
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        (&self.name, self.op, &self.value) == (&other.name, other.op, &other.value)
    }
}

impl Eq for Matcher {}

impl std::hash::Hash for Matcher {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        (&self.name, self.op, &self.value).hash(state);
    }
}

impl fmt::Debug for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Matcher {
    /// `name=~"value"`, the value quoted as in PromQL.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quoted_name = !crate::is_legacy_label_name(&self.name);
        let name = if quoted_name {
            format!("{:?}", self.name)
        } else {
            self.name.clone()
        };
        write!(f, "{name}{}{:?}", self.op.symbol(), self.value)
    }
}

impl Pattern {
    fn new(text: &str) -> Result<Self, MatcherError> {
        let regex = Re2::anchored(text)?;
        let literals = literals(text);
        let prefix = match &literals {
            Some(all) if all.len() == 1 => all[0].clone(),
            Some(_) => String::new(),
            None => literal_prefix(text),
        };
        Ok(Pattern {
            regex,
            literals,
            prefix,
        })
    }

    fn is_match(&self, value: &str) -> bool {
        match &self.literals {
            Some(all) => all.iter().any(|literal| literal == value),
            None => value.starts_with(&self.prefix) && self.regex.is_match(value),
        }
    }
}

const SPECIAL: &[char] = &[
    '.', '+', '*', '?', '(', ')', '|', '[', ']', '{', '}', '^', '$', '\\',
];

/// The alternatives of a pattern that is nothing but literals joined by `|`.
fn literals(text: &str) -> Option<Vec<String>> {
    let text = match text.strip_prefix('(').and_then(|t| t.strip_suffix(')')) {
        Some(inner) => inner.strip_prefix("?:").unwrap_or(inner),
        None => text,
    };
    let all: Vec<String> = text.split('|').map(str::to_owned).collect();
    let plain = all.iter().all(|one| !one.contains(SPECIAL));
    plain.then_some(all)
}

/// The literal characters that the pattern starts with.
fn literal_prefix(text: &str) -> String {
    if text.contains('|') {
        return String::new();
    }
    let end = text.find(SPECIAL).unwrap_or(text.len());
    let prefix = &text[..end];
    // A repetition makes the character before it optional.
    match text[end..].chars().next() {
        Some('*' | '?' | '{') => {
            let last = prefix.char_indices().next_back().map_or(0, |(at, _)| at);
            prefix[..last].to_owned()
        }
        _ => prefix.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(op: MatchOp, pattern: &str, yes: &[&str], no: &[&str]) {
        let matcher = Matcher::new(op, "l", pattern).unwrap();
        for value in yes {
            assert!(matcher.matches(value), "{matcher} should match {value:?}");
        }
        for value in no {
            assert!(
                !matcher.matches(value),
                "{matcher} should not match {value:?}"
            );
        }
    }

    #[test]
    fn compares() {
        check(MatchOp::Equal, "a", &["a"], &["", "aa"]);
        check(MatchOp::NotEqual, "a", &["", "aa"], &["a"]);
        check(
            MatchOp::Regex,
            "a.c",
            &["abc", "a\nc"],
            &["xabc", "abcx", ""],
        );
        check(MatchOp::NotRegex, "a.c", &["xabc", ""], &["abc"]);
        check(MatchOp::Regex, "a|bc", &["a", "bc"], &["abc", "c"]);
        check(MatchOp::Regex, "(a|bc)", &["a", "bc"], &["abc"]);
        check(
            MatchOp::Regex,
            "(a|b)(c|d)",
            &["ac", "bd"],
            &["a", "a|b)(c|d"],
        );
        check(MatchOp::Regex, "ab*", &["a", "abb"], &["b"]);
        check(MatchOp::Regex, "ab{0,1}c", &["ac", "abc"], &["b"]);
        check(MatchOp::Regex, "ab?|x", &["a", "x", "ab"], &["b"]);
        check(MatchOp::Regex, "(?i)AB.*", &["abc", "AB"], &["xab"]);
        check(MatchOp::Regex, "", &[""], &["a"]);
        check(MatchOp::Regex, "a|", &["", "a"], &["b"]);
        check(MatchOp::Regex, "é+x", &["éx", "ééx"], &["x"]);
        check(MatchOp::Regex, r"a\w", &["ab"], &["aé"]);
        check(MatchOp::NotRegex, "[a&&b]", &["c"], &["a", "&"]);
        check(MatchOp::Regex, "ab{,5}", &["ab{,5}"], &["a", "ab"]);
    }

    #[test]
    fn knows_what_an_index_can_use() {
        let regex = |text: &str| Matcher::new(MatchOp::Regex, "l", text).unwrap();
        assert_eq!(regex("a|b").set_matches().unwrap(), ["a", "b"]);
        assert_eq!(regex("(?:a|b)").set_matches().unwrap(), ["a", "b"]);
        assert!(regex("a.").set_matches().is_none());
        assert_eq!(regex("node_.*").prefix(), "node_");
        assert_eq!(regex("ab*").prefix(), "a");
        assert_eq!(regex("éé?").prefix(), "é");
        assert!(
            Matcher::new(MatchOp::NotRegex, "l", "a|b")
                .unwrap()
                .set_matches()
                .is_none()
        );
    }

    #[test]
    fn refuses_bad_patterns() {
        for bad in ["(", "a)(b", "[", "*", "(?P<n", "a{1000000000}"] {
            let error = Matcher::new(MatchOp::Regex, "l", bad).unwrap_err();
            assert!(
                error.to_string().starts_with("error parsing regexp"),
                "{error}"
            );
        }
        let long = "a".repeat(64 * 1024 + 1);
        assert!(Matcher::new(MatchOp::Regex, "l", long).is_err());
    }
}
