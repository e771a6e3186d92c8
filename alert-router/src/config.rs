//! The router's configuration file.
//!
//! ```yaml
//! alertmanagers:               # every alert goes to every one of them, as in Prometheus
//!   - scheme: http             # http or https; default http
//!     path_prefix: /           # before /api/v2/alerts; default /
//!     timeout: 10s             # for a whole request; default 10s
//!     authorization: {type: Bearer, credentials: "…"}   # or credentials_file
//!     basic_auth: {username: u, password: p}            # or password_file
//!     tls_config: {ca_file: …, cert_file: …, key_file: …, server_name: …, min_version: TLS12, insecure_skip_verify: false}
//!     static_configs:
//!       - targets: ["alertmanager-1:9093", "alertmanager-2:9093"]
//! contacts:                    # who gets a branch's notifications, by the label `branch`
//!   b07: {url: "http://b07.example/hook", headers: {X-Key: "…"}, authorization: {credentials: "…"}}
//! default_contact: {url: "http://head-office.example/hook"}   # for other branches; default none
//! resolve_timeout: 5m          # for alerts reported without an end; default 5m
//! limits:
//!   alerts: 100000             # alerts and notices known at a time; above it new ones are refused with 503
//!   bytes: 256MiB              # their size
//!   batch_alerts: 256          # alerts in one request
//!   retention: 1d              # how long a resolved alert or a notice is tried
//! ```

mod embedded;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::http::{HeaderName, HeaderValue};
use daemon::config::{ByteSize, ConfigError, PromDuration, load_yaml, parse_yaml};
use daemon::http::{Auth, ClientOptions, TlsYaml};
use serde::Deserialize;

pub use embedded::{AlertmanagerYaml, ContactYaml, RouterYaml};

use crate::outbox::{DestinationId, Limits};

/// A configuration that can be used.
#[derive(Clone, Debug)]
pub struct RouterConfig {
    /// Everything that something can be sent to; names are unique.
    pub destinations: Vec<Destination>,
    /// For alerts reported without an end.
    pub resolve_timeout: Duration,
    /// Bounds.
    pub limits: Limits,
}

impl Default for RouterConfig {
    fn default() -> Self {
        RouterConfig {
            destinations: Vec::new(),
            resolve_timeout: Duration::from_secs(300),
            limits: Limits::default(),
        }
    }
}

