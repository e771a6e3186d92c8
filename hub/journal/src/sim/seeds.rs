use std::ops::Range;

/// The seeds that a test plays: the `usual` ones, `factor` times as many where `BRANCHLINE_TESTS_ALL` is set, and those that `BRANCHLINE_SEEDS` says,
/// if it does: `4711..4712`, or `10000` for that many from 0. What a test expects of all its plays together may not be so of a few.
///
/// # Panics
/// When `BRANCHLINE_SEEDS` is neither.
pub fn seeds(usual: Range<u64>, factor: u64) -> Range<u64> {
    let said = std::env::var("BRANCHLINE_SEEDS").ok();
    let all = std::env::var("BRANCHLINE_TESTS_ALL").ok();
    let all = all.is_some_and(|all| !matches!(all.as_str(), "" | "0" | "false"));
    chosen(usual, if all { factor } else { 1 }, said.as_deref())
}

fn chosen(usual: Range<u64>, factor: u64, said: Option<&str>) -> Range<u64> {
    let Some(said) = said else {
        let count = usual.end.saturating_sub(usual.start);
        return usual.start..usual.start + count * factor;
    };
    let (from, to) = said.split_once("..").unwrap_or(("0", said));
    match (from.parse(), to.parse()) {
        (Ok(from), Ok(to)) => from..to,
        _ => panic!(
            "BRANCHLINE_SEEDS={said}: expected a number of seeds, or a range like 4711..4712"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_many_or_said() {
        assert_eq!(chosen(1..41, 1, None), 1..41);
        assert_eq!(chosen(1..41, 50, None), 1..2001);
        assert_eq!(chosen(1..41, 50, Some("7..8")), 7..8);
        assert_eq!(chosen(1..41, 1, Some("300")), 0..300);
    }

    #[test]
    #[should_panic(expected = "expected a number of seeds")]
    fn nonsense_is_told() {
        chosen(0..1, 1, Some("a few"));
    }
}
