//! `/api/v1/status/self_metrics`: the text of the hub's own metrics as the JSON of protobuf's `MetricFamily`.

use std::collections::BTreeMap;

use model::re2::Re2;
use serde_json::{Value, json};

/// One family of the OpenMetrics text: our own, so counters end in `_total`, and there are no histograms.
#[derive(Default)]
struct Family<'t> {
    kind: &'t str,
    help: &'t str,
    samples: Vec<(BTreeMap<String, String>, f64)>,
}

/// The families whose names fit, by name.
pub(super) fn families(text: &str, pattern: &Re2) -> Value {
    let mut families: BTreeMap<&str, Family<'_>> = BTreeMap::new();
    let mut current = "";
    for line in text.lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            let mut words = comment.splitn(3, ' ');
            let (key, name, rest) = (words.next(), words.next(), words.next());
            let Some(name) = name else { continue };
            current = name;
            let family = families.entry(name).or_default();
            match key {
                Some("TYPE") => family.kind = rest.unwrap_or_default(),
                Some("HELP") => family.help = rest.unwrap_or_default(),
                _ => {}
            }
            continue;
        }
        let end = line.find(['{', ' ']).unwrap_or(line.len());
        let Some(labels_end) = labels_end(&line[end..]) else {
            continue;
        };
        let (labels, value) = line[end..].split_at(labels_end);
        let value = value.split_whitespace().next();
        if let (Some(family), Some(Ok(value))) =
            (families.get_mut(current), value.map(str::parse::<f64>))
        {
            family.samples.push((pairs(labels), value));
        }
    }
    let shown = families.iter().map(|(name, family)| {
        let name = match family.kind {
            "counter" => format!("{name}_total"),
            _ => (*name).to_owned(),
        };
        (name, family)
    });
    shown
        .filter(|(name, _)| pattern.is_match(name))
        .map(|(name, family)| family.json(&name))
        .collect()
}

impl Family<'_> {
    fn json(&self, name: &str) -> Value {
        let (kind, key) = match self.kind {
            "counter" => ("COUNTER", "counter"),
            "gauge" => ("GAUGE", "gauge"),
            "info" => ("GAUGE", "gauge"),
            _ => ("UNTYPED", "untyped"),
        };
        let metric = |(labels, value): &(BTreeMap<String, String>, f64)| {
            let labels: Vec<Value> = labels
                .iter()
                .map(|(name, value)| json!({"name": name, "value": value}))
                .collect();
            json!({"label": labels, key: {"value": value}})
        };
        let metrics: Vec<Value> = self.samples.iter().map(metric).collect();
        json!({"name": name, "help": self.help, "type": kind, "metric": metrics})
    }
}

/// Where `{…}` at the beginning ends; 0 without.
fn labels_end(text: &str) -> Option<usize> {
    if !text.starts_with('{') {
        return Some(0);
    }
    let (mut quoted, mut escaped) = (false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => quoted = !quoted,
            b'}' if !quoted => return Some(at + 1),
            _ => {}
        }
    }
    None
}

fn pairs(text: &str) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    let mut rest = text.trim_matches(['{', '}']);
    while let Some((name, after)) = rest.split_once("=\"") {
        let mut value = String::new();
        let mut chars = after.char_indices();
        let mut end = after.len();
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    end = at + 1;
                    break;
                }
                '\\' => match chars.next() {
                    Some((_, 'n')) => value.push('\n'),
                    Some((_, c)) => value.push(c),
                    None => {}
                },
                c => value.push(c),
            }
        }
        all.insert(name.trim_start_matches(',').to_owned(), value);
        rest = &after[end..];
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_of_a_text() {
        let text = "# HELP a Some.\n# TYPE a counter\na_total{x=\"1,}\",y=\"q\\\"\\n\"} 2.0\na_total{x=\"2\"} 3.5\n# TYPE b gauge\nb 1\n# EOF\n";
        let all = families(text, &Re2::anchored("a.*").unwrap());
        let expected = json!([{"name": "a_total", "help": "Some.", "type": "COUNTER", "metric": [
            {"label": [{"name": "x", "value": "1,}"}, {"name": "y", "value": "q\"\n"}], "counter": {"value": 2.0}},
            {"label": [{"name": "x", "value": "2"}], "counter": {"value": 3.5}},
        ]}]);
        assert_eq!(all, expected);
        let gauge = families(text, &Re2::anchored("b").unwrap());
        assert_eq!(gauge[0]["metric"][0]["gauge"]["value"], 1.0);
    }
}
