//! Does a branch that comes back disturb the others? All branches send live, on their own time and not when the server is ready;
//! meanwhile one of them sends what an outage left behind, as fast as it is taken.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context;

use super::ingest::in_float;
use crate::ask::Asker;
use crate::client::Connection;
use crate::data::{BRANCH_TARGETS, Pages, STEP_MS, Shape, TARGET_SERIES};
use crate::encode::Encoder;
use crate::latency::Latencies;
use crate::measured::Measured;
use crate::progress::Progress;
use crate::push::{Job, push, token, write_with_retries};
use crate::systems::{Running, System};

/// Each target is scraped and sent that often.
const LIVE_INTERVAL: Duration = Duration::from_secs(5);
/// Live only, to begin with: two scrapes.
const LIVE_ALONE: Duration = Duration::from_secs(10);
/// Live still, when all of the backlog is acknowledged: sorting it in may disturb as well.
const LIVE_AFTER: Duration = Duration::from_secs(10);
const LIVE_CONNECTIONS: usize = 2;
/// A server that takes the backlog slowly is measured for so long.
const BACKLOG_WITHIN: Duration = Duration::from_secs(120);
/// Between two live questions.
const QUESTION_EVERY: Duration = Duration::from_millis(250);

/// What the threads share.
struct Shared {
    /// For each target the time of its newest acknowledged sample; 0 before the first.
    acknowledged_ms: Vec<AtomicI64>,
    during_backlog: AtomicBool,
    ended: AtomicBool,
    latencies: Mutex<[Latencies; 2]>,
    began: Instant,
    began_ms: i64,
}

#[derive(Default)]
struct Questions {
    asked: u64,
    right: u64,
    late_ms_max: f64,
    latencies: Latencies,
}

pub(super) fn backlog(
    system: &System,
    folder: &std::path::Path,
    live_branches: usize,
    scrapes: usize,
    progress: &mut Progress,
) -> anyhow::Result<Measured> {
    let began_ms = now_ms();
    // The branch of the backlog is the last of those that are live.
    let branch_series = BRANCH_TARGETS * TARGET_SERIES;
    let live = Shape::new((live_branches + 1) * branch_series, 1, began_ms);
    let old = Shape {
        first_branch: live_branches + 1,
        // A step before the first live sample, so that counting the one does not meet the other.
        ..Shape::new(branch_series, scrapes, began_ms - STEP_MS)
    };
    progress.phase(format!("{}: live only", system.kind));
    let running = system.taking_old_samples().start(folder, &live)?;
    let shared = Shared {
        acknowledged_ms: (0..live.targets()).map(|_| AtomicI64::new(0)).collect(),
        during_backlog: AtomicBool::new(false),
        ended: AtomicBool::new(false),
        latencies: Mutex::default(),
        began: Instant::now(),
        began_ms,
    };
    let tokens = system.needs_tokens(live.series);
    let (pushed, questions) = thread::scope(|scope| {
        let senders: Vec<_> = (0..LIVE_CONNECTIONS)
            .map(|index| {
                let (running, shared) = (&running, &shared);
                scope.spawn(move || send_live(running, live, index, tokens, shared))
            })
            .collect();
        let asking = scope.spawn(|| ask_live(&running, &shared));
        thread::sleep(LIVE_ALONE);
        shared.during_backlog.store(true, Ordering::SeqCst);
        progress.phase(format!("{}: live and backlog", system.kind));
        let job = Job {
            address: running.address.clone(),
            shape: old,
            connections: 1,
            with_tokens: tokens,
            stop_after: Some(BACKLOG_WITHIN),
        };
        let pushed = push(&job, None, |done| progress.at(done, old.samples()));
        progress.phase(format!("{}: live after it", system.kind));
        thread::sleep(LIVE_AFTER);
        shared.ended.store(true, Ordering::SeqCst);
        let ended = |_| anyhow::anyhow!("a thread panicked");
        for sender in senders {
            sender.join().map_err(ended)?.context("live")?;
        }
        let questions = asking.join().map_err(ended)?.context("live queries")?;
        anyhow::Ok((pushed.context("backlog")?, questions))
    })?;
    progress.phase(format!("{}: counting", system.kind));
    let found = found(&running, &old, pushed.acknowledged)?;
    let mut measured = Measured::default();
    let rate = in_float(pushed.acknowledged) / pushed.wall.as_secs_f64();
    measured.set("backlog_samples_per_second", rate);
    measured.set(
        "backlog_missing",
        in_float(pushed.acknowledged) - in_float(found),
    );
    let latencies = shared
        .latencies
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    let [alone, during] = &*latencies;
    measured.set_if("live_alone_p99_ms", alone.quantile(0.99).map(super::millis));
    for (key, part) in [
        ("live_p50_ms", 0.5),
        ("live_p99_ms", 0.99),
        ("live_p999_ms", 0.999),
        ("live_max_ms", 1.0),
    ] {
        measured.set_if(key, during.quantile(part).map(super::millis));
    }
    if questions.asked > 0 {
        let right = in_float(questions.right * 100) / in_float(questions.asked);
        measured.set("live_queries_right_percent", right);
        measured.set("live_late_max_ms", questions.late_ms_max);
        let p99 = questions.latencies.quantile(0.99).map(super::millis);
        measured.set_if("live_query_p99_ms", p99);
    }
    Ok(measured)
}

