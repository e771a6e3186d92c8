//! Work on many series, in stretches, on as many threads as it is worth.
//!
//! How the series are cut does not depend on the number of threads, and results are taken in the order of the stretches:
//! so neither does the answer, bit for bit.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;

use super::{Eval, Evaluator};
use crate::annotations::Annotations;
use crate::result::{QueryError, QueryStats};
use crate::storage::SeriesSet;

/// Series of one stretch: few enough that all threads have something to do, enough that putting results together costs
/// little beside making them.
fn chunk_series(series: usize) -> usize {
    const MIN: usize = 128;
    const MAX: usize = 16_384;
    (series / 32).clamp(MIN, MAX)
}

/// Series cut evenly.
pub(super) fn even_chunks(series: usize) -> Vec<Range<usize>> {
    let size = chunk_series(series);
    (0..series)
        .step_by(size)
        .map(|from| from..series.min(from + size))
        .collect()
}

/// Series cut where one of the set's own stretches ends: see [`SeriesSet::stretch`].
pub(super) fn whole_stretches(set: &dyn SeriesSet) -> Vec<Range<usize>> {
    let (series, size) = (set.len(), chunk_series(set.len()));
    let mut chunks = Vec::with_capacity(series / size + 1);
    let mut from = 0;
    while from < series {
        let last = set.stretch((from + size).min(series) - 1);
        let mut to = (from + size).min(series);
        while to < series && set.stretch(to) == last {
            to += 1;
        }
        chunks.push(from..to);
        from = to;
    }
    chunks
}

/// Below so many steps of series, starting a thread takes longer than it saves.
const WORK_MIN: usize = 2_000;

/// What a worker has made of one stretch, and has to say.
type Made<T> = (Eval<T>, (Annotations, QueryStats));

impl Evaluator<'_> {
    /// Does `work` for each of the chunks, each thread with a state of its own, and gives `take` the results in the order
    /// of the chunks. The first error, in that order, ends it.
    pub(super) fn in_chunks<S, T: Send>(
        &mut self,
        cut: &[Range<usize>],
        steps: usize,
        state: impl Fn() -> S + Sync,
        work: impl Fn(&mut S, &mut Evaluator<'_>, Range<usize>) -> Eval<T> + Sync,
        mut take: impl FnMut(&mut Self, T) -> Eval<()>,
    ) -> Eval<()> {
        let chunks = cut.len();
        let series = cut.last().map_or(0, |last| last.end);
        let places = |chunk: usize| cut[chunk].clone();
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
            let mut workers = Vec::with_capacity(threads);
            for _ in 0..threads {
                let mut worker = self.sibling();
                let (sender, next, over) = (sender.clone(), &next, &over);
                let (state, work) = (&state, &work);
                workers.push(scope.spawn(move || {
                    let mut state = state();
                    while !over.load(Ordering::Relaxed) {
                        let chunk = next.fetch_add(1, Ordering::Relaxed);
                        if chunk >= chunks {
                            break;
                        }
                        let result = work(&mut state, &mut worker, places(chunk));
                        if sender.send((chunk, (result, worker.take_parts()))).is_err() {
                            break;
                        }
                    }
                    // Sums, in whatever order they come.
                    worker.counts
                }));
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
                    Err(_) => break Err(failed()),
                }
            };
            over.store(true, Ordering::Relaxed);
            // Whoever still wants to send finds nobody, and ends.
            drop(made);
            for worker in workers {
                let Ok(counts) = worker.join() else {
                    return result.and_then(|()| Err(failed()));
                };
                self.counts.add_all_of(counts);
            }
            result
        })
    }
}

fn failed() -> QueryError {
    super::execution("a thread of the evaluation failed")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Cancel;
    use crate::storage::{SeriesView, StorageError};

    /// Series whose stretches are given.
    struct Stretches(Vec<u32>);

    impl SeriesSet for Stretches {
        fn len(&self) -> usize {
            self.0.len()
        }

        fn labels(&self, _: usize) -> Option<model::LabelSet> {
            None
        }

        fn read(
            &self,
            _: Range<usize>,
            _: &Cancel,
            _: &mut dyn FnMut(usize, SeriesView<'_>) -> bool,
        ) -> Result<(), StorageError> {
            Ok(())
        }

        fn stretch(&self, place: usize) -> u32 {
            self.0[place]
        }

        fn warnings(&self) -> &[String] {
            &[]
        }
    }

    #[test]
    fn stretches_stay_whole() {
        let cut = |stretches: Vec<u32>| whole_stretches(&Stretches(stretches));
        assert!(cut(Vec::new()).is_empty());
        assert_eq!(cut(vec![3]), vec![0..1]);
        assert_eq!(cut(vec![0; 500]), vec![0..500]);
        // 128 is as short as a chunk gets.
        let hundreds = (0..500).map(|place| place / 100).collect();
        assert_eq!(cut(hundreds), vec![0..200, 200..400, 400..500]);
        let singles = (0..300).collect();
        assert_eq!(cut(singles), vec![0..128, 128..256, 256..300]);
    }
}
