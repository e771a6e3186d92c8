//! The state machine, step by step.

use super::*;

const AM1: &str = "http://am1:9093";
const AM2: &str = "http://am2:9093";

struct World {
    outbox: Outbox,
    now: Now,
    records: Vec<Record>,
    /// Batches that nobody has answered yet.
    sent: Vec<(DestinationId, Batch)>,
    refused: usize,
}

fn am(url: &str) -> DestinationId {
    DestinationId::alertmanager(url)
}

fn alert(name: &str, now: Now, ends_in_s: i64) -> Alert {
    Alert {
        labels: LabelSet::from_pairs([("alertname", name), ("branch", "b07")]).unwrap(),
        annotations: [("text".to_owned(), "t".to_owned())].into(),
        starts_at: Timestamp::from_millis(1_000),
        ends_at: Some(Timestamp::from_millis(
            now.wall.millis() + ends_in_s * 1_000,
        )),
        generator_url: "http://hub/graph".to_owned(),
    }
}

impl World {
    fn new(limits: Limits, destinations: &[DestinationId]) -> Self {
        let now = Now {
            wall: Timestamp::from_millis(1_000_000),
            elapsed: Duration::ZERO,
        };
        let mut world = World {
            outbox: Outbox::new(limits, 1),
            now,
            records: Vec::new(),
            sent: Vec::new(),
            refused: 0,
        };
        world.handle(Event::Destinations(destinations.to_vec()));
        world
    }

    fn two() -> Self {
        Self::new(Limits::default(), &[am(AM1), am(AM2)])
    }

    fn handle(&mut self, event: Event) -> Option<Duration> {
        let step = self.outbox.handle(event, self.now);
        self.refused += step.refused;
        for action in step.actions {
            match action {
                Action::Write(record) => self.records.push(record),
                Action::Send { destination, batch } => self.sent.push((destination, batch)),
            }
        }
        step.wake_in
    }

    fn report(&mut self, alerts: Vec<Alert>) {
        self.handle(Event::Alerts(alerts));
    }

    fn pass(&mut self, seconds: u64) -> Option<Duration> {
        self.now.wall = self.now.wall.saturating_add(Duration::from_secs(seconds));
        self.now.elapsed += Duration::from_secs(seconds);
        self.handle(Event::Wake)
    }

    /// Answers the oldest request to the destination and gives what it was: names, `!` before resolved ones.
    fn answer(&mut self, url: &str, outcome: Outcome) -> Vec<String> {
        let at = self
            .sent
            .iter()
            .position(|(d, _)| *d == am(url))
            .unwrap_or_else(|| panic!("nothing sent to {url}"));
        let (destination, batch) = self.sent.remove(at);
        let shown = match &batch.content {
            Content::Alerts(alerts) => alerts.iter().map(|a| show(a, self.now)).collect(),
            Content::Notice(_) => panic!("a notice for an Alertmanager"),
        };
        self.handle(Event::Outcome {
            destination,
            outcome,
        });
        shown
    }

    fn good(&mut self, url: &str) -> Vec<String> {
        self.answer(url, Outcome::Acknowledged)
    }

    fn bad(&mut self, url: &str) -> Vec<String> {
        self.answer(url, Outcome::Failed("connection refused".to_owned()))
    }

    fn waiting(&self, url: &str) -> bool {
        self.sent.iter().any(|(d, _)| *d == am(url))
    }

    fn status(&self, url: &str) -> DestinationStatus {
        let all = self.outbox.status(self.now).destinations;
        all.into_iter().find(|d| d.id == am(url)).unwrap()
    }
}

fn show(alert: &Alert, now: Now) -> String {
    let mark = if alert.is_resolved(now.wall) { "!" } else { "" };
    format!(
        "{mark}{}",
        alert.labels.get("alertname").unwrap_or_default()
    )
}

