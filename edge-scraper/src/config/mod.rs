//! What is this edge to do? A Prometheus configuration file, read, checked and turned into types that cannot be wrong, all
//! before any port opens.
//!
//! `scrape_configs` are Prometheus's, hubs stand under `remote_write`, our own keys under `branchline`. Keys of Prometheus that
//! the edge does not support are refused by name (see `refuse`); those that only have no effect here (evaluation intervals,
//! queue tuning) pass with a warning.

mod client;
mod discovery;
mod embedded;
mod expand;
mod hub;
mod job;
mod kept;
mod push;
mod raw;
mod raw_client;
mod raw_discovery;
mod refuse;
mod rules;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::time::Duration;

use daemon::config::{ByteSize, ConfigError, load_yaml, parse_yaml, without_passwords};
use model::LabelSet;
use model::relabel::RelabelRule;

use crate::buffer::EvictionPolicy;

pub use client::HttpConfig;
pub use discovery::{
    ClusterAccess, Discovery, DnsRecord, DnsSd, HttpSd, KubernetesSd, Role, Selector,
};
pub use embedded::{GlobalForRules, GlobalYaml, ScrapeConfigYaml, ScrapingYaml};
pub use hub::HubConfig;
pub use job::{Escaping, Histograms, JobConfig, Limits, Protocol, TargetDefaults, TargetGroup};
pub use kept::FromDisk;
pub use push::{GatewayConfig, PushConfig, TextfileConfig};
pub(crate) use raw::StaticConfig;

pub use crate::discovery::glob::find as find_files;

use crate::clock::{ClockPolicy, WhenOff};
use crate::collect::node::{DEFAULT_JOB, NodeOptions, Patterns, Switches};
use crate::forward::LineOptions;
use crate::kept::KeptKind;

/// Where samples go without a configuration file: a hub on this machine.
pub const DEFAULT_HUB_URL: &str = "http://127.0.0.1:9490/api/v1/write";

/// Most scrape configurations of `scrape_config_files` by one pattern; a pattern that matches more matches too much.
const FILES_MAX: usize = 10_000;

/// The whole configuration of an edge, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct EdgeConfig {
    /// The file it comes from; `None` without one.
    pub path: Option<PathBuf>,
    /// Name of this edge to its hubs: printable ASCII.
    pub edge: String,
    /// Added to every series that does not have them.
    pub external_labels: LabelSet,
    /// Scrape jobs in the order of the file; their names differ.
    pub jobs: Vec<JobConfig>,
    /// Where to ship; their names differ. Empty: samples are only buffered.
    pub hubs: Vec<HubConfig>,
    /// The machine as a target.
    pub node_collector: Option<NodeCollectorConfig>,
    /// The buffer on disk.
    pub buffer: BufferConfig,
    /// How it speaks to hubs of ours.
    pub line: LineOptions,
    /// What is done when the machine's clock is not the hub's.
    pub clock: ClockPolicy,
    /// What is handed to the edge instead of being scraped.
    pub push: PushConfig,
    /// What in the file has no effect, or will not work as it is now; for the log and `check-config`.
    pub warnings: Vec<String>,
    /// It is not what its files say now: something of it was kept on disk from when it was last in force.
    pub from_disk: Option<FromDisk>,
    /// The files that it depends on.
    pub(crate) files: Vec<(PathBuf, KeptKind)>,
}

/// The built-in node collector.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeCollectorConfig {
    /// Label `job`.
    pub job: String,
    /// Label `instance`.
    pub instance: String,
    /// How often.
    pub interval: Duration,
    /// At most `interval`.
    pub timeout: Duration,
    /// Over its series.
    pub metric_relabel: Vec<RelabelRule>,
    /// What is collected, and where from.
    pub options: NodeOptions,
}

/// The buffer on disk.
#[derive(Debug, Clone, PartialEq)]
pub struct BufferConfig {
    /// Most bytes; 16 MiB at least. Default: 1 GiB.
    pub bytes_max: u64,
    /// A scrape is synced to disk within this: what a crash of the machine can cost. 10 ms to 1 min, default 1 s.
    pub sync_within: Duration,
    /// What goes first when it is full. Default: the oldest.
    pub eviction: EvictionPolicy,
}

impl Default for BufferConfig {
    fn default() -> BufferConfig {
        BufferConfig {
            bytes_max: 1 << 30,
            sync_within: Duration::from_secs(1),
            eviction: EvictionPolicy::default(),
        }
    }
}

