//! What a sender may do wrong: it is told so, nothing of it is stored, the hub goes on, and an edge loses nothing by it.

use std::fs;
use std::time::Duration;

use tests::api::Api;
use tests::remote_write::{HEADERS, body, send, series, snappy};
use tests::service::Service;
use tests::{http, wait};

use crate::setup::{EdgeConfig, Ticker, hub_config, last_number, stored_numbers};

fn now_millis() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    i64::try_from(since.expect("after 1970").as_millis()).expect("a time")
}

fn stored(api: &Api) -> usize {
    api.query("{__name__=~\"bad.*\"}").expect("an answer").len()
}

#[test]
fn a_body_that_is_none_is_refused_with_a_reason() {
    let folder = tempfile::tempdir().expect("a folder");
    let hub = Service::hub(folder.path()).start();
    let url = hub.url("/api/v1/write");
    let api = hub.api();
    let at = now_millis();
    let good = body(vec![series(
        &[("__name__", "bad_then"), ("a", "b")],
        &[(at, 1.0)],
    )]);
    let plain = {
        // The message without its compression: what a sender sends that forgot it.
        let labels = [("__name__", "bad_plain"), ("filler", "x")];
        let compressed = body(vec![series(&labels, &[(at, 1.0)])]);
        wire::remote_write::decompress(&compressed, &wire::remote_write::Limits::default())
            .expect("a body of ours")
    };
    let framed = [b"\xff\x06\x00\x00sNaPpY\x01".as_slice(), &plain].concat();
    // A length of 4 GiB less one, and nothing behind it.
    let claims_too_much = b"\xff\xff\xff\xff\x0f\x00".to_vec();
    let truncated_message = snappy(&plain[..plain.len() - 3]);
    // A field of length 127 in a message of two bytes.
    let malformed = snappy(&[0x0a, 0x7f]);
    let bodies: [(&str, Vec<u8>); 10] = [
        ("empty", Vec::new()),
        ("not compressed", plain),
        ("framed snappy", framed),
        ("a claim of 4 GiB", claims_too_much),
        ("truncated snappy", good[..good.len() / 2].to_vec()),
        ("truncated message", truncated_message),
        ("malformed message", malformed),
        (
            "noise",
            (0..997_u32).map(|i| (i * 7919 % 251) as u8).collect(),
        ),
        ("no name", body(vec![series(&[("bad", "x")], &[(at, 1.0)])])),
        (
            "a label twice",
            body(vec![series(
                &[("__name__", "bad_twice"), ("a", "1"), ("a", "2")],
                &[(at, 1.0)],
            )]),
        ),
    ];
    for (what, bytes) in bodies {
        let answer = send(&url, None, &bytes).expect("an answer");
        assert_eq!(answer.status, 400, "{what}: {}", answer.text());
        assert!(
            answer.text().trim().len() > 10,
            "{what}: no reason given: {:?}",
            answer.text()
        );
    }
    assert_eq!(stored(&api), 0, "nothing of it is stored");

    let answer = send(&url, None, &good).expect("an answer");
    assert!(
        (200..300).contains(&answer.status),
        "the hub is unharmed: {}",
        answer.text()
    );
    assert_eq!(stored(&api), 1);
}

#[test]
fn a_body_that_is_too_long_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let hub = Service::hub(folder.path()).start();
    let url = hub.url("/api/v1/write");
    let api = hub.api();
    // 40 MiB that compress to little, and 40 MiB that do not compress.
    let value = "x".repeat(40 << 20);
    let expands = body(vec![series(
        &[("__name__", "bad_expands"), ("a", &value)],
        &[(now_millis(), 1.0)],
    )]);
    let mut state = 1_u64;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 56) as u8
    })
    .take(40 << 20)
    .collect();
    for (what, bytes) in [("expands", expands), ("long", noise)] {
        let answer = send(&url, None, &bytes).expect("an answer");
        assert!(
            [400, 413].contains(&answer.status),
            "{what}: {} {}",
            answer.status,
            answer.text()
        );
        assert!(!answer.text().trim().is_empty(), "{what}: no reason given");
    }
    assert_eq!(stored(&api), 0);
    assert_eq!(
        http::get(&hub.url("/-/healthy")).expect("an answer").status,
        200
    );
}

