//! The HTTP API with real programs: it answers in the shape in which a Prometheus does, to the same requests about the same data; large answers
//! leave in pieces; a query stops when its client leaves; queries are logged.
//!
//! The peer is 2.42, the contract 3.14: what only the later has (pages of rules, features, the search...) is asked of the hub alone.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value as Json, json};
use tests::http;
use tests::peers::{Peer, all_there};
use tests::remote_write::{self, series};
use tests::service::Service;
use tests::wait;

const PATIENCE: Duration = Duration::from_secs(60);

const RULES: &str = "groups:\n- name: first\n  interval: 1s\n  rules:\n  - {alert: Busy, expr: 'up >= 0', labels: {severity: page}, annotations: {summary: busy}}\n  - {record: 'job:up:sum', expr: 'sum by (job) (up)', labels: {kind: recorded}}\n- name: second\n  interval: 1s\n  rules: [{alert: Never, expr: 'up > 1'}]\n- name: third\n  interval: 1s\n  rules: [{record: 'wrong', expr: 'label_replace(up, \"x\", \"\", \"y\", \"(\")'}]\n";

fn get(server: &Service, path: &str) -> (u16, Json) {
    let answer = http::get(&server.url(path)).expect("an answer");
    let json = serde_json::from_slice(&answer.body).unwrap_or(Json::Null);
    (answer.status, json)
}

fn data(server: &Service, path: &str) -> Json {
    let (status, mut json) = get(server, path);
    assert_eq!(
        (status, &json["status"]),
        (200, &json!("success")),
        "{path}: {json}"
    );
    json["data"].take()
}

/// Objects whose keys are data.
const BY_NAME: [&str; 8] = [
    "metric",
    "labels",
    "discoveredLabels",
    "annotations",
    "droppedTargetCounts",
    "target",
    "metadata",
    "flags",
];

/// What of Prometheus's answer the hub's lacks, or has as something else.
fn lacks(path: &str, ours: &Json, theirs: &Json, found: &mut Vec<String>) {
    match (ours, theirs) {
        (Json::Object(ours), Json::Object(theirs)) => {
            let last = path.rsplit('.').next().unwrap_or_default();
            if BY_NAME.contains(&last) {
                return;
            }
            for (key, value) in theirs {
                let path = format!("{path}.{key}");
                match ours.get(key) {
                    Some(own) => lacks(&path, own, value, found),
                    None => found.push(format!("{path} is missing")),
                }
            }
        }
        (Json::Array(ours), Json::Array(theirs)) => {
            for (at, (own, value)) in ours.iter().zip(theirs).enumerate() {
                lacks(&format!("{path}[{at}]"), own, value, found);
            }
            if ours.is_empty() && !theirs.is_empty() {
                found.push(format!("{path} is empty"));
            }
        }
        (Json::String(ours), Json::String(theirs)) => {
            let is_time = |text: &str| text.len() >= 20 && text.as_bytes()[10] == b'T';
            if is_time(ours) != is_time(theirs) {
                found.push(format!("{path}: {ours}, Prometheus: {theirs}"));
            }
        }
        (ours, theirs) => {
            if std::mem::discriminant(ours) != std::mem::discriminant(theirs) {
                found.push(format!("{path}: {ours}, Prometheus: {theirs}"));
            }
        }
    }
}

/// Both scrape the same target, and have the same rules.
fn scraping_pair(folder: &std::path::Path, target: &str) -> [Service; 2] {
    let config = format!(
        "global: {{scrape_interval: 1s, evaluation_interval: 1s, external_labels: {{site: hq}}}}\nrule_files: [rules.yml]\nscrape_configs:\n- job_name: one\n  static_configs: [{{targets: ['{target}', 'gone:1']}}]\n  relabel_configs:\n  - {{source_labels: [__address__], regex: 'gone.*', action: drop}}\n  - {{target_label: room, replacement: cellar}}\n"
    );
    ["hub", "prometheus"].map(|name| {
        let own = folder.join(name);
        std::fs::create_dir_all(&own).expect("a folder");
        std::fs::write(own.join("rules.yml"), RULES).expect("a file");
        let service = match name {
            "hub" => Service::bare("hub", &own),
            _ => Service::prometheus(&own),
        };
        service.config(&config).start()
    })
}

