//! `kubernetes_sd_configs`: objects of a cluster as targets, with the labels that Prometheus gives them.
//!
//! Objects of each kind that the role needs are listed once and then watched ([`watch`]); what is kept of them in memory is
//! what labels are made of ([`objects`]). When something changes, all targets are made anew ([`targets`]), at most once a
//! second. Until every kind has been listed, the targets of before stay.

mod access;
mod objects;
mod targets;
mod watch;

#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use daemon::{Clock, Tasks};
use tokio::sync::Notify;

use super::remote::{Found, shown};
use crate::config::{ClusterAccess, KubernetesSd, Role};
use access::Cluster;
use objects::Kind;
use watch::{Store, Watch};

/// Changes that come within this are taken together.
const SETTLE: Duration = Duration::from_secs(1);
/// Between attempts to read the cluster's address and credentials.
const RETRY: Duration = Duration::from_secs(10);

/// For people: which cluster, and what of it.
pub(super) fn describe(config: &KubernetesSd) -> String {
    let cluster = match &config.access {
        ClusterAccess::Server { url, .. } => shown(url),
        ClusterAccess::Kubeconfig(file) => file.display().to_string(),
        ClusterAccess::InCluster => "this cluster".to_owned(),
    };
    let mut names = config.namespaces.clone();
    if config.own_namespace {
        names.push("own namespace".to_owned());
    }
    match names.is_empty() {
        true => cluster,
        false => format!("{cluster}, {}", names.join(", ")),
    }
}

/// The kinds of objects that make the targets.
fn kinds(config: &KubernetesSd) -> Vec<Kind> {
    let mut kinds = match config.role {
        Role::Node => vec![Kind::Node],
        Role::Service => vec![Kind::Service],
        Role::Pod => vec![Kind::Pod],
        Role::Endpoints => vec![Kind::Endpoints, Kind::Service, Kind::Pod],
        Role::EndpointSlice => vec![Kind::EndpointSlice, Kind::Service, Kind::Pod],
        Role::Ingress => vec![Kind::Ingress],
    };
    let of_pods = matches!(
        config.role,
        Role::Pod | Role::Endpoints | Role::EndpointSlice
    );
    if config.attach_node && of_pods {
        kinds.push(Kind::Node);
    }
    if config.attach_namespace && config.role != Role::Node {
        kinds.push(Kind::Namespace);
    }
    kinds
}

pub(super) async fn run(
    config: KubernetesSd,
    found: Arc<Found>,
    clock: Arc<dyn Clock>,
    tasks: Tasks,
) {
    let cluster = loop {
        match Cluster::open(&config.access, &clock).await {
            Ok(cluster) => break Arc::new(cluster),
            Err(error) => found.failed(error),
        }
        tokio::select! {
            () = tasks.cancelled() => return,
            () = clock.sleep(RETRY) => {}
        }
    };
    let mut namespaces = config.namespaces.clone();
    if config.own_namespace {
        namespaces.extend(cluster.namespace.clone());
    }
    let store = Arc::new(Mutex::new(Store::default()));
    let changed = Arc::new(Notify::new());
    let mut watches = 0;
    for kind in kinds(&config) {
        let within: Vec<Option<String>> = match kind.is_namespaced() && !namespaces.is_empty() {
            true => namespaces.iter().cloned().map(Some).collect(),
            false => vec![None],
        };
        for namespace in within {
            let watch = Watch {
                kind,
                id: watches,
                path: kind.path(namespace.as_deref()),
                selector: kind.selector(&config.selectors),
                cluster: Arc::clone(&cluster),
                store: Arc::clone(&store),
                changed: Arc::clone(&changed),
                clock: Arc::clone(&clock),
            };
            watches += 1;
            tasks.spawn_brief(format!("watch of {}", watch.path), watch.run());
        }
    }
    loop {
        tokio::select! {
            () = tasks.cancelled() => return,
            () = changed.notified() => {}
        }
        let made = {
            let store = store.lock().unwrap_or_else(PoisonError::into_inner);
            let complete = store.listed() == watches;
            let error = store.error();
            (complete.then(|| targets::of(&config, &store)), error)
        };
        if let Some(targets) = made.0 {
            found.publish(targets).await;
        }
        if let Some(error) = made.1 {
            found.failed(error);
        }
        tokio::select! {
            () = tasks.cancelled() => return,
            () = clock.sleep(SETTLE) => {}
        }
    }
}
