//! The configuration's text as people may see it.

use std::path::Path;

use serde_json::Value;

use super::masking::{MASK, mask_config};
use super::parameters::mask_addresses;
use super::{parse_yaml, yaml};

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

/// The text with the values of secret keys masked, and passwords in addresses, as Prometheus shows its
/// configuration. Where the form of a value leaves a doubt, more is masked rather than less.
///
/// Where the text cannot be masked so that it stays what it is (a flow map over several lines, a secret parameter), its content is
/// written anew, without comments.
pub fn without_secrets(text: &str) -> String {
    let masked = line_by_line(text);
    let path = Path::new("");
    let Ok(mut value) = parse_yaml::<Value>(text, path) else {
        return masked;
    };
    mask_config(&mut value, &mut |_| {});
    // Secrets that the lines still have are masked once more here, and then the two differ.
    let same = parse_yaml::<Value>(&masked, path).is_ok_and(|mut of_lines| {
        let before = of_lines.clone();
        mask_config(&mut of_lines, &mut |_| {});
        before == of_lines
    });
    match same {
        true => masked,
        false => yaml::block(&value),
    }
}

fn line_by_line(text: &str) -> String {
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
        out.push_str(&mask_addresses(&line, MASK, &mut |_| {}));
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
        '{' | '[' => collection_bytes(value),
        '|' | '>' | '#' => None,
        _ if in_flow => Some(value.find([',', '}', ']']).unwrap_or(value.len())),
        _ => None,
    };
    close.map(|bytes| blank + bytes)
}

/// Up to the bracket that closes the first; None: not in this line, or nobody can say.
fn collection_bytes(value: &str) -> Option<usize> {
    let (mut depth, mut quote) = (0_usize, None);
    for (at, c) in value.char_indices() {
        match (quote, c) {
            (Some('"'), '\\') => return None,
            (Some(open), c) if open == c => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(c),
            (None, '{' | '[') => depth += 1,
            (None, '}' | ']') => {
                depth -= 1;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flow_and_block_forms_stay_yaml() {
        for text in [
            "params: {token: [s3c, b], sig: [s3c], module: [kept]}",
            "params: {token: ['s3c]', \"}s3c\"], module: [kept]}",
            "params: {token: [\"s3c\\\"]\"], module: [kept]}",
            "params: {token: [[s3c], {a: [s3c]}], module: [kept]}",
            "params: {token: [s3c,\n  s3c], module: [kept]}",
            "{a: {params: {api_key: [s3c]}}, b: {module: kept}}",
            "params:\n  token:\n  - s3c\n  - s3c\n  sig: [s3c]\n  module: [kept]",
            "params:\n  token: [s3c,\n    s3c]\n  module: [kept]",
            "oauth2: {endpoint_params: {client_assertion: s3c}, client_id: kept}",
            "url: http://h/?sig=s3c&module=kept",
            "[{url: 'http://h/?sig=s3c'}, {url: http://h/?sig=s3c, a: kept}]",
            "labels: {__param_secret: s3c, a: kept}",
            "- {target_label: __param_token, replacement: s3c}\n- kept",
            "http_headers: {X: {values: [s3c]}, Y: {values: [s3c]}}\na: kept",
        ] {
            let shown = without_secrets(text);
            assert!(!shown.contains("s3c"), "{text:?} is shown as {shown:?}");
            assert!(shown.contains("kept") && shown.contains(MASK), "{shown:?}");
            let back = parse_yaml::<Value>(&shown, Path::new(""));
            assert!(back.is_ok(), "{text:?} is shown as {shown:?}: {back:?}");
        }
    }

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
