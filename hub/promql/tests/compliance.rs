//! The queries of the PromQL compliance tester over data of the kind they expect: each gives an answer, or fails as it
//! should. The answers themselves are compared with Prometheus's elsewhere.

use std::time::Duration;

use model::Timestamp;
use promql::script::{Command, MemoryTarget, Target, parse as parse_script, shared_folder};
use promql::{Engine, ParseOptions, QueryOptions, parse};
use serde_json::Value;

fn demo() -> MemoryTarget {
    let mut script = "load 5s\n".to_owned();
    for instance in 10_000..10_003 {
        let labels = format!("instance=\"demo.promlabs.com:{instance}\", job=\"demo\"");
        for (n, kind) in ["used", "free", "cached", "buffers"].iter().enumerate() {
            script +=
                &format!(" demo_memory_usage_bytes{{{labels}, type=\"{kind}\"}} {n}e9+1000x150\n");
        }
        for (n, mode) in ["user", "system", "idle"].iter().enumerate() {
            let n = n + 1;
            script += &format!(
                " demo_cpu_usage_seconds_total{{{labels}, mode=\"{mode}\"}} 0+{n}x80 _ 0+{n}x70\n"
            );
        }
        for (n, le) in ["0.1", "1", "+Inf"].iter().enumerate() {
            let n = n + 1;
            script += &format!(
                " demo_api_request_duration_seconds_bucket{{{labels}, method=\"GET\", path=\"/api/foo\", status=\"200\", le=\"{le}\"}} 0+{n}x150\n"
            );
        }
        for name in ["count", "sum"] {
            script += &format!(
                " demo_api_request_duration_seconds_{name}{{{labels}, method=\"GET\", path=\"/api/foo\", status=\"200\"}} 0+3x150\n"
            );
        }
        script += &format!(" demo_num_cpus{{{labels}}} 4x150\n");
        script += &format!(" demo_disk_usage_bytes{{{labels}}} 10e9+5000x150\n");
        script += &format!(" demo_disk_total_bytes{{{labels}}} 50e9x150\n");
        script += &format!(" demo_batch_last_success_timestamp_seconds{{{labels}}} 0+5x150\n");
        script += &format!(" demo_intermittent_metric{{{labels}}} 1x20 stale _x30 1x90\n");
    }
    let mut target = MemoryTarget::default();
    for command in parse_script(&script).unwrap() {
        if let Command::Load(load) = command {
            target.load(&load).unwrap();
        }
    }
    target
}

#[test]
fn every_query_answers_or_fails_as_it_should() {
    let Some(shared) = shared_folder() else {
        eprintln!("skipped: no shared/promql-compliance beside the checkout");
        return;
    };
    let text = std::fs::read_to_string(shared.join("promql-compliance/queries.jsonl")).unwrap();
    let target = demo();
    let engine = Engine::default();
    let mut queries = 0;
    for line in text.lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        let query = case["query"].as_str().unwrap();
        let now = case.get("should_fail_prometheus_3");
        let should_fail = now
            .or(case.get("should_fail"))
            .and_then(Value::as_bool)
            .unwrap();
        let result = parse(query, &ParseOptions::default())
            .map_err(|e| e.to_string())
            .and_then(|expr| {
                let (start, end) = (
                    Timestamp::from_millis(120_000),
                    Timestamp::from_millis(720_000),
                );
                let step = Duration::from_secs(10);
                let options = QueryOptions::default();
                engine
                    .range(target.storage(), &expr, start, end, step, &options)
                    .map_err(|e| e.to_string())
            });
        let error = result.err();
        assert_eq!(error.is_some(), should_fail, "{query}: {error:?}");
        queries += 1;
    }
    assert!(queries > 300);
}
