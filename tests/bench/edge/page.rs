//! A target's page in the classic text format, as node_exporter writes it: the same lines every time, only the values differ.
//!
//! What comes before each value is rendered once. A scrape copies it and writes the values, which costs a tenth of a millisecond for
//! 1,000 series: the targets share the machine with what is measured.

use std::io::Write;

use crate::data::{Moving, Random, Scrape, exposed};

/// One target and its series, ready to be scraped again and again.
pub(super) struct TargetPage {
    /// In the order in which they move.
    series: Vec<Moving>,
    random: Random,
    /// In the order of the page.
    lines: Vec<Line>,
    values: Vec<f64>,
}

struct Line {
    /// From the last value's end to this value: comments, name, labels, a space.
    before: String,
    /// Whose value stands there.
    series: usize,
}

impl TargetPage {
    pub(super) fn new(number: u64, series: usize) -> Self {
        let (entries, values, random) = exposed(number, series);
        // A family's series stand together, in the order in which families first appear.
        let mut families: Vec<(String, Vec<usize>)> = Vec::new();
        let mut places = std::collections::HashMap::new();
        for (index, (_, entry)) in entries.iter().enumerate() {
            let family = family(&entry.name);
            let place = *places.entry(family.to_owned()).or_insert(families.len());
            if place == families.len() {
                families.push((family.to_owned(), Vec::new()));
            }
            families[place].1.push(index);
        }
        let mut lines = Vec::new();
        for (family, members) in families {
            let mut before = format!(
                "# HELP {family} One of the things that {family} says about its machine.\n# TYPE {family} {}\n",
                kind(&family, &entries[members[0]].1.name)
            );
            for index in members {
                let (block, entry) = &entries[index];
                before.push_str(&entry.name);
                let mut labels: Vec<String> = entry
                    .labels
                    .iter()
                    .map(|(name, value)| format!("{name}=\"{value}\""))
                    .collect();
                if *block > 0 {
                    labels.push(format!("part=\"{block}\""));
                }
                if !labels.is_empty() {
                    before.push_str(&format!("{{{}}}", labels.join(",")));
                }
                before.push(' ');
                lines.push(Line {
                    before: std::mem::take(&mut before),
                    series: index,
                });
            }
        }
        Self {
            values: vec![0.0; values.len()],
            series: values,
            random,
            lines,
        }
    }

    /// The next page: what the target shows at `at`, milliseconds since the epoch.
    pub(super) fn next(&mut self, at: i64, page: &mut Vec<u8>) {
        let mut scrape = Scrape {
            random: &mut self.random,
            at,
            observations: 0,
        };
        for (value, series) in self.values.iter_mut().zip(&mut self.series) {
            *value = series.next(&mut scrape);
        }
        page.clear();
        for line in &self.lines {
            page.extend_from_slice(line.before.as_bytes());
            write_value(self.values[line.series], page);
            page.push(b'\n');
        }
    }
}

/// The name in `# TYPE`: a histogram's, without what stands behind it in its series' names.
fn family(name: &str) -> &str {
    let histogram = ["_bucket", "_sum", "_count"]
        .iter()
        .find_map(|end| name.strip_suffix(end));
    histogram
        .filter(|name| name.ends_with("_duration_seconds"))
        .unwrap_or(name)
}

fn kind(family: &str, first: &str) -> &'static str {
    if family != first {
        "histogram"
    } else if family.ends_with("_total") {
        "counter"
    } else {
        "gauge"
    }
}

/// As Go's client library prints it: the shortest digits that mean this number, with an exponent below 10⁻⁴ and from 10⁶ on.
fn write_value(value: f64, page: &mut Vec<u8>) {
    let begin = page.len();
    // Writing into memory cannot fail.
    let _ = write!(page, "{value:e}");
    let exponent = page[begin..]
        .iter()
        .position(|byte| *byte == b'e')
        .and_then(|at| std::str::from_utf8(&page[begin + at + 1..]).ok())
        .and_then(|digits| digits.parse::<i32>().ok())
        .unwrap_or(0);
    if (-4..6).contains(&exponent) {
        page.truncate(begin);
        let _ = write!(page, "{value}");
        return;
    }
    if let Some(at) = page[begin..].iter().position(|byte| *byte == b'e') {
        page.truncate(begin + at);
        let sign = if exponent < 0 { '-' } else { '+' };
        let _ = write!(page, "e{sign}{:02}", exponent.abs());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn check(value: f64, expected: &str) {
        let mut page = Vec::new();
        write_value(value, &mut page);
        assert_eq!(String::from_utf8_lossy(&page), expected);
    }

    #[test]
    fn values_as_go_prints_them() {
        check(0.0, "0");
        check(0.14, "0.14");
        check(999_999.5, "999999.5");
        check(1e6, "1e+06");
        check(9.223_372_036_854_776e18, "9.223372036854776e+18");
        check(1_700_000_000.123, "1.700000000123e+09");
        check(0.0001, "0.0001");
        check(0.000_012, "1.2e-05");
        check(-3.5, "-3.5");
    }

    fn series(page: &[u8]) -> Vec<String> {
        let text = std::str::from_utf8(page).expect("text");
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines
            .map(|line| line.rsplit_once(' ').expect("a value").0.to_owned())
            .collect()
    }

    #[test]
    fn a_page_has_its_series_once_and_moves() {
        let mut target = TargetPage::new(3, 1_700);
        let (mut first, mut second) = (Vec::new(), Vec::new());
        target.next(1_700_000_000_000, &mut first);
        target.next(1_700_000_005_000, &mut second);
        assert_ne!(first, second);
        let names = series(&first);
        assert_eq!(names, series(&second));
        assert_eq!(names.len(), 1_700);
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), 1_700);
        let text = String::from_utf8_lossy(&first).into_owned();
        let types: Vec<&str> = text.lines().filter(|l| l.starts_with("# TYPE")).collect();
        assert_eq!(types.iter().collect::<BTreeSet<_>>().len(), types.len());
        for kind in [" histogram", " counter", " gauge"] {
            assert!(types.iter().any(|line| line.ends_with(kind)), "no{kind}");
        }
    }
}
