//! The configuration's text as people may see it.

/// Keys whose values are secret. `headers` of a contact may hold an API key.
const SECRET_KEYS: [&str; 7] = [
    "key",
    "token",
    "credentials",
    "password",
    "bearer_token",
    "client_secret",
    "headers",
];
const MASK: &str = "<secret>";

/// The text with the values of secret keys masked, and passwords in addresses, as Prometheus shows its
/// configuration. Where the form of a value leaves a doubt, more is masked rather than less.
pub fn without_secrets(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    // Column of a secret key whose value goes on in the lines below it.
    let mut goes_on: Option<usize> = None;
    for line in text.lines() {
        let indent = line.len() - line.trim_start().len();
        if goes_on.is_some_and(|column| line.trim().is_empty() || indent > column) {
            continue;
        }
        let (line, open) = mask_values(line);
        goes_on = open;
        out.push_str(&mask_addresses(&line));
        out.push('\n');
    }
    out
}

/// One line, and the column of a key whose value does not end in it.
fn mask_values(line: &str) -> (String, Option<usize>) {
    let (mut out, mut rest) = (String::new(), line);
    while let Some((start, value)) = find_secret(rest) {
        let (before, from) = (&rest[..value], &rest[value..]);
        out.push_str(before);
        let in_flow = out.contains(['{', '[']);
        out.push(' ');
        out.push_str(MASK);
        match value_bytes(from, in_flow) {
            Some(bytes) => rest = &from[bytes..],
            None => return (out, Some(line.len() - rest.len() + start)),
        }
    }
    (out + rest, None)
}

/// Where the next secret key begins, and where its value does, after the colon.
fn find_secret(text: &str) -> Option<(usize, usize)> {
    let found = SECRET_KEYS.iter().flat_map(|key| {
        text.match_indices(key).filter_map(|(start, _)| {
            let word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '/' | '.');
            let after = text[start + key.len()..].trim_start_matches(['"', '\'']);
            let colon = after.trim_start().strip_prefix(':')?;
            (!text[..start].ends_with(word)).then_some((start, text.len() - colon.len()))
        })
    });
    found.min()
}

/// How long the value is that a line goes on with; None: to the end of the line and perhaps beyond it.
fn value_bytes(from: &str, in_flow: bool) -> Option<usize> {
    let value = from.trim_start();
    let blank = from.len() - value.len();
    let close = match value.chars().next()? {
        quote @ ('"' | '\'') => {
            let mut escaped = false;
            let end = value[1..].find(|c: char| {
                let ends = c == quote && !escaped;
                escaped = quote == '"' && c == '\\' && !escaped;
                ends
            });
            end.map(|end| end + 2)
        }
        '{' => value.find('}').map(|end| end + 1),
        '|' | '>' | '#' => None,
        _ if in_flow => Some(value.find([',', '}', ']']).unwrap_or(value.len())),
        _ => None,
    };
    close.map(|bytes| blank + bytes)
}

/// `http://name:password@host` without the password.
fn mask_addresses(line: &str) -> String {
    let (mut out, mut rest) = (String::new(), line);
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        out.push_str(before);
        let host_ends = after
            .find(|c: char| c.is_whitespace() || "/?#\"'".contains(c))
            .unwrap_or(after.len());
        rest = after;
        if let Some(end) = after[..host_ends].rfind('@')
            && let Some(colon) = after[..end].find(':')
        {
            out.push_str(&after[..=colon]);
            out.push_str(MASK);
            rest = &after[end..];
        }
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_secret_is_masked() {
        for text in [
            "token: s3cret",
            "- token: s3cret # mine",
            "\"token\": \"s3cret, s3cret\"",
            "'token' : 's3cret'",
            "branches: [{name: a, token: s3cret}, {name: b, token: \"s3cret}\"}]",
            "  token: |\n    s3cret\n  name: kept",
            "- token:\n    s3cret\n  name: kept",
            "  password: \"s3cret\n    s3cret\"\n  name: kept",
            "headers: {X-Key: s3cret, Y: s3cret}",
            "tls_config: {cert: x, key: s3cret}",
            "tls_config:\n  key: |\n    s3cret\n  name: kept",
            "  headers:\n    X-Key: s3cret\n  name: kept",
            "url: http://me:s3cret@hub.example/hook",
            "url: \"https://me:s3c@s3cret@hub.example\"",
        ] {
            let shown = without_secrets(text);
            assert!(!shown.contains("s3c"), "{text:?} is shown as {shown:?}");
            assert!(shown.contains(MASK), "{shown:?}");
            assert_eq!(shown.contains("kept"), text.contains("kept"), "{shown:?}");
        }
    }

    #[test]
    fn what_is_no_secret_stays() {
        for text in [
            "token_file: x/token\n",
            "# a token, somewhere\n",
            "branches: [{name: a, token_file: /run/token}]\n",
            "url: http://hub.example:9490/a@b:c\n",
            "replacement: token\n",
        ] {
            assert_eq!(without_secrets(text), text);
        }
    }
}
