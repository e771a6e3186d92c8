//! `/proc/vmstat`: paging, swapping and out-of-memory kills.

use super::options::Filter;
use super::page::Page;
use super::roots::{PartError, Roots, Text};

pub(super) fn read(shown: &Filter, roots: &Roots, page: &mut Page) -> Result<(), PartError> {
    let text = Text::read(roots.proc.join("vmstat"))?;
    for line in text.lines() {
        let mut fields = line.split_ascii_whitespace();
        let Some(name) = fields.next().filter(|name| shown.takes(name)) else {
            continue;
        };
        let value = text.number(fields.next())?;
        page.untyped(
            &format!("node_vmstat_{name}"),
            &format!("/proc/vmstat information field {name}."),
        )
        .value(value);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::fixture::check;
    use super::super::options::Patterns;

    #[test]
    fn the_fields_exported_by_default() {
        check(
            |roots: &_, page: &mut _| {
                super::read(&Patterns::default().showing("vmstat.fields"), roots, page)
            },
            &[(
                "proc/vmstat",
                "nr_free_pages 977769\npgpgin 7344136\npswpout 1\npgmajfault 45728\npgalloc_dma 0\noom_kill 2\n",
            )],
            "node_vmstat_oom_kill 2\nnode_vmstat_pgmajfault 45728\nnode_vmstat_pgpgin 7344136\nnode_vmstat_pswpout 1\n",
        );
    }
}