/// With more, old samples are so far apart that queries do not see them as one series.
const THIN_TO_EVERY_MAX: u32 = 100;
/// Every series of a segment is held against each.
const KEEP_MAX: usize = 100;

/// Prometheus's default timeout, and ours for collectors.
const TIMEOUT: Duration = Duration::from_secs(10);

impl NodeCollectorConfig {
    /// The collector of this machine every `interval`, as `edge`.
    pub fn new(edge: &str, interval: Duration) -> NodeCollectorConfig {
        NodeCollectorConfig {
            job: DEFAULT_JOB.to_owned(),
            instance: edge.to_owned(),
            interval,
            timeout: interval.min(TIMEOUT),
            metric_relabel: Vec::new(),
            options: NodeOptions::default(),
        }
    }
}

impl EdgeConfig {
    /// Without a file: the node collector of this machine every 15 s, shipped to [`DEFAULT_HUB_URL`].
    pub fn without_file() -> EdgeConfig {
        let edge = host_name();
        EdgeConfig {
            path: None,
            node_collector: Some(NodeCollectorConfig::new(&edge, Duration::from_secs(15))),
            edge,
            external_labels: LabelSet::empty(),
            jobs: Vec::new(),
            hubs: vec![HubConfig::plain(DEFAULT_HUB_URL)],
            buffer: BufferConfig::default(),
            line: LineOptions::default(),
            clock: ClockPolicy::default(),
            push: PushConfig::default(),
            warnings: Vec::new(),
            from_disk: None,
            files: Vec::new(),
        }
    }

    /// Reads and checks a file and the files that it names.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong, with file and line or key, and what would be right.
    pub fn load(path: &Path) -> Result<EdgeConfig, ConfigError> {
        Check::new(path).file(load_yaml(path)?)
    }

    /// Checks the text of a file; `path` is what errors name and what relative paths start from.
    ///
    /// # Errors
    ///
    /// As [`EdgeConfig::load`].
    pub fn parse(text: &str, path: &Path) -> Result<EdgeConfig, ConfigError> {
        Check::new(path).file(parse_yaml(text, path)?)
    }

    /// A few lines for the operator: what this configuration makes the edge do.
    pub fn summary(&self) -> String {
        let jobs: Vec<&str> = self.jobs.iter().map(|job| job.name.as_str()).collect();
        let hubs: Vec<String> = self
            .hubs
            .iter()
            .map(|hub| format!("{} ({})", hub.name, without_passwords(hub.url.as_str())))
            .collect();
        let list = |items: &[String]| match items {
            [] => "none".to_owned(),
            items => items.join(", "),
        };
        let node = match &self.node_collector {
            Some(node) => format!("every {}", model::duration::format(node.interval)),
            None => "off".to_owned(),
        };
        let pushed = self.push.summary();
        let mut text = format!(
            "edge {}: {} scrape job(s): {}\nhubs: {}\nnode collector: {node}\n{pushed}buffer: at most {}, synced within {}; {}\n",
            self.edge,
            jobs.len(),
            if jobs.is_empty() {
                "none".to_owned()
            } else {
                jobs.join(", ")
            },
            list(&hubs),
            ByteSize::from_bytes(self.buffer.bytes_max),
            model::duration::format(self.buffer.sync_within),
            self.buffer.eviction,
        );
        for warning in &self.warnings {
            text.push_str("warning: ");
            text.push_str(warning);
            text.push('\n');
        }
        text
    }
}

fn host_name() -> String {
    let name = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    if is_edge_name(&name) {
        name
    } else {
        "edge".to_owned()
    }
}

/// It travels in an HTTP header.
fn is_edge_name(name: &str) -> bool {
    (1..=128).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic())
}

/// The check of one file: where it is, and the warnings so far.
struct Check {
    path: PathBuf,
    /// What relative paths start from.
    folder: PathBuf,
    warnings: Vec<String>,
    /// What is taken from disk where files cannot be read, and which files there are.
    fallback: kept::Fallback,
}

impl Check {
    fn new(path: &Path) -> Check {
        Check {
            path: path.to_owned(),
            folder: path.parent().map(Path::to_owned).unwrap_or_default(),
            warnings: Vec::new(),
            fallback: kept::Fallback::default(),
        }
    }

    fn invalid(&self, key: impl Into<String>, message: impl ToString) -> ConfigError {
        ConfigError::invalid(&self.path, key, message)
    }

