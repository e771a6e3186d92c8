//! Tasks that the kernel found hanging for two minutes: a disk or a network filesystem that no longer answers.
//!
//! From node_exporter 1.10 and Linux 6.13 on; older kernels have nothing to collect.

use super::page::Page;
use super::roots::{PartError, Roots, Text};

pub(super) fn read(roots: &Roots, page: &mut Page) -> Result<(), PartError> {
    let text = Text::read(roots.proc.join("sys/kernel/hung_task_detect_count"))
        .map_err(PartError::or_no_data)?;
    page.counter(
        "node_kernel_hung_tasks_total",
        "Total number of tasks that have been detected as hung since the system booted.",
    )
    .value(text.number(Some(text.trimmed()))?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::fixture::check;

    #[test]
    fn a_count() {
        check(
            super::read,
            &[("proc/sys/kernel/hung_task_detect_count", "7\n")],
            "node_kernel_hung_tasks_total 7\n",
        );
        check(
            super::read,
            &[],
            "error nothing to collect on this machine\n",
        );
    }
}
