//! Exemplars: what a sender was told to be written is answered, after `kill -9` too, and as a real Prometheus answers it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tests::http;
use tests::peers::{Peer, all_there};
use tests::remote_write::{body, send, series};
use tests::server::{Answer, Server};
use tests::service::Service;
use tests::wait;
use wire::remote_write::proto::{Exemplar, Label, TimeSeries};
use wire::remote_write::v2;

const LONG: Duration = Duration::from_secs(60);

fn now_millis() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.expect("after 1970").as_millis() as i64
}

/// `data` of the answer.
fn exemplars(service: &Service, form: &[(&str, &str)]) -> Result<Value, String> {
    let mut answer = service.api().post("/api/v1/query_exemplars", form)?;
    Ok(answer["data"].take())
}

#[test]
fn what_either_version_of_remote_write_brought_is_there_after_kill_9() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut hub = Service::hub(&folder.path().join("hub")).start();
    let url = hub.url("/api/v1/write");
    // A whole second, so that times are easily told.
    let at = now_millis() / 1000 * 1000 - 5_000;

    let first = TimeSeries {
        exemplars: vec![Exemplar {
            labels: vec![Label {
                name: "trace_id".to_owned(),
                value: "4bf92f3577b34da6".to_owned(),
            }],
            value: 0.25,
            timestamp: at + 250,
        }],
        ..series(&[("__name__", "first_total")], &[(at, 1.0)])
    };
    let answer = send(&url, None, &body(vec![first])).expect("an answer");
    assert_eq!(answer.status, 204, "{}", answer.text());

    let symbols = [
        "",
        "__name__",
        "second_total",
        "trace_id",
        "00f067aa0ba902b7",
    ];
    let message = v2::proto::Request {
        symbols: symbols.map(str::to_owned).to_vec(),
        timeseries: vec![v2::proto::TimeSeries {
            labels_refs: vec![1, 2],
            samples: vec![v2::proto::Sample {
                value: 1.0,
                timestamp: at,
                start_timestamp: 0,
            }],
            exemplars: vec![
                v2::proto::Exemplar {
                    labels_refs: vec![3, 4],
                    value: 3.0,
                    timestamp: at,
                },
                v2::proto::Exemplar {
                    labels_refs: vec![],
                    value: 4.0,
                    timestamp: at + 1_000,
                },
            ],
            ..Default::default()
        }],
    };
    let headers = [
        (
            "Content-Type",
            "application/x-protobuf;proto=io.prometheus.write.v2.Request",
        ),
        ("Content-Encoding", "snappy"),
        ("X-Prometheus-Remote-Write-Version", "2.0.0"),
    ];
    let answer = http::post(&url, &headers, &v2::encode(&message)).expect("an answer");
    assert_eq!(answer.status, 204, "{}", answer.text());
    let written = answer.header("x-prometheus-remote-write-exemplars-written");
    assert_eq!(written, Some("2"));

    let seconds = at / 1000;
    let expected = json!([
        {
            "seriesLabels": {"__name__": "first_total"},
            "exemplars": [{
                "labels": {"trace_id": "4bf92f3577b34da6"},
                "value": "0.25",
                "timestamp": at as f64 / 1000.0 + 0.25,
            }],
        },
        {
            "seriesLabels": {"__name__": "second_total"},
            "exemplars": [
                {"labels": {"trace_id": "00f067aa0ba902b7"}, "value": "3", "timestamp": seconds},
                {"labels": {}, "value": "4", "timestamp": seconds + 1},
            ],
        },
    ]);
    let ask = [("query", "rate(first_total[5m]) + second_total")];
    assert_eq!(exemplars(&hub, &ask), Ok(expected.clone()));
    for _ in 0..2 {
        hub.kill_9();
        hub.start_again();
        assert_eq!(exemplars(&hub, &ask), Ok(expected.clone()));
    }
    // An orderly end seals everything, and frees the log.
    hub.terminate();
    hub.start_again();
    assert_eq!(exemplars(&hub, &ask), Ok(expected));
}

