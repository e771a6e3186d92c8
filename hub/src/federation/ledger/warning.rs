//! One warning for an answer, whatever the number of branches that may miss something in it.

use std::fmt::Write;

use model::Timestamp;

use super::book::{Section, State};

/// Branches named; then it says how many more there are.
const BRANCHES_SHOWN: usize = 3;
/// Intervals of each.
const SECTIONS_SHOWN: usize = 2;

/// None when nothing is missing. `end` is where the range ends, for whoever asks on.
pub(crate) fn fold(
    gaps: &[(String, Vec<Section>)],
    start: Timestamp,
    end: Timestamp,
    at_open_end: i64,
) -> Option<String> {
    if gaps.is_empty() {
        return None;
    }
    let mut text = String::from("not all data of the branches in this range is there: ");
    for (number, (branch, sections)) in gaps.iter().take(BRANCHES_SHOWN).enumerate() {
        if number > 0 {
            text.push_str("; ");
        }
        let _ = write!(text, "{branch} ");
        for (number, section) in sections.iter().take(SECTIONS_SHOWN).enumerate() {
            if number > 0 {
                text.push_str(", ");
            }
            show(&mut text, section, at_open_end);
        }
        match sections.len().saturating_sub(SECTIONS_SHOWN) {
            0 => {}
            1 => text.push_str(" and 1 more interval"),
            more => drop(write!(text, " and {more} more intervals")),
        }
    }
    match gaps.len().saturating_sub(BRANCHES_SHOWN) {
        0 => {}
        1 => text.push_str("; and 1 more branch"),
        more => drop(write!(text, "; and {more} more branches")),
    }
    let _ = write!(
        text,
        "; all of it: /api/v1/federation/ledger?start={start}&end={end}"
    );
    Some(text)
}

/// The same for clocks that are off: by so many ms the hub's is ahead.
pub(crate) fn fold_clocks(off: &[(String, i64)]) -> Option<String> {
    if off.is_empty() {
        return None;
    }
    let mut text = String::from("samples are stamped by clocks that are off: ");
    for (number, (branch, ms)) in off.iter().take(BRANCHES_SHOWN).enumerate() {
        if number > 0 {
            text.push_str("; ");
        }
        let seconds = ms.unsigned_abs() as f64 / 1e3;
        let way = if *ms > 0 { "behind" } else { "ahead of" };
        let _ = write!(text, "{branch} by {seconds:.1} s {way} the hub");
    }
    match off.len().saturating_sub(BRANCHES_SHOWN) {
        0 => {}
        1 => text.push_str("; and 1 more branch"),
        more => drop(write!(text, "; and {more} more branches")),
    }
    text.push_str("; set them right, or branchline.clock.when_off of the edge to correct");
    Some(text)
}

fn show(text: &mut String, section: &Section, at_open_end: i64) {
    text.push_str(section.state.name());
    let time = |ms: i64| crate::api::rfc3339(Timestamp::from_millis(ms - ms.rem_euclid(1_000)));
    let _ = match section.state == State::Unknown && section.end >= at_open_end {
        true => write!(text, " since {}", time(section.start)),
        false => write!(
            text,
            " from {} to {}",
            time(section.start),
            time(section.end)
        ),
    };
    if section.samples > 0 {
        let _ = write!(text, " ({} samples)", section.samples);
    }
}
