//! From the labels on a target's page to the labels of a stored series.

use std::borrow::Cow;

use model::relabel::{RelabelRule, apply};
use model::{LabelSet, METRIC_NAME, is_legacy_label_name, is_legacy_metric_name};

use crate::config::Limits;

/// Prefix of a page's label that the target has too.
const EXPORTED_PREFIX: &str = "exported_";

/// What turns a page's labels into a series': equal values give equal series.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct LabelRules {
    /// The target's: `job`, `instance`, …
    pub(super) target: LabelSet,
    /// The page's labels win over the target's.
    pub(super) honor: bool,
    pub(super) metric_relabel: Vec<RelabelRule>,
    pub(super) legacy_names: bool,
    pub(super) limits: Limits,
    /// Given to what does not have them, after everything else.
    pub(super) external: LabelSet,
}

type Pair<'a> = (Cow<'a, str>, Cow<'a, str>);

impl LabelRules {
    /// The labels of a stored series; `None` if a rule drops it. `page` begins with the metric name; values may be empty.
    ///
    /// # Errors
    ///
    /// What makes the whole scrape fail: a label twice, no metric name, an invalid name, a limit.
    pub(super) fn series<'a>(&'a self, page: Vec<Pair<'a>>) -> Result<Option<LabelSet>, String> {
        let merged = merge(page, &self.target, self.honor)?;
        let labels = if self.metric_relabel.is_empty() {
            merged
        } else {
            match apply(&self.metric_relabel, &merged) {
                Some(labels) if !labels.is_empty() => labels,
                _ => return Ok(None),
            }
        };
        self.check(&labels)?;
        Ok(Some(self.with_external(labels)))
    }

    /// The labels of `up` and the like.
    pub(super) fn report(&self, name: &str) -> LabelSet {
        let mut labels = self.target.builder();
        labels.set(METRIC_NAME, name);
        self.with_external(labels.build())
    }

    fn with_external(&self, labels: LabelSet) -> LabelSet {
        if self
            .external
            .iter()
            .all(|(name, _)| labels.get(name).is_some())
        {
            return labels;
        }
        let mut builder = labels.builder();
        for (name, value) in self.external.iter() {
            if labels.get(name).is_none() {
                builder.set(name, value);
            }
        }
        builder.build()
    }

    fn check(&self, labels: &LabelSet) -> Result<(), String> {
        let Some(metric) = labels.name() else {
            return Err("missing metric name (__name__ label)".to_owned());
        };
        if self.legacy_names {
            let names = labels.iter().all(|(name, _)| is_legacy_label_name(name));
            if !names || !is_legacy_metric_name(metric) {
                return Err(format!("invalid metric name or label names: {labels}"));
            }
        }
        let metric = shortened(metric);
        let over = |limit: Option<u64>, found: usize| limit.filter(|limit| found as u64 > *limit);
        if let Some(limit) = over(self.limits.labels, labels.len()) {
            let number = labels.len();
            return Err(format!(
                "label_limit exceeded (metric: {metric}, number of labels: {number}, limit: {limit})"
            ));
        }
        if self.limits.label_name_bytes.is_none() && self.limits.label_value_bytes.is_none() {
            return Ok(());
        }
        for (name, value) in labels.iter() {
            if let Some(limit) = over(self.limits.label_name_bytes, name.len()) {
                return Err(format!(
                    "label_name_length_limit exceeded (metric: {metric}, label name: {}, length: {}, limit: {limit})",
                    shortened(name),
                    name.len()
                ));
            }
            if let Some(limit) = over(self.limits.label_value_bytes, value.len()) {
                return Err(format!(
                    "label_value_length_limit exceeded (metric: {metric}, label name: {}, value: {:?}, length: {}, limit: {limit})",
                    shortened(name),
                    shortened(value),
                    value.len()
                ));
            }
        }
        Ok(())
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(50).collect()
}

