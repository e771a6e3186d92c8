//! Where a job's targets come from.

use std::path::PathBuf;
use std::time::Duration;

use daemon::config::{ConfigError, PromDuration};
use reqwest::Url;

use super::raw_discovery::{DnsSdConfig, HttpSdConfig, KubernetesSdConfig};
use super::{Check, HttpConfig, TargetGroup, raw};

/// One source of targets.
#[derive(Debug, Clone, PartialEq)]
pub enum Discovery {
    /// In the configuration itself.
    Static(Vec<TargetGroup>),
    /// In files, read again every `refresh`.
    File {
        /// Paths, `*` allowed in the last part.
        patterns: Vec<PathBuf>,
        /// How often they are looked at. Default: 5 min as in Prometheus; changes are seen earlier, see `discovery`.
        refresh: Duration,
    },
    /// On a page of JSON.
    Http(Box<HttpSd>),
    /// In the domain name system.
    Dns(DnsSd),
    /// At the API server of a Kubernetes cluster.
    Kubernetes(Box<KubernetesSd>),
}

/// `http_sd_configs`.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpSd {
    /// The page.
    pub url: Url,
    /// How often it is asked. Default: 1 min.
    pub refresh: Duration,
    /// Client and credentials.
    pub http: HttpConfig,
}

/// `dns_sd_configs`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsSd {
    /// Names to ask for.
    pub names: Vec<String>,
    /// Records to ask for.
    pub record: DnsRecord,
    /// Port of the targets, where the record has none.
    pub port: u16,
    /// How often. Default: 30 s.
    pub refresh: Duration,
}

/// Kinds of DNS records that lead to targets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DnsRecord {
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
    /// Hosts and ports of a service.
    Srv,
    /// Mail hosts.
    Mx,
    /// Name servers.
    Ns,
}

/// `kubernetes_sd_configs`.
#[derive(Debug, Clone, PartialEq)]
pub struct KubernetesSd {
    /// What becomes a target.
    pub role: Role,
    /// Where the cluster is and who we are there.
    pub access: ClusterAccess,
    /// Namespaces to look in; empty: all.
    pub namespaces: Vec<String>,
    /// The namespace that the edge itself runs in, too.
    pub own_namespace: bool,
    /// Which objects of a kind are asked for.
    pub selectors: Vec<Selector>,
    /// Give pods and endpoints the labels of their node, too.
    pub attach_node: bool,
    /// Give targets the labels of their namespace, too.
    pub attach_namespace: bool,
}

/// The way to a cluster's API server.
#[derive(Debug, Clone, PartialEq)]
pub enum ClusterAccess {
    /// This one.
    Server {
        /// Its address.
        url: Url,
        /// Client and credentials.
        http: Box<HttpConfig>,
    },
    /// What this file says, which `kubectl` has too.
    Kubeconfig(PathBuf),
    /// The cluster that the edge runs in.
    InCluster,
}

/// What becomes a target, as Prometheus names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// A machine's kubelet.
    Node,
    /// Each port of each service.
    Service,
    /// Each port of each container.
    Pod,
    /// Each address and port behind a service.
    Endpoints,
    /// The same, from endpoint slices.
    EndpointSlice,
    /// Each path of each ingress.
    Ingress,
}

/// A restriction of the objects of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selector {
    /// The kind.
    pub role: Role,
    /// By labels, in Kubernetes's form.
    pub label: String,
    /// By fields, in Kubernetes's form.
    pub field: String,
}

impl Role {
    const ALL: [(Role, &'static str); 6] = [
        (Role::Node, "node"),
        (Role::Service, "service"),
        (Role::Pod, "pod"),
        (Role::Endpoints, "endpoints"),
        (Role::EndpointSlice, "endpointslice"),
        (Role::Ingress, "ingress"),
    ];

    /// The kinds of objects that a role reads, for which it may have selectors.
    fn reads(self) -> &'static [Role] {
        match self {
            Role::Pod => &[Role::Pod, Role::Node],
            Role::Service => &[Role::Service],
            Role::Endpoints => &[Role::Endpoints, Role::Pod, Role::Service, Role::Node],
            Role::EndpointSlice => &[Role::EndpointSlice, Role::Pod, Role::Service, Role::Node],
            Role::Node => &[Role::Node],
            Role::Ingress => &[Role::Ingress],
        }
    }
}

const FILE_REFRESH: Duration = Duration::from_secs(300);
const HTTP_REFRESH: Duration = Duration::from_secs(60);
const DNS_REFRESH: Duration = Duration::from_secs(30);