#[test]
fn answers_have_prometheus_shape() {
    if !all_there(&[Peer::Prometheus]) {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let page = "# HELP a_total Some.\n# TYPE a_total counter\na_total{x=\"1\"} 5\n# HELP lat Latency.\n# TYPE lat histogram\nlat_bucket{le=\"1\"} 2\nlat_bucket{le=\"+Inf\"} 3\nlat_sum 4.5\nlat_count 3\n";
    let target = tests::server::Server::start(move |_| tests::server::Answer::metrics(page));
    let [hub, prometheus] = scraping_pair(folder.path(), &target.address());
    for server in [&hub, &prometheus] {
        wait::until(PATIENCE, "alerts and metadata", || {
            let alerts = data(server, "/api/v1/alerts");
            let about = data(server, "/api/v1/metadata?metric=a_total");
            let known = data(server, "/api/v1/rules")["groups"][2]["rules"][0]["health"] == "err";
            match alerts["alerts"]
                .as_array()
                .is_some_and(|all| !all.is_empty())
                && about["a_total"].is_array()
                && known
            {
                true => Ok(()),
                false => Err(format!("{alerts} {about}")),
            }
        });
    }
    let one = "match_target={job=\"one\"}";
    let paths = [
        "/api/v1/query?query=a_total".to_owned(),
        "/api/v1/query?query=a_total[1m]&stats=all".to_owned(),
        "/api/v1/query?query=1%2B1&time=4".to_owned(),
        "/api/v1/query?query=%22text%22".to_owned(),
        "/api/v1/query_range?query=a_total&start=1700000000&end=1700000100&step=15s".to_owned(),
        "/api/v1/query_range?query=time()&start=1700000000.5&end=1700000100&step=15.25".to_owned(),
        "/api/v1/query_exemplars?query=a_total".to_owned(),
        "/api/v1/format_query?query=a/b".to_owned(),
        "/api/v1/series?match[]=a_total".to_owned(),
        "/api/v1/labels".to_owned(),
        "/api/v1/label/job/values".to_owned(),
        "/api/v1/metadata?metric=a_total".to_owned(),
        "/api/v1/targets".to_owned(),
        "/api/v1/targets?state=active&scrapePool=one".to_owned(),
        format!(
            "/api/v1/targets/metadata?{}",
            http::percent_encode(one).replace("%3D", "=")
        ),
        "/api/v1/rules".to_owned(),
        "/api/v1/rules?type=alert".to_owned(),
        "/api/v1/alerts".to_owned(),
        "/api/v1/alertmanagers".to_owned(),
        "/api/v1/status/config".to_owned(),
        "/api/v1/status/runtimeinfo".to_owned(),
        "/api/v1/status/buildinfo".to_owned(),
        "/api/v1/status/tsdb".to_owned(),
        "/api/v1/status/walreplay".to_owned(),
        // Mistakes.
        "/api/v1/query".to_owned(),
        "/api/v1/query?query=a%7B".to_owned(),
        "/api/v1/query?query=a&time=soon".to_owned(),
        "/api/v1/query?query=a&timeout=soon".to_owned(),
        "/api/v1/query?query=label_replace(up,%22x%22,%22%22,%22y%22,%22(%22)".to_owned(),
        "/api/v1/query_range?query=a&start=2&end=1&step=1".to_owned(),
        "/api/v1/query_range?query=a&start=1&end=2&step=0".to_owned(),
        "/api/v1/query_range?query=a[1m]&start=1&end=2&step=1".to_owned(),
        "/api/v1/series".to_owned(),
        "/api/v1/labels?match[]=%7Bx=%22%22%7D".to_owned(),
        "/api/v1/rules?type=none".to_owned(),
        "/api/v1/admin/tsdb/snapshot".to_owned(),
        "/api/v1/none".to_owned(),
    ];
    let mut found = Vec::new();
    for path in &paths {
        let ((status, ours), (expected, theirs)) = (get(&hub, path), get(&prometheus, path));
        if status != expected {
            found.push(format!(
                "{path}: {status}, Prometheus: {expected}: {ours} {theirs}"
            ));
        }
        if ours["errorType"] != theirs["errorType"] {
            found.push(format!("{path}: {ours}, Prometheus: {theirs}"));
        }
        lacks(path, &ours, &theirs, &mut found);
    }
    // 3.x has left this out.
    let gone = ["gmtOffset"];
    found.retain(|finding| !gone.iter().any(|key| finding.contains(key)));
    assert!(found.is_empty(), "{}", found.join("\n"));
    // What 2.42 does not have yet.
    let pools = data(&hub, "/api/v1/scrape_pools");
    assert!(
        pools["scrapePools"]
            .as_array()
            .is_some_and(|all| all.contains(&json!("one"))),
        "{pools}"
    );
    let config = data(&hub, "/api/v1/scrape_pools/config?scrapePool=one");
    assert!(
        config["yaml"].as_str().is_some_and(
            |yaml| yaml.contains("job_name: one\n") && yaml.contains("replacement: cellar")
        ),
        "{config}"
    );
    let own = data(&hub, "/api/v1/scrape_pools/config?scrapePool=hub");
    assert!(
        own["yaml"]
            .as_str()
            .is_some_and(|yaml| yaml.contains("job_name: hub\n")),
        "{own}"
    );
    let steps = |labels: &str| {
        let labels = http::percent_encode(labels);
        data(
            &hub,
            &format!("/api/v1/targets/relabel_steps?scrapePool=one&labels={labels}"),
        )["steps"]
            .take()
    };
    let kept = steps("{\"__address__\":\"h:1\"}");
    assert_eq!(
        (&kept[0]["keep"], &kept[1]["keep"]),
        (&json!(true), &json!(true))
    );
    assert_eq!(
        kept[1]["output"],
        json!({"__address__": "h:1", "room": "cellar"})
    );
    assert_eq!(kept[0]["rule"]["sourceLabels"], json!(["__address__"]));
    let dropped = steps("{\"__address__\":\"gone:1\"}");
    assert_eq!(
        (dropped.as_array().map(Vec::len), &dropped[0]["keep"]),
        (Some(1), &json!(false))
    );
    for wrong in [
        "scrape_pools/config?scrapePool=x",
        "targets/relabel_steps?scrapePool=x&labels={}",
        "scrape_pools/config",
    ] {
        assert_eq!(get(&hub, &format!("/api/v1/{wrong}")).0, 400, "{wrong}");
    }
}

#[test]
fn rules_come_in_pages() {
    let folder = tempfile::tempdir().expect("a folder");
    let own = folder.path().join("hub");
    std::fs::create_dir_all(&own).expect("a folder");
    std::fs::write(own.join("rules.yml"), RULES).expect("a file");
    let hub = Service::hub(&own)
        .config("rule_files: [rules.yml]\n")
        .start();
    let names = |data: &Json| -> Vec<String> {
        let groups = data["groups"].as_array().expect("groups");
        groups
            .iter()
            .map(|group| group["name"].as_str().expect("a name").to_owned())
            .collect()
    };
    let first = data(&hub, "/api/v1/rules?group_limit=2");
    assert_eq!(names(&first), ["first", "second"]);
    let token = first["groupNextToken"].as_str().expect("a token");
    assert_eq!(token.len(), 64);
    let last = data(
        &hub,
        &format!("/api/v1/rules?group_limit=2&group_next_token={token}"),
    );
    assert_eq!(
        (names(&last), &last["groupNextToken"]),
        (vec!["third".to_owned()], &Json::Null)
    );
    // Groups that filters leave out are on no page, and no page follows that would be empty.
    let alerts = data(&hub, "/api/v1/rules?type=alert&group_limit=2");
    assert_eq!(
        (names(&alerts), &alerts["groupNextToken"]),
        (vec!["first".to_owned(), "second".to_owned()], &Json::Null)
    );
    let chosen = data(
        &hub,
        "/api/v1/rules?rule_group[]=first&file[]=no&rule_name[]=Busy",
    );
    assert_eq!(chosen["groups"], json!([]));
    let paged = data(
        &hub,
        "/api/v1/rules?match[]=%7Bseverity=%22page%22%7D&match[]=%7Bkind=%22none%22%7D",
    );
    let rules = &paged["groups"][0]["rules"];
    assert_eq!(
        (names(&paged), rules[0]["name"].as_str()),
        (vec!["first".to_owned()], Some("Busy"))
    );
    assert_eq!(rules.as_array().map(Vec::len), Some(1));
    let bare = data(&hub, "/api/v1/rules?type=alert&exclude_alerts=true");
    assert_eq!(bare["groups"][0]["rules"][0]["alerts"], Json::Null);
    for wrong in [
        "group_limit=0",
        "group_limit=x",
        &format!("group_next_token={token}"),
        "group_limit=1&group_next_token=abc",
    ] {
        assert_eq!(
            get(&hub, &format!("/api/v1/rules?{wrong}")).0,
            400,
            "{wrong}"
        );
    }
}

/// `(name, value)` of a list, in an order that does not depend on the server's among equals.
fn counts(list: &Json) -> Vec<(i64, String)> {
    let list = list.as_array().expect("a list").iter();
    let mut all: Vec<(i64, String)> = list
        .map(|entry| {
            (
                -entry["value"].as_i64().expect("a number"),
                entry["name"].to_string(),
            )
        })
        .collect();
    all.sort();
    all
}

#[test]
fn what_there_is_most_of_is_what_prometheus_counts() {
    if !all_there(&[Peer::Prometheus]) {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let hub = Service::hub(&folder.path().join("hub")).start();
    let prometheus = Service::prometheus(&folder.path().join("prometheus"))
        .config("scrape_configs: []\n")
        .argument("--web.enable-remote-write-receiver")
        .start();
    let now = now_ms();
    let mut all = Vec::new();
    for metric in 0..5 {
        for n in 0..=metric * 3 {
            let (name, n) = (format!("m{metric}"), n.to_string());
            all.push(series(
                &[("__name__", &name), ("job", "j"), ("n", &n)],
                &[(now, 1.0)],
            ));
        }
    }
    let body = remote_write::body(all);
    let found = [&hub, &prometheus].map(|server| {
        let answer = remote_write::send(&server.url("/api/v1/write"), None, &body);
        assert_eq!(answer.expect("an answer").status / 100, 2);
        data(server, "/api/v1/status/tsdb")
    });
    for key in [
        "seriesCountByMetricName",
        "labelValueCountByLabelName",
        "memoryInBytesByLabelName",
    ] {
        assert_eq!(counts(&found[0][key]), counts(&found[1][key]), "{key}");
    }
    // Which of equals are among the ten is either's affair.
    let values = |data: &Json| -> Vec<i64> {
        counts(&data["seriesCountByLabelValuePair"])
            .into_iter()
            .map(|(n, _)| n)
            .collect()
    };
    assert_eq!(values(&found[0]), values(&found[1]));
    assert_eq!(
        found[0]["headStats"]["numLabelPairs"],
        found[1]["headStats"]["numLabelPairs"]
    );
}

fn now_ms() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.expect("after 1970").as_millis() as i64
}

/// A hub with so many series that have a value each.
fn hub_with(folder: &std::path::Path, config: &str, count: usize) -> Service {
    let hub = Service::hub(folder).config(config).start();
    let now = now_ms();
    let one = |n: usize| {
        series(
            &[("__name__", "m"), ("n", &n.to_string())],
            &[(now, n as f64)],
        )
    };
    let body = remote_write::body((0..count).map(one).collect());
    let answer = remote_write::send(&hub.url("/api/v1/write"), None, &body).expect("an answer");
    assert_eq!(answer.status, 204, "{}", answer.text());
    hub
}

/// Sends a request and leaves the answer to be read.
fn begin(hub: &Service, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(hub.address()).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let host = hub.address();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n").expect("a request");
    stream
}

/// Two hundred series of 11,001 points: forty megabytes.
fn large(now: i64) -> String {
    let start = now / 1000;
    format!(
        "/api/v1/query_range?query=m&lookback_delta=2d&start={start}&end={}&step=1",
        start + 11_000
    )
}

fn memory_kib(hub: &mut Service, key: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", hub.process().id()));
    let status = status.expect("the process runs");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(key))
        .expect("the key");
    line.trim_start_matches(':')
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .expect("a number")
}

