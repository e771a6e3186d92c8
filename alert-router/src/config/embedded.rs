//! The router inside another process: its keys stand in that process's own file.

use std::collections::BTreeMap;
use std::path::Path;

use daemon::config::ConfigError;
use serde::Deserialize;

use crate::outbox::DestinationKind;

use super::{RawAlertmanager, RawConfig, RawContact, RouterConfig, check};

/// An entry of `alertmanagers`.
#[derive(Debug, Default, Deserialize)]
#[serde(transparent)]
pub struct AlertmanagerYaml(RawAlertmanager);

/// A contact.
#[derive(Debug, Default, Deserialize)]
#[serde(transparent)]
pub struct ContactYaml(RawContact);

/// The router's keys in a file that another process reads.
#[derive(Debug, Default)]
pub struct RouterYaml {
    /// `alertmanagers`.
    pub alertmanagers: Option<Vec<AlertmanagerYaml>>,
    /// `contacts`, by branch.
    pub contacts: Option<BTreeMap<String, ContactYaml>>,
    /// `default_contact`.
    pub default_contact: Option<ContactYaml>,
}

impl RouterConfig {
    /// Checks the keys; `path` is the file that errors name.
    ///
    /// # Errors
    /// As [`RouterConfig::load`].
    pub fn embedded(path: &Path, yaml: RouterYaml) -> Result<Self, ConfigError> {
        let alertmanagers = yaml
            .alertmanagers
            .map(|all| all.into_iter().map(|one| one.0).collect());
        let contacts = yaml.contacts.map(|all| {
            all.into_iter()
                .map(|(branch, one)| (branch, one.0))
                .collect()
        });
        let default_contact = yaml.default_contact.map(|one| one.0);
        check(
            RawConfig {
                alertmanagers,
                contacts,
                default_contact,
                ..RawConfig::default()
            },
            path,
        )
    }

    /// Where each Alertmanager takes alerts.
    pub fn alertmanager_urls(&self) -> impl Iterator<Item = &str> {
        let alertmanagers = self
            .destinations
            .iter()
            .filter(|one| one.id.kind == DestinationKind::Alertmanager);
        alertmanagers.map(|one| one.url.as_str())
    }
}
