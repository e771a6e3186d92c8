//! Scrape jobs: the entries of `scrape_configs`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use daemon::config::{ByteSize, ConfigError};
use model::relabel::RelabelRule;
use model::{SCHEMA_MAX, SCHEMA_MIN};

use super::{Check, Discovery, HttpConfig, TIMEOUT, raw};
use crate::scrape::Class;

/// One scrape job, with what `global` gives filled in.
#[derive(Debug, Clone, PartialEq)]
pub struct JobConfig {
    /// Label `job` unless a target brings its own.
    pub name: String,
    /// How much its samples matter to the buffer.
    pub class: Class,
    /// Where targets come from.
    pub discovery: Vec<Discovery>,
    /// Over discovered targets.
    pub relabel: Vec<RelabelRule>,
    /// Over scraped series.
    pub metric_relabel: Vec<RelabelRule>,
    /// What a target has if its labels say nothing else.
    pub target: TargetDefaults,
    /// Client and credentials.
    pub http: HttpConfig,
    /// A target's own labels win over ours.
    pub honor_labels: bool,
    /// A target's own timestamps are taken. Default: true.
    pub honor_timestamps: bool,
    /// Series with a timestamp of their own become stale too.
    pub track_timestamps_staleness: bool,
    /// Formats to ask for, most wanted first; not empty.
    pub protocols: Vec<Protocol>,
    /// Format of an answer that does not say which it is; `None`: such an answer is an error.
    pub fallback_protocol: Option<Protocol>,
    /// Whether to ask for gzip. Default: true.
    pub compression: bool,
    /// Which forms of histograms are stored.
    pub histograms: Histograms,
    /// Bounds beyond which a scrape fails.
    pub limits: Limits,
    /// Whether names must be those of before Prometheus 3 (`metric_name_validation_scheme: legacy`).
    pub legacy_names: bool,
    /// How a target shall write names beyond that.
    pub escaping: Escaping,
    /// Also `scrape_timeout_seconds`, `scrape_sample_limit` and `scrape_body_size_bytes`.
    pub extra_metrics: bool,
    /// Where failed scrapes are written down, if anywhere (`scrape_failure_log_file`).
    pub failure_log: Option<PathBuf>,
}

impl JobConfig {
    /// A job without discovery and without limits: that of a collector of this process.
    pub fn for_collector(name: &str, interval: Duration, timeout: Duration) -> JobConfig {
        JobConfig {
            name: name.to_owned(),
            class: Class::Ordinary,
            discovery: Vec::new(),
            relabel: Vec::new(),
            metric_relabel: Vec::new(),
            target: TargetDefaults {
                interval,
                timeout,
                scheme: "http".to_owned(),
                metrics_path: "/metrics".to_owned(),
                params: BTreeMap::new(),
            },
            http: HttpConfig::default(),
            honor_labels: false,
            honor_timestamps: true,
            track_timestamps_staleness: false,
            protocols: Protocol::TEXT.to_vec(),
            fallback_protocol: None,
            compression: true,
            histograms: Histograms::default(),
            limits: Limits::default(),
            legacy_names: false,
            escaping: Escaping::AllowUtf8,
            extra_metrics: false,
            failure_log: None,
        }
    }
}

/// What a target has if its labels (`__scheme__` and the like) say nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetDefaults {
    /// Above 0.
    pub interval: Duration,
    /// Above 0, at most `interval`.
    pub timeout: Duration,
    /// `http` or `https`.
    pub scheme: String,
    /// Path of the page.
    pub metrics_path: String,
    /// Query parameters.
    pub params: BTreeMap<String, Vec<String>>,
}

/// Targets that share labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetGroup {
    /// Addresses, `host` or `host:port`.
    pub targets: Vec<String>,
    /// Labels of all of them.
    pub labels: BTreeMap<String, String>,
}

/// Bounds of one scrape; `None` is no bound.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the page, uncompressed.
    pub body_bytes: Option<u64>,
    /// Samples after metric relabelling.
    pub samples: Option<u64>,
    /// Targets of the job after relabelling; beyond it every scrape of the job fails.
    pub targets: Option<u64>,
    /// Labels of one series.
    pub labels: Option<u64>,
    /// Bytes of a label's name.
    pub label_name_bytes: Option<u64>,
    /// Bytes of a label's value.
    pub label_value_bytes: Option<u64>,
    /// Dropped targets remembered for the API.
    pub dropped_targets: Option<u64>,
}

