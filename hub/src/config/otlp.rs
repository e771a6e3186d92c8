//! The section `otlp`, as Prometheus has it.

use std::collections::BTreeSet;

use wire::otlp::{Promoted, Settings, Strategy};

use super::raw;

/// What it says; the key that is wrong, and why, otherwise.
pub(super) fn settings(given: Option<raw::Otlp>) -> Result<Settings, (&'static str, String)> {
    let given = given.unwrap_or_default();
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
            let why = "give either promote_all_resource_attributes or promote_resource_attributes";
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
