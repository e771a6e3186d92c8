//! The secrets of a configuration, or of an answer with targets, by where they stand.

use serde_json::Value;

use super::parameters::{is_secret_parameter, mask_addresses};

/// Keys whose values are secret, whatever they are.
const SECRET_KEYS: [&str; 11] = [
    "basic_auth_users",
    "bearer_token",
    "client_secret",
    "credentials",
    "headers",
    "http_headers",
    "key",
    "password",
    "proxy_connect_header",
    "secret_key",
    "token",
];
/// Maps of parameters.
const PARAMETER_MAPS: [&str; 2] = ["params", "endpoint_params"];
/// Labels that become parameters of a scrape.
const PARAMETER_LABEL: &str = "__param_";
pub(super) const MASK: &str = "<secret>";

/// A secret that was masked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found<'a> {
    /// It stood where only secrets stand.
    Secret(&'a str),
    /// The value of a parameter that may be one.
    Parameter(&'a str),
}

/// Masks the secrets of a configuration's content; `found` gets each of them.
pub fn mask_config(value: &mut Value, found: &mut dyn FnMut(Found<'_>)) {
    Masking { keys: true, found }.within(value);
}

/// Masks parameters and passwords of addresses in an answer of a service. Its keys say nothing: a label may be called `token`.
pub fn mask_answer(value: &mut Value, found: &mut dyn FnMut(Found<'_>)) {
    Masking { keys: false, found }.within(value);
}

/// A text of people, such as a log, with the same masked: addresses, and `__param_NAME` with a value behind it.
pub fn mask_text(text: &str) -> String {
    let text = mask_addresses(text, MASK, &mut |_| {});
    let (mut out, mut rest) = (String::with_capacity(text.len()), text.as_str());
    while let Some(at) = rest.find(PARAMETER_LABEL) {
        let (before, after) = rest.split_at(at + PARAMETER_LABEL.len());
        out.push_str(before);
        let name_ends = after.find(['=', ':', '"', '\\', ' ', ',', '}', '\n']);
        let (name, after) = after.split_at(name_ends.unwrap_or(after.len()));
        out.push_str(name);
        rest = after;
        // `="v"`, `=\"v\"` within quotes, `":"v"`, `: v`.
        let value = after.trim_start_matches(['=', ':', '"', '\\', ' ']);
        let between = &after[..after.len() - value.len()];
        if is_secret_parameter(name) && between.contains(['=', ':']) {
            let ends: &[char] = match between.ends_with('"') {
                true => &['"', '\n'],
                false => &[' ', ',', '}', '\n'],
            };
            let end = value.find(ends).unwrap_or(value.len());
            let value_ends = value[..end].trim_end_matches('\\').len();
            out.push_str(between);
            if value_ends > 0 {
                out.push_str(MASK);
            }
            rest = &value[value_ends..];
        }
    }
    out + rest
}

struct Masking<'a> {
    keys: bool,
    found: &'a mut dyn FnMut(Found<'_>),
}

impl Masking<'_> {
    fn within(&mut self, value: &mut Value) {
        match value {
            Value::Object(map) => {
                // A relabelling rule that writes a parameter.
                let label = map.get("target_label").and_then(Value::as_str);
                let writes_secret = label.is_some_and(is_secret_label);
                for (key, value) in map.iter_mut() {
                    if self.keys && SECRET_KEYS.contains(&key.as_str()) {
                        self.all(value, true);
                    } else if PARAMETER_MAPS.contains(&key.as_str())
                        && let Value::Object(parameters) = value
                    {
                        for (name, value) in parameters {
                            let sure = SECRET_KEYS.contains(&name.as_str());
                            self.parameter(is_secret_parameter(name), value, sure);
                        }
                    } else {
                        let secret = is_secret_label(key)
                            || writes_secret && key == "replacement" && !only_refers(value);
                        self.parameter(secret, value, false);
                    }
                }
            }
            Value::Array(all) => all.iter_mut().for_each(|value| self.within(value)),
            Value::String(text) => {
                *text = mask_addresses(text, MASK, &mut |secret| {
                    (self.found)(Found::Parameter(secret));
                });
            }
            _ => {}
        }
    }

    fn parameter(&mut self, secret: bool, value: &mut Value, sure: bool) {
        match secret {
            true => self.all(value, sure),
            false => self.within(value),
        }
    }

    /// Every value in it is secret.
    fn all(&mut self, value: &mut Value, sure: bool) {
        let text = match value {
            Value::Object(map) => return map.values_mut().for_each(|value| self.all(value, sure)),
            Value::Array(all) => return all.iter_mut().for_each(|value| self.all(value, sure)),
            Value::Null => return,
            Value::String(text) if text.is_empty() => return,
            Value::String(text) => std::mem::take(text),
            ref other => other.to_string(),
        };
        (self.found)(match sure {
            true => Found::Secret(&text),
            false => Found::Parameter(&text),
        });
        *value = Value::from(MASK);
    }
}

