//! One edge's time under whatever reports come, against what must hold.

use std::sync::Arc;
use std::time::Duration;

use daemon::{Clock, SimClock};
use model::Timestamp;
use proptest::prelude::*;
use wire::edge_headers::SequenceRange;

use super::book::{Account, Book, REPLACED, Section, State};
use super::*;

fn span(start: i64, end: i64, samples: u64) -> Span {
    Span {
        start,
        end,
        samples,
    }
}

fn account(epoch: u64, through: i64) -> Account {
    Account {
        epoch,
        complete_through_ms: through,
        ..Account::default()
    }
}

fn shown(sections: &[Section]) -> Vec<(i64, i64, &'static str, u64)> {
    sections
        .iter()
        .map(|s| (s.start, s.end, s.state.name(), s.samples))
        .collect()
}

#[test]
fn a_cut_is_unknown_then_pending_then_complete() {
    let mut book = Book::default();
    let all = |book: &Book| shown(&book.sections(0, 1_000, 0)).to_vec();
    book.report(&Account {
        since_ms: Some(100),
        ..account(1, 300)
    });
    assert_eq!(
        all(&book),
        [(100, 300, "complete", 0), (300, 1_000, "unknown", 0)]
    );
    // It was cut off, and scraped on.
    let back = Account {
        since_ms: Some(100),
        pending: vec![span(300, 700, 40)],
        ..account(1, 800)
    };
    assert!(book.report(&back));
    assert_eq!(
        all(&book),
        [
            (100, 300, "complete", 0),
            (300, 700, "pending", 40),
            (700, 800, "complete", 0),
            (800, 1_000, "unknown", 0)
        ]
    );
    let drained = Account {
        pending: Vec::new(),
        complete_through_ms: 900,
        ..back
    };
    assert!(book.report(&drained));
    assert_eq!(all(&book)[0], (100, 900, "complete", 0));
    assert!(!book.report(&Account {
        complete_through_ms: 950,
        ..drained
    }));
    assert!(book.is_whole());
}

#[test]
fn before_the_first_scrape_nothing_is_unknown() {
    let mut book = Book::default();
    let report = |book: &mut Book, since_ms, through, scraped| {
        let counts = Counts {
            scraped,
            ..Counts::default()
        };
        book.report(&Account {
            since_ms,
            counts,
            ..account(1, through)
        })
    };
    report(&mut book, None, 1_000, 0);
    report(&mut book, Some(1_300), 2_000, 10);
    let all = [(1_300, 2_000, "complete", 0)];
    assert_eq!(shown(&book.sections(0, 2_000, 0)), all);
    // Now it has a past: a restart without a buffer's beginning is a gap.
    report(&mut book, Some(2_500), 3_000, 20);
    let all = [
        (1_300, 2_000, "complete", 0),
        (2_000, 2_500, "unknown", 0),
        (2_500, 3_000, "complete", 0),
    ];
    assert_eq!(shown(&book.sections(0, 3_000, 0)), all);
}

#[test]
fn what_was_evicted_stays_lost() {
    let mut book = Book::default();
    let lost = vec![("evicted".to_owned(), span(200, 250, 10))];
    book.report(&Account {
        since_ms: Some(100),
        lost: lost.clone(),
        pending: vec![span(150, 400, 30)],
        ..account(1, 400)
    });
    let later = Account {
        since_ms: Some(100),
        ..account(1, 500)
    };
    book.report(&later);
    assert_eq!(
        shown(&book.sections(0, 500, 0)),
        [
            (100, 200, "complete", 0),
            (200, 250, "lost", 10),
            (250, 500, "complete", 0)
        ]
    );
    assert_eq!(book.sections(0, 500, 0)[1].reasons, ["evicted"]);
    // Said again, with its neighbour as one: no more is lost than that.
    let more = [lost, vec![("evicted".to_owned(), span(300, 310, 5))]].concat();
    book.report(&Account {
        lost: more,
        ..later.clone()
    });
    let joined = vec![("evicted".to_owned(), span(200, 310, 15))];
    book.report(&Account {
        lost: joined,
        ..later
    });
    assert_eq!(book.state_at(270), Some(State::Complete));
    assert_eq!(book.lost_samples(), 15);
}

#[test]
fn quarantine_ends() {
    let mut book = Book::default();
    let held = vec![("quarantined".to_owned(), span(200, 250, 10))];
    book.report(&Account {
        since_ms: Some(100),
        lost: held,
        ..account(1, 400)
    });
    assert_eq!(book.state_at(210), Some(State::Lost));
    book.report(&Account {
        since_ms: Some(100),
        ..account(1, 500)
    });
    assert_eq!(book.state_at(210), Some(State::Complete));
}

