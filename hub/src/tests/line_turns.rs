//! Live frames wait for nothing that takes long.

use std::time::Duration;

use wire::edge_headers::Lane;

use super::harness::TestHub;
use super::line_edge::{LineEdge, Scrapes, pending, report};

const BRANCHES: &str = "branchline: {branches: [{name: b01, token: one}, {name: b02, token: two}]}";
const BACKLOG: u64 = 40;
const SERIES: usize = 10;

/// Nobody has a turn: what needs one waits, of whatever connection. Live frames pass all of it, one after the other.
#[tokio::test]
async fn live_frames_pass_all_that_waits_for_a_turn() {
    let hub = TestHub::start(BRANCHES).await;
    let line = hub.hub.state().line.clone();
    let held = line.hold_turns().await;
    assert!(!held.is_empty());

    let mut first = report("e1", 5);
    first.pending_intervals = vec![pending(-60_000, -20_000, BACKLOG * SERIES as u64)];
    let mut edge = LineEdge::connect(&hub, "one", first).await;
    let mut old = Scrapes::new(76, "e1", 5);
    for at in 0..BACKLOG as i64 {
        edge.send(Lane::Backlog, &old.scrape(at * 1_000 - 60_000, SERIES))
            .await;
    }
    let mut fresh = Scrapes::new(77, "e1", 5);
    fresh.seq = BACKLOG;
    edge.send(Lane::Live, &fresh.scrape(0, SERIES)).await;
    edge.until_taken(BACKLOG + 1).await;
    assert_eq!(line.backlog_frames(), 0);

    // The first frame of another edge describes much, and what it scrapes next builds on it.
    let mut returned = LineEdge::connect(&hub, "two", report("e2", 5)).await;
    let mut many = Scrapes::new(7, "e2", 5);
    for at in 0..3 {
        returned
            .send(Lane::Live, &many.scrape(at * 1_000, 50 * SERIES))
            .await;
    }
    // Its answer says that the hub has read what came before.
    returned.report(|_| {}).await;
    for n in 1..=20 {
        let frame = fresh.scrape(n * 1_000, SERIES);
        edge.send(Lane::Live, &frame).await;
        edge.until_taken(BACKLOG + 1 + n as u64).await;
    }
    assert_eq!((line.backlog_frames(), returned.taken.len()), (0, 0));

    drop(held);
    returned.until_taken(3).await;
    for seq in 1..=BACKLOG {
        edge.until_taken(seq).await;
    }
    hub.clock.advance(Duration::from_secs(21));
    let stored = hub.query("sum(count_over_time(m[10m]))").await;
    let all = (BACKLOG as usize + 21) * SERIES + 3 * 50 * SERIES;
    assert_eq!(stored[0]["value"][1], all.to_string());
}
