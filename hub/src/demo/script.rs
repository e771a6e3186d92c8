//! The script of a demo: which link is cut when, for how long, and how.

use std::str::FromStr;
use std::time::Duration;

/// How a link fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CutKind {
    /// Nothing arrives any more; connections stay open and new ones seem to succeed.
    #[default]
    Silent,
    /// Connections break and new ones are refused.
    Refuse,
}

/// One cut of one branch's link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Whose link.
    pub branch: String,
    /// From when, since the start of the demo.
    pub from: Duration,
    /// For how long.
    pub lasts: Duration,
    /// In which way.
    pub kind: CutKind,
}

impl Cut {
    /// Whether the link is cut at this time since the start.
    pub fn covers(&self, elapsed: Duration) -> bool {
        self.from <= elapsed && elapsed < self.from + self.lasts
    }
}

/// The text is not a cut.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is not a cut: write BRANCH@FROM+LENGTH, for example b02@20s+60s or b02@20s+60s:refuse (silent or refuse; {why})"
)]
pub struct CutError {
    text: String,
    why: String,
}

impl FromStr for Cut {
    type Err = CutError;

    fn from_str(text: &str) -> Result<Self, CutError> {
        let error = |why: &str| CutError {
            text: text.to_owned(),
            why: why.to_owned(),
        };
        let (branch, rest) = text.split_once('@').ok_or_else(|| error("no @"))?;
        let (times, kind) = match rest.split_once(':') {
            None => (rest, CutKind::default()),
            Some((times, "silent")) => (times, CutKind::Silent),
            Some((times, "refuse")) => (times, CutKind::Refuse),
            Some(_) => return Err(error("after the colon stands neither silent nor refuse")),
        };
        let (from, lasts) = times.split_once('+').ok_or_else(|| error("no +"))?;
        let duration = |part: &str| model::duration::parse(part).map_err(|e| error(&e.to_string()));
        if branch.is_empty() {
            return Err(error("no branch before the @"));
        }
        Ok(Cut {
            branch: branch.to_owned(),
            from: duration(from)?,
            lasts: duration(lasts)?,
            kind,
        })
    }
}

/// The state that the script wants for a branch's link; None: it works.
pub(super) fn wanted(script: &[Cut], branch: &str, elapsed: Duration) -> Option<CutKind> {
    script
        .iter()
        .find(|cut| cut.branch == branch && cut.covers(elapsed))
        .map(|cut| cut.kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_cuts() {
        let cut: Cut = "b02@20s+1m30s".parse().unwrap();
        assert_eq!(
            (cut.from.as_secs(), cut.lasts.as_secs(), cut.kind),
            (20, 90, CutKind::Silent)
        );
        let refuse: Cut = "b02@0+60s:refuse".parse().unwrap();
        assert_eq!(refuse.kind, CutKind::Refuse);
        for bad in ["", "b02", "b02@20s", "@1s+1s", "b02@x+1s", "b02@1s+1s:loud"] {
            let error = bad.parse::<Cut>().unwrap_err().to_string();
            assert!(error.contains("b02@20s+60s"), "{error}");
        }
    }

    #[test]
    fn a_cut_covers_its_start_and_not_its_end() {
        let script = ["b02@20s+60s".parse().unwrap()];
        let at = |branch, seconds| wanted(&script, branch, Duration::from_secs(seconds)).is_some();
        assert_eq!(
            [at("b02", 19), at("b02", 20), at("b02", 79), at("b02", 80)],
            [false, true, true, false]
        );
        assert!(!at("b01", 30));
    }
}
