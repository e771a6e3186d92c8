//! `/proc/meminfo`: memory, one family per line of the file, named after it.

use super::page::Page;
use super::roots::{PartError, Roots, Text};

pub(super) fn read(roots: &Roots, page: &mut Page) -> Result<(), PartError> {
    let text = Text::read(roots.proc.join("meminfo"))?;
    for line in text.lines() {
        let mut fields = line.split_ascii_whitespace();
        let Some(label) = fields.next() else {
            continue;
        };
        let Some(key) = label.strip_suffix(':') else {
            return Err(text.malformed("a field name and a colon", line));
        };
        let mut value = text.number(fields.next())?;
        // `Active(anon)` is `Active_anon`.
        let mut name = format!("node_memory_{}", key.replace('(', "_").replace(')', ""));
        if fields.next().is_some() {
            // The only unit the kernel prints is kB, and it means KiB.
            value *= 1024.0;
            name.push_str("_bytes");
        }
        let help = format!(
            "Memory information field {}.",
            &name["node_memory_".len()..]
        );
        page.gauge(&name, &help).value(value);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::fixture::check;

    #[test]
    fn units_and_brackets() {
        check(
            super::read,
            &[(
                "proc/meminfo",
                "MemTotal:       15666184 kB\n\nActive(anon):    2068484 kB\nHugePages_Total:       3\n",
            )],
            "node_memory_Active_anon_bytes 2118127616\nnode_memory_HugePages_Total 3\nnode_memory_MemTotal_bytes 16042172416\n",
        );
        check(
            super::read,
            &[],
            "error proc/meminfo: No such file or directory (os error 2)\n",
        );
    }
}
