//! Numbers as people read them, in columns.

use crate::measured::Unit;

/// A table whose first column stands left and whose others stand right.
#[derive(Debug, Default)]
pub(crate) struct Table(Vec<Vec<String>>);

impl Table {
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.0.push(cells.into_iter().collect());
    }

    /// One line a row, each with its end.
    pub(crate) fn text(&self) -> String {
        let columns = self.0.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = self.0.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut text = String::new();
        for row in &self.0 {
            let mut line = String::new();
            for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
                if column == 0 {
                    line.push_str(&format!("{cell:<width$}"));
                } else {
                    line.push_str(&format!("  {cell:>width$}"));
                }
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

/// A number with its unit, three digits or so.
pub(crate) fn show(number: f64, unit: Unit) -> String {
    match unit {
        Unit::Rate | Unit::Count => scaled(number, 1000.0, ["", " k", " M", " G"]),
        Unit::Bytes => scaled(number, 1024.0, [" B", " KiB", " MiB", " GiB"]),
        Unit::Millis => format!("{} ms", digits(number)),
        Unit::Seconds => format!("{} s", digits(number)),
        Unit::BytesASample => format!("{number:.3} B"),
        Unit::Percent => format!("{} %", digits(number)),
        Unit::Mark => if number == 0.0 { "" } else { "yes" }.to_owned(),
    }
}

fn scaled(number: f64, base: f64, suffixes: [&str; 4]) -> String {
    let mut number = number;
    let mut suffixes = suffixes.into_iter().peekable();
    // 999.9 k would be shown as 1000 k.
    while number.abs() >= base * 0.9995 && suffixes.len() > 1 {
        number /= base;
        suffixes.next();
    }
    let suffix = suffixes.next().unwrap_or("");
    format!("{}{suffix}", digits(number))
}

fn digits(number: f64) -> String {
    match number.abs() {
        size if size == size.trunc() && size < 1000.0 => format!("{number:.0}"),
        size if size < 10.0 => format!("{number:.2}"),
        size if size < 100.0 => format!("{number:.1}"),
        _ => format!("{number:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(number: f64, unit: Unit, expected: &str) {
        assert_eq!(show(number, unit), expected);
    }

    #[test]
    fn numbers_have_units() {
        check(3_456_000.0, Unit::Rate, "3.46 M");
        check(0.0, Unit::Count, "0");
        check(512.0, Unit::Count, "512");
        check(999_900.0, Unit::Rate, "1.00 M");
        check(104_857_600.0, Unit::Bytes, "100 MiB");
        check(2.345, Unit::Millis, "2.35 ms");
        check(0.5678, Unit::BytesASample, "0.568 B");
        check(1.0, Unit::Mark, "yes");
        check(0.0, Unit::Mark, "");
    }

    #[test]
    fn columns_line_up() {
        let mut table = Table::default();
        table.row(["", "hub", "VictoriaMetrics"].map(str::to_owned));
        table.row(["ack: p99", "2 ms", "31 ms"].map(str::to_owned));
        assert_eq!(
            table.text(),
            "           hub  VictoriaMetrics\nack: p99  2 ms            31 ms\n"
        );
    }
}
