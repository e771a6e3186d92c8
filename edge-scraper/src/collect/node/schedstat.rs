//! `/proc/schedstat`: time processes ran and waited, by CPU.

use super::page::Page;
use super::roots::{PartError, Roots, Text};

pub(super) fn read(roots: &Roots, page: &mut Page) -> Result<(), PartError> {
    // Not there on kernels built without it.
    let text = Text::read(roots.proc.join("schedstat")).map_err(PartError::or_no_data)?;
    for line in text.lines() {
        let Some((cpu, fields)) = line
            .strip_prefix("cpu")
            .and_then(|rest| rest.split_once(' '))
        else {
            continue;
        };
        let mut fields = fields.split_ascii_whitespace().skip(6);
        let running = text.number(fields.next())?;
        let waiting = text.number(fields.next())?;
        let slices = text.number(fields.next())?;
        for (name, help, value) in [
            (
                "running_seconds",
                "Number of seconds CPU spent running a process.",
                running / 1e9,
            ),
            (
                "waiting_seconds",
                "Number of seconds spent by processing waiting for this CPU.",
                waiting / 1e9,
            ),
            (
                "timeslices",
                "Number of timeslices executed by CPU.",
                slices,
            ),
        ] {
            page.counter(&format!("node_schedstat_{name}_total"), help)
                .row(&[("cpu", cpu)], value);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::fixture::check;

    #[test]
    fn the_last_three_columns() {
        check(
            super::read,
            &[(
                "proc/schedstat",
                "version 15\ntimestamp 15819019232\ncpu0 498494191 0 3533438552 2553969831 0 0 2045936778163039 343796328169361 4767485306\ndomain0 0 0\n",
            )],
            "node_schedstat_running_seconds_total{cpu=\"0\"} 2045936.778163039\n\
             node_schedstat_timeslices_total{cpu=\"0\"} 4767485306\n\
             node_schedstat_waiting_seconds_total{cpu=\"0\"} 343796.328169361\n",
        );
    }
}
