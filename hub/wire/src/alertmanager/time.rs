use model::Timestamp;

/// Go's zero time: how Alertmanager's webhook says "no end yet", and how senders say "not set".
pub const ZERO_TIME: &str = "0001-01-01T00:00:00Z";

/// An instant as Alertmanager prints it: RFC 3339, UTC, milliseconds, three digits.
///
/// Instants outside the years that can be written (-9999 to 9999) are written as the nearest that can.
pub fn format_rfc3339(at: Timestamp) -> String {
    let clamped = at.millis().clamp(
        jiff::Timestamp::MIN.as_millisecond() + 1,
        jiff::Timestamp::MAX.as_millisecond() - 1,
    );
    match jiff::Timestamp::from_millisecond(clamped) {
        Ok(time) => format!("{time:.3}"),
        Err(_) => ZERO_TIME.to_owned(),
    }
}

/// Reads an RFC 3339 time with any offset and any number of decimals, down to the millisecond (further decimals are cut
/// off towards the past). Go's zero time and the empty text are None: not set.
///
/// # Errors
/// A text that is no such time; it says what was found.
pub fn parse_rfc3339(text: &str) -> Result<Option<Timestamp>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let time: jiff::Timestamp = text.parse().map_err(|_| {
        format!(
            "{:?} is not an RFC 3339 time like 2026-01-02T15:04:05.999Z",
            cut(text)
        )
    })?;
    let millis = time.as_nanosecond().div_euclid(1_000_000) as i64;
    // 0001-01-01T00:00:00Z.
    if millis == -62_135_596_800_000 {
        return Ok(None);
    }
    Ok(Some(Timestamp::from_millis(millis)))
}

fn cut(text: &str) -> String {
    text.chars().take(60).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_what_go_writes() {
        let check = |text: &str, millis: Option<i64>| {
            assert_eq!(
                parse_rfc3339(text),
                Ok(millis.map(Timestamp::from_millis)),
                "{text}"
            );
        };
        check("", None);
        check(ZERO_TIME, None);
        check("1970-01-01T00:00:01Z", Some(1000));
        check("2023-11-14T22:13:20.123456789Z", Some(1_700_000_000_123));
        check("2023-11-14T23:13:20.1+01:00", Some(1_700_000_000_100));
        check("1969-12-31T23:59:59.9995Z", Some(-1));
        for bad in [
            "yesterday",
            "2023-11-14",
            "2023-11-14T22:13:20",
            "1700000000",
        ] {
            let error = parse_rfc3339(bad).unwrap_err();
            assert!(error.contains(bad), "{error}");
        }
    }

    #[test]
    fn writes_three_decimals() {
        let check =
            |millis, text: &str| assert_eq!(format_rfc3339(Timestamp::from_millis(millis)), text);
        check(1_700_000_000_000, "2023-11-14T22:13:20.000Z");
        check(1_700_000_000_120, "2023-11-14T22:13:20.120Z");
        check(-1, "1969-12-31T23:59:59.999Z");
        for odd in [i64::MIN, i64::MAX] {
            assert!(parse_rfc3339(&format_rfc3339(Timestamp::from_millis(odd))).is_ok());
        }
    }

    proptest! {
        #[test]
        fn both_ways(millis in -60_000_000_000_000_i64..250_000_000_000_000) {
            let at = Timestamp::from_millis(millis);
            prop_assert_eq!(parse_rfc3339(&format_rfc3339(at)), Ok(Some(at)));
        }

        #[test]
        fn random_text_does_not_panic(text in ".{0,40}") {
            let _ = parse_rfc3339(&text);
        }
    }
}