#[test]
fn every_alertmanager_gets_every_alert_until_it_acknowledges() {
    let mut world = World::two();
    world.report(vec![alert("A", world.now, 240)]);
    assert_eq!(world.good(AM1), ["A"]);
    assert_eq!(world.bad(AM2), ["A"]);
    assert!(world.sent.is_empty());
    assert_eq!(
        (world.status(AM1).pending, world.status(AM2).pending),
        (0, 1)
    );
    let LaneState::Failing {
        attempts: 1,
        reason,
        ..
    } = world.status(AM2).state
    else {
        panic!()
    };
    assert_eq!(reason, "connection refused");
    world.pass(2);
    assert_eq!(world.good(AM2), ["A"]);
    assert_eq!(world.status(AM2).state, LaneState::Ok);
}

#[test]
fn a_dead_alertmanager_does_not_hold_back_the_other() {
    let mut world = World::two();
    world.report(vec![alert("A", world.now, 240)]);
    // AM2 does not even answer.
    world.good(AM1);
    world.report(vec![alert("B", world.now, 240)]);
    assert_eq!(world.good(AM1), ["B"]);
    assert_eq!(world.status(AM2).pending, 2);
    assert_eq!(world.sent.len(), 1, "one request at a time");
}

#[test]
fn only_the_latest_state_waits() {
    let mut world = World::two();
    world.report(vec![alert("A", world.now, 240)]);
    world.bad(AM2);
    for _ in 0..10 {
        world.pass(60);
        let now = world.now;
        world.report(vec![alert("A", now, 240)]);
        while world.waiting(AM2) {
            world.bad(AM2);
        }
        while world.waiting(AM1) {
            world.good(AM1);
        }
    }
    let now = world.now;
    world.report(vec![alert("A", now, 0)]);
    assert_eq!(world.status(AM2).pending, 1);
    world.pass(60);
    assert_eq!(world.good(AM2), ["!A"]);
    assert!(!world.waiting(AM2));
    assert_eq!(world.good(AM1), ["!A"]);
    assert_eq!(
        world.outbox.status(world.now).entries,
        0,
        "resolved and known everywhere: gone"
    );
}

#[test]
fn a_newer_state_is_not_settled_by_an_older_acknowledgement() {
    let mut world = World::new(Limits::default(), &[am(AM1)]);
    world.report(vec![alert("A", world.now, 240)]);
    let now = world.now;
    world.report(vec![alert("A", now, 0)]);
    assert_eq!(world.good(AM1), ["A"]);
    assert_eq!(world.good(AM1), ["!A"]);
    assert!(!world.waiting(AM1));
}

#[test]
fn firing_alerts_end_when_their_source_does_not_renew_them() {
    let mut world = World::two();
    world.report(vec![alert("A", world.now, 240)]);
    world.good(AM1);
    world.bad(AM2);
    // The source dies. Both alert and router forget it at `endsAt`.
    let wake = world.pass(239);
    assert!(wake.unwrap() <= Duration::from_secs(1), "{wake:?}");
    world.pass(2);
    let status = world.status(AM2);
    assert_eq!(
        (
            status.pending,
            status.expired_total,
            world.outbox.status(world.now).entries
        ),
        (0, 1, 0)
    );
}

#[test]
fn resolved_alerts_wait_for_a_day() {
    let mut world = World::two();
    world.report(vec![alert("A", world.now, 240)]);
    let now = world.now;
    world.report(vec![alert("A", now, 0)]);
    while world.waiting(AM1) {
        world.good(AM1);
    }
    for _ in 0..23 {
        if world.waiting(AM2) {
            world.bad(AM2);
        }
        world.pass(3600);
    }
    assert_eq!(world.good(AM2), ["!A"]);
}

#[test]
fn an_alertmanager_that_was_away_gets_everything_that_fires_again() {
    let mut world = World::new(Limits::default(), &[am(AM1)]);
    world.report(vec![
        alert("A", world.now, 2_000),
        alert("B", world.now, 2_000),
    ]);
    assert_eq!(world.good(AM1), ["A", "B"]);
    let now = world.now;
    world.report(vec![alert("C", now, 2_000)]);
    world.bad(AM1);
    world.pass(2);
    assert_eq!(world.good(AM1), ["C"]);
    assert_eq!(
        world.good(AM1),
        ["A", "B", "C"],
        "it may have been restarted, and forgets"
    );
    assert!(!world.waiting(AM1));
}

