//! When is a server done? Acknowledged is not yet compressed and merged: its CPU is counted until it rests.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::usage;

/// Below this part of a core it rests ...
const RESTING_PART: f64 = 0.02;
/// ... when it stays there for so many looks, a second each.
const RESTING_LOOKS: usize = 5;
const LOOK: Duration = Duration::from_secs(1);
/// Who rests may still have something in mind: what is left over is tidied up only once nobody writes any more.
const SETTLED_AFTER: Duration = Duration::from_secs(40);
/// Who never rests is measured then.
const SETTLED_WITHIN: Duration = Duration::from_secs(60);

/// When the process last worked, and the CPU that it had taken by then.
pub(crate) struct Settled {
    pub(crate) after: Duration,
    pub(crate) cpu: Duration,
}

/// Waits until the process rests and nothing more is to be expected; `briefly`: until it rests.
///
/// # Errors
/// When the process has ended.
pub(crate) fn settle(pid: u32, briefly: bool) -> std::io::Result<Settled> {
    let at_least = if briefly {
        Duration::ZERO
    } else {
        SETTLED_AFTER
    };
    let began = Instant::now();
    let (mut resting, mut before) = (0, usage::cpu(pid)?);
    let (mut after, mut cpu) = (Duration::ZERO, before);
    while (resting < RESTING_LOOKS || began.elapsed() < at_least)
        && began.elapsed() < SETTLED_WITHIN
    {
        thread::sleep(LOOK);
        let now = usage::cpu(pid)?;
        // One tick of the kernel's clock a look is 1 %.
        if now.saturating_sub(before).as_secs_f64() < RESTING_PART * LOOK.as_secs_f64() {
            resting += 1;
        } else {
            (resting, after, cpu) = (0, began.elapsed(), now);
        }
        before = now;
    }
    Ok(Settled { after, cpu })
}

/// The highest anonymous memory of a process while `work` runs, looked at ten times a second: unlike the resident size the kernel
/// keeps no peak of it.
pub(crate) fn peak_anonymous<T>(pid: u32, work: impl FnOnce() -> T) -> (T, u64) {
    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut peak = 0;
            while !ended.load(Ordering::Relaxed) {
                peak = peak.max(usage::memory(pid).unwrap_or_default().anonymous);
                thread::sleep(Duration::from_millis(100));
            }
            peak
        });
        let done = work();
        ended.store(true, Ordering::Relaxed);
        (done, watcher.join().unwrap_or(0))
    })
}
