//! The calendar, in UTC and as far as 64-bit seconds reach.

/// A day and the time of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Civil {
    pub(crate) year: i64,
    /// 1 to 12.
    pub(crate) month: u32,
    /// 1 to 31.
    pub(crate) day: u32,
    /// 1 to 366.
    pub(crate) day_of_year: u32,
    /// 0 is Sunday.
    pub(crate) weekday: u32,
    pub(crate) hour: u32,
    pub(crate) minute: u32,
    pub(crate) second: u32,
}

const DAY_SECONDS: i128 = 86_400;
/// Where 64 bits of seconds begin in Go: the first of January of the year -292277022399.
const FIRST_SECOND: i128 = -9_223_372_028_715_321_600;

impl Civil {
    /// From seconds since the epoch. Proleptic Gregorian calendar; times before [`FIRST_SECOND`] are as long after the last
    /// one, as in Go's package `time`: so NaN, the least number once it is whole, has Prometheus's year.
    pub(crate) fn from_unix(seconds: i64) -> Self {
        let mut seconds = i128::from(seconds);
        if seconds < FIRST_SECOND {
            seconds += 1 << 64;
        }
        // At most 2^65 seconds.
        let days = seconds.div_euclid(DAY_SECONDS) as i64;
        let rest = seconds.rem_euclid(DAY_SECONDS) as u32;
        // Years counted from March, so that the leap day comes last; 400 years are 146,097 days.
        let shifted = days + 719_468;
        let era = shifted.div_euclid(146_097);
        let day_of_era = shifted.rem_euclid(146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_from_march = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_from_march + 2) / 153;
        let day = (day_from_march - (153 * month_from_march + 2) / 5 + 1) as u32;
        let month = if month_from_march < 10 {
            month_from_march + 3
        } else {
            month_from_march - 9
        } as u32;
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        let before: u32 = (1..month).map(|month| days_in_month(year, month)).sum();
        Civil {
            year,
            month,
            day,
            day_of_year: before + day,
            weekday: (days + 4).rem_euclid(7) as u32,
            hour: rest / 3_600,
            minute: rest / 60 % 60,
            second: rest % 60,
        }
    }
}

/// Days of a month (1 to 12).
pub(crate) fn days_in_month(year: i64, month: u32) -> u32 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// `2006-01-02T15:04:05Z`
pub(crate) fn rfc3339(seconds: i64) -> String {
    let c = Civil::from_unix(seconds);
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z",
        c.year, c.month, c.day, c.hour, c.minute, c.second
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        let check = |seconds: i64, text: &str| assert_eq!(rfc3339(seconds), text);
        check(0, "1970-01-01T00:00:00Z");
        check(-1, "1969-12-31T23:59:59Z");
        check(951_782_400, "2000-02-29T00:00:00Z");
        check(1_136_239_445, "2006-01-02T22:04:05Z");
        check(4_107_542_400, "2100-03-01T00:00:00Z");
        let leap = Civil::from_unix(1_735_603_200);
        assert_eq!((leap.day_of_year, leap.weekday), (366, 2));
        let first = Civil::from_unix(FIRST_SECOND as i64);
        let start = (first.year, first.month, first.day, first.weekday);
        assert_eq!(start, (-292_277_022_399, 1, 1, 1));
        let wrapped = Civil::from_unix(i64::MIN);
        assert_eq!((wrapped.year, wrapped.month), (292_277_026_596, 12));
        assert_eq!(Civil::from_unix(i64::MAX).year, 292_277_026_596);
    }
}
