//! What is this hub to do? A configuration file of Prometheus's form, with our own keys under `branchline`, read
//! and checked before any port opens.

mod memory;
mod otlp;
mod raw;
mod secrets;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use alert_router::{RouterConfig, RouterYaml};
use daemon::config::{ByteSize, ConfigError, load_yaml, parse_yaml};
use daemon::web::{ListenRefused, Web};
use edge_scraper::config::{EdgeConfig, GlobalYaml, ScrapingYaml};
use model::LabelSet;

use self::secrets::without_secrets;
use crate::features::Features;
use crate::ingest::{BranchToken, Credentials, Secret};
use crate::ruler;

/// Prometheus's default.
const EVALUATION_INTERVAL: Duration = Duration::from_secs(60);
/// Prometheus's default.
const RETENTION: Duration = Duration::from_secs(15 * 24 * 3600);
/// Prometheus's default.
const REMOTE_READ_SAMPLES_MAX: u64 = 50_000_000;
const LOCAL_BRANCH: &str = "hq";
const LOCAL_INTERVAL: Duration = Duration::from_secs(5);
/// The least that a query may be given.
const QUERY_MEMORY_MIN: u64 = 1 << 20;
/// For answers to range queries, if nothing is configured.
const QUERY_CACHE_BYTES: u64 = 64 << 20;
/// Rule files that one pattern may name.
const RULE_FILES_MAX: usize = 10_000;

/// The whole configuration, checked.
#[derive(Debug)]
pub struct HubConfig {
    /// The file it comes from; None without one.
    pub path: Option<PathBuf>,
    /// The file's text with secrets masked, for `/api/v1/status/config`.
    pub(crate) yaml_without_secrets: String,
    pub(crate) external_labels: LabelSet,
    /// Empty: made from the address that is listened on.
    pub(crate) external_url: String,
    pub(crate) evaluation_interval: Duration,
    pub(crate) query_offset: Duration,
    pub(crate) query_log_file: Option<PathBuf>,
    pub(crate) rule_files: Vec<rules::RuleFile>,
    pub(crate) retention: tsdb::Retention,
    pub(crate) series_per_branch_max: usize,
    pub(crate) block_cache_bytes_max: usize,
    pub(crate) exemplars_max: usize,
    pub(crate) query_memory_bytes_max: u64,
    pub(crate) query_cache_bytes_max: u64,
    pub(crate) branches: Vec<BranchToken>,
    pub(crate) readers: Vec<BranchToken>,
    pub(crate) anonymous_reads: bool,
    pub(crate) remote_read_samples_max: u64,
    pub(crate) admins: Vec<BranchToken>,
    pub(crate) admin_api: bool,
    pub(crate) otlp_receiver: bool,
    otlp: wire::otlp::Settings,
    /// The head office's own edge; None: switched off.
    pub(crate) local_edge: Option<EdgeConfig>,
    /// The alert-router inside. A router elsewhere stands under `alerting` like an Alertmanager.
    pub(crate) router: RouterConfig,
    /// What of PromQL is on; the rule files have been read with it.
    pub features: Features,
    /// What has no effect, or will not work as it is now.
    pub warnings: Vec<String>,
}

impl HubConfig {
    /// Without a file: no rules, no Alertmanager, nobody checked, this machine as branch `hq`.
    ///
    /// # Errors
    /// None in practice; the type is that of the other ways.
    pub fn without_file() -> Result<Self, ConfigError> {
        Self::check(
            Path::new("(no configuration file)"),
            None,
            String::new(),
            raw::File::default(),
            Features::default(),
        )
    }

