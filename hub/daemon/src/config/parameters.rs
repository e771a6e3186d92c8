//! Which parameters of requests are secret, and addresses as people may see them.
//!
//! There is one rule for the parameters of a scrape, of a token request, of `__param_` labels and of the queries of addresses: every
//! value is secret but for a few well-known names. No list of secret names would be complete (`api_key`, `X-Api-Key`, `sig`, `code`…),
//! and a value that is masked needlessly costs less than one that is told.

/// Names whose values say only what is asked for. `target` is a whole address at times, so that passwords in it are masked all the same.
const HARMLESS: [&str; 18] = [
    "api-version",
    "collect[]",
    "direction",
    "end",
    "exclude[]",
    "format",
    "limit",
    "match[]",
    "metric",
    "module",
    "name[]",
    "query",
    "start",
    "state",
    "step",
    "target",
    "time",
    "timeout",
];

/// Whether the values of a parameter of that name are secret.
pub fn is_secret_parameter(name: &str) -> bool {
    !HARMLESS
        .iter()
        .any(|harmless| name.eq_ignore_ascii_case(harmless))
}

/// A text, perhaps only an address, with `...` for passwords in addresses and for the secret parameters of their queries.
pub fn without_passwords(text: &str) -> String {
    mask_addresses(text, "...", &mut |_| {})
}

/// The same with another mask; `found` gets what is masked.
pub(super) fn mask_addresses(text: &str, mask: &str, found: &mut dyn FnMut(&str)) -> String {
    let (mut out, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        out.push_str(before);
        let end = after.find(ends_address).unwrap_or(after.len());
        let (address, after) = after.split_at(end);
        one_address(&mut out, address, mask, found);
        rest = after;
    }
    out + rest
}

fn ends_address(c: char) -> bool {
    c.is_whitespace() || matches!(c, '"' | '\'' | '\\')
}

/// What stands behind `://`.
fn one_address(out: &mut String, address: &str, mask: &str, found: &mut dyn FnMut(&str)) {
    let host_ends = address.find(['/', '?', '#']).unwrap_or(address.len());
    let mut rest = address;
    if let Some(end) = address[..host_ends].rfind('@')
        && let Some(colon) = address[..end].find(':')
    {
        found(&address[colon + 1..end]);
        out.push_str(&address[..=colon]);
        out.push_str(mask);
        rest = &address[end..];
    }
    let Some(question) = rest.find('?') else {
        out.push_str(rest);
        return;
    };
    let (before, query) = rest.split_at(question + 1);
    out.push_str(before);
    // What the text goes on with: the bracket around an address, the comma behind it.
    let query_ends = query.trim_end_matches([',', ';', ':', '.', ')', ']', '}']);
    for (number, pair) in query_ends.split('&').enumerate() {
        if number > 0 {
            out.push('&');
        }
        let (name, value) = match pair.split_once('=') {
            Some((name, value)) => (name, value),
            // A token may stand without a name.
            None => ("", pair),
        };
        let decoded = form_urlencoded::parse(name.as_bytes()).next();
        let decoded = decoded.map_or_else(String::new, |(name, _)| name.into_owned());
        if value.is_empty() || !is_secret_parameter(&decoded) {
            // An address within the value.
            out.push_str(&match pair.contains("://") {
                true => mask_addresses(pair, mask, found),
                false => pair.to_owned(),
            });
            continue;
        }
        found(value);
        if pair.len() > value.len() {
            out.push_str(name);
            out.push('=');
        }
        out.push_str(mask);
    }
    out.push_str(&query[query_ends.len()..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_and_secret_parameters_are_masked_and_the_rest_stays() {
        for (text, shown) in [
            ("http://u:p@h/token", "http://u:...@h/token"),
            ("http://u:p@w@h:1/a@b:c", "http://u:...@h:1/a@b:c"),
            (
                "http://h/p?module=m&target=t",
                "http://h/p?module=m&target=t",
            ),
            (
                "http://h/p?module=m&X-Api-Key=k&sig=s%2F=",
                "http://h/p?module=m&X-Api-Key=...&sig=...",
            ),
            (
                "http://h/p?collect%5B%5D=cpu&code=1",
                "http://h/p?collect%5B%5D=cpu&code=...",
            ),
            (
                "at (http://h/p?k=v), http://g?x: down",
                "at (http://h/p?k=...), http://g?...: down",
            ),
            (
                "http://h/p?target=http://a:b@c/d",
                "http://h/p?target=http://a:...@c/d",
            ),
            (
                "\"http://h?k=a\" and http://h?k=&l",
                "\"http://h?k=...\" and http://h?k=&...",
            ),
            ("http://u:<...>@h?k=...", "http://u:...@h?k=..."),
            ("no address: ?a=b @ c", "no address: ?a=b @ c"),
        ] {
            assert_eq!(without_passwords(text), shown);
        }
    }

    #[test]
    fn only_well_known_names_are_no_secret() {
        for name in [
            "api_key",
            "access_token",
            "auth",
            "code",
            "sig",
            "X-Api-Key",
            "new",
            "",
        ] {
            assert!(is_secret_parameter(name), "{name}");
        }
        for name in [
            "module",
            "Target",
            "collect[]",
            "match[]",
            "name[]",
            "format",
        ] {
            assert!(!is_secret_parameter(name), "{name}");
        }
    }
}
