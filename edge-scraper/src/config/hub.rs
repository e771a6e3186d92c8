//! Hubs: the entries of `remote_write`.

use std::collections::BTreeMap;
use std::time::Duration;

use daemon::config::{ConfigError, without_passwords};
use model::relabel::RelabelRule;
use reqwest::Url;
use wire::remote_write::headers::{MESSAGE_1, MESSAGE_2, Version};

use super::{Check, HttpConfig, raw};

/// One place to ship to: a hub, or any receiver of Prometheus's remote write 1.0 or 2.0.
#[derive(Debug, Clone, PartialEq)]
pub struct HubConfig {
    /// Unique; what cursors on disk and metrics are named after. Default: host and port of the URL.
    pub name: String,
    /// `http` or `https`.
    pub url: Url,
    /// Longest time for one request, if given; else the shipper's own.
    pub timeout: Option<Duration>,
    /// Added to each request.
    pub headers: BTreeMap<String, String>,
    /// Client and credentials.
    pub http: HttpConfig,
    /// Over every series on its way to this hub.
    pub write_relabel: Vec<RelabelRule>,
    /// Most samples in one request, if given.
    pub samples_per_send_max: Option<u64>,
    /// First pause after a failed request, if given.
    pub backoff_first: Option<Duration>,
    /// Longest pause after failed requests, if given.
    pub backoff_max: Option<Duration>,
    /// Which remote write is spoken (`protobuf_message`). Default: 1.0.
    pub version: Version,
    /// Whether type and help of metrics are sent. Default: true.
    pub send_metadata: bool,
    /// Whether a foreign endpoint gets exemplars. Default: true, whenever there are some.
    pub send_exemplars: bool,
    /// Whether a foreign endpoint gets native histograms. Default: true, whenever there are some.
    pub send_native_histograms: bool,
}

/// What the shipper does if the file says nothing; only to check one against the other.
const BACKOFF_FIRST: Duration = Duration::from_millis(500);
const BACKOFF_MAX: Duration = Duration::from_secs(30);

/// What the edge tells a hub of ours begins so.
const OWN_HEADERS: &str = "branchline-";

/// Headers that the edge itself sets, in lower case.
const RESERVED_HEADERS: [&str; 13] = [
    "host",
    "content-encoding",
    "content-length",
    "content-type",
    "x-prometheus-remote-write-version",
    "x-prometheus-remote-read-version",
    "user-agent",
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "www-authenticate",
    "accept-encoding",
];

impl HubConfig {
    /// A hub at `url` with nothing else said. `url` must be a valid `http` or `https` URL.
    pub(super) fn plain(url: &str) -> HubConfig {
        let url = Url::parse(url).expect("a constant");
        HubConfig {
            name: name_of(&url),
            url,
            timeout: None,
            headers: BTreeMap::new(),
            http: HttpConfig::default(),
            write_relabel: Vec::new(),
            samples_per_send_max: None,
            backoff_first: None,
            backoff_max: None,
            version: Version::V1,
            send_metadata: true,
            send_exemplars: true,
            send_native_histograms: true,
        }
    }
}