    /// A path of the file, made absolute against the file's folder.
    fn resolve(&self, path: &str) -> PathBuf {
        self.folder.join(path)
    }

    /// Warns when a file that will be read later cannot be read now.
    fn readable(&mut self, key: &str, path: &Path) {
        if let Err(error) = std::fs::File::open(path) {
            self.warnings.push(format!(
                "{key}: {} cannot be read now: {error}",
                path.display()
            ));
        }
    }

    fn no_effect(&mut self, key: &str, given: bool, why: &str) {
        if given {
            self.warnings
                .push(format!("{key} has no effect here: {why}"));
        }
    }

    fn file(mut self, file: raw::File) -> Result<EdgeConfig, ConfigError> {
        let mut branchline = file.branchline.unwrap_or_default();
        let edge = branchline.edge.take().unwrap_or_else(host_name);
        if !is_edge_name(&edge) {
            return Err(self.invalid(
                "branchline.edge",
                format!("{edge:?} is no name for an edge: 1 to 128 printable ASCII characters, no blanks"),
            ));
        }
        let global = file.global.unwrap_or_default();
        let lives_on_hub = "rules and queries run on the hub";
        self.no_effect(
            "global.evaluation_interval",
            global.evaluation_interval.is_some(),
            lives_on_hub,
        );
        self.no_effect(
            "global.rule_query_offset",
            global.rule_query_offset.is_some(),
            lives_on_hub,
        );
        self.no_effect(
            "global.query_log_file",
            global.query_log_file.is_some(),
            lives_on_hub,
        );
        self.no_effect("runtime", file.runtime.is_some(), "it tunes Go's runtime");

        let external_labels = self.external_labels(&global)?;
        let defaults = self.job_defaults(&global)?;
        let mut jobs = Vec::new();
        for (index, config) in file
            .scrape_configs
            .unwrap_or_default()
            .into_iter()
            .enumerate()
        {
            jobs.push(self.job(&format!("scrape_configs[{index}]"), config, &defaults)?);
        }
        self.jobs_of_files(
            file.scrape_config_files.unwrap_or_default(),
            &defaults,
            &mut jobs,
        )?;
        let push = self.push(&mut branchline, file.otlp, &edge, &defaults)?;
        let node_collector =
            self.node_collector(branchline.node_collector, jobs.is_empty(), &edge, &defaults)?;
        self.unique_jobs(&jobs, node_collector.as_ref(), &push)?;
        let hubs = self.hubs(file.remote_write.unwrap_or_default())?;
        let buffer = self.buffer(branchline.buffer.unwrap_or_default())?;
        let line = self.line(branchline.link.unwrap_or_default())?;
        let clock = self.clock(branchline.clock.unwrap_or_default())?;
        let from_disk = self.read_from_disk();
        Ok(EdgeConfig {
            path: Some(self.path),
            edge,
            external_labels,
            jobs,
            hubs,
            node_collector,
            buffer,
            line,
            clock,
            push,
            from_disk,
            files: self.fallback.files,
            warnings: self.warnings,
        })
    }

    fn external_labels(&mut self, global: &raw::Global) -> Result<LabelSet, ConfigError> {
        let mut labels = Vec::new();
        for (name, value) in global.external_labels.iter().flatten() {
            if name.is_empty() || name == model::METRIC_NAME {
                return Err(self.invalid(
                    "global.external_labels",
                    format!("{name:?} is not a valid label name"),
                ));
            }
            let (value, missing) = expand::expand(value, |name| std::env::var(name).ok());
            for variable in missing {
                self.warnings.push(format!(
                    "global.external_labels.{name}: the environment has no {variable}, it stands for nothing"
                ));
            }
            labels.push((name.clone(), value));
        }
        LabelSet::from_pairs(labels).map_err(|error| self.invalid("global.external_labels", error))
    }

    fn jobs_of_files(
        &mut self,
        patterns: Vec<String>,
        defaults: &job::Defaults,
        jobs: &mut Vec<JobConfig>,
    ) -> Result<(), ConfigError> {
        if let Some(kept) = self.kept_scrape_files() {
            for (path, text) in kept.scrape_files() {
                self.jobs_of_file(path, parse_yaml(text, path)?, defaults, jobs)?;
            }
            return Ok(());
        }
        for (index, pattern) in patterns.iter().enumerate() {
            let key = format!("scrape_config_files[{index}]");
            let files = crate::discovery::glob::find(&self.resolve(pattern), FILES_MAX)
                .map_err(|error| self.invalid(key.as_str(), error))?;
            if files.is_empty() {
                self.warnings
                    .push(format!("{key}: no file matches {pattern}"));
            }
            for path in files {
                self.fallback.files.push((path.clone(), KeptKind::Scrape));
                self.jobs_of_file(&path, load_yaml(&path)?, defaults, jobs)?;
            }
        }
        Ok(())
    }

