//! A branch whose series explode meets its own limit: what it had goes on, and nobody else notices.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use tests::remote_write::{body, send, series};
use tests::server::{Answer, Server};
use tests::service::Service;
use tests::wait;

use crate::setup::{EdgeConfig, hub_config};

const SERIES_MAX: usize = 200;

fn hub_with_limit(tokens: &[(&str, &str)]) -> String {
    let head_office = "  local_edge: {enabled: false}\n";
    let limit = format!("  series_per_branch_max: {SERIES_MAX}\n");
    hub_config(tokens) + head_office + &limit
}

fn now_millis() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    i64::try_from(since.expect("after 1970").as_millis()).expect("a time")
}

#[test]
fn a_branch_that_explodes_is_limited_and_the_others_are_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let hub = Service::hub(folder.path())
        .config(&hub_with_limit(&[("b01", "one"), ("b02", "two")]))
        .start();
    let url = hub.url("/api/v1/write");
    let api = hub.api();
    let at = now_millis();
    let known = |value| series(&[("__name__", "known")], &[(at + value, value as f64)]);
    let answer = send(&url, Some("one"), &body(vec![known(0)])).expect("an answer");
    assert_eq!(answer.status / 100, 2, "{}", answer.text());

    let mut slowest = Duration::ZERO;
    for round in 1..=20_i64 {
        let mut all: Vec<_> = (0..500)
            .map(|index| {
                let value = format!("{round}-{index}");
                series(&[("__name__", "exploding"), ("id", &value)], &[(at, 1.0)])
            })
            .collect();
        all.push(known(round));
        let answer = send(&url, Some("one"), &body(all)).expect("an answer");
        assert_eq!(answer.status, 429, "{}", answer.text());
        assert_eq!(answer.header("branchline-reason"), Some("series-limit"));
        assert!(answer.text().contains("200 series"), "{}", answer.text());

        let began = Instant::now();
        let calm = body(vec![series(
            &[("__name__", "calm"), ("id", &format!("{round}"))],
            &[(at, 1.0)],
        )]);
        let answer = send(&url, Some("two"), &calm).expect("an answer");
        assert_eq!(answer.status / 100, 2, "{}", answer.text());
        slowest = slowest.max(began.elapsed());
    }
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
    let count = |query: &str| api.value(query).expect("an answer");
    assert_eq!(count("count({branch=\"b01\"})"), SERIES_MAX as f64);
    assert_eq!(count("count_over_time(known{branch=\"b01\"}[1h])"), 21.0);
    assert_eq!(count("count(calm{branch=\"b02\"})"), 20.0);
}