/// Page and target labels in one set. Of a name that both have, the target's value stands and the page's is renamed; with
/// `honor` the page's stands, also when it is empty.
fn merge<'a>(
    mut page: Vec<Pair<'a>>,
    target: &'a LabelSet,
    honor: bool,
) -> Result<LabelSet, String> {
    let mut added: Vec<Pair<'_>> = Vec::with_capacity(target.len());
    let mut renamed: Vec<(String, String)> = Vec::new();
    for (name, value) in target.iter() {
        let found = page.iter().position(|(page_name, _)| page_name == name);
        match found {
            Some(_) if honor => continue,
            Some(index) => {
                let (name, value) = page.swap_remove(index);
                // Named twice on the page: the second must not slip through under the target's name.
                if page.iter().any(|(other, _)| *other == name) {
                    return Err(format!("label {name} occurs twice in one series"));
                }
                if !value.is_empty() {
                    renamed.push((name.into_owned(), value.into_owned()));
                }
            }
            None => {}
        }
        added.push((Cow::Borrowed(name), Cow::Borrowed(value)));
    }
    page.append(&mut added);
    // Shorter names first, so that `exported_job` on the page and `job` on the page do not swap places.
    renamed.sort_by_key(|(name, _)| name.len());
    for (name, value) in renamed {
        let mut new = format!("{EXPORTED_PREFIX}{name}");
        while page
            .iter()
            .any(|(other, value)| *other == new && !value.is_empty())
        {
            new.insert_str(0, EXPORTED_PREFIX);
        }
        page.retain(|(other, _)| *other != new);
        page.push((Cow::Owned(new), Cow::Owned(value)));
    }
    LabelSet::from_pairs(page).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use model::relabel::{Action, RelabelOptions};

    use super::*;

    fn rules(change: impl FnOnce(&mut LabelRules)) -> LabelRules {
        let mut rules = LabelRules {
            target: LabelSet::from_pairs([("job", "a"), ("instance", "h:1")]).unwrap(),
            honor: false,
            metric_relabel: Vec::new(),
            legacy_names: false,
            limits: Limits::default(),
            external: LabelSet::empty(),
        };
        change(&mut rules);
        rules
    }

    #[track_caller]
    fn check(rules: &LabelRules, page: &[(&str, &str)], expected: &str) {
        let mut pairs: Vec<Pair<'_>> = vec![("__name__".into(), "m".into())];
        pairs.extend(
            page.iter()
                .map(|(n, v)| (Cow::Borrowed(*n), Cow::Borrowed(*v))),
        );
        let found = match rules.series(pairs) {
            Ok(Some(labels)) => labels.to_string(),
            Ok(None) => "dropped".to_owned(),
            Err(error) => error,
        };
        assert_eq!(found, expected);
    }

    fn relabel(options: RelabelOptions) -> LabelRules {
        rules(|rules| rules.metric_relabel = vec![RelabelRule::new(options).unwrap()])
    }

    #[test]
    fn the_target_wins_unless_honored() {
        let plain = rules(|_| ());
        check(
            &plain,
            &[("x", "y")],
            "m{instance=\"h:1\", job=\"a\", x=\"y\"}",
        );
        check(
            &plain,
            &[("job", "b")],
            "m{exported_job=\"b\", instance=\"h:1\", job=\"a\"}",
        );
        check(
            &plain,
            &[("exported_job", "c"), ("job", "b")],
            "m{exported_exported_job=\"b\", exported_job=\"c\", instance=\"h:1\", job=\"a\"}",
        );
        check(
            &plain,
            &[("job", ""), ("e", "")],
            "m{instance=\"h:1\", job=\"a\"}",
        );
        let honor = rules(|rules| rules.honor = true);
        check(&honor, &[("job", "b")], "m{instance=\"h:1\", job=\"b\"}");
        check(&honor, &[("instance", "")], "m{job=\"a\"}");
    }

    #[test]
    fn both_exported_names_taken() {
        let rules = rules(|rules| {
            rules.target = LabelSet::from_pairs([("job", "a"), ("exported_job", "t")]).unwrap()
        });
        check(
            &rules,
            &[("exported_job", "p"), ("job", "b")],
            "m{exported_exported_exported_job=\"p\", exported_exported_job=\"b\", exported_job=\"t\", job=\"a\"}",
        );
    }

    #[test]
    fn rules_drop_and_rename() {
        let drop = relabel(RelabelOptions {
            action: Action::Drop,
            source_labels: vec!["x".into()],
            regex: "y".into(),
            ..Default::default()
        });
        check(&drop, &[("x", "y")], "dropped");
        check(&drop, &[], "m{instance=\"h:1\", job=\"a\"}");
        let unnamed = relabel(RelabelOptions {
            action: Action::LabelDrop,
            regex: "__name__".into(),
            ..Default::default()
        });
        check(&unnamed, &[], "missing metric name (__name__ label)");
    }

    #[test]
    fn external_labels_fill_gaps_after_the_limits() {
        let rules = rules(|rules| {
            rules.external = LabelSet::from_pairs([("site", "b07"), ("x", "outside")]).unwrap();
            rules.limits.labels = Some(4);
        });
        check(
            &rules,
            &[("x", "y")],
            "m{instance=\"h:1\", job=\"a\", site=\"b07\", x=\"y\"}",
        );
        assert_eq!(
            rules.report("up").to_string(),
            "up{instance=\"h:1\", job=\"a\", site=\"b07\", x=\"outside\"}"
        );
    }

    #[test]
    fn what_fails_the_scrape() {
        let limited = rules(|rules| {
            rules.limits = Limits {
                labels: Some(4),
                label_name_bytes: Some(8),
                label_value_bytes: Some(5),
                ..Limits::default()
            };
        });
        check(
            &limited,
            &[("a", "b"), ("c", "d")],
            "label_limit exceeded (metric: m, number of labels: 5, limit: 4)",
        );
        check(
            &limited,
            &[("longername", "d")],
            "label_name_length_limit exceeded (metric: m, label name: longername, length: 10, limit: 8)",
        );
        check(
            &limited,
            &[("c", "longer")],
            "label_value_length_limit exceeded (metric: m, label name: c, value: \"longer\", length: 6, limit: 5)",
        );
        let legacy = rules(|rules| rules.legacy_names = true);
        check(
            &legacy,
            &[("dotted.name", "x")],
            "invalid metric name or label names: m{\"dotted.name\"=\"x\", instance=\"h:1\", job=\"a\"}",
        );
        let twice = rules(|_| ());
        check(
            &twice,
            &[("job", "x"), ("job", "y")],
            "label job occurs twice in one series",
        );
    }
}
