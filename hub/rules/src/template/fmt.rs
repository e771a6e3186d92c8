//! Go's `fmt`: how numbers print, and `printf`'s verbs.

use super::quote::quote;
use super::value::Value;

/// Widest field and most digits a verb may ask for; more is refused, so that one verb cannot fill the memory.
const WIDTH_MAX: usize = 10_000;

/// Go's `%v` of a float: shortest digits that read back the same, exponents from 1e+06 and below 1e-04.
pub(super) fn float_shortest(v: f64) -> String {
    float(v, 'g', None)
}

/// `%e`, `%f`, `%g` and their capitals; `precision` None is Go's default (shortest for `g`, else 6).
pub(super) fn float(v: f64, verb: char, precision: Option<usize>) -> String {
    if v.is_nan() {
        return "NaN".to_owned();
    }
    if v.is_infinite() {
        return if v > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let text = match verb.to_ascii_lowercase() {
        'e' => exponent(&format!("{v:.*e}", precision.unwrap_or(6))),
        'f' => format!("{v:.*}", precision.unwrap_or(6)),
        _ => general(v, precision),
    };
    if verb.is_ascii_uppercase() {
        text.to_ascii_uppercase()
    } else {
        text
    }
}

/// Rust's `1.5e7` in Go's spelling `1.5e+07`.
fn exponent(rust: &str) -> String {
    let Some((digits, exp)) = rust.split_once('e') else {
        return rust.to_owned();
    };
    let (sign, exp) = match exp.strip_prefix('-') {
        Some(exp) => ('-', exp),
        None => ('+', exp),
    };
    format!("{digits}e{sign}{exp:0>2}")
}

fn general(v: f64, precision: Option<usize>) -> String {
    // The digits first; whether they are shown with an exponent depends on where the point is.
    let scientific = match precision {
        None => format!("{v:e}"),
        Some(p) => format!("{v:.*e}", p.max(1) - 1),
    };
    let (mantissa, exp) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exp: i64 = exp.parse().unwrap_or(0);
    let mantissa = match mantissa.contains('.') {
        true => mantissa.trim_end_matches('0').trim_end_matches('.'),
        false => mantissa,
    };
    let digits = mantissa.bytes().filter(u8::is_ascii_digit).count() as i64;
    let threshold = match precision {
        None => 6,
        Some(p) => {
            let p = p.max(1) as i64;
            if p > digits && digits > exp {
                digits
            } else {
                p
            }
        }
    };
    if exp < -4 || exp >= threshold {
        return exponent(&format!("{mantissa}e{exp}"));
    }
    let decimals = (digits - 1 - exp).max(0) as usize;
    match precision {
        None => format!("{v}"),
        Some(_) => {
            // Round once, to the significant digits; then only lay them out.
            let rounded: f64 = format!("{mantissa}e{exp}").parse().unwrap_or(v);
            format!("{rounded:.decimals$}")
        }
    }
}

#[derive(Default)]
struct Flags {
    plus: bool,
    minus: bool,
    sharp: bool,
    space: bool,
    zero: bool,
    width: Option<usize>,
    precision: Option<usize>,
}

/// Go's `Sprintf`. Wrong verbs and missing arguments show in the text, as Go shows them.
pub(super) fn sprintf(format: &str, args: &[Value]) -> String {
    let mut out = String::new();
    let mut args = args.iter();
    let mut chars = format.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut flags = Flags::default();
        while let Some(flag) = chars.peek() {
            match flag {
                '+' => flags.plus = true,
                '-' => flags.minus = true,
                '#' => flags.sharp = true,
                ' ' => flags.space = true,
                '0' => flags.zero = true,
                _ => break,
            }
            chars.next();
        }
        let number = |chars: &mut std::iter::Peekable<std::str::Chars<'_>>| {
            let mut n: Option<usize> = None;
            while let Some(d) = chars.peek().and_then(|c| c.to_digit(10)) {
                n = Some(n.unwrap_or(0).saturating_mul(10).saturating_add(d as usize));
                chars.next();
            }
            n
        };
        flags.width = number(&mut chars);
        if chars.peek() == Some(&'.') {
            chars.next();
            flags.precision = Some(number(&mut chars).unwrap_or(0));
        }
        if flags.width.is_some_and(|w| w > WIDTH_MAX) {
            out.push_str("%!(BADWIDTH)");
            flags.width = None;
        }
        if flags.precision.is_some_and(|p| p > WIDTH_MAX) {
            out.push_str("%!(BADPREC)");
            flags.precision = None;
        }
        match chars.next() {
            None => out.push_str("%!(NOVERB)"),
            Some('%') => out.push('%'),
            Some(verb) => match args.next() {
                None => out.push_str(&format!("%!{verb}(MISSING)")),
                Some(value) => out.push_str(&format_verb(verb, value, &flags)),
            },
        }
    }
    let extra: Vec<String> = args
        .map(|v| format!("{}={}", v.type_name(), v.format_v()))
        .collect();
    if !extra.is_empty() {
        out.push_str(&format!("%!(EXTRA {})", extra.join(", ")));
    }
    out
}

