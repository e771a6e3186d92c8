//! From OTLP's metric and attribute names to Prometheus's metric and label names.

use super::units::{clean_up, suffixes};
use super::{Settings, Strategy};

/// What kind a metric is, as far as its name tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NameKind {
    /// Ends in `_total`.
    MonotonicSum,
    /// Ends in `_ratio` when it has unit 1.
    Gauge,
    Other,
}

/// The name of a metric, without what the series of histograms and summaries add.
///
/// # Errors
/// A name of which nothing is left.
pub(super) fn metric_name(
    name: &str,
    unit: &str,
    kind: NameKind,
    strategy: Strategy,
) -> Result<String, String> {
    let made = match strategy {
        Strategy::UnderscoreEscapingWithSuffixes => escaped_with_suffixes(name, unit, kind),
        Strategy::UnderscoreEscapingWithoutSuffixes => escaped(name),
        Strategy::NoUtf8EscapingWithSuffixes => with_suffixes(name, unit, kind),
        Strategy::NoTranslation => name.to_owned(),
    };
    if made.is_empty() {
        let why = format!("normalization for metric {name:?} resulted in empty name");
        return Err(why);
    }
    if strategy.escapes() && made != name && made.bytes().all(|byte| byte == b'_') {
        let why = format!("normalization for metric {name:?} resulted in invalid name {made:?}");
        return Err(why);
    }
    Ok(made)
}

/// Words with one underscore between them; words that the suffixes repeat stand only at the end.
fn escaped_with_suffixes(name: &str, unit: &str, kind: NameKind) -> String {
    let is_part = |char: char| char.is_ascii_alphanumeric() || char == ':';
    let words = name.split(|char| !is_part(char));
    let mut words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
    let (main, per) = suffixes(unit);
    let (mut main, per) = (clean_up(&main), clean_up(&per));
    let mut per = match per.as_str() {
        "per_" => "",
        per => per.strip_suffix('_').unwrap_or(per),
    };
    if words.contains(&main.as_str()) {
        main.clear();
    }
    if words.contains(&per) {
        per = "";
    }
    let mut main = main.as_str();
    if !per.is_empty() {
        main = main.strip_suffix('_').unwrap_or(main);
    }
    words.extend([main, per].into_iter().filter(|word| !word.is_empty()));
    let last = match kind {
        NameKind::MonotonicSum => Some("total"),
        NameKind::Gauge if unit == "1" => Some("ratio"),
        _ => None,
    };
    if let Some(last) = last {
        words.retain(|word| *word != last);
        words.push(last);
    }
    no_digit_first(words.join("_"))
}

/// Runs of what a name cannot hold become one underscore; underscores of its own stay.
fn escaped(name: &str) -> String {
    let is_part = |char: char| char.is_ascii_alphanumeric() || matches!(char, ':' | '_');
    let words = name.split(|char| !is_part(char));
    let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
    no_digit_first(words.join("_"))
}

fn no_digit_first(name: String) -> String {
    match name.starts_with(|char: char| char.is_ascii_digit()) {
        true => format!("_{name}"),
        false => name,
    }
}

/// The name as it is, and at its end the unit, `per` what, and `_total` or `_ratio`, none of them twice.
fn with_suffixes(name: &str, unit: &str, kind: NameKind) -> String {
    let (main, per) = suffixes(unit);
    let last = match kind {
        NameKind::Gauge if unit == "1" => "ratio",
        NameKind::MonotonicSum => "total",
        _ => "",
    };
    let mut made = without_suffix(name, last);
    made = without_suffix(made, &per);
    let mut made = made.to_owned();
    if !main.is_empty() && !made.ends_with(&main) {
        made = format!("{made}_{main}");
    }
    for suffix in [per.as_str(), last] {
        if !suffix.is_empty() {
            made = format!("{made}_{suffix}");
        }
    }
    made
}

/// Without the suffix and the character before it, if something is left then.
fn without_suffix<'a>(name: &'a str, suffix: &str) -> &'a str {
    let cut = || {
        let mut rest = name.strip_suffix(suffix)?.chars();
        rest.next_back()?;
        Some(rest.as_str())
    };
    match suffix.is_empty() {
        true => name,
        false => cut().filter(|rest| !rest.is_empty()).unwrap_or(name),
    }
}

/// The label name of an attribute.
///
/// # Errors
/// A name of which nothing is left.
pub(super) fn label_name(key: &str, settings: &Settings) -> Result<String, String> {
    if key.is_empty() {
        return Err("label name is empty".to_owned());
    }
    let only_underscores = |name: &str| name.bytes().all(|byte| byte == b'_');
    if !settings.strategy.escapes() {
        return match only_underscores(key) {
            true => Err(format!("label name {key:?} contains only underscores")),
            false => Ok(key.to_owned()),
        };
    }
    let mut name = match settings.preserve_multiple_underscores {
        true => sanitized(key, true),
        // Names like `__this__` are reserved, and stay so.
        false => match reserved(key) {
            Some(inner) => format!("__{}__", sanitized(inner, false)),
            None => sanitized(key, false),
        },
    };
    if name.starts_with(|char: char| char.is_ascii_digit()) {
        name.insert_str(0, "key_");
    } else if settings.underscore_sanitization && name.starts_with('_') && !name.starts_with("__") {
        name.insert_str(0, "key");
    }
    match only_underscores(&name) {
        true => Err(format!(
            "normalization for label name {key:?} resulted in invalid name {name:?}"
        )),
        false => Ok(name),
    }
}

fn reserved(key: &str) -> Option<&str> {
    key.strip_prefix("__")?.strip_suffix("__")
}

