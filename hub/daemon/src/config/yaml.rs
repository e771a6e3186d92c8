//! A JSON value as YAML, as people write it: one line a field.

use serde_json::Value;

/// In block style, with a line end.
pub fn block(value: &Value) -> String {
    let mut out = String::new();
    put(&mut out, value, 0);
    out
}

fn put(out: &mut String, value: &Value, indent: usize) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (number, (key, value)) in fields.iter().enumerate() {
                // The first stands behind what is above it: the `- ` of a list, or nothing.
                if number > 0 {
                    out.push_str(&" ".repeat(indent));
                }
                out.push_str(&scalar(key));
                out.push(':');
                nested(out, value, indent + 2);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for (number, item) in items.iter().enumerate() {
                if number > 0 {
                    out.push_str(&" ".repeat(indent));
                }
                out.push_str("- ");
                put(out, item, indent + 2);
            }
        }
        Value::String(text) => {
            out.push_str(&scalar(text));
            out.push('\n');
        }
        other => {
            out.push_str(&other.to_string());
            out.push('\n');
        }
    }
}

fn nested(out: &mut String, value: &Value, indent: usize) {
    let goes_on = match value {
        Value::Object(fields) => !fields.is_empty(),
        Value::Array(items) => !items.is_empty(),
        _ => false,
    };
    if goes_on {
        out.push('\n');
        out.push_str(&" ".repeat(indent));
    } else {
        out.push(' ');
    }
    put(out, value, indent);
}

/// A text without quotes where it can be nothing else; JSON's quotes are YAML's too.
fn scalar(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '/' | '.');
    let begins = text.starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '_' | '/'));
    let word = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    if begins && text.chars().all(plain) && !word.contains(&text.to_ascii_lowercase().as_str()) {
        return text.to_owned();
    }
    // A duration: a number with letters behind it.
    let letters = text.trim_start_matches(|c: char| c.is_ascii_digit());
    if letters.len() < text.len() && matches!(letters, "ms" | "s" | "m" | "h" | "d" | "w") {
        return text.to_owned();
    }
    Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn is_read_back() {
        let value = json!({
            "job_name": "a b: c", "scrape_interval": "15s", "on": true, "none": null, "n": 1.5,
            "empty": [], "nothing": {}, "odd": ["true", "12", "é\n\"", "- x", "1e3", "0x10"],
            "static_configs": [{"labels": {"x": "y"}, "targets": ["h:1", "h:2"]}, {"targets": []}],
            "nested": [["a"], [{"b": "c"}]],
        });
        let text = block(&value);
        let back: Value = crate::config::parse_yaml(&text, std::path::Path::new("")).unwrap();
        assert_eq!(back, value, "{text}");
        assert!(text.contains("\nscrape_interval: 15s\n"), "{text}");
    }
}