#[test]
fn large_answers_leave_in_pieces() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut hub = hub_with(
        &folder.path().join("hub"),
        "branchline: {query_memory_bytes: 512MiB}\n",
        200,
    );
    let path = large(now_ms() + 1000);
    // The client takes the beginning and then nothing for a while: what there is of the text is in the sockets.
    let mut slow = begin(&hub, &path);
    let mut head = [0; 4096];
    let got = slow.read(&mut head).expect("a beginning");
    let head = String::from_utf8_lossy(&head[..got]).to_ascii_lowercase();
    assert!(
        head.contains("200 ok") && head.contains("transfer-encoding: chunked"),
        "{head}"
    );
    let held = memory_kib(&mut hub, "VmHWM");
    // 2.2 million points take 16 to 40 bytes each as values, and 27 as text.
    let whole = http::get(&hub.url(&path)).expect("an answer");
    let answer: Json = serde_json::from_slice(&whole.body).expect("all of it");
    let series = answer["data"]["result"].as_array().expect("series");
    assert_eq!(series.len(), 200);
    assert!(
        series
            .iter()
            .all(|one| one["values"].as_array().map(Vec::len) == Some(11_001))
    );
    assert!(whole.body.len() > 30 << 20, "{} bytes", whole.body.len());
    eprintln!(
        "the answer: {} MiB, the hub's memory while it waits for its client: {} MiB",
        whole.body.len() >> 20,
        held >> 10
    );
}

