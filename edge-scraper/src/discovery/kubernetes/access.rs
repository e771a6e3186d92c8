//! How the API server is reached: an address of the configuration, a kubeconfig file, or the cluster around the process.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use daemon::Clock;
use daemon::http::{Auth, ClientOptions, ProxyOptions, Signer, SignerOptions, TlsClientOptions};
use daemon::tls::Pem;
use reqwest::Url;
use serde::Deserialize;

use crate::config::{ClusterAccess, HttpConfig};

/// Where Kubernetes puts what a process in it may know.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// A cluster that can be asked.
pub(super) struct Cluster {
    pub(super) client: reqwest::Client,
    pub(super) signer: Signer,
    pub(super) url: Url,
    /// The namespace that the process runs in, or that the kubeconfig names.
    pub(super) namespace: Option<String>,
}

/// What there is to know before a client is made.
#[derive(Debug)]
struct Way {
    url: Url,
    http: HttpConfig,
    namespace: Option<String>,
}

impl Cluster {
    /// Reads files; asks nobody yet.
    pub(super) async fn open(
        access: &ClusterAccess,
        clock: &Arc<dyn Clock>,
    ) -> Result<Cluster, String> {
        let (access, clock) = (access.clone(), Arc::clone(clock));
        daemon::blocking(move || {
            let way = match access {
                ClusterAccess::Server { url, http } => Way {
                    url,
                    http: *http,
                    namespace: None,
                },
                ClusterAccess::Kubeconfig(file) => kubeconfig(&file)?,
                ClusterAccess::InCluster => {
                    in_cluster(Path::new(SERVICE_ACCOUNT), |name| std::env::var(name).ok())?
                }
            };
            let options = ClientOptions {
                timeout: None,
                ..way.http.client.clone()
            };
            let client = daemon::http::client(&options).map_err(|error| error.to_string())?;
            let signer: SignerOptions = way.http.signer();
            let signer = Signer::new(&signer, &clock).map_err(|error| error.to_string())?;
            Ok(Cluster {
                client,
                signer,
                url: way.url,
                namespace: way.namespace,
            })
        })
        .await
    }

    /// The address of a path, which begins with a slash.
    pub(super) fn at(&self, path: &str) -> Url {
        let mut url = self.url.clone();
        let base = url.path().trim_end_matches('/').to_owned();
        url.set_path(&format!("{base}{path}"));
        url
    }
}

fn in_cluster(account: &Path, environment: impl Fn(&str) -> Option<String>) -> Result<Way, String> {
    let variable = |name: &str| {
        environment(name).filter(|value| !value.is_empty()).ok_or_else(|| {
            format!("{name} is not set: the process runs in no Kubernetes cluster; give api_server or kubeconfig_file")
        })
    };
    let host = variable("KUBERNETES_SERVICE_HOST")?;
    let port = variable("KUBERNETES_SERVICE_PORT")?;
    let host = match host.contains(':') {
        true => format!("[{host}]"),
        false => host,
    };
    let url = format!("https://{host}:{port}/");
    let namespace = std::fs::read_to_string(account.join("namespace")).ok();
    Ok(Way {
        url: Url::parse(&url).map_err(|error| format!("{url}: {error}"))?,
        http: HttpConfig {
            client: ClientOptions {
                tls: TlsClientOptions {
                    ca: Some(Pem::File(account.join("ca.crt"))),
                    ..TlsClientOptions::default()
                },
                ..ClientOptions::default()
            },
            auth: Auth::HeaderFromFile {
                scheme: "Bearer".to_owned(),
                credentials_file: account.join("token"),
            },
            ..HttpConfig::default()
        },
        namespace: namespace.map(|name| name.trim().to_owned()),
    })
}

/// A kubeconfig, as far as it is needed; other keys are for other programs.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct Kubeconfig {
    current_context: String,
    clusters: Vec<Named<NamedCluster>>,
    contexts: Vec<Named<NamedContext>>,
    users: Vec<Named<NamedUser>>,
}

