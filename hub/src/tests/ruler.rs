//! Rules on simulated time.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::harness::{START, TestHub, answer, series, until};

const MINUTE: Duration = Duration::from_secs(60);
const CONFIG: &str = "global: {evaluation_interval: 1m, external_labels: {site: north}}\n\
                      rule_files: ['rules*.yml']\n";

async fn start(rules: &str) -> TestHub {
    let hub = TestHub::start(CONFIG).await;
    hub.put_file("rules.yml", rules);
    reload(&hub).await;
    hub
}

async fn reload(hub: &TestHub) {
    let got = answer(hub.request("POST", "/-/reload")).await;
    assert_eq!(got.status, 200, "{}", got.text());
}

fn evaluations(hub: &TestHub) -> u64 {
    let counts = &hub.hub.state().ruler.counts;
    counts.evaluations.load(Ordering::Relaxed)
}

/// Lets a minute pass: every group has one evaluation in it.
async fn minute(hub: &TestHub) {
    let groups = hub.hub.state().ruler.views().len() as u64;
    let before = evaluations(hub);
    hub.clock.advance(MINUTE);
    until("the groups' evaluations", || async {
        evaluations(hub) >= before + groups
    })
    .await;
}

async fn rule(hub: &TestHub, index: usize) -> serde_json::Value {
    let mut answer = hub.get("/api/v1/rules").await.json();
    answer["data"]["groups"][0]["rules"][index].take()
}

async fn sent_alerts(hub: &TestHub) -> Vec<serde_json::Value> {
    let answer = hub.get("/api/v2/alerts").await.json();
    answer.as_array().expect("alerts").clone()
}