#[test]
fn waits_grow_to_a_minute_and_differ() {
    let mut world = World::new(Limits::default(), &[am(AM1)]);
    world.report(vec![alert("A", world.now, 100_000)]);
    let mut waits = Vec::new();
    for _ in 0..9 {
        world.bad(AM1);
        let wake = world.handle(Event::Wake).unwrap();
        waits.push(wake.as_secs_f64());
        world.now.elapsed += wake;
        world.handle(Event::Wake);
    }
    for (i, wait) in waits.iter().enumerate() {
        let full = f64::from(1 << i).min(60.0);
        assert!((full / 2.0..=full).contains(wait), "{waits:?}");
    }
}

#[test]
fn one_bad_alert_does_not_keep_the_others_back() {
    let mut world = World::new(Limits::default(), &[am(AM1)]);
    world.report(vec![
        alert("A", world.now, 240),
        alert("Bad", world.now, 240),
        alert("C", world.now, 240),
    ]);
    let refusal = || Outcome::Refused("400 Bad Request: no".to_owned());
    assert_eq!(world.answer(AM1, refusal()), ["A", "Bad", "C"]);
    assert_eq!(world.good(AM1), ["A"]);
    assert_eq!(world.answer(AM1, refusal()), ["Bad"]);
    assert_eq!(world.good(AM1), ["C"]);
    let status = world.status(AM1);
    assert_eq!(
        (status.pending, status.refused_total, status.delivered_total),
        (0, 1, 2)
    );
    assert!(
        status
            .last_refusal
            .unwrap()
            .ends_with("400 Bad Request: no")
    );
}

#[test]
fn batches_and_the_whole_are_bounded() {
    let limits = Limits {
        entries_max: 3,
        batch_alerts_max: 2,
        ..Limits::default()
    };
    let mut world = World::new(limits, &[am(AM1)]);
    let now = world.now;
    world.report(["A", "B", "C", "D"].map(|n| alert(n, now, 240)).to_vec());
    assert_eq!(world.refused, 1);
    assert_eq!(world.good(AM1), ["A", "B"]);
    assert_eq!(world.good(AM1), ["C"]);
    // Full of firing alerts: what is known may still resolve, and makes room.
    world.report(vec![alert("A", now, 0), alert("D", now, 240)]);
    assert_eq!((world.refused, world.good(AM1)), (2, vec!["!A".to_owned()]));
    world.report(vec![alert("D", now, 240)]);
    assert_eq!((world.refused, world.good(AM1)), (2, vec!["D".to_owned()]));
}

#[test]
fn size_is_bounded_too() {
    let limits = Limits {
        bytes_max: 1_000,
        ..Limits::default()
    };
    let mut world = World::new(limits, &[am(AM1)]);
    let now = world.now;
    world.report((0..20).map(|i| alert(&i.to_string(), now, 240)).collect());
    assert!(world.refused > 10 && world.outbox.bytes() <= 1_000);
}

#[test]
fn requests_are_bounded_in_bytes() {
    let mut world = World::new(Limits::default(), &[am(AM1)]);
    let now = world.now;
    let large = |name| {
        let mut alert = alert(name, now, 240);
        alert
            .annotations
            .insert("long".to_owned(), "x".repeat(3 << 20));
        alert
    };
    world.report(vec![large("A"), large("B"), alert("C", now, 240)]);
    assert_eq!(world.good(AM1), ["A"]);
    assert_eq!(world.good(AM1), ["B", "C"]);
}

#[test]
fn destinations_come_and_go() {
    let mut world = World::new(Limits::default(), &[am(AM1)]);
    world.report(vec![
        alert("A", world.now, 240),
        alert("Gone", world.now, 0),
    ]);
    world.handle(Event::Destinations(vec![am(AM2)]));
    assert_eq!(world.good(AM2), ["A"], "a new one gets what fires");
    // The old one's answer comes late and means nothing any more.
    world.good(AM1);
    assert_eq!(world.outbox.status(world.now).entries, 1);
    world.handle(Event::Destinations(vec![]));
    world.pass(300);
    assert_eq!(world.outbox.status(world.now).entries, 0);
}

