//! An alert's whole way: a rule fires, a real Alertmanager has it, its webhook comes back through the router to the contact of
//! the branch; then it resolves, the same way.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;
use tests::peers::{Peer, all_there};
use tests::server::{Answer, Server};
use tests::service::Service;
use tests::wait;

use crate::setup::EdgeConfig;

const LONG: Duration = Duration::from_secs(60);
/// Where the router takes an Alertmanager's webhook.
const WEBHOOK: &str = "/api/v1/webhook";

/// A door that is open or closed.
struct Door {
    open: Arc<AtomicBool>,
    server: Server,
}

impl Door {
    fn start() -> Self {
        let open = Arc::new(AtomicBool::new(false));
        let server = Server::start({
            let open = open.clone();
            move |_| {
                Answer::metrics(format!(
                    "door_open{{door=\"back\"}} {}\n",
                    u8::from(open.load(Ordering::SeqCst))
                ))
            }
        });
        Self { open, server }
    }

    fn set_open(&self, open: bool) {
        self.open.store(open, Ordering::SeqCst);
    }
}

fn write_rules(folder: &Path) -> String {
    let path = folder.join("rules.yml");
    let text = "groups:\n- name: doors\n  interval: 1s\n  rules:\n  - alert: DoorOpen\n    expr: door_open == 1\n    for: 1s\n    \
                labels: {severity: warning}\n    annotations: {summary: 'the {{ $labels.door }} door of {{ $labels.branch }} is open'}\n";
    std::fs::write(&path, text).expect("a rule file");
    path.display().to_string()
}

/// An Alertmanager whose one receiver is the webhook of the router at `router`.
fn alertmanager(folder: &Path, router: &str) -> Service {
    let config = format!(
        "route: {{receiver: branches, group_by: [alertname, branch], group_wait: 0s, group_interval: 1s, repeat_interval: 1h}}\n\
         receivers:\n- name: branches\n  webhook_configs: [{{url: 'http://{router}{WEBHOOK}', send_resolved: true}}]\n"
    );
    Service::alertmanager(folder).config(&config).start()
}

