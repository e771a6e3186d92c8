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
/// Who never rests is measured then.
const SETTLED_WITHIN: Duration = Duration::from_secs(60);

/// Waits until the process rests; returns how long that took, without the seconds that prove it.
///
/// # Errors
/// When the process has ended.
pub(crate) fn settle(pid: u32) -> std::io::Result<Duration> {
    let began = Instant::now();
    let (mut resting, mut before) = (0, usage::cpu(pid)?);
    while resting < RESTING_LOOKS && began.elapsed() < SETTLED_WITHIN {
        thread::sleep(LOOK);
        let now = usage::cpu(pid)?;
        let rests = now.saturating_sub(before).as_secs_f64() < RESTING_PART * LOOK.as_secs_f64();
        // One tick of the kernel's clock a look is 1 %.
        resting = if rests { resting + 1 } else { 0 };
        before = now;
    }
    let proof = LOOK * u32::try_from(resting).unwrap_or(0);
    Ok(began.elapsed().saturating_sub(proof))
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
