//! `/proc/net/arp`: neighbours by device.

use std::collections::BTreeMap;

use super::options::Filter;
use super::page::Page;
use super::roots::{PartError, Roots, Text};

pub(super) fn read(devices: &Filter, roots: &Roots, page: &mut Page) -> Result<(), PartError> {
    let text = Text::read(roots.proc.join("net/arp"))?;
    let mut entries = BTreeMap::new();
    for line in text.lines().skip(1) {
        match line.split_ascii_whitespace().nth(5) {
            Some(device) => *entries.entry(device).or_insert(0_u32) += 1,
            None => return Err(text.malformed("6 columns", line)),
        }
    }
    let family = page.gauge("node_arp_entries", "ARP entries by device");
    for (device, count) in entries
        .into_iter()
        .filter(|(device, _)| devices.takes(device))
    {
        family.row(&[("device", device)], f64::from(count));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::fixture::check;
    use super::Filter;

    #[test]
    fn entries_by_device() {
        check(
            |roots: &_, page: &mut _| super::read(&Filter::exclude("^tap").unwrap(), roots, page),
            &[(
                "proc/net/arp",
                "IP address       HW type     Flags       HW address            Mask     Device\n\
                 192.168.1.1      0x1         0x2         cc:aa:dd:ee:aa:bb     *        eth0\n\
                 192.168.1.2      0x1         0x2         bb:cc:dd:ee:ff:aa     *        eth0\n\
                 192.168.9.2      0x1         0x2         bb:cc:dd:ee:ff:ab     *        tap7\n",
            )],
            "node_arp_entries{device=\"eth0\"} 2\n",
        );
    }
}