/// A destination, and how it is reached.
#[derive(Clone, Debug, PartialEq)]
pub struct Destination {
    /// What it is called.
    pub id: DestinationId,
    /// Where requests are posted to.
    pub url: String,
    /// Connection, timeout and TLS.
    pub client: ClientOptions,
    /// Who we are to it.
    pub auth: Auth,
    /// Further headers; values are marked sensitive.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawConfig {
    alertmanagers: Option<Vec<RawAlertmanager>>,
    contacts: Option<BTreeMap<String, RawContact>>,
    default_contact: Option<RawContact>,
    resolve_timeout: Option<PromDuration>,
    limits: RawLimits,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawLimits {
    alerts: Option<usize>,
    bytes: Option<ByteSize>,
    batch_alerts: Option<usize>,
    retention: Option<PromDuration>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawAlertmanager {
    scheme: Option<String>,
    path_prefix: Option<String>,
    timeout: Option<PromDuration>,
    api_version: Option<String>,
    authorization: Option<RawAuthorization>,
    basic_auth: Option<RawBasicAuth>,
    tls_config: Option<TlsYaml>,
    static_configs: Vec<RawStatic>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawStatic {
    targets: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawContact {
    url: String,
    timeout: Option<PromDuration>,
    headers: BTreeMap<String, String>,
    authorization: Option<RawAuthorization>,
    basic_auth: Option<RawBasicAuth>,
    tls_config: Option<TlsYaml>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawAuthorization {
    #[serde(rename = "type")]
    scheme: Option<String>,
    credentials: Option<String>,
    credentials_file: Option<PathBuf>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawBasicAuth {
    username: String,
    password: Option<String>,
    password_file: Option<PathBuf>,
}

impl std::fmt::Debug for RawAuthorization {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("authorization")
    }
}

impl std::fmt::Debug for RawBasicAuth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("basic_auth")
    }
}

/// Longest request when nothing is said, as in Prometheus.
const TIMEOUT: Duration = Duration::from_secs(10);

impl RouterConfig {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// With file, line, column and key.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        check(load_yaml(path)?, path)
    }

    /// Reads and checks YAML; `path` is named in errors.
    ///
    /// # Errors
    /// As [`RouterConfig::load`].
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        check(parse_yaml(text, path)?, path)
    }

    /// The names of the destinations.
    pub(crate) fn ids(&self) -> Vec<DestinationId> {
        self.destinations.iter().map(|d| d.id.clone()).collect()
    }
}

fn check(raw: RawConfig, path: &Path) -> Result<RouterConfig, ConfigError> {
    let mut config = RouterConfig::default();
    for (i, alertmanager) in raw
        .alertmanagers
        .unwrap_or_default()
        .into_iter()
        .enumerate()
    {
        let key = format!("alertmanagers[{i}]");
        config
            .destinations
            .extend(check_alertmanager(alertmanager, path, &key)?);
    }
    for (branch, contact) in raw.contacts.unwrap_or_default() {
        let key = format!("contacts.{branch}");
        if branch.is_empty() {
            let why = "a branch needs a name; for all other branches there is default_contact";
            return Err(ConfigError::invalid(path, key, why));
        }
        config.destinations.push(check_contact(
            contact,
            path,
            &key,
            DestinationId::contact(branch),
        )?);
    }
    if let Some(contact) = raw.default_contact {
        let id = DestinationId::contact("");
        config
            .destinations
            .push(check_contact(contact, path, "default_contact", id)?);
    }
    let mut ids: Vec<_> = config.destinations.iter().map(|d| &d.id).collect();
    ids.sort();
    if let Some(twice) = ids.windows(2).find(|w| w[0] == w[1]) {
        let why = format!("{} is named twice: name every one once", twice[0]);
        return Err(ConfigError::invalid(path, "alertmanagers", why));
    }
    config.resolve_timeout = raw
        .resolve_timeout
        .map_or(config.resolve_timeout, PromDuration::get);
    let positive = |key: &str, value: Option<usize>, default: usize| match value {
        Some(0) => Err(ConfigError::invalid(
            path,
            format!("limits.{key}"),
            "must be at least 1",
        )),
        value => Ok(value.unwrap_or(default)),
    };
    let default = config.limits;
    let bytes = raw
        .limits
        .bytes
        .map(|b| usize::try_from(b.get()).unwrap_or(usize::MAX));
    config.limits = Limits {
        entries_max: positive("alerts", raw.limits.alerts, default.entries_max)?,
        bytes_max: positive("bytes", bytes, default.bytes_max)?,
        batch_alerts_max: positive(
            "batch_alerts",
            raw.limits.batch_alerts,
            default.batch_alerts_max,
        )?,
        retention: raw
            .limits
            .retention
            .map_or(default.retention, PromDuration::get),
    };
    Ok(config)
}

fn check_alertmanager(
    raw: RawAlertmanager,
    path: &Path,
    key: &str,
) -> Result<Vec<Destination>, ConfigError> {
    let invalid =
        |what: &str, why: String| ConfigError::invalid(path, format!("{key}.{what}"), why);
    let scheme = raw.scheme.unwrap_or_else(|| "http".to_owned());
    if !matches!(scheme.as_str(), "http" | "https") {
        return Err(invalid(
            "scheme",
            format!("{scheme:?} is neither http nor https"),
        ));
    }
    if let Some(version) = raw.api_version.filter(|v| v != "v2") {
        return Err(invalid(
            "api_version",
            format!("{version:?} is not supported: only v2 is"),
        ));
    }
    let prefix = raw.path_prefix.unwrap_or_default();
    let prefix = prefix.trim_matches('/');
    let prefix = if prefix.is_empty() {
        String::new()
    } else {
        format!("/{prefix}")
    };
    let auth = check_auth(raw.authorization, raw.basic_auth, path, key)?;
    let client = client(raw.timeout, raw.tls_config, path, key)?;
    let mut destinations = Vec::new();
    for target in raw.static_configs.into_iter().flat_map(|s| s.targets) {
        let base = format!("{scheme}://{target}{prefix}");
        let host_only = !target.is_empty() && !target.contains(['/', '?', '#', '@', ' ']);
        if !host_only || url(&base).is_none() {
            let why = format!(
                "{target:?} is not an address: write host:port, for example localhost:9093"
            );
            return Err(invalid("static_configs.targets", why));
        }
        destinations.push(Destination {
            id: DestinationId::alertmanager(&base),
            url: format!("{base}/api/v2/alerts"),
            client: client.clone(),
            auth: auth.clone(),
            headers: Vec::new(),
        });
    }
    Ok(destinations)
}

fn check_contact(
    raw: RawContact,
    path: &Path,
    key: &str,
    id: DestinationId,
) -> Result<Destination, ConfigError> {
    let invalid =
        |what: &str, why: String| ConfigError::invalid(path, format!("{key}.{what}"), why);
    if url(&raw.url).is_none() {
        let why = format!(
            "{:?} is not a web address: write for example http://host:8080/hook",
            raw.url
        );
        return Err(invalid("url", why));
    }
    let mut headers = Vec::new();
    for (name, value) in raw.headers {
        let parsed = (
            HeaderName::try_from(name.as_str()),
            HeaderValue::try_from(value.as_str()),
        );
        let (Ok(header), Ok(mut value)) = parsed else {
            return Err(invalid(
                "headers",
                format!("{name:?} or its value cannot be an HTTP header"),
            ));
        };
        value.set_sensitive(true);
        headers.push((header, value));
    }
    Ok(Destination {
        id,
        url: raw.url,
        client: client(raw.timeout, raw.tls_config, path, key)?,
        auth: check_auth(raw.authorization, raw.basic_auth, path, key)?,
        headers,
    })
}

fn url(text: &str) -> Option<reqwest::Url> {
    let url = reqwest::Url::parse(text).ok()?;
    (matches!(url.scheme(), "http" | "https") && url.has_host()).then_some(url)
}

fn client(
    timeout: Option<PromDuration>,
    tls: Option<TlsYaml>,
    path: &Path,
    key: &str,
) -> Result<ClientOptions, ConfigError> {
    Ok(ClientOptions {
        timeout: Some(timeout.map_or(TIMEOUT, PromDuration::get)),
        tls: tls
            .unwrap_or_default()
            .check(path, &format!("{key}.tls_config"))?,
        ..ClientOptions::default()
    })
}

fn check_auth(
    authorization: Option<RawAuthorization>,
    basic: Option<RawBasicAuth>,
    path: &Path,
    key: &str,
) -> Result<Auth, ConfigError> {
    let invalid = |what: &str, why: &str| ConfigError::invalid(path, format!("{key}.{what}"), why);
    let dir = path.parent().unwrap_or(Path::new(""));
    match (authorization, basic) {
        (None, None) => Ok(Auth::None),
        (Some(_), Some(_)) => Err(invalid(
            "basic_auth",
            "give only one of authorization and basic_auth",
        )),
        (Some(raw), None) => {
            let scheme = raw.scheme.unwrap_or_else(|| "Bearer".to_owned());
            match (raw.credentials, raw.credentials_file) {
                (Some(credentials), None) => Ok(Auth::Header {
                    scheme,
                    credentials,
                }),
                (None, Some(file)) => Ok(Auth::HeaderFromFile {
                    scheme,
                    credentials_file: dir.join(file),
                }),
                _ => Err(invalid(
                    "authorization",
                    "give one of credentials and credentials_file",
                )),
            }
        }
        (None, Some(raw)) => {
            let username = raw.username;
            match (raw.password, raw.password_file) {
                (Some(_), Some(_)) => Err(invalid(
                    "basic_auth",
                    "give only one of password and password_file",
                )),
                (None, Some(file)) => Ok(Auth::BasicFromFile {
                    username,
                    password_file: dir.join(file),
                }),
                (password, None) => Ok(Auth::Basic {
                    username,
                    password: password.unwrap_or_default(),
                }),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<RouterConfig, String> {
        RouterConfig::parse(text, Path::new("router.yml")).map_err(|e| e.to_string())
    }

    fn check_error(text: &str, want: &str) {
        let error = parse(text).unwrap_err();
        assert!(
            error.starts_with("router.yml:") && error.contains(want),
            "{error}"
        );
    }

    #[test]
    fn a_file_with_everything() {
        let config = parse(
            "
alertmanagers:
  - static_configs: [{targets: ['am1:9093', 'am2:9093']}]
    path_prefix: /alerts/
    timeout: 3s
    authorization: {credentials: s3cret}
contacts:
  b07: {url: 'http://b07/hook', headers: {X-Key: k3y}, basic_auth: {username: u, password: p}}
default_contact: {url: 'https://ho/hook'}
resolve_timeout: 2m
limits: {alerts: 10, bytes: 1MiB, batch_alerts: 2, retention: 1h}
",
        )
        .unwrap();
        let urls: Vec<_> = config.destinations.iter().map(|d| d.url.as_str()).collect();
        let want = [
            "http://am1:9093/alerts/api/v2/alerts",
            "http://am2:9093/alerts/api/v2/alerts",
            "http://b07/hook",
            "https://ho/hook",
        ];
        assert_eq!(urls, want);
        assert_eq!(
            config.destinations[0].id,
            DestinationId::alertmanager("http://am1:9093/alerts")
        );
        assert_eq!(
            config.destinations[0].client.timeout,
            Some(Duration::from_secs(3))
        );
        assert_eq!(
            (config.limits.entries_max, config.limits.bytes_max),
            (10, 1 << 20)
        );
        let shown = format!("{config:?}");
        assert!(
            !shown.contains("s3cret") && !shown.contains("k3y"),
            "{shown}"
        );
        assert!(parse("").unwrap().destinations.is_empty());
    }

    #[test]
    fn errors_say_where() {
        check_error("alertmanager: []\n", ":1:1: unknown field `alertmanager`");
        check_error(
            "alertmanagers:\n- targets: [a]\n",
            ":2:3: alertmanagers: unknown field `targets`",
        );
        check_error(
            "alertmanagers:\n- relabel_configs: []\n",
            ":2:3: alertmanagers: unknown field `relabel_configs`",
        );
        check_error(
            "alertmanagers: [{scheme: ftp}]",
            "alertmanagers[0].scheme: \"ftp\" is neither",
        );
        check_error(
            "alertmanagers: [{static_configs: [{targets: ['http://a:1']}]}]",
            "is not an address: write host:port",
        );
        check_error(
            "alertmanagers: [{static_configs: [{targets: ['a:1', 'a:1']}]}]",
            "is named twice",
        );
        check_error(
            "contacts: {b1: {}}",
            "contacts.b1.url: \"\" is not a web address",
        );
        check_error(
            "default_contact: {url: 'http://a', headers: {'a b': c}}",
            "default_contact.headers",
        );
        check_error("limits: {alerts: 0}", "limits.alerts: must be at least 1");
        check_error(
            "alertmanagers: [{authorization: {type: x}}]",
            "give one of credentials and credentials_file",
        );
    }
}
