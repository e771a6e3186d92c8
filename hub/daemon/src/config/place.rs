//! Which key stands at a place of a YAML text? The parser's errors about values name line and column; people look for the key.

/// The key whose value is at line and column (from 1): before it on the line, or on a line above that holds this one.
pub(super) fn key_at(text: &str, line: usize, column: usize) -> Option<&str> {
    let lines: Vec<&str> = text.lines().collect();
    let current = *lines.get(line.checked_sub(1)?)?;
    let end = current
        .char_indices()
        .nth(column.saturating_sub(1))
        .map_or(current.len(), |(at, _)| at);
    if let Some(key) = last_key(&current[..end]) {
        return Some(key);
    }
    let is_item = |line: &str| line.trim_start().starts_with('-');
    let indent = |line: &str| line.len() - line.trim_start().len();
    lines[..line - 1]
        .iter()
        .rev()
        .filter(|above| {
            let holds = indent(above) < indent(current)
                || (indent(above) == indent(current) && is_item(current) && !is_item(above));
            holds && !above.trim().is_empty() && !above.trim_start().starts_with('#')
        })
        .find_map(|above| last_key(above))
}

/// The line (from 1) of the first `key:`, for files in which a key means one thing wherever it stands.
pub(crate) fn line_of(text: &str, key: &str) -> Option<usize> {
    let holds = |line: &str| {
        let line = line.split(" #").next().unwrap_or(line).trim_start();
        let mut found = line.match_indices(key);
        !line.starts_with('#')
            && found.any(|(at, _)| {
                let word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
                line[at + key.len()..].starts_with(':') && !line[..at].ends_with(word)
            })
    };
    text.lines().position(holds).map(|index| index + 1)
}

/// The last `key:` of a piece of a line.
fn last_key(text: &str) -> Option<&str> {
    let is_key = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut colons = text.rmatch_indices(':').filter(|(at, _)| {
        let after = text[at + 1..].chars().next();
        after.is_none_or(char::is_whitespace)
    });
    colons.find_map(|(at, _)| {
        let before = &text[..at];
        let start = before.rfind(|c: char| !is_key(c)).map_or(0, |at| at + 1);
        (start < before.len()).then(|| &before[start..])
    })
}

#[cfg(test)]
mod tests {
    use super::{key_at, line_of};

    #[test]
    fn lines_of_keys() {
        let text = "# key: x\ntls:\n  my_key: 1\n  key: 2 # other:\n  f: {a: 1}\n";
        assert_eq!(line_of(text, "key"), Some(4));
        assert_eq!(line_of(text, "a"), Some(5));
        assert_eq!(line_of(text, "other"), None);
    }

    #[test]
    fn keys_before_and_above() {
        let check = |text: &str, line, column, expected: Option<&str>| {
            assert_eq!(key_at(text, line, column), expected, "{text}")
        };
        check("scrape_configs: 7\n", 1, 17, Some("scrape_configs"));
        check("a:\n  b: 'x: y'\n", 2, 6, Some("b"));
        check("a: {b: 1, c: many}\n", 1, 14, Some("c"));
        check("a:\n- b: x\n  c:\n    d\n", 4, 5, Some("c"));
        check("a:\n- 7\n", 2, 3, Some("a"));
        check("a:\n  - x\n\n  # b: c\n  - [1]\n", 5, 5, Some("a"));
        check("- 7\n", 1, 3, None);
        check("a: 1\n", 9, 9, None);
    }
}
