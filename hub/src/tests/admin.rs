//! Deleting series and taking snapshots over HTTP.

use std::path::Path;
use std::sync::Arc;

use serde_json::json;

use super::harness::{TestHub, answer, encode, series};

const PATHS: [&str; 3] = [
    "/api/v1/admin/tsdb/delete_series?match[]=m",
    "/api/v1/admin/tsdb/clean_tombstones",
    "/api/v1/admin/tsdb/snapshot",
];

async fn filled(yaml: &str) -> TestHub {
    let hub = TestHub::start(yaml).await;
    hub.store(vec![
        series(
            &[("__name__", "m"), ("a", "1")],
            &[(-2000, 1.0), (-1000, 2.0)],
        ),
        series(&[("__name__", "m"), ("a", "2")], &[(-1000, 3.0)]),
    ])
    .await;
    hub
}

#[tokio::test]
async fn nothing_of_it_is_on_by_itself() {
    let hub = filled("").await;
    for path in PATHS {
        for method in ["POST", "PUT"] {
            let got = answer(hub.request(method, path)).await;
            assert_eq!(got.status, 500, "{path}");
            let expected = json!({"status": "error", "errorType": "unavailable", "error": "admin APIs disabled"});
            assert_eq!(got.json(), expected);
        }
        assert_eq!(hub.get(path).await.status, 405, "{path}");
    }
    assert_eq!(hub.count("m").await, 2);
}

#[tokio::test]
async fn series_are_deleted_and_a_snapshot_has_them_still() {
    let hub = filled("branchline: {admin_api: true}").await;
    let got = answer(hub.request("POST", "/api/v1/admin/tsdb/snapshot")).await;
    assert_eq!(got.status, 200, "{}", got.text());
    let snapshot = got.json()["data"]["name"]
        .as_str()
        .expect("a name")
        .to_owned();
    assert!(snapshot.starts_with("20270115T080000Z-"), "{snapshot}");

    let delete = "/api/v1/admin/tsdb/delete_series";
    for (form, why) in [
        ("", "no match[] parameter provided"),
        ("match[]={}", "match[]"),
        ("match[]=m&start=2&end=1", "end"),
    ] {
        let got = hub.post(delete, form).await;
        assert_eq!(got.status, 400, "{form}");
        assert!(got.text().contains(why), "{}", got.text());
    }
    assert_eq!(hub.count("m").await, 2);
    let got = hub
        .post(delete, &encode(&[("match[]", "m{a=\"2\"}")]))
        .await;
    assert_eq!((got.status, got.text()), (204, ""));
    assert_eq!(hub.count("m").await, 1);
    // Of the other the newer sample.
    let range = encode(&[("match[]", "m"), ("start", "1799999999")]);
    assert_eq!(
        answer(hub.request("PUT", &format!("{delete}?{range}")))
            .await
            .status,
        204
    );
    assert_eq!(hub.query("m").await[0]["value"][1], "1");
    let got = answer(hub.request("PUT", "/api/v1/admin/tsdb/clean_tombstones")).await;
    assert_eq!((got.status, got.text()), (204, ""));
    assert_eq!(hub.hub.state().store.stats().tombstones, 0);
    assert_eq!(hub.query("m").await[0]["value"][1], "1");

    let folder = hub.file("hub/store/snapshots").join(snapshot);
    let open = |folder: &Path| {
        tsdb::Store::open(Arc::new(hub.disk.clone()), folder, Default::default()).expect("a store")
    };
    let copy = open(&folder);
    assert_eq!(copy.stats().part_rows, 3);
    let bad = answer(hub.request("POST", "/api/v1/admin/tsdb/snapshot?skip_head=x")).await;
    assert_eq!(bad.status, 400);
    let skipped = answer(hub.request("POST", "/api/v1/admin/tsdb/snapshot?skip_head=true")).await;
    assert_eq!(skipped.status, 200);
}

#[tokio::test]
async fn only_administrators_may() {
    let tokens = "branches: [{name: b01, token: write}], readers: [{name: g, token: read}]";
    let yaml = format!(
        "branchline: {{admin_api: true, admins: [{{name: op, token: admin}}], {tokens}, anonymous_reads: true}}"
    );
    let hub = TestHub::start(&yaml).await;
    for path in PATHS {
        for token in [None, Some("write"), Some("read"), Some("")] {
            let mut request = hub.request("POST", path);
            if let Some(token) = token {
                request = request.bearer_auth(token);
            }
            let got = answer(request).await;
            assert_eq!(got.status, 401, "{path} {token:?}");
            assert!(got.text().contains("branchline.admins"));
        }
        let got = answer(hub.request("POST", path).bearer_auth("admin")).await;
        assert!(got.status < 300, "{path}: {}", got.text());
    }
    let refused = crate::HubConfig::parse(
        &format!("branchline: {{admin_api: true, {tokens}}}"),
        Path::new("hub.yml"),
    );
    assert!(
        refused
            .unwrap_err()
            .to_string()
            .contains("branchline.admins")
    );
}
