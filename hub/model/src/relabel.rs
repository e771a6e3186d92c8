//! Relabelling: the rules of `relabel_configs`, `metric_relabel_configs` and `write_relabel_configs`
//! (Prometheus `model/relabel`).

use crate::letter_case::{to_lowercase, to_uppercase};
use crate::re2::{Re2, Re2Error};
use crate::{LabelSet, LabelSetBuilder, is_legacy_label_name};

/// What a rule does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Action {
    /// Sets the target label when the regex matches.
    #[default]
    Replace,
    /// Drops series that do not match.
    Keep,
    /// Drops series that match.
    Drop,
    /// Drops series whose source differs from the target label.
    KeepEqual,
    /// Drops series whose source equals the target label.
    DropEqual,
    /// Sets the target label to the source's hash modulo `modulus`.
    HashMod,
    /// Copies labels whose names match to the names that the replacement gives.
    LabelMap,
    /// Removes labels whose names match.
    LabelDrop,
    /// Removes labels whose names do not match.
    LabelKeep,
    /// Sets the target label to the source in lower case.
    Lowercase,
    /// Sets the target label to the source in upper case.
    Uppercase,
}

impl Action {
    /// The action that the word (in any case) names.
    pub fn from_word(word: &str) -> Option<Self> {
        Some(match word.to_ascii_lowercase().as_str() {
            "replace" => Action::Replace,
            "keep" => Action::Keep,
            "drop" => Action::Drop,
            "keepequal" => Action::KeepEqual,
            "dropequal" => Action::DropEqual,
            "hashmod" => Action::HashMod,
            "labelmap" => Action::LabelMap,
            "labeldrop" => Action::LabelDrop,
            "labelkeep" => Action::LabelKeep,
            "lowercase" => Action::Lowercase,
            "uppercase" => Action::Uppercase,
            _ => return None,
        })
    }

    /// The word of the configuration file.
    pub fn as_str(self) -> &'static str {
        match self {
            Action::Replace => "replace",
            Action::Keep => "keep",
            Action::Drop => "drop",
            Action::KeepEqual => "keepequal",
            Action::DropEqual => "dropequal",
            Action::HashMod => "hashmod",
            Action::LabelMap => "labelmap",
            Action::LabelDrop => "labeldrop",
            Action::LabelKeep => "labelkeep",
            Action::Lowercase => "lowercase",
            Action::Uppercase => "uppercase",
        }
    }
}

/// A rule as written; `Default` gives Prometheus's defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelabelOptions {
    /// Labels whose values are joined to the source.
    pub source_labels: Vec<String>,
    /// What stands between them.
    pub separator: String,
    /// Anchored on both ends.
    pub regex: String,
    /// For `hashmod`.
    pub modulus: u64,
    /// The label to write.
    pub target_label: String,
    /// What to write; `$1`, `${name}` are groups of the regex.
    pub replacement: String,
    /// What to do.
    pub action: Action,
}

impl Default for RelabelOptions {
    fn default() -> Self {
        RelabelOptions {
            source_labels: Vec::new(),
            separator: ";".into(),
            regex: "(.*)".into(),
            modulus: 0,
            target_label: String::new(),
            replacement: "$1".into(),
            action: Action::Replace,
        }
    }
}

/// A checked rule.
#[derive(Clone, Debug)]
pub struct RelabelRule {
    options: RelabelOptions,
    regex: Re2,
}

impl PartialEq for RelabelRule {
    fn eq(&self, other: &Self) -> bool {
        self.options == other.options
    }
}

/// Why a rule is not valid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum RelabelError {
    #[error("relabel regex {pattern:?} does not compile: {reason}")]
    BadRegex { pattern: String, reason: Re2Error },
    #[error("relabel action {action} needs {needs}")]
    Missing {
        action: &'static str,
        needs: &'static str,
    },
    #[error("relabel action {action} takes nothing but {takes}")]
    TooMuch {
        action: &'static str,
        takes: &'static str,
    },
    #[error("{target:?} is no valid target_label for relabel action {action}")]
    BadTarget {
        action: &'static str,
        target: String,
    },
}

