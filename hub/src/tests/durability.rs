//! "Stored" is said when it is on disk, and not before.

use super::harness::{TestHub, series};

fn numbered(number: usize) -> Vec<wire::remote_write::proto::TimeSeries> {
    let value = number.to_string();
    vec![series(
        &[("__name__", "kept"), ("n", &value)],
        &[(0, number as f64)],
    )]
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_power_cut() {
    let mut hub = TestHub::start("").await;
    for round in 1..=3 {
        for n in 0..10 {
            hub.store(numbered(round * 10 + n)).await;
        }
        hub = hub.crash().await;
        assert_eq!(hub.count("kept").await, round * 10);
    }
    let hub = hub.restart(std::time::Duration::ZERO).await;
    assert_eq!(hub.count("kept").await, 30);
    assert_eq!(hub.get("/-/ready").await.status, 200);
}

/// Would the test above notice a hub that does not wait for the disk? On a disk that only pretends, it does.
#[tokio::test]
async fn a_disk_that_lies_is_found_out() {
    let hub = TestHub::start("").await;
    hub.disk.ignore_syncs(true);
    for n in 0..20 {
        hub.store(numbered(n)).await;
    }
    hub.disk.ignore_syncs(false);
    let hub = hub.crash().await;
    assert!(hub.count("kept").await < 20);
}

#[tokio::test]
async fn after_a_failed_fsync_nothing_more_is_acknowledged() {
    let hub = TestHub::start("").await;
    hub.store(numbered(1)).await;
    hub.disk.fail_syncs(1);
    for n in 2..5 {
        let answer = hub.write(numbered(n)).await;
        assert_eq!(answer.status, 503, "{}", answer.text());
        assert!(!answer.header("retry-after").is_empty());
        assert!(answer.text().contains("restart"), "{}", answer.text());
    }
    assert!(hub.count("kept").await >= 1, "reads go on");
    let metrics = hub.get("/metrics").await;
    assert!(
        metrics.text().contains("branchline_store_accepts_writes 0"),
        "{}",
        metrics.text()
    );
    let hub = hub.crash().await;
    let first = hub.count("kept{n=\"1\"}").await;
    assert_eq!(first, 1, "what was acknowledged is there");
    hub.store(numbered(9)).await;
}

#[tokio::test]
async fn a_full_disk_refuses_writes_for_now_and_reads_go_on() {
    let hub = TestHub::start("").await;
    hub.store(numbered(1)).await;
    hub.disk.set_capacity(Some(hub.disk.used_bytes()));
    let answer = hub.write(numbered(2)).await;
    assert_eq!(answer.status, 503);
    assert!(answer.text().contains("no space left"), "{}", answer.text());
    assert!(answer.text().contains("free some space"));
    assert_eq!(answer.header("retry-after"), "30");
    assert_eq!(hub.count("kept").await, 1);
    assert_eq!(hub.get("/-/healthy").await.status, 200);
    hub.disk.set_capacity(None);
    hub.store(numbered(2)).await;
    let hub = hub.crash().await;
    assert_eq!(hub.count("kept").await, 2);
}
