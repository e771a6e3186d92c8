//! The page a node collector writes: metric families with help, type and rows, printed as exposition text.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use wire::exposition::Format;

/// Type of a family, as its `# TYPE` line names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Counter,
    Gauge,
    Untyped,
    /// Only text files have these two.
    Histogram,
    Summary,
}

impl Kind {
    fn name(self, format: Format) -> &'static str {
        match (self, format) {
            (Kind::Counter, _) => "counter",
            (Kind::Gauge, _) => "gauge",
            (Kind::Histogram, _) => "histogram",
            (Kind::Summary, _) => "summary",
            (Kind::Untyped, Format::Classic) => "untyped",
            (Kind::Untyped, Format::OpenMetrics) => "unknown",
        }
    }
}

/// Families by name; one name has one type and one help, those of its first row.
#[derive(Debug, Default)]
pub(crate) struct Page {
    families: BTreeMap<String, Family>,
}

#[derive(Debug)]
pub(crate) struct Family {
    kind: Kind,
    help: String,
    /// The labels of all rows as printed (`{a="b"}` or nothing), one after the other: a string for each would be most of
    /// what a page costs.
    labels: String,
    rows: Vec<Row>,
}

#[derive(Debug, Clone, Copy)]
struct Row {
    /// What follows the family's name, `_bucket` for example.
    suffix: &'static str,
    /// Where its labels are.
    from: u32,
    to: u32,
    value: f64,
}

impl Page {
    pub(crate) fn counter(&mut self, name: &str, help: &str) -> &mut Family {
        self.of(Kind::Counter, name, help)
    }

    pub(crate) fn gauge(&mut self, name: &str, help: &str) -> &mut Family {
        self.of(Kind::Gauge, name, help)
    }

    pub(crate) fn untyped(&mut self, name: &str, help: &str) -> &mut Family {
        self.of(Kind::Untyped, name, help)
    }

    pub(crate) fn of(&mut self, kind: Kind, name: &str, help: &str) -> &mut Family {
        // `entry` would need the key as a String even for the many rows after the first.
        if !self.families.contains_key(name) {
            let family = Family {
                kind,
                help: help.to_owned(),
                labels: String::new(),
                rows: Vec::new(),
            };
            self.families.insert(name.to_owned(), family);
        }
        self.families.get_mut(name).expect("inserted above")
    }

    /// Takes the rows of another page. A family that is of another type here, and a row that is here already, would make the page one that
    /// nobody can read: they are left out, and the names of their families returned.
    #[must_use]
    pub(crate) fn absorb(&mut self, other: Page) -> Vec<String> {
        let mut left_out = Vec::new();
        for (name, family) in other.families {
            let Some(here) = self.families.get_mut(&name) else {
                self.families.insert(name, family);
                continue;
            };
            let same_kind = here.kind == family.kind;
            let mut twice = !same_kind;
            for row in family.rows.iter().filter(|_| same_kind) {
                let labels = family.labels(row);
                if here
                    .rows
                    .iter()
                    .any(|known| known.suffix == row.suffix && here.labels(known) == labels)
                {
                    twice = true;
                    continue;
                }
                here.push(row.suffix, row.value, |text| text.push_str(labels));
            }
            if twice {
                left_out.push(name);
            }
        }
        left_out
    }

    /// The page as most tests want it.
    #[cfg(test)]
    pub(crate) fn text(self) -> String {
        self.print(Format::Classic)
    }

    /// Prints the page: families by name, rows by their labels.
    pub(crate) fn print(mut self, format: Format) -> String {
        let mut out = String::with_capacity(64 * 1024);
        for (name, family) in &mut self.families {
            if family.rows.is_empty() {
                continue;
            }
            let (labels, rows) = (&family.labels, &mut family.rows);
            let of = |row: &Row| &labels[row.from as usize..row.to as usize];
            // Buckets stand in the order of their bounds.
            if !matches!(family.kind, Kind::Histogram | Kind::Summary) {
                rows.sort_unstable_by(|a, b| of(a).cmp(of(b)));
            }
            // OpenMetrics names a counter's family without the suffix that its samples then must have.
            let (base, suffix) = match (format, family.kind) {
                (Format::OpenMetrics, Kind::Counter) => {
                    (name.strip_suffix("_total").unwrap_or(name), "_total")
                }
                _ => (name.as_str(), ""),
            };
            out.push_str("# HELP ");
            out.push_str(base);
            out.push(' ');
            escape(&family.help, format == Format::OpenMetrics, &mut out);
            let _ = writeln!(out, "\n# TYPE {base} {}", family.kind.name(format));
            for row in &family.rows {
                out.push_str(base);
                out.push_str(suffix);
                out.push_str(row.suffix);
                out.push_str(family.labels(row));
                out.push(' ');
                number(row.value, &mut out);
                out.push('\n');
            }
        }
        if format == Format::OpenMetrics {
            out.push_str("# EOF\n");
        }
        out
    }
}