/// A page of OpenMetrics with exemplars that change with every scrape: with times of their own and without.
fn page(scrape: u64) -> String {
    let at = now_millis() as f64 / 1000.0 - 0.5;
    format!(
        "# TYPE requests counter\n\
         requests_total{{code=\"200\"}} {scrape} # {{trace_id=\"t{scrape}\",span_id=\"ü\\\"\\\\\"}} {scrape}.5 {at:.3}\n\
         requests_total{{code=\"500\"}} 1 # {{trace_id=\"always the same\"}} 1 1700000000.125\n\
         # TYPE took histogram\n\
         took_bucket{{le=\"0.1\"}} {scrape} # {{trace_id=\"b{scrape}\"}} 0.05\n\
         took_bucket{{le=\"+Inf\"}} {scrape} # {{}} 1e9 {at:.3}\n\
         took_count {scrape}\n\
         took_sum {scrape}\n\
         # EOF\n"
    )
}

#[test]
fn the_hub_answers_as_the_prometheus_that_sends_them() {
    if !all_there(&[Peer::Prometheus]) {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let mut hub = Service::hub(&folder.path().join("hub"))
        .config("storage: {tsdb: {retention: {time: 20y}}}\n")
        .start();
    let scrapes = Arc::new(AtomicU64::new(0));
    let target = Server::start({
        let scrapes = scrapes.clone();
        move |_| Answer {
            status: 200,
            content_type: "application/openmetrics-text; version=1.0.0; charset=utf-8",
            headers: Vec::new(),
            body: page(scrapes.fetch_add(1, Ordering::SeqCst) + 1),
        }
    });
    let config = format!(
        "global: {{scrape_interval: 250ms, scrape_timeout: 250ms, external_labels: {{branch: b01}}}}\n\
         scrape_configs:\n- job_name: page\n  static_configs: [{{targets: ['{}']}}]\n\
         remote_write:\n- url: '{}'\n  send_exemplars: true\n  queue_config: {{batch_send_deadline: 200ms}}\n",
        target.address(),
        hub.url("/api/v1/write"),
    );
    let prometheus = Service::prometheus(&folder.path().join("prometheus"))
        .config(&config)
        .argument("--enable-feature=exemplar-storage")
        .start();
    wait::until_true(LONG, "a dozen scrapes", || {
        scrapes.load(Ordering::SeqCst) >= 12
    });
    // A time in the past: both sides converge on the same answer, however late the last ones are written.
    let end = (now_millis() as f64 / 1000.0).to_string();
    let query = "sum(rate(requests_total[1m])) / took_bucket{le!=\"7\"}";
    let ask = [("query", query), ("start", "0"), ("end", &*end)];
    let agreed = wait::until(LONG, "the same exemplars on both sides", || {
        let theirs = without_external_labels(exemplars(&prometheus, &ask)?);
        let ours = without_external_labels(exemplars(&hub, &ask)?);
        let series = theirs.as_array().map_or(0, Vec::len);
        let all: usize = lengths(&theirs).iter().sum();
        match ours == theirs && series == 4 && all > 20 {
            true => Ok(ours),
            false => Err(format!("{ours:#}\nPrometheus:\n{theirs:#}")),
        }
    });
    // One is always the same, the others are of each scrape.
    let lengths: BTreeSet<usize> = lengths(&agreed).into_iter().collect();
    assert!(
        lengths.contains(&1) && lengths.iter().any(|length| *length > 5),
        "{agreed:#}"
    );
    let parts = [
        ("query", "requests_total{code=\"500\"}"),
        ("start", "1700000000.125"),
        ("end", "1700000000.125"),
    ];
    let narrow = |service| exemplars(service, &parts).map(without_external_labels);
    assert_eq!(narrow(&hub), narrow(&prometheus));
    assert_eq!(
        narrow(&hub).expect("an answer").as_array().map(Vec::len),
        Some(1)
    );
    drop(prometheus);
    hub.kill_9();
    hub.start_again();
    assert_eq!(
        exemplars(&hub, &ask).map(without_external_labels),
        Ok(agreed)
    );
}

/// Prometheus adds them when it sends, not when it answers.
fn without_external_labels(mut data: Value) -> Value {
    for series in data.as_array_mut().into_iter().flatten() {
        if let Some(labels) = series["seriesLabels"].as_object_mut() {
            labels.remove("branch");
        }
    }
    data
}

fn lengths(data: &Value) -> Vec<usize> {
    let series = data.as_array().into_iter().flatten();
    let lengths = series.map(|series| series["exemplars"].as_array().map_or(0, Vec::len));
    lengths.collect()
}