fn format_verb(verb: char, value: &Value, flags: &Flags) -> String {
    let bad = || format!("%!{verb}({}={})", value.type_name(), value.format_v());
    let text = match (verb, value) {
        ('T', v) => v.type_name().to_owned(),
        ('v', Value::Nil) => "<nil>".to_owned(),
        (_, Value::Nil) => return format!("%!{verb}(<nil>)"),
        ('v', Value::String(s)) if flags.sharp => quote(s),
        ('t' | 'v', Value::Bool(b)) => b.to_string(),
        ('d' | 'v', Value::Int(n)) => return integer(&n.unsigned_abs().to_string(), *n < 0, flags),
        ('x', Value::Int(n)) => return integer(&format!("{:x}", n.unsigned_abs()), *n < 0, flags),
        ('X', Value::Int(n)) => return integer(&format!("{:X}", n.unsigned_abs()), *n < 0, flags),
        ('o', Value::Int(n)) => return integer(&format!("{:o}", n.unsigned_abs()), *n < 0, flags),
        ('b', Value::Int(n)) => return integer(&format!("{:b}", n.unsigned_abs()), *n < 0, flags),
        ('c', Value::Int(n)) => u32::try_from(*n)
            .ok()
            .and_then(char::from_u32)
            .unwrap_or('\u{fffd}')
            .to_string(),
        ('U', Value::Int(n)) => format!("U+{n:04X}"),
        ('q', Value::Int(n)) => {
            let c = u32::try_from(*n)
                .ok()
                .and_then(char::from_u32)
                .unwrap_or('\u{fffd}');
            format!("'{c}'")
        }
        ('e' | 'E' | 'f' | 'F' | 'g' | 'G' | 'v', Value::Float(f)) => {
            let verb = if verb == 'v' { 'g' } else { verb };
            let text = float(*f, verb, flags.precision);
            let (negative, digits) = match text.strip_prefix('-') {
                Some(digits) => (true, digits),
                None => (false, text.strip_prefix('+').unwrap_or(&text)),
            };
            let zero = flags.zero && f.is_finite();
            let plus = flags.plus || *f == f64::INFINITY;
            return number(digits, negative, plus, zero, flags);
        }
        ('s' | 'v', Value::String(s)) => cut(s, flags),
        ('q', Value::String(s)) => quote(&cut(s, flags)),
        ('x', Value::String(s)) => s.bytes().map(|b| format!("{b:02x}")).collect(),
        ('X', Value::String(s)) => s.bytes().map(|b| format!("{b:02X}")).collect(),
        (_, Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::String(_)) => return bad(),
        ('s' | 'v', other) => other.format_v(),
        ('q', other) => quote(&other.format_v()),
        ('d', Value::Duration(d)) => {
            return integer(&d.nanos.unsigned_abs().to_string(), d.nanos < 0, flags);
        }
        _ => return bad(),
    };
    let zero = flags.zero && matches!(value, Value::String(_)) && !flags.minus;
    pad(text, flags, zero)
}

fn cut(s: &str, flags: &Flags) -> String {
    s.chars()
        .take(flags.precision.unwrap_or(usize::MAX))
        .collect()
}