/// Body after body, as fast as it goes, while another branch writes: that one must not be refused, lose, or wait.
#[test]
fn a_branch_writes_undisturbed_while_another_explodes() {
    const WRITES: u64 = 200;
    let folder = tempfile::tempdir().expect("a folder");
    let hub = Service::hub(folder.path())
        .config(&hub_with_limit(&[("b01", "one"), ("b02", "two")]))
        .start();
    let url = hub.url("/api/v1/write");
    let at = now_millis();
    let calm_is_done = AtomicBool::new(false);
    let (exploded, slowest) = std::thread::scope(|scope| {
        let explode = |sender: u64| {
            let (url, calm_is_done) = (&url, &calm_is_done);
            scope.spawn(move || {
                let mut answered = 0_u64;
                while !calm_is_done.load(Ordering::SeqCst) || answered < 3 {
                    let ever_new = (0..1000).map(|index| {
                        let value = format!("{sender}-{answered}-{index}");
                        series(&[("__name__", "exploding"), ("id", &value)], &[(at, 1.0)])
                    });
                    let body = body(ever_new.collect());
                    let answer = send(url, Some("one"), &body).expect("an answer");
                    assert_eq!(answer.status, 429, "{}", answer.text());
                    assert_eq!(answer.header("branchline-reason"), Some("series-limit"));
                    answered += 1;
                }
                answered
            })
        };
        let exploding = [explode(0), explode(1)];
        let calm = scope.spawn(|| {
            let mut slowest = Duration::ZERO;
            for round in 0..WRITES {
                // Known series go on, and now and then there is a new one.
                let time = at + i64::try_from(round).expect("small");
                let id = format!("{}", round / 10);
                let one = |name, id| series(&[("__name__", name), ("id", id)], &[(time, 1.0)]);
                let body = body(vec![one("calm", "0"), one("fresh", &id)]);
                let began = Instant::now();
                let answer = send(&url, Some("two"), &body).expect("an answer");
                assert_eq!(answer.status / 100, 2, "{}", answer.text());
                slowest = slowest.max(began.elapsed());
            }
            slowest
        });
        let slowest = calm.join();
        // Set whatever came of it: the others wait for it.
        calm_is_done.store(true, Ordering::SeqCst);
        let answered = exploding.map(|sender| sender.join().expect("a sender"));
        (answered, slowest.expect("the calm branch"))
    });
    assert!(exploded.iter().all(|answered| *answered >= 3));
    assert!(slowest < Duration::from_secs(5), "{slowest:?}");
    let count = |query: &str| hub.api().value(query).expect("an answer");
    for name in ["calm", "fresh"] {
        let all = format!("sum(count_over_time({name}{{branch=\"b02\"}}[1h]))");
        assert_eq!(count(&all), WRITES as f64, "{name}");
    }
    assert_eq!(count("count(fresh{branch=\"b02\"})"), WRITES as f64 / 10.0);
    assert_eq!(count("count({branch=\"b01\"})"), SERIES_MAX as f64);
}

#[test]
fn an_edge_keeps_what_is_refused_and_sends_the_rest() {
    let folder = tempfile::tempdir().expect("a folder");
    let hub = Service::hub(&folder.path().join("hub"))
        .config(&hub_with_limit(&[("b01", "one")]))
        .start();
    let explodes = Arc::new(AtomicBool::new(false));
    let target = Server::start({
        let explodes = explodes.clone();
        move |_| {
            let mut text = "# TYPE steady counter\nsteady 1\n".to_owned();
            let more = if explodes.load(Ordering::SeqCst) {
                400
            } else {
                0
            };
            (0..more).for_each(|index| text += &format!("exploding{{id=\"{index}\"}} 1\n"));
            Answer::metrics(text)
        }
    });
    let token_file = folder.path().join("token");
    std::fs::write(&token_file, "one\n").expect("a token");
    let config = EdgeConfig {
        branch: "b01",
        interval: "250ms",
        targets: &[("target", &target.address())],
        url: &hub.url("/api/v1/write"),
        token_file: token_file.to_str(),
        node_collector: false,
    };
    let edge = Service::edge(&folder.path().join("edge"))
        .config(&config.text())
        .start();
    let api = hub.api();
    let steady = || api.value("count_over_time(steady{branch=\"b01\"}[1h])");
    wait::until_true(Duration::from_secs(30), "the first samples", || {
        steady().is_ok_and(|count| count >= 2.0)
    });
    explodes.store(true, Ordering::SeqCst);
    let quarantined = || {
        let metrics = tests::http::get(&edge.url("/metrics")).map_err(|e| e.to_string())?;
        let text = metrics.text();
        let line = text
            .lines()
            .find(|line| line.starts_with("branchline_edge_quarantined_samples{"));
        let number = line.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
        number.ok_or_else(|| format!("no such metric:\n{text}"))
    };
    wait::until(
        Duration::from_secs(60),
        "samples kept aside",
        || match quarantined()? {
            0.0 => Err("none yet".to_owned()),
            _ => Ok(()),
        },
    );
    let before = steady().expect("an answer");
    wait::until(Duration::from_secs(60), "the rest goes on", || {
        let now = steady()?;
        if now >= before + 8.0 {
            Ok(())
        } else {
            Err(format!("{before} then, {now} now"))
        }
    });
    // The hub's own series of the branch are not from there.
    let stored = api
        .value("count({branch=\"b01\",__name__!~\"branchline_branch_.+\"})")
        .expect("an answer");
    assert!(stored <= SERIES_MAX as f64, "{stored}");
}
