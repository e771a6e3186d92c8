//! A query that wants more memory than it may have is refused, says so, and harms nobody.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;
use tests::remote_write::{body, send, series};
use tests::service::Service;

/// Of one query, and enough for whatever adds up while it reads.
const LIMIT: &str = "branchline:\n  query_memory_bytes: 4MiB\n  local_edge: {enabled: false}\n";
const SERIES: usize = 500;
const SCRAPES: i64 = 240;

fn ask(hub: &Service, query: &str) -> (u16, Value) {
    let form = tests::http::form_encode(&[("query", query)]);
    let answer = tests::http::get(&hub.url(&format!("/api/v1/query?{form}"))).expect("an answer");
    let said = serde_json::from_str(&answer.text()).expect("JSON");
    (answer.status, said)
}

#[test]
fn a_query_that_wants_too_much_memory_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let hub = Service::hub(folder.path()).config(LIMIT).start();
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = i64::try_from(since_epoch.expect("after 1970").as_millis()).expect("a time");
    for from in (0..SERIES).step_by(50) {
        let all = (from..from + 50).map(|index| {
            let id = format!("{index}");
            let at = |scrape| (now - (SCRAPES - scrape) * 10_000, scrape as f64);
            let samples: Vec<(i64, f64)> = (0..SCRAPES).map(at).collect();
            series(&[("__name__", "wide"), ("id", &id)], &samples)
        });
        let url = hub.url("/api/v1/write");
        let answer = send(&url, None, &body(all.collect())).expect("an answer");
        assert_eq!(answer.status / 100, 2, "{}", answer.text());
    }
    // All samples as they are, all of them once more, and all of them side by side in one group.
    let too_much = [
        "wide[1h]",
        "rate(wide[1h:10s])",
        "quantile_over_time(0.5, wide[1h:10s])",
        "quantile(0.5, label_replace(wide, \"a\", \"b\", \"\", \"\")) + sum(sum_over_time(wide[1h:5s]))",
    ];
    for query in too_much {
        let (status, said) = ask(&hub, query);
        assert_eq!(
            (status, said["errorType"].as_str()),
            (422, Some("execution")),
            "{query}: {said}"
        );
        let error = said["error"].as_str().unwrap_or_default();
        assert!(error.contains("more than 4 MiB"), "{query}: {error}");
        assert!(error.contains("ask for fewer series"), "{query}: {error}");
    }
    // As many samples, but looked at one series after the other.
    let (status, said) = ask(&hub, "sum(count_over_time(wide[1h]))");
    let all = (SERIES as i64 * SCRAPES).to_string();
    assert_eq!(status, 200, "{said}");
    assert_eq!(
        said["data"]["result"][0]["value"][1],
        Value::from(all),
        "{said}"
    );
}
