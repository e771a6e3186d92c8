//! The section `otlp` of a configuration, as Prometheus has it.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::{Promoted, Settings, Strategy};

/// As it is written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Section {
    /// Default: false.
    pub promote_all_resource_attributes: Option<bool>,
    /// Attributes of a resource that become labels of its series. Default: none.
    pub promote_resource_attributes: Option<Vec<String>>,
    /// Those that do not where all others do. Default: none.
    pub ignore_resource_attributes: Option<Vec<String>>,
    /// How names are made. Default: UnderscoreEscapingWithSuffixes.
    pub translation_strategy: Option<String>,
    /// Whether `target_info` has `service.name`, `service.namespace` and `service.instance.id` too. Default: false.
    pub keep_identifying_resource_attributes: Option<bool>,
    /// Whether histograms with given bounds become native ones. Default: false.
    pub convert_histograms_to_nhcb: Option<bool>,
    /// Whether the scope's name, version, schema and attributes become labels. Default: false.
    pub promote_scope_metadata: Option<bool>,
    /// Whether `_x` becomes the label `key_x`. Default: true.
    pub label_name_underscore_sanitization: Option<bool>,
    /// Whether several underscores in a row stay in label names. Default: true.
    pub label_name_preserve_multiple_underscores: Option<bool>,
}

impl Section {
    /// What it says.
    ///
    /// # Errors
    /// The key that is wrong, and why.
    pub fn settings(self) -> Result<Settings, (&'static str, String)> {
        let given = self;
        let default = Settings::default();
        let strategy = match given.translation_strategy.as_deref() {
        None | Some("") => default.strategy,
        Some(name) => Strategy::from_name(name).ok_or_else(|| {
            let why = format!(
                "unsupported OTLP translation strategy {name:?}: there are UnderscoreEscapingWithSuffixes, \
                 UnderscoreEscapingWithoutSuffixes, NoUTF8EscapingWithSuffixes and NoTranslation"
            );
            ("otlp.translation_strategy", why)
        })?,
    };
        let promote = "otlp.promote_resource_attributes";
        let ignore = "otlp.ignore_resource_attributes";
        let promoted = given.promote_resource_attributes.unwrap_or_default();
        let ignored = given.ignore_resource_attributes.unwrap_or_default();
        let promoted = match given.promote_all_resource_attributes.unwrap_or(false) {
            true if !promoted.is_empty() => {
                let why =
                    "give either promote_all_resource_attributes or promote_resource_attributes";
                return Err((promote, why.to_owned()));
            }
            true => Promoted::AllBut(names(&ignored).map_err(|why| (ignore, why))?),
            false if !ignored.is_empty() => {
                let why = "only with promote_all_resource_attributes: true";
                return Err((ignore, why.to_owned()));
            }
            false => Promoted::Only(names(&promoted).map_err(|why| (promote, why))?),
        };
        Ok(Settings {
            strategy,
            promoted,
            keep_identifying: given.keep_identifying_resource_attributes.unwrap_or(false),
            convert_to_nhcb: given.convert_histograms_to_nhcb.unwrap_or(false),
            promote_scope: given.promote_scope_metadata.unwrap_or(false),
            underscore_sanitization: given
                .label_name_underscore_sanitization
                .unwrap_or(default.underscore_sanitization),
            preserve_multiple_underscores: given
                .label_name_preserve_multiple_underscores
                .unwrap_or(default.preserve_multiple_underscores),
            ..default
        })
    }
}

fn names(attributes: &[String]) -> Result<BTreeSet<String>, String> {
    let mut names = BTreeSet::new();
    for attribute in attributes {
        let attribute = attribute.trim();
        if attribute.is_empty() {
            return Err("an attribute has an empty name".to_owned());
        }
        if !names.insert(attribute.to_owned()) {
            return Err(format!("attribute {attribute:?} stands there twice"));
        }
    }
    Ok(names)
}