impl Family {
    /// Adds the row without labels.
    pub(crate) fn value(&mut self, value: f64) {
        self.push("", value, |_| ());
    }

    /// Adds a row with labels. Two rows of one family must differ in their labels.
    pub(crate) fn row(&mut self, labels: &[(&str, &str)], value: f64) {
        self.suffixed("", labels, value);
    }

    /// The same of a metric whose name is the family's and a suffix.
    pub(crate) fn suffixed(&mut self, suffix: &'static str, labels: &[(&str, &str)], value: f64) {
        self.push(suffix, value, |text| {
            if labels.is_empty() {
                return;
            }
            for (index, (name, value)) in labels.iter().enumerate() {
                text.push(if index == 0 { '{' } else { ',' });
                text.push_str(name);
                text.push_str("=\"");
                escape(value, true, text);
                text.push('"');
            }
            text.push('}');
        });
    }

    fn push(&mut self, suffix: &'static str, value: f64, labels: impl FnOnce(&mut String)) {
        let from = self.labels.len() as u32;
        labels(&mut self.labels);
        let to = self.labels.len() as u32;
        self.rows.push(Row {
            suffix,
            from,
            to,
            value,
        });
    }

    fn labels(&self, row: &Row) -> &str {
        &self.labels[row.from as usize..row.to as usize]
    }
}

fn escape(text: &str, quotes: bool, out: &mut String) {
    if !text.contains(['\\', '\n', '"']) {
        out.push_str(text);
        return;
    }
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '"' if quotes => out.push_str("\\\""),
            c => out.push(c),
        }
    }
}

/// Up to here every whole number is one that a float has, and printing it as a whole number is several times as fast.
const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;

fn number(value: f64, out: &mut String) {
    let _ = if value.is_nan() {
        out.write_str("NaN")
    } else if value.is_infinite() {
        out.write_str(if value > 0.0 { "+Inf" } else { "-Inf" })
    } else if value.fract() == 0.0
        && value.abs() <= WHOLE_MAX
        && !(value == 0.0 && value.is_sign_negative())
    {
        write!(out, "{}", value as i64)
    } else if value != 0.0 && !(1e-6..1e21).contains(&value.abs()) {
        write!(out, "{value:e}")
    } else {
        write!(out, "{value}")
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page() -> Page {
        let mut page = Page::default();
        page.gauge("b", "two\nlines").row(&[("x", "2\"\\")], 0.5);
        page.gauge("b", "").row(&[("x", "1"), ("y", "")], 1e300);
        page.counter("a_total", "the \"first\"")
            .value(f64::INFINITY);
        page.gauge("empty", "no rows, no lines");
        page.untyped("c", "").value(-0.0);
        page
    }

    #[test]
    fn prints_families_by_name_and_rows_by_labels() {
        assert_eq!(
            page().print(Format::Classic),
            "# HELP a_total the \"first\"\n# TYPE a_total counter\na_total +Inf\n\
             # HELP b two\\nlines\n# TYPE b gauge\nb{x=\"1\",y=\"\"} 1e300\nb{x=\"2\\\"\\\\\"} 0.5\n\
             # HELP c \n# TYPE c untyped\nc -0\n"
        );
        assert_eq!(
            page().print(Format::OpenMetrics),
            "# HELP a the \\\"first\\\"\n# TYPE a counter\na_total +Inf\n\
             # HELP b two\\nlines\n# TYPE b gauge\nb{x=\"1\",y=\"\"} 1e300\nb{x=\"2\\\"\\\\\"} 0.5\n\
             # HELP c \n# TYPE c unknown\nc -0\n# EOF\n"
        );
    }

    #[test]
    fn a_page_takes_the_rows_of_another() {
        let mut all = page();
        let mut other = Page::default();
        other.gauge("b", "another").row(&[("x", "0")], 7.0);
        other.gauge("d", "").value(1.0);
        assert!(all.absorb(other).is_empty());
        let mut clash = Page::default();
        clash.gauge("b", "").row(&[("x", "0")], 8.0);
        clash.gauge("b", "").row(&[("x", "3")], 9.0);
        clash.counter("c", "").value(9.0);
        assert_eq!(all.absorb(clash), ["b", "c"]);
        let text = all.print(Format::Classic);
        assert!(
            text.contains("# TYPE b gauge\nb{x=\"0\"} 7\nb{x=\"1\""),
            "{text}"
        );
        assert!(
            text.contains("b{x=\"3\"} 9\n") && text.contains("\nc -0\n"),
            "{text}"
        );
        assert!(text.ends_with("d 1\n"));
    }

    #[test]
    fn numbers_as_a_float_reads_them() {
        for value in [
            0.0,
            -1.0,
            9_007_199_254_740_991.0,
            9_007_199_254_740_994.0,
            1e21,
            -1e-9,
            0.1,
            123.456,
            f64::MAX,
        ] {
            let mut text = String::new();
            number(value, &mut text);
            assert_eq!(text.parse::<f64>().unwrap(), value, "{text}");
        }
    }
}
