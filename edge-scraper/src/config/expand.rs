//! Environment variables in external labels: `${NAME}` and `$NAME`, with `$$` for a dollar sign, as Prometheus expands them.

/// The expanded text, and the variables that the environment does not have; those stand for nothing.
pub(super) fn expand(
    text: &str,
    environment: impl Fn(&str) -> Option<String>,
) -> (String, Vec<String>) {
    let (mut out, mut missing) = (String::with_capacity(text.len()), Vec::new());
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        out.push_str(&rest[..dollar]);
        let (name, after) = variable(&rest[dollar + 1..]);
        match name {
            Some("$") => out.push('$'),
            Some(name) => match environment(name) {
                Some(value) => out.push_str(&value),
                None => missing.push(name.to_owned()),
            },
            // A dollar sign before something that cannot be a name stays one.
            None => out.push('$'),
        }
        rest = after;
    }
    out.push_str(rest);
    (out, missing)
}

/// The variable's name behind a dollar sign, and the text behind the variable.
fn variable(text: &str) -> (Option<&str>, &str) {
    if let Some(after) = text.strip_prefix('$') {
        return (Some("$"), after);
    }
    if let Some(inner) = text.strip_prefix('{')
        && let Some(end) = inner.find('}')
    {
        return (Some(&inner[..end]), &inner[end + 1..]);
    }
    let end = text
        .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .unwrap_or(text.len());
    match end {
        0 => (None, text),
        end => (Some(&text[..end]), &text[end..]),
    }
}

#[cfg(test)]
mod tests {
    use super::expand;

    #[track_caller]
    fn check(text: &str, expected: &str, missing: &[&str]) {
        let environment = |name: &str| (name == "BRANCH").then(|| "b07".to_owned());
        let (out, gone) = expand(text, environment);
        assert_eq!(
            (out.as_str(), gone),
            (expected, missing.iter().map(|m| (*m).to_owned()).collect()),
            "{text}"
        );
    }

    #[test]
    fn names_braces_and_dollars() {
        check("plain", "plain", &[]);
        check("x-${BRANCH}-y", "x-b07-y", &[]);
        check("$BRANCH/$BRANCH", "b07/b07", &[]);
        check("$$BRANCH", "$BRANCH", &[]);
        check("a${NONE}b$NOTHING", "ab", &["NONE", "NOTHING"]);
        check("5$ ${open $", "5$ ${open $", &[]);
    }
}