impl RelabelRule {
    /// Checks a rule.
    ///
    /// # Errors
    /// What Prometheus refuses: a bad regex, a missing target label or modulus, fields that the action does
    /// not use.
    pub fn new(options: RelabelOptions) -> Result<Self, RelabelError> {
        check(&options)?;
        let regex = Re2::anchored(&options.regex).map_err(|reason| RelabelError::BadRegex {
            pattern: options.regex.clone(),
            reason,
        })?;
        Ok(RelabelRule { options, regex })
    }

    /// The rule as written.
    pub fn options(&self) -> &RelabelOptions {
        &self.options
    }

    /// Changes the labels; false means "drop the series".
    fn apply(&self, labels: &mut LabelSetBuilder) -> bool {
        let o = &self.options;
        let values: Vec<&str> = o
            .source_labels
            .iter()
            .map(|name| labels.get(name).unwrap_or(""))
            .collect();
        let source = values.join(&o.separator);
        match o.action {
            Action::Keep => return self.regex.is_match(&source),
            Action::Drop => return !self.regex.is_match(&source),
            Action::KeepEqual => return labels.get(&o.target_label).unwrap_or("") == source,
            Action::DropEqual => return labels.get(&o.target_label).unwrap_or("") != source,
            Action::Replace => self.replace(&source, labels),
            Action::Lowercase => {
                labels.set(&o.target_label, to_lowercase(&source));
            }
            Action::Uppercase => {
                labels.set(&o.target_label, to_uppercase(&source));
            }
            Action::HashMod => {
                labels.set(&o.target_label, hash_mod(&source, o.modulus).to_string());
            }
            Action::LabelMap => self.map_names(labels),
            Action::LabelDrop => {
                labels.retain(|name| !self.regex.is_match(name));
            }
            Action::LabelKeep => {
                labels.retain(|name| self.regex.is_match(name));
            }
        }
        true
    }

    fn replace(&self, source: &str, labels: &mut LabelSetBuilder) {
        let Some(groups) = self.regex.captures(source) else {
            return;
        };
        let target = self.expand(&self.options.target_label, &groups);
        if target.is_empty() {
            return;
        }
        let value = self.expand(&self.options.replacement, &groups);
        labels.set(target, value);
    }

    fn expand(&self, template: &str, groups: &regex::Captures<'_>) -> String {
        let mut out = String::with_capacity(template.len());
        self.regex.expand(template, groups, &mut out);
        out
    }

    fn map_names(&self, labels: &mut LabelSetBuilder) {
        let mapped: Vec<(String, String)> = labels
            .iter()
            .filter_map(|(name, value)| {
                let groups = self.regex.captures(name)?;
                Some((
                    self.expand(&self.options.replacement, &groups),
                    value.to_owned(),
                ))
            })
            .collect();
        for (name, value) in mapped {
            labels.set(name, value);
        }
    }
}

/// Applies the rules in order. None: a rule dropped the series (or nothing is left of its labels).
pub fn apply(rules: &[RelabelRule], labels: &LabelSet) -> Option<LabelSet> {
    if rules.is_empty() {
        return Some(labels.clone());
    }
    let mut builder = labels.builder();
    for rule in rules {
        if !rule.apply(&mut builder) {
            return None;
        }
    }
    let labels = builder.build();
    (!labels.is_empty()).then_some(labels)
}