#[test]
fn a_replaced_buffer_takes_with_it_what_waited() {
    let mut book = Book::default();
    book.report(&Account {
        since_ms: Some(100),
        pending: vec![span(200, 300, 20)],
        ..account(1, 300)
    });
    book.report(&Account {
        since_ms: Some(500),
        ..account(2, 600)
    });
    let expected = [
        (100, 200, "complete", 0),
        (200, 300, "lost", 20),
        (300, 500, "unknown", 0),
        (500, 600, "complete", 0),
    ];
    assert_eq!(shown(&book.sections(0, 600, 0)), expected);
    assert_eq!(book.sections(0, 600, 0)[1].reasons, [REPLACED]);
    // The old disk was found again.
    book.report(&Account {
        since_ms: Some(100),
        pending: vec![span(200, 300, 20)],
        ..account(1, 700)
    });
    assert_eq!(book.state_at(250), Some(State::Pending));
    assert_eq!(book.state_at(400), Some(State::Unknown));
}

#[test]
fn records_are_remembered_and_bounded() {
    let mut book = Book::default();
    let records = |first, last| [SequenceRange { first, last }];
    book.stored(7, &records(1, 5), 10);
    book.stored(7, &records(6, 9), 3);
    assert_eq!(book.records(7), records(1, 9));
    assert!(book.has_all(7, &records(2, 9)) && !book.has_all(7, &records(9, 10)));
    assert!(!book.has_all(8, &records(1, 1)));
    book.stored(7, &records(u64::MAX - 1, u64::MAX), 1);
    for hole in 0..5_000 {
        book.stored(7, &records(20 + 2 * hole, 20 + 2 * hole), 1);
    }
    let kept = book.records(7);
    assert_eq!(kept.len(), wire::line::link::RANGES_MAX);
    assert_eq!(
        kept.last(),
        Some(&SequenceRange {
            first: 10_018,
            last: 10_018
        })
    );
    let text = serde_json::to_string(&book).unwrap();
    assert_eq!(serde_json::from_str::<Book>(&text).unwrap(), book);
}

/// A sample a millisecond, as an edge would count them: what it joins has as many as its pieces.
fn a_span() -> impl Strategy<Value = Span> {
    (0..200_i64, 1..60_i64).prop_map(|(start, length)| span(start, start + length, length as u64))
}

fn an_account() -> impl Strategy<Value = Account> {
    let lost = prop::collection::vec((prop_oneof!["evicted", "damaged"], a_span()), 0..3);
    let pending = prop::collection::vec(a_span(), 0..3);
    (
        1..4_u64,
        0..300_i64,
        prop::option::of(0..250_i64),
        pending,
        lost,
    )
        .prop_map(|(epoch, through, since_ms, pending, lost)| Account {
            epoch,
            complete_through_ms: through,
            since_ms,
            pending,
            lost,
            ..Account::default()
        })
}

proptest! {
    #[test]
    fn time_is_covered_once_and_losses_stay(accounts in prop::collection::vec(an_account(), 1..8)) {
        let mut book = Book::default();
        // What was evicted or damaged, whatever came after.
        let mut gone: Vec<(u64, Span)> = Vec::new();
        for (number, account) in accounts.iter().enumerate() {
            let before = (number > 0).then(|| book.clone());
            book.report(account);
            gone.extend(account.lost.iter().map(|(_, span)| (account.epoch, *span)));
            let sections = book.sections(-10, 400, 0);
            prop_assert!(sections.windows(2).all(|two| two[0].end == two[1].start && two[0].state != two[1].state));
            prop_assert_eq!(sections.first().map(|s| s.start), Some(book.since.max(-10)));
            prop_assert_eq!(sections.last().map(|s| s.end), Some(400));
            for at in book.since..400 {
                let state = book.state_at(at);
                let section = sections.iter().find(|s| s.start <= at && at < s.end);
                prop_assert_eq!(section.map(|s| s.state), state);
                if gone.iter().any(|(_, span)| span.contains(at)) {
                    prop_assert_eq!(state, Some(State::Lost), "{} was lost", at);
                }
                // Another buffer: what waited in the one before is lost.
                if let Some(before) = before.as_ref().filter(|before| before.epoch != account.epoch) {
                    let waited = before.state_at(at) == Some(State::Pending);
                    prop_assert!(!waited || state == Some(State::Lost), "{} waited", at);
                }
            }
        }
    }
}

fn ledger(folder: &std::path::Path, clock: &SimClock) -> Arc<Ledger> {
    Arc::new(Ledger::open(folder, Arc::new(clock.clone())).unwrap())
}

