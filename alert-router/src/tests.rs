//! The running router, with Alertmanagers that are functions or real HTTP servers.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use daemon::{Clock, SimClock, SystemClock, Tasks};
use futures_util::future::BoxFuture;
use journal::sim::SimDisk;
use model::{Alert, LabelSet, Timestamp};
use serde_json::{Value, json};

use crate::config::{Destination, RouterConfig};
use crate::deliver::Deliver;
use crate::outbox::{Content, Outcome};
use crate::router::{RouterHandle, RouterOptions, SendError, start_with};

type UpAndGot = (bool, Vec<String>);

/// Destinations by name: whether each is up, and what it got.
#[derive(Clone, Default)]
struct Fake {
    state: Arc<Mutex<BTreeMap<String, UpAndGot>>>,
}

impl Fake {
    fn set_up(&self, name: &str, up: bool) {
        self.state
            .lock()
            .unwrap()
            .entry(name.to_owned())
            .or_default()
            .0 = up;
    }

    fn take(&self, name: &str) -> Vec<String> {
        std::mem::take(
            &mut self
                .state
                .lock()
                .unwrap()
                .entry(name.to_owned())
                .or_default()
                .1,
        )
    }
}

impl Deliver for Fake {
    fn deliver(&self, to: Arc<Destination>, content: Content) -> BoxFuture<'static, Outcome> {
        let mut state = self.state.lock().unwrap();
        let (up, got) = state.entry(to.id.name.clone()).or_default();
        let outcome = match up {
            true => Outcome::Acknowledged,
            false => Outcome::Failed("connection refused".to_owned()),
        };
        if *up {
            match content {
                Content::Alerts(alerts) => got.extend(alerts.iter().map(|a| a.labels.to_string())),
                Content::Notice(message) => {
                    got.extend(message.alerts.iter().map(|a| a.labels["alertname"].clone()))
                }
            }
        }
        Box::pin(std::future::ready(outcome))
    }
}

const CONFIG: &str = "
alertmanagers: [{static_configs: [{targets: ['am1:1', 'am2:1']}]}]
contacts: {b07: {url: 'http://b07/'}}
";

fn alert(name: &str, now: Timestamp, ends_in_s: i64) -> Alert {
    Alert {
        labels: LabelSet::from_pairs([("alertname", name), ("branch", "b07")]).unwrap(),
        annotations: BTreeMap::new(),
        starts_at: now,
        ends_at: Some(Timestamp::from_millis(now.millis() + ends_in_s * 1_000)),
        generator_url: String::new(),
    }
}

struct World {
    fake: Fake,
    disk: SimDisk,
    clock: SimClock,
    tasks: Tasks,
    router: RouterHandle,
}

async fn start(disk: SimDisk, clock: SimClock, fake: Fake) -> World {
    let options = RouterOptions {
        config: RouterConfig::parse(CONFIG, Path::new("router.yml")).unwrap(),
        data_dir: PathBuf::from("/data"),
        disk: Arc::new(disk.clone()),
        clock: Arc::new(clock.clone()),
        listen: None,
        web: daemon::web::Web::default(),
    };
    let tasks = Tasks::new();
    let router = start_with(options, &tasks, Arc::new(fake.clone()), Box::new(|| ()))
        .await
        .unwrap();
    World {
        fake,
        disk,
        clock,
        tasks,
        router,
    }
}

async fn new_world() -> World {
    let fake = Fake::default();
    for name in ["http://am1:1", "http://am2:1", "b07"] {
        fake.set_up(name, true);
    }
    start(
        SimDisk::new(1),
        SimClock::new(Timestamp::from_millis(1_000_000)),
        fake,
    )
    .await
}

impl World {
    /// Waits until nothing is pending for the destination.
    async fn settled(&self, name: &str) {
        for _ in 0..10_000 {
            let status = self.router.status().await.unwrap();
            if status
                .outbox
                .destinations
                .iter()
                .any(|d| d.id.name == name && d.pending == 0)
            {
                return;
            }
            tokio::task::yield_now().await;
        }
        panic!("{name} does not settle: {:?}", self.router.status().await);
    }

    async fn failing(&self, name: &str) {
        for _ in 0..10_000 {
            let status = self.router.status().await.unwrap();
            if status
                .outbox
                .destinations
                .iter()
                .any(|d| d.id.name == name && d.failures_total > 0)
            {
                return;
            }
            tokio::task::yield_now().await;
        }
        panic!("{name} does not fail");
    }
}

