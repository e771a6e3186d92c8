//! `/proc/interrupts`: interrupts by CPU and line. Off by default, as in node_exporter: CPUs times lines are many series.

use super::page::Page;
use super::roots::{PartError, Roots, Text};

pub(super) fn read(roots: &Roots, page: &mut Page) -> Result<(), PartError> {
    let text = Text::read(roots.proc.join("interrupts"))?;
    let mut lines = text.lines();
    let Some(head) = lines.next() else {
        return Err(text.malformed("a line with the CPUs", ""));
    };
    // As node_exporter, by column and not by name: a CPU that is offline has no column.
    let cpus = head.split_ascii_whitespace().count();
    let family = page.counter("node_interrupts_total", "Interrupt details.");
    for line in lines {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        // ERR and MIS have a single number, and say nothing of CPUs.
        if fields.len() < cpus + 2 {
            continue;
        }
        let kind = fields[0].trim_end_matches(':');
        let (info, devices) = if kind.parse::<u32>().is_ok() {
            (fields[cpus + 1].to_owned(), fields[cpus + 2..].join(" "))
        } else {
            (fields[cpus + 1..].join(" "), String::new())
        };
        for (cpu, count) in fields[1..=cpus].iter().enumerate() {
            family.row(
                &[
                    ("cpu", &cpu.to_string()),
                    ("type", kind),
                    ("info", &info),
                    ("devices", &devices),
                ],
                text.number(Some(count))?,
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::fixture::check;

    #[test]
    fn lines_with_devices_and_without() {
        check(
            super::read,
            &[(
                "proc/interrupts",
                "           CPU0       CPU1\n  4:         17          5   IO-APIC   4-edge      ttyS0\nNMI:          3          4   Non-maskable interrupts\nERR:          9\n",
            )],
            "node_interrupts_total{cpu=\"0\",type=\"4\",info=\"IO-APIC\",devices=\"4-edge ttyS0\"} 17\n\
             node_interrupts_total{cpu=\"0\",type=\"NMI\",info=\"Non-maskable interrupts\",devices=\"\"} 3\n\
             node_interrupts_total{cpu=\"1\",type=\"4\",info=\"IO-APIC\",devices=\"4-edge ttyS0\"} 5\n\
             node_interrupts_total{cpu=\"1\",type=\"NMI\",info=\"Non-maskable interrupts\",devices=\"\"} 4\n",
        );
        check(
            super::read,
            &[("proc/interrupts", "CPU0\n4: x IO-APIC\n")],
            "error proc/interrupts: expected a number, found \"x\"\n",
        );
        check(
            super::read,
            &[("proc/interrupts", "")],
            "error proc/interrupts: expected a line with the CPUs, found \"\"\n",
        );
    }
}
