//! The page a node collector writes: metric families with help, type and rows, printed as classic exposition text.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Type of a family, as its `# TYPE` line names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Counter,
    Gauge,
    Untyped,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Untyped => "untyped",
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
    /// Labels as printed (`{a="b"}` or nothing) and the value.
    rows: Vec<(String, f64)>,
}

impl Page {
    pub(crate) fn counter(&mut self, name: &str, help: &str) -> &mut Family {
        self.family(name, help, Kind::Counter)
    }

    pub(crate) fn gauge(&mut self, name: &str, help: &str) -> &mut Family {
        self.family(name, help, Kind::Gauge)
    }

    pub(crate) fn untyped(&mut self, name: &str, help: &str) -> &mut Family {
        self.family(name, help, Kind::Untyped)
    }

    fn family(&mut self, name: &str, help: &str, kind: Kind) -> &mut Family {
        // `entry` would need the key as a String even for the many rows after the first.
        if !self.families.contains_key(name) {
            let family = Family {
                kind,
                help: help.to_owned(),
                rows: Vec::new(),
            };
            self.families.insert(name.to_owned(), family);
        }
        self.families.get_mut(name).expect("inserted above")
    }

    /// Prints the page: families by name, rows by their labels.
    pub(crate) fn print(mut self) -> String {
        let mut out = String::with_capacity(64 * 1024);
        for (name, family) in &mut self.families {
            if family.rows.is_empty() {
                continue;
            }
            family.rows.sort_by(|a, b| a.0.cmp(&b.0));
            out.push_str("# HELP ");
            out.push_str(name);
            out.push(' ');
            escape(&family.help, false, &mut out);
            let _ = writeln!(out, "\n# TYPE {name} {}", family.kind.as_str());
            for (labels, value) in &family.rows {
                out.push_str(name);
                out.push_str(labels);
                out.push(' ');
                number(*value, &mut out);
                out.push('\n');
            }
        }
        out
    }
}

impl Family {
    /// Adds the row without labels.
    pub(crate) fn value(&mut self, value: f64) {
        self.rows.push((String::new(), value));
    }

    /// Adds a row with labels. Two rows of one family must differ in their labels.
    pub(crate) fn row(&mut self, labels: &[(&str, &str)], value: f64) {
        let mut text = String::with_capacity(16 + labels.len() * 24);
        for (index, (name, value)) in labels.iter().enumerate() {
            text.push(if index == 0 { '{' } else { ',' });
            text.push_str(name);
            text.push_str("=\"");
            escape(value, true, &mut text);
            text.push('"');
        }
        text.push('}');
        self.rows.push((text, value));
    }
}

fn escape(text: &str, quotes: bool, out: &mut String) {
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '"' if quotes => out.push_str("\\\""),
            c => out.push(c),
        }
    }
}

fn number(value: f64, out: &mut String) {
    let _ = if value.is_nan() {
        out.write_str("NaN")
    } else if value.is_infinite() {
        out.write_str(if value > 0.0 { "+Inf" } else { "-Inf" })
    } else if value != 0.0 && !(1e-6..1e21).contains(&value.abs()) {
        write!(out, "{value:e}")
    } else {
        write!(out, "{value}")
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_families_by_name_and_rows_by_labels() {
        let mut page = Page::default();
        page.gauge("b", "two\nlines").row(&[("x", "2\"\\")], 0.5);
        page.gauge("b", "").row(&[("x", "1"), ("y", "")], 1e300);
        page.counter("a_total", "first").value(f64::INFINITY);
        page.gauge("empty", "no rows, no lines");
        assert_eq!(
            page.print(),
            "# HELP a_total first\n# TYPE a_total counter\na_total +Inf\n\
             # HELP b two\\nlines\n# TYPE b gauge\nb{x=\"1\",y=\"\"} 1e300\nb{x=\"2\\\"\\\\\"} 0.5\n"
        );
    }
}