#[tokio::test]
async fn rules_run_on_their_slots_and_alerts_are_sent() {
    let hub = start(
        "groups:\n\
         - name: g\n  rules:\n\
         \x20 - {record: m:sum, expr: sum(m), labels: {kind: sum}}\n\
         \x20 - {alert: High, expr: 'm:sum > 2', labels: {severity: page}, annotations: {summary: 'at {{ $value }}'}}\n\
         \x20 - {alert: Slow, expr: 'm:sum > 2', for: 3m}\n",
    )
    .await;
    assert_eq!(rule(&hub, 1).await["state"], "unknown");
    assert_eq!(
        rule(&hub, 0).await["lastEvaluation"],
        "0001-01-01T00:00:00Z"
    );
    hub.store(vec![series(&[("__name__", "m"), ("n", "1")], &[(0, 1.0)])])
        .await;
    minute(&hub).await;
    assert_eq!(
        hub.query("m:sum").await[0]["metric"].to_string(),
        r#"{"__name__":"m:sum","kind":"sum"}"#
    );
    assert_eq!(rule(&hub, 1).await["state"], "inactive");
    assert!(sent_alerts(&hub).await.is_empty());

    hub.store(vec![series(
        &[("__name__", "m"), ("n", "2")],
        &[(60_000, 4.0)],
    )])
    .await;
    minute(&hub).await;
    let slot = hub.query("timestamp(m:sum)").await[0]["value"][1].clone();
    let high = rule(&hub, 1).await;
    assert_eq!(high["state"], "firing");
    assert_eq!(high["alerts"][0]["value"], "5e+00");
    assert_eq!(high["alerts"][0]["annotations"]["summary"], "at 5");
    assert_eq!(rule(&hub, 2).await["state"], "pending");
    until("the alert is with the router", || async {
        !sent_alerts(&hub).await.is_empty()
    })
    .await;
    let sent = &sent_alerts(&hub).await[0];
    assert_eq!(
        sent["labels"].to_string(),
        r#"{"alertname":"High","kind":"sum","severity":"page","site":"north"}"#
    );
    assert!(
        sent["generatorURL"]
            .as_str()
            .unwrap()
            .starts_with(&format!("http://{}/", hub.hub.address())),
        "{sent}"
    );
    let both = hub.get("/api/v1/alerts").await.json();
    assert_eq!(both["data"]["alerts"].as_array().unwrap().len(), 2);
    assert_eq!(
        hub.count(r#"ALERTS{alertname="Slow",alertstate="pending"}"#)
            .await,
        1
    );
    let only = hub
        .get("/api/v1/rules?type=alert&rule_name[]=Slow&exclude_alerts=true")
        .await
        .json();
    assert!(only["data"]["groups"][0]["rules"][0]["alerts"].is_null());
    let none = hub.get("/api/v1/rules?rule_group[]=other").await;
    assert_eq!(none.text(), r#"{"status":"success","data":{"groups":[]}}"#);
    check_page(&hub, "1 alerts firing").await;

    for _ in 0..3 {
        minute(&hub).await;
    }
    assert_eq!(rule(&hub, 2).await["state"], "firing");
    // The slots are one interval apart: none was missed, none came late.
    let later = hub.query("timestamp(m:sum)").await[0]["value"][1].clone();
    let number = |value: &serde_json::Value| value.as_str().unwrap().parse::<f64>().unwrap();
    assert_eq!(number(&later) - number(&slot), 180.0);
    let counts = &hub.hub.state().ruler.counts;
    assert_eq!(counts.missed.load(Ordering::Relaxed), 0);
    assert_eq!(counts.failures.load(Ordering::Relaxed), 0);
}

async fn check_page(hub: &TestHub, text: &str) {
    let page = hub.get("/").await;
    assert!(page.text().contains(text), "{}", page.text());
}

#[tokio::test]
async fn a_rule_that_fails_says_why_and_the_others_go_on() {
    let hub = start(
        "groups:\n- name: g\n  rules:\n\
         \x20 - {record: bad, expr: 'm * on () m'}\n\
         \x20 - {record: good, expr: count(m)}\n",
    )
    .await;
    let one = |n: &str| series(&[("__name__", "m"), ("n", n)], &[(0, 1.0)]);
    hub.store(vec![one("1"), one("2")]).await;
    minute(&hub).await;
    let bad = rule(&hub, 0).await;
    assert_eq!(bad["health"], "err");
    assert!(
        bad["lastError"].as_str().unwrap().contains("many-to-many"),
        "{bad}"
    );
    assert_eq!(rule(&hub, 1).await["health"], "ok");
    assert_eq!(hub.count("good").await, 1);
    let metrics = hub.get("/metrics").await;
    assert!(
        metrics
            .text()
            .contains("branchline_rule_evaluation_failures_total 1")
    );
}

#[tokio::test]
async fn a_reload_keeps_state_and_marks_what_is_gone() {
    let pending = "groups:\n- name: g\n  rules:\n  - {alert: Slow, expr: vector(1), for: 1h}\n";
    let hub = start(pending).await;
    hub.put_file(
        "rules2.yml",
        "groups: [{name: h, rules: [{record: going, expr: vector(1)}]}]",
    );
    reload(&hub).await;
    minute(&hub).await;
    let since = rule(&hub, 0).await["alerts"][0]["activeAt"].clone();
    assert!(since.is_string());
    assert_eq!(hub.count("going").await, 1);

    std::fs::remove_file(hub.file("rules2.yml")).unwrap();
    reload(&hub).await;
    // Another reload soon after must not forget the group that went with the first.
    hub.put_file("rules.yml", &pending.replace("1h", "2h"));
    reload(&hub).await;
    assert_eq!(rule(&hub, 0).await["alerts"][0]["activeAt"], since);
    assert_eq!(hub.count("going").await, 1, "its rules might have moved");
    minute(&hub).await;
    assert_eq!(rule(&hub, 0).await["alerts"][0]["activeAt"], since);
    minute(&hub).await;
    until("its series are marked stale", || async {
        hub.count("going").await == 0
    })
    .await;
}

#[tokio::test]
async fn a_restart_restores_since_when_an_alert_is_pending() {
    let hub =
        start("groups:\n- name: g\n  rules:\n  - {alert: Slow, expr: vector(1), for: 1h}\n").await;
    for _ in 0..20 {
        minute(&hub).await;
    }
    let active_at = |alert: &serde_json::Value| {
        let text = alert["activeAt"].as_str().expect("a time").to_owned();
        wire::alertmanager::parse_rfc3339(&text)
            .unwrap()
            .unwrap()
            .millis()
    };
    let before = active_at(&rule(&hub, 0).await["alerts"][0]);
    assert!((START..START + 60_000).contains(&before));
    let hub = hub.restart(MINUTE * 4).await;
    minute(&hub).await;
    minute(&hub).await;
    let after = active_at(&rule(&hub, 0).await["alerts"][0]);
    let down = after - before;
    assert!(
        (0..=6 * 60_000).contains(&down),
        "pending since {down} ms later: only the time without evaluations does not count"
    );
}

/// A page that looks at the groups in the very moment of a reload once cost them their state.
#[tokio::test]
async fn looking_on_does_no_harm() {
    let hub =
        start("groups:\n- name: g\n  rules:\n  - {alert: Slow, expr: vector(1), for: 1h}\n").await;
    minute(&hub).await;
    let since = rule(&hub, 0).await["alerts"][0]["activeAt"].clone();
    let state = hub.hub.state().clone();
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let looking = std::thread::spawn({
        let stop = stop.clone();
        move || {
            while !stop.load(Ordering::Relaxed) {
                let views = state.ruler.views();
                assert_eq!(views.len(), 1, "groups are there during a reload too");
            }
        }
    });
    for _ in 0..20 {
        reload(&hub).await;
    }
    stop.store(true, Ordering::Relaxed);
    looking.join().expect("one group at all times");
    assert_eq!(rule(&hub, 0).await["alerts"][0]["activeAt"], since);
}

#[tokio::test]
async fn a_clock_that_is_set_back_does_not_stop_the_rules() {
    let hub = start("groups: [{name: g, rules: [{record: one, expr: vector(1)}]}]").await;
    minute(&hub).await;
    let early = START - 3_600_000;
    hub.clock
        .step_wall_clock(model::Timestamp::from_millis(early));
    // The one that was waited for, and those on the new clock.
    minute(&hub).await;
    minute(&hub).await;
    minute(&hub).await;
    assert_eq!(hub.count("one").await, 1);
}

/// What fires in the last evaluation before a stop is with the router, which keeps it for who cannot be reached.
#[tokio::test]
async fn a_stop_loses_no_alert() {
    let hub = TestHub::start("").await;
    hub.put_file(
        "hub.yml",
        "rule_files: [rules.yml]\n\
         alerting: {alertmanagers: [{static_configs: [{targets: ['127.0.0.1:1']}]}]}\n",
    );
    hub.put_file(
        "rules.yml",
        "groups: [{name: g, rules: [{alert: Always, expr: vector(1)}]}]",
    );
    reload(&hub).await;
    minute(&hub).await;
    let hub = hub.restart(Duration::ZERO).await;
    let outbox = hub.get("/api/v1/outbox").await;
    assert!(outbox.text().contains("Always"), "{}", outbox.text());
}
