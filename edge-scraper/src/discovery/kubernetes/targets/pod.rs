//! A pod: each port of each of its containers, or the pod itself for a container without ports.

use std::collections::HashSet;

use super::World;
use super::labels::{Labels, NAMESPACE, host_port};
use crate::discovery::Discovered;
use crate::discovery::kubernetes::objects::{Container, ContainerPort, Kind, Object, Pod, Target};

pub(super) fn targets(world: &World<'_>, pod: &Pod, targets: &mut Vec<Discovered>) {
    let ip = &pod.status.pod_ip;
    // It is starting, or has been evicted.
    if ip.is_empty() {
        return;
    }
    let mut of_pod = world.of_object(&pod.metadata, "pod");
    of_pod.add_all(&labels(pod));
    world.add_node(&mut of_pod, &pod.spec.node_name);
    for (container, init) in containers(pod) {
        let mut of_container = of_pod.clone();
        of_container.set("pod_container_name", &container.name);
        of_container.set("pod_container_id", container_id(pod, &container.name));
        of_container.set("pod_container_image", &container.image);
        of_container.set("pod_container_init", init.to_string());
        if container.ports.is_empty() {
            targets.push(of_container.target(ip));
            continue;
        }
        for port in &container.ports {
            let mut labels = of_container.clone();
            add_port(&mut labels, port);
            targets.push(labels.target(host_port(ip, port.container_port)));
        }
    }
}

fn containers(pod: &Pod) -> impl Iterator<Item = (&Container, bool)> {
    let ordinary = pod
        .spec
        .containers
        .iter()
        .map(|container| (container, false));
    let init = pod
        .spec
        .init_containers
        .iter()
        .map(|container| (container, true));
    ordinary.chain(init)
}

fn container_id<'p>(pod: &'p Pod, name: &str) -> &'p str {
    let statuses = &pod.status;
    let mut all = statuses
        .container_statuses
        .iter()
        .chain(&statuses.init_container_statuses);
    let found = all.find(|status| status.name == name);
    found.map_or("", |status| &status.container_id)
}

fn add_port(labels: &mut Labels, port: &ContainerPort) {
    labels.set("pod_container_port_name", &port.name);
    labels.set("pod_container_port_number", port.container_port.to_string());
    labels.set("pod_container_port_protocol", &port.protocol);
}

/// What is said of a pod beside its name, labels and annotations.
fn labels(pod: &Pod) -> Labels {
    let mut labels = Labels::default();
    let status = &pod.status;
    let ready = status.conditions.iter().find(|c| c.r#type == "Ready");
    let ready = ready.map_or("unknown".to_owned(), |c| c.status.to_ascii_lowercase());
    labels.set("pod_ip", &status.pod_ip);
    labels.set("pod_ready", ready);
    labels.set("pod_phase", &status.phase);
    labels.set("pod_node_name", &pod.spec.node_name);
    labels.set("pod_host_ip", &status.host_ip);
    labels.set("pod_uid", &pod.metadata.uid);
    let mut owners = pod.metadata.owner_references.iter();
    if let Some(controller) = owners.find(|owner| owner.controller) {
        labels.set("pod_controller_kind", &controller.kind);
        labels.set("pod_controller_name", &controller.name);
    }
    labels
}

/// Pods behind endpoints, and which of their ports the endpoints have.
#[derive(Default)]
pub(super) struct Behind<'p> {
    pods: Vec<&'p Pod>,
    ports: HashSet<(&'p str, u32)>,
}

impl<'p> Behind<'p> {
    /// Adds the labels of the pod that an endpoint stands for, and of the container that has the port.
    pub(super) fn add(
        &mut self,
        world: &World<'p>,
        labels: &mut Labels,
        target: Option<&Target>,
        port: Option<u32>,
    ) {
        let Some(target) = target.filter(|target| target.kind == "Pod") else {
            return;
        };
        let Some(Object::Pod(pod)) = world.store.get(Kind::Pod, &target.namespace, &target.name)
        else {
            return;
        };
        if !self.pods.iter().any(|known| std::ptr::eq(*known, &**pod)) {
            self.pods.push(pod);
        }
        labels.add_meta("pod", &pod.metadata);
        labels.add_all(&self::labels(pod));
        let Some(port) = port else {
            return;
        };
        for (container, _) in containers(pod) {
            let found = container.ports.iter().find(|p| p.container_port == port);
            if let Some(found) = found {
                labels.set("pod_container_name", &container.name);
                labels.set("pod_container_image", &container.image);
                add_port(labels, found);
                self.ports.insert((&pod.metadata.uid, port));
                break;
            }
        }
    }

    /// The ports of these pods that no endpoint has: targets of their own.
    pub(super) fn rest(
        self,
        world: &World<'_>,
        of_endpoints: &Labels,
        targets: &mut Vec<Discovered>,
    ) {
        for pod in self.pods {
            // Finished ones listen no more.
            if matches!(pod.status.phase.as_str(), "Succeeded" | "Failed") {
                continue;
            }
            for (container, _) in containers(pod) {
                for port in &container.ports {
                    let known = (pod.metadata.uid.as_str(), port.container_port);
                    if self.ports.contains(&known) {
                        continue;
                    }
                    let mut labels = of_endpoints.clone();
                    labels.set(NAMESPACE, &pod.metadata.namespace);
                    labels.set("pod_container_name", &container.name);
                    labels.set("pod_container_image", &container.image);
                    add_port(&mut labels, port);
                    labels.add_meta("pod", &pod.metadata);
                    labels.add_all(&self::labels(pod));
                    world.add_node(&mut labels, &pod.spec.node_name);
                    targets.push(labels.target(host_port(&pod.status.pod_ip, port.container_port)));
                }
            }
        }
    }
}
