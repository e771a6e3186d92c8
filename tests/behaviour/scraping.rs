//! What scraping brings to the hub beside plain numbers: exemplars, native histograms; and pages of protobuf from a real program.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;
use tests::peers::{Peer, all_there};
use tests::server::{Answer, Server};
use tests::service::Service;
use tests::wait;

const LONG: Duration = Duration::from_secs(60);

fn config(jobs: &str, hub: &Service) -> String {
    format!(
        "global: {{scrape_interval: 500ms, scrape_timeout: 500ms}}\n\
         scrape_configs:\n{jobs}\
         remote_write: [{{url: '{}'}}]\n\
         branchline: {{edge: b07, node_collector: {{enabled: false}}}}\n",
        hub.url("/api/v1/write")
    )
}

#[test]
fn exemplars_and_converted_histograms_reach_the_hub() {
    let folder = tempfile::tempdir().expect("a folder");
    let page = "# TYPE calls counter\n\
         calls_total 7 # {trace_id=\"abc\"} 2.5\n\
         # TYPE wait histogram\n\
         wait_bucket{le=\"0.5\"} 1\nwait_bucket{le=\"2\"} 3\nwait_bucket{le=\"+Inf\"} 4\nwait_count 4\nwait_sum 3.5\n# EOF\n";
    let target = Server::start(move |_| Answer {
        status: 200,
        content_type: "application/openmetrics-text; version=1.0.0; charset=utf-8",
        headers: Vec::new(),
        body: page.to_owned(),
    });
    let hub = Service::hub(&folder.path().join("hub")).start();
    let jobs = format!(
        "- job_name: shop\n  convert_classic_histograms_to_nhcb: true\n  static_configs: [{{targets: ['{}']}}]\n",
        target.address()
    );
    let _edge = Service::edge(&folder.path().join("edge"))
        .config(&config(&jobs, &hub))
        .start();
    let api = hub.api();
    let exemplar = wait::until(LONG, "the exemplar", || {
        let form = [
            ("query", "calls_total"),
            ("start", "0"),
            ("end", "9999999999"),
        ];
        let answer = api.post("/api/v1/query_exemplars", &form)?;
        let found = answer["data"][0]["exemplars"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        match found.as_slice() {
            [one, ..] => Ok(one.clone()),
            [] => Err(answer.to_string()),
        }
    });
    assert_eq!(exemplar["labels"]["trace_id"], Value::from("abc"));
    assert_eq!(exemplar["value"], Value::from("2.5"));
    let half = wait::until(LONG, "the histogram", || {
        api.value("histogram_count(wait) + histogram_fraction(0, 0.5, wait)")
    });
    assert_eq!(half, 4.25);
    assert!(
        api.value("wait_count").is_err(),
        "the classic form is not stored too"
    );
}

/// Debian's Prometheus shows its own metrics as text and as protobuf: the same series come out of both.
#[test]
fn a_page_of_protobuf_is_the_same_as_its_text() {
    if !all_there(&[Peer::Prometheus]) {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let peer = Service::prometheus(&folder.path().join("prometheus"))
        .config("global: {}\n")
        .start();
    let hub = Service::hub(&folder.path().join("hub")).start();
    let job = |name: &str, protocol: &str| {
        format!(
            "- job_name: {name}\n  scrape_protocols: [{protocol}]\n  static_configs: [{{targets: ['{}']}}]\n",
            peer.address()
        )
    };
    let jobs = job("text", "PrometheusText0.0.4") + &job("protobuf", "PrometheusProto");
    let _edge = Service::edge(&folder.path().join("edge"))
        .config(&config(&jobs, &hub))
        .start();
    let api = hub.api();
    wait::until(LONG, "both pages", || {
        let up = api.value("sum(up{job=~\"text|protobuf\"})")?;
        let many = api.value("min(scrape_samples_scraped{job=~\"text|protobuf\"})")?;
        match up == 2.0 && many > 300.0 {
            true => Ok(()),
            false => Err(format!("{up} up, {many} samples")),
        }
    });
    // Series come and go with the peer's life: asked until a moment when nothing had just changed.
    let series = |job: &str| -> Result<BTreeSet<String>, String> {
        let found = api.query(&format!("{{job=\"{job}\"}}"))?;
        let plain = found.into_iter().map(|mut series| {
            series.labels.remove("job");
            format!("{:?}", series.labels)
        });
        Ok(plain.collect())
    };
    let both = wait::until(LONG, "the same series from both", || {
        let (text, protobuf) = (series("text")?, series("protobuf")?);
        let alone: Vec<&String> = text.symmetric_difference(&protobuf).collect();
        match alone.is_empty() {
            true => Ok(text),
            false => Err(format!(
                "{} only in one: {:?}",
                alone.len(),
                &alone[..alone.len().min(5)]
            )),
        }
    });
    let histograms = both
        .iter()
        .filter(|labels| labels.contains("_bucket\"") && labels.contains("+Inf"));
    assert!(histograms.count() > 0, "histograms are among them");
}
