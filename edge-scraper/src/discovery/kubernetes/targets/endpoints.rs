//! Endpoints: each address and port behind a service, and the other ports of the pods there.

use super::World;
use super::labels::{Labels, host_port};
use super::pod::Behind;
use super::service;
use crate::discovery::Discovered;
use crate::discovery::kubernetes::objects::{EndpointAddress, EndpointPort, Endpoints};

pub(super) fn targets<'w>(
    world: &World<'w>,
    endpoints: &'w Endpoints,
    targets: &mut Vec<Discovered>,
) {
    let meta = &endpoints.metadata;
    let mut common = world.of_object(meta, "endpoints");
    service::add(world, &mut common, &meta.namespace, &meta.name);
    let mut behind = Behind::default();
    for subset in &endpoints.subsets {
        for port in &subset.ports {
            for (addresses, ready) in [
                (&subset.addresses, "true"),
                (&subset.not_ready_addresses, "false"),
            ] {
                for address in addresses {
                    let mut labels = common.clone();
                    labels.set("endpoint_ready", ready);
                    add(world, &mut labels, address, port);
                    behind.add(world, &mut labels, address.target_ref.as_ref(), port.port);
                    let port = port.port.unwrap_or(0);
                    targets.push(labels.target(host_port(&address.ip, port)));
                }
            }
        }
    }
    behind.rest(world, &common, targets);
}

fn add(world: &World<'_>, labels: &mut Labels, address: &EndpointAddress, port: &EndpointPort) {
    labels.set("endpoint_port_name", port.name.clone().unwrap_or_default());
    labels.set(
        "endpoint_port_protocol",
        port.protocol.clone().unwrap_or_default(),
    );
    let mut node = address.node_name.as_str();
    if let Some(target) = &address.target_ref {
        labels.set("endpoint_address_target_kind", &target.kind);
        labels.set("endpoint_address_target_name", &target.name);
        if target.kind == "Node" {
            node = &target.name;
        }
    }
    if !address.node_name.is_empty() {
        labels.set("endpoint_node_name", &address.node_name);
    }
    if !address.hostname.is_empty() {
        labels.set("endpoint_hostname", &address.hostname);
    }
    world.add_node(labels, node);
}