    /// Reads and checks a file and the files that it names.
    ///
    /// # Errors
    /// The first thing that is wrong, with file and line or key, and the way out.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        Self::load_with(path, Features::default())
    }

    /// The same with other features of PromQL.
    ///
    /// # Errors
    /// As [`HubConfig::load`].
    pub fn load_with(path: &Path, features: Features) -> Result<Self, ConfigError> {
        let file = load_yaml(path)?;
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let given = Some(path.to_owned());
        Self::check(path, given, without_secrets(&text), file, features)
    }

    /// Checks a text; `path` is what errors name and what relative paths start from.
    ///
    /// # Errors
    /// As [`HubConfig::load`].
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        Self::check(
            path,
            Some(path.to_owned()),
            without_secrets(text),
            parse_yaml(text, path)?,
            Features::default(),
        )
    }

    fn check(
        path: &Path,
        given: Option<PathBuf>,
        yaml_without_secrets: String,
        file: raw::File,
        features: Features,
    ) -> Result<Self, ConfigError> {
        refuse_unsupported(path, &file)?;
        let check = Check { path, features };
        let global = match &file.global {
            Some(global) => global.for_rules(path)?,
            None => GlobalYaml::default().for_rules(path)?,
        };
        let branchline = file.branchline.unwrap_or_default();
        let rule_files = check.rule_files(file.rule_files.unwrap_or_default())?;
        let scraping = ScrapingYaml {
            global: file.global,
            scrape_configs: file.scrape_configs,
            scrape_config_files: file.scrape_config_files,
        };
        let router = RouterYaml {
            alertmanagers: file.alerting.and_then(|alerting| alerting.alertmanagers),
            contacts: branchline.contacts,
            default_contact: branchline.default_contact,
        };
        let mut warnings = rule_files.1;
        let local_edge = check.local_edge(
            given.clone(),
            branchline.local_edge.unwrap_or_default(),
            scraping,
        )?;
        warnings.extend(local_edge.iter().flat_map(|edge| edge.warnings.clone()));
        let branches = check.tokens("branchline.branches", branchline.branches)?;
        if let Some(edge) = &local_edge
            && let Some(index) = branches.iter().position(|token| token.branch == edge.edge)
        {
            warnings.push(format!(
                "branchline.branches[{index}]: {:?} is the branch of this hub's own edge too, so two senders write as it: \
                 set branchline.local_edge.branch to another name, or branchline.local_edge.enabled to false",
                edge.edge
            ));
        }
        let readers = check.tokens("branchline.readers", branchline.readers)?;
        let admins = check.tokens("branchline.admins", branchline.admins)?;
        let admin_api = branchline.admin_api.unwrap_or(false);
        if admin_api && admins.is_empty() && !(branches.is_empty() && readers.is_empty()) {
            return Err(check.invalid(
                "branchline.admin_api",
                "others prove who they are here, so administrators must too: give them tokens under branchline.admins",
            ));
        }
        Ok(HubConfig {
            path: given,
            yaml_without_secrets,
            external_labels: global.external_labels,
            external_url: check.external_url(branchline.external_url)?,
            evaluation_interval: global.evaluation_interval.unwrap_or(EVALUATION_INTERVAL),
            query_offset: global.query_offset,
            query_log_file: global.query_log_file,
            rule_files: rule_files.0,
            exemplars_max: exemplars_max(file.storage.as_ref()),
            retention: retention(file.storage),
            block_cache_bytes_max: branchline.block_cache_bytes.map_or(
                tsdb::StoreOptions::default().block_cache_bytes_max,
                |bytes| usize::try_from(bytes.get()).unwrap_or(usize::MAX),
            ),
            query_memory_bytes_max: check.query_memory(branchline.query_memory_bytes)?,
            query_cache_bytes_max: branchline
                .query_cache_bytes
                .map_or(QUERY_CACHE_BYTES, ByteSize::get),
            series_per_branch_max: check.series_per_branch_max(branchline.series_per_branch_max)?,
            branches,
            readers,
            admins,
            admin_api,
            otlp_receiver: branchline.otlp_receiver.unwrap_or(false),
            otlp: otlp::settings(file.otlp).map_err(|(key, why)| check.invalid(key, why))?,
            anonymous_reads: branchline.anonymous_reads.unwrap_or(false),
            remote_read_samples_max: check
                .remote_read_samples_max(branchline.remote_read_samples_max)?,
            local_edge,
            router: RouterConfig::embedded(path, router)?,
            features,
            warnings,
        })
    }

    /// Whether this configuration may listen on `address`.
    ///
    /// # Errors
    /// Beyond loopback, writers must prove which branch they are, readers that they may read (unless everybody may), and
    /// all of it needs TLS, unless a proxy sees to that.
    pub fn check_listen(&self, address: SocketAddr, web: &Web) -> Result<(), ListenRefused> {
        let mut lacks = Vec::new();
        if self.branches.is_empty() {
            lacks.push("no credentials are configured, so anybody could write as any branch: give every branch a token under branchline.branches".to_owned());
        }
        let asked = !self.readers.is_empty() || web.has_users() || web.proves_clients();
        if !asked && !self.anonymous_reads {
            lacks.push("no readers are configured, so anybody could read everything: give readers tokens under branchline.readers, or users under basic_auth_users in --web.config.file, or say branchline.anonymous_reads: true".to_owned());
        }
        web.check_listen(address, Some(lacks))
    }

    /// How OTLP metrics are translated; None where none are taken.
    pub(crate) fn otlp_in_force(&self) -> Option<wire::otlp::Settings> {
        self.otlp_receiver.then(|| wire::otlp::Settings {
            native_delta: self.features.otlp_native_delta,
            type_and_unit_labels: self.features.type_and_unit_labels,
            ..self.otlp.clone()
        })
    }

    /// A few lines for the operator: what this configuration makes the hub do.
    pub fn summary(&self) -> String {
        let groups: usize = self.rule_files.iter().map(|file| file.groups.len()).sum();
        let local = match &self.local_edge {
            Some(edge) => format!("branch {}, {} scrape jobs", edge.edge, edge.jobs.len()),
            None => "off".to_owned(),
        };
        let mut text = format!(
            "branches with tokens: {}\nrule groups: {groups}, evaluated every {} by default\nAlertmanagers: {}\nlocal edge: {local}\n",
            self.branches.len(),
            model::duration::format(self.evaluation_interval),
            self.router.alertmanager_urls().count(),
        );
        for warning in &self.warnings {
            text.push_str(&format!("warning: {warning}\n"));
        }
        text
    }
}

