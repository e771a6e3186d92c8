//! Which series and which time each row of a batch belongs to, without saying it row by row.
//!
//! Senders repeat themselves: the series of a target follow each other with rising ids, all at the time of its scrape;
//! a backlog brings many samples of one series at even distances. So ids and times are kept as runs, in the write-ahead log
//! and in memory alike, and what is left of a row is its value. A sender without any order costs a run a row.

use roaring::RoaringBitmap;

use crate::types::TimeRange;

/// Rows `row..` (up to the next run) belong to the series `id`, `id + step`, `id + 2 * step` and so on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct IdRun {
    pub(crate) row: u32,
    pub(crate) id: u32,
    /// 0 or 1.
    pub(crate) step: u32,
}

/// Rows `row..` (up to the next run) are of `at`, `at + step`, `at + 2 * step` and so on, without overflow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TimeRun {
    pub(crate) row: u32,
    pub(crate) at: i64,
    pub(crate) step: i64,
}

impl TimeRun {
    /// The time of a row of this run.
    pub(crate) fn time(&self, row: u32) -> i64 {
        self.at
            .wrapping_add(self.step.wrapping_mul(i64::from(row - self.row)))
    }

    /// The time of a row, if the run can reach it.
    pub(crate) fn checked_time(&self, row: u32) -> Option<i64> {
        let steps = i64::from(row.checked_sub(self.row)?);
        self.at.checked_add(self.step.checked_mul(steps)?)
    }
}

/// Ids and times of rows `0..rows`. Invariants: both lists are empty or start with row 0, their rows rise.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Runs {
    pub(crate) ids: Vec<IdRun>,
    pub(crate) times: Vec<TimeRun>,
    /// Rows that have an id.
    pub(crate) rows: u32,
    /// Rows that have a time.
    rows_timed: u32,
}

impl Runs {
    /// From lists that keep the invariants.
    pub(crate) fn from_parts(ids: Vec<IdRun>, times: Vec<TimeRun>, rows: u32) -> Self {
        Self {
            ids,
            times,
            rows,
            rows_timed: rows,
        }
    }

    pub(crate) fn clear(&mut self) {
        self.ids.clear();
        self.times.clear();
        (self.rows, self.rows_timed) = (0, 0);
    }

    /// `count` more rows of one series.
    pub(crate) fn push_id(&mut self, id: u32, count: u32) {
        if count == 0 {
            return;
        }
        let row = self.rows;
        self.rows += count;
        if let Some(last) = self.ids.last_mut() {
            let len = row - last.row;
            let goes_on = match last.step {
                1 => count == 1 && Some(id) == last.id.checked_add(len),
                _ => id == last.id,
            };
            if goes_on {
                return;
            }
            if len == 1 && id == last.id {
                last.step = 0;
                return;
            }
        }
        let step = u32::from(count == 1);
        self.ids.push(IdRun { row, id, step });
    }

    /// The time of the next row.
    pub(crate) fn push_time(&mut self, at: i64) {
        let row = self.rows_timed;
        self.rows_timed += 1;
        if let Some(last) = self.times.last_mut() {
            if Some(at) == last.checked_time(row) {
                return;
            }
            if let (1, Some(step)) = (row - last.row, at.checked_sub(last.at)) {
                last.step = step;
                return;
            }
        }
        self.times.push(TimeRun { row, at, step: 0 });
    }

    /// Adds rows that come after these.
    pub(crate) fn extend(&mut self, more: &Self) {
        let from = self.rows;
        self.ids.extend(more.ids.iter().map(|run| IdRun {
            row: run.row + from,
            ..*run
        }));
        self.times.extend(more.times.iter().map(|run| TimeRun {
            row: run.row + from,
            ..*run
        }));
        self.rows += more.rows;
        self.rows_timed = self.rows;
    }

    /// One behind the last row of a run of ids.
    pub(crate) fn ids_end(&self, run: usize) -> u32 {
        self.ids.get(run + 1).map_or(self.rows, |next| next.row)
    }

    /// One behind the largest id of a run, which must be there.
    pub(crate) fn id_end(&self, run: usize) -> u64 {
        let IdRun { row, id, step } = self.ids[run];
        let more = (self.ids_end(run) - row - 1) * step;
        u64::from(id) + u64::from(more) + 1
    }

    /// One behind the last row of a run of times.
    pub(crate) fn times_end(&self, run: usize) -> u32 {
        self.times.get(run + 1).map_or(self.rows, |next| next.row)
    }

    /// Smallest and largest time; `None` without rows.
    pub(crate) fn time_range(&self) -> Option<(i64, i64)> {
        let ends = self.times.iter().enumerate().map(|(index, run)| {
            let last = run.time(self.times_end(index) - 1);
            (run.at.min(last), run.at.max(last))
        });
        ends.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
    }