#[test]
fn silence_is_known_in_time_and_survives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let clock = SimClock::new(Timestamp::from_millis(1_000_000));
    let ledger_one = ledger(folder.path(), &clock);
    let link = |ledger: &Ledger| ledger.links()[0].1;
    let gaps = |ledger: &Ledger, start: i64| {
        let (start, end) = (Timestamp::from_millis(start), clock.now());
        let gaps = ledger.gaps(start, end, |_| true);
        fold(&gaps, start, end, clock.now().millis())
    };
    let connection = ledger_one.connect("b01", "e1");
    let report = |through: i64| Account {
        since_ms: Some(900_000),
        ..account(1, through)
    };
    connection.report(&report(999_000), About::default());
    assert_eq!(link(&ledger_one), LinkNow::Up);
    assert_eq!(gaps(&ledger_one, 950_000), None);
    clock.advance(Duration::from_secs(4));
    assert_eq!(link(&ledger_one), LinkNow::Up);
    clock.advance(Duration::from_millis(600));
    assert_eq!(link(&ledger_one), LinkNow::Silent);
    let warning = gaps(&ledger_one, 950_000).unwrap();
    assert!(
        warning.contains("b01 unknown since 1970-01-01T00:16:39Z"),
        "{warning}"
    );
    connection.heard();
    assert_eq!(link(&ledger_one), LinkNow::Up);
    drop(connection);
    assert_eq!(link(&ledger_one), LinkNow::Silent);
    ledger_one.write(None);
    drop(ledger_one);

    let ledger_two = ledger(folder.path(), &clock);
    assert_eq!(link(&ledger_two), LinkNow::Silent);
    let sections = ledger_two.sections("b01", Timestamp::MIN, Timestamp::MAX);
    assert_eq!(
        shown(&sections),
        [
            (900_000, 999_000, "complete", 0),
            (999_000, 1_004_600, "unknown", 0)
        ]
    );
    // Gone for longer than anything is kept.
    clock.advance(Duration::from_secs(3_600));
    ledger_two.write(Some(Duration::from_secs(60)));
    assert!(ledger_two.branches().is_empty());
}

#[test]
fn one_warning_names_the_first_and_counts_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let clock = SimClock::new(Timestamp::from_millis(1_000_000));
    let ledger = ledger(folder.path(), &clock);
    let mut held = Vec::new();
    for number in 1..=9 {
        let connection = ledger.connect(&format!("b{number:02}"), "e");
        let pending = vec![
            span(910_000, 920_000, 6),
            span(930_000, 940_000, 6),
            span(950_000, 960_000, 6),
        ];
        connection.report(
            &Account {
                since_ms: Some(900_000),
                pending,
                ..account(1, 1_000_000)
            },
            About::default(),
        );
        held.push(connection);
    }
    let (start, end) = (
        Timestamp::from_millis(900_000),
        Timestamp::from_millis(1_000_000),
    );
    let warning = |wanted: fn(&str) -> bool, start| {
        fold(&ledger.gaps(start, end, wanted), start, end, 1_000_000)
    };
    let text = warning(|_| true, start).unwrap();
    assert_eq!(
        text.matches("1970-01-01T00:15:10Z").count(),
        3,
        "the first three branches are named: {text}"
    );
    assert!(
        text.contains(
            "b01 pending from 1970-01-01T00:15:10Z to 1970-01-01T00:15:20Z (6 samples), pending"
        ),
        "{text}"
    );
    assert!(text.contains("and 1 more interval; b02"), "{text}");
    assert!(
        text.contains(
            "; and 6 more branches; all of it: /api/v1/federation/ledger?start=900&end=1000"
        ),
        "{text}"
    );
    assert!(
        warning(|branch| branch == "b09", start)
            .unwrap()
            .contains("b09 pending")
    );
    assert_eq!(warning(|branch| branch == "b10", start), None);
    assert_eq!(warning(|_| true, Timestamp::from_millis(960_000)), None);
    assert_eq!(ledger.links()[0].1, LinkNow::Draining);
}

/// A connection hung, and what the edge had said on it comes late: by then it has scraped more.
#[test]
fn what_comes_late_says_nothing_of_the_time_since_it_was_said() {
    let folder = tempfile::tempdir().unwrap();
    let clock = SimClock::new(Timestamp::from_millis(1_000_000));
    let ledger = ledger(folder.path(), &clock);
    let connection = ledger.connect("b01", "e1");
    let end = Timestamp::from_millis(990_000);
    let sections_when_said = |said_at_ms: i64| {
        let about = About {
            said_at_ms: Some(said_at_ms),
            ..About::default()
        };
        let account = Account {
            since_ms: Some(900_000),
            ..account(1, said_at_ms - 1_000)
        };
        connection.report(&account, about);
        shown(&ledger.sections("b01", Timestamp::MIN, end))
    };
    assert_eq!(
        sections_when_said(988_000),
        [
            (900_000, 987_000, "complete", 0),
            (987_000, 990_000, "unknown", 0)
        ]
    );
    assert_eq!(
        sections_when_said(998_000),
        [(900_000, 990_000, "complete", 0)]
    );
}
