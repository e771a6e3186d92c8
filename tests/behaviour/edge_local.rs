//! The branch sees itself while it is cut off: a Prometheus federates and remote-reads from an edge whose hub is gone.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use model::{Matcher, Timestamp};
use tests::peers::{Peer, all_there};
use tests::remote_read::{chunks, samples};
use tests::service::Service;
use tests::{http, wait};
use wire::remote_read::Query;
use wire::remote_read::chunk;

use crate::setup::{EdgeConfig, TICKER_SERIES, Ticker};

const SOON: Duration = Duration::from_secs(40);

fn now() -> f64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.expect("after 1970").as_secs_f64()
}

#[test]
fn a_prometheus_reads_an_edge_whose_hub_is_gone() {
    if !all_there(&[Peer::Prometheus]) {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let ticker = Ticker::start();
    let mut edge = Service::edge(&folder.path().join("edge"))
        .config(
            &EdgeConfig {
                branch: "b01",
                interval: "1s",
                targets: &[("ticker", &ticker.address()), ("dead", "127.0.0.1:1")],
                // Nobody is there.
                url: "http://127.0.0.1:1/api/v1/write",
                token_file: None,
                node_collector: false,
            }
            .text(),
        )
        .start();
    let began = now();
    let prometheus = |name: &str, section: &str| {
        Service::prometheus(&folder.path().join(name))
            .config(&format!(
                "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\n{section}"
            ))
            .start()
    };
    let federating = prometheus(
        "federating",
        &format!(
            "scrape_configs:\n- job_name: edge\n  honor_labels: true\n  metrics_path: /federate\n  params: {{'match[]': ['{{job=\"ticker\"}}', 'up']}}\n  \
             static_configs: [{{targets: ['{}']}}]\n",
            edge.address()
        ),
    );
    let reading = prometheus(
        "reading",
        &format!(
            "remote_read: [{{url: '{}', read_recent: true}}]\n",
            edge.url("/api/v1/read")
        ),
    );
    let labels = "branch=\"b01\",job=\"ticker\",series=\"07\"";
    for (who, service) in [("federating", &federating), ("reading", &reading)] {
        let api = service.api();
        wait::until(SOON, who, || {
            let number = api.value(&format!("scrape_number{{{labels}}}"))?;
            let up = api.value("up{job=\"ticker\"}")?;
            match number >= 5.0 && up == 1.0 && api.value("up{job=\"dead\"}")? == 0.0 {
                true => Ok(()),
                false => Err(format!("{number} {up}")),
            }
        });
    }
    let count = federating
        .api()
        .value("count(scrape_number)")
        .expect("a count");
    assert_eq!(count, TICKER_SERIES as f64);

    // Remote read has every scrape, also of the time before the edge was killed.
    edge.kill_9();
    edge.start_again();
    let restarted = ticker.scrapes();
    wait::until_true(SOON, "scrapes after the restart", || {
        ticker.scrapes() > restarted + 2
    });
    let query = Query {
        start: Timestamp::from_millis(((began - 60.0) * 1000.0) as i64),
        end: Timestamp::from_millis((now() * 1000.0) as i64 + 60_000),
        matchers: vec![
            Matcher::equal("__name__", "scrape_number"),
            Matcher::equal("branch", "b01"),
        ],
    };
    let url = edge.url("/api/v1/read");
    let found = samples(&url, &query).expect("samples");
    assert_eq!(found.len(), TICKER_SERIES);
    for series in &found {
        let numbers: Vec<u64> = series.samples.iter().map(|s| s.value as u64).collect();
        assert!(numbers.len() > 5 && numbers.is_sorted(), "{numbers:?}");
        // A crash may cost what was not synced, a second; nothing twice.
        let missing = numbers
            .windows(2)
            .filter(|two| two[1] != two[0] + 1)
            .count();
        assert!(missing <= 1, "{numbers:?}");
    }
    let chunked = chunks(
        &url,
        &Query {
            end: Timestamp::from_millis(found[0].samples.last().expect("some").timestamp),
            ..query.clone()
        },
    )
    .expect("chunks");
    for (series, chunked) in found.iter().zip(&chunked) {
        let of_chunks: Vec<i64> = chunked
            .chunks
            .iter()
            .flat_map(|chunk| chunk::decode(chunk).expect("a chunk"))
            .map(|sample| sample.at.millis())
            .collect();
        let of_samples: Vec<i64> = series
            .samples
            .iter()
            .map(|sample| sample.timestamp)
            .collect();
        assert_eq!(of_chunks, of_samples);
    }
    let api = reading.api();
    let total = api
        .query_range("sum(scrape_number)", began, now(), 1.0)
        .expect("a range");
    assert!(total.series[0].points.len() > 5, "{:?}", total.series);

    // A target that goes is stale here too, and what is asked wrong is said.
    drop(ticker);
    wait::until(SOON, "staleness", || {
        let page = http::get(&edge.url("/federate?match[]=scrape_number&match[]=up"));
        let page = page.map_err(|error| error.to_string())?.text();
        match page.contains("up{") && !page.contains("scrape_number{") {
            true => Ok(()),
            false => Err(page),
        }
    });
    let wrong = http::get(&edge.url("/federate?match[]=rate(up)")).expect("an answer");
    assert_eq!(wrong.status, 400);
    assert!(
        wrong.text().contains("byte 4: expected"),
        "{}",
        wrong.text()
    );
}

/// The edge's own parser of selectors takes what the engine's takes.
#[test]
fn selectors_are_read_as_the_engine_reads_them() {
    let texts = [
        "up",
        "up{}",
        " up { } ",
        "a:b",
        "1a",
        "{}",
        "{a=\"\"}",
        "{a=~\".*\"}",
        "{a!=\"\"}",
        "{a=~\".+\"}",
        "up{a=\"b\",}",
        "up{,}",
        "up{a=\"b\",,}",
        "{\"up\"}",
        "{\"up\", a='b'}",
        "{\"a b\"=\"c\"}",
        "up{\"up\"}",
        "up{__name__=\"x\"}",
        "{__name__=\"x\",__name__=~\"y\"}",
        "up{a=`b\\d`}",
        "up{a=\"\\x41\"}",
        "up{a='\\''}",
        "up{a=\"\\'\"}",
        "up{a=\"\\q\"}",
        "up{a=\"b\"",
        "up{a=b}",
        "up{a==\"b\"}",
        "up{a=\"b\" c=\"d\"}",
        "up[5m]",
        "up offset 5m",
        "rate(up)",
        "up or down",
        "sum",
        "by{a=\"b\"}",
        "up{by=\"1\"}",
        "up{sum=\"1\", offset=\"2\"}",
        "up{a=~\"(\"}",
        "up{a=\"\n\"}",
        "up{a=`\n`}",
        "up{é=\"1\"}",
        "{\"é\"=\"1\"}",
        "up{a:b=\"1\"}",
        "",
        "\"up\"",
        "inf",
        "nan",
        "up # comment",
        "up{a=\"\\u00e9\"}",
        "up{a!~\"b|\"}",
    ];
    for text in texts {
        let ours = wire::selector::parse(text);
        let theirs = promql::parse_selector(text);
        let shown = |matchers: &[Matcher]| -> Vec<String> {
            let mut all: Vec<String> = matchers
                .iter()
                .map(|m| format!("{}{}{:?}", m.name(), m.op().symbol(), m.value()))
                .collect();
            all.sort();
            all
        };
        match (&ours, &theirs) {
            (Ok(ours), Ok(theirs)) => assert_eq!(shown(ours), shown(theirs), "{text}"),
            (Err(_), Err(_)) => {}
            _ => panic!("{text}: ours {ours:?}, the engine's {theirs:?}"),
        }
    }
}