/// Which forms of histograms are stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Histograms {
    /// Native ones (`scrape_native_histograms`), which only pages of protobuf have.
    pub native: bool,
    /// The classic form too of what is stored as a native histogram (`always_scrape_classic_histograms`).
    pub classic_too: bool,
    /// Classic ones as native ones with their bounds (`convert_classic_histograms_to_nhcb`).
    pub to_custom_buckets: bool,
    /// Most buckets of one (`native_histogram_bucket_limit`): one that has more becomes coarser, and one that cannot fails the scrape.
    pub buckets_max: Option<u64>,
    /// Finest schema of one (`native_histogram_min_bucket_factor`): a finer one becomes coarser.
    pub schema_max: Option<i32>,
}

/// A format of the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// `PrometheusProto`
    Protobuf,
    /// `OpenMetricsText1.0.0`
    OpenMetrics100,
    /// `OpenMetricsText0.0.1`
    OpenMetrics001,
    /// `PrometheusText1.0.0`
    Text100,
    /// `PrometheusText0.0.4`
    Text004,
}

impl Protocol {
    const ALL: [(Protocol, &'static str); 5] = [
        (Protocol::Protobuf, "PrometheusProto"),
        (Protocol::OpenMetrics100, "OpenMetricsText1.0.0"),
        (Protocol::OpenMetrics001, "OpenMetricsText0.0.1"),
        (Protocol::Text100, "PrometheusText1.0.0"),
        (Protocol::Text004, "PrometheusText0.0.4"),
    ];

    /// The formats of text, most wanted first: what is asked for where nothing is said.
    const TEXT: [Protocol; 4] = [
        Protocol::OpenMetrics100,
        Protocol::OpenMetrics001,
        Protocol::Text100,
        Protocol::Text004,
    ];

    /// What is asked for where nothing is said: with native histograms protobuf before the others, because nothing else has them.
    fn defaults(native: bool) -> Vec<Protocol> {
        let first = native.then_some(Protocol::Protobuf);
        first.into_iter().chain(Protocol::TEXT).collect()
    }

    /// Its media type in an `Accept` header.
    pub fn media_type(self) -> &'static str {
        match self {
            Protocol::Protobuf => {
                "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
            }
            Protocol::OpenMetrics100 => "application/openmetrics-text;version=1.0.0",
            Protocol::OpenMetrics001 => "application/openmetrics-text;version=0.0.1",
            Protocol::Text100 => "text/plain;version=1.0.0",
            Protocol::Text004 => "text/plain;version=0.0.4",
        }
    }
}

/// How names that are not valid in Prometheus 2 shall be written by a target.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Escaping {
    /// As they are, in quotes.
    #[default]
    AllowUtf8,
    /// Other characters as `_`.
    Underscores,
    /// Dots as `_dot_`, other characters as `_`.
    Dots,
    /// Reversibly, beginning with `U__`.
    Values,
}

impl Escaping {
    const ALL: [(Escaping, &'static str); 4] = [
        (Escaping::AllowUtf8, "allow-utf-8"),
        (Escaping::Underscores, "underscores"),
        (Escaping::Dots, "dots"),
        (Escaping::Values, "values"),
    ];

    /// Its word in an `Accept` header.
    pub fn as_str(self) -> &'static str {
        let found = Escaping::ALL.iter().find(|(escaping, _)| *escaping == self);
        found.map_or("allow-utf-8", |(_, word)| word)
    }
}

/// What `global` gives to every job.
pub(super) struct Defaults {
    pub(super) interval: Duration,
    pub(super) timeout: Duration,
    /// As given; else it depends on the job's histograms.
    protocols: Option<Vec<Protocol>>,
    pub(super) histograms: Histograms,
    limits: Limits,
    legacy_names: bool,
    escaping: Option<Escaping>,
    extra_metrics: bool,
    failure_log: Option<PathBuf>,
}

const INTERVAL: Duration = Duration::from_secs(60);

/// 0 is no bound, as in Prometheus.
fn limit(given: Option<u64>, global: Option<u64>) -> Option<u64> {
    given.filter(|n| *n > 0).or(global)
}

fn bytes(given: Option<ByteSize>) -> Option<u64> {
    given.map(ByteSize::get)
}

/// The finest schema whose buckets grow by this factor at least; None where that is all of them. As in Prometheus.
fn schema_of(factor: f64) -> Option<i32> {
    if factor <= 1.0 {
        return None;
    }
    let schema = (-factor.log2().log2()).floor();
    (schema < f64::from(SCHEMA_MAX)).then(|| schema.max(f64::from(SCHEMA_MIN)) as i32)
}

