//! Go's `time.Time` and `time.Duration`, as far as templates can reach them.

use std::fmt;

use jiff::civil::DateTime;

/// A time in UTC, as `toTime` gives it: whole milliseconds within 64-bit nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub(super) struct GoTime {
    nanos: i64,
}

/// A length of time in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub(super) struct GoDuration {
    pub(super) nanos: i64,
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const WEEKDAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];

impl GoTime {
    /// Seconds since the epoch. Errors as Prometheus words them.
    pub(super) fn from_seconds(seconds: f64) -> Result<Self, String> {
        if !seconds.is_finite() {
            return Err("value is NaN or Inf".to_owned());
        }
        let nanos = seconds * 1e9;
        if nanos > i64::MAX as f64 || nanos < i64::MIN as f64 {
            let shown = super::fmt::float_shortest(seconds);
            return Err(format!(
                "{shown} cannot be represented as a nanoseconds timestamp since it overflows int64"
            ));
        }
        // Prometheus goes through its own millisecond time.
        Ok(GoTime {
            nanos: (nanos as i64) / 1_000_000 * 1_000_000,
        })
    }

    fn civil(self) -> DateTime {
        let at = jiff::Timestamp::from_nanosecond(i128::from(self.nanos)).unwrap_or_default();
        jiff::tz::Offset::UTC.to_datetime(at)
    }

    pub(super) fn unix(self) -> i64 {
        self.nanos.div_euclid(1_000_000_000)
    }

    pub(super) fn unix_millis(self) -> i64 {
        self.nanos.div_euclid(1_000_000)
    }

    pub(super) fn unix_nanos(self) -> i64 {
        self.nanos
    }

    pub(super) fn add(self, by: GoDuration) -> Self {
        GoTime {
            nanos: self.nanos.saturating_add(by.nanos),
        }
    }

    pub(super) fn year(self) -> i64 {
        self.civil().year().into()
    }

    pub(super) fn month(self) -> &'static str {
        MONTHS[(self.civil().month() - 1) as usize]
    }

    pub(super) fn day(self) -> i64 {
        self.civil().day().into()
    }

    pub(super) fn hour(self) -> i64 {
        self.civil().hour().into()
    }

    pub(super) fn minute(self) -> i64 {
        self.civil().minute().into()
    }

    pub(super) fn second(self) -> i64 {
        self.civil().second().into()
    }

    pub(super) fn year_day(self) -> i64 {
        self.civil().date().day_of_year().into()
    }

    pub(super) fn weekday(self) -> &'static str {
        WEEKDAYS[self.civil().weekday().to_sunday_zero_offset() as usize]
    }

    /// Go's `Format`, layouts written with the reference time `Mon Jan 2 15:04:05 MST 2006`.
    pub(super) fn format(self, layout: &str) -> String {
        let t = self.civil();
        let nanos = self.nanos.rem_euclid(1_000_000_000);
        let mut out = String::with_capacity(layout.len() + 10);
        let mut rest = layout;
        while let Some(first) = rest.chars().next() {
            let Some((token, shown)) = piece(rest, self, t, nanos, out.as_str()) else {
                out.push(first);
                rest = &rest[first.len_utf8()..];
                continue;
            };
            out.push_str(&shown);
            rest = &rest[token..];
        }
        out
    }
}