fn check(o: &RelabelOptions) -> Result<(), RelabelError> {
    let action = o.action.as_str();
    let defaults = RelabelOptions::default();
    let needs_target = matches!(
        o.action,
        Action::Replace
            | Action::HashMod
            | Action::Lowercase
            | Action::Uppercase
            | Action::KeepEqual
            | Action::DropEqual
    );
    if needs_target && o.target_label.is_empty() {
        return Err(RelabelError::Missing {
            action,
            needs: "a target_label",
        });
    }
    if o.action == Action::HashMod && o.modulus == 0 {
        return Err(RelabelError::Missing {
            action,
            needs: "a modulus above 0",
        });
    }
    let template = o.action == Action::Replace && o.target_label.contains('$');
    if needs_target && !template && !is_label_name(&o.target_label) {
        return Err(RelabelError::BadTarget {
            action,
            target: o.target_label.clone(),
        });
    }
    if matches!(o.action, Action::KeepEqual | Action::DropEqual)
        && (o.regex != defaults.regex
            || o.modulus != 0
            || o.separator != defaults.separator
            || o.replacement != defaults.replacement)
    {
        return Err(RelabelError::TooMuch {
            action,
            takes: "source_labels and target_label",
        });
    }
    if matches!(o.action, Action::LabelDrop | Action::LabelKeep)
        && (!o.source_labels.is_empty()
            || !o.target_label.is_empty()
            || o.modulus != 0
            || o.separator != defaults.separator
            || o.replacement != defaults.replacement)
    {
        return Err(RelabelError::TooMuch {
            action,
            takes: "regex",
        });
    }
    if matches!(o.action, Action::Lowercase | Action::Uppercase)
        && o.replacement != defaults.replacement
    {
        return Err(RelabelError::TooMuch {
            action,
            takes: "source_labels and target_label",
        });
    }
    Ok(())
}

/// Any UTF-8 name will do since Prometheus 3; a stray `$` outside `replace` is surely a mistake.
fn is_label_name(name: &str) -> bool {
    is_legacy_label_name(name) || (!name.is_empty() && !name.contains('$'))
}

