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

/// What each step takes is counted where it is switched on and asked for; and not what an answer kept from before would
/// have taken.
#[tokio::test]
async fn steps_are_counted_where_that_is_switched_on() {
    let on = Features::from_names(["promql-per-step-stats"]).expect("a name");
    for (features, is_on) in [(Features::default(), false), (on, true)] {
        let hub = TestHub::start_with("", features).await;
        let hour_ago = -3_600_000;
        let samples: Vec<(i64, f64)> = (0..60).map(|n| (hour_ago + n * 10_000, 1.0)).collect();
        hub.store(vec![series(&[("__name__", "m")], &samples)])
            .await;
        let at = (START + hour_ago) / 1000;
        let range = (at + 120, at + 120 + 20);
        let ask = async |stats: &str| {
            let query = encode(&[
                ("query", "sum_over_time(m[1m])"),
                ("start", &range.0.to_string()),
                ("end", &range.1.to_string()),
                ("step", "10"),
            ]);
            let path = format!("/api/v1/query_range?{query}{stats}");
            hub.get(&path).await.json()["data"]["stats"]["samples"].clone()
        };
        // Kept from now on.
        assert!(ask("").await.is_null());
        for again in 0..2 {
            let all = ask("&stats=all").await;
            let samples = ask("&stats=true").await;
            for one in [&all, &samples] {
                assert_eq!(one["totalQueryableSamples"], 18, "{again}: {one}");
                assert_eq!(one["samplesRead"], 8, "{again}: {one}");
            }
            assert!(samples["totalQueryableSamplesPerStep"].is_null());
            let by_step = |counts: [u64; 3]| match is_on {
                true => serde_json::json!(
                    (0..3)
                        .map(|step| (range.0 + 10 * step, counts[step as usize]))
                        .collect::<Vec<_>>()
                ),
                false => serde_json::Value::Null,
            };
            assert_eq!(all["totalQueryableSamplesPerStep"], by_step([6, 6, 6]));
            assert_eq!(all["samplesReadPerStep"], by_step([6, 1, 1]));
        }
        let listed = hub.get("/api/v1/features").await.json();
        assert_eq!(listed["data"]["promql"]["per_step_stats"], is_on);
    }
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
