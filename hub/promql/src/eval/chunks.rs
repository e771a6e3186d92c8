//! Work on many series, in stretches, on as many threads as it is worth.
//!
//! How the series are cut depends on their number alone, and results are taken in the order of the stretches: so the
//! answer does not depend on the number of threads, bit for bit.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;

use super::{Eval, Evaluator};
use crate::annotations::Annotations;
use crate::result::QueryStats;

/// Series of one stretch: few enough that all threads have something to do, enough that putting results together costs
/// little beside making them.
fn chunk_series(series: usize) -> usize {
    const MIN: usize = 128;
    const MAX: usize = 16_384;
    (series / 32).clamp(MIN, MAX)
}

/// Below so many steps of series, starting a thread takes longer than it saves.
const WORK_MIN: usize = 2_000;

/// What a worker has made of one stretch, and has to say.
type Made<T> = (Eval<T>, (Annotations, QueryStats));

impl Evaluator<'_> {
    /// Does `work` for each stretch of `0..series`, each thread with a state of its own, and gives `take` the results in
    /// the order of the stretches. The first error, in that order, ends it.
    pub(super) fn in_chunks<S, T: Send>(
        &mut self,
        series: usize,
        steps: usize,
        state: impl Fn() -> S + Sync,
        work: impl Fn(&mut S, &mut Evaluator<'_>, Range<usize>) -> Eval<T> + Sync,
        mut take: impl FnMut(&mut Self, T) -> Eval<()>,
    ) -> Eval<()> {
        let size = chunk_series(series);
        let chunks = series.div_ceil(size);
        let places = |chunk: usize| chunk * size..series.min((chunk + 1) * size);
        let mut threads = self.options.threads.clamp(1, 64).min(chunks);
        if series.saturating_mul(steps) < WORK_MIN {
            threads = 1;
        }
        if threads <= 1 {
            let mut state = state();
            for chunk in 0..chunks {
                let made = work(&mut state, self, places(chunk))?;
                take(self, made)?;
            }
            return Ok(());
        }
        let (next, over) = (AtomicUsize::new(0), AtomicBool::new(false));
        std::thread::scope(|scope| {
            // As long as the threads are ahead by little, nobody waits.
            let (sender, made) = mpsc::sync_channel::<(usize, Made<T>)>(2 * threads);
            for _ in 0..threads {
                let mut worker = self.sibling();
                let (sender, next, over) = (sender.clone(), &next, &over);
                let (state, work) = (&state, &work);
                scope.spawn(move || {
                    let mut state = state();
                    while !over.load(Ordering::Relaxed) {
                        let chunk = next.fetch_add(1, Ordering::Relaxed);
                        if chunk >= chunks {
                            return;
                        }
                        let result = work(&mut state, &mut worker, places(chunk));
                        if sender.send((chunk, (result, worker.take_parts()))).is_err() {
                            return;
                        }
                    }
                });
            }
            drop(sender);
            let mut early: BTreeMap<usize, Made<T>> = BTreeMap::new();
            let mut taken = 0;
            let result = loop {
                if let Some((result, said)) = early.remove(&taken) {
                    taken += 1;
                    self.take_over(said);
                    if let Err(error) = result.and_then(|result| take(self, result)) {
                        break Err(error);
                    }
                    continue;
                }
                if taken == chunks {
                    break Ok(());
                }
                match made.recv() {
                    Ok((chunk, made)) => {
                        early.insert(chunk, made);
                    }
                    Err(_) => break Err(super::execution("a thread of the evaluation failed")),
                }
            };
            over.store(true, Ordering::Relaxed);
            // Whoever still wants to send finds nobody, and ends.
            drop(made);
            result
        })
    }
}
