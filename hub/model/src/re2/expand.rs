//! Go's `Regexp.Expand`: what `$1`, `$name` and `${name}` of a replacement stand for.

use std::sync::LazyLock;

use regex::{Captures, Regex};

/// Go's letters and digits; `char::is_alphanumeric` counts `²` among them.
static NAME: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"^[\p{L}\p{Nd}_]+").expect("a pattern of our own compiles"));

/// `$name` takes the longest run of letters, digits and `_`, so `$1x` is a group of the name `1x`; `$$` is `$`; an
/// unknown group is empty; a `$` that starts nothing stays.
pub(super) fn expand(template: &str, names: &[String], groups: &Captures<'_>, out: &mut String) {
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        if let Some(tail) = after.strip_prefix('$') {
            out.push('$');
            rest = tail;
            continue;
        }
        let Some((name, tail)) = reference(after) else {
            out.push('$');
            rest = after;
            continue;
        };
        let found = match number(name) {
            Some(number) => groups.get(number),
            // Of several groups of a name, the first that took part.
            None => (names.iter().zip(1..))
                .filter(|(known, _)| *known == name)
                .find_map(|(_, number)| groups.get(number)),
        };
        out.push_str(found.map_or("", |group| group.as_str()));
        rest = tail;
    }
    out.push_str(rest);
}

/// The name after a `$`, and what follows it.
fn reference(after: &str) -> Option<(&str, &str)> {
    let braced = after.strip_prefix('{');
    let text = braced.unwrap_or(after);
    let end = NAME.find(text).map_or(0, |name| name.end());
    let (name, tail) = text.split_at(end);
    if name.is_empty() {
        return None;
    }
    match braced {
        Some(_) => Some((name, tail.strip_prefix('}')?)),
        None => Some((name, tail)),
    }
}

/// `01` is a name, and nobody's.
fn number(name: &str) -> Option<usize> {
    let digits = name.bytes().all(|b| b.is_ascii_digit());
    (digits && (name == "0" || !name.starts_with('0')))
        .then(|| name.parse().ok())
        .flatten()
}
