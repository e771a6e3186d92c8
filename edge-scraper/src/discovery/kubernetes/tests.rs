//! Discovery against an API server of this process that lists, in pages, and watches.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::Response;
use daemon::{SystemClock, Tasks};
use serde_json::{Value, json};
use tokio::sync::{Notify, broadcast};

use crate::config::{Discovery, EdgeConfig};
use crate::discovery::{Context, Discovered, Sources};
use crate::kept::Kept;

/// Objects by path; changes reach whoever watches the path.
#[derive(Clone)]
struct Api {
    state: Arc<Mutex<Objects>>,
    events: broadcast::Sender<(String, Value)>,
}

#[derive(Default)]
struct Objects {
    by_path: BTreeMap<String, Vec<Value>>,
    version: u64,
    /// Requests, as `list PATH` and `watch PATH`.
    asked: Vec<String>,
    /// Watches from before this version are told that it is gone.
    oldest: u64,
}

type Parameters = Query<BTreeMap<String, String>>;

async fn answer(
    State(api): State<Api>,
    uri: Uri,
    Query(parameters): Parameters,
    headers: HeaderMap,
) -> Response {
    let get = |name: &str| parameters.get(name).cloned().unwrap_or_default();
    if headers
        .get("authorization")
        .is_none_or(|token| token != "Bearer t0ken")
    {
        let refused = Response::builder().status(StatusCode::UNAUTHORIZED);
        return refused.body(Body::from("who are you?")).unwrap();
    }
    let path = uri.path().to_owned();
    if get("watch") == "true" {
        return watch(&api, path, get("resourceVersion").parse().unwrap_or(0));
    }
    let mut state = api.state.lock().unwrap();
    let selectors = format!("{}{}", get("labelSelector"), get("fieldSelector"));
    state
        .asked
        .push(format!("list {path} {selectors}").trim_end().to_owned());
    let all = state.by_path.get(&path).cloned().unwrap_or_default();
    // Two objects an answer.
    let from: usize = get("continue").parse().unwrap_or(0);
    let more = match from + 2 < all.len() {
        true => (from + 2).to_string(),
        false => String::new(),
    };
    let items: Vec<Value> = all.into_iter().skip(from).take(2).collect();
    let metadata = json!({"resourceVersion": state.version.to_string(), "continue": more});
    Response::new(Body::from(
        json!({"metadata": metadata, "items": items}).to_string(),
    ))
}

fn watch(api: &Api, path: String, from: u64) -> Response {
    let mut state = api.state.lock().unwrap();
    state.asked.push(format!("watch {path}"));
    if from < state.oldest {
        let gone = json!({"type": "ERROR", "object": {"kind": "Status", "code": 410}});
        return Response::new(Body::from(format!("{gone}\n")));
    }
    let changes = api.events.subscribe();
    let lines = futures_util::stream::unfold((changes, path), |(mut changes, path)| async {
        loop {
            let (changed, event) = changes.recv().await.ok()?;
            if changed == path {
                let line = format!("{event}\n").into_bytes();
                return Some((Ok::<_, std::io::Error>(line), (changes, path)));
            }
        }
    });
    Response::new(Body::from_stream(lines))
}

impl Api {
    /// Serves these objects; the address.
    async fn start(objects: &[(&str, Vec<Value>)]) -> (Api, String) {
        let by_path = objects
            .iter()
            .map(|(path, all)| ((*path).to_owned(), all.clone()));
        let api = Api {
            state: Arc::new(Mutex::new(Objects {
                by_path: by_path.collect(),
                version: 10,
                ..Objects::default()
            })),
            events: broadcast::channel(16).0,
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let routes = axum::Router::new().fallback(answer).with_state(api.clone());
        Tasks::new().spawn_brief("API server", async move {
            axum::serve(listener, routes).await.unwrap();
        });
        (api, url)
    }

    fn change(&self, kind: &str, path: &str, mut object: Value) {
        let mut state = self.state.lock().unwrap();
        state.version += 1;
        object["metadata"]["resourceVersion"] = json!(state.version.to_string());
        let all = state.by_path.entry(path.to_owned()).or_default();
        all.retain(|other| other["metadata"]["name"] != object["metadata"]["name"]);
        if kind != "DELETED" {
            all.push(object.clone());
        }
        let event = json!({"type": kind, "object": object});
        // Nobody may be watching just now; the next watch of this test begins with a list.
        let _ = self.events.send((path.to_owned(), event));
    }

    fn asked(&self, what: &str) -> usize {
        let state = self.state.lock().unwrap();
        state.asked.iter().filter(|asked| *asked == what).count()
    }
}

struct Finder {
    sources: Sources,
    context: Context,
}

impl Finder {
    /// Discovery as a job with these lines has it.
    fn start(url: &str, lines: &str, kept: &Kept) -> Finder {
        let text = format!(
            "scrape_configs: [{{job_name: a, kubernetes_sd_configs: [{{api_server: '{url}', authorization: {{credentials: t0ken}}, {lines}}}]}}]"
        );
        let config = EdgeConfig::parse(&text, std::path::Path::new("x")).unwrap();
        let discovery: &[Discovery] = &config.jobs[0].discovery;
        let context = Context {
            clock: Arc::new(SystemClock::new()),
            tasks: Tasks::new(),
            found: Arc::new(Notify::new()),
            kept: kept.clone(),
        };
        let mut sources = Sources::new(discovery);
        sources.start(&context, "a");
        Finder { sources, context }
    }

