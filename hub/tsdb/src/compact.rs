//! Which parts are merged, which are dropped? Pure decisions, and the merge itself.
//!
//! Parts of one partition are ordered by write sequence. Only neighbours are merged, so that of two samples with the same
//! series and timestamp the one from the right-hand part is always the later write. A quarantined part keeps its place: no
//! merge reaches across it, so that it could be put back.

use std::{ops::Range, sync::Arc};

use crate::{
    chunk,
    deletions::{Deletions, PartDeletions},
    part::{Part, PartError, PartMeta, PartScan},
    rows::Rows,
    types::Column,
};

/// A part as the decision sees it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Candidate {
    pub(crate) partition: i64,
    pub(crate) level: u8,
    pub(crate) rows: u64,
    /// Quarantined: a barrier.
    pub(crate) barrier: bool,
}

/// The first run of `width` neighbours of one level and partition, in a list ordered by (partition, sequence). The
/// number of parts that stay is at most `width - 1` for each level of a partition, plus those too large to merge.
pub(crate) fn choose_merge(
    parts: &[Candidate],
    width: usize,
    rows_max: u64,
) -> Option<Range<usize>> {
    let width = width.max(2);
    let fits = |run: &[Candidate]| {
        let same = |part: &Candidate| {
            (part.partition, part.level) == (run[0].partition, run[0].level) && !part.barrier
        };
        run.iter().all(same) && run.iter().map(|part| part.rows).sum::<u64>() <= rows_max
    };
    (0..parts.len().saturating_sub(width - 1))
        .find(|&at| fits(&parts[at..at + width]))
        .map(|at| at..at + width)
}

/// Parts whose newest sample is older than `oldest`.
pub(crate) fn choose_expired<'a>(
    parts: impl Iterator<Item = &'a PartMeta>,
    oldest: i64,
) -> Vec<u64> {
    parts
        .filter(|part| part.last < oldest)
        .map(|part| part.number)
        .collect()
}

/// Parts of the oldest partitions, until the rest fits into `bytes_max` (with `other_bytes` that are not in parts). The
/// newest partition is kept whatever it takes.
pub(crate) fn choose_oldest<'a>(
    parts: impl Iterator<Item = &'a PartMeta>,
    other_bytes: u64,
    bytes_max: u64,
) -> Vec<u64> {
    let mut parts: Vec<&PartMeta> = parts.collect();
    parts.sort_by_key(|part| part.partition);
    let newest = parts.last().map(|part| part.partition);
    let mut bytes = other_bytes + parts.iter().map(|part| part.bytes).sum::<u64>();
    let mut chosen = Vec::new();
    let mut dropping = None;
    for part in parts {
        let over = bytes > bytes_max && Some(part.partition) != newest;
        if over || dropping == Some(part.partition) {
            dropping = Some(part.partition);
            bytes -= part.bytes;
            chosen.push(part.number);
        }
    }
    chosen
}

/// Why a merge stopped.
pub(crate) enum MergeError<E> {
    /// The input with this index could not be read.
    Input(usize, PartError),
    Output(E),
}