/// What amtool shows of the alert, as a person would ask for it.
fn amtool(alertmanager: &Service) -> Vec<Value> {
    let output = Command::new(Peer::Amtool.path())
        .arg(format!("--alertmanager.url={}", alertmanager.url("")))
        .args(["--output=json", "alert", "query", "alertname=DoorOpen"])
        .output()
        .expect("amtool runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let shown: Value = serde_json::from_slice(&output.stdout).expect("amtool prints JSON");
    shown.as_array().expect("a list").clone()
}

/// The alerts that a contact got, with their status.
fn notified(contact: &Server) -> Vec<(String, Value)> {
    contact
        .requests()
        .iter()
        .flat_map(|request| {
            let message: Value =
                serde_json::from_slice(&request.body).expect("a webhook message is JSON");
            assert_eq!(message["version"], "4", "as Alertmanager sends it");
            let alerts = message["alerts"].as_array().expect("alerts").clone();
            alerts
                .into_iter()
                .map(|alert| (alert["status"].as_str().unwrap_or("").to_owned(), alert))
        })
        .collect()
}

/// Opens the door, follows the alert; closes it, follows its end.
fn follow(door: &Door, alertmanager: &Service, contact: &Server, other_contact: &Server) {
    door.set_open(true);
    let alert = wait::until(LONG, "amtool sees the alert", || {
        amtool(alertmanager)
            .into_iter()
            .next()
            .ok_or_else(|| "none".to_owned())
    });
    assert_eq!(alert["labels"]["branch"], "b01");
    assert_eq!(alert["labels"]["severity"], "warning");
    assert_eq!(
        alert["annotations"]["summary"],
        "the back door of b01 is open"
    );
    let firing = wait::until(LONG, "the branch's contact hears of it", || {
        let found = notified(contact)
            .into_iter()
            .find(|(status, _)| status == "firing");
        found.ok_or_else(|| "nothing".to_owned())
    });
    assert_eq!(firing.1["labels"]["alertname"], "DoorOpen");
    assert_eq!(firing.1["labels"]["branch"], "b01");

    door.set_open(false);
    wait::until(LONG, "amtool sees it resolved", || {
        let alerts = amtool(alertmanager);
        if alerts.is_empty() {
            Ok(())
        } else {
            Err(format!("{alerts:?}"))
        }
    });
    wait::until(LONG, "the branch's contact hears of its end", || {
        let found = notified(contact)
            .into_iter()
            .find(|(status, _)| status == "resolved");
        found.map(|_| ()).ok_or_else(|| "nothing".to_owned())
    });
    assert!(
        other_contact.requests().is_empty(),
        "another branch's contact hears nothing of it"
    );
}

fn contacts(contact: &Server, other: &Server) -> String {
    format!(
        "contacts: {{b01: {{url: '{}'}}, b02: {{url: '{}'}}}}",
        contact.url("/hook"),
        other.url("/hook")
    )
}

#[test]
fn a_rule_of_the_hub_reaches_a_real_alertmanager_and_comes_back_to_the_branch() {
    if !all_there(&[Peer::Alertmanager, Peer::Amtool]) {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let (door, contact, other) = (Door::start(), webhook_receiver(), webhook_receiver());
    let hub = Service::hub(&folder.path().join("hub"));
    let alertmanager = alertmanager(&folder.path().join("alertmanager"), hub.address());
    let config = format!(
        "rule_files: ['{}']\nalerting:\n  alertmanagers:\n  - static_configs: [{{targets: ['{}']}}]\nbranchline:\n  {}\n",
        write_rules(folder.path()),
        alertmanager.address(),
        contacts(&contact, &other)
    );
    let hub = hub.config(&config).start();
    let edge_config = EdgeConfig {
        branch: "b01",
        interval: "500ms",
        targets: &[("doors", &door.server.address())],
        url: &hub.url("/api/v1/write"),
        token_file: None,
        node_collector: false,
    };
    let _edge = Service::edge(&folder.path().join("edge"))
        .config(&edge_config.text())
        .start();
    follow(&door, &alertmanager, &contact, &other);
    let states = hub
        .api()
        .query("ALERTS{alertname=\"DoorOpen\"}")
        .expect("an answer");
    assert!(states.is_empty(), "resolved at the hub too: {states:?}");
}

#[test]
fn a_rule_of_prometheus_goes_through_the_router_on_its_own() {
    if !all_there(&[Peer::Prometheus, Peer::Alertmanager, Peer::Amtool]) {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let (door, contact, other) = (Door::start(), webhook_receiver(), webhook_receiver());
    let router = Service::router(&folder.path().join("router"));
    let alertmanager = alertmanager(&folder.path().join("alertmanager"), router.address());
    let config = format!(
        "alertmanagers:\n- static_configs: [{{targets: ['{}']}}]\n{}\n",
        alertmanager.address(),
        contacts(&contact, &other)
    );
    let mut router = router.config(&config).start();
    let prometheus_config = format!(
        "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: ['{}']\nscrape_configs:\n- job_name: doors\n  \
         static_configs: [{{targets: ['{}'], labels: {{branch: b01}}}}]\nalerting:\n  alertmanagers:\n  - static_configs: [{{targets: ['{}']}}]\n",
        write_rules(folder.path()),
        door.server.address(),
        router.address()
    );
    let _prometheus = Service::prometheus(&folder.path().join("prometheus"))
        .config(&prometheus_config)
        .start();
    follow(&door, &alertmanager, &contact, &other);

    // What is on its way survives the router's death.
    door.set_open(true);
    wait::until(LONG, "amtool sees it again", || {
        if amtool(&alertmanager).is_empty() {
            Err("none".to_owned())
        } else {
            Ok(())
        }
    });
    router.kill_9();
    router.start_again();
    door.set_open(false);
    wait::until(LONG, "resolved after the router's restart", || {
        let alerts = amtool(&alertmanager);
        if alerts.is_empty() {
            Ok(())
        } else {
            Err(format!("{alerts:?}"))
        }
    });
}

fn webhook_receiver() -> Server {
    Server::start(|_| Answer::status(200, "thanks"))
}
