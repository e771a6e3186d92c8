//! The configuration file as it is written: serde structs, one field a key. Nothing is checked here but shapes.
//!
//! The keys of HTTP clients come from [`with_client_keys`].

use std::collections::BTreeMap;

use daemon::config::{ByteSize, PromDuration};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::raw_client::with_client_keys;
use super::raw_discovery::{DnsSdConfig, HttpSdConfig, KubernetesSdConfig};
use super::refuse::{self, Refused};

/// The whole file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct File {
    pub(super) global: Option<Global>,
    pub(super) scrape_configs: Option<Vec<ScrapeConfig>>,
    pub(super) scrape_config_files: Option<Vec<String>>,
    pub(super) remote_write: Option<Vec<RemoteWrite>>,
    pub(super) branchline: Option<Branchline>,
    /// Tuning of Go's runtime: without effect.
    pub(super) runtime: Option<IgnoredAny>,
    #[serde(deserialize_with = "refuse::rule_files")]
    pub(super) rule_files: Refused,
    #[serde(deserialize_with = "refuse::alerting")]
    pub(super) alerting: Refused,
    #[serde(deserialize_with = "refuse::storage")]
    pub(super) storage: Refused,
    #[serde(deserialize_with = "refuse::remote_read")]
    pub(super) remote_read: Refused,
    #[serde(deserialize_with = "refuse::tracing")]
    pub(super) tracing: Refused,
    /// How OTLP metrics are translated, if `branchline.otlp_receiver` takes any.
    pub(super) otlp: Option<wire::otlp::Section>,
}

/// A file of `scrape_config_files`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ScrapeConfigFile {
    pub(super) scrape_configs: Option<Vec<ScrapeConfig>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Global {
    pub(super) scrape_interval: Option<PromDuration>,
    pub(super) scrape_timeout: Option<PromDuration>,
    pub(super) scrape_protocols: Option<Vec<String>>,
    pub(super) external_labels: Option<BTreeMap<String, String>>,
    pub(super) body_size_limit: Option<ByteSize>,
    pub(super) sample_limit: Option<u64>,
    pub(super) target_limit: Option<u64>,
    pub(super) label_limit: Option<u64>,
    pub(super) label_name_length_limit: Option<u64>,
    pub(super) label_value_length_limit: Option<u64>,
    pub(super) keep_dropped_targets: Option<u64>,
    pub(super) metric_name_validation_scheme: Option<String>,
    pub(super) metric_name_escaping_scheme: Option<String>,
    pub(super) extra_scrape_metrics: Option<bool>,
    /// Of rules, which run on the hub: without effect here.
    pub(super) evaluation_interval: Option<PromDuration>,
    pub(super) rule_query_offset: Option<PromDuration>,
    pub(super) query_log_file: Option<String>,
    pub(super) scrape_failure_log_file: Option<String>,
    pub(super) scrape_native_histograms: Option<bool>,
    pub(super) always_scrape_classic_histograms: Option<bool>,
    pub(super) convert_classic_histograms_to_nhcb: Option<bool>,
}