/// Gives every series of the inputs (oldest write first), without what is deleted, in order to `output`: rising ids, one call for a series, or several
/// with rising times when it is long.
///
/// Holds of each input one block, and one column where it overlaps another input in time; of the output about two columns.
pub(crate) fn merge<E>(
    inputs: &[Arc<Part>],
    deletions: &Deletions,
    mut output: impl FnMut(u32, &Rows) -> Result<(), E>,
) -> Result<(), MergeError<E>> {
    let mut sources: Vec<Source> = Vec::with_capacity(inputs.len());
    for (index, input) in inputs.iter().enumerate() {
        let scan = input.scan().map_err(|e| MergeError::Input(index, e))?;
        sources.push(Source {
            scan,
            deletions: deletions.of(input),
            column: Rows::default(),
            taken: 0,
            next: None,
        });
    }
    let mut merged = Rows::default();
    loop {
        let mut lowest: Option<u32> = None;
        for (index, source) in sources.iter_mut().enumerate() {
            let id = source.scan.peek();
            lowest = match (lowest, id.map_err(|e| MergeError::Input(index, e))?) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
        }
        let Some(id) = lowest else { return Ok(()) };
        for (index, source) in sources.iter_mut().enumerate() {
            source.look(id).map_err(|e| MergeError::Input(index, e))?;
        }
        merged.clear();
        let mut rows_checked = 0;
        while merge_some(&mut sources, id, &mut merged)? {
            // Counting the numbers of histograms takes a walk over all rows: not after each.
            let due = match merged.values {
                Column::Floats(_) => merged.len() >= chunk::CHUNK_ROWS_MAX,
                Column::Mixed(_) if merged.len() < rows_checked + ROWS_UNCHECKED => false,
                Column::Mixed(_) => {
                    rows_checked = merged.len();
                    chunk::end(&merged, 0) < merged.len()
                }
            };
            if due {
                output(id, &merged).map_err(MergeError::Output)?;
                merged.clear();
                rows_checked = 0;
            }
        }
        if !merged.is_empty() {
            output(id, &merged).map_err(MergeError::Output)?;
        }
    }
}

/// Rows with histograms that may come together before their size is looked at.
const ROWS_UNCHECKED: usize = 64;

/// One input of a merge.
struct Source {
    scan: PartScan,
    deletions: PartDeletions,
    /// A column that overlaps another input in time or has samples deleted, and how many of its rows are merged already. Empty when there is none.
    column: Rows,
    taken: usize,
    /// The next time that it has of the series being merged.
    next: Option<i64>,
}

impl Source {
    /// Finds `next` for series `id`.
    fn look(&mut self, id: u32) -> Result<(), PartError> {
        self.next = loop {
            if let Some(at) = self.column.times.get(self.taken) {
                break Some(*at);
            }
            if self.scan.peek()? != Some(id) {
                break None;
            }
            if !self.deletions.concern(id) {
                break Some(self.scan.times()?.0);
            }
            self.load()?;
            if let Some(left) = self.deletions.left_of(id, &self.column) {
                self.column = left;
            }
        };
        Ok(())
    }

    fn load(&mut self) -> Result<(), PartError> {
        if self.taken == self.column.len() {
            self.column.clear();
            self.taken = 0;
            self.scan.append_to(&mut self.column)?;
        }
        Ok(())
    }

    /// Adds what it has before `until`, of one column at most.
    fn take(&mut self, until: Option<i64>, merged: &mut Rows) -> Result<(), PartError> {
        if self.taken == self.column.len() {
            let last = self.scan.times()?.1;
            if until.is_none_or(|until| last < until) {
                return self.scan.append_to(merged);
            }
        }
        self.load()?;
        let (times, from) = (&self.column.times, self.taken);
        let rows = match until {
            Some(until) => times[from..].partition_point(|at| *at < until),
            None => times.len() - from,
        };
        self.taken = from + rows;
        merged.extend_later(&self.column, from, self.taken);
        Ok(())
    }

    /// Passes over its next row, which was written again later.
    fn drop_next(&mut self) -> Result<(), PartError> {
        self.load()?;
        self.taken += 1;
        Ok(())
    }
}

