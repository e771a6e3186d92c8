//! Prometheus's durations: `1h30m`, `250ms`. Units from large to small, each once; `y` is 365 days, `w` 7 days.

use std::time::Duration;

/// Why a text is not a duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// Nothing there.
    #[error("empty duration: write for example 15s or 1h30m")]
    Empty,
    /// Not of the form.
    #[error(
        "not a valid duration: {text:?}: write numbers with units from large to small (y, w, d, h, m, s, ms), for example 1h30m"
    )]
    Malformed {
        /// As written.
        text: String,
    },
    /// Longer than 292 years, which is what 64-bit nanoseconds hold.
    #[error("duration out of range: {text:?}: at most 292y")]
    OutOfRange {
        /// As written.
        text: String,
    },
}

const UNITS: [(&str, u64); 7] = [
    ("y", 365 * 86_400_000),
    ("w", 7 * 86_400_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// Reads a duration, `0` without unit included (`prometheus/common` `model.ParseDuration`).
///
/// # Errors
/// Anything else, and more than 64-bit nanoseconds.
pub fn parse(text: &str) -> Result<Duration, DurationError> {
    let malformed = || DurationError::Malformed {
        text: text.to_owned(),
    };
    let out_of_range = || DurationError::OutOfRange {
        text: text.to_owned(),
    };
    match text {
        "" => return Err(DurationError::Empty),
        "0" => return Ok(Duration::ZERO),
        _ => {}
    }
    let (mut rest, mut next_unit, mut millis) = (text, 0, 0_u64);
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: u64 = match rest[..digits].parse() {
            Ok(number) => number,
            Err(_) if digits == 0 => return Err(malformed()),
            Err(_) => return Err(out_of_range()),
        };
        rest = &rest[digits..];
        let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
        let unit = &rest[..letters];
        rest = &rest[letters..];
        let at = UNITS[next_unit..]
            .iter()
            .position(|(name, _)| *name == unit)
            .ok_or_else(malformed)?
            + next_unit;
        next_unit = at + 1;
        millis = number
            .checked_mul(UNITS[at].1)
            .and_then(|part| millis.checked_add(part))
            .ok_or_else(out_of_range)?;
    }
    if millis > i64::MAX as u64 / 1_000_000 {
        return Err(out_of_range());
    }
    Ok(Duration::from_millis(millis))
}

/// Writes a duration as Prometheus does: `1h30m`, `0s`; weeks and years only when they fit exactly. Parts of
/// a millisecond are cut.
pub fn format(duration: Duration) -> String {
    let mut millis = duration.as_millis() as u64;
    if millis == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    for (unit, size) in UNITS {
        let exact_only = matches!(unit, "y" | "w");
        if exact_only && !millis.is_multiple_of(size) {
            continue;
        }
        let count = millis / size;
        if count > 0 {
            text.push_str(&format!("{count}{unit}"));
            millis -= count * size;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_and_writes() {
        let check = |text: &str, millis: u64, back: &str| {
            let duration = parse(text).unwrap();
            assert_eq!(duration, Duration::from_millis(millis), "{text}");
            assert_eq!(format(duration), back);
        };
        check("0", 0, "0s");
        check("0s", 0, "0s");
        check("324ms", 324, "324ms");
        check("3s", 3_000, "3s");
        check("5m", 300_000, "5m");
        check("1h30m", 5_400_000, "1h30m");
        check("4d", 345_600_000, "4d");
        check("4d1h", 349_200_000, "4d1h");
        check("14d", 1_209_600_000, "2w");
        check("3w2d1h", 1_990_800_000, "23d1h");
        check("10y", 315_360_000_000, "10y");
        check("61s", 61_000, "1m1s");
    }

    #[test]
    fn refuses() {
        for bad in [
            "1",
            "1y1m1d",
            "-1w",
            "1.5d",
            "d",
            "294y",
            "200y10400w",
            "107675d",
            "2584200h",
            "",
            "5m5m",
            "1 s",
            "99999999999999999999s",
        ] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn there_and_back(millis in 0_u64..9_000_000_000_000) {
            let duration = Duration::from_millis(millis);
            prop_assert_eq!(parse(&format(duration)).unwrap(), duration);
        }

        #[test]
        fn any_text_is_an_answer(text in ".{0,20}") {
            let _ = parse(&text);
        }
    }
}