    /// Targets once there are as many, by address.
    async fn targets(&mut self, count: usize) -> BTreeMap<String, Discovered> {
        let found = async {
            loop {
                let targets = self.sources.targets();
                if targets.len() == count && !self.sources.status()[0].from_disk {
                    return targets;
                }
                self.context.found.notified().await;
            }
        };
        let found = tokio::time::timeout(Duration::from_secs(20), found).await;
        let found = found.unwrap_or_else(|_| {
            panic!("{:?}\n{:?}", self.sources.targets(), self.sources.status())
        });
        found
            .into_iter()
            .map(|target| (target["__address__"].clone(), target))
            .collect()
    }
}

/// A target's labels without their prefix, and without those that only say that another is there.
fn plain(target: &Discovered) -> String {
    let shown = target.iter().filter(|(name, _)| !name.contains("present_"));
    let shown =
        shown.map(|(name, value)| format!("{}={value}", name.replace("__meta_kubernetes_", "")));
    shown.collect::<Vec<_>>().join(" ")
}

fn meta(name: &str, namespace: &str) -> Value {
    json!({
        "name": name, "namespace": namespace, "uid": format!("uid-{name}"),
        "labels": {"app.kubernetes.io/name": "x"}, "annotations": null,
    })
}

fn pod(name: &str, ip: &str) -> Value {
    json!({
        "metadata": {
            "name": name, "namespace": "ns", "uid": format!("uid-{name}"), "labels": {"app": "x"},
            "ownerReferences": [{"kind": "ReplicaSet", "name": "rs", "controller": true}],
        },
        "spec": {"nodeName": "n1", "containers": [
            {"name": "main", "image": "img:1", "ports": [
                {"name": "web", "containerPort": 8080, "protocol": "TCP"},
                {"name": "admin", "containerPort": 9090, "protocol": "TCP"},
            ]},
            {"name": "bare", "image": "img:2"},
        ]},
        "status": {"podIP": ip, "hostIP": "10.0.0.1", "phase": "Running",
            "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [{"name": "main", "containerID": "c://1"}]},
    })
}

fn node() -> Value {
    json!({
        "metadata": {"name": "n1", "labels": {"zone": "z1"}},
        "spec": {"providerID": "cloud://1"},
        "status": {
            "addresses": [
                {"type": "Hostname", "address": "n1.test"},
                {"type": "InternalIP", "address": "10.0.0.1"},
                {"type": "InternalIP", "address": "fd00::1"},
            ],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
        },
    })
}

fn service() -> Value {
    json!({
        "metadata": meta("web", "ns"),
        "spec": {"type": "LoadBalancer", "clusterIP": "10.1.0.1", "loadBalancerIP": "1.2.3.4",
            "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]},
    })
}

#[tokio::test]
async fn pods_with_their_node_through_pages_changes_and_a_version_that_is_gone() {
    let pods = (1..=3)
        .map(|n| pod(&format!("p{n}"), &format!("10.2.0.{n}")))
        .collect();
    let path = "/api/v1/namespaces/ns/pods";
    let (api, url) = Api::start(&[(path, pods), ("/api/v1/nodes", vec![node()])]).await;
    let lines = "role: pod, namespaces: {names: [ns]}, attach_metadata: {node: true}, selectors: [{role: pod, label: app=x, field: a=b}]";
    let mut finder = Finder::start(&url, lines, &Kept::default());
    // Two ports and a container without any, three times.
    let targets = finder.targets(9).await;
    assert_eq!(
        plain(&targets["10.2.0.1:8080"]),
        "__address__=10.2.0.1:8080 namespace=ns node_label_zone=z1 node_name=n1 \
         pod_container_id=c://1 pod_container_image=img:1 pod_container_init=false pod_container_name=main \
         pod_container_port_name=web pod_container_port_number=8080 pod_container_port_protocol=TCP \
         pod_controller_kind=ReplicaSet pod_controller_name=rs pod_host_ip=10.0.0.1 pod_ip=10.2.0.1 \
         pod_label_app=x pod_name=p1 pod_node_name=n1 pod_phase=Running pod_ready=true pod_uid=uid-p1"
    );
    assert_eq!(
        targets["10.2.0.1"]["__meta_kubernetes_pod_container_name"],
        "bare"
    );
    assert_eq!(
        targets["10.2.0.1"]["__meta_kubernetes_pod_labelpresent_app"],
        "true"
    );
    assert_eq!(api.asked(&format!("list {path} app=xa=b")), 2, "two pages");

    while api.asked(&format!("watch {path}")) == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    api.change("ADDED", path, pod("p4", "10.2.0.4"));
    finder.targets(12).await;
    api.change("MODIFIED", path, pod("p4", ""));
    finder.targets(9).await;
    api.change("DELETED", path, pod("p3", ""));
    finder.targets(6).await;

    // Changes that the watch does not see, and then it cannot go on from where it was.
    {
        let mut state = api.state.lock().unwrap();
        state.version += 100;
        state.oldest = state.version;
        state
            .by_path
            .get_mut(path)
            .unwrap()
            .push(pod("p5", "10.2.0.5"));
    }
    let error = json!({"type": "ERROR", "object": {"code": 410}});
    api.events.send((path.to_owned(), error)).unwrap();
    let targets = finder.targets(9).await;
    assert!(targets.contains_key("10.2.0.5:9090"));
    assert!(
        finder.sources.look(),
        "a look sees that there is something new"
    );
    assert!(!finder.sources.look());
}

#[tokio::test]
async fn nodes_services_and_ingresses() {
    let ingress = json!({
        "metadata": meta("front", "ns"),
        "spec": {"ingressClassName": "nginx", "tls": [{"hosts": ["*.example.com"]}], "rules": [
            {"host": "a.example.com", "http": {"paths": [{"path": "/x"}, {"path": null}]}},
            {"host": "b.test"},
        ]},
    });
    let (_, url) = Api::start(&[
        ("/api/v1/nodes", vec![node()]),
        ("/api/v1/services", vec![service()]),
        ("/apis/networking.k8s.io/v1/ingresses", vec![ingress]),
    ])
    .await;
    let kept = Kept::default();
    let nodes = Finder::start(&url, "role: node", &kept).targets(1).await;
    assert_eq!(
        plain(&nodes["10.0.0.1:10250"]),
        "__address__=10.0.0.1:10250 node_address_Hostname=n1.test node_address_InternalIP=10.0.0.1 \
         node_label_zone=z1 node_name=n1 node_provider_id=cloud://1 instance=n1"
    );
    let services = Finder::start(&url, "role: service", &kept).targets(1).await;
    assert_eq!(
        plain(&services["web.ns.svc:80"]),
        "__address__=web.ns.svc:80 namespace=ns service_cluster_ip=10.1.0.1 \
         service_label_app_kubernetes_io_name=x service_loadbalancer_ip=1.2.3.4 service_name=web service_port_name=http \
         service_port_number=80 service_port_protocol=TCP service_type=LoadBalancer"
    );
    let mut finder = Finder::start(&url, "role: ingress", &kept);
    finder.targets(3).await;
    let ingresses: Vec<String> = finder.sources.targets().iter().map(plain).collect();
    assert_eq!(
        ingresses[0],
        "__address__=a.example.com ingress_class_name=nginx ingress_host=a.example.com \
         ingress_label_app_kubernetes_io_name=x ingress_name=front ingress_path=/x ingress_scheme=https namespace=ns"
    );
    assert!(
        ingresses[1].contains("ingress_path=/ ingress_scheme=https"),
        "{}",
        ingresses[1]
    );
    assert!(
        ingresses[2].contains("ingress_host=b.test")
            && ingresses[2].contains("ingress_scheme=http ")
    );
}

#[tokio::test]
async fn endpoints_and_slices_with_what_is_behind_them() {
    let target = json!({"kind": "Pod", "namespace": "ns", "name": "p1"});
    let endpoints = json!({
        "metadata": meta("web", "ns"),
        "subsets": [{
            "addresses": [{"ip": "10.2.0.1", "nodeName": "n1", "hostname": "h", "targetRef": target}],
            "notReadyAddresses": [{"ip": "10.2.0.9"}],
            "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        }],
    });
    let mut slice_meta = meta("web-1", "ns");
    slice_meta["labels"] = json!({"kubernetes.io/service-name": "web"});
    let slice = json!({
        "metadata": slice_meta, "addressType": "IPv4",
        "endpoints": [{
            "addresses": ["10.2.0.1"], "conditions": {"ready": true, "serving": true, "terminating": false},
            "nodeName": "n1", "zone": "z1", "targetRef": target,
        }],
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP", "appProtocol": "h2c"}],
    });
    let (_, url) = Api::start(&[
        ("/api/v1/endpoints", vec![endpoints]),
        ("/apis/discovery.k8s.io/v1/endpointslices", vec![slice]),
        ("/api/v1/services", vec![service()]),
        ("/api/v1/pods", vec![pod("p1", "10.2.0.1")]),
    ])
    .await;
    let kept = Kept::default();
    // One ready, one not, and the pod's port that the endpoints do not have.
    let targets = Finder::start(&url, "role: endpoints", &kept)
        .targets(3)
        .await;
    let ready = plain(&targets["10.2.0.1:8080"]);
    for part in [
        "endpoint_address_target_kind=Pod endpoint_address_target_name=p1 endpoint_hostname=h endpoint_node_name=n1 endpoint_port_name=http endpoint_port_protocol=TCP endpoint_ready=true",
        "endpoints_label_app_kubernetes_io_name=x endpoints_name=web namespace=ns pod_container_image=img:1 pod_container_name=main pod_container_port_name=web",
        "pod_name=p1",
        "service_label_app_kubernetes_io_name=x service_name=web",
    ] {
        assert!(ready.contains(part), "{ready}\nlacks {part}");
    }
    assert_eq!(
        targets["10.2.0.9:8080"]["__meta_kubernetes_endpoint_ready"],
        "false"
    );
    let other = plain(&targets["10.2.0.1:9090"]);
    assert!(
        other.contains("pod_container_port_name=admin") && !other.contains("endpoint_ready"),
        "{other}"
    );

    let targets = Finder::start(&url, "role: endpointslice", &kept)
        .targets(2)
        .await;
    let ready = plain(&targets["10.2.0.1:8080"]);
    for part in [
        "endpointslice_address_target_kind=Pod endpointslice_address_target_name=p1 endpointslice_address_type=IPv4",
        "endpointslice_endpoint_conditions_ready=true endpointslice_endpoint_conditions_serving=true endpointslice_endpoint_conditions_terminating=false",
        "endpointslice_endpoint_node_name=n1 endpointslice_endpoint_zone=z1",
        "endpointslice_name=web-1 endpointslice_port=8080 endpointslice_port_app_protocol=h2c endpointslice_port_name=http endpointslice_port_protocol=TCP",
        "pod_name=p1",
        "service_name=web",
    ] {
        assert!(ready.contains(part), "{ready}\nlacks {part}");
    }
}

#[tokio::test]
async fn what_was_found_outlasts_the_server_and_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let kept = Kept::of(folder.path());
    let (_, url) = Api::start(&[("/api/v1/nodes", vec![node()])]).await;
    Finder::start(&url, "role: node", &kept).targets(1).await;
    let written = || {
        let files = std::fs::read_dir(folder.path().join("kept"));
        let mut names = files
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path());
        names.any(|name| name.extension().is_none())
    };
    while !written() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // Another process, and a server that does not know us any more.
    let text = url.replace("http://", "http://x:y@");
    let finder = Finder::start(&url, "role: node", &kept);
    assert_eq!(finder.sources.targets().len(), 1);
    assert!(finder.sources.status()[0].from_disk);
    let other = Finder::start(&text, "role: node", &kept);
    assert_eq!(
        other.sources.targets().len(),
        0,
        "another server's are not this one's"
    );
}