fn integer(digits: &str, negative: bool, flags: &Flags) -> String {
    match flags.precision {
        Some(0) if digits == "0" => pad(String::new(), flags, false),
        Some(p) => number(
            &format!("{digits:0>p$}"),
            negative,
            flags.plus,
            false,
            flags,
        ),
        None => number(digits, negative, flags.plus, flags.zero, flags),
    }
}

fn number(digits: &str, negative: bool, plus: bool, zero: bool, flags: &Flags) -> String {
    let sign = match (negative, plus, flags.space) {
        (true, _, _) => "-",
        (false, true, _) => "+",
        (false, false, true) => " ",
        _ => "",
    };
    if zero && !flags.minus {
        let width = flags.width.unwrap_or(0).saturating_sub(sign.len());
        return format!("{sign}{digits:0>width$}");
    }
    pad(format!("{sign}{digits}"), flags, false)
}

fn pad(text: String, flags: &Flags, zero: bool) -> String {
    let width = flags.width.unwrap_or(0);
    match (flags.minus, zero) {
        (true, _) => format!("{text:<width$}"),
        (false, true) => format!("{text:0>width$}"),
        (false, false) => format!("{text:>width$}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_print_as_in_go() {
        let check = |v: f64, want: &str| assert_eq!(float_shortest(v), want);
        check(0.0, "0");
        check(1.5, "1.5");
        check(123456.0, "123456");
        check(1e6, "1e+06");
        check(123456789.0, "1.23456789e+08");
        check(0.0001, "0.0001");
        check(0.00001, "1e-05");
        check(f64::NAN, "NaN");
        check(f64::NEG_INFINITY, "-Inf");
    }

    #[test]
    fn significant_digits() {
        let check = |v: f64, want: &str| assert_eq!(float(v, 'g', Some(4)), want, "{v}");
        check(0.0, "0");
        check(1.0, "1");
        check(1.2345, "1.234");
        check(12.345, "12.35");
        check(999.96, "1000");
        check(1234.5, "1234");
        check(12345.0, "1.234e+04");
        check(100000.0, "1e+05");
        check(9.223372036854776e20, "9.223e+20");
        check(-22.222, "-22.22");
        check(0.00001, "1e-05");
    }

    #[test]
    fn printf_verbs() {
        let s = |s: &str| Value::string(s);
        let check = |format: &str, args: &[Value], want: &str| {
            assert_eq!(sprintf(format, args), want, "{format}");
        };
        check("%s-%d", &[s("a"), Value::Int(3)], "a-3");
        check(
            "%.2f|%8.1f|%-8.1f|%08.1f",
            &[
                Value::Float(1.005),
                Value::Float(2.25),
                Value::Float(2.25),
                Value::Float(-2.25),
            ],
            "1.00|     2.2|2.2     |-00002.2",
        );
        check(
            "%q %v %5s %-5s|",
            &[s("a\"b"), s("x"), s("y"), s("z")],
            "\"a\\\"b\" x     y z    |",
        );
        check("%d", &[Value::Float(1.5)], "%!d(float64=1.5)");
        check("%s", &[Value::Float(1.5)], "%!s(float64=1.5)");
        check("%d", &[], "%!d(MISSING)");
        check("%", &[], "%!(NOVERB)");
        check("x", &[Value::Int(1)], "x%!(EXTRA int=1)");
        check("100%%", &[], "100%");
        check(
            "%x %X %o %b %c %U",
            &[
                Value::Int(255),
                s("hi"),
                Value::Int(8),
                Value::Int(5),
                Value::Int(65),
                Value::Int(65),
            ],
            "ff 6869 10 101 A U+0041",
        );
        check(
            "%+d % d %05d %t",
            &[
                Value::Int(3),
                Value::Int(3),
                Value::Int(-3),
                Value::Bool(true),
            ],
            "+3  3 -0003 true",
        );
        check(
            "%e %g %G",
            &[Value::Float(1e6), Value::Float(1e30), Value::Float(1e30)],
            "1.000000e+06 1e+30 1E+30",
        );
        check("%99999d", &[Value::Int(1)], "%!(BADWIDTH)1");
        check("%v %v", &[Value::Nil, Value::Bool(false)], "<nil> false");
    }
}
