//! A record of the file, for [`crate::probe`]: read, asked everything, changed by a report, written again.

use std::time::Duration;

use model::Timestamp;
use wire::edge_headers::SequenceRange;

use super::book::{Account, Counts};
use super::disk::Record;
use super::shelf::{About, Now, Shelf};
use super::spans::Span;

const BRANCH: &str = "b07";
const EDGE: &str = "edge";
const EPOCH: u64 = 7;
const NOW: Now = Now {
    at: Timestamp::from_millis(1_700_000_000_000),
    elapsed: Duration::from_secs(1),
};

pub(crate) fn read(bytes: &[u8]) -> bool {
    let Ok(record) = serde_json::from_slice::<Record>(bytes) else {
        return false;
    };
    let mut shelf = Shelf::from_rows(vec![((BRANCH.to_owned(), EDGE.to_owned()), record)]);
    ask(&shelf);
    shelf.connected(BRANCH, EDGE, NOW);
    for epoch in [EPOCH, EPOCH + 1] {
        report(&mut shelf, epoch);
        ask(&shelf);
    }
    shelf.forget_before(NOW.at);
    ask(&shelf);
    written(&mut shelf).len() == 1
}

/// An edge that has reported twice, and one with another buffer.
pub(crate) fn records() -> Vec<Vec<u8>> {
    let mut shelf = Shelf::default();
    shelf.connected(BRANCH, EDGE, NOW);
    report(&mut shelf, EPOCH);
    let mut records = written(&mut shelf);
    report(&mut shelf, EPOCH + 1);
    records.extend(written(&mut shelf));
    records
}

fn report(shelf: &mut Shelf, epoch: u64) {
    let at = NOW.at.millis();
    let span = |from: i64, to: i64, samples| Span::of(at - from, at - to, samples);
    let account = Account {
        epoch,
        complete_through_ms: at - 5,
        since_ms: Some(at - 100_000),
        pending: [span(9_000, 8_000, 12), span(3_000, 1, 50)]
            .into_iter()
            .flatten()
            .collect(),
        lost: (span(90_000, 80_000, 7).into_iter())
            .map(|span| ("evicted".to_owned(), span))
            .collect(),
        counts: Counts {
            scraped: 100,
            ..Counts::default()
        },
    };
    let records = [
        SequenceRange { first: 3, last: 9 },
        SequenceRange {
            first: 12,
            last: 12,
        },
    ];
    shelf.stored(BRANCH, EDGE, epoch, &records, 20, NOW);
    shelf.report(BRANCH, EDGE, &account, About::default(), NOW);
}

fn ask(shelf: &Shelf) {
    let at = NOW.at.millis();
    for (start, end) in [(i64::MIN, i64::MAX), (0, at), (at - 10_000, at + 1)] {
        let _ = shelf.sections(BRANCH, start, end, NOW);
        let _ = shelf.gaps(start, end, NOW, |_| true);
    }
    let _ = (
        shelf.links(NOW),
        shelf.branches(),
        shelf.clocks_off(NOW, |_| true),
    );
    for edge in shelf.edges(NOW, |_| true) {
        let book = &edge.book;
        let _ = (
            book.lost_samples(),
            book.records(EPOCH),
            book.stored_samples(),
        );
    }
}

fn written(shelf: &mut Shelf) -> Vec<Vec<u8>> {
    let (rows, _) = shelf.take_changed();
    let bytes = rows.iter().map(|(_, record)| serde_json::to_vec(record));
    bytes.flatten().collect()
}