#[test]
fn a_query_stops_when_its_client_leaves() {
    let folder = tempfile::tempdir().expect("a folder");
    let own = folder.path().join("hub");
    let hub = hub_with(&own, "global: {query_log_file: queries.log}\n", 50);
    let running = |expected: &str| {
        wait::until(PATIENCE, "queries that run", || {
            let metrics = http::get(&hub.url("/metrics"))
                .map_err(|error| error.to_string())?
                .text();
            let line = metrics
                .lines()
                .find(|line| line.starts_with("branchline_queries_running "));
            match line.and_then(|line| line.split(' ').nth(1)) {
                Some(found) if found.trim_end_matches(".0") == expected => Ok(()),
                other => Err(format!("{other:?}")),
            }
        });
    };
    running("0");
    // It would take minutes: a window of 36,000 numbers is sorted at each of 11,000 steps.
    let start = now_ms() / 1000;
    let path = format!(
        "/api/v1/query_range?query=quantile_over_time(0.5,sin(vector(time()))[10h:1s])&start={start}&end={}&step=1",
        start + 11_000
    );
    let began = std::time::Instant::now();
    let client = begin(&hub, &path);
    running("1");
    drop(client);
    running("0");
    // Its time would have been up after two minutes.
    assert!(began.elapsed() < Duration::from_secs(100));
    wait::until(PATIENCE, "the line of who left", || {
        let text = std::fs::read_to_string(own.join("queries.log"));
        let text = text.map_err(|error| error.to_string())?;
        let mut lines = text
            .lines()
            .filter_map(|line| serde_json::from_str::<Json>(line).ok());
        let left = |line: &Json| {
            let error = line["error"].as_str().unwrap_or_default();
            error.contains("canceled") && line["httpRequest"]["path"] == "/api/v1/query_range"
        };
        lines.find(left).map(drop).ok_or(text)
    });
}

