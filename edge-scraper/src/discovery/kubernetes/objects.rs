//! What is kept of a cluster's objects: the fields that labels are made of. All may be missing; unknown ones are skipped.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::config::{Role, Selector};

/// A kind of object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Node,
    Namespace,
    Service,
    Pod,
    Endpoints,
    EndpointSlice,
    Ingress,
}

impl Kind {
    pub(super) fn is_namespaced(self) -> bool {
        !matches!(self, Kind::Node | Kind::Namespace)
    }

    /// Where its objects are, in one namespace or in all.
    pub(super) fn path(self, namespace: Option<&str>) -> String {
        let (group, name) = match self {
            Kind::Node => ("api/v1", "nodes"),
            Kind::Namespace => ("api/v1", "namespaces"),
            Kind::Service => ("api/v1", "services"),
            Kind::Pod => ("api/v1", "pods"),
            Kind::Endpoints => ("api/v1", "endpoints"),
            Kind::EndpointSlice => ("apis/discovery.k8s.io/v1", "endpointslices"),
            Kind::Ingress => ("apis/networking.k8s.io/v1", "ingresses"),
        };
        match namespace {
            Some(namespace) => format!("/{group}/namespaces/{namespace}/{name}"),
            None => format!("/{group}/{name}"),
        }
    }

    /// The query parameters that restrict its objects.
    pub(super) fn selector(self, selectors: &[Selector]) -> Vec<(&'static str, String)> {
        let role = match self {
            Kind::Node => Role::Node,
            Kind::Service => Role::Service,
            Kind::Pod => Role::Pod,
            Kind::Endpoints => Role::Endpoints,
            Kind::EndpointSlice => Role::EndpointSlice,
            Kind::Ingress => Role::Ingress,
            Kind::Namespace => return Vec::new(),
        };
        let of_role = selectors.iter().filter(|selector| selector.role == role);
        of_role
            .flat_map(|selector| {
                [
                    ("labelSelector", selector.label.clone()),
                    ("fieldSelector", selector.field.clone()),
                ]
            })
            .filter(|(_, text)| !text.is_empty())
            .collect()
    }

    /// Reads an object of this kind.
    pub(super) fn read(self, object: serde_json::Value) -> Result<Object, serde_json::Error> {
        fn of<T: DeserializeOwned>(
            object: serde_json::Value,
            wrap: fn(Box<T>) -> Object,
        ) -> Result<Object, serde_json::Error> {
            serde_json::from_value(object).map(|object| wrap(Box::new(object)))
        }
        match self {
            Kind::Node => of(object, Object::Node),
            Kind::Namespace => of(object, Object::Namespace),
            Kind::Service => of(object, Object::Service),
            Kind::Pod => of(object, Object::Pod),
            Kind::Endpoints => of(object, Object::Endpoints),
            Kind::EndpointSlice => of(object, Object::EndpointSlice),
            Kind::Ingress => of(object, Object::Ingress),
        }
    }
}

/// An object of a cluster.
#[derive(Debug)]
pub(super) enum Object {
    Node(Box<Node>),
    Namespace(Box<Namespace>),
    Service(Box<Service>),
    Pod(Box<Pod>),
    Endpoints(Box<Endpoints>),
    EndpointSlice(Box<EndpointSlice>),
    Ingress(Box<Ingress>),
}

impl Object {
    pub(super) fn meta(&self) -> &Meta {
        match self {
            Object::Node(node) => &node.metadata,
            Object::Namespace(namespace) => &namespace.metadata,
            Object::Service(service) => &service.metadata,
            Object::Pod(pod) => &pod.metadata,
            Object::Endpoints(endpoints) => &endpoints.metadata,
            Object::EndpointSlice(slice) => &slice.metadata,
            Object::Ingress(ingress) => &ingress.metadata,
        }
    }
}

type Texts = BTreeMap<String, String>;

