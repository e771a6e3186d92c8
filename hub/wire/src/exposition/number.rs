/// The bits that Prometheus gives every NaN that a target exposes.
pub(super) const NORMAL_NAN_BITS: u64 = 0x7ff8_0000_0000_0001;

/// Reads a number as Prometheus reads sample values: decimal, optionally with an exponent, or `inf`, `infinity` and `nan`
/// in any case, the first two with a sign. Hexadecimal and underscores are refused, and so is what overflows.
pub fn parse_float(text: &str) -> Option<f64> {
    let bytes = text.as_bytes();
    let last = *bytes.last()?;
    if last.is_ascii_digit() || last == b'.' {
        let value: f64 = fast_float2::parse(bytes).ok()?;
        return value.is_finite().then_some(value);
    }
    let (negative, word) = match bytes {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, bytes),
    };
    if word.eq_ignore_ascii_case(b"inf") || word.eq_ignore_ascii_case(b"infinity") {
        return Some(if negative {
            f64::NEG_INFINITY
        } else {
            f64::INFINITY
        });
    }
    bytes
        .eq_ignore_ascii_case(b"nan")
        .then_some(f64::from_bits(NORMAL_NAN_BITS))
}

/// Reads a bucket's bound or a quantile: there Prometheus takes hexadecimal numbers too (`0x1p-3`). Of those, ones with
/// more than 13 digits are not read.
pub(super) fn parse_bound(text: &str) -> Option<f64> {
    parse_float(text).or_else(|| parse_hexadecimal(text))
}

fn parse_hexadecimal(text: &str) -> Option<f64> {
    let (sign, rest) = match text.as_bytes().first()? {
        b'-' => (-1.0, &text[1..]),
        b'+' => (1.0, &text[1..]),
        _ => (1.0, text),
    };
    let rest = rest
        .strip_prefix("0x")
        .or_else(|| rest.strip_prefix("0X"))?;
    let (digits, power) = rest.split_once(['p', 'P'])?;
    let power: i32 = power.parse().ok()?;
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let digits = format!("{whole}{fraction}");
    if digits.len() > 13 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let mantissa = u64::from_str_radix(&digits, 16).ok()? as f64;
    let value = sign * mantissa * 2_f64.powi(power.checked_sub(4 * fraction.len() as i32)?);
    value.is_finite().then_some(value)
}

/// A number as Prometheus writes sample values: the shortest text that reads back as the same number, with an exponent
/// below 1e-4 and from 1e6 on, as Go does: `1`, `0.25`, `1e+06`, `NaN`, `+Inf`, `-Inf`.
pub fn format_float(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    // Rust's shortest digits: d.ddde±x.
    let shortest = format!("{value:e}");
    let (digits, exponent) = shortest.split_once('e').unwrap_or((&shortest, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..6).contains(&exponent) {
        return format!("{value}");
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

/// A bound as OpenMetrics writes it and as Prometheus stores `le` and `quantile`: always with a point or an exponent.
pub(super) fn format_open_metrics(value: f64) -> String {
    let mut text = format_float(value);
    if value.is_finite() && !text.contains(['.', 'e']) {
        text.push_str(".0");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_what_go_reads() {
        let check = |text: &str, value: Option<f64>| {
            assert_eq!(
                parse_float(text).map(f64::to_bits),
                value.map(f64::to_bits),
                "{text}"
            );
        };
        for (text, value) in [
            ("1", 1.0),
            ("+5", 5.0),
            (".5", 0.5),
            ("5.", 5.0),
            ("-3e3", -3000.0),
            ("1e-400", 0.0),
        ] {
            check(text, Some(value));
        }
        for (text, value) in [
            ("-0", -0.0),
            ("inf", f64::INFINITY),
            ("-Infinity", f64::NEG_INFINITY),
        ] {
            check(text, Some(value));
        }
        check("nAn", Some(f64::from_bits(0x7ff8_0000_0000_0001)));
        let bad = [
            "", ".", "+", "e5", "1e", "--5", "0x10", "0x1p-3", "1_2", "1e400", "-nan", "+nan",
            "infin", "1 ", "١",
        ];
        for text in bad {
            check(text, None);
        }
    }

    #[test]
    fn reads_hexadecimal_bounds() {
        let check = |text: &str, value: Option<f64>| assert_eq!(parse_bound(text), value, "{text}");
        check("0x1p-3", Some(0.125));
        check("-0X1.8P+1", Some(-3.0));
        check("0.5", Some(0.5));
        for bad in [
            "0x1",
            "0xp1",
            "0x1p",
            "0x+1p1",
            "0x1p99999",
            "0x12345678901234p0",
        ] {
            check(bad, None);
        }
    }

    #[test]
    fn writes_as_go_does() {
        let check = |value: f64, text: &str| assert_eq!(format_float(value), text);
        check(0.0, "0");
        check(-0.0, "-0");
        check(1.0, "1");
        check(123_456.0, "123456");
        check(1_234_567.0, "1.234567e+06");
        check(1e6, "1e+06");
        check(1e21, "1e+21");
        check(1e100, "1e+100");
        check(0.0001, "0.0001");
        check(0.000_012_5, "1.25e-05");
        check(f64::NEG_INFINITY, "-Inf");
        check(f64::MAX, "1.7976931348623157e+308");
        let bound = |value: f64, text: &str| assert_eq!(format_open_metrics(value), text);
        bound(1.0, "1.0");
        bound(-1.0, "-1.0");
        bound(0.5, "0.5");
        bound(1e6, "1e+06");
        bound(f64::INFINITY, "+Inf");
    }

    proptest! {
        #[test]
        fn written_numbers_read_back(bits in any::<u64>()) {
            let value = f64::from_bits(bits);
            let back = parse_float(&format_float(value)).unwrap();
            prop_assert!(back.to_bits() == bits || value.is_nan() && back.is_nan());
        }
    }
}