/// Merges the next rows of series `id`; false at its end.
fn merge_some<E>(
    sources: &mut [Source],
    id: u32,
    merged: &mut Rows,
) -> Result<bool, MergeError<E>> {
    // The source with the earliest row (the latest write of several), that row's time, and when another has its next row.
    let mut earliest: Option<(usize, i64)> = None;
    let mut until: Option<i64> = None;
    for (index, source) in sources.iter().enumerate() {
        let Some(next) = source.next else { continue };
        let other = match earliest {
            Some((_, at)) if at < next => Some(next),
            before => {
                earliest = Some((index, next));
                before.map(|(_, at)| at)
            }
        };
        until = match (until, other) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
    }
    let Some((winner, at)) = earliest else {
        return Ok(false);
    };
    if until != Some(at) {
        let source = &mut sources[winner];
        source
            .take(until, merged)
            .and_then(|()| source.look(id))
            .map_err(|e| MergeError::Input(winner, e))?;
        return Ok(true);
    }
    // Written several times: the others' rows are superseded.
    let others = sources.iter_mut().enumerate().take(winner);
    for (index, source) in others.filter(|(_, source)| source.next == Some(at)) {
        source
            .drop_next()
            .and_then(|()| source.look(id))
            .map_err(|e| MergeError::Input(index, e))?;
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Parts as `partition:level`, `x` for a quarantined one.
    fn check_merge(parts: &str, expected: Option<Range<usize>>) {
        let candidates: Vec<Candidate> = parts
            .split_whitespace()
            .map(|part| {
                let (partition, level) = part.trim_end_matches('x').split_once(':').unwrap();
                let (partition, level) = (partition.parse().unwrap(), level.parse().unwrap());
                Candidate {
                    partition,
                    level,
                    rows: 10,
                    barrier: part.ends_with('x'),
                }
            })
            .collect();
        assert_eq!(choose_merge(&candidates, 3, 30), expected, "{parts}");
        assert_eq!(choose_merge(&candidates, 3, 29), None, "{parts}: too large");
    }

    #[test]
    fn only_neighbours_of_one_level_and_partition_are_merged() {
        check_merge("", None);
        check_merge("1:0 1:0", None);
        check_merge("1:0 1:0 1:0", Some(0..3));
        check_merge("1:1 1:0 1:0 1:0 1:0", Some(1..4));
        check_merge("1:0 1:0 2:0 2:0", None);
        check_merge("1:1 1:1 1:0 1:0", None);
        check_merge("1:0 1:0x 1:0 1:0", None);
        check_merge("1:0x 1:0 1:0 1:0", Some(1..4));
        check_merge("1:2 2:1 2:1 2:1", Some(1..4));
    }

    #[test]
    fn the_number_of_parts_stays_bounded() {
        let mut parts: Vec<Candidate> = Vec::new();
        for _ in 0..1000 {
            parts.push(Candidate {
                partition: 0,
                level: 0,
                rows: 1,
                barrier: false,
            });
            while let Some(run) = choose_merge(&parts, 4, u64::MAX) {
                let rows = parts[run.clone()].iter().map(|part| part.rows).sum();
                let merged = Candidate {
                    level: parts[run.start].level + 1,
                    rows,
                    ..parts[run.start]
                };
                parts.splice(run, [merged]);
            }
            assert!(parts.len() <= 3 * 6, "{}", parts.len());
        }
        assert_eq!(parts.iter().map(|part| part.rows).sum::<u64>(), 1000);
    }

    #[test]
    fn retention_drops_the_oldest() {
        let part = |number, partition: i64, bytes| PartMeta {
            number,
            level: 0,
            partition,
            seq_first: 1,
            seq_last: 1,
            first: partition * 100,
            last: partition * 100 + 99,
            rows: 1,
            bytes,
            deletions: 0,
        };
        let parts = [
            part(1, 5, 10),
            part(2, 4, 10),
            part(3, 4, 10),
            part(4, 6, 10),
        ];
        assert_eq!(choose_expired(parts.iter(), 499), [0; 0]);
        assert_eq!(choose_expired(parts.iter(), 500), [2, 3]);
        let check = |bytes_max, expected: &[u64]| {
            assert_eq!(choose_oldest(parts.iter(), 5, bytes_max), expected)
        };
        check(45, &[]);
        check(44, &[2, 3]);
        check(24, &[2, 3, 1]);
        check(0, &[2, 3, 1]);
    }
}
