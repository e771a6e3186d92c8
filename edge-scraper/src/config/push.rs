//! What is handed to the edge instead of being scraped: receivers, and the folder of text files. All off unless asked for.

use std::path::PathBuf;
use std::time::Duration;

use daemon::config::ConfigError;
use model::relabel::RelabelRule;
use wire::otlp;

use super::{Check, Histograms, JobConfig, TIMEOUT, job, raw};

/// Job of the Pushgateway's own series, `up` and the like: pushed ones have the job that their group names.
const GATEWAY_JOB: &str = "pushgateway";
const TEXTFILE_JOB: &str = "textfile";

/// What is taken, and how.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PushConfig {
    /// Remote write 1.0 and 2.0.
    pub remote_write: bool,
    /// OTLP/HTTP metrics, and how they are translated.
    pub otlp: Option<otlp::Settings>,
    /// The Pushgateway's API.
    pub gateway: Option<GatewayConfig>,
    /// A folder of text files.
    pub textfile: Option<TextfileConfig>,
}

/// The Pushgateway's API.
#[derive(Debug, Clone, PartialEq)]
pub struct GatewayConfig {
    /// A group that was not pushed for so long goes. Zero: none ever does.
    pub group_expiry: Duration,
    /// Which form of a histogram that was pushed in both is stored: as `global` says for scrapes. What is native alone always is.
    pub histograms: Histograms,
    /// How its page becomes series.
    pub job: JobConfig,
}

/// A folder of text files.
#[derive(Debug, Clone, PartialEq)]
pub struct TextfileConfig {
    /// The folder.
    pub directory: PathBuf,
    /// Label `instance`.
    pub instance: String,
    /// How its page becomes series.
    pub job: JobConfig,
}

impl PushConfig {
    /// The keys and jobs of what is scraped in this process.
    pub(super) fn jobs(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let gateway = self.gateway.iter();
        let gateway = gateway.map(|gateway| ("branchline.pushgateway", gateway.job.name.as_str()));
        let textfile = self.textfile.iter();
        let textfile = textfile.map(|folder| ("branchline.textfile.job", folder.job.name.as_str()));
        gateway.chain(textfile)
    }

    /// A line for the operator; nothing if nothing is taken.
    pub(super) fn summary(&self) -> String {
        let mut taken = Vec::new();
        if self.remote_write {
            taken.push("remote write".to_owned());
        }
        if self.otlp.is_some() {
            taken.push("OTLP".to_owned());
        }
        if let Some(gateway) = &self.gateway {
            taken.push(match gateway.group_expiry.is_zero() {
                true => "Pushgateway pushes, which stay until they are deleted".to_owned(),
                false => format!(
                    "Pushgateway pushes, which go after {}",
                    model::duration::format(gateway.group_expiry)
                ),
            });
        }
        if let Some(textfile) = &self.textfile {
            taken.push(format!("files of {}", textfile.directory.display()));
        }
        match taken.is_empty() {
            true => String::new(),
            false => format!("takes: {}\n", taken.join(", ")),
        }
    }
}

impl Check {
    pub(super) fn push(
        &mut self,
        given: &mut raw::Branchline,
        section: Option<otlp::Section>,
        edge: &str,
        defaults: &job::Defaults,
    ) -> Result<PushConfig, ConfigError> {
        // Checked also where nothing is taken: a mistake shows at once.
        let settings = section
            .unwrap_or_default()
            .settings()
            .map_err(|(key, why)| self.invalid(key, why))?;
        Ok(PushConfig {
            remote_write: given.remote_write_receiver.unwrap_or(false),
            otlp: given.otlp_receiver.unwrap_or(false).then_some(settings),
            gateway: self.gateway(given.pushgateway.take(), defaults)?,
            textfile: self.textfile(given.textfile.take(), edge, defaults)?,
        })
    }

    fn gateway(
        &mut self,
        given: Option<raw::Pushgateway>,
        defaults: &job::Defaults,
    ) -> Result<Option<GatewayConfig>, ConfigError> {
        let Some(given) = given.filter(|given| given.enabled.unwrap_or(true)) else {
            return Ok(None);
        };
        let key = "branchline.pushgateway";
        let interval = given.scrape_interval.map(|interval| interval.get());
        let rules = self.relabel(
            &format!("{key}.metric_relabel_configs"),
            given.metric_relabel_configs,
        )?;
        let mut job = self.own_job(key, GATEWAY_JOB, interval, rules, defaults)?;
        // A group says whose its series are, as in Prometheus's own scrape of a Pushgateway.
        job.honor_labels = true;
        // What is on the page has been chosen already.
        job.histograms = Histograms {
            native: true,
            classic_too: true,
            ..Histograms::default()
        };
        Ok(Some(GatewayConfig {
            group_expiry: given.group_expiry.map_or(Duration::ZERO, |time| time.get()),
            histograms: defaults.histograms,
            job,
        }))
    }

    fn textfile(
        &mut self,
        given: Option<raw::Textfile>,
        edge: &str,
        defaults: &job::Defaults,
    ) -> Result<Option<TextfileConfig>, ConfigError> {
        let Some(given) = given.filter(|given| given.enabled.unwrap_or(true)) else {
            return Ok(None);
        };
        let key = "branchline.textfile";
        let directory = given.directory.unwrap_or_default();
        if directory.is_empty() {
            return Err(self.invalid(
                format!("{key}.directory"),
                "it is missing: the folder whose *.prom files are read",
            ));
        }
        let directory = self.resolve(&directory);
        if !directory.is_dir() {
            self.warnings.push(format!(
                "{key}.directory: {} is no folder now",
                directory.display()
            ));
        }
        let name = given.job.unwrap_or_else(|| TEXTFILE_JOB.to_owned());
        let instance = given.instance.unwrap_or_else(|| edge.to_owned());
        if name.is_empty() || instance.is_empty() {
            return Err(self.invalid(key, "job and instance must not be empty"));
        }
        let interval = given.scrape_interval.map(|interval| interval.get());
        let rules = self.relabel(
            &format!("{key}.metric_relabel_configs"),
            given.metric_relabel_configs,
        )?;
        Ok(Some(TextfileConfig {
            directory,
            instance,
            job: self.own_job(key, &name, interval, rules, defaults)?,
        }))
    }

    /// The job of a page that is made in this process.
    fn own_job(
        &self,
        key: &str,
        name: &str,
        interval: Option<Duration>,
        metric_relabel: Vec<RelabelRule>,
        defaults: &job::Defaults,
    ) -> Result<JobConfig, ConfigError> {
        let interval = interval.unwrap_or(defaults.interval);
        if interval.is_zero() {
            return Err(self.invalid(format!("{key}.scrape_interval"), "it must be above 0"));
        }
        let timeout = defaults.timeout.min(TIMEOUT).min(interval);
        let mut job = JobConfig::for_collector(name, interval, timeout);
        job.metric_relabel = metric_relabel;
        Ok(job)
    }
}