impl Check {
    /// The sources of a scrape configuration. `addresses_final`: there is no relabelling that could still change them.
    pub(super) fn discovery(
        &mut self,
        key: &str,
        given: raw::Discovery,
        addresses_final: bool,
    ) -> Result<Vec<Discovery>, ConfigError> {
        let mut discovery = Vec::new();
        let groups = self.static_targets(key, given.static_configs, addresses_final)?;
        if !groups.is_empty() {
            discovery.push(Discovery::Static(groups));
        }
        for (index, given) in given.file_sd_configs.into_iter().flatten().enumerate() {
            discovery.push(self.files(format!("{key}.file_sd_configs[{index}]"), given)?);
        }
        for (index, given) in given.http_sd_configs.into_iter().flatten().enumerate() {
            let http = self.http_sd(&format!("{key}.http_sd_configs[{index}]"), given)?;
            discovery.push(Discovery::Http(Box::new(http)));
        }
        for (index, given) in given.dns_sd_configs.into_iter().flatten().enumerate() {
            let dns = self.dns_sd(&format!("{key}.dns_sd_configs[{index}]"), given)?;
            discovery.push(Discovery::Dns(dns));
        }
        for (index, given) in given
            .kubernetes_sd_configs
            .into_iter()
            .flatten()
            .enumerate()
        {
            let key = format!("{key}.kubernetes_sd_configs[{index}]");
            let kubernetes = self.kubernetes_sd(&key, given)?;
            discovery.push(Discovery::Kubernetes(Box::new(kubernetes)));
        }
        Ok(discovery)
    }

    fn static_targets(
        &self,
        key: &str,
        given: Option<Vec<raw::StaticConfig>>,
        addresses_final: bool,
    ) -> Result<Vec<TargetGroup>, ConfigError> {
        let mut groups = Vec::new();
        for (index, given) in given.into_iter().flatten().enumerate() {
            let key = format!("{key}.static_configs[{index}]");
            let group =
                TargetGroup::new(given).map_err(|error| self.invalid(key.as_str(), error))?;
            // With relabelling, an address may be anything before it.
            let url = group
                .targets
                .iter()
                .find(|target| addresses_final && target.contains('/'));
            if let Some(url) = url {
                return Err(self.invalid(
                    format!("{key}.targets"),
                    format!("{url:?} is not a valid hostname: give host:port, and the rest as scheme and metrics_path"),
                ));
            }
            groups.push(group);
        }
        Ok(groups)
    }

    fn files(&self, key: String, given: raw::FileSdConfig) -> Result<Discovery, ConfigError> {
        if given.files.is_empty() {
            return Err(self.invalid(
                key,
                "file service discovery config must contain at least one path name",
            ));
        }
        for path in &given.files {
            let name = path.to_ascii_lowercase();
            let known = [".json", ".yml", ".yaml"]
                .iter()
                .any(|ending| name.ends_with(ending));
            let folder_star = path
                .rsplit_once('/')
                .is_some_and(|(folder, _)| folder.contains('*'));
            if !known || folder_star {
                return Err(self.invalid(
                    key,
                    format!("path name {path:?} is not valid for file discovery: it ends in .json, .yml or .yaml, and only its last part may have a *"),
                ));
            }
        }
        Ok(Discovery::File {
            patterns: given.files.iter().map(|path| self.resolve(path)).collect(),
            refresh: self.refresh(&key, given.refresh_interval, FILE_REFRESH)?,
        })
    }

    fn refresh(
        &self,
        key: &str,
        given: Option<PromDuration>,
        default: Duration,
    ) -> Result<Duration, ConfigError> {
        match given.map_or(default, |d| d.get()) {
            Duration::ZERO => {
                Err(self.invalid(format!("{key}.refresh_interval"), "it must be above 0"))
            }
            refresh => Ok(refresh),
        }
    }

