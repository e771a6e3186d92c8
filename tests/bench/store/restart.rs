//! What does a crash cost? kill -9 in the middle of the ingest, then: how long until one series, and until all that was acknowledged
//! is answered again, and what never is?

use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;

use super::ingest::in_float;
use crate::ask::Asker;
use crate::measured::Measured;
use crate::progress::Progress;
use crate::push::{Interrupt, Job, push};
use crate::systems::Running;

/// Killed when so many of 100 samples are acknowledged.
const KILLED_AT_PERCENT: u64 = 60;
/// So long is waited for an answer, and then for the right one.
const ANSWERED_WITHIN: Duration = Duration::from_secs(180);
const RIGHT_WITHIN: Duration = Duration::from_secs(60);
/// An answer that does not change for so long will not become right.
const CHANGES_WITHIN: Duration = Duration::from_secs(20);
/// Between two questions.
const PAUSE: Duration = Duration::from_millis(2);

/// What became of one count.
struct Counted {
    /// Since the start of the process: any answer.
    answered_after: Duration,
    /// The right one; none when it never came.
    right_after: Option<Duration>,
    found: u64,
    /// How long the last question took.
    question: Duration,
}

pub(super) fn restart(
    running: &mut Running,
    job: &Job,
    progress: &mut Progress,
) -> anyhow::Result<Measured> {
    let all = job.shape.samples();
    let mut kill = || running.kill_9();
    let interrupt = Interrupt {
        at_samples: all * KILLED_AT_PERCENT / 100,
        kill: &mut kill,
    };
    let pushed = push(job, Some(interrupt), |done| progress.at(done, all))?;
    progress.phase(format!("{}: starting after kill -9", running.kind));
    let began = Instant::now();
    running.start_again(&job.shape)?;
    let probe = pushed.probe_scrapes..=pushed.probe_scrapes + pushed.probe_unanswered;
    let probe = poll(running, began, probe, |asker| asker.count_probe(&job.shape))?;
    let wanted = pushed.acknowledged..=pushed.acknowledged + pushed.unanswered;
    let everything = poll(running, began, wanted, |asker| asker.count_all(&job.shape))?;
    let mut measured = Measured::default();
    let seconds = |after: Duration| after.as_secs_f64();
    measured.set("restart_answer_seconds", seconds(probe.answered_after));
    measured.set_if("restart_probe_seconds", probe.right_after.map(seconds));
    measured.set_if("restart_all_seconds", everything.right_after.map(seconds));
    measured.set("restart_count_seconds", seconds(everything.question));
    let missing = pushed.acknowledged.saturating_sub(everything.found);
    measured.set("restart_missing", in_float(missing));
    Ok(measured)
}

fn poll(
    running: &mut Running,
    began: Instant,
    right: std::ops::RangeInclusive<u64>,
    mut count: impl FnMut(&mut Asker) -> anyhow::Result<u64>,
) -> anyhow::Result<Counted> {
    // (when it was first seen, what was found)
    let mut found: Option<(Instant, u64)> = None;
    let mut first_answer = None;
    loop {
        running.check_alive()?;
        let asked = Instant::now();
        match Asker::at(&running.address).and_then(|mut asker| count(&mut asker)) {
            Ok(now) => {
                let question = asked.elapsed();
                let (first, answered_after) =
                    *first_answer.get_or_insert((Instant::now(), began.elapsed()));
                if found.is_none_or(|(_, before)| before != now) {
                    found = Some((asked, now));
                }
                let is_right = right.contains(&now);
                let unchanged = found.is_some_and(|(since, _)| since.elapsed() > CHANGES_WITHIN);
                if is_right || unchanged || first.elapsed() > RIGHT_WITHIN {
                    return Ok(Counted {
                        answered_after,
                        right_after: is_right.then(|| began.elapsed()),
                        found: now,
                        question,
                    });
                }
            }
            Err(error) if began.elapsed() > ANSWERED_WITHIN => {
                return Err(error).context("no answer after the restart");
            }
            Err(_) => {}
        }
        thread::sleep(PAUSE);
    }
}
