//! `/sys/class/net/*/bonding`: links of each bond, and how many are up.

use super::page::Page;
use super::roots::{PartError, Roots, Text, attribute};

pub(super) fn read(roots: &Roots, page: &mut Page) -> Result<(), PartError> {
    let folder = roots.sys.join("class/net");
    let masters = Text::read(folder.join("bonding_masters")).map_err(PartError::or_no_data)?;
    for master in masters.trimmed().split_ascii_whitespace() {
        let slaves = Text::read(folder.join(master).join("bonding/slaves"))?;
        let slaves: Vec<&str> = slaves.trimmed().split_ascii_whitespace().collect();
        let active = slaves.iter().filter(|slave| {
            let path = folder.join(master);
            // `lower_X` is today's name of the link to the slave, `slave_X` that of older kernels.
            let state = ["lower_", "slave_"].iter().find_map(|prefix| {
                attribute(&path.join(format!("{prefix}{slave}/bonding_slave/mii_status")))
            });
            state.as_deref() == Some("up")
        });
        let active = active.count() as f64;
        page.gauge(
            "node_bonding_slaves",
            "Number of configured slaves per bonding interface.",
        )
        .row(&[("master", master)], slaves.len() as f64);
        page.gauge(
            "node_bonding_active",
            "Number of active slaves per bonding interface.",
        )
        .row(&[("master", master)], active);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::fixture::check;

    #[test]
    fn slaves_that_are_up() {
        check(
            super::read,
            &[
                ("sys/class/net/bonding_masters", "bond0\n"),
                ("sys/class/net/bond0/bonding/slaves", "eth0 eth4 eth5\n"),
                (
                    "sys/class/net/bond0/lower_eth0/bonding_slave/mii_status",
                    "up\n",
                ),
                (
                    "sys/class/net/bond0/lower_eth4/bonding_slave/mii_status",
                    "down\n",
                ),
                (
                    "sys/class/net/bond0/slave_eth5/bonding_slave/mii_status",
                    "up\n",
                ),
            ],
            "node_bonding_active{master=\"bond0\"} 2\nnode_bonding_slaves{master=\"bond0\"} 3\n",
        );
        check(
            super::read,
            &[],
            "error nothing to collect on this machine\n",
        );
    }
}
