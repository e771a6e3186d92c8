//! What the API answers to a wrong question: status, type and text.

use super::harness::{TestHub, answer, encode, series};

async fn check(
    hub: &TestHub,
    path: &str,
    parameters: &[(&str, &str)],
    (status, kind): (u16, &str),
    text: &str,
) {
    let parameters = encode(parameters);
    let by_get = hub.get(&format!("{path}?{parameters}")).await;
    let by_post = hub.post(path, &parameters).await;
    for answer in [by_get, by_post] {
        if answer.status == 405 {
            continue;
        }
        let what = format!("{path}?{parameters}: {}", answer.text());
        assert_eq!(answer.status, status, "{what}");
        assert_eq!(answer.header("content-type"), "application/json");
        let json = answer.json();
        assert_eq!(json["status"], "error", "{what}");
        assert_eq!(json["errorType"], kind, "{what}");
        assert_eq!(json["error"], text, "{what}");
    }
}

const BAD: (u16, &str) = (400, "bad_data");

#[tokio::test]
async fn instant_queries() {
    let hub = TestHub::start("").await;
    let path = "/api/v1/query";
    let bad = async |parameters: &[(&str, &str)], text: &str| {
        check(&hub, path, parameters, BAD, text).await;
    };
    bad(&[], r#"invalid parameter "query": missing, give query=…"#).await;
    bad(
        &[("query", "up{")],
        r#"invalid parameter "query": 1:4: parse error: unexpected end of input inside braces"#,
    )
    .await;
    bad(
        &[("query", "up"), ("time", "now")],
        r#"invalid parameter "time": cannot parse "now" to a valid timestamp"#,
    )
    .await;
    bad(
        &[("query", "up"), ("limit", "-1")],
        r#"invalid parameter "limit": limit must be non-negative"#,
    )
    .await;
    bad(
        &[("query", "up"), ("timeout", "soon")],
        r#"invalid parameter "timeout": cannot parse "soon" to a valid duration"#,
    )
    .await;
    bad(
        &[("query", "up"), ("timeout", "1e30")],
        r#"invalid parameter "timeout": cannot parse "1e30" to a valid duration. It overflows int64"#,
    )
    .await;
    bad(
        &[("query", "up"), ("lookback_delta", "-5m")],
        r#"invalid parameter "lookback_delta": a negative duration makes no sense here"#,
    )
    .await;
}

#[tokio::test]
async fn queries_that_fail_when_they_run() {
    let hub = TestHub::start("").await;
    let two = |job: &str| series(&[("__name__", "m"), ("job", job)], &[(0, 1.0)]);
    hub.store(vec![two("a"), two("b")]).await;
    check(
        &hub,
        "/api/v1/query",
        &[("query", r#"label_replace(m, "x", "$1", "job", "(")"#)],
        (422, "execution"),
        r#"invalid regular expression in label_replace(): ("#,
    )
    .await;
    let many = hub.get("/api/v1/query?query=m+%2B+on()+m").await;
    assert_eq!(many.status, 422);
    assert_eq!(many.json()["errorType"], "execution");
    assert!(many.text().contains("many-to-many"), "{}", many.text());
}

#[tokio::test]
async fn range_queries() {
    let hub = TestHub::start("").await;
    let bad = async |range: [&str; 3], query: &str, text: &str| {
        let [start, end, step] = range;
        let all = [
            ("query", query),
            ("start", start),
            ("end", end),
            ("step", step),
        ];
        check(&hub, "/api/v1/query_range", &all, BAD, text).await;
    };
    bad(
        ["", "1", "1"],
        "up",
        r#"invalid parameter "start": missing, give start=…"#,
    )
    .await;
    bad(
        ["1", "", "1"],
        "up",
        r#"invalid parameter "end": missing, give end=…"#,
    )
    .await;
    bad(
        ["1", "1", ""],
        "up",
        r#"invalid parameter "step": missing, give step=…"#,
    )
    .await;
    bad(
        ["2", "1", "1"],
        "up",
        r#"invalid parameter "end": end timestamp must not be before start time"#,
    )
    .await;
    for step in ["0", "-1", "-1m"] {
        bad(
            ["1", "2", step],
            "up",
            r#"invalid parameter "step": zero or negative query resolution step widths are not accepted. Try a positive integer"#,
        )
        .await;
    }
    bad(
        ["0", "11001", "1"],
        "up",
        "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)",
    )
    .await;
    bad(
        ["0", "1", "1"],
        "up[1m]",
        r#"invalid parameter "query": invalid expression type "range vector" for range query, must be Scalar or instant Vector"#,
    )
    .await;
    bad(
        ["0", "1", "1"],
        r#""text""#,
        r#"invalid parameter "query": invalid expression type "string" for range query, must be Scalar or instant Vector"#,
    )
    .await;
    // The last resolution that is fine.
    let fine = "/api/v1/query_range?query=1&start=0&end=11000&step=1";
    assert_eq!(hub.get(fine).await.status, 200);
}

#[tokio::test]
async fn series_and_labels() {
    let hub = TestHub::start("").await;
    check(
        &hub,
        "/api/v1/series",
        &[],
        BAD,
        "no match[] parameter provided",
    )
    .await;
    for path in [
        "/api/v1/series",
        "/api/v1/labels",
        "/api/v1/label/job/values",
    ] {
        check(
            &hub,
            path,
            &[("match[]", r#"{job=~".*"}"#)],
            BAD,
            r#"invalid parameter "match[]": match[] must contain at least one non-empty matcher"#,
        )
        .await;
        check(
            &hub,
            path,
            &[("match[]", "up"), ("limit", "-1")],
            BAD,
            r#"invalid parameter "limit": limit must be non-negative"#,
        )
        .await;
        check(
            &hub,
            path,
            &[("match[]", "up"), ("start", "2"), ("end", "1")],
            BAD,
            r#"invalid parameter "end": end timestamp must not be before start time"#,
        )
        .await;
        let text = hub.get(&format!("{path}?match[]=up%7B")).await;
        assert!(
            text.text()
                .contains(r#"invalid parameter \"match[]\": 1:4: parse error"#),
            "{}",
            text.text()
        );
    }
    let answer = hub.get("/api/v1/label/%ff/values").await;
    assert_eq!(answer.status, 400);
    assert_eq!(answer.json()["errorType"], "bad_data");
    assert!(answer.text().contains("invalid label name"));
    check(
        &hub,
        "/api/v1/metadata",
        &[("limit", "many")],
        BAD,
        r#"invalid parameter "limit": must be a number"#,
    )
    .await;
}

#[tokio::test]
async fn exemplars_and_texts() {
    let hub = TestHub::start("").await;
    // Without the parameter's name, as in Prometheus.
    check(
        &hub,
        "/api/v1/query_exemplars",
        &[("query", "up{")],
        BAD,
        "1:4: parse error: unexpected end of input inside braces",
    )
    .await;
    check(
        &hub,
        "/api/v1/query_exemplars",
        &[("query", "up"), ("start", "2"), ("end", "1")],
        BAD,
        r#"invalid parameter "end": end timestamp must not be before start time"#,
    )
    .await;
    check(
        &hub,
        "/api/v1/format_query",
        &[("query", "up{")],
        BAD,
        r#"invalid parameter "query": 1:4: parse error: unexpected end of input inside braces"#,
    )
    .await;
}

#[tokio::test]
async fn rules_and_targets() {
    let hub = TestHub::start("").await;
    check(
        &hub,
        "/api/v1/rules",
        &[("type", "both")],
        BAD,
        r#"invalid parameter "type": not supported value "both""#,
    )
    .await;
    check(
        &hub,
        "/api/v1/rules",
        &[("exclude_alerts", "maybe")],
        BAD,
        r#"invalid parameter "exclude_alerts": cannot parse "maybe" as true or false"#,
    )
    .await;
    check(
        &hub,
        "/api/v1/targets",
        &[("state", "gone")],
        BAD,
        r#"invalid parameter "state": active, dropped or any"#,
    )
    .await;
}

#[tokio::test]
async fn paths_and_methods_that_are_not() {
    let hub = TestHub::start("").await;
    for path in ["/nowhere", "/api/v1/nowhere", "/api/v2/query", "/-/nowhere"] {
        let got = hub.get(path).await;
        assert_eq!((got.status, got.text()), (404, "404 page not found\n"));
    }
    for (method, path) in [
        ("DELETE", "/api/v1/query"),
        ("POST", "/api/v1/rules"),
        ("PUT", "/federate"),
        ("GET", "/api/v1/write"),
        ("POST", "/-/healthy"),
    ] {
        let got = answer(hub.request(method, path)).await;
        assert_eq!(got.status, 405, "{method} {path}");
    }
    let got = hub.get("/-/reload").await;
    assert_eq!(
        (got.status, got.text()),
        (405, "Only POST or PUT requests allowed\n")
    );
    let got = answer(hub.request("GET", "/api/v1/write")).await;
    assert_eq!(got.header("branchline-hub").len(), 16);
}

/// A form that is longer than any query.
#[tokio::test]
async fn forms_are_bounded() {
    let hub = TestHub::start("").await;
    let got = hub
        .post("/api/v1/query", &format!("query={}", "1".repeat(11 << 20)))
        .await;
    assert_eq!(got.status, 400, "{}", got.text());
    assert!(got.text().contains("over 10 MiB"), "{}", got.text());
}