#[test]
fn queries_are_logged() {
    let folder = tempfile::tempdir().expect("a folder");
    let own = folder.path().join("hub");
    std::fs::create_dir_all(&own).expect("a folder");
    std::fs::write(own.join("rules.yml"), RULES).expect("a file");
    let config =
        |log: &str| format!("global: {{query_log_file: {log}}}\nrule_files: [rules.yml]\n");
    let mut hub = hub_with(&own, &config("first.log"), 1);
    let logged = |file: &str, what: &str, fits: &dyn Fn(&Json) -> bool| -> Json {
        wait::until(PATIENCE, what, || {
            let text =
                std::fs::read_to_string(own.join(file)).map_err(|error| error.to_string())?;
            let lines = text
                .lines()
                .filter_map(|line| serde_json::from_str::<Json>(line).ok());
            lines
                .into_iter()
                .find(|line| fits(line))
                .ok_or_else(|| format!("not in {text}"))
        })
    };
    data(
        &hub,
        "/api/v1/query_range?query=m%2B1&start=1700000000&end=1700000030&step=15",
    );
    let line = logged("first.log", "a range query", &|line| {
        line["params"]["query"] == "m+1"
    });
    assert_eq!(
        line["params"],
        json!({"query": "m+1", "start": "2023-11-14T22:13:20Z", "end": "2023-11-14T22:13:50Z", "step": 15})
    );
    assert_eq!(
        line["httpRequest"],
        json!({"clientIP": "127.0.0.1", "method": "GET", "path": "/api/v1/query_range"})
    );
    assert!(line["stats"]["timings"]["evalTotalTime"].is_number() && line["time"].is_string());
    get(
        &hub,
        "/api/v1/query?query=m%20%2B%20on()%20label_replace(m,%22x%22,%22%22,%22y%22,%22(%22)",
    );
    logged("first.log", "a query that failed", &|line| {
        line["error"].is_string() && line["httpRequest"].is_object()
    });
    logged("first.log", "a rule", &|line| {
        line["ruleGroup"]["name"] == "first" && line["params"]["query"] == "up >= 0"
    });
    // Another file by a reload, a bad one not at all.
    hub.write_config(&config("/nowhere/at/all"));
    let refused = http::post(&hub.url("/-/reload"), &[], &[]).expect("an answer");
    assert!(
        refused.status == 500 && refused.text().contains("query_log_file"),
        "{}",
        refused.text()
    );
    let notified = data(&hub, "/api/v1/notifications");
    assert_eq!(
        (&notified[0]["text"], &notified[0]["active"]),
        (&json!("Configuration reload has failed."), &json!(true))
    );
    let mut live = begin(&hub, "/api/v1/notifications/live");
    hub.write_config(&config("second.log"));
    assert_eq!(
        http::post(&hub.url("/-/reload"), &[], &[])
            .expect("an answer")
            .status,
        200
    );
    data(&hub, "/api/v1/query?query=m%2B2");
    logged("second.log", "a query after the reload", &|line| {
        line["params"]["query"] == "m+2"
    });
    let mut heard = String::new();
    while !heard.contains("\"active\":false") {
        let mut some = [0; 4096];
        let got = live.read(&mut some).expect("news");
        assert!(got > 0, "it ended: {heard}");
        heard.push_str(&String::from_utf8_lossy(&some[..got]));
    }
    assert!(
        heard.contains("text/event-stream") && heard.contains("data: {\"active\":true,"),
        "{heard}"
    );
    hub.write_config("rule_files: [rules.yml]\n");
    assert_eq!(
        http::post(&hub.url("/-/reload"), &[], &[])
            .expect("an answer")
            .status,
        200
    );
    data(&hub, "/api/v1/query?query=m%2B3");
    assert!(hub.terminate().success());
    let text = std::fs::read_to_string(own.join("second.log")).expect("a file");
    assert!(!text.contains("m+3"), "{text}");
    let mut rest = Vec::new();
    live.read_to_end(&mut rest)
        .expect("an end when the hub stops");
}

