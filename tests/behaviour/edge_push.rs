//! What nobody can scrape is handed to the edge: a real Prometheus and jobs push, files are written, and it all arrives at the hub; what
//! was acknowledged survives a crash, and the Pushgateway's API answers as the Pushgateway.

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tests::peers::{Peer, all_there};
use tests::remote_write::{body, send, series};
use tests::service::Service;
use tests::{http, wait};

use crate::setup::hub_config;

const SOON: Duration = Duration::from_secs(40);

fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.expect("after 1970").as_millis() as i64
}

/// An edge that takes everything and ships to `hub`.
fn config(hub: &str, textfiles: &str) -> String {
    format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 1s, external_labels: {{site: north}}}}\n\
         remote_write: [{{url: '{hub}/api/v1/write', authorization: {{credentials: one}}}}]\n\
         branchline:\n  edge: b01\n  node_collector: {{enabled: false}}\n  remote_write_receiver: true\n  otlp_receiver: true\n\
         \x20 pushgateway: {{group_expiry: 1h}}\n  textfile: {{directory: '{textfiles}'}}\n"
    )
}

#[test]
fn everything_that_is_pushed_arrives() {
    if !all_there(&[Peer::Prometheus]) {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let hub = Service::hub(&folder.path().join("hub"))
        .config(&hub_config(&[("b01", "one")]))
        .start();
    let files = folder.path().join("files");
    fs::create_dir(&files).expect("a folder");
    let write = |text: &str| {
        fs::write(files.join("new"), text).expect("a file");
        fs::rename(files.join("new"), files.join("job.prom")).expect("a file takes its place");
    };
    write("# TYPE nightly_rows gauge\nnightly_rows{table=\"sold\"} 42\n");
    let mut edge = Service::edge(&folder.path().join("edge"))
        .config(&config(&hub.url(""), &files.display().to_string()))
        .start();
    let _prometheus = Service::prometheus(&folder.path().join("prometheus"))
        .config(&format!(
            "global: {{scrape_interval: 1s, scrape_timeout: 1s, external_labels: {{site: inner}}}}\n\
             scrape_configs: [{{job_name: self, static_configs: [{{targets: ['localhost:1']}}]}}]\n\
             remote_write: [{{url: '{}'}}]\n",
            edge.url("/api/v1/write")
        ))
        .start();
    let url = edge.url("/metrics/job/backup/host/h1");
    let push = "# TYPE backup_bytes gauge\nbackup_bytes 7\n";
    let told = http::send("PUT", &url, &[], push.as_bytes()).expect("an answer");
    assert_eq!(told.status, 200, "{}", told.text());
    let otlp = format!(
        r#"{{"resourceMetrics":[{{"resource":{{"attributes":[{{"key":"service.name","value":{{"stringValue":"till"}}}}]}},"scopeMetrics":[{{"metrics":[{{"name":"queue.length","gauge":{{"dataPoints":[{{"asInt":"3","timeUnixNano":"{}000000"}}]}}}}]}}]}}]}}"#,
        now_ms()
    );
    let json = [("Content-Type", "application/json")];
    let told = http::post(&edge.url("/api/v1/otlp/v1/metrics"), &json, otlp.as_bytes());
    assert_eq!(told.expect("an answer").status, 200);
    let api = hub.api();
    let arrives = |selector: &str, value: f64| {
        wait::until(SOON, selector, || match api.value(selector) {
            Ok(found) if found == value => Ok(()),
            other => Err(format!("{other:?}")),
        });
    };
    arrives(
        "nightly_rows{branch=\"b01\",job=\"textfile\",instance=\"b01\",site=\"north\",table=\"sold\"}",
        42.0,
    );
    arrives("node_textfile_scrape_error{job=\"textfile\"}", 0.0);
    arrives(
        "backup_bytes{branch=\"b01\",job=\"backup\",instance=\"\",host=\"h1\",site=\"north\"}",
        7.0,
    );
    arrives("time() - push_time_seconds{job=\"backup\"} < bool 60", 1.0);
    arrives("up{job=\"pushgateway\",instance=\"b01\"}", 1.0);
    arrives(
        "queue_length{branch=\"b01\",job=\"till\",site=\"north\"}",
        3.0,
    );
    // Prometheus's own label stays.
    arrives(
        "up{branch=\"b01\",job=\"self\",instance=\"localhost:1\",site=\"inner\"}",
        0.0,
    );

    // What was acknowledged is there after a crash, and so is what was pushed.
    let at = now_ms();
    let sent = body(vec![series(
        &[("__name__", "sold_total"), ("till", "4")],
        &[(at, 1234.0)],
    )]);
    let told = send(&edge.url("/api/v1/write"), None, &sent).expect("an answer");
    assert_eq!(told.status, 204, "{}", told.text());
    edge.kill_9();
    fs::remove_file(files.join("job.prom")).expect("the file goes");
    edge.start_again();
    arrives(
        "sold_total{branch=\"b01\",till=\"4\",site=\"north\"}",
        1234.0,
    );
    arrives("backup_bytes{job=\"backup\"} + 0 * push_time_seconds", 7.0);

    // A group that is deleted, and a file that goes, end their series.
    write("# TYPE nightly_rows gauge\nnightly_rows{table=\"sold\"} 43\n");
    arrives("nightly_rows", 43.0);
    fs::remove_file(files.join("job.prom")).expect("the file goes");
    let told = http::send("DELETE", &url, &[], &[]).expect("an answer");
    assert_eq!(told.status, 202);
    for selector in ["nightly_rows", "backup_bytes"] {
        wait::until(SOON, "it is stale", || match api.query(selector) {
            Ok(found) if found.is_empty() => Ok(()),
            other => Err(format!("{other:?}")),
        });
    }
    wait::until(SOON, "the sources", || {
        let status = http::get(&edge.url("/api/v1/status/edge")).map_err(|e| e.to_string())?;
        let status: serde_json::Value =
            serde_json::from_str(&status.text()).map_err(|e| e.to_string())?;
        let sources = status["data"]["push"]["sources"].to_string();
        match sources.contains("remote_write") && sources.contains("127.0.0.1") {
            true => Ok(()),
            false => Err(sources),
        }
    });
    let page = http::get(&edge.url("/")).expect("a page").text();
    assert!(
        page.contains("Pushed") && page.contains("remote_write"),
        "{page}"
    );
}

#[test]
fn what_is_not_asked_for_is_not_taken() {
    let folder = tempfile::tempdir().expect("a folder");
    let edge = Service::edge(folder.path())
        .config("branchline: {node_collector: {enabled: false}}\n")
        .start();
    let checks = [
        (
            "POST",
            "/api/v1/write",
            "branchline.remote_write_receiver: true",
        ),
        (
            "POST",
            "/api/v1/otlp/v1/metrics",
            "branchline.otlp_receiver: true",
        ),
        ("PUT", "/metrics/job/a", "branchline.pushgateway"),
    ];
    for (method, path, way_out) in checks {
        let headers = [("Content-Type", "application/x-protobuf")];
        let told = http::send(method, &edge.url(path), &headers, b"").expect("an answer");
        assert_eq!(told.status, 404, "{path}");
        assert!(told.text().contains(way_out), "{}", told.text());
    }
}

/// Samples of a page that begin with one of these names, in order, with any `site` label taken out.
fn samples(page: &str, names: &[&str]) -> BTreeSet<String> {
    let ours = |line: &&str| names.iter().any(|name| line.starts_with(name));
    let lines = page.lines().filter(ours);
    lines
        .map(|line| {
            let (series, rest) = line.rsplit_once('}').unwrap_or((line, ""));
            // Federation says when.
            let value = rest.trim().split(' ').next().unwrap_or_default();
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            let mut labels: Vec<&str> = labels.split("\",").collect();
            labels
                .iter_mut()
                .for_each(|label| *label = label.trim_end_matches('"'));
            // An empty label is none once it is scraped.
            labels.retain(|label| !label.starts_with("site=") && !label.ends_with('='));
            labels.sort_unstable();
            format!("{name} {} {value}", labels.join(" "))
        })
        .collect()
}

#[test]
fn pushes_are_answered_as_the_pushgateway_answers() {
    if !all_there(&[Peer::Pushgateway]) {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let theirs = Service::pushgateway(&folder.path().join("theirs")).start();
    let files = folder.path().display().to_string();
    let ours = Service::edge(&folder.path().join("ours"))
        .config(&config("http://127.0.0.1:1", &files))
        .start();
    let histogram = "# TYPE b_seconds histogram\nb_seconds_bucket{le=\"0.5\"} 1\nb_seconds_bucket{le=\"+Inf\"} 3\nb_seconds_sum 4\nb_seconds_count 3\n";
    let requests = [
        (
            "PUT",
            "job/one",
            "# HELP a_value of a\n# TYPE a_value gauge\na_value 1\na_value{x=\"y\"} 2\n",
        ),
        ("PUT", "job/two/host/h", "# TYPE a_value gauge\na_value 3\n"),
        ("POST", "job/two/host/h", histogram),
        (
            "PUT",
            "job@base64/dGhyZWUvNA/path@base64/L3Zhci90bXA",
            "a_untyped{instance=\"own\"} 5\n",
        ),
        ("PUT", "job/five/label@base64/=", "a_empty 5\n"),
        (
            "PUT",
            "job/six/",
            "# TYPE a_summary summary\na_summary{quantile=\"0.5\"} 1\na_summary_sum 1\na_summary_count 1\n",
        ),
        (
            "PUT",
            "job/seven",
            "a_overridden{job=\"other\",instance=\"i\"} 7\n",
        ),
        ("PUT", "job/eight", "a_gone 1\n"),
        ("DELETE", "job/eight", ""),
        ("DELETE", "job/never", ""),
        ("PUT", "job/nine", "a_replaced 1\n"),
        ("PUT", "job/nine", "a_other 1\n"),
        ("POST", "job/ten", ""),
        ("PUT", "job/one/host", "a_value 1\n"),
        ("PUT", "job/one/__x/y", "a_value 1\n"),
        ("PUT", "job/one/b-c/y", "a_value 1\n"),
        ("PUT", "job/one/b@base64/*", "a_value 1\n"),
        ("PUT", "job/unread", "a_value{ 1\n"),
        ("PUT", "job/bad", "a_value 1 1700000000000\n"),
        ("PUT", "job/bad", "a_value 1\na_value 1\n"),
        ("PUT", "job/bad", "# TYPE a_value counter\na_value 1\n"),
        ("GET", "job/one", ""),
    ];
    for (method, path, text) in requests {
        let path = format!("/metrics/{path}");
        let send = |service: &Service| {
            let told = http::send(method, &service.url(&path), &[], text.as_bytes());
            told.unwrap_or_else(|error| panic!("{method} {path}: {error}"))
        };
        let (expected, found) = (send(&theirs), send(&ours));
        assert_eq!(
            found.status,
            expected.status,
            "{method} {path} {text}\n  ours: {}\n  theirs: {}",
            found.text(),
            expected.text()
        );
    }
    let names = ["a_", "b_seconds"];
    let page = http::get(&theirs.url("/metrics")).expect("a page").text();
    let expected = samples(&page, &names);
    assert!(expected.len() >= 14, "{expected:?}");
    let everything = http::percent_encode("{__name__=~\"(a_|b_|push_).*\"}");
    wait::until(SOON, "the same series", || {
        let page = http::get(&ours.url(&format!("/federate?match[]={everything}")));
        let page = page.map_err(|error| error.to_string())?.text();
        let found = samples(&page, &names);
        match found == expected {
            true => Ok(()),
            false => Err(format!("ours: {found:#?}\ntheirs: {expected:#?}")),
        }
    });
    // Of the times of pushes the same series, failed ones among them; when they are zero.
    let zero = |page: &str| -> BTreeSet<String> {
        let lines = samples(page, &["push_"]).into_iter();
        let lines = lines.map(|line| match line.ends_with(" 0") {
            true => line,
            false => line.rsplit_once(' ').expect("a value").0.to_owned(),
        });
        lines.collect()
    };
    let found = http::get(&ours.url(&format!("/federate?match[]={everything}")));
    let found = found.expect("a page").text();
    assert_eq!(zero(&found), zero(&page));
}