with_client_keys! {
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ScrapeConfig {
    pub(super) job_name: String,
    pub(super) honor_labels: Option<bool>,
    pub(super) honor_timestamps: Option<bool>,
    pub(super) track_timestamps_staleness: Option<bool>,
    pub(super) params: Option<BTreeMap<String, Vec<String>>>,
    pub(super) scrape_interval: Option<PromDuration>,
    pub(super) scrape_timeout: Option<PromDuration>,
    pub(super) scrape_protocols: Option<Vec<String>>,
    pub(super) fallback_scrape_protocol: Option<String>,
    pub(super) metrics_path: Option<String>,
    pub(super) scheme: Option<String>,
    pub(super) enable_compression: Option<bool>,
    pub(super) body_size_limit: Option<ByteSize>,
    pub(super) sample_limit: Option<u64>,
    pub(super) target_limit: Option<u64>,
    pub(super) label_limit: Option<u64>,
    pub(super) label_name_length_limit: Option<u64>,
    pub(super) label_value_length_limit: Option<u64>,
    pub(super) keep_dropped_targets: Option<u64>,
    pub(super) metric_name_validation_scheme: Option<String>,
    pub(super) metric_name_escaping_scheme: Option<String>,
    pub(super) extra_scrape_metrics: Option<bool>,
    pub(super) relabel_configs: Option<Vec<Option<Relabel>>>,
    pub(super) metric_relabel_configs: Option<Vec<Option<Relabel>>>,
    pub(super) static_configs: Option<Vec<StaticConfig>>,
    pub(super) file_sd_configs: Option<Vec<FileSdConfig>>,
    pub(super) http_sd_configs: Option<Vec<HttpSdConfig>>,
    pub(super) dns_sd_configs: Option<Vec<DnsSdConfig>>,
    pub(super) kubernetes_sd_configs: Option<Vec<KubernetesSdConfig>>,
    pub(super) scrape_failure_log_file: Option<String>,
    pub(super) scrape_native_histograms: Option<bool>,
    pub(super) always_scrape_classic_histograms: Option<bool>,
    pub(super) convert_classic_histograms_to_nhcb: Option<bool>,
    pub(super) native_histogram_bucket_limit: Option<u64>,
    pub(super) native_histogram_min_bucket_factor: Option<f64>,
    // refused
    #[serde(deserialize_with = "refuse::aws_sd_configs")]
    pub(super) aws_sd_configs: Refused,
    #[serde(deserialize_with = "refuse::azure_sd_configs")]
    pub(super) azure_sd_configs: Refused,
    #[serde(deserialize_with = "refuse::consul_sd_configs")]
    pub(super) consul_sd_configs: Refused,
    #[serde(deserialize_with = "refuse::digitalocean_sd_configs")]
    pub(super) digitalocean_sd_configs: Refused,
    #[serde(deserialize_with = "refuse::docker_sd_configs")]
    pub(super) docker_sd_configs: Refused,
    #[serde(deserialize_with = "refuse::dockerswarm_sd_configs")]
    pub(super) dockerswarm_sd_configs: Refused,
    #[serde(deserialize_with = "refuse::ec2_sd_configs")]
    pub(super) ec2_sd_configs: Refused,
    #[serde(deserialize_with = "refuse::eureka_sd_configs")]
    pub(super) eureka_sd_configs: Refused,
    #[serde(deserialize_with = "refuse::gce_sd_configs")]
    pub(super) gce_sd_configs: Refused,
    #[serde(deserialize_with = "refuse::hetzner_sd_configs")]
    pub(super) hetzner_sd_configs: Refused,
    #[serde(deserialize_with = "refuse::ionos_sd_configs")]
    pub(super) ionos_sd_configs: Refused,
    #[serde(deserialize_with = "refuse::kuma_sd_configs")]
    pub(super) kuma_sd_configs: Refused,
    #[serde(deserialize_with = "refuse::lightsail_sd_configs")]
    pub(super) lightsail_sd_configs: Refused,
    #[serde(deserialize_with = "refuse::linode_sd_configs")]
    pub(super) linode_sd_configs: Refused,
    #[serde(deserialize_with = "refuse::marathon_sd_configs")]
    pub(super) marathon_sd_configs: Refused,
    #[serde(deserialize_with = "refuse::nerve_sd_configs")]
    pub(super) nerve_sd_configs: Refused,
    #[serde(deserialize_with = "refuse::nomad_sd_configs")]
    pub(super) nomad_sd_configs: Refused,
    #[serde(deserialize_with = "refuse::openstack_sd_configs")]
    pub(super) openstack_sd_configs: Refused,
    #[serde(deserialize_with = "refuse::ovhcloud_sd_configs")]
    pub(super) ovhcloud_sd_configs: Refused,
    #[serde(deserialize_with = "refuse::puppetdb_sd_configs")]
    pub(super) puppetdb_sd_configs: Refused,
    #[serde(deserialize_with = "refuse::scaleway_sd_configs")]
    pub(super) scaleway_sd_configs: Refused,
    #[serde(deserialize_with = "refuse::serverset_sd_configs")]
    pub(super) serverset_sd_configs: Refused,
    #[serde(deserialize_with = "refuse::stackit_sd_configs")]
    pub(super) stackit_sd_configs: Refused,
    #[serde(deserialize_with = "refuse::triton_sd_configs")]
    pub(super) triton_sd_configs: Refused,
    #[serde(deserialize_with = "refuse::uyuni_sd_configs")]
    pub(super) uyuni_sd_configs: Refused,
    #[serde(deserialize_with = "refuse::vultr_sd_configs")]
    pub(super) vultr_sd_configs: Refused,
}
}

