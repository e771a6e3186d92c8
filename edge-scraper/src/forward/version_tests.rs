//! Which remote write is spoken, and what answers to 2.0 mean. Story: a Prometheus before 2.54 answers 204 to a message of 2.0 and stores
//! nothing of it; a Prometheus 3 that refuses a sample has stored the others.

use std::time::Duration;

use wire::remote_write::headers::{Version, Written};

use super::tests::{Play, answer, records};
use super::*;

fn written(samples: u64) -> Option<Written> {
    Some(Written {
        samples,
        ..Written::default()
    })
}

/// An answer that says how much was written, or does not.
fn says(status: u16, own: bool, written: Option<Written>) -> Outcome {
    match answer(status, own) {
        Outcome::Answered(answer) => Outcome::Answered(Answer { written, ..answer }),
        other => other,
    }
}

fn second() -> Play {
    Play {
        shipper: Shipper::new(ShipperOptions {
            version: Version::V2,
            ..ShipperOptions::default()
        }),
        now: Duration::ZERO,
    }
}

impl Play {
    /// Sends records whose message carries so many samples.
    fn carry(&mut self, records: Vec<crate::buffer::RecordMeta>, samples: u64) -> (Ask, u64) {
        let ask = self.ask();
        let carried = written(samples).unwrap_or_default();
        let id = self.shipper.sent(&ask, records, carried, self.now);
        (ask, id)
    }

    fn greet(&mut self, outcome: Outcome) {
        let (ask, id) = self.carry(Vec::new(), 0);
        assert_eq!(ask.content, Content::Hello);
        assert_eq!(self.settle(id, outcome), Verdict::Kept);
    }

