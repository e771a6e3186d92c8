//! `/proc/sys/kernel/random`: the entropy pool.

use super::page::Page;
use super::roots::{PartError, Roots, Text};

pub(super) fn read(roots: &Roots, page: &mut Page) -> Result<(), PartError> {
    for (file, name, help) in [
        (
            "entropy_avail",
            "node_entropy_available_bits",
            "Bits of available entropy.",
        ),
        (
            "poolsize",
            "node_entropy_pool_size_bits",
            "Bits of entropy pool.",
        ),
    ] {
        let text = Text::read(roots.proc.join("sys/kernel/random").join(file))?;
        let value = text.number(Some(text.trimmed()))?;
        page.gauge(name, help).value(value);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::fixture::check;

    #[test]
    fn two_files() {
        check(
            super::read,
            &[
                ("proc/sys/kernel/random/entropy_avail", "1337\n"),
                ("proc/sys/kernel/random/poolsize", "4096\n"),
            ],
            "node_entropy_available_bits 1337\nnode_entropy_pool_size_bits 4096\n",
        );
    }
}
