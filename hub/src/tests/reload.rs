//! A configuration that changes under a running hub.

use super::harness::{TestHub, answer, body, put_file, series};

async fn reload(hub: &TestHub) -> (u16, String) {
    let got = answer(hub.request("POST", "/-/reload")).await;
    (got.status, got.text().to_owned())
}

async fn write_as(hub: &TestHub, token: &str) -> u16 {
    let body = body(vec![series(&[("__name__", "m")], &[(0, 1.0)])]);
    let request = hub.write_request(body);
    let request = request.header("Authorization", format!("Bearer {token}"));
    answer(request).await.status
}

fn tokens(token: &str) -> String {
    format!("branchline: {{branches: [{{name: b01, token: {token}}}]}}\n")
}

#[tokio::test]
async fn credentials_take_effect_at_once() {
    let hub = TestHub::start(&tokens("old")).await;
    assert_eq!(write_as(&hub, "old").await, 204);
    hub.clock.advance(std::time::Duration::from_secs(60));
    hub.put_file("hub.yml", &tokens("new"));
    assert_eq!(reload(&hub).await, (200, String::new()));
    assert_eq!(write_as(&hub, "old").await, 401);
    assert_eq!(write_as(&hub, "new").await, 204);
    // PUT will do too.
    hub.put_file("hub.yml", &tokens("newer"));
    assert_eq!(answer(hub.request("PUT", "/-/reload")).await.status, 200);
    assert_eq!(write_as(&hub, "newer").await, 204);
    let runtime = hub.get("/api/v1/status/runtimeinfo").await.json();
    assert_eq!(runtime["data"]["lastConfigTime"], "2027-01-15T08:01:00Z");
    assert_eq!(runtime["data"]["reloadConfigSuccess"], true);
}

#[tokio::test]
async fn a_token_file_is_read_anew() {
    let yaml = "branchline: {branches: [{name: b01, token_file: b01.token}]}";
    let folder = tempfile::tempdir().unwrap();
    let absolute = yaml.replace("b01.token", folder.path().join("t").to_str().unwrap());
    put_file(folder.path(), "t", "one\n");
    let hub = TestHub::start(&absolute).await;
    assert_eq!(write_as(&hub, "one").await, 204);
    put_file(folder.path(), "t", "two\n");
    assert_eq!(reload(&hub).await.0, 200);
    assert_eq!(write_as(&hub, "one").await, 401);
    assert_eq!(write_as(&hub, "two").await, 204);
    // Without its file nothing changes, and it is said which one is missing.
    std::fs::remove_file(folder.path().join("t")).unwrap();
    let (status, text) = reload(&hub).await;
    assert_eq!(status, 500);
    assert!(
        text.contains("branchline.branches") && text.contains("/t of branch"),
        "{text}"
    );
    assert_eq!(write_as(&hub, "two").await, 204);
}

#[tokio::test]
async fn a_bad_file_leaves_everything_as_it_was() {
    let rules = "groups: [{name: g, rules: [{record: r, expr: vector(1)}]}]";
    let hub = TestHub::start("").await;
    hub.put_file("rules.yml", rules);
    hub.put_file(
        "hub.yml",
        &format!("{}rule_files: [rules.yml]\n", tokens("good")),
    );
    assert_eq!(reload(&hub).await, (200, String::new()));
    let cases = [
        (
            format!("{}branchlin: 1\n", tokens("bad")),
            "hub.yml:2:1",
            "branchlin",
        ),
        (
            format!("{}rule_files: [bad.yml]\n", tokens("bad")),
            "rule_files",
            "bad.yml:1",
        ),
        ("branchline: [\n".to_owned(), "hub.yml:", ""),
    ];
    hub.put_file(
        "bad.yml",
        "groups: [{name: g, rules: [{record: r, expr: 'up{'}]}]",
    );
    for (yaml, place, key) in cases {
        hub.put_file("hub.yml", &yaml);
        let (status, text) = reload(&hub).await;
        assert_eq!(status, 500, "{yaml}");
        assert!(text.starts_with("failed to reload config: "), "{text}");
        assert!(text.contains(place) && text.contains(key), "{text}");
        assert_eq!(write_as(&hub, "good").await, 204);
        assert_eq!(write_as(&hub, "bad").await, 401);
        let groups = hub.get("/api/v1/rules").await.json();
        assert_eq!(groups["data"]["groups"][0]["name"], "g");
        let config = hub.get("/api/v1/status/config").await;
        assert!(config.text().contains("rules.yml"), "{}", config.text());
        let runtime = hub.get("/api/v1/status/runtimeinfo").await.json();
        assert_eq!(runtime["data"]["reloadConfigSuccess"], false);
    }
    std::fs::remove_file(hub.file("hub.yml")).unwrap();
    assert_eq!(reload(&hub).await.0, 500);
    hub.put_file("hub.yml", &tokens("good"));
    assert_eq!(reload(&hub).await.0, 200);
    let runtime = hub.get("/api/v1/status/runtimeinfo").await.json();
    assert_eq!(runtime["data"]["reloadConfigSuccess"], true);
}

#[tokio::test]
async fn readers_external_labels_and_alertmanagers_change_too() {
    let hub = TestHub::start("").await;
    hub.store(vec![series(&[("__name__", "m")], &[(0, 1.0)])])
        .await;
    hub.put_file(
        "hub.yml",
        "global: {external_labels: {site: north}}\n\
         alerting: {alertmanagers: [{static_configs: [{targets: ['127.0.0.1:1']}]}]}\n\
         branchline: {readers: [{name: g, token: t}]}\n",
    );
    assert_eq!(reload(&hub).await.0, 200);
    assert_eq!(hub.get("/api/v1/labels").await.status, 401);
    let get = |path: &str| answer(hub.request("GET", path).header("Authorization", "Bearer t"));
    let federated = get("/federate?match[]=m").await;
    assert!(
        federated.text().contains(r#"site="north""#),
        "{}",
        federated.text()
    );
    assert_eq!(
        get("/api/v1/alertmanagers").await.json()["data"].to_string(),
        r#"{"activeAlertmanagers":[{"url":"http://127.0.0.1:1/api/v2/alerts"}],"droppedAlertmanagers":[]}"#
    );
}

#[tokio::test]
async fn a_new_branch_is_expected_at_once() {
    let hub = TestHub::start("").await;
    hub.put_file("hub.yml", &tokens("x"));
    assert_eq!(reload(&hub).await.0, 200);
    let page = hub.get("/").await;
    assert!(page.text().contains("not heard yet"), "{}", page.text());
}

/// Requests that wait for a reload hear of the end; they do not hold it up.
#[tokio::test]
async fn a_hub_that_stops_leaves_nobody_waiting() {
    let hub = TestHub::start("").await;
    let state = hub.hub.state().clone();
    hub.hub.shutdown().await.expect("an orderly end");
    let error = state.reload().await.unwrap_err().to_string();
    assert_eq!(error, "the hub is shutting down");
}