fn message(group: &str, alerts: &[Alert], now: Now) -> Box<Webhook> {
    Box::new(Webhook::new(
        "branches",
        group,
        &LabelSet::empty(),
        alerts,
        now.wall,
    ))
}

fn notices(world: &mut World, outcome: Outcome) -> Webhook {
    let (destination, batch) = world.sent.remove(0);
    world.handle(Event::Outcome {
        destination,
        outcome,
    });
    match batch.content {
        Content::Notice(message) => *message,
        Content::Alerts(_) => panic!("not a notice"),
    }
}

#[test]
fn notices_wait_by_group_and_a_resolved_one_is_not_forgotten() {
    let contact = DestinationId::contact("b07");
    let mut world = World::new(Limits::default(), std::slice::from_ref(&contact));
    let now = world.now;
    let notify = |world: &mut World, group: &str, alerts: &[Alert]| {
        let message = message(group, alerts, now);
        world.handle(Event::Notice {
            contact: contact.clone(),
            message,
        });
    };
    notify(
        &mut world,
        "g1",
        &[alert("A", now, 240), alert("B", now, 0)],
    );
    notify(&mut world, "g2", &[alert("X", now, 240)]);
    notices(&mut world, Outcome::Failed("down".to_owned()));
    // While it is away Alertmanager notifies again, without the resolved one.
    notify(&mut world, "g1", &[alert("A", now, 240)]);
    world.pass(2);
    let names = |m: &Webhook| -> Vec<String> {
        m.alerts
            .iter()
            .map(|a| format!("{} {}", a.status, a.labels["alertname"]))
            .collect()
    };
    let first = notices(&mut world, Outcome::Acknowledged);
    assert_eq!(
        (first.group_key.as_str(), names(&first)),
        ("g1", vec!["resolved B".to_owned(), "firing A".to_owned()])
    );
    assert_eq!(
        (
            first.status.as_str(),
            first.version.as_str(),
            first.receiver.as_str()
        ),
        ("firing", "4", "branches")
    );
    let second = notices(&mut world, Outcome::Acknowledged);
    assert_eq!(
        (second.group_key.as_str(), names(&second)),
        ("g2", vec!["firing X".to_owned()])
    );
    assert!(world.sent.is_empty());
    assert_eq!(world.outbox.status(now).entries, 0);
}

#[test]
fn records_restore_the_outbox_also_when_replayed_twice() {
    let mut world = World::two();
    let now = world.now;
    world.report(vec![
        alert("Kept", now, 240),
        alert("Done", now, 0),
        alert("Half", now, 0),
    ]);
    // The first request of AM1 holds all three.
    world.good(AM1);
    world.bad(AM2);
    let contact = DestinationId::contact("b07");
    let destinations = vec![am(AM1), am(AM2), contact.clone()];
    world.handle(Event::Destinations(destinations.clone()));
    world.handle(Event::Notice {
        contact,
        message: message("g", &[alert("N", now, 240)], now),
    });
    let encoded: Vec<Vec<u8>> = world.records.iter().map(Record::encode).collect();
    let decode = || encoded.iter().map(|r| Record::decode(r).unwrap());
    let restore = |records: Vec<Record>| {
        let (outbox, step) =
            Outbox::restored(Limits::default(), 1, records, destinations.clone(), now);
        assert!(!step.actions.is_empty());
        let counts: Vec<_> = outbox
            .status(now)
            .destinations
            .iter()
            .map(|d| d.pending)
            .collect();
        (
            outbox.status(now).entries,
            counts,
            outbox.snapshot().collect::<Vec<_>>(),
        )
    };
    let once = restore(decode().collect());
    // What fires is pending everywhere again, resolved ones only where they were.
    assert_eq!((once.0, &once.1), (4, &vec![1, 3, 1]));
    let twice = restore(decode().chain(decode()).collect());
    assert_eq!((twice.0, &twice.1), (4, &vec![1, 3, 1]));
    let again = restore(once.2.clone());
    assert_eq!(again.2, once.2);
    let overlapping = restore(decode().chain(once.2.clone()).collect());
    assert_eq!(overlapping.2, once.2);
}