/// The keys of a scrape configuration that say where targets are.
#[derive(Debug, Default)]
pub(super) struct Discovery {
    pub(super) static_configs: Option<Vec<StaticConfig>>,
    pub(super) file_sd_configs: Option<Vec<FileSdConfig>>,
    pub(super) http_sd_configs: Option<Vec<HttpSdConfig>>,
    pub(super) dns_sd_configs: Option<Vec<DnsSdConfig>>,
    pub(super) kubernetes_sd_configs: Option<Vec<KubernetesSdConfig>>,
}

impl ScrapeConfig {
    /// Where targets are, which is no longer in it then.
    pub(super) fn discovery(&mut self) -> Discovery {
        Discovery {
            static_configs: self.static_configs.take(),
            file_sd_configs: self.file_sd_configs.take(),
            http_sd_configs: self.http_sd_configs.take(),
            dns_sd_configs: self.dns_sd_configs.take(),
            kubernetes_sd_configs: self.kubernetes_sd_configs.take(),
        }
    }
}

/// Also an entry of a file that `file_sd_configs` names.
#[derive(Debug, Default, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct StaticConfig {
    pub(crate) targets: Option<Vec<String>>,
    pub(crate) labels: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct FileSdConfig {
    pub(super) files: Vec<String>,
    pub(super) refresh_interval: Option<PromDuration>,
}

/// Fields left out take the defaults of [`model::relabel::RelabelOptions`].
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Relabel {
    pub(super) source_labels: Option<Vec<String>>,
    pub(super) separator: Option<String>,
    pub(super) regex: Option<String>,
    pub(super) modulus: Option<u64>,
    pub(super) target_label: Option<String>,
    pub(super) replacement: Option<String>,
    pub(super) action: Option<String>,
}

