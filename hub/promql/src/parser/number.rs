//! What a number or duration token is worth.

use crate::text::quote;

/// The value of a number token: integers may be hexadecimal, octal (with a leading 0) and grouped by underscores.
pub(crate) fn number(text: &str) -> Result<f64, String> {
    if let Some(integer) = integer(text) {
        return Ok(integer as f64);
    }
    let failed = |why: &str| {
        Err(format!(
            "error parsing number: strconv.ParseFloat: parsing {}: {why}",
            quote(text)
        ))
    };
    let hexadecimal = text.starts_with("0x") || text.starts_with("0X");
    if hexadecimal || !underscores_separate_digits(text, false) {
        return failed("invalid syntax");
    }
    let plain = text.replace('_', "");
    match plain.to_ascii_lowercase().as_str() {
        "inf" => return Ok(f64::INFINITY),
        "nan" => return Ok(f64::NAN),
        _ => {}
    }
    match plain.parse::<f64>() {
        Ok(value) if value.is_infinite() => failed("value out of range"),
        Ok(value) => Ok(value),
        Err(_) => failed("invalid syntax"),
    }
}

fn integer(text: &str) -> Option<i64> {
    let lower = text.to_ascii_lowercase();
    let (digits, radix, prefixed) = if let Some(digits) = lower.strip_prefix("0x") {
        (digits, 16, true)
    } else if lower.len() > 1 && lower.starts_with('0') {
        (&lower[1..], 8, true)
    } else {
        (lower.as_str(), 10, false)
    };
    if !underscores_separate_digits(digits, prefixed) {
        return None;
    }
    i64::from_str_radix(&digits.replace('_', ""), radix).ok()
}

/// Every underscore stands between two digits, or between a prefix and a digit.
fn underscores_separate_digits(text: &str, prefixed: bool) -> bool {
    let bytes = text.as_bytes();
    bytes.iter().enumerate().all(|(at, byte)| {
        let digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_hexdigit);
        *byte != b'_' || (digit(at + 1) && (if at == 0 { prefixed } else { digit(at - 1) }))
    })
}

/// The value of a duration token in seconds.
pub(super) fn duration_seconds(text: &str) -> Result<f64, String> {
    match model::duration::parse(text) {
        Ok(duration) => Ok(duration.as_millis() as f64 / 1e3),
        Err(model::duration::DurationError::OutOfRange { .. }) => {
            Err("duration out of range".to_owned())
        }
        Err(_) => Err(format!("not a valid duration string: {}", quote(text))),
    }
}

/// Whether a number of seconds is beyond what 64-bit nanoseconds hold.
pub(super) fn out_of_range(seconds: f64) -> bool {
    const LIMIT: f64 = (1_u64 << 63) as f64 / 1e9;
    !(-LIMIT..=LIMIT).contains(&seconds) && !seconds.is_nan()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        let check = |text: &str, value: f64| assert_eq!(number(text), Ok(value), "{text}");
        check("0755", 493.0);
        check("08", 8.0);
        check("0x1F", 31.0);
        check("0X_1f", 31.0);
        check("1_000", 1000.0);
        check("1_0.5e1", 105.0);
        check("5.", 5.0);
        check(".5", 0.5);
        check("Inf", f64::INFINITY);
        check("99999999999999999999", 1e20);
        assert!(number("nAN").is_ok_and(f64::is_nan));
        assert!(number("1e400").is_err_and(|e| e.ends_with("value out of range")));
        assert!(number("0xffffffffffffffffff").is_err());
    }
}