    fn jobs_of_file(
        &mut self,
        path: &Path,
        file: raw::ScrapeConfigFile,
        defaults: &job::Defaults,
        jobs: &mut Vec<JobConfig>,
    ) -> Result<(), ConfigError> {
        // Paths in that file start from its own folder, and errors name it.
        let mut check = self.of_part(path);
        let configs = file.scrape_configs.unwrap_or_default();
        for (index, config) in configs.into_iter().enumerate() {
            jobs.push(check.job(&format!("scrape_configs[{index}]"), config, defaults)?);
        }
        self.take_part(check);
        Ok(())
    }

    fn unique_jobs(
        &self,
        jobs: &[JobConfig],
        node: Option<&NodeCollectorConfig>,
        push: &PushConfig,
    ) -> Result<(), ConfigError> {
        let mut names = std::collections::BTreeSet::new();
        for job in jobs {
            if !names.insert(job.name.as_str()) {
                return Err(self.invalid(
                    "scrape_configs",
                    format!(
                        "found multiple scrape configs with job name {:?}: give each its own",
                        job.name
                    ),
                ));
            }
        }
        if let Some(node) = node
            && !names.insert(node.job.as_str())
        {
            return Err(self.invalid(
                "branchline.node_collector.job",
                format!("{:?} is a job of scrape_configs too: give the node collector another, or switch it off", node.job),
            ));
        }
        for (key, job) in push.jobs() {
            if !names.insert(job) {
                return Err(self.invalid(
                    key,
                    format!("{job:?} is the job of something else too: give one of them another"),
                ));
            }
        }
        Ok(())
    }

    /// On if its section is there, or if nothing else would be scraped; off beside scrape jobs, so that a file of
    /// Prometheus's gives the series that Prometheus gives.
    fn node_collector(
        &mut self,
        section: Option<raw::NodeCollector>,
        alone: bool,
        edge: &str,
        defaults: &job::Defaults,
    ) -> Result<Option<NodeCollectorConfig>, ConfigError> {
        let on = match &section {
            Some(section) => section.enabled.unwrap_or(true),
            None => alone,
        };
        if !on {
            return Ok(None);
        }
        let section = section.unwrap_or_default();
        let interval = section
            .scrape_interval
            .map_or(defaults.interval, |i| i.get());
        if interval.is_zero() {
            return Err(self.invalid(
                "branchline.node_collector.scrape_interval",
                "it must be above 0",
            ));
        }
        let mut config = NodeCollectorConfig::new(edge, interval);
        config.timeout = defaults.timeout.min(interval);
        if let Some(job) = section.job {
            config.job = job;
        }
        if let Some(instance) = section.instance {
            config.instance = instance;
        }
        if config.job.is_empty() || config.instance.is_empty() {
            return Err(self.invalid(
                "branchline.node_collector",
                "job and instance must not be empty",
            ));
        }
        let key = "branchline.node_collector.metric_relabel_configs";
        config.metric_relabel = self.relabel(key, section.metric_relabel_configs)?;
        for (path, root) in [
            (section.procfs, &mut config.options.roots.proc),
            (section.sysfs, &mut config.options.roots.sys),
            (section.rootfs, &mut config.options.roots.root),
        ] {
            if let Some(path) = path {
                *root = self.folder.join(path);
            }
        }
        let switches = section.collectors.unwrap_or_default();
        config.options.collectors = Switches::with(
            &switches.enable.unwrap_or_default(),
            &switches.disable.unwrap_or_default(),
        )
        .map_err(|error| self.invalid("branchline.node_collector.collectors", error))?;
        let patterns = section.patterns.unwrap_or_default();
        let pairs = patterns
            .iter()
            .map(|(name, text)| (name.as_str(), text.as_str()));
        config.options.patterns = Patterns::with(pairs)
            .map_err(|error| self.invalid("branchline.node_collector.patterns", error))?;
        Ok(Some(config))
    }