struct Check<'a> {
    path: &'a Path,
    features: Features,
}

impl Check<'_> {
    fn invalid(&self, key: impl Into<String>, message: impl ToString) -> ConfigError {
        ConfigError::invalid(self.path, key, message)
    }

    fn resolve(&self, path: &str) -> PathBuf {
        self.path.parent().unwrap_or(Path::new("")).join(path)
    }

    fn rule_files(
        &self,
        patterns: Vec<String>,
    ) -> Result<(Vec<rules::RuleFile>, Vec<String>), ConfigError> {
        let (mut paths, mut warnings) = (BTreeSet::new(), Vec::new());
        for (index, pattern) in patterns.iter().enumerate() {
            let key = format!("rule_files[{index}]");
            let found = edge_scraper::config::find_files(&self.resolve(pattern), RULE_FILES_MAX)
                .map_err(|error| self.invalid(key.as_str(), error))?;
            if found.is_empty() {
                warnings.push(format!("{key}: no file matches {pattern}"));
            }
            paths.extend(found);
        }
        let paths: Vec<PathBuf> = paths.into_iter().collect();
        let files = ruler::load_files(&paths, &self.features.parse)
            .map_err(|error| self.invalid("rule_files", error))?;
        Ok((files, warnings))
    }

    fn tokens(
        &self,
        key: &str,
        tokens: Option<Vec<raw::Token>>,
    ) -> Result<Vec<BranchToken>, ConfigError> {
        let mut names = BTreeSet::new();
        let tokens: Vec<BranchToken> = tokens
            .unwrap_or_default()
            .into_iter()
            .enumerate()
            .map(|(index, token)| {
                let key = format!("{key}[{index}]");
                check_name(&token.name).map_err(|why| self.invalid(format!("{key}.name"), why))?;
                if !names.insert(token.name.clone()) {
                    return Err(self.invalid(
                        format!("{key}.name"),
                        format!("{:?} stands there twice", token.name),
                    ));
                }
                let secret = match (token.token, token.token_file) {
                    (Some(token), None) => Secret::Given(token),
                    (None, Some(file)) => Secret::File(self.resolve(&file)),
                    _ => return Err(self.invalid(key, "give either token or token_file")),
                };
                Ok(BranchToken {
                    branch: token.name,
                    secret,
                })
            })
            .collect::<Result<_, _>>()?;
        Credentials::load(&tokens).map_err(|error| self.invalid(key, error))?;
        Ok(tokens)
    }

    fn local_edge(
        &self,
        path: Option<PathBuf>,
        local: raw::LocalEdge,
        scraping: ScrapingYaml,
    ) -> Result<Option<EdgeConfig>, ConfigError> {
        let branch = local.branch.unwrap_or_else(|| LOCAL_BRANCH.to_owned());
        check_name(&branch).map_err(|why| self.invalid("branchline.local_edge.branch", why))?;
        let interval = local
            .scrape_interval
            .map_or(LOCAL_INTERVAL, |interval| interval.get());
        if interval < Duration::from_secs(1) {
            return Err(self.invalid("branchline.local_edge.scrape_interval", "at least 1s"));
        }
        let mut edge = EdgeConfig::embedded(path, &branch, interval, scraping)?;
        let mut labels = edge.external_labels.builder();
        edge.external_labels = labels.set(model::BRANCH, branch).build();
        Ok(local.enabled.unwrap_or(true).then_some(edge))
    }

    fn series_per_branch_max(&self, given: Option<usize>) -> Result<usize, ConfigError> {
        match given {
            Some(0) => Err(self.invalid("branchline.series_per_branch_max", "at least 1")),
            Some(max) => Ok(max),
            None => Ok(tsdb::Limits::default().series_per_scope_max),
        }
    }

    fn remote_read_samples_max(&self, given: Option<u64>) -> Result<u64, ConfigError> {
        match given {
            Some(0) => Err(self.invalid("branchline.remote_read_samples_max", "at least 1")),
            Some(max) => Ok(max),
            None => Ok(REMOTE_READ_SAMPLES_MAX),
        }
    }

    fn query_memory(&self, given: Option<ByteSize>) -> Result<u64, ConfigError> {
        match given.map(ByteSize::get) {
            Some(bytes) if bytes < QUERY_MEMORY_MIN => Err(self.invalid(
                "branchline.query_memory_bytes",
                "at least 1MiB: below that hardly any query is answered",
            )),
            Some(bytes) => Ok(bytes),
            None => Ok(memory::query_memory()),
        }
    }

    fn external_url(&self, url: Option<String>) -> Result<String, ConfigError> {
        let Some(url) = url else {
            return Ok(String::new());
        };
        if !(url.starts_with("http://") || url.starts_with("https://")) {
            return Err(self.invalid(
                "branchline.external_url",
                format!("{url:?} does not begin with http:// or https://"),
            ));
        }
        Ok(url.trim_end_matches('/').to_owned())
    }
}

