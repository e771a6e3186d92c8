//! Who may connect, and how? Prometheus's web configuration file (`--web.config.file`) for every listener: TLS, client
//! certificates, users with passwords, headers. The keys mean what they mean to Prometheus and its exporters.
//!
//! The file, and the certificates that it names, are looked at for each handshake and each request with credentials: what
//! has changed is in force at once. While something in them is wrong, what was read last stays in force, and the log says
//! why. What protects a listener when it is opened does not go away while it runs: that takes a restart.
//!
//! Different from Prometheus: versions below TLS 1.2 and `rate_limit` are refused by name; a policy that verifies client
//! certificates needs `client_ca_file` (Prometheus then trusts every authority of the system); `/-/healthy` and
//! `/-/ready` need no password.

mod client_auth;
mod config;
mod guard;
mod listener;
mod raw;
mod server_tls;
mod users;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use axum::http::HeaderMap;

pub(crate) use guard::add_headers;
pub use guard::guard;
pub(crate) use listener::TlsListener;

use self::config::WebConfig;
use self::users::Turnstile;
use crate::config::ConfigError;
use crate::tls::Watched;

/// What the command line says about the listener.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct WebFlags {
    /// TLS, client certificates, users and headers of this port: Prometheus's web configuration file.
    #[arg(long = "web.config.file", value_name = "FILE")]
    pub config_file: Option<PathBuf>,
    /// Beyond loopback, a proxy before this port does TLS and asks for credentials.
    #[arg(long = "web.behind-proxy")]
    pub behind_proxy: bool,
}

/// How a listener is protected. Clones share it. The default: not at all.
#[derive(Clone, Default)]
pub struct Web {
    file: Option<Arc<Watched<WebConfig>>>,
    behind_proxy: bool,
    turnstile: Arc<Turnstile>,
}

/// Who sends a request, by the users of the web configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SignIn {
    /// There are no users: nobody is asked.
    NobodyAsked,
    /// A user who has proved it.
    User(String),
    /// Nobody, or nobody we know.
    Refused,
    /// Too many others are waiting for their passwords to be checked: to be tried again.
    Busy,
}

/// Beyond loopback something lacks.
#[derive(Debug, thiserror::Error)]
#[error("refusing to listen on {address}, which others can reach: {}; or listen on 127.0.0.1", lacks.join("; "))]
pub struct ListenRefused {
    /// Where it was to listen.
    pub address: SocketAddr,
    /// What lacks, each with what to do about it.
    pub lacks: Vec<String>,
}

impl Web {
    /// Reads and checks what the command line says.
    ///
    /// # Errors
    /// The first thing that is wrong in the file, with line or key, and the way out.
    pub fn load(flags: &WebFlags) -> Result<Self, ConfigError> {
        let mut web = Web {
            behind_proxy: flags.behind_proxy,
            ..Web::default()
        };
        if let Some(path) = &flags.config_file {
            let path = path.clone();
            let first = OnceLock::new();
            let watched = Watched::new(path.display().to_string(), move |files| {
                let config = WebConfig::load(&path, files)?;
                let at_start = *first.get_or_init(|| config.protection());
                config.protects_as(at_start, &path)?;
                Ok::<_, ConfigError>(config)
            })?;
            web.file = Some(Arc::new(watched));
        }
        Ok(web)
    }

    /// Checks a file as [`Web::load`] does, and says in a line what it does.
    ///
    /// # Errors
    /// As [`Web::load`].
    pub fn check_file(path: &Path) -> Result<String, ConfigError> {
        let flags = WebFlags {
            config_file: Some(path.to_owned()),
            ..WebFlags::default()
        };
        let web = Web::load(&flags)?;
        let users = web.current().map_or(0, |config| config.users.count());
        let tls = if web.has_tls() { "TLS" } else { "no TLS" };
        let clients = match web.proves_clients() {
            true => "client certificates are demanded and verified",
            false => "no client certificate is demanded",
        };
        Ok(format!("{tls}, {clients}, users: {users}"))
    }

    fn current(&self) -> Option<Arc<WebConfig>> {
        self.file.as_ref().map(|file| file.current())
    }

    /// Whether connections are encrypted. Stays so for as long as the process runs.
    pub fn has_tls(&self) -> bool {
        self.current().is_some_and(|config| config.tls.is_some())
    }

    /// `http` or `https`.
    pub fn scheme(&self) -> &'static str {
        if self.has_tls() { "https" } else { "http" }
    }

    /// Whether nobody connects without a certificate that a given authority has signed.
    pub fn proves_clients(&self) -> bool {
        self.current()
            .is_some_and(|config| config.protection().client_certificates)
    }

    /// Whether users are asked for their passwords.
    pub fn has_users(&self) -> bool {
        self.current()
            .is_some_and(|config| config.users.count() > 0)
    }

    /// Whether the web configuration in force is what its files say; None without one.
    pub fn is_current(&self) -> Option<bool> {
        let file = self.file.as_ref()?;
        file.current();
        Some(file.is_good())
    }

    /// Whether this process may listen on `address`: beyond loopback, only with TLS and credentials.
    ///
    /// # Errors
    /// What lacks, and the ways out. A service that has credentials of its own says what of them lacks in `lacks`;
    /// None: it has none, so that users or client certificates are needed.
    pub fn check_listen(
        &self,
        address: SocketAddr,
        lacks: Option<Vec<String>>,
    ) -> Result<(), ListenRefused> {
        if address.ip().is_loopback() || self.behind_proxy {
            return Ok(());
        }
        let mut lacks = lacks.unwrap_or_else(|| match self.has_users() || self.proves_clients() {
            true => Vec::new(),
            false => vec![
                "nobody is asked for credentials: give basic_auth_users, or tls_server_config with RequireAndVerifyClientCert, in --web.config.file".to_owned(),
            ],
        });
        if !self.has_tls() {
            lacks.push("there is no TLS, so everybody on the way could read along: give a certificate under tls_server_config in --web.config.file, or say --web.behind-proxy when a proxy before this port does TLS and asks for credentials".to_owned());
        }
        match lacks.is_empty() {
            true => Ok(()),
            false => Err(ListenRefused { address, lacks }),
        }
    }

    /// Who sends a request with these headers.
    pub async fn sign_in(&self, headers: &HeaderMap) -> SignIn {
        match self.current() {
            Some(config) if config.users.count() > 0 => {
                users::sign_in(config, &self.turnstile, headers).await
            }
            _ => SignIn::NobodyAsked,
        }
    }

    pub(crate) fn listener(&self) -> Option<Arc<Watched<WebConfig>>> {
        self.file.clone().filter(|_| self.has_tls())
    }
}