/// The layout element that `rest` begins with: its length and what it shows.
fn piece(
    rest: &str,
    time: GoTime,
    t: DateTime,
    nanos: i64,
    before: &str,
) -> Option<(usize, String)> {
    let hour12 = match t.hour() % 12 {
        0 => 12,
        h => h,
    };
    let half = if t.hour() < 12 { "AM" } else { "PM" };
    let next_lower = |skip: usize| rest[skip..].starts_with(|c: char| c.is_ascii_lowercase());
    let known: &[(&str, Show)] = &[
        ("January", |p| p.month.to_owned()),
        ("Jan", |p| p.month[..3].to_owned()),
        ("Monday", |p| p.weekday.to_owned()),
        ("Mon", |p| p.weekday[..3].to_owned()),
        ("MST", |_| "UTC".to_owned()),
        ("2006", |p| format!("{:04}", p.t.year())),
        ("002", |p| format!("{:03}", p.t.date().day_of_year())),
        ("01", |p| format!("{:02}", p.t.month())),
        ("02", |p| format!("{:02}", p.t.day())),
        ("03", |p| format!("{:02}", p.hour12)),
        ("04", |p| format!("{:02}", p.t.minute())),
        ("05", |p| format!("{:02}", p.t.second())),
        ("06", |p| format!("{:02}", p.t.year().rem_euclid(100))),
        ("15", |p| format!("{:02}", p.t.hour())),
        ("PM", |p| p.half.to_owned()),
        ("pm", |p| p.half.to_ascii_lowercase()),
        ("-07:00:00", |_| "+00:00:00".to_owned()),
        ("-07:00", |_| "+00:00".to_owned()),
        ("-070000", |_| "+000000".to_owned()),
        ("-0700", |_| "+0000".to_owned()),
        ("-07", |_| "+00".to_owned()),
        ("Z070000", |_| "Z".to_owned()),
        ("Z07:00:00", |_| "Z".to_owned()),
        ("Z07:00", |_| "Z".to_owned()),
        ("Z0700", |_| "Z".to_owned()),
        ("Z07", |_| "Z".to_owned()),
        ("__2", |p| format!("{:3}", p.t.date().day_of_year())),
        ("_2", |p| format!("{:2}", p.t.day())),
        ("1", |p| p.t.month().to_string()),
        ("2", |p| p.t.day().to_string()),
        ("3", |p| p.hour12.to_string()),
        ("4", |p| p.t.minute().to_string()),
        ("5", |p| p.t.second().to_string()),
    ];
    let parts = Parts {
        t,
        month: time.month(),
        weekday: time.weekday(),
        hour12,
        half,
    };
    if rest.starts_with("_2006") {
        // An underscore before a year is only an underscore.
        return Some((5, format!("_{:04}", t.year())));
    }
    for (token, show) in known {
        if rest.starts_with(token) {
            // `Janet` and `Month` are words, not layouts.
            if matches!(*token, "Jan" | "Mon") && next_lower(3) {
                continue;
            }
            return Some((token.len(), show(&parts)));
        }
    }
    fraction(rest, nanos, before)
}

type Show = fn(&Parts) -> String;

struct Parts {
    t: DateTime,
    month: &'static str,
    weekday: &'static str,
    hour12: i8,
    half: &'static str,
}

/// `.000` or `,999` after the seconds: fixed or trimmed parts of a second.
fn fraction(rest: &str, nanos: i64, before: &str) -> Option<(usize, String)> {
    let point = rest.chars().next().filter(|c| matches!(c, '.' | ','))?;
    let kind = rest[1..]
        .chars()
        .next()
        .filter(|c| matches!(c, '0' | '9'))?;
    let digits = rest[1..].chars().take_while(|c| *c == kind).count();
    let ends_number = rest[1 + digits..].starts_with(|c: char| c.is_ascii_digit());
    if ends_number || (kind == '9' && before.is_empty()) {
        return None;
    }
    let all = format!("{nanos:09}");
    let cut = &all[..digits.min(9)];
    let shown = if kind == '0' {
        cut
    } else {
        cut.trim_end_matches('0')
    };
    let text = if shown.is_empty() {
        String::new()
    } else {
        format!("{point}{shown}")
    };
    Some((1 + digits, text))
}

impl fmt::Display for GoTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.format("2006-01-02 15:04:05.999999999 -0700 MST"))
    }
}

impl GoDuration {
    /// From seconds, out-of-range values held at the ends.
    pub(super) fn from_seconds(seconds: f64) -> Self {
        GoDuration {
            nanos: (seconds * 1e9) as i64,
        }
    }

