//! Against rows kept one by one.

use std::collections::BTreeMap;

use model::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::rows::tests::rows;

/// What is written at a time: floats of series by rising ids from a start, or many of one; or rows of any kind.
#[derive(Debug, Clone)]
enum Write {
    Scrape { id: u32, times: Vec<i64> },
    Backlog { id: u32, times: Vec<i64> },
    Any { id: u32, rows: Rows },
}

fn write() -> impl Strategy<Value = Write> {
    let times = || prop::collection::vec(0..40_i64, 0..12);
    prop_oneof![
        3 => (0..9000_u32, times()).prop_map(|(id, times)| Write::Scrape { id, times }),
        3 => (0..20_u32, times()).prop_map(|(id, times)| Write::Scrape { id, times }),
        2 => (0..20_u32, times()).prop_map(|(id, times)| Write::Backlog { id, times }),
        1 => (0..20_u32, rows(0..40, 1..4)).prop_map(|(id, rows)| Write::Any { id, rows }),
    ]
}

fn fill(writes: &[Write], close_every: usize) -> (Head, BTreeMap<u32, Rows>) {
    let (mut head, mut model) = (Head::default(), BTreeMap::<u32, Rows>::new());
    let mut value = 0.0;
    for (index, write) in writes.iter().enumerate() {
        let (mut runs, mut values) = (Runs::default(), Vec::new());
        let mut add = |id, at| {
            value += 1.0;
            runs.push_id(id, 1);
            runs.push_time(at);
            values.push(value);
            let rows = model.entry(id).or_default();
            rows.push(at, NO_START, Value::Float(value));
        };
        match write {
            Write::Scrape { id, times } => {
                (*id..).zip(times).for_each(|(id, at)| add(id, *at));
            }
            Write::Backlog { id, times } => times.iter().for_each(|at| add(*id, *at)),
            Write::Any { id, rows } => {
                head.push_mixed(*id, rows);
                model.entry(*id).or_default().extend(rows);
            }
        }
        head.push(&runs, &values);
        if index % close_every == 0 && head.open.runs.rows > 0 {
            let base = head.block_rows();
            let next = OpenBlock {
                base,
                ..OpenBlock::default()
            };
            let full = std::mem::replace(&mut head.open, next).close();
            head.full.push(Arc::new(full));
        }
    }
    let ordered = |(id, rows): (u32, Rows)| (id, rows.into_ordered());
    (head, model.into_iter().map(ordered).collect())
}

proptest! {
    #[test]
    fn reads_and_sorts_as_rows_one_by_one(
        writes in prop::collection::vec(write(), 0..30),
        close_every in 1..9_usize,
        wanted in prop::collection::btree_set(prop_oneof![4 => 0..25_u32, 1 => 0..9000_u32], 0..30),
        (from, len, window) in (0..40_i64, 0..40_i64, 1..12_usize),
    ) {
        let (head, model) = fill(&writes, close_every);
        let mut sorted = Vec::new();
        head.for_each_series(|id, rows| {
            sorted.push((id, match rows {
                SeriesRows::Floats(times, values) => {
                    Rows::from_columns(times.to_vec(), crate::types::Column::Floats(values.to_vec()), Vec::new())
                }
                SeriesRows::Any(rows) => rows.clone(),
            }));
            Ok::<(), ()>(())
        })
        .unwrap();
        prop_assert_eq!(sorted.len(), model.len());
        for ((id, rows), (expected_id, expected)) in sorted.iter().zip(&model) {
            prop_assert_eq!(id, expected_id);
            same(rows, expected);
        }

        let range = TimeRange::new(Timestamp::from_millis(from), Timestamp::from_millis(from + len));
        let wanted: Vec<u32> = wanted.into_iter().collect();
        let view = head.view(&wanted, range);
        let there = head.ids(range);
        let mut filled = Window::default();
        for from in (0..wanted.len()).step_by(window) {
            let places = from..wanted.len().min(from + window);
            filled.fill(&view, &wanted, places.clone(), range);
            for place in places {
                let id = wanted[place];
                let read = filled.series(&view, place, range);
                let expected = model.get(&id).map(|rows| rows.within(range)).unwrap_or_default();
                same(&read, &expected);
                prop_assert!(expected.is_empty() || there.contains(id));
                if let Some((times, values)) = filled.numbers(&view, place) {
                    let values = crate::types::Column::Floats(values.to_vec());
                    same(&Rows::from_columns(times.to_vec(), values, Vec::new()), &expected);
                }
            }
        }
        prop_assert_eq!(head.rows, writes.iter().map(|write| match write {
            Write::Scrape { times, .. } | Write::Backlog { times, .. } => times.len(),
            Write::Any { rows, .. } => rows.len(),
        }).sum::<usize>());
    }
}

fn same(a: &Rows, b: &Rows) {
    assert_eq!(a.times, b.times);
    assert_eq!(a.values, b.values);
    let start = |rows: &Rows, i: usize| rows.starts.get(i).copied().unwrap_or(NO_START);
    assert!((0..a.len()).all(|i| start(a, i) == start(b, i)));
}

#[test]
fn a_window_has_many_series_of_few_rows_or_few_of_many() {
    let series_of = |writes: &[Write]| {
        let (head, _) = fill(writes, 1);
        let ids: Vec<u32> = head.ids(TimeRange::ALL).iter().collect();
        head.view(&ids, TimeRange::ALL).window_series()
    };
    let scrape = |_| Write::Scrape {
        id: 0,
        times: vec![7; 4000],
    };
    let backlog = |_| Write::Backlog {
        id: 3,
        times: (0..30_000).collect(),
    };
    assert_eq!(series_of(&[0; 4].map(scrape)), 4096);
    assert_eq!(series_of(&[0; 3].map(backlog)), 1);
}