    fn line(&self, section: raw::Link) -> Result<LineOptions, ConfigError> {
        let mut line = LineOptions::default();
        if let Some(bytes) = section.bytes_per_second {
            line.bytes_per_second = Some(bytes.get());
            if bytes.get() < 100 {
                return Err(self.invalid(
                    "branchline.link.bytes_per_second",
                    "with less than 100B nothing arrives in time: leave it out, or give more",
                ));
            }
        }
        if let Some(heartbeat) = section.heartbeat {
            line.heartbeat = heartbeat.get();
            line.silence = 3 * line.heartbeat;
        }
        if !(Duration::from_secs(1)..=Duration::from_secs(60)).contains(&line.heartbeat) {
            return Err(self.invalid(
                "branchline.link.heartbeat",
                "it must be between 1s and 1m; with more than 2s a hub knows later than in 5s that the link is cut",
            ));
        }
        Ok(line)
    }

    fn clock(&self, section: raw::Clock) -> Result<ClockPolicy, ConfigError> {
        let mut clock = ClockPolicy::default();
        match section.when_off.as_deref() {
            None | Some("correct") => {}
            Some("flag") => clock.when_off = WhenOff::Flag,
            Some(other) => {
                return Err(self.invalid(
                    "branchline.clock.when_off",
                    format!("{other:?} is neither correct (scrapes are stamped with the hub's time) nor flag (they are not, and the hub says that the clock is off)"),
                ));
            }
        }
        if let Some(tolerance) = section.tolerance {
            clock.tolerance = tolerance.get();
        }
        if !(Duration::from_millis(100)..=Duration::from_secs(3600)).contains(&clock.tolerance) {
            return Err(self.invalid(
                "branchline.clock.tolerance",
                "it must be between 100ms and 1h",
            ));
        }
        Ok(clock)
    }

    fn buffer(&self, section: raw::Buffer) -> Result<BufferConfig, ConfigError> {
        let mut buffer = BufferConfig::default();
        if let Some(bytes) = section.bytes_max {
            buffer.bytes_max = bytes.get();
        }
        if buffer.bytes_max < 16 << 20 {
            return Err(self.invalid(
                "branchline.buffer.bytes_max",
                format!(
                    "{} is too little to be useful: at least 16MiB",
                    ByteSize::from_bytes(buffer.bytes_max)
                ),
            ));
        }
        if let Some(sync) = section.sync_within {
            buffer.sync_within = sync.get();
        }
        if !(Duration::from_millis(10)..=Duration::from_secs(60)).contains(&buffer.sync_within) {
            return Err(self.invalid(
                "branchline.buffer.sync_within",
                "it must be between 10ms and 1m",
            ));
        }
        buffer.eviction = self.eviction(section.eviction)?;
        Ok(buffer)
    }

    fn eviction(&self, section: raw::Eviction) -> Result<EvictionPolicy, ConfigError> {
        if let Some(every) = section.thin_to_every
            && !(2..=THIN_TO_EVERY_MAX).contains(&every)
        {
            return Err(self.invalid(
                "branchline.buffer.eviction.thin_to_every",
                format!("{every} is not between 2 and {THIN_TO_EVERY_MAX}: with 4, one scrape of four stays; leave it out to thin nothing"),
            ));
        }
        if section.keep.len() > KEEP_MAX {
            return Err(self.invalid(
                "branchline.buffer.eviction.keep",
                format!(
                    "{} selectors, at most {KEEP_MAX}: join them with |, as in {{job=~\"pos|tills\"}}",
                    section.keep.len()
                ),
            ));
        }
        let mut keep = Vec::new();
        for (number, text) in section.keep.iter().enumerate() {
            let key = format!("branchline.buffer.eviction.keep[{number}]");
            let matchers = wire::selector::parse(text).map_err(|error| {
                self.invalid(
                    key.as_str(),
                    format!("{text:?} selects no series: {error}; write it as {{job=\"pos\"}}"),
                )
            })?;
            if matchers.iter().all(|matcher| matcher.matches("")) {
                return Err(self.invalid(
                    key.as_str(),
                    format!("{text:?} fits series that have none of its labels: what is kept when everything is? Name a label that they have, as in {{job=\"pos\"}}"),
                ));
            }
            keep.push(matchers);
        }
        Ok(EvictionPolicy {
            thin_to_every: section.thin_to_every,
            keep: keep.into(),
        })
    }
}