#[derive(Debug, Deserialize)]
struct Named<T> {
    name: String,
    #[serde(alias = "cluster", alias = "context", alias = "user")]
    value: T,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct NamedCluster {
    server: String,
    certificate_authority: Option<PathBuf>,
    certificate_authority_data: Option<String>,
    insecure_skip_tls_verify: bool,
    tls_server_name: Option<String>,
    proxy_url: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct NamedContext {
    cluster: String,
    user: String,
    namespace: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct NamedUser {
    token: Option<String>,
    #[serde(rename = "tokenFile")]
    token_file: Option<PathBuf>,
    username: Option<String>,
    password: Option<String>,
    client_certificate: Option<PathBuf>,
    client_certificate_data: Option<String>,
    client_key: Option<PathBuf>,
    client_key_data: Option<String>,
    exec: Option<serde::de::IgnoredAny>,
    auth_provider: Option<serde::de::IgnoredAny>,
}

impl std::fmt::Debug for NamedUser {
    /// Without secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("user")
    }
}

fn kubeconfig(file: &Path) -> Result<Way, String> {
    let read: Kubeconfig = daemon::config::load_yaml(file).map_err(|error| error.to_string())?;
    let wrong = |why: String| format!("{}: {why}", file.display());
    let context = find(&read.contexts, &read.current_context, "context").map_err(wrong)?;
    let cluster = find(&read.clusters, &context.cluster, "cluster").map_err(wrong)?;
    let nobody = NamedUser::default();
    let user = match context.user.as_str() {
        "" => &nobody,
        name => find(&read.users, name, "user").map_err(wrong)?,
    };
    if user.exec.is_some() || user.auth_provider.is_some() {
        return Err(wrong(
            "users that call a program for their credentials are not supported: use a token or a client certificate".to_owned(),
        ));
    }
    let folder = file.parent().unwrap_or(Path::new(""));
    let pem = |path: &Option<PathBuf>, data: &Option<String>| match (data, path) {
        (Some(data), _) => {
            let bytes = base64::engine::general_purpose::STANDARD.decode(data.trim());
            let text = bytes.ok().and_then(|bytes| String::from_utf8(bytes).ok());
            let text = text
                .ok_or_else(|| wrong("certificate data is not base64 of a PEM text".to_owned()));
            text.map(|text| Some(Pem::Inline(text)))
        }
        (None, Some(path)) => Ok(Some(Pem::File(folder.join(path)))),
        (None, None) => Ok(None),
    };
    let auth = match (&user.token, &user.token_file, &user.username) {
        (Some(token), _, _) => Auth::Header {
            scheme: "Bearer".to_owned(),
            credentials: token.clone(),
        },
        (None, Some(token_file), _) => Auth::HeaderFromFile {
            scheme: "Bearer".to_owned(),
            credentials_file: folder.join(token_file),
        },
        (None, None, Some(username)) => Auth::Basic {
            username: username.clone(),
            password: user.password.clone().unwrap_or_default(),
        },
        (None, None, None) => Auth::None,
    };
    let url = Url::parse(&cluster.server)
        .map_err(|error| wrong(format!("server {:?}: {error}", cluster.server)))?;
    Ok(Way {
        url,
        http: HttpConfig {
            client: ClientOptions {
                tls: TlsClientOptions {
                    ca: pem(
                        &cluster.certificate_authority,
                        &cluster.certificate_authority_data,
                    )?,
                    cert: pem(&user.client_certificate, &user.client_certificate_data)?,
                    key: pem(&user.client_key, &user.client_key_data)?,
                    server_name: cluster.tls_server_name.clone(),
                    insecure_skip_verify: cluster.insecure_skip_tls_verify,
                    ..TlsClientOptions::default()
                },
                proxy: ProxyOptions {
                    url: cluster.proxy_url.clone(),
                    ..ProxyOptions::default()
                },
                ..ClientOptions::default()
            },
            auth,
            ..HttpConfig::default()
        },
        namespace: context.namespace.clone(),
    })
}

fn find<'a, T>(all: &'a [Named<T>], name: &str, what: &str) -> Result<&'a T, String> {
    let found = all.iter().find(|named| named.name == name);
    found.map(|named| &named.value).ok_or_else(|| {
        let known: BTreeMap<&str, ()> = all.iter().map(|n| (n.name.as_str(), ())).collect();
        let known: Vec<&str> = known.into_keys().collect();
        format!(
            "there is no {what} {name:?}; there are: {}",
            known.join(", ")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cluster_around_the_process() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("namespace"), "branch\n").unwrap();
        let environment = |name: &str| {
            Some(match name {
                "KUBERNETES_SERVICE_HOST" => "fd00::1".to_owned(),
                _ => "6443".to_owned(),
            })
        };
        let way = in_cluster(folder.path(), environment).unwrap();
        assert_eq!(way.url.as_str(), "https://[fd00::1]:6443/");
        assert_eq!(way.namespace.as_deref(), Some("branch"));
        let error = in_cluster(folder.path(), |_| None).unwrap_err();
        assert!(error.contains("kubeconfig_file"), "{error}");
    }

    #[test]
    fn kubeconfigs() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config");
        let read = |text: &str| {
            std::fs::write(&file, text).unwrap();
            kubeconfig(&file)
        };
        let text = "apiVersion: v1\nkind: Config\ncurrent-context: b\n\
            clusters:\n- name: c\n  cluster: {server: 'https://10.0.0.1:6443/k8s', certificate-authority-data: Q0E=, tls-server-name: kube}\n\
            contexts:\n- name: a\n  context: {cluster: x, user: y}\n- name: b\n  context: {cluster: c, user: u, namespace: n}\n\
            users:\n- name: u\n  user: {tokenFile: token}\n";
        let way = read(text).unwrap();
        assert_eq!(way.url.as_str(), "https://10.0.0.1:6443/k8s");
        assert_eq!(way.namespace.as_deref(), Some("n"));
        let tls = &way.http.client.tls;
        assert_eq!(tls.ca, Some(Pem::Inline("CA".into())));
        assert_eq!(tls.server_name.as_deref(), Some("kube"));
        assert_eq!(
            way.http.auth,
            Auth::HeaderFromFile {
                scheme: "Bearer".into(),
                credentials_file: folder.path().join("token")
            }
        );
        for (text, said) in [
            (
                text.replace("current-context: b", "current-context: z"),
                "no context \"z\"; there are: a, b",
            ),
            (
                text.replace("current-context: b", "current-context: a"),
                "no cluster \"x\"",
            ),
            (
                text.replace("tokenFile: token", "exec: {command: aws}"),
                "call a program",
            ),
            (text.replace("Q0E=", "'@@'"), "not base64"),
        ] {
            let error = read(&text).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
    }
}
