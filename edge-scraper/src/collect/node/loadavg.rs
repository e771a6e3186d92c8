//! `/proc/loadavg`: load averages.

use super::page::Page;
use super::roots::{PartError, Roots, Text};

pub(super) fn read(roots: &Roots, page: &mut Page) -> Result<(), PartError> {
    let text = Text::read(roots.proc.join("loadavg"))?;
    let mut fields = text.trimmed().split_ascii_whitespace();
    for minutes in ["1", "5", "15"] {
        let value = text.number(fields.next())?;
        page.gauge(
            &format!("node_load{minutes}"),
            &format!("{minutes}m load average."),
        )
        .value(value);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::fixture::check;

    #[test]
    fn three_averages() {
        check(
            super::read,
            &[("proc/loadavg", "0.21 0.37 2.00 1/719 19737\n")],
            "node_load1 0.21\nnode_load15 2\nnode_load5 0.37\n",
        );
        check(
            super::read,
            &[("proc/loadavg", "0.21 x\n")],
            "node_load1 0.21\nerror proc/loadavg: expected a number, found \"x\"\n",
        );
    }
}
