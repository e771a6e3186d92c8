//! Who may read.

use super::harness::{TestHub, answer, body, series};

const YAML: &str =
    "branchline: {readers: [{name: grafana, token: read}], branches: [{name: b01, token: write}]}";

#[tokio::test]
async fn readers_prove_who_they_are() {
    let hub = TestHub::start(YAML).await;
    let ask = async |path: &str, authorization: Option<&str>| {
        let mut request = hub.request("GET", path);
        if let Some(value) = authorization {
            request = request.header("Authorization", value);
        }
        answer(request).await
    };
    // grafana:read, and :read
    let good = ["Bearer read", "Basic Z3JhZmFuYTpyZWFk", "Basic OnJlYWQ="];
    for path in [
        "/",
        "/query",
        "/metrics",
        "/federate",
        "/version",
        "/api/v1/query?query=1",
        "/api/v1/status/config",
        "/api/v2/alerts",
        "/nowhere",
    ] {
        for authorization in [None, Some("Bearer write"), Some("Bearer "), Some("Basic x")] {
            let got = ask(path, authorization).await;
            assert_eq!(got.status, 401, "{path} {authorization:?}");
            assert!(got.header("www-authenticate").starts_with("Basic"));
            assert!(got.text().contains("branchline.readers"));
        }
        for authorization in good {
            let got = ask(path, Some(authorization)).await;
            assert_ne!(got.status, 401, "{path} {authorization:?}");
        }
    }
    let reload = answer(hub.request("POST", "/-/reload")).await;
    assert_eq!(reload.status, 401);
    for path in ["/-/healthy", "/-/ready"] {
        assert_eq!(ask(path, None).await.status, 200, "probes have no token");
    }
}

#[tokio::test]
async fn a_reader_is_no_writer() {
    let hub = TestHub::start(YAML).await;
    let send = |token: &str| {
        let body = body(vec![series(&[("__name__", "m")], &[(0, 1.0)])]);
        let request = hub.write_request(body);
        answer(request.header("Authorization", format!("Bearer {token}")))
    };
    assert_eq!(send("read").await.status, 401);
    assert_eq!(send("write").await.status, 204);
}

#[tokio::test]
async fn where_everybody_reads_not_everybody_acts() {
    let branches = "branches: [{name: b01, token: write}]";
    let readers = "readers: [{name: g, token: read}]";
    for (yaml, token) in [
        (
            format!("branchline: {{anonymous_reads: true, {branches}}}"),
            "write",
        ),
        (
            format!("branchline: {{anonymous_reads: true, {branches}, {readers}}}"),
            "read",
        ),
    ] {
        let hub = TestHub::start(&yaml).await;
        for path in ["/", "/api/v1/labels", "/api/v2/alerts", "/metrics"] {
            assert_eq!(hub.get(path).await.status, 200, "{path}");
        }
        for path in ["/-/reload", "/api/v2/alerts", "/api/v1/webhook"] {
            let post = || hub.request("POST", path).body("[]");
            assert_eq!(answer(post()).await.status, 401, "{path}");
            let wrong = post().header("Authorization", "Bearer x");
            assert_eq!(answer(wrong).await.status, 401, "{path}");
            let right = post().header("Authorization", format!("Bearer {token}"));
            assert_ne!(answer(right).await.status, 401, "{path}");
        }
    }
}