fn sanitized(key: &str, keep_runs: bool) -> String {
    let mut name = String::with_capacity(key.len());
    let mut last_escaped = false;
    for char in key.chars() {
        let fine = char.is_ascii_alphanumeric();
        if fine {
            name.push(char);
        } else if keep_runs || !last_escaped {
            name.push('_');
        }
        last_escaped = !fine;
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;
    use NameKind::{Gauge, MonotonicSum, Other};

    #[test]
    fn escaped_names_end_in_unit_and_kind() {
        let check = |name: &str, unit: &str, kind, made: &str| {
            let strategy = Strategy::UnderscoreEscapingWithSuffixes;
            assert_eq!(metric_name(name, unit, kind, strategy).as_deref(), Ok(made));
        };
        check(
            "http.server.duration",
            "s",
            Other,
            "http_server_duration_seconds",
        );
        check("requests", "", MonotonicSum, "requests_total");
        check("requests.count", "1", MonotonicSum, "requests_count_total");
        check("total.requests", "", MonotonicSum, "requests_total");
        check("cpu.utilization", "1", Gauge, "cpu_utilization_ratio");
        check("ratio.of.cpu", "1", Gauge, "of_cpu_ratio");
        check("cpu.utilization", "1", Other, "cpu_utilization");
        check("memory.usage", "By", Gauge, "memory_usage_bytes");
        check("memory_bytes_used", "By", Gauge, "memory_bytes_used");
        check("io", "By/s", MonotonicSum, "io_bytes_per_second_total");
        check("speed", "m/s", Gauge, "speed_meters_per_second");
        check("queue", "{items}", Gauge, "queue");
        check("a__b--c", "", Other, "a_b_c");
        check("_leading", "", Other, "leading");
        check("3d.renders", "", MonotonicSum, "_3d_renders_total");
        check("job:up:sum", "", Other, "job:up:sum");
        check("température", "Cel", Gauge, "temp_rature_celsius");
        check("x", "°F", Gauge, "x_F");
        check("x", "F°", Gauge, "x_F_");
        check("x", "F°/s", Gauge, "x_F_per_second");
        check("x", "a/°", Gauge, "x_a");
    }

    #[test]
    fn names_without_suffixes() {
        let check = |name: &str, made: &str| {
            let strategy = Strategy::UnderscoreEscapingWithoutSuffixes;
            assert_eq!(
                metric_name(name, "s", MonotonicSum, strategy).as_deref(),
                Ok(made)
            );
            let strategy = Strategy::NoTranslation;
            assert_eq!(
                metric_name(name, "s", MonotonicSum, strategy).as_deref(),
                Ok(name)
            );
        };
        check("http.server.duration", "http_server_duration");
        check("a__b..c_", "a__b_c_");
        check("_x", "_x");
        check("0x", "_0x");
    }

    #[test]
    fn names_that_keep_their_characters() {
        let check = |name: &str, unit: &str, kind, made: &str| {
            let strategy = Strategy::NoUtf8EscapingWithSuffixes;
            assert_eq!(metric_name(name, unit, kind, strategy).as_deref(), Ok(made));
        };
        check(
            "http.server.duration",
            "s",
            Other,
            "http.server.duration_seconds",
        );
        check("requests.total", "", MonotonicSum, "requests_total");
        check(
            "io.bytes",
            "By/s",
            MonotonicSum,
            "io.bytes_per_second_total",
        );
        check(
            "a.per_second.total",
            "By/s",
            MonotonicSum,
            "a_bytes_per_second_total",
        );
        check("cpu.ratio", "1", Gauge, "cpu_ratio");
        check("total", "", MonotonicSum, "total_total");
        check("世total", "", MonotonicSum, "世total_total");
        check("x世total", "", MonotonicSum, "x_total");
        check("température", "Cel", Gauge, "température_celsius");
    }

    #[test]
    fn names_of_which_nothing_is_left() {
        let check = |name: &str, strategy, why: &str| {
            assert_eq!(metric_name(name, "", Other, strategy), Err(why.to_owned()));
        };
        let escaping = Strategy::UnderscoreEscapingWithSuffixes;
        check(
            "",
            escaping,
            "normalization for metric \"\" resulted in empty name",
        );
        check(
            "...",
            escaping,
            "normalization for metric \"...\" resulted in empty name",
        );
        let plain = Strategy::UnderscoreEscapingWithoutSuffixes;
        let invalid = "normalization for metric \"_._\" resulted in invalid name \"___\"";
        check("_._", plain, invalid);
        check(
            "",
            Strategy::NoTranslation,
            "normalization for metric \"\" resulted in empty name",
        );
    }

    #[test]
    fn label_names() {
        let default = Settings::default();
        let check = |settings: &Settings, key: &str, name: &str| {
            assert_eq!(label_name(key, settings).as_deref(), Ok(name));
        };
        check(&default, "http.method", "http_method");
        check(&default, "a..b", "a__b");
        check(&default, "1st", "key_1st");
        check(&default, "_x", "key_x");
        check(&default, ".x", "key_x");
        check(&default, "__x", "__x");
        check(&default, "héllo", "h_llo");
        let spec = Settings {
            preserve_multiple_underscores: false,
            underscore_sanitization: false,
            ..Settings::default()
        };
        check(&spec, "a..b", "a_b");
        check(&spec, "_x", "_x");
        check(&spec, "__a..b__", "__a_b__");
        check(&spec, "__x", "_x");
        let utf8 = Settings {
            strategy: Strategy::NoTranslation,
            ..Settings::default()
        };
        check(&utf8, "http.method", "http.method");
        assert!(label_name("__", &utf8).is_err());
        assert!(label_name("", &default).is_err());
        assert!(label_name("..", &default).is_err());
    }
}
