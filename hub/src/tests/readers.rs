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