with_client_keys! {
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RemoteWrite {
    pub(super) url: String,
    pub(super) name: Option<String>,
    pub(super) remote_timeout: Option<PromDuration>,
    pub(super) headers: Option<BTreeMap<String, String>>,
    pub(super) write_relabel_configs: Option<Vec<Option<Relabel>>>,
    pub(super) queue_config: Option<Queue>,
    pub(super) metadata_config: Option<MetadataConfig>,
    pub(super) protobuf_message: Option<String>,
    pub(super) send_exemplars: Option<bool>,
    pub(super) send_native_histograms: Option<bool>,
    pub(super) round_robin_dns: Option<bool>,
    /// Refused requests are always logged.
    pub(super) failed_request_logging: Option<bool>,
    // refused
    #[serde(deserialize_with = "refuse::sigv4")]
    pub(super) sigv4: Refused,
    #[serde(deserialize_with = "refuse::azuread")]
    pub(super) azuread: Refused,
    #[serde(deserialize_with = "refuse::google_iam")]
    pub(super) google_iam: Refused,
}
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Queue {
    pub(super) max_samples_per_send: Option<u64>,
    pub(super) min_backoff: Option<PromDuration>,
    pub(super) max_backoff: Option<PromDuration>,
    /// The rest tunes Prometheus's queue in memory, which the edge does not have.
    pub(super) capacity: Option<u64>,
    pub(super) max_shards: Option<u64>,
    pub(super) min_shards: Option<u64>,
    pub(super) batch_send_deadline: Option<PromDuration>,
    pub(super) retry_on_http_429: Option<bool>,
    #[serde(deserialize_with = "refuse::sample_age_limit")]
    pub(super) sample_age_limit: Refused,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct MetadataConfig {
    pub(super) send: Option<bool>,
    pub(super) send_interval: Option<PromDuration>,
    pub(super) max_samples_per_send: Option<u64>,
}

/// Our own keys.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Branchline {
    /// Name of this edge to the hubs. Default: the host's name.
    pub(super) edge: Option<String>,
    pub(super) node_collector: Option<NodeCollector>,
    pub(super) buffer: Option<Buffer>,
    pub(super) link: Option<Link>,
    pub(super) clock: Option<Clock>,
    /// Whether remote write is taken (`/api/v1/write`). Default: false.
    pub(super) remote_write_receiver: Option<bool>,
    /// Whether OTLP metrics are taken (`/api/v1/otlp/v1/metrics`). Default: false.
    pub(super) otlp_receiver: Option<bool>,
    pub(super) pushgateway: Option<Pushgateway>,
    pub(super) textfile: Option<Textfile>,
}

/// The Pushgateway's API (`/metrics/job/…`).
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Pushgateway {
    /// Default: true once the section is there.
    pub(super) enabled: Option<bool>,
    /// A group that was not pushed for so long goes. Default: 0, none ever does.
    pub(super) group_expiry: Option<PromDuration>,
    /// How often the groups are scraped. Default: `global.scrape_interval`.
    pub(super) scrape_interval: Option<PromDuration>,
    pub(super) metric_relabel_configs: Option<Vec<Option<Relabel>>>,
}

/// A folder of `*.prom` files.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Textfile {
    /// Default: true once the section is there.
    pub(super) enabled: Option<bool>,
    /// The folder; needed.
    pub(super) directory: Option<String>,
    /// Value of the label `job`. Default: textfile.
    pub(super) job: Option<String>,
    /// Value of the label `instance`. Default: the edge's name.
    pub(super) instance: Option<String>,
    /// How often the files are read. Default: `global.scrape_interval`.
    pub(super) scrape_interval: Option<PromDuration>,
    pub(super) metric_relabel_configs: Option<Vec<Option<Relabel>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct NodeCollector {
    /// Default: true once the section is there.
    pub(super) enabled: Option<bool>,
    /// Value of the label `job`. Default: node.
    pub(super) job: Option<String>,
    /// Value of the label `instance`. Default: the edge's name.
    pub(super) instance: Option<String>,
    pub(super) scrape_interval: Option<PromDuration>,
    pub(super) metric_relabel_configs: Option<Vec<Option<Relabel>>>,
    /// Where the host's `/proc`, `/sys` and `/` are, for an edge in a container.
    pub(super) procfs: Option<String>,
    pub(super) sysfs: Option<String>,
    pub(super) rootfs: Option<String>,
    pub(super) collectors: Option<Collectors>,
    /// Regular expressions by the names of node_exporter's flags without `--collector.`.
    pub(super) patterns: Option<BTreeMap<String, String>>,
}

/// Changes to the collectors that run by default.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Collectors {
    pub(super) enable: Option<Vec<String>>,
    pub(super) disable: Option<Vec<String>>,
}

/// What is done when this machine's clock is not the hub's.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Clock {
    /// `correct` (default) or `flag`.
    pub(super) when_off: Option<String>,
    /// So far it may be off. Default: 2s.
    pub(super) tolerance: Option<PromDuration>,
}

/// The line to each hub of ours.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Link {
    /// What both lanes may take together. Default: what the link carries.
    pub(super) bytes_per_second: Option<ByteSize>,
    /// How often the edge reports.
    pub(super) heartbeat: Option<PromDuration>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Buffer {
    /// Most bytes on disk.
    pub(super) bytes_max: Option<ByteSize>,
    /// Within which a scrape is on disk: what a crash can cost.
    pub(super) sync_within: Option<PromDuration>,
    /// What goes first when it is full. Default: the oldest.
    pub(super) eviction: Eviction,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Eviction {
    /// Of the old scrapes of each target every n-th stays.
    pub(super) thin_to_every: Option<u32>,
    /// Selectors of series that go last.
    pub(super) keep: Vec<String>,
}