/// As Grafana asks where "enable search API" is on; it falls back for good when the search is not there.
#[test]
fn grafanas_search() {
    let folder = tempfile::tempdir().expect("a folder");
    let form = "limit=10000&batch_size=100&sort_by=score&fuzz_alg=jarowinkler&fuzz_threshold=80&case_sensitive=false&search[]=REQUETS_total&include_metadata=true";
    let path = format!("/api/v1/search/metric_names?{form}");
    let off = Service::hub(&folder.path().join("off")).start();
    let (status, error) = get(&off, &path);
    assert_eq!((status, &error["errorType"]), (500, &json!("unavailable")));
    let hub = Service::hub(&folder.path().join("on"))
        .argument("--enable-feature=search-api")
        .start();
    let named = |name: &str| series(&[("__name__", name)], &[(now_ms(), 1.0)]);
    let body = remote_write::body(["requests_total", "up"].map(named).to_vec());
    let answer = remote_write::send(&hub.url("/api/v1/write"), None, &body).expect("an answer");
    assert_eq!(answer.status, 204, "{}", answer.text());
    let found = http::get(&hub.url(&path)).expect("an answer");
    let text = found.text();
    let lines: Vec<Json> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(
        lines,
        [
            json!({"results": [{"name": "requests_total"}]}),
            json!({"status": "success", "has_more": false})
        ]
    );
    let features = data(&hub, "/api/v1/features");
    assert_eq!(features["api"]["search"], true);
}
