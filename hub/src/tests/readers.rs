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

/// `grafana` with the password `secret`; the hash is of the lowest cost.
const USERS: &str =
    "basic_auth_users: {grafana: '$2y$04$e7mwEyX7I0PKx1dC0EwV3Owl4abdoRgDin0qTSNop/6j4.Vvn2/C.'}\n";

const GRAFANA: &str = "Basic Z3JhZmFuYTpzZWNyZXQ=";

#[tokio::test]
async fn users_read_beside_readers_and_branches_still_write() {
    let hub = TestHub::start_with_web(YAML, USERS).await;
    let ask = |method: &str, path: &str, authorization: &str| {
        answer(
            hub.request(method, path)
                .header("Authorization", authorization),
        )
    };
    for path in ["/", "/federate", "/api/v1/query?query=1", "/metrics"] {
        for (authorization, allowed) in [
            (GRAFANA, true),
            ("Bearer read", true),
            ("Bearer write", false),
            ("Basic Z3JhZmFuYTp3cm9uZw==", false),
        ] {
            let got = ask("GET", path, authorization).await;
            assert_eq!(got.status != 401, allowed, "{path} {authorization}");
        }
        assert_eq!(hub.get(path).await.status, 401);
    }
    assert_eq!(ask("POST", "/-/reload", GRAFANA).await.status, 200);
    let send = |authorization: &str| {
        let body = body(vec![series(&[("__name__", "m")], &[(0, 1.0)])]);
        answer(
            hub.write_request(body)
                .header("Authorization", authorization),
        )
    };
    assert_eq!(send(GRAFANA).await.status, 401, "a user is no branch");
    assert_eq!(send("Bearer write").await.status, 204);
    assert_eq!(hub.get("/-/healthy").await.status, 200);
}

#[tokio::test]
async fn without_tokens_a_user_opens_everything() {
    let hub = TestHub::start_with_web("branchline: {admin_api: true}", USERS).await;
    let send = |authorization: Option<&str>| {
        let body = body(vec![series(&[("__name__", "m")], &[(0, 1.0)])]);
        let mut request = hub.write_request(body);
        if let Some(authorization) = authorization {
            request = request.header("Authorization", authorization);
        }
        answer(request)
    };
    assert_eq!(send(None).await.status, 401);
    assert_eq!(send(Some(GRAFANA)).await.status, 204);
    for path in ["/-/reload", "/api/v1/admin/tsdb/clean_tombstones"] {
        assert_eq!(
            answer(hub.request("POST", path)).await.status,
            401,
            "{path}"
        );
        let request = hub.request("POST", path).header("Authorization", GRAFANA);
        assert_ne!(answer(request).await.status, 401, "{path}");
    }
    // Tokens of administrators are for administrators alone.
    let admins = "branchline: {admin_api: true, admins: [{name: a, token: admin}]}";
    let hub = TestHub::start_with_web(admins, USERS).await;
    let clean = |authorization: &str| {
        let path = "/api/v1/admin/tsdb/clean_tombstones";
        answer(
            hub.request("POST", path)
                .header("Authorization", authorization),
        )
    };
    assert_eq!(clean(GRAFANA).await.status, 401);
    assert_ne!(clean("Bearer admin").await.status, 401);
}