#[tokio::test]
async fn resolved_after_a_restart_while_one_was_down() {
    let world = new_world().await;
    world.fake.set_up("http://am2:1", false);
    let now = world.clock.now();
    world.router.send(vec![alert("A", now, 240)]).await.unwrap();
    world.settled("http://am1:1").await;
    world.failing("http://am2:1").await;
    world.router.send(vec![alert("A", now, 0)]).await.unwrap();
    world.settled("http://am1:1").await;
    assert_eq!(world.fake.take("http://am1:1").len(), 2);

    // kill -9: no shutdown of the outbox, only what was synced is there.
    drop(world.router);
    world.tasks.token().cancel();
    world.tasks.shutdown(Duration::from_secs(5)).await.unwrap();
    world.disk.crash();
    world.clock.advance(Duration::from_secs(1_800));
    world.fake.set_up("http://am2:1", true);
    let world = start(world.disk, world.clock, world.fake).await;
    world.settled("http://am2:1").await;
    assert_eq!(
        world.fake.take("http://am2:1"),
        [r#"{alertname="A", branch="b07"}"#]
    );
    assert!(
        world.fake.take("http://am1:1").is_empty(),
        "the other one knows already"
    );
}

#[tokio::test]
async fn a_failed_fsync_is_not_a_confirmation() {
    let world = new_world().await;
    world.disk.fail_syncs(1);
    let error = world
        .router
        .send(vec![alert("A", world.clock.now(), 240)])
        .await
        .unwrap_err();
    assert!(matches!(error, SendError::NotKept(_)), "{error}");
    // Delivered all the same: better twice than not at all.
    world.settled("http://am1:1").await;
    assert_eq!(world.fake.take("http://am1:1").len(), 1);
    assert!(
        world
            .router
            .send(vec![alert("B", world.clock.now(), 240)])
            .await
            .is_err()
    );
    assert!(!world.router.health().is_ready());
}

#[tokio::test]
async fn a_full_disk_refuses_and_recovers() {
    let world = new_world().await;
    world.disk.set_capacity(Some(world.disk.used_bytes()));
    assert!(
        world
            .router
            .send(vec![alert("A", world.clock.now(), 240)])
            .await
            .is_err()
    );
    world.disk.set_capacity(None);
    world
        .router
        .send(vec![alert("A", world.clock.now(), 240)])
        .await
        .unwrap();
    world.settled("http://am1:1").await;
    assert!(world.router.health().is_ready());
}

#[tokio::test]
async fn the_dead_one_is_tried_again_when_time_passes() {
    let world = new_world().await;
    world.fake.set_up("http://am2:1", false);
    world
        .router
        .send(vec![alert("A", world.clock.now(), 240)])
        .await
        .unwrap();
    world.failing("http://am2:1").await;
    world.fake.set_up("http://am2:1", true);
    while world.fake.take("http://am2:1").is_empty() {
        world.clock.advance(Duration::from_millis(20));
        // Its answer comes after whatever the outbox had to do. Such questions once put off the next attempt for as long as
        // they kept coming.
        world.router.status().await.unwrap();
    }
    world.settled("http://am2:1").await;
}

#[tokio::test]
async fn webhooks_are_split_by_branch_and_unknown_branches_counted() {
    let world = new_world().await;
    let now = world.clock.now();
    let mut other = alert("Other", now, 240);
    other.labels = LabelSet::from_pairs([("alertname", "Other"), ("branch", "b99")]).unwrap();
    let alerts = [alert("A", now, 240), other];
    let message =
        wire::alertmanager::Webhook::new("branches", "g", &LabelSet::empty(), &alerts, now);
    let forwarded = world.router.notify(message).await.unwrap();
    assert_eq!((forwarded.forwarded, forwarded.unrouted), (1, 1));
    world.settled("b07").await;
    assert_eq!(world.fake.take("b07"), ["A"]);
    let status = world.router.status().await.unwrap();
    assert_eq!(status.unrouted_by_branch, [("b99".to_owned(), 1)].into());
}

/// Over real HTTP: the router's port, and an Alertmanager that is an axum server.
#[tokio::test]
async fn over_http() {
    let got: Arc<Mutex<Vec<Value>>> = Arc::default();
    let tasks = Tasks::new();
    let listener = daemon::http::listen("127.0.0.1:0".parse().unwrap())
        .await
        .unwrap();
    let am = listener.local_addr().unwrap();
    let seen = Arc::clone(&got);
    let take = move |headers: axum::http::HeaderMap, axum::Json(body): axum::Json<Value>| async move {
        assert_eq!(headers["authorization"], "Bearer s3cret");
        seen.lock().unwrap().push(body);
    };
    let server = axum::Router::new().route("/p/api/v2/alerts", axum::routing::post(take));
    daemon::http::serve(listener, server, &tasks);

    let config = format!(
        "alertmanagers: [{{path_prefix: /p, authorization: {{credentials: s3cret}}, static_configs: [{{targets: ['{am}']}}]}}]"
    );
    let options = RouterOptions {
        config: RouterConfig::parse(&config, Path::new("router.yml")).unwrap(),
        data_dir: PathBuf::from("/data"),
        disk: Arc::new(SimDisk::new(1)),
        clock: Arc::new(SystemClock::new()),
        listen: Some("127.0.0.1:0".parse().unwrap()),
        web: daemon::web::Web::default(),
    };
    let router = crate::Router::start(options, &tasks).await.unwrap();
    let base = format!("http://{}", router.address().unwrap());
    let client = daemon::http::client(&Default::default()).unwrap();
    let post = |path: &str, body: &Value| {
        let body = serde_json::to_vec(body).unwrap();
        client.post(format!("{base}{path}")).body(body).send()
    };

    let alerts =
        json!([{"labels": {"alertname": "A"}, "startsAt": "2026-01-01T00:00:00Z"}, {"labels": {}}]);
    let answer = post("/api/v2/alerts", &alerts).await.unwrap();
    assert_eq!(answer.status(), 400);
    assert_eq!(
        answer.text().await.unwrap(),
        "alert 1: at least one label pair required"
    );
    while got.lock().unwrap().is_empty() {
        router.status().await.unwrap();
    }
    let first = got.lock().unwrap()[0].clone();
    assert_eq!(first[0]["labels"]["alertname"], "A");
    assert_eq!(first[0]["startsAt"], "2026-01-01T00:00:00.000Z");

    let get = |path: &str| client.get(format!("{base}{path}")).send();
    let text = |path: &'static str| async move { get(path).await.unwrap().text().await.unwrap() };
    let known: Value = serde_json::from_str(&text("/api/v2/alerts").await).unwrap();
    assert_eq!(
        (
            known[0]["labels"]["alertname"].as_str(),
            known[0]["status"]["state"].as_str()
        ),
        (Some("A"), Some("active"))
    );
    let outbox: Value = serde_json::from_str(&text("/api/v1/outbox").await).unwrap();
    assert_eq!(outbox["destinations"][0]["name"], format!("http://{am}/p"));
    assert_eq!(outbox["destinations"][0]["kind"], "alertmanager");
    assert_eq!(outbox["destinations"][0]["state"], "ok");
    assert_eq!(text("/-/ready").await, "Alert Router is Ready.\n");
    let metrics = text("/metrics").await;
    for line in [
        "branchline_router_alerts_received_total 1",
        "branchline_router_destination_up{kind=\"alertmanager\"",
        "branchline_router_entries 1",
    ] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
    let webhook = json!({"version": "4", "groupKey": "g", "status": "firing", "receiver": "r", "groupLabels": {}, "commonLabels": {},
        "commonAnnotations": {}, "externalURL": "", "truncatedAlerts": 0, "alerts": [{"status": "firing", "labels": {"branch": "x"},
        "annotations": {}, "startsAt": "2026-01-01T00:00:00Z", "endsAt": "0001-01-01T00:00:00Z", "generatorURL": "", "fingerprint": "0"}]});
    let answer: Value = serde_json::from_str(
        &post("/api/v1/webhook", &webhook)
            .await
            .unwrap()
            .text()
            .await
            .unwrap(),
    )
    .unwrap();
    assert_eq!(answer, json!({"forwarded": 0, "unrouted": 1}));
    assert_eq!(
        post("/api/v2/alerts", &json!({})).await.unwrap().status(),
        400
    );
    assert_eq!(tasks.shutdown(Duration::from_secs(5)).await, Ok(()));
}
