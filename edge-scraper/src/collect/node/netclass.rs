//! `/sys/class/net`: what each network device is and whether it has a link.

use super::options::Filter;
use super::page::Page;
use super::roots::{Folder, PartError, Roots, names};

/// Integer attributes: file, name of the family after `node_network_`, whether it is a counter.
const INTEGERS: [(&str, &str, bool); 16] = [
    ("addr_assign_type", "address_assign_type", false),
    ("carrier", "carrier", false),
    ("carrier_changes", "carrier_changes_total", true),
    ("carrier_up_count", "carrier_up_changes_total", true),
    ("carrier_down_count", "carrier_down_changes_total", true),
    ("dev_id", "device_id", false),
    ("dormant", "dormant", false),
    ("flags", "flags", false),
    ("ifindex", "iface_id", false),
    ("iflink", "iface_link", false),
    ("link_mode", "iface_link_mode", false),
    ("mtu", "mtu_bytes", false),
    ("name_assign_type", "name_assign_type", false),
    ("netdev_group", "net_dev_group", false),
    ("tx_queue_len", "transmit_queue_length", false),
    ("type", "protocol_type", false),
];

pub(super) fn read(shown: &Filter, roots: &Roots, page: &mut Page) -> Result<(), PartError> {
    let folder = roots.sys.join("class/net");
    let devices = names(&folder)?;
    if devices.is_empty() {
        return Err(PartError::NoData);
    }
    for device in devices {
        if !shown.takes(&device) {
            continue;
        }
        let Some(attributes) = Folder::open(&folder.join(&device)) else {
            continue; // bonding_masters, a control file beside the devices
        };
        let text = |file: &str| attributes.attribute(file).unwrap_or_default();
        let state = text("operstate");
        let up = if state == "up" { 1.0 } else { 0.0 };
        page.gauge(
            "node_network_up",
            "Value is 1 if operstate is 'up', 0 otherwise.",
        )
        .row(&[("device", &device)], up);
        page.gauge(
            "node_network_info",
            "Non-numeric data from /sys/class/net/<iface>, value is always 1.",
        )
        .row(
            &[
                ("device", &device),
                ("address", &text("address")),
                ("broadcast", &text("broadcast")),
                ("duplex", &text("duplex")),
                ("operstate", &state),
                ("ifalias", &text("ifalias")),
            ],
            1.0,
        );
        for (file, name, counter) in INTEGERS {
            // A device that is down answers EINVAL for some of them: no series then.
            let Some(value) = attributes.integer(file) else {
                continue;
            };
            property(page, name, counter, &device, value as f64);
        }
        // In Mbit/s; unknown is -1 and shown as such, as node_exporter 1.x does.
        if let Some(speed) = attributes.integer("speed") {
            let bytes = speed.saturating_mul(1_000_000) / 8;
            property(page, "speed_bytes", false, &device, bytes as f64);
        }
    }
    Ok(())
}

fn property(page: &mut Page, name: &str, counter: bool, device: &str, value: f64) {
    let help = format!("Network device property: {name}");
    let name = format!("node_network_{name}");
    let family = if counter {
        page.counter(&name, &help)
    } else {
        page.gauge(&name, &help)
    };
    family.row(&[("device", device)], value);
}

#[cfg(test)]
mod tests {
    use super::super::fixture::check;
    use super::Filter;

    #[test]
    fn numbers_in_both_bases_and_unknown_speed() {
        check(
            |roots: &_, page: &mut _| super::read(&Filter::exclude("^veth").unwrap(), roots, page),
            &[
                ("sys/class/net/veth7/operstate", "up\n"),
                ("sys/class/net/eth0/operstate", "up\n"),
                ("sys/class/net/eth0/address", "02:fc:00:00:00:01\n"),
                ("sys/class/net/eth0/flags", "0x1003\n"),
                ("sys/class/net/eth0/carrier_changes", "2\n"),
                ("sys/class/net/eth0/speed", "-1\n"),
                ("sys/class/net/eth1/operstate", "down\n"),
                ("sys/class/net/eth1/speed", "1000\n"),
                ("sys/class/net/bonding_masters", "bond0\n"),
            ],
            "node_network_carrier_changes_total{device=\"eth0\"} 2\n\
             node_network_flags{device=\"eth0\"} 4099\n\
             node_network_info{device=\"eth0\",address=\"02:fc:00:00:00:01\",broadcast=\"\",duplex=\"\",operstate=\"up\",ifalias=\"\"} 1\n\
             node_network_info{device=\"eth1\",address=\"\",broadcast=\"\",duplex=\"\",operstate=\"down\",ifalias=\"\"} 1\n\
             node_network_speed_bytes{device=\"eth0\"} -125000\n\
             node_network_speed_bytes{device=\"eth1\"} 125000000\n\
             node_network_up{device=\"eth0\"} 1\nnode_network_up{device=\"eth1\"} 0\n",
        );
        check(
            |roots: &_, page: &mut _| super::read(&Filter::all(), roots, page),
            &[],
            "error nothing to collect on this machine\n",
        );
    }
}