/// Counts again for some seconds: what was acknowledged may be visible a little later.
fn found(running: &Running, old: &Shape, acknowledged: u64) -> anyhow::Result<u64> {
    let began = Instant::now();
    loop {
        let found = Asker::at(&running.address)?.count_all(old)?;
        if found == acknowledged || began.elapsed() > Duration::from_secs(10) {
            return Ok(found);
        }
        thread::sleep(Duration::from_millis(500));
    }
}

/// One connection's share of the live targets, each at its own moment of every interval. The latency counts from that moment, so
/// that a server that keeps us waiting cannot hide it by being asked less.
fn send_live(
    running: &Running,
    shape: Shape,
    index: usize,
    with_tokens: bool,
    shared: &Shared,
) -> anyhow::Result<()> {
    let share = |index| index * shape.targets() / LIVE_CONNECTIONS;
    let targets = share(index)..share(index + 1);
    let mut connection = Connection::open(&running.address)?;
    let mut encoder = Encoder::new(shape, &Pages::new(), targets.clone()).one_target_a_request();
    let each = LIVE_INTERVAL / u32::try_from(encoder.requests().max(1))?;
    for round in 0.. {
        for request in 0..encoder.requests() {
            let due = LIVE_INTERVAL * u32::try_from(round)? + each * u32::try_from(request)?;
            while let Some(wait) = due.checked_sub(shared.began.elapsed()) {
                if shared.ended.load(Ordering::SeqCst) {
                    return Ok(());
                }
                thread::sleep(wait.min(Duration::from_millis(20)));
            }
            if shared.ended.load(Ordering::SeqCst) {
                return Ok(());
            }
            let during = usize::from(shared.during_backlog.load(Ordering::SeqCst));
            let at_ms = shared.began_ms + i64::try_from(due.as_millis())?;
            let sent = encoder.scrape_at(request, round, Some(at_ms));
            let token = with_tokens.then(|| token(sent.branch));
            write_with_retries(&mut connection, token.as_deref(), sent.body)?;
            let latency = shared.began.elapsed().saturating_sub(due);
            shared.acknowledged_ms[targets.start + request].store(at_ms, Ordering::SeqCst);
            let mut latencies = shared
                .latencies
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            latencies[during].add(latency);
        }
    }
    Ok(())
}

/// Asks for the oldest of the machines' clocks, and how many there are. Right is: all of them, and none older than what had been
/// acknowledged before the question.
fn ask_live(running: &Running, shared: &Shared) -> anyhow::Result<Questions> {
    let mut questions = Questions::default();
    // Opened with the first question: servers close a connection that says nothing.
    let mut asker = None;
    let is_machine = |target: usize| target % BRANCH_TARGETS + 1 != BRANCH_TARGETS;
    let machines = (0..shared.acknowledged_ms.len()).filter(|target| is_machine(*target));
    let machines: Vec<&AtomicI64> = machines
        .map(|target| &shared.acknowledged_ms[target])
        .collect();
    while !shared.ended.load(Ordering::SeqCst) {
        thread::sleep(QUESTION_EVERY);
        let acknowledged = machines.iter().map(|at| at.load(Ordering::SeqCst)).min();
        let acknowledged = acknowledged.unwrap_or(0);
        if acknowledged == 0 || !shared.during_backlog.load(Ordering::SeqCst) {
            continue;
        }
        let asker = match &mut asker {
            Some(asker) => asker,
            None => asker.insert(Asker::at(&running.address)?),
        };
        let asked = Instant::now();
        let oldest = asker.number("min(node_time_seconds)", None)?;
        questions.latencies.add(asked.elapsed());
        let count = asker.number("count(node_time_seconds)", None)?;
        let late_ms = in_float(acknowledged.unsigned_abs()) - oldest * 1000.0;
        let all = (count - in_float(machines.len() as u64)).abs() < 0.5;
        questions.asked += 1;
        // A clock's value is up to 5 ms later than its sample, and a float of seconds a little off.
        questions.right += u64::from(all && late_ms < 1.0);
        questions.late_ms_max = questions.late_ms_max.max(late_ms);
    }
    Ok(questions)
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    i64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(i64::MAX)
}
