//! How well does a name fit what somebody typed?

/// How names that do not contain the text are compared with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithm {
    /// The letters stand in the name in this order, others between them.
    Subsequence,
    /// Jaro and Winkler's: letters near the same place, few of them out of order, an equal beginning.
    JaroWinkler,
}

/// What was typed.
pub(super) struct Terms {
    pub(super) terms: Vec<String>,
    pub(super) algorithm: Algorithm,
    /// From 0 to 1; what does not contain the text must have as much.
    pub(super) threshold: f64,
    pub(super) case_sensitive: bool,
}

impl Terms {
    /// The best score of any term, above 0 and at most 1; None when none fits.
    pub(super) fn score(&self, name: &str) -> Option<f64> {
        let lower;
        let name = match self.case_sensitive {
            true => name,
            false => {
                lower = name.to_lowercase();
                &lower
            }
        };
        let scores = self.terms.iter().filter_map(|term| self.one(term, name));
        scores.reduce(f64::max)
    }

    fn one(&self, term: &str, name: &str) -> Option<f64> {
        let length = term.len() as f64 / name.len().max(1) as f64;
        // What contains the text goes before what is only like it; best of all at its beginning.
        match name.find(term) {
            Some(0) => return Some(0.9 + 0.1 * length),
            Some(_) => return Some(0.8 + 0.1 * length),
            None => {}
        }
        let score = match self.algorithm {
            Algorithm::Subsequence => subsequence(term, name),
            Algorithm::JaroWinkler => jaro_winkler(term, name),
        };
        (score > 0.0 && score >= self.threshold).then_some(score)
    }
}

/// 0 when the letters are not all there in order; else the more, the fewer pieces they stand in.
fn subsequence(term: &str, name: &str) -> f64 {
    let mut letters = term.chars().peekable();
    let (mut pieces, mut found, mut within) = (0_u32, 0_u32, false);
    for c in name.chars() {
        match letters.next_if_eq(&c) {
            Some(_) => {
                pieces += u32::from(!within);
                found += 1;
                within = true;
            }
            None => within = false,
        }
    }
    match letters.next() {
        None if found > 0 => f64::from(found - pieces + 1) / f64::from(found),
        _ => 0.0,
    }
}

fn jaro_winkler(a: &str, b: &str) -> f64 {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let jaro = jaro(&a, &b);
    let prefix = a.iter().zip(&b).take(4).take_while(|(a, b)| a == b).count();
    jaro + prefix as f64 * 0.1 * (1.0 - jaro)
}

fn jaro(a: &[char], b: &[char]) -> f64 {
    let window = (a.len().max(b.len()) / 2).saturating_sub(1);
    let mut taken = vec![false; b.len()];
    let mut matched = Vec::new();
    for (at, letter) in a.iter().enumerate() {
        let from = at.saturating_sub(window);
        let to = (at + window + 1).min(b.len());
        let place = (from..to).find(|place| !taken[*place] && b[*place] == *letter);
        if let Some(place) = place {
            taken[place] = true;
            matched.push(*letter);
        }
    }
    if matched.is_empty() {
        return 0.0;
    }
    let others = b.iter().zip(&taken).filter(|(_, taken)| **taken);
    let moved = matched.iter().zip(others).filter(|(a, (b, _))| a != b);
    let (found, moved) = (matched.len() as f64, moved.count() as f64 / 2.0);
    (found / a.len() as f64 + found / b.len() as f64 + (found - moved) / found) / 3.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jaro_winkler_of_the_literature() {
        let check = |a: &str, b: &str, expected: f64| {
            let found = jaro_winkler(a, b);
            assert!((found - expected).abs() < 0.001, "{a} {b}: {found}");
        };
        check("martha", "marhta", 0.961);
        check("dixon", "dicksonx", 0.813);
        check("dwayne", "duane", 0.840);
        check("abc", "xyz", 0.0);
        check("", "", 0.0);
    }

    #[test]
    fn what_fits_and_how_well() {
        let score = |algorithm, threshold, case_sensitive, term: &str, name: &str| {
            let terms = vec![term.to_owned()];
            let terms = Terms {
                terms,
                algorithm,
                threshold,
                case_sensitive,
            };
            terms.score(name)
        };
        let sub = |term, name| score(Algorithm::Subsequence, 0.0, true, term, name);
        assert_eq!(sub("up", "up"), Some(1.0));
        assert!(sub("node", "node_cpu") > sub("cpu", "node_cpu"));
        assert!(sub("cpu", "node_cpu") > sub("nc", "node_cpu"));
        assert_eq!(sub("nc", "node_cpu"), Some(0.5));
        assert_eq!(sub("cn", "node_cpu"), None);
        assert_eq!(sub("CPU", "node_cpu"), None);
        assert!(score(Algorithm::Subsequence, 1.0, false, "cpu", "node_CPU").is_some());
        assert_eq!(
            score(Algorithm::Subsequence, 0.6, true, "nc", "node_cpu"),
            None
        );
        let jaro = |term, name| score(Algorithm::JaroWinkler, 0.8, false, term, name);
        assert!(jaro("requets", "requests").is_some());
        assert_eq!(jaro("latency", "requests"), None);
    }
}