fn name_of(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port_or_known_default() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

impl Check {
    pub(super) fn hubs(
        &mut self,
        given: Vec<raw::RemoteWrite>,
    ) -> Result<Vec<HubConfig>, ConfigError> {
        let mut hubs: Vec<HubConfig> = Vec::new();
        for (index, given) in given.into_iter().enumerate() {
            let hub = self.hub(&format!("remote_write[{index}]"), given)?;
            if hubs.iter().any(|other| other.name == hub.name) {
                return Err(self.invalid(
                    format!("remote_write[{index}].name"),
                    format!(
                        "found multiple remote write configs with name {:?}: give each its own",
                        hub.name
                    ),
                ));
            }
            hubs.push(hub);
        }
        if hubs.is_empty() {
            self.warnings
                .push("remote_write names no hub: samples are buffered and go nowhere".to_owned());
        }
        Ok(hubs)
    }

    fn hub(&mut self, key: &str, mut given: raw::RemoteWrite) -> Result<HubConfig, ConfigError> {
        let keys = given.client_keys();
        let at = |name: &str| format!("{key}.{name}");
        if given.url.is_empty() {
            return Err(self.invalid(
                at("url"),
                "it is missing: the hub's address, for example http://hub:9490/api/v1/write",
            ));
        }
        let shown = without_passwords(&given.url);
        let url = Url::parse(&given.url)
            .map_err(|error| self.invalid(at("url"), format!("{shown:?}: {error}")))?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return Err(self.invalid(
                at("url"),
                format!("{shown:?} is no http:// or https:// address"),
            ));
        }
        for header in given.headers.iter().flatten().map(|(name, _)| name) {
            self.header(&at("headers"), header)?;
        }
        let version = match given.protobuf_message.as_deref() {
            None | Some("" | MESSAGE_1) => Version::V1,
            Some(MESSAGE_2) => Version::V2,
            Some(other) => {
                return Err(self.invalid(
                    at("protobuf_message"),
                    format!(
                        "{other} is not known: remote write 1.0 is {MESSAGE_1}, 2.0 is {MESSAGE_2}"
                    ),
                ));
            }
        };
        let queue = given.queue_config.unwrap_or_default();
        let samples_per_send_max = queue.max_samples_per_send;
        if samples_per_send_max.is_some_and(|samples| !(1..=100_000).contains(&samples)) {
            return Err(self.invalid(
                at("queue_config.max_samples_per_send"),
                "it must be between 1 and 100000",
            ));
        }
        let backoff_first = queue.min_backoff.map(|pause| pause.get());
        let backoff_max = queue.max_backoff.map(|pause| pause.get());
        let (first, max) = (
            backoff_first.unwrap_or(BACKOFF_FIRST),
            backoff_max.unwrap_or(BACKOFF_MAX),
        );
        if first.is_zero() || first > max {
            return Err(self.invalid(
                at("queue_config.min_backoff"),
                "it must be above 0 and at most max_backoff",
            ));
        }
        let tuned = queue.capacity.is_some()
            || queue.max_shards.is_some()
            || queue.min_shards.is_some()
            || queue.batch_send_deadline.is_some()
            || queue.retry_on_http_429.is_some();
        self.no_effect(
            &at("queue_config"),
            tuned,
            "only max_samples_per_send, min_backoff and max_backoff do; the edge sends from its buffer on disk, a scrape at a time, and always retries",
        );
        let metadata = given.metadata_config.unwrap_or_default();
        let tuned = metadata.send_interval.is_some() || metadata.max_samples_per_send.is_some();
        self.no_effect(
            &at("metadata_config"),
            tuned,
            "only send does; metadata goes with the samples",
        );
        let _ = given.failed_request_logging;
        let write_relabel =
            self.relabel(&at("write_relabel_configs"), given.write_relabel_configs)?;
        let timeout = given.remote_timeout.map(|timeout| timeout.get());
        if timeout.is_some_and(|timeout| timeout.is_zero()) {
            return Err(self.invalid(at("remote_timeout"), "it must be above 0"));
        }
        let mut http = self.client(key, keys)?;
        http.client.round_robin_dns = given.round_robin_dns.unwrap_or(false);
        for header in &http.headers {
            if header.name.as_str().starts_with(OWN_HEADERS) {
                return Err(self.invalid(
                    at("http_headers"),
                    format!(
                        "{} is a reserved header, it must not be changed",
                        header.name
                    ),
                ));
            }
        }
        Ok(HubConfig {
            name: given
                .name
                .filter(|name| !name.is_empty())
                .unwrap_or_else(|| name_of(&url)),
            url,
            timeout,
            headers: given.headers.unwrap_or_default(),
            http,
            write_relabel,
            samples_per_send_max,
            backoff_first,
            backoff_max,
            version,
            send_metadata: metadata.send.unwrap_or(true),
            send_exemplars: given.send_exemplars.unwrap_or(true),
            send_native_histograms: given.send_native_histograms.unwrap_or(true),
        })
    }

    fn header(&self, key: &str, header: &str) -> Result<(), ConfigError> {
        let lower = header.to_ascii_lowercase();
        if lower == "authorization" {
            return Err(self.invalid(
                key,
                "the authorization header must be set by basic_auth or authorization",
            ));
        }
        if RESERVED_HEADERS.contains(&lower.as_str()) || lower.starts_with(OWN_HEADERS) {
            return Err(self.invalid(
                key,
                format!("{header} is a reserved header, it must not be changed"),
            ));
        }
        match reqwest::header::HeaderName::from_bytes(header.as_bytes()) {
            Ok(_) => Ok(()),
            Err(_) => Err(self.invalid(key, format!("{header:?} is no header name"))),
        }
    }
}