/// What an empty or missing word means is up to the caller.
fn word<T: Copy>(all: &[(T, &'static str)], given: &str) -> Result<T, String> {
    let found = all.iter().find(|(_, word)| *word == given);
    found.map(|(value, _)| *value).ok_or_else(|| {
        let words: Vec<&str> = all.iter().map(|(_, word)| *word).collect();
        format!("{given:?} is not one of {}", words.join(", "))
    })
}

impl Check {
    pub(super) fn job_defaults(&self, global: &raw::Global) -> Result<Defaults, ConfigError> {
        let set = |given: Option<daemon::config::PromDuration>| {
            given.map(|d| d.get()).filter(|d| !d.is_zero())
        };
        let interval = set(global.scrape_interval).unwrap_or(INTERVAL);
        let timeout = set(global.scrape_timeout).unwrap_or(TIMEOUT.min(interval));
        if timeout > interval {
            return Err(self.invalid(
                "global.scrape_timeout",
                "global scrape timeout greater than scrape interval",
            ));
        }
        let protocols = match &global.scrape_protocols {
            Some(given) => Some(self.protocols("global.scrape_protocols", given)?),
            None => None,
        };
        Ok(Defaults {
            interval,
            timeout,
            protocols,
            histograms: Histograms {
                native: global.scrape_native_histograms.unwrap_or(false),
                classic_too: global.always_scrape_classic_histograms.unwrap_or(false),
                to_custom_buckets: global.convert_classic_histograms_to_nhcb.unwrap_or(false),
                buckets_max: None,
                schema_max: None,
            },
            limits: Limits {
                body_bytes: limit(bytes(global.body_size_limit), None),
                samples: limit(global.sample_limit, None),
                targets: limit(global.target_limit, None),
                labels: limit(global.label_limit, None),
                label_name_bytes: limit(global.label_name_length_limit, None),
                label_value_bytes: limit(global.label_value_length_limit, None),
                dropped_targets: limit(global.keep_dropped_targets, None),
            },
            legacy_names: self
                .legacy("global", global.metric_name_validation_scheme.as_deref())?
                .unwrap_or(false),
            escaping: self.escaping("global", global.metric_name_escaping_scheme.as_deref())?,
            extra_metrics: global.extra_scrape_metrics.unwrap_or(false),
            failure_log: self.log_file(global.scrape_failure_log_file.as_deref()),
        })
    }

    pub(super) fn job(
        &mut self,
        key: &str,
        mut given: raw::ScrapeConfig,
        global: &Defaults,
    ) -> Result<JobConfig, ConfigError> {
        let (keys, sources) = (given.client_keys(), given.discovery());
        let at = |name: &str| format!("{key}.{name}");
        let name = given.job_name;
        if name.is_empty() {
            return Err(self.invalid(at("job_name"), "job_name is empty"));
        }
        let set = |given: Option<daemon::config::PromDuration>| {
            given.map(|d| d.get()).filter(|d| !d.is_zero())
        };
        let interval = set(given.scrape_interval).unwrap_or(global.interval);
        let timeout = set(given.scrape_timeout).unwrap_or(global.timeout.min(interval));
        if timeout > interval {
            return Err(self.invalid(
                at("scrape_timeout"),
                format!("scrape timeout greater than scrape interval for scrape config with job name {name:?}"),
            ));
        }
        let scheme = given
            .scheme
            .filter(|s| !s.is_empty())
            .unwrap_or_else(|| "http".to_owned());
        if !matches!(scheme.as_str(), "http" | "https") {
            return Err(self.invalid(
                at("scheme"),
                format!("{scheme:?} is neither http nor https"),
            ));
        }
        let histograms = Histograms {
            native: given
                .scrape_native_histograms
                .unwrap_or(global.histograms.native),
            classic_too: given
                .always_scrape_classic_histograms
                .unwrap_or(global.histograms.classic_too),
            to_custom_buckets: given
                .convert_classic_histograms_to_nhcb
                .unwrap_or(global.histograms.to_custom_buckets),
            buckets_max: limit(given.native_histogram_bucket_limit, None),
            schema_max: match given.native_histogram_min_bucket_factor {
                None => None,
                Some(factor) if factor.is_finite() && factor >= 0.0 => schema_of(factor),
                Some(factor) => {
                    return Err(self.invalid(
                        at("native_histogram_min_bucket_factor"),
                        format!("{factor} is no factor: give the least growth from one bucket to the next, such as 1.1, or 0 for none"),
                    ));
                }
            },
        };
        let protocols = match (&given.scrape_protocols, &global.protocols) {
            (Some(given), _) => self.protocols(&at("scrape_protocols"), given)?,
            (None, Some(global)) => global.clone(),
            (None, None) => Protocol::defaults(histograms.native),
        };
        let no_protobuf = histograms.native && !protocols.contains(&Protocol::Protobuf);
        self.no_effect(
            &at("scrape_native_histograms"),
            no_protobuf,
            "only pages of protobuf have native histograms, and scrape_protocols leaves out PrometheusProto",
        );
        let fallback_protocol = match given.fallback_scrape_protocol.as_deref() {
            None | Some("") => None,
            Some(word) => Some(self.protocol(&at("fallback_scrape_protocol"), word)?),
        };
        let legacy = self.legacy(key, given.metric_name_validation_scheme.as_deref())?;
        let legacy_names = legacy.unwrap_or(global.legacy_names);
        let escaping = match self.escaping(key, given.metric_name_escaping_scheme.as_deref())? {
            Some(escaping) => escaping,
            None if legacy_names => Escaping::Underscores,
            None if legacy.is_none() => global.escaping.unwrap_or_default(),
            None => Escaping::AllowUtf8,
        };
        if legacy_names && escaping == Escaping::AllowUtf8 {
            return Err(self.invalid(
                at("metric_name_escaping_scheme"),
                "utf8 metric names requested but validation scheme is not set to UTF8",
            ));
        }
        let relabel = self.relabel(&at("relabel_configs"), given.relabel_configs)?;
        let metric_relabel =
            self.relabel(&at("metric_relabel_configs"), given.metric_relabel_configs)?;
        let discovery = self.discovery(key, sources, relabel.is_empty())?;
        let limits = global.limits;
        Ok(JobConfig {
            name,
            class: Class::Ordinary,
            discovery,
            relabel,
            metric_relabel,
            target: TargetDefaults {
                interval,
                timeout,
                scheme,
                metrics_path: given
                    .metrics_path
                    .filter(|p| !p.is_empty())
                    .unwrap_or_else(|| "/metrics".to_owned()),
                params: given.params.unwrap_or_default(),
            },
            http: self.client(key, keys)?,
            honor_labels: given.honor_labels.unwrap_or(false),
            honor_timestamps: given.honor_timestamps.unwrap_or(true),
            track_timestamps_staleness: given.track_timestamps_staleness.unwrap_or(false),
            protocols,
            fallback_protocol,
            compression: given.enable_compression.unwrap_or(true),
            histograms,
            limits: Limits {
                body_bytes: limit(bytes(given.body_size_limit), limits.body_bytes),
                samples: limit(given.sample_limit, limits.samples),
                targets: limit(given.target_limit, limits.targets),
                labels: limit(given.label_limit, limits.labels),
                label_name_bytes: limit(given.label_name_length_limit, limits.label_name_bytes),
                label_value_bytes: limit(given.label_value_length_limit, limits.label_value_bytes),
                dropped_targets: limit(given.keep_dropped_targets, limits.dropped_targets),
            },
            legacy_names,
            escaping,
            extra_metrics: given.extra_scrape_metrics.unwrap_or(global.extra_metrics),
            failure_log: self
                .log_file(given.scrape_failure_log_file.as_deref())
                .or_else(|| global.failure_log.clone()),
        })
    }

    fn log_file(&self, given: Option<&str>) -> Option<PathBuf> {
        given
            .filter(|path| !path.is_empty())
            .map(|path| self.resolve(path))
    }

    fn protocols(&self, key: &str, given: &[String]) -> Result<Vec<Protocol>, ConfigError> {
        let mut protocols = Vec::new();
        for word in given {
            let protocol = self.protocol(key, word)?;
            if protocols.contains(&protocol) {
                return Err(self.invalid(key, format!("duplicated protocol {word}")));
            }
            protocols.push(protocol);
        }
        if protocols.is_empty() {
            return Err(self.invalid(key, "scrape_protocols cannot be empty"));
        }
        Ok(protocols)
    }

    fn protocol(&self, key: &str, given: &str) -> Result<Protocol, ConfigError> {
        word(&Protocol::ALL, given).map_err(|error| self.invalid(key, error))
    }

    fn legacy(&self, key: &str, given: Option<&str>) -> Result<Option<bool>, ConfigError> {
        match given {
            None | Some("") => Ok(None),
            Some(given) => word(&[(false, "utf8"), (true, "legacy")], given)
                .map(Some)
                .map_err(|error| {
                    self.invalid(format!("{key}.metric_name_validation_scheme"), error)
                }),
        }
    }

    fn escaping(&self, key: &str, given: Option<&str>) -> Result<Option<Escaping>, ConfigError> {
        match given {
            None | Some("") => Ok(None),
            Some(given) => word(&Escaping::ALL, given)
                .map(Some)
                .map_err(|error| self.invalid(format!("{key}.metric_name_escaping_scheme"), error)),
        }
    }
}

impl TargetGroup {
    /// # Errors
    ///
    /// A label without a name.
    pub(crate) fn new(given: raw::StaticConfig) -> Result<TargetGroup, String> {
        let labels = given.labels.unwrap_or_default();
        if labels.contains_key("") {
            return Err("a label's name is empty".to_owned());
        }
        Ok(TargetGroup {
            targets: given.targets.unwrap_or_default(),
            labels,
        })
    }
}