/// Letters, digits, `.`, `_` and `-`: what is fit for a label, a header, a folder and a file name alike.
fn check_name(name: &str) -> Result<(), String> {
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if !name.is_empty() && name.len() <= 100 && name.chars().all(fine) {
        return Ok(());
    }
    Err(format!(
        "{name:?} is no name: 1 to 100 letters, digits, '.', '_' and '-'"
    ))
}

/// As in Prometheus nothing and less mean that none are kept.
fn exemplars_max(storage: Option<&raw::Storage>) -> usize {
    let exemplars = storage.and_then(|storage| storage.exemplars.as_ref());
    match exemplars.and_then(|exemplars| exemplars.max_exemplars) {
        Some(max) => usize::try_from(max.max(0)).unwrap_or(usize::MAX),
        None => tsdb::Limits::default().exemplars_max,
    }
}

fn retention(storage: Option<raw::Storage>) -> tsdb::Retention {
    let retention = storage
        .and_then(|storage| storage.tsdb)
        .and_then(|tsdb| tsdb.retention)
        .unwrap_or_default();
    let bytes_max = retention
        .size
        .map(|size| size.get())
        .filter(|bytes| *bytes > 0);
    let age = retention
        .time
        .map(|time| time.get())
        .filter(|age| !age.is_zero());
    // As in Prometheus the default age counts only where nothing is said.
    let age = age.or_else(|| bytes_max.is_none().then_some(RETENTION));
    tsdb::Retention { age, bytes_max }
}

fn refuse_unsupported(path: &Path, file: &raw::File) -> Result<(), ConfigError> {
    let alert_relabel = file
        .alerting
        .as_ref()
        .is_some_and(|alerting| alerting.alert_relabel_configs.is_some());
    let keys = [
        (
            "remote_write",
            file.remote_write.is_some(),
            "the hub forwards nothing: let edges write to both places",
        ),
        (
            "remote_read",
            file.remote_read.is_some(),
            "the hub reads only its own store",
        ),
        ("tracing", file.tracing.is_some(), "take the section out"),
        (
            "alerting.alert_relabel_configs",
            alert_relabel,
            "set the labels in the rules",
        ),
    ];
    match keys.into_iter().find(|(_, given, _)| *given) {
        Some((key, _, way_out)) => Err(ConfigError::invalid(
            path,
            key,
            format!("a key of Prometheus that the hub does not support: {way_out}"),
        )),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
