//! The hub's file as it is written. Nothing is checked here but shapes and names of keys.

use std::collections::BTreeMap;

use alert_router::{AlertmanagerYaml, ContactYaml};
use daemon::config::{ByteSize, PromDuration};
use edge_scraper::config::{GlobalYaml, ScrapeConfigYaml};
use serde::Deserialize;
use serde::de::IgnoredAny;

/// The whole file: Prometheus's keys, and ours under `branchline`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct File {
    pub(super) global: Option<GlobalYaml>,
    /// What the head office's own edge scrapes.
    pub(super) scrape_configs: Option<Vec<ScrapeConfigYaml>>,
    pub(super) scrape_config_files: Option<Vec<String>>,
    pub(super) rule_files: Option<Vec<String>>,
    pub(super) alerting: Option<Alerting>,
    pub(super) storage: Option<Storage>,
    /// How OTLP metrics are translated, if `branchline.otlp_receiver` takes any.
    pub(super) otlp: Option<Otlp>,
    pub(super) branchline: Option<Branchline>,
    /// Tuning of Go's runtime: without effect.
    pub(super) runtime: Option<IgnoredAny>,
    // Known to Prometheus, not supported: refused by name once checked.
    pub(super) remote_write: Option<IgnoredAny>,
    pub(super) remote_read: Option<IgnoredAny>,
    pub(super) tracing: Option<IgnoredAny>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Alerting {
    pub(super) alertmanagers: Option<Vec<AlertmanagerYaml>>,
    pub(super) alert_relabel_configs: Option<IgnoredAny>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Storage {
    pub(super) tsdb: Option<Tsdb>,
    pub(super) exemplars: Option<Exemplars>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Exemplars {
    /// Exemplars kept of all series together; 0 or less: none. Changing it takes a restart. Default: 100,000.
    pub(super) max_exemplars: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Tsdb {
    pub(super) retention: Option<Retention>,
    /// Any order is fine here, within the retention: without effect.
    pub(super) out_of_order_time_window: Option<PromDuration>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Retention {
    pub(super) time: Option<PromDuration>,
    pub(super) size: Option<ByteSize>,
}

/// As Prometheus has it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Otlp {
    /// Default: false.
    pub(super) promote_all_resource_attributes: Option<bool>,
    /// Attributes of a resource that become labels of its series. Default: none.
    pub(super) promote_resource_attributes: Option<Vec<String>>,
    /// Those that do not where all others do. Default: none.
    pub(super) ignore_resource_attributes: Option<Vec<String>>,
    /// How names are made. Default: UnderscoreEscapingWithSuffixes.
    pub(super) translation_strategy: Option<String>,
    /// Whether `target_info` has `service.name`, `service.namespace` and `service.instance.id` too. Default: false.
    pub(super) keep_identifying_resource_attributes: Option<bool>,
    /// Whether histograms with given bounds become native ones. Default: false.
    pub(super) convert_histograms_to_nhcb: Option<bool>,
    /// Whether the scope's name, version, schema and attributes become labels. Default: false.
    pub(super) promote_scope_metadata: Option<bool>,
    /// Whether `_x` becomes the label `key_x`. Default: true.
    pub(super) label_name_underscore_sanitization: Option<bool>,
    /// Whether several underscores in a row stay in label names. Default: true.
    pub(super) label_name_preserve_multiple_underscores: Option<bool>,
}

/// Our own keys.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Branchline {
    /// Who may write, each as its branch. None: nobody is checked, and the hub listens on loopback only.
    pub(super) branches: Option<Vec<Token>>,
    /// Who may read, beside the users of the web configuration. None: those users, and if there are none either, everybody
    /// who can connect.
    pub(super) readers: Option<Vec<Token>>,
    /// Lets everybody read who can connect, beyond loopback too; what does something (reloads, alerts that are posted)
    /// takes a token still: a reader's or a web user's, or a branch's if there are neither. Default: false.
    pub(super) anonymous_reads: Option<bool>,
    /// Whether series can be deleted and snapshots taken over HTTP (`/api/v1/admin/tsdb/…`). Default: false.
    pub(super) admin_api: Option<bool>,
    /// Who may do that; no reader's or branch's token does. None: everybody who can connect, which is refused where
    /// `branches` or `readers` are given.
    pub(super) admins: Option<Vec<Token>>,
    /// Whether OTLP metrics are taken (`/api/v1/otlp/v1/metrics`). Default: false.
    pub(super) otlp_receiver: Option<bool>,
    /// Series that each branch may have, from 1 on; what is beyond is refused with 429 and named, while known series are
    /// stored. Changing it takes a restart. Default: 1,000,000.
    pub(super) series_per_branch_max: Option<usize>,
    /// Memory for what queries read of the store. Changing it takes a restart. Default: 32MiB.
    pub(super) block_cache_bytes: Option<ByteSize>,
    /// Samples that the answer to one remote read may have, from 1 on; beyond them it is refused with 400. Default: 50,000,000,
    /// as Prometheus's `--storage.remote.read-sample-limit`.
    pub(super) remote_read_samples_max: Option<u64>,
    /// Memory that one query may hold, and half of what all that run may; one that wants more is refused, and says so. Changing it takes a restart. Default: a quarter
    /// of the memory that the hub may use, and at most 1GiB.
    pub(super) query_memory_bytes: Option<ByteSize>,
    /// Memory for answers to range queries, which are kept so that a dashboard that asks again has only its newest steps evaluated; 0: none is
    /// kept. Changing it takes a restart. Default: 64MiB.
    pub(super) query_cache_bytes: Option<ByteSize>,
    /// The address under which people reach this hub, for links in alerts. Default: http:// and `--listen`.
    pub(super) external_url: Option<String>,
    /// The head office's own edge.
    pub(super) local_edge: Option<LocalEdge>,
    /// Who gets the notifications of a branch that Alertmanager's webhook brings back, by branch.
    pub(super) contacts: Option<BTreeMap<String, ContactYaml>>,
    /// For the other branches. Default: nobody.
    pub(super) default_contact: Option<ContactYaml>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Token {
    pub(super) name: String,
    pub(super) token: Option<String>,
    pub(super) token_file: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct LocalEdge {
    /// Default: true.
    pub(super) enabled: Option<bool>,
    /// Its branch. Default: hq.
    pub(super) branch: Option<String>,
    /// How often it reads this machine and this hub. Default: 5s.
    pub(super) scrape_interval: Option<PromDuration>,
}
