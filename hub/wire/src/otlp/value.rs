//! The value of an attribute as the text of a label: as Prometheus writes it, which writes lists and maps as JSON.

use base64::Engine;
use serde_json::Value as Json;

use super::proto::{AnyValue, any_value::Value};

/// Text as it is, numbers in their shortest form, bytes as base64, lists and maps as JSON with sorted keys.
pub(super) fn text(value: Option<&AnyValue>) -> String {
    match value.and_then(|value| value.value.as_ref()) {
        None => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Bool(yes)) => yes.to_string(),
        Some(Value::Int(number)) => number.to_string(),
        Some(Value::Double(number)) => number_text(*number),
        Some(Value::Bytes(bytes)) => base64::prelude::BASE64_STANDARD.encode(bytes),
        Some(value @ (Value::Array(_) | Value::Map(_))) => {
            // A list that holds what JSON has no word for becomes nothing, as in Prometheus.
            let mut text = String::new();
            match write(value, &mut text) {
                true => text,
                false => String::new(),
            }
        }
    }
}

/// Plain notation, the exponent's form below 1e-6 and from 1e21.
fn number_text(number: f64) -> String {
    if !number.is_finite() {
        let name = match number {
            n if n.is_nan() => "NaN",
            n if n > 0.0 => "+Inf",
            _ => "-Inf",
        };
        return format!("json: unsupported value: {name}");
    }
    let size = number.abs();
    if size == 0.0 || (1e-6..1e21).contains(&size) {
        return number.to_string();
    }
    // Rust writes 1e21, others 1e+21.
    let text = format!("{number:e}");
    match text.split_once('e') {
        Some((digits, power)) if !power.starts_with('-') => format!("{digits}e+{power}"),
        _ => text,
    }
}

/// False when JSON cannot say it. How deep values lie in each other is bounded by the decoder.
fn write(value: &Value, out: &mut String) -> bool {
    match value {
        Value::String(text) => write_string(text, out),
        Value::Bool(yes) => out.push_str(if *yes { "true" } else { "false" }),
        Value::Int(number) => out.push_str(&number.to_string()),
        Value::Double(number) if number.is_finite() => out.push_str(&number_text(*number)),
        Value::Double(_) => return false,
        Value::Bytes(bytes) => {
            write_string(&base64::prelude::BASE64_STANDARD.encode(bytes), out);
        }
        Value::Array(array) => {
            out.push('[');
            for (index, value) in array.values.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                if !write_or_null(value.value.as_ref(), out) {
                    return false;
                }
            }
            out.push(']');
        }
        Value::Map(map) => {
            // Sorted by name; of a name that comes twice the last one counts.
            let by_name: std::collections::BTreeMap<&str, Option<&Value>> = map
                .values
                .iter()
                .map(|pair| {
                    (
                        pair.key.as_str(),
                        pair.value.as_ref().and_then(|v| v.value.as_ref()),
                    )
                })
                .collect();
            out.push('{');
            for (index, (name, value)) in by_name.into_iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write_string(name, out);
                out.push(':');
                if !write_or_null(value, out) {
                    return false;
                }
            }
            out.push('}');
        }
    }
    true
}

fn write_or_null(value: Option<&Value>, out: &mut String) -> bool {
    match value {
        Some(value) => write(value, out),
        None => {
            out.push_str("null");
            true
        }
    }
}

/// What HTML would read otherwise is escaped too, as Go's encoder does it.
fn write_string(text: &str, out: &mut String) {
    let quoted = Json::from(text).to_string();
    for char in quoted.chars() {
        match char {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                out.push_str(&format!("\\u{:04x}", u32::from(char)));
            }
            char => out.push(char),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::proto::{ArrayValue, KeyValue, KeyValueList};
    use super::*;

    fn any(value: Value) -> AnyValue {
        AnyValue { value: Some(value) }
    }

    #[test]
    fn values_become_text() {
        let check = |value: Value, expected: &str| assert_eq!(text(Some(&any(value))), expected);
        check(Value::String("a b".into()), "a b");
        check(Value::Bool(true), "true");
        check(Value::Int(-7), "-7");
        check(Value::Double(0.25), "0.25");
        check(Value::Double(3.0), "3");
        check(Value::Double(-0.0), "-0");
        check(Value::Double(1e20), "100000000000000000000");
        check(Value::Double(1.5e21), "1.5e+21");
        check(Value::Double(1e-7), "1e-7");
        check(
            Value::Double(f64::NEG_INFINITY),
            "json: unsupported value: -Inf",
        );
        check(Value::Bytes(vec![1, 2, 255]), "AQL/");
        assert_eq!(text(None), "");
        assert_eq!(text(Some(&AnyValue::default())), "");
    }

    #[test]
    fn lists_and_maps_become_json() {
        let pair = |key: &str, value| KeyValue {
            key: key.into(),
            value: Some(value),
        };
        let list = Value::Array(ArrayValue {
            values: vec![
                any(Value::String("<a>\n".into())),
                AnyValue::default(),
                any(Value::Double(1e21)),
                any(Value::Bytes(vec![0])),
            ],
        });
        let map = Value::Map(KeyValueList {
            values: vec![pair("b", any(list)), pair("a", any(Value::Int(1)))],
        });
        let expected = r#"{"a":1,"b":["\u003ca\u003e\n",null,1e+21,"AA=="]}"#;
        assert_eq!(text(Some(&any(map))), expected);
        let nan = Value::Array(ArrayValue {
            values: vec![any(Value::Double(f64::NAN))],
        });
        assert_eq!(text(Some(&any(nan))), "");
    }
}