    pub(super) fn seconds(self) -> f64 {
        (self.nanos / 1_000_000_000) as f64 + (self.nanos % 1_000_000_000) as f64 / 1e9
    }

    /// To a multiple of `unit`, toward zero.
    pub(super) fn truncate(self, unit: GoDuration) -> Self {
        if unit.nanos <= 0 {
            return self;
        }
        GoDuration {
            nanos: self.nanos - self.nanos % unit.nanos,
        }
    }

    /// To the nearest multiple of `unit`, halves away from zero.
    pub(super) fn round(self, unit: GoDuration) -> Self {
        if unit.nanos <= 0 {
            return self;
        }
        let rest = self.nanos % unit.nanos;
        let down = self.nanos - rest;
        let up = rest.unsigned_abs() >= unit.nanos.unsigned_abs().div_ceil(2);
        let by = if !up { 0 } else { unit.nanos * rest.signum() };
        GoDuration {
            nanos: down.saturating_add(by),
        }
    }
}

impl fmt::Display for GoDuration {
    /// Go's `Duration.String`: `1h2m3.5s`, `1.5ms`, `0s`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.nanos < 0 { "-" } else { "" };
        let n = self.nanos.unsigned_abs();
        let decimal = |unit: u64, digits: usize| {
            let text = format!("{}.{:0digits$}", n / unit, n % unit);
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        };
        match n {
            0 => f.write_str("0s"),
            1..1_000 => write!(f, "{sign}{n}ns"),
            1_000..1_000_000 => write!(f, "{sign}{}µs", decimal(1_000, 3)),
            1_000_000..1_000_000_000 => write!(f, "{sign}{}ms", decimal(1_000_000, 6)),
            _ => {
                let (hours, minutes) = (n / 3_600_000_000_000, n / 60_000_000_000 % 60);
                let rest = n % 60_000_000_000;
                let seconds = format!("{}.{:09}", rest / 1_000_000_000, rest % 1_000_000_000);
                let seconds = seconds.trim_end_matches('0').trim_end_matches('.');
                f.write_str(sign)?;
                if hours > 0 {
                    write!(f, "{hours}h")?;
                }
                if hours > 0 || minutes > 0 {
                    write!(f, "{minutes}m")?;
                }
                write!(f, "{seconds}s")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts() {
        let check = |layout: &str, want: &str| {
            let t = GoTime::from_seconds(1_435_065_584.128).unwrap();
            assert_eq!(t.format(layout), want, "{layout}");
        };
        check(
            "2006-01-02 15:04:05.999999999 -0700 MST",
            "2015-06-23 13:19:44.128 +0000 UTC",
        );
        check(
            "Mon, 02 Jan 2006 15:04:05 GMT",
            "Tue, 23 Jun 2015 13:19:44 GMT",
        );
        check("2006-01-02T15:04:05Z07:00", "2015-06-23T13:19:44Z");
        check(
            "2006-01-02T15:04:05.000000Z07:00",
            "2015-06-23T13:19:44.128000Z",
        );
        check("3:04PM", "1:19PM");
        check("Monday _2 January, day 002", "Tuesday 23 June, day 174");
        check("15h04 Month", "13h19 Month");
    }

    #[test]
    fn durations() {
        let check = |seconds: f64, want: &str| {
            assert_eq!(GoDuration::from_seconds(seconds).to_string(), want);
        };
        check(0.0, "0s");
        check(1.5e-9, "1ns");
        check(1.5e-6, "1.5µs");
        check(0.25, "250ms");
        check(1.0, "1s");
        check(62.5, "1m2.5s");
        check(-3_600.0, "-1h0m0s");
    }

    #[test]
    fn out_of_range_times_are_errors() {
        assert_eq!(
            GoTime::from_seconds(i64::MIN as f64).unwrap_err(),
            "-9.223372036854776e+18 cannot be represented as a nanoseconds timestamp since it overflows int64"
        );
        assert!(GoTime::from_seconds(f64::NAN).is_err());
    }
}