    /// Adds the ids that have a row in the range.
    pub(crate) fn ids_within(&self, range: TimeRange, ids: &mut RoaringBitmap) {
        for (index, run) in self.times.iter().enumerate() {
            let end = self.times_end(index);
            let (first, last) = (run.at, run.time(end - 1));
            if !range.overlaps(first.min(last), first.max(last)) {
                continue;
            }
            if range.contains(first) && range.contains(last) {
                self.ids_of_rows(run.row, end, ids);
                continue;
            }
            for row in (run.row..end).filter(|row| range.contains(run.time(*row))) {
                self.ids_of_rows(row, row + 1, ids);
            }
        }
    }

    /// Adds the ids of the rows `from..to`.
    fn ids_of_rows(&self, from: u32, to: u32, ids: &mut RoaringBitmap) {
        let first = self.ids.partition_point(|run| run.row <= from);
        for index in first.saturating_sub(1)..self.ids.len() {
            let run = self.ids[index];
            let (from, to) = (from.max(run.row), to.min(self.ids_end(index)));
            if from >= to {
                break;
            }
            let id = |row: u32| run.id + (row - run.row) * run.step;
            if id(from) == id(to - 1) {
                ids.insert(id(from));
            } else {
                ids.insert_range(id(from)..=id(to - 1));
            }
        }
    }

    /// Walks the times from a row on.
    pub(crate) fn times_from(&self, row: u32) -> Times<'_> {
        let run = self.times.partition_point(|run| run.row <= row);
        Times {
            runs: self,
            run: run.saturating_sub(1),
            row,
        }
    }
}

/// Times of one row after the other; of all rows that there are, then nothing.
pub(crate) struct Times<'a> {
    runs: &'a Runs,
    run: usize,
    row: u32,
}

impl Times<'_> {
    /// The time of a row that is not before the last one given.
    pub(crate) fn seek(&mut self, row: u32) -> Option<i64> {
        if row >= self.runs.rows {
            return None;
        }
        while row >= self.runs.times_end(self.run) {
            self.run += 1;
        }
        self.row = row + 1;
        Some(self.runs.times[self.run].time(row))
    }
}

impl Iterator for Times<'_> {
    type Item = i64;

    fn next(&mut self) -> Option<i64> {
        if self.row >= self.runs.rows {
            return None;
        }
        if self.row >= self.runs.times_end(self.run) {
            self.run += 1;
        }
        let at = self.runs.times[self.run].time(self.row);
        self.row += 1;
        Some(at)
    }
}

#[cfg(test)]
mod tests {
    use model::Timestamp;
    use proptest::prelude::*;

    use super::*;

    fn runs(rows: &[(u32, i64)]) -> Runs {
        let mut runs = Runs::default();
        for (id, at) in rows {
            runs.push_id(*id, 1);
            runs.push_time(*at);
        }
        runs
    }

    pub(crate) fn rows(runs: &Runs) -> Vec<(u32, i64)> {
        let ids = runs.ids.iter().enumerate().flat_map(|(index, run)| {
            (0..runs.ids_end(index) - run.row).map(|row| run.id + row * run.step)
        });
        ids.zip(runs.times_from(0)).collect()
    }

    #[test]
    fn what_repeats_is_said_once() {
        let scrape: Vec<(u32, i64)> = (10..500).map(|id| (id, 7_000)).collect();
        let runs = runs(&[scrape.clone(), scrape].concat());
        assert_eq!((runs.ids.len(), runs.times.len()), (2, 1));
        assert_eq!(
            (runs.id_end(0), runs.time_range()),
            (500, Some((7_000, 7_000)))
        );

        let mut backlog = Runs::default();
        for id in [4, 5] {
            backlog.push_id(id, 100);
            (0..100).for_each(|i| backlog.push_time(i * 15_000));
        }
        assert_eq!((backlog.ids.len(), backlog.times.len()), (2, 2));
        assert_eq!(
            (backlog.id_end(1), backlog.time_range()),
            (6, Some((0, 99 * 15_000)))
        );
    }

    proptest! {
        #[test]
        fn rows_are_read_back(
            a in prop::collection::vec((prop_oneof![0..6_u32, any::<u32>()], prop_oneof![0..6_i64, any::<i64>()]), 0..40),
            b in prop::collection::vec((0..6_u32, 0..6_i64), 0..20),
            from in 0..40_u32,
        ) {
            let mut both = runs(&a);
            prop_assert_eq!(&rows(&both), &a);
            both.extend(&runs(&b));
            let all = [a, b].concat();
            prop_assert_eq!(&rows(&both), &all);
            let later: Vec<i64> = all.iter().skip(from as usize).map(|row| row.1).collect();
            prop_assert_eq!(both.times_from(from).collect::<Vec<_>>(), later);
            let range = all.iter().map(|row| row.1).min().zip(all.iter().map(|row| row.1).max());
            prop_assert_eq!(both.time_range(), range);
            let range = TimeRange::new(Timestamp::from_millis(2), Timestamp::from_millis(3));
            let mut ids = RoaringBitmap::new();
            both.ids_within(range, &mut ids);
            let expected = all.iter().filter(|row| (2..=3).contains(&row.1)).map(|row| row.0);
            prop_assert_eq!(ids, expected.collect::<RoaringBitmap>());
        }
    }
}