fn is_secret_label(label: &str) -> bool {
    let name = label.strip_prefix(PARAMETER_LABEL);
    name.is_some_and(is_secret_parameter)
}

/// `$1` or `${name}` alone: what it becomes stands elsewhere.
fn only_refers(value: &Value) -> bool {
    let name = value.as_str().and_then(|text| text.strip_prefix('$'));
    name.is_some_and(|name| {
        let name = name.trim_start_matches('{').trim_end_matches('}');
        name.len() <= 2 && name.chars().all(|c| c.is_ascii_digit())
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn secrets_are_masked_where_they_stand() {
        let mut value = json!({"scrape_configs": [{
            "params": {"module": ["http_2xx"], "sig": ["s3cret1"], "token": ["s3cret2"], "code": 123},
            "static_configs": [{"targets": ["h:1"], "labels": {"__param_secret": "s3cret3", "__param_module": "m"}}],
            "relabel_configs": [
                {"target_label": "__param_token", "replacement": "s3cret4"},
                {"target_label": "__param_token", "replacement": "$1"},
                {"target_label": "job", "replacement": "shown"},
            ],
            "oauth2": {"client_id": "me", "token_url": "http://u:s3cret5@h/t",
                "endpoint_params": {"client_assertion": "s3cret6"}},
            "http_sd_configs": [{"url": "http://h/sd?api_key=s3cret7&format=json"}],
            "http_headers": {"X": {"values": ["s3cret8"]}},
        }]});
        let mut all = Vec::new();
        mask_config(&mut value, &mut |found| all.push(format!("{found:?}")));
        assert_eq!(all.len(), 9, "{all:?}");
        assert!(all.contains(&"Secret(\"s3cret2\")".to_owned()), "{all:?}");
        assert!(all.contains(&"Parameter(\"123\")".to_owned()), "{all:?}");
        let text = value.to_string();
        assert!(!text.contains("s3cret") && !text.contains("123"), "{text}");
        for kept in ["http_2xx", "$1", "shown", "me", "format=json", "\"m\""] {
            assert!(text.contains(kept), "{kept}: {text}");
        }
    }

    #[test]
    fn labels_called_like_a_secret_stay_in_answers() {
        let mut value = json!({"labels": {"token": "blue"}, "discoveredLabels": {"__param_k": "s3"},
            "scrapeUrl": "http://h/m?k=s3"});
        mask_answer(&mut value, &mut |_| {});
        let text = value.to_string();
        assert!(text.contains("blue") && !text.contains("s3"), "{text}");
    }

    #[test]
    fn a_log_is_masked() {
        for text in [
            r#"{__param_sig="s3 c", a="b"} kept"#,
            r#"labels="{__param_sig=\"s3 c\", a=\"b\"}" kept"#,
            r#"{"__param_sig": "s3 c"} kept"#,
            "__param_sig: s3 kept",
            "http://u:s3@h/?sig=s3 kept",
        ] {
            let masked = mask_text(text);
            assert!(!masked.contains("s3"), "{masked}");
            assert!(masked.contains("kept") && masked.contains(MASK), "{masked}");
        }
        let text = r#"{__param_module="m"} and __param_x"#;
        assert_eq!(mask_text(text), text);
    }
}
