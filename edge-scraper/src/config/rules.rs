//! Relabelling rules of the file.

use daemon::config::ConfigError;
use model::relabel::{Action, RelabelOptions, RelabelRule};

use super::{Check, raw};

impl Check {
    pub(super) fn relabel(
        &self,
        key: &str,
        rules: Option<Vec<Option<raw::Relabel>>>,
    ) -> Result<Vec<RelabelRule>, ConfigError> {
        let mut checked = Vec::new();
        for (index, rule) in rules.into_iter().flatten().enumerate() {
            let key = format!("{key}[{index}]");
            let Some(rule) = rule else {
                return Err(self.invalid(key, "empty or null relabeling rule"));
            };
            let mut options = RelabelOptions::default();
            if let Some(action) = rule.action {
                options.action = Action::from_word(&action).ok_or_else(|| {
                    self.invalid(
                        format!("{key}.action"),
                        format!("unknown relabel action {action:?}"),
                    )
                })?;
            }
            options.source_labels = rule.source_labels.unwrap_or_default();
            options.modulus = rule.modulus.unwrap_or_default();
            options.target_label = rule.target_label.unwrap_or_default();
            let texts = [
                (rule.separator, &mut options.separator),
                (rule.regex, &mut options.regex),
                (rule.replacement, &mut options.replacement),
            ];
            for (given, option) in texts {
                if let Some(given) = given {
                    *option = given;
                }
            }
            checked.push(RelabelRule::new(options).map_err(|error| self.invalid(key, error))?);
        }
        Ok(checked)
    }
}
