//! Discovery as it is written: the entries of `http_sd_configs`, `dns_sd_configs` and `kubernetes_sd_configs`.

use daemon::config::PromDuration;
use serde::Deserialize;

use super::raw_client::with_client_keys;

with_client_keys! {
    #[derive(Debug, Default, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    pub(super) struct HttpSdConfig {
        pub(super) url: String,
        pub(super) refresh_interval: Option<PromDuration>,
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct DnsSdConfig {
    pub(super) names: Vec<String>,
    pub(super) r#type: Option<String>,
    pub(super) port: Option<u16>,
    pub(super) refresh_interval: Option<PromDuration>,
}

with_client_keys! {
    #[derive(Debug, Default, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    pub(super) struct KubernetesSdConfig {
        pub(super) api_server: Option<String>,
        pub(super) role: String,
        pub(super) kubeconfig_file: Option<String>,
        pub(super) namespaces: Option<Namespaces>,
        pub(super) selectors: Option<Vec<Selector>>,
        pub(super) attach_metadata: Option<AttachMetadata>,
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Namespaces {
    pub(super) own_namespace: Option<bool>,
    pub(super) names: Option<Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Selector {
    pub(super) role: String,
    pub(super) label: Option<String>,
    pub(super) field: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct AttachMetadata {
    pub(super) node: Option<bool>,
    pub(super) namespace: Option<bool>,
}
