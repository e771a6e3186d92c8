//! Endpoint slices: the same as endpoints, in the form that took their place.

use super::World;
use super::labels::{Labels, host_port, sanitized};
use super::pod::Behind;
use super::service;
use crate::discovery::Discovered;
use crate::discovery::kubernetes::objects::{EndpointPort, EndpointSlice, SliceEndpoint};

/// The label that names a slice's service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

pub(super) fn targets<'w>(
    world: &World<'w>,
    slice: &'w EndpointSlice,
    targets: &mut Vec<Discovered>,
) {
    let meta = &slice.metadata;
    let mut common = world.of_object(meta, "endpointslice");
    common.set("endpointslice_address_type", &slice.address_type);
    if let Some(name) = meta.labels.get(SERVICE_NAME) {
        service::add(world, &mut common, &meta.namespace, name);
    }
    let mut behind = Behind::default();
    for port in &slice.ports {
        for endpoint in &slice.endpoints {
            for address in &endpoint.addresses {
                let mut labels = common.clone();
                add(world, &mut labels, endpoint, port);
                behind.add(world, &mut labels, endpoint.target_ref.as_ref(), port.port);
                let address = match port.port {
                    Some(port) => host_port(address, port),
                    None => address.clone(),
                };
                targets.push(labels.target(address));
            }
        }
    }
    behind.rest(world, &common, targets);
}

fn add(world: &World<'_>, labels: &mut Labels, endpoint: &SliceEndpoint, port: &EndpointPort) {
    let mut set = |name: &str, value: Option<String>| {
        labels.set_some(&format!("endpointslice_{name}"), value);
    };
    set("port", port.port.map(|port| port.to_string()));
    set("port_name", port.name.clone());
    set("port_protocol", port.protocol.clone());
    set("port_app_protocol", port.app_protocol.clone());
    let conditions = &endpoint.conditions;
    set(
        "endpoint_conditions_ready",
        conditions.ready.map(|is| is.to_string()),
    );
    set(
        "endpoint_conditions_serving",
        conditions.serving.map(|is| is.to_string()),
    );
    set(
        "endpoint_conditions_terminating",
        conditions.terminating.map(|is| is.to_string()),
    );
    set("endpoint_hostname", endpoint.hostname.clone());
    set("endpoint_node_name", endpoint.node_name.clone());
    set("endpoint_zone", endpoint.zone.clone());
    let target = endpoint.target_ref.as_ref();
    set(
        "address_target_kind",
        target.map(|target| target.kind.clone()),
    );
    set(
        "address_target_name",
        target.map(|target| target.name.clone()),
    );
    for (name, value) in &endpoint.deprecated_topology {
        let name = sanitized(name);
        set(&format!("endpoint_topology_{name}"), Some(value.clone()));
        set(
            &format!("endpoint_topology_present_{name}"),
            Some("true".to_owned()),
        );
    }
    let node = target
        .filter(|target| target.kind == "Node")
        .map(|target| &target.name);
    if let Some(node) = node.or(endpoint.node_name.as_ref()) {
        world.add_node(labels, node);
    }
}
