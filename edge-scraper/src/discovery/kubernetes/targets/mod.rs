//! From objects to targets, with Prometheus's labels: one file a role, what several share in `labels`.

mod endpoints;
mod ingress;
mod labels;
mod node;
mod pod;
mod service;
mod slice;

use super::objects::{Kind, Meta, Object};
use super::watch::Store;
use crate::config::{KubernetesSd, Role};
use crate::discovery::Discovered;
use labels::{Labels, NAMESPACE};

/// All targets of a role.
pub(super) fn of(config: &KubernetesSd, store: &Store) -> Vec<Discovered> {
    let kind = match config.role {
        Role::Node => Kind::Node,
        Role::Service => Kind::Service,
        Role::Pod => Kind::Pod,
        Role::Endpoints => Kind::Endpoints,
        Role::EndpointSlice => Kind::EndpointSlice,
        Role::Ingress => Kind::Ingress,
    };
    let world = World { config, store };
    let mut targets = Vec::new();
    for object in store.all(kind) {
        match object {
            Object::Node(node) => targets.extend(node::target(node)),
            Object::Service(service) => service::targets(&world, service, &mut targets),
            Object::Pod(pod) => pod::targets(&world, pod, &mut targets),
            Object::Endpoints(endpoints) => endpoints::targets(&world, endpoints, &mut targets),
            Object::EndpointSlice(slice) => slice::targets(&world, slice, &mut targets),
            Object::Ingress(ingress) => ingress::targets(&world, ingress, &mut targets),
            Object::Namespace(_) => {}
        }
    }
    targets
}

/// What a target's labels may be taken from, beside its own object.
struct World<'w> {
    config: &'w KubernetesSd,
    store: &'w Store,
}

impl World<'_> {
    /// Labels that every target of an object has: its namespace's, its own name, labels and annotations.
    fn of_object(&self, meta: &Meta, role: &str) -> Labels {
        let mut labels = Labels::default();
        labels.set(NAMESPACE, &meta.namespace);
        labels.add_meta(role, meta);
        if self.config.attach_namespace
            && let Some(Object::Namespace(namespace)) =
                self.store.get(Kind::Namespace, "", &meta.namespace)
        {
            labels.add_annotated("namespace", &namespace.metadata);
        }
        labels
    }

    /// Adds the labels of a node, if they are wanted.
    fn add_node(&self, labels: &mut Labels, name: &str) {
        if self.config.attach_node
            && let Some(Object::Node(node)) = self.store.get(Kind::Node, "", name)
        {
            labels.add_meta("node", &node.metadata);
        }
    }
}