    fn address(&self, key: &str, given: &str) -> Result<Url, ConfigError> {
        let wrong = |why: String| self.invalid(key, format!("{given:?}: {why}"));
        let url = Url::parse(given).map_err(|error| wrong(error.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return Err(wrong(
                "it must be an http:// or https:// address".to_owned(),
            ));
        }
        Ok(url)
    }

    fn http_sd(&mut self, key: &str, mut given: HttpSdConfig) -> Result<HttpSd, ConfigError> {
        let keys = given.client_keys();
        if given.url.is_empty() {
            return Err(self.invalid(format!("{key}.url"), "URL is missing"));
        }
        Ok(HttpSd {
            url: self.address(&format!("{key}.url"), &given.url)?,
            refresh: self.refresh(key, given.refresh_interval, HTTP_REFRESH)?,
            http: self.client(key, keys)?,
        })
    }

    fn dns_sd(&self, key: &str, given: DnsSdConfig) -> Result<DnsSd, ConfigError> {
        if given.names.is_empty() {
            return Err(self.invalid(
                format!("{key}.names"),
                "DNS-SD config must contain at least one SRV record name",
            ));
        }
        let word = given.r#type.as_deref().unwrap_or("SRV");
        let record = match word.to_ascii_uppercase().as_str() {
            "SRV" => DnsRecord::Srv,
            "A" => DnsRecord::A,
            "AAAA" => DnsRecord::Aaaa,
            "MX" => DnsRecord::Mx,
            "NS" => DnsRecord::Ns,
            _ => {
                return Err(self.invalid(
                    format!("{key}.type"),
                    format!(
                        "invalid DNS-SD records type {word}: SRV, A, AAAA, MX and NS are known"
                    ),
                ));
            }
        };
        if record != DnsRecord::Srv && given.port.unwrap_or(0) == 0 {
            return Err(self.invalid(
                format!("{key}.port"),
                "a port is required in DNS-SD configs for all record types except SRV",
            ));
        }
        Ok(DnsSd {
            names: given.names,
            record,
            port: given.port.unwrap_or(0),
            refresh: self.refresh(key, given.refresh_interval, DNS_REFRESH)?,
        })
    }

    fn kubernetes_sd(
        &mut self,
        key: &str,
        mut given: KubernetesSdConfig,
    ) -> Result<KubernetesSd, ConfigError> {
        let at = |name: &str| format!("{key}.{name}");
        let keys = given.client_keys();
        let role = self.role(&at("role"), &given.role)?;
        let server = given.api_server.filter(|server| !server.is_empty());
        let kubeconfig = given.kubeconfig_file.filter(|file| !file.is_empty());
        let own_client = !keys.is_default();
        let access = match (server, kubeconfig) {
            (Some(_), Some(_)) => {
                return Err(self.invalid(
                    key,
                    "cannot use 'kubeconfig_file' and 'api_server' simultaneously",
                ));
            }
            (Some(server), None) => ClusterAccess::Server {
                url: self.address(&at("api_server"), &server)?,
                http: Box::new(self.client(key, keys)?),
            },
            (None, _) if own_client => {
                return Err(self.invalid(
                    key,
                    "to use custom HTTP client configuration please provide the 'api_server' URL explicitly",
                ));
            }
            (None, Some(file)) => {
                let file = self.resolve(&file);
                let file = self.secret_file(&at("kubeconfig_file"), file);
                ClusterAccess::Kubeconfig(file)
            }
            (None, None) => ClusterAccess::InCluster,
        };
        let namespaces = given.namespaces.unwrap_or_default();
        let own_namespace = namespaces.own_namespace.unwrap_or(false);
        if own_namespace && access != ClusterAccess::InCluster {
            return Err(self.invalid(
                at("namespaces.own_namespace"),
                "it needs an edge that runs in the cluster, without api_server and kubeconfig_file",
            ));
        }
        let mut selectors: Vec<Selector> = Vec::new();
        for (index, selector) in given.selectors.into_iter().flatten().enumerate() {
            let key = format!("{key}.selectors[{index}]");
            let kind = self.role(&format!("{key}.role"), &selector.role)?;
            if !role.reads().contains(&kind) {
                return Err(self.invalid(
                    key,
                    format!("{} role supports only {} selectors", role.as_str(), {
                        let kinds: Vec<&str> = role.reads().iter().map(|r| r.as_str()).collect();
                        kinds.join(", ")
                    }),
                ));
            }
            if selectors.iter().any(|other| other.role == kind) {
                return Err(
                    self.invalid(key, format!("duplicated selector role: {}", kind.as_str()))
                );
            }
            selectors.push(Selector {
                role: kind,
                label: selector.label.unwrap_or_default(),
                field: selector.field.unwrap_or_default(),
            });
        }
        let attach = given.attach_metadata.unwrap_or_default();
        Ok(KubernetesSd {
            role,
            access,
            namespaces: namespaces.names.unwrap_or_default(),
            own_namespace,
            selectors,
            attach_node: attach.node.unwrap_or(false),
            attach_namespace: attach.namespace.unwrap_or(false),
        })
    }

    fn role(&self, key: &str, given: &str) -> Result<Role, ConfigError> {
        let found = Role::ALL.iter().find(|(_, word)| *word == given);
        found.map(|(role, _)| *role).ok_or_else(|| {
            let words: Vec<&str> = Role::ALL.iter().map(|(_, word)| *word).collect();
            let why = match given {
                "" => format!("role missing (one of: {})", words.join(", ")),
                given => format!(
                    "unknown Kubernetes SD role {given:?}: one of {}",
                    words.join(", ")
                ),
            };
            self.invalid(key, why)
        })
    }
}

impl Role {
    /// Its word in the configuration.
    pub fn as_str(self) -> &'static str {
        let found = Role::ALL.iter().find(|(role, _)| *role == self);
        found.map_or("", |(_, word)| word)
    }
}
