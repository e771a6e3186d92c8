//! `/proc/sys/fs/file-nr`: open files of the machine and their limit.

use super::page::Page;
use super::roots::{PartError, Roots, Text};

pub(super) fn read(roots: &Roots, page: &mut Page) -> Result<(), PartError> {
    let text = Text::read(roots.proc.join("sys/fs/file-nr"))?;
    let mut fields = text.trimmed().split_ascii_whitespace();
    let allocated = text.number(fields.next())?;
    // Between them stands the number of free handles, always 0 since Linux 2.6.
    let maximum = text.number(fields.nth(1))?;
    for (name, value) in [("allocated", allocated), ("maximum", maximum)] {
        page.gauge(
            &format!("node_filefd_{name}"),
            &format!("File descriptor statistics: {name}."),
        )
        .value(value);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::fixture::check;

    #[test]
    fn first_and_third_number() {
        check(
            super::read,
            &[("proc/sys/fs/file-nr", "1024\t0\t1631329\n")],
            "node_filefd_allocated 1024\nnode_filefd_maximum 1631329\n",
        );
    }
}
