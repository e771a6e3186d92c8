//! External labels in remote read.
//!
//! They stand on every answered series that has none of that name itself, and a reader that shares them asks for them. So a
//! matcher on such a label is about the label as it is answered: a series without it fits where the external value fits.
//! Prometheus asks its store for series without the label only when the matcher is `=` with that very value, because it
//! expects none with it there. Here there are: `branch` is a label of the head office's own samples, and may be external too.

use model::{LabelSet, MatchOp, Matcher};

pub(super) struct External {
    labels: LabelSet,
}

impl External {
    pub(super) fn new(labels: LabelSet) -> Self {
        External { labels }
    }

    /// What the store is asked for. It may find more than fits: see [`External::fits`].
    pub(super) fn stored(&self, matchers: &[Matcher]) -> Vec<Matcher> {
        let mut stored = Vec::with_capacity(matchers.len());
        for matcher in matchers {
            let Some(value) = self.labels.get(matcher.name()) else {
                stored.push(matcher.clone());
                continue;
            };
            match (matcher.matches(value), matcher.matches_empty()) {
                (true, true) | (false, false) => stored.push(matcher.clone()),
                // Those without the label do not fit.
                (false, true) => {
                    stored.push(matcher.clone());
                    stored.extend(Matcher::new(MatchOp::NotEqual, matcher.name(), ""));
                }
                // Those without the label do fit.
                (true, false) => {
                    let pattern = match matcher.op() {
                        MatchOp::Equal => format!("|{}", regex::escape(matcher.value())),
                        MatchOp::Regex => format!("|(?:{})", matcher.value()),
                        // Everything fits, or what no single matcher can say.
                        MatchOp::NotEqual | MatchOp::NotRegex => continue,
                    };
                    // One that does not compile is too long now: what fits is looked at below all the same.
                    stored.extend(Matcher::new(MatchOp::Regex, matcher.name(), pattern));
                }
            }
        }
        stored
    }

    /// Whether a series as it is answered fits.
    pub(super) fn fits(&self, matchers: &[Matcher], answered: &LabelSet) -> bool {
        matchers
            .iter()
            .filter(|matcher| self.labels.get(matcher.name()).is_some())
            .all(|matcher| matcher.matches_labels(answered))
    }

    /// A series as it is answered; its own labels stay.
    pub(super) fn answered(&self, labels: &LabelSet) -> LabelSet {
        if self.labels.is_empty() {
            return labels.clone();
        }
        let mut builder = labels.builder();
        for (name, value) in &self.labels {
            if labels.get(name).is_none() {
                builder.set(name, value);
            }
        }
        builder.build()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> LabelSet {
        LabelSet::from_pairs(pairs.iter().copied()).unwrap()
    }

    /// Series without the label, with its external value, and with another one.
    #[test]
    fn matchers_are_about_the_labels_as_they_are_answered() {
        let external = External::new(labels(&[("region", "no.rth")]));
        let stored = [
            labels(&[("__name__", "up")]),
            labels(&[("__name__", "up"), ("region", "no.rth")]),
            labels(&[("__name__", "up"), ("region", "south")]),
        ];
        let check = |op: MatchOp, value: &str, expected: [bool; 3]| {
            let matchers = [
                Matcher::equal("__name__", "up"),
                Matcher::new(op, "region", value).unwrap(),
            ];
            let asked = external.stored(&matchers);
            let found = stored.clone().map(|labels| {
                asked.iter().all(|matcher| matcher.matches_labels(&labels))
                    && external.fits(&matchers, &external.answered(&labels))
            });
            assert_eq!(found, expected, "{op:?} {value}: {asked:?}");
        };
        check(MatchOp::Equal, "no.rth", [true, true, false]);
        check(MatchOp::Equal, "south", [false, false, true]);
        check(MatchOp::Equal, "", [false, false, false]);
        check(MatchOp::NotEqual, "no.rth", [false, false, true]);
        check(MatchOp::NotEqual, "south", [true, true, false]);
        check(MatchOp::NotEqual, "", [true, true, true]);
        check(MatchOp::Regex, "no.*", [true, true, false]);
        check(MatchOp::Regex, "south|x", [false, false, true]);
        check(MatchOp::Regex, ".*", [true, true, true]);
        check(MatchOp::Regex, "|south", [false, false, true]);
        check(MatchOp::NotRegex, "no.*", [false, false, true]);
        check(MatchOp::NotRegex, "|south", [true, true, false]);
        check(MatchOp::NotRegex, "|no.*", [false, false, true]);
    }

    #[test]
    fn own_labels_stay() {
        let external = External::new(labels(&[("region", "north"), ("zone", "1")]));
        let answered = external.answered(&labels(&[("__name__", "up"), ("region", "south")]));
        assert_eq!(answered.to_string(), r#"up{region="south", zone="1"}"#);
    }
}