#[test]
fn another_encoding_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let hub = Service::hub(folder.path()).start();
    let url = hub.url("/api/v1/write");
    let good = body(vec![series(
        &[("__name__", "bad_encoding")],
        &[(now_millis(), 1.0)],
    )]);
    for (name, value) in [
        ("Content-Encoding", "gzip"),
        ("Content-Encoding", "zstd"),
        ("Content-Type", "text/plain"),
    ] {
        let headers: Vec<(&str, &str)> = HEADERS
            .into_iter()
            .filter(|(header, _)| *header != name)
            .chain([(name, value)])
            .collect();
        let answer = http::post(&url, &headers, &good).expect("an answer");
        assert!(
            [400, 415].contains(&answer.status),
            "{name}: {value}: {} {}",
            answer.status,
            answer.text()
        );
        assert!(
            !answer.text().trim().is_empty(),
            "{name}: {value}: no reason given"
        );
    }
    assert_eq!(stored(&hub.api()), 0);
}

#[test]
fn a_token_fixes_the_branch_and_a_wrong_one_writes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let hub = Service::hub(folder.path())
        .config(&hub_config(&[("b01", "secret-1"), ("b02", "secret-2")]))
        .start();
    let url = hub.url("/api/v1/write");
    let api = hub.api();
    let one = |name: &str| {
        body(vec![series(
            &[("__name__", name), ("branch", "b01")],
            &[(now_millis(), 1.0)],
        )])
    };
    for token in [None, Some("wrong"), Some("")] {
        let answer = send(&url, token, &one("bad_token")).expect("an answer");
        assert_eq!(answer.status, 401, "{token:?}: {}", answer.text());
        assert!(
            !answer.text().contains("secret"),
            "a secret in the answer: {}",
            answer.text()
        );
    }
    assert_eq!(stored(&api), 0);
    let answer = send(&url, Some("secret-2"), &one("claimed")).expect("an answer");
    assert!((200..300).contains(&answer.status), "{}", answer.text());
    let claimed = api.query("claimed").expect("an answer");
    assert_eq!(claimed.len(), 1);
    assert_eq!(
        (
            claimed[0].label("branch"),
            claimed[0].label("exported_branch")
        ),
        ("b02", "b01"),
        "the token says who writes, not the payload"
    );
}

#[test]
fn an_edge_with_a_wrong_token_keeps_its_data_until_it_is_mended() {
    let folder = tempfile::tempdir().expect("a folder");
    let hub = Service::hub(&folder.path().join("hub"))
        .config(&hub_config(&[("b01", "right")]))
        .start();
    let ticker = Ticker::start();
    let token_file = folder.path().join("token");
    fs::write(&token_file, "wrong\n").expect("a token");
    let config = EdgeConfig {
        branch: "b01",
        interval: "250ms",
        targets: &[("ticker", &ticker.address())],
        url: &hub.url("/api/v1/write"),
        token_file: token_file.to_str(),
        node_collector: false,
    };
    let edge = Service::edge(&folder.path().join("edge"))
        .config(&config.text())
        .start();
    wait::until_true(Duration::from_secs(30), "twelve scrapes", || {
        ticker.scrapes() >= 12
    });
    wait::until(
        Duration::from_secs(30),
        "the edge says what is wrong",
        || {
            let log = edge.log();
            if log.contains("401") {
                Ok(())
            } else {
                Err(log)
            }
        },
    );
    let api = hub.api();
    assert_eq!(
        last_number(&api, "b01").expect("an answer"),
        0,
        "nothing is stored"
    );

    fs::write(&token_file, "right\n").expect("a token");
    http::post(&edge.url("/-/reload"), &[], &[]).expect("an answer");
    let until = ticker.scrapes();
    wait::until(
        Duration::from_secs(60),
        "everything since the first scrape",
        || {
            let stored = stored_numbers(&api, "b01")?;
            for numbers in stored.values() {
                for (index, number) in numbers.iter().enumerate() {
                    if *number != index as u64 + 1 {
                        return Err(format!(
                            "scrape {} is missing (not yet there?): {numbers:?}",
                            index + 1
                        ));
                    }
                }
                if numbers.len() < until as usize {
                    return Err(format!("{} of {until}", numbers.len()));
                }
            }
            if stored.is_empty() {
                Err("nothing".to_owned())
            } else {
                Ok(())
            }
        },
    );
}
