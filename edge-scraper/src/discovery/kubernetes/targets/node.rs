//! A node: its kubelet.

use super::labels::{Labels, host_port, sanitized};
use crate::discovery::Discovered;
use crate::discovery::kubernetes::objects::Node;

/// Which of a node's addresses is asked, the first that it has.
const ADDRESSES: [&str; 6] = [
    "InternalIP",
    "InternalDNS",
    "ExternalIP",
    "ExternalDNS",
    "LegacyHostIP",
    "Hostname",
];

/// None for a node without any address.
pub(super) fn target(node: &Node) -> Option<Discovered> {
    let addresses = &node.status.addresses;
    let of_type = |wanted: &str| addresses.iter().find(|address| address.r#type == wanted);
    let host = ADDRESSES.iter().find_map(|wanted| of_type(wanted))?;
    let mut labels = Labels::default();
    labels.add_meta("node", &node.metadata);
    labels.set("node_provider_id", &node.spec.provider_id);
    labels.set_plain("instance", &node.metadata.name);
    // The first of each type.
    for address in addresses.iter().rev() {
        let name = sanitized(&format!("node_address_{}", address.r#type));
        labels.set(&name, &address.address);
    }
    let port = node.status.daemon_endpoints.kubelet_endpoint.port;
    Some(labels.target(host_port(&host.address, port)))
}
