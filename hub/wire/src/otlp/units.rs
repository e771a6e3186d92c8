//! Units: UCUM's short signs become the words that Prometheus's metric names end in.

/// The unit of a metric in words, as its metadata says it and as the label `__unit__` does: `By/s` is `bytes_per_second`.
/// Unless `utf8`, what a name could not hold becomes `_`.
pub(super) fn unit_words(unit: &str, utf8: bool) -> String {
    let (main, per) = suffixes(unit);
    let clean = |text: String| if utf8 { text } else { clean_up(&text) };
    let (main, per) = (clean(main), clean(per));
    let both = match (main.is_empty(), per.is_empty()) {
        (false, false) => format!("{main}_{per}"),
        (false, true) => main,
        (true, _) => per,
    };
    let both = both.strip_prefix('_').unwrap_or(&both);
    both.strip_suffix('_').unwrap_or(both).to_owned()
}

/// What is measured and `per_` what, each empty when not said. Annotations in braces say nothing.
pub(super) fn suffixes(unit: &str) -> (String, String) {
    let (main, per) = unit.split_once('/').unwrap_or((unit, ""));
    let said = |part: &str| -> Option<String> {
        let part = part.trim();
        (!part.is_empty() && !part.contains(['{', '}'])).then(|| part.to_owned())
    };
    let main = said(main).map_or_else(String::new, |main| word(&main));
    let per = said(per).map_or_else(String::new, |per| format!("per_{}", per_word(&per)));
    (main, per)
}

/// Only what a metric name may hold, no underscore twice in a row and none at the start.
pub(super) fn clean_up(unit: &str) -> String {
    let mut clean = String::with_capacity(unit.len());
    for char in unit.chars() {
        match char.is_ascii_alphanumeric() || char == ':' {
            true => clean.push(char),
            false if clean.ends_with('_') => {}
            false => clean.push('_'),
        }
    }
    clean.strip_prefix('_').unwrap_or(&clean).to_owned()
}

fn word(unit: &str) -> String {
    let word = match unit {
        "d" => "days",
        "h" => "hours",
        "min" => "minutes",
        "s" => "seconds",
        "ms" => "milliseconds",
        "us" => "microseconds",
        "ns" => "nanoseconds",
        "By" => "bytes",
        "KiBy" => "kibibytes",
        "MiBy" => "mebibytes",
        "GiBy" => "gibibytes",
        "TiBy" => "tibibytes",
        "KBy" => "kilobytes",
        "MBy" => "megabytes",
        "GBy" => "gigabytes",
        "TBy" => "terabytes",
        "m" => "meters",
        "V" => "volts",
        "A" => "amperes",
        "J" => "joules",
        "W" => "watts",
        "g" => "grams",
        "Cel" => "celsius",
        "Hz" => "hertz",
        "1" => "",
        "%" => "percent",
        other => other,
    };
    word.to_owned()
}

/// Behind the stroke: here `m` is a minute, not a meter.
fn per_word(unit: &str) -> &str {
    match unit {
        "s" => "second",
        "m" => "minute",
        "h" => "hour",
        "d" => "day",
        "w" => "week",
        "mo" => "month",
        "y" => "year",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_become_words() {
        let check = |unit: &str, words: &str| assert_eq!(unit_words(unit, false), words, "{unit}");
        check("", "");
        check("s", "seconds");
        check("By/s", "bytes_per_second");
        check("m/m", "meters_per_minute");
        check("{requests}/s", "per_second");
        check("{request}", "");
        check("1", "");
        check("%", "percent");
        check("/s", "per_second");
        check(" By / s ", "bytes_per_second");
        check("req/h", "req_per_hour");
        check("By/{op}", "bytes");
        check("a//b", "a_per_b");
        check("°F", "F");
        assert_eq!(unit_words("°F", true), "°F");
    }
}
