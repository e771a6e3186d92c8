//! The edge inside another process: its scraping stands in that process's own file.

use std::path::{Path, PathBuf};
use std::time::Duration;

use daemon::config::ConfigError;
use model::LabelSet;
use serde::Deserialize;

use super::{Check, EdgeConfig, NodeCollectorConfig, raw};

/// `global` as it stands in a file of Prometheus's form.
#[derive(Debug, Default, Deserialize)]
#[serde(transparent)]
pub struct GlobalYaml(raw::Global);

/// An entry of `scrape_configs`.
#[derive(Debug, Default, Deserialize)]
#[serde(transparent)]
pub struct ScrapeConfigYaml(raw::ScrapeConfig);

/// What `global` says about rules and alerts, for a process that has them.
#[derive(Debug, Clone, PartialEq)]
pub struct GlobalForRules {
    /// How often groups are evaluated that say nothing themselves.
    pub evaluation_interval: Option<Duration>,
    /// How far back groups look that say nothing themselves.
    pub query_offset: Duration,
    /// Where queries are logged, relative to the file.
    pub query_log_file: Option<PathBuf>,
    /// Checked, with the environment's variables filled in.
    pub external_labels: LabelSet,
}

/// The keys about scraping in a file that another process reads.
#[derive(Debug, Default)]
pub struct ScrapingYaml {
    /// `global`.
    pub global: Option<GlobalYaml>,
    /// `scrape_configs`.
    pub scrape_configs: Option<Vec<ScrapeConfigYaml>>,
    /// `scrape_config_files`, relative to the file.
    pub scrape_config_files: Option<Vec<String>>,
}

impl GlobalYaml {
    /// The part that is not about scraping.
    ///
    /// # Errors
    ///
    /// An external label that is none, with its key.
    pub fn for_rules(&self, path: &Path) -> Result<GlobalForRules, ConfigError> {
        let external_labels = Check::new(path).external_labels(&self.0)?;
        Ok(GlobalForRules {
            evaluation_interval: self.0.evaluation_interval.map(|interval| interval.get()),
            query_offset: self
                .0
                .rule_query_offset
                .map_or(Duration::ZERO, |offset| offset.get()),
            query_log_file: (self.0.query_log_file.as_ref())
                .filter(|file| !file.is_empty())
                .map(|file| path.parent().unwrap_or(Path::new("")).join(file)),
            external_labels,
        })
    }
}

impl EdgeConfig {
    /// The edge `edge` inside another process whose file is `path`: scrapes what the file says, and this machine every
    /// `interval`. It has no hubs: the process hands it a link.
    ///
    /// # Errors
    ///
    /// As [`EdgeConfig::load`].
    pub fn embedded(
        path: Option<PathBuf>,
        edge: &str,
        interval: Duration,
        scraping: ScrapingYaml,
    ) -> Result<EdgeConfig, ConfigError> {
        let file = raw::File {
            global: scraping.global.map(|global| global.0),
            scrape_configs: scraping
                .scrape_configs
                .map(|configs| configs.into_iter().map(|config| config.0).collect()),
            scrape_config_files: scraping.scrape_config_files,
            branchline: Some(raw::Branchline {
                edge: Some(edge.to_owned()),
                node_collector: Some(raw::NodeCollector {
                    enabled: Some(false),
                    ..raw::NodeCollector::default()
                }),
                ..raw::Branchline::default()
            }),
            ..raw::File::default()
        };
        let named = path.clone().unwrap_or_default();
        let mut config = Check::new(&named).file(file)?;
        config.path = path;
        config.node_collector = Some(NodeCollectorConfig::new(edge, interval));
        // What has no effect in an edge has one in the process around it.
        config.warnings.retain(|warning| {
            !warning.starts_with("global.") && !warning.starts_with("remote_write ")
        });
        Ok(config)
    }
}