macro_rules! objects {
    ($($(#[$meta:meta])* $name:ident { $($field:ident: $type:ty,)* })+) => {
        $(
            $(#[$meta])*
            #[derive(Debug, Default, Deserialize)]
            #[serde(default, rename_all = "camelCase")]
            pub(super) struct $name {
                $(#[serde(deserialize_with = "or_default")] pub(super) $field: $type,)*
            }
        )+
    };
}

/// `null` says the same as nothing.
fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}

objects! {
    Meta {
        name: String,
        namespace: String,
        uid: String,
        resource_version: String,
        labels: Texts,
        annotations: Texts,
        owner_references: Vec<Owner>,
    }
    Owner {
        kind: String,
        name: String,
        controller: bool,
    }
    Namespace { metadata: Meta, }
    Node {
        metadata: Meta,
        spec: NodeSpec,
        status: NodeStatus,
    }
    NodeStatus {
        addresses: Vec<NodeAddress>,
        daemon_endpoints: DaemonEndpoints,
    }
    NodeAddress {
        r#type: String,
        address: String,
    }
    DaemonEndpoints { kubelet_endpoint: DaemonEndpoint, }
    Service {
        metadata: Meta,
        spec: ServiceSpec,
    }
    ServicePort {
        name: String,
        protocol: String,
        port: u32,
    }
    Pod {
        metadata: Meta,
        spec: PodSpec,
        status: PodStatus,
    }
    PodSpec {
        node_name: String,
        containers: Vec<Container>,
        init_containers: Vec<Container>,
    }
    Container {
        name: String,
        image: String,
        ports: Vec<ContainerPort>,
    }
    ContainerPort {
        name: String,
        protocol: String,
        container_port: u32,
    }
    Condition {
        r#type: String,
        status: String,
    }
    Endpoints {
        metadata: Meta,
        subsets: Vec<Subset>,
    }
    Subset {
        addresses: Vec<EndpointAddress>,
        not_ready_addresses: Vec<EndpointAddress>,
        ports: Vec<EndpointPort>,
    }
    EndpointAddress {
        ip: String,
        hostname: String,
        node_name: String,
        target_ref: Option<Target>,
    }
    EndpointPort {
        name: Option<String>,
        protocol: Option<String>,
        port: Option<u32>,
        app_protocol: Option<String>,
    }
    Target {
        kind: String,
        namespace: String,
        name: String,
    }
    EndpointSlice {
        metadata: Meta,
        address_type: String,
        endpoints: Vec<SliceEndpoint>,
        ports: Vec<EndpointPort>,
    }
    SliceEndpoint {
        addresses: Vec<String>,
        conditions: SliceConditions,
        hostname: Option<String>,
        node_name: Option<String>,
        zone: Option<String>,
        target_ref: Option<Target>,
        deprecated_topology: Texts,
    }
    SliceConditions {
        ready: Option<bool>,
        serving: Option<bool>,
        terminating: Option<bool>,
    }
    Ingress {
        metadata: Meta,
        spec: IngressSpec,
    }
    IngressSpec {
        ingress_class_name: Option<String>,
        tls: Vec<IngressTls>,
        rules: Vec<IngressRule>,
    }
    IngressTls { hosts: Vec<String>, }
    IngressRule {
        host: String,
        http: IngressHttp,
    }
    IngressHttp { paths: Vec<IngressPath>, }
    IngressPath { path: String, }
}

// Those with names that are no camel case of ours.

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct NodeSpec {
    #[serde(rename = "providerID")]
    pub(super) provider_id: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct DaemonEndpoint {
    #[serde(rename = "Port")]
    pub(super) port: u32,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ServiceSpec {
    pub(super) r#type: String,
    #[serde(rename = "clusterIP")]
    pub(super) cluster_ip: String,
    #[serde(rename = "externalName")]
    pub(super) external_name: String,
    #[serde(rename = "loadBalancerIP")]
    pub(super) load_balancer_ip: String,
    pub(super) ports: Vec<ServicePort>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ContainerStatus {
    pub(super) name: String,
    #[serde(rename = "containerID")]
    pub(super) container_id: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct PodStatus {
    pub(super) phase: String,
    #[serde(rename = "podIP")]
    pub(super) pod_ip: String,
    #[serde(rename = "hostIP")]
    pub(super) host_ip: String,
    pub(super) conditions: Vec<Condition>,
    pub(super) container_statuses: Vec<ContainerStatus>,
    pub(super) init_container_statuses: Vec<ContainerStatus>,
}