    /// Waits for as long as it is told to.
    fn wait(&mut self) -> Duration {
        match self.next() {
            Step::Wait(Some(until)) => {
                let pause = until - self.now;
                self.now = until;
                pause
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn the_empty_request_shows_whether_the_second_version_is_read() {
    for own in [false, true] {
        let mut play = second();
        play.greet(says(204, own, written(0)));
        assert_eq!(play.shipper.version(), Version::V2);
        let (ask, id) = play.carry(records(1..=3), 30);
        assert_eq!((ask.version, ask.limits.target_once), (Version::V2, !own));
        assert_eq!(
            play.settle(id, says(204, own, written(30))),
            Verdict::Acknowledged(records(1..=3))
        );
        assert_eq!(play.shipper.unwritten(), 0);
    }
    // Nobody says how much was written, or 2.0 is refused: before there was anything to lose.
    for (status, own) in [
        (204, false),
        (200, false),
        (400, false),
        (415, false),
        (415, true),
    ] {
        let mut play = second();
        play.greet(says(status, own, None));
        assert_eq!(play.shipper.version(), Version::V1, "{status}");
        let why = play.shipper.instead_of_second().unwrap();
        assert!(why.starts_with(&format!("HTTP {status}")), "{why}");
        let ask = play.ask();
        assert_eq!(ask.version, Version::V1);
        // Who is there is found out with a request that is understood.
        if *play.shipper.peer() == Peer::Unknown {
            play.greet(says(204, own, None));
        }
        let (ask, id) = play.carry(records(1..=3), 0);
        assert_eq!(ask.version, Version::V1);
        assert_eq!(
            play.settle(id, says(204, own, None)),
            Verdict::Acknowledged(records(1..=3))
        );
        // The choice stays, whatever comes.
        let (_, id) = play.carry(records(4..=4), 0);
        play.settle(id, says(204, own, written(10)));
        assert_eq!(play.ask().version, Version::V1);
    }
}

#[test]
fn what_decides_nothing_is_asked_again_after_a_pause() {
    for status in [302, 401, 404, 405, 413, 429, 500, 503] {
        let mut play = second();
        play.greet(says(status, false, None));
        let first = play.wait();
        assert!(first >= Duration::from_millis(500), "{status}");
        assert_eq!(play.ask().content, Content::Hello, "{status}");
        assert_eq!(play.shipper.version(), Version::V2, "{status}");
    }
    // An endpoint that was known, and does not let us in for a while.
    let mut play = second();
    play.greet(says(204, false, written(0)));
    let (_, id) = play.carry(records(1..=1), 10);
    play.settle(id, says(204, false, None));
    play.wait();
    for status in [401, 404, 503] {
        play.greet(says(status, false, None));
        assert!(play.wait() >= Duration::from_millis(500), "{status}");
    }
    play.greet(says(204, false, written(0)));
    assert!(matches!(play.ask().content, Content::Choose(_)));
    let portal = Answer {
        status: 200,
        hub: None,
        retry_after: None,
        text: String::new(),
        is_page: true,
        series_limit: false,
        written: None,
    };
    let mut play = second();
    play.greet(Outcome::Answered(portal));
    assert_eq!(
        play.shipper.version(),
        Version::V2,
        "a portal's page decides nothing"
    );
}

#[test]
fn samples_that_nobody_says_to_have_written_are_not_acknowledged() {
    let mut play = second();
    play.greet(says(204, false, written(0)));
    let mut pauses = Vec::new();
    for _ in 0..8 {
        let (_, id) = play.carry(records(1..=3), 30);
        assert_eq!(play.settle(id, says(204, false, None)), Verdict::Kept);
        let LinkState::Down { error } = play.shipper.link() else {
            panic!()
        };
        assert!(error.contains("asked again"), "{error}");
        pauses.push(play.wait().as_millis());
        // Some of those who answer read 2.0, and some do not.
        play.greet(says(204, false, written(0)));
    }
    assert_eq!(
        pauses,
        [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]
    );
    let (ask, id) = play.carry(records(1..=3), 30);
    assert_eq!(ask.version, Version::V2);
    assert_eq!(
        play.settle(id, says(204, false, written(30))),
        Verdict::Acknowledged(records(1..=3))
    );
    // The receiver was replaced by an older one.
    let (_, id) = play.carry(records(4..=4), 10);
    assert_eq!(play.settle(id, says(204, false, None)), Verdict::Kept);
    assert_eq!(play.wait(), Duration::from_millis(500));
    play.greet(says(204, false, None));
    let (ask, id) = play.carry(records(4..=4), 0);
    assert_eq!(ask.version, Version::V1);
    assert_eq!(
        play.settle(id, says(204, false, None)),
        Verdict::Acknowledged(records(4..=4))
    );
}

#[test]
fn refused_as_a_type_samples_are_sent_again_as_the_other_and_at_once() {
    let mut play = second();
    play.greet(says(204, false, written(0)));
    let (_, id) = play.carry(records(1..=20), 200);
    play.settle(id, says(400, false, written(0)));
    let Content::Exactly(part) = play.ask().content else {
        panic!()
    };
    let (_, id) = play.carry(part.clone(), 20);
    assert_eq!(play.settle(id, says(415, false, None)), Verdict::Kept);
    let ask = play.ask();
    assert_eq!(
        (ask.version, ask.content, ask.attempt),
        (Version::V1, Content::Exactly(part), 0)
    );
    let (_, id) = play.carry(records(1..=2), 0);
    assert!(matches!(
        play.settle(id, says(415, false, None)),
        Verdict::Quarantined(..)
    ));
}

#[test]
fn what_was_written_of_a_refused_request_counts() {
    // All samples: then it is about an exemplar.
    let mut play = second();
    play.greet(says(204, false, written(0)));
    let (_, id) = play.carry(records(1..=3), 30);
    assert_eq!(
        play.settle(id, says(400, false, written(30))),
        Verdict::Acknowledged(records(1..=3))
    );
    // A single record: no more is known of it than that something was refused.
    let (_, id) = play.carry(records(4..=4), 10);
    assert_eq!(
        play.settle(id, says(400, false, written(9))),
        Verdict::Quarantined(
            records(4..=4),
            "HTTP 400: why (9 of 10 samples were written)".into()
        )
    );
    // Several: those that are sent again were the newest of their series there, and are taken as what they are.
    let (_, id) = play.carry(records(5..=8), 40);
    assert_eq!(
        play.settle(id, says(400, false, written(39))),
        Verdict::Kept
    );
    let mut taken = Vec::new();
    while let Content::Exactly(part) = play.ask().content {
        let bad = part[0].seq == 7;
        let (_, id) = play.carry(part, 10);
        match play.settle(
            id,
            says(
                if bad { 400 } else { 204 },
                false,
                written(10 - u64::from(bad)),
            ),
        ) {
            Verdict::Acknowledged(records) => taken.extend(records.iter().map(|r| r.seq)),
            Verdict::Quarantined(records, _) => assert_eq!(records[0].seq, 7),
            Verdict::Kept => panic!(),
        }
    }
    assert_eq!(taken, [5, 6, 8]);
}

#[test]
fn a_success_that_wrote_nothing_is_none() {
    let mut play = second();
    play.greet(says(204, false, written(0)));
    let (_, id) = play.carry(records(1..=3), 30);
    assert_eq!(
        play.settle(id, says(200, false, written(0))),
        Verdict::Quarantined(
            records(1..=3),
            "HTTP 200: why (0 of 30 samples were written)".into()
        )
    );
    let (_, id) = play.carry(records(4..=5), 20);
    assert_eq!(
        play.settle(id, says(200, false, written(18))),
        Verdict::Acknowledged(records(4..=5))
    );
    assert_eq!(play.shipper.unwritten(), 2);
    // Metadata alone is remembered, and nothing of it is sent.
    let (_, id) = play.carry(records(6..=6), 0);
    assert_eq!(
        play.settle(id, says(204, false, written(0))),
        Verdict::Acknowledged(records(6..=6))
    );
}
