//! A service: each of its ports, by its name in the cluster's DNS.

use super::World;
use super::labels::{Labels, host_port};
use crate::discovery::Discovered;
use crate::discovery::kubernetes::objects::{Kind, Object, Service};

pub(super) fn targets(world: &World<'_>, service: &Service, targets: &mut Vec<Discovered>) {
    let meta = &service.metadata;
    let of_service = world.of_object(meta, "service");
    for port in &service.spec.ports {
        let mut labels = of_service.clone();
        labels.set("service_port_name", &port.name);
        labels.set("service_port_number", port.port.to_string());
        labels.set("service_port_protocol", &port.protocol);
        labels.set("service_type", &service.spec.r#type);
        match service.spec.r#type.as_str() {
            "ExternalName" => labels.set("service_external_name", &service.spec.external_name),
            _ => labels.set("service_cluster_ip", &service.spec.cluster_ip),
        }
        if service.spec.r#type == "LoadBalancer" {
            labels.set("service_loadbalancer_ip", &service.spec.load_balancer_ip);
        }
        let host = format!("{}.{}.svc", meta.name, meta.namespace);
        targets.push(labels.target(host_port(&host, port.port)));
    }
}

/// Adds name, labels and annotations of a service.
pub(super) fn add(world: &World<'_>, labels: &mut Labels, namespace: &str, name: &str) {
    if let Some(Object::Service(service)) = world.store.get(Kind::Service, namespace, name) {
        labels.add_meta("service", &service.metadata);
    }
}