/// The last eight bytes of MD5 as Prometheus takes them, modulo.
fn hash_mod(source: &str, modulus: u64) -> u64 {
    let digest = md5::compute(source.as_bytes());
    let mut tail = [0; 8];
    tail.copy_from_slice(&digest.0[8..]);
    u64::from_be_bytes(tail) % modulus
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(change: impl FnOnce(&mut RelabelOptions)) -> RelabelRule {
        let mut options = RelabelOptions::default();
        change(&mut options);
        RelabelRule::new(options).unwrap()
    }

    fn check(rules: &[RelabelRule], before: &[(&str, &str)], after: Option<&[(&str, &str)]>) {
        let before = LabelSet::from_pairs(before.iter().copied()).unwrap();
        let after = after.map(|pairs| LabelSet::from_pairs(pairs.iter().copied()).unwrap());
        assert_eq!(apply(rules, &before), after);
    }

    // The cases follow what Prometheus's documentation promises for each action.
    #[test]
    fn replaces() {
        let r = rule(|o| {
            o.source_labels = vec!["a".into(), "b".into()];
            o.regex = "(.+);(?P<word>.+)".into();
            o.target_label = "c".into();
            o.replacement = "${word}-$1-$$x$9".into();
        });
        check(
            &[r],
            &[("a", "1"), ("b", "2")],
            Some(&[("a", "1"), ("b", "2"), ("c", "2-1-$x")]),
        );
        let gone = rule(|o| {
            (o.regex, o.target_label, o.replacement) = ("(.*)".into(), "a".into(), String::new())
        });
        check(&[gone], &[("a", "1"), ("b", "2")], Some(&[("b", "2")]));
        let no_match = rule(|o| (o.regex, o.target_label) = ("x".into(), "a".into()));
        check(&[no_match], &[("a", "1")], Some(&[("a", "1")]));
        let dynamic = rule(|o| {
            o.source_labels = vec!["a".into()];
            (o.regex, o.target_label, o.replacement) =
                ("some-([^-]+)-([^,]+)".into(), "${1}".into(), "${2}".into());
        });
        check(
            &[dynamic],
            &[("a", "some-name-value")],
            Some(&[("a", "some-name-value"), ("name", "value")]),
        );
    }

    #[test]
    fn regexes_and_cases_are_gos() {
        let r = rule(|o| {
            o.source_labels = vec!["a".into()];
            o.regex = r"(\w)(\W)\Q.*\E".into();
            o.target_label = "b".into();
            o.replacement = "$2$01$1".into();
        });
        let fits: &[(&str, &str)] = &[("a", "xé.*"), ("b", "éx")];
        check(std::slice::from_ref(&r), &[("a", "xé.*")], Some(fits));
        check(&[r], &[("a", "éx.*")], Some(&[("a", "éx.*")]));
        let upper = rule(|o| {
            (o.source_labels, o.action) = (vec!["a".into()], Action::Uppercase);
            o.target_label = "a".into();
        });
        check(&[upper], &[("a", "Maß")], Some(&[("a", "MAß")]));
    }

    #[test]
    fn keeps_and_drops() {
        let with = |action, regex: &str| {
            rule(|o| {
                (o.source_labels, o.action, o.regex) = (vec!["a".into()], action, regex.into())
            })
        };
        check(
            &[with(Action::Keep, "f.*")],
            &[("a", "foo")],
            Some(&[("a", "foo")]),
        );
        check(&[with(Action::Keep, "f")], &[("a", "foo")], None);
        check(&[with(Action::Drop, "f.*")], &[("a", "foo")], None);
        let equal = |action| {
            rule(|o| {
                (o.source_labels, o.target_label, o.action) = (vec!["a".into()], "b".into(), action)
            })
        };
        check(
            &[equal(Action::KeepEqual)],
            &[("a", "1"), ("b", "1")],
            Some(&[("a", "1"), ("b", "1")]),
        );
        check(&[equal(Action::KeepEqual)], &[("a", "1"), ("b", "2")], None);
        check(&[equal(Action::DropEqual)], &[("a", "1"), ("b", "1")], None);
    }

    #[test]
    fn works_on_names() {
        let map = rule(|o| (o.regex, o.action) = ("__meta_(.+)".into(), Action::LabelMap));
        let drop = rule(|o| (o.regex, o.action) = ("__.*".into(), Action::LabelDrop));
        check(
            &[map, drop],
            &[("__meta_x", "1"), ("y", "2")],
            Some(&[("x", "1"), ("y", "2")]),
        );
        let keep = rule(|o| (o.regex, o.action) = ("none".into(), Action::LabelKeep));
        check(&[keep], &[("y", "2")], None);
    }

    #[test]
    fn hashes_and_cases() {
        let r = rule(|o| {
            (o.source_labels, o.target_label, o.action, o.modulus) =
                (vec!["c".into()], "d".into(), Action::HashMod, 1000);
        });
        // The value that Prometheus's own test states.
        check(&[r], &[("c", "baz")], Some(&[("c", "baz"), ("d", "976")]));
        let upper = rule(|o| {
            (o.source_labels, o.target_label, o.action) =
                (vec!["c".into()], "d".into(), Action::Uppercase)
        });
        check(
            &[upper],
            &[("c", "bÄz")],
            Some(&[("c", "bÄz"), ("d", "BÄZ")]),
        );
    }

    #[test]
    fn refuses() {
        let refused = |change: &dyn Fn(&mut RelabelOptions)| {
            let mut options = RelabelOptions::default();
            change(&mut options);
            RelabelRule::new(options).unwrap_err().to_string()
        };
        assert!(refused(&|_| {}).contains("needs a target_label"));
        assert!(
            refused(&|o| (o.action, o.regex) = (Action::Keep, "(".into()))
                .contains("does not compile")
        );
        assert!(
            refused(&|o| (o.action, o.target_label) = (Action::HashMod, "x".into()))
                .contains("modulus")
        );
        assert!(
            refused(&|o| (o.action, o.target_label) = (Action::LabelDrop, "x".into()))
                .contains("nothing but")
        );
    }
}
