//! What of PromQL is off unless asked for.

use super::harness::{START, TestHub, encode, native, series};
use crate::{Features, HubConfig};

/// Rules whose expression, and whose template's query, take an experimental function.
const RULES: &str = "groups:\n- name: g\n  rules:\n  - alert: A\n    expr: sort_by_label(m, \"a\") > 0\n    annotations: {found: '{{ with query \"sort_by_label(m, \\\"a\\\")\" }}{{ . | first | value }}{{ end }}'}\n";

fn experimental() -> Features {
    Features::from_names(["promql-experimental-functions"]).expect("a name")
}

#[tokio::test]
async fn queries_take_what_is_switched_on() {
    for (features, status) in [(Features::default(), 400), (experimental(), 200)] {
        let hub = TestHub::start_with("", features).await;
        hub.store(vec![series(&[("__name__", "m"), ("a", "1")], &[(0, 1.0)])])
            .await;
        let query = encode(&[("query", "sort_by_label(m, \"a\")")]);
        for path in ["query", "query_exemplars", "format_query", "parse_query"] {
            let answer = hub.get(&format!("/api/v1/{path}?{query}")).await;
            assert_eq!(answer.status, status, "{path}: {}", answer.text());
        }
    }
}

#[tokio::test]
async fn rule_files_and_templates_take_it_too_also_after_a_reload() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("hub.yml");
    std::fs::write(&file, "rule_files: [rules.yml]\n").expect("a file");
    std::fs::write(folder.path().join("rules.yml"), RULES).expect("a file");
    let refused = HubConfig::load(&file)
        .expect_err("off by default")
        .to_string();
    assert!(refused.contains("sort_by_label"), "{refused}");
    HubConfig::load_with(&file, experimental()).expect("rules that are fine");

    let yaml = "rule_files: ['*.rules']\nglobal: {evaluation_interval: 1s}\n";
    let hub = TestHub::start_with(yaml, experimental()).await;
    hub.store(vec![series(&[("__name__", "m"), ("a", "1")], &[(0, 7.0)])])
        .await;
    hub.put_file("a.rules", RULES);
    let reload = super::harness::answer(hub.request("POST", "/-/reload")).await;
    assert_eq!(reload.status, 200, "{}", reload.text());
    super::harness::until("the alert with what its template found", async || {
        hub.clock.advance(std::time::Duration::from_secs(1));
        let alerts = hub.get("/api/v1/alerts").await.json();
        alerts["data"]["alerts"][0]["annotations"]["found"] == "7"
    })
    .await;
}

/// Senders do not say it, but within a run of histograms it is known that there was no reset: as in Prometheus an operation
/// tells when it mixes histograms from before and after one.
#[tokio::test]
async fn what_is_known_of_counter_resets_reaches_the_engine() {
    let hub = TestHub::start("").await;
    let told = |at: i64, times: i64, reset_hint: i32| {
        let one = native(at);
        wire::remote_write::proto::Histogram {
            count: Some(wire::remote_write::proto::histogram::Count::Int(
                3 * times as u64,
            )),
            positive_deltas: vec![2 * times, -times],
            reset_hint,
            ..one
        }
    };
    let mut all = series(&[("__name__", "h")], &[]);
    all.histograms = vec![told(-4000, 1, 0), told(-3000, 2, 0), told(-2000, 3, 0)];
    hub.store(vec![all.clone()]).await;
    let ask = async || {
        let time = format!("{}", START / 1000);
        let query = encode(&[("query", "sum_over_time(h[10s])"), ("time", &time)]);
        let answer = hub.get(&format!("/api/v1/query?{query}")).await.json();
        answer["warnings"].to_string()
    };
    assert_eq!(ask().await, "null");
    // 1: the source says that it began anew.
    all.histograms = vec![told(-1000, 1, 1)];
    hub.store(vec![all]).await;
    assert!(
        ask().await.contains("conflicting counter resets"),
        "{}",
        ask().await
    );
}
