//! Keys of an HTTP client: authorization, TLS, redirects, proxy.

use std::time::Duration;

use daemon::config::ConfigError;
use daemon::http::{Auth, ClientOptions, TlsClientOptions, TlsYaml};

use super::{Check, HttpConfig, raw};

/// The keys as both [`raw::ScrapeConfig`] and [`raw::RemoteWrite`] have them.
#[derive(Default)]
pub(super) struct Keys {
    pub(super) basic_auth: Option<raw::BasicAuth>,
    pub(super) authorization: Option<raw::Authorization>,
    pub(super) bearer_token: Option<String>,
    pub(super) bearer_token_file: Option<String>,
    pub(super) tls_config: Option<TlsYaml>,
    pub(super) follow_redirects: Option<bool>,
    pub(super) proxy_url: Option<String>,
}

/// Longest time for a connection to come about, if the request's own timeout is not shorter.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

impl Check {
    pub(super) fn client(&mut self, key: &str, keys: Keys) -> Result<HttpConfig, ConfigError> {
        let tls = match keys.tls_config {
            Some(given) => given.check(&self.path, &format!("{key}.tls_config"))?,
            None => TlsClientOptions::default(),
        };
        for file in tls.files() {
            self.readable(&format!("{key}.tls_config"), file);
        }
        let bearer = keys.bearer_token.map(|token| raw::Authorization {
            credentials: Some(token),
            ..Default::default()
        });
        let bearer_file = keys.bearer_token_file.map(|file| raw::Authorization {
            credentials_file: Some(file),
            ..Default::default()
        });
        let given = [keys.authorization, bearer, bearer_file];
        let ways = given.iter().flatten().count() + usize::from(keys.basic_auth.is_some());
        if ways > 1 {
            return Err(self.invalid(key, "at most one of basic_auth, authorization, bearer_token and bearer_token_file may be given"));
        }
        let auth = match (keys.basic_auth, given.into_iter().flatten().next()) {
            (Some(basic), _) => self.basic_auth(key, basic)?,
            (None, Some(authorization)) => self.authorization(key, authorization)?,
            (None, None) => Auth::None,
        };
        Ok(HttpConfig {
            client: ClientOptions {
                connect_timeout: CONNECT_TIMEOUT,
                timeout: None,
                follow_redirects: keys.follow_redirects.unwrap_or(true),
                proxy_url: keys.proxy_url.filter(|url| !url.is_empty()),
                tls,
            },
            auth,
        })
    }

    fn basic_auth(&mut self, key: &str, given: raw::BasicAuth) -> Result<Auth, ConfigError> {
        let username = given.username;
        match (given.password, given.password_file) {
            (Some(_), Some(_)) => Err(self.invalid(
                format!("{key}.basic_auth"),
                "at most one of password and password_file may be given",
            )),
            (None, Some(file)) => {
                let password_file = self.resolve(&file);
                self.readable(&format!("{key}.basic_auth.password_file"), &password_file);
                Ok(Auth::BasicFromFile {
                    username,
                    password_file,
                })
            }
            (password, None) => Ok(Auth::Basic {
                username,
                password: password.unwrap_or_default(),
            }),
        }
    }

    fn authorization(&mut self, key: &str, given: raw::Authorization) -> Result<Auth, ConfigError> {
        let scheme = match given.r#type.as_deref().map(str::trim) {
            None | Some("") => "Bearer".to_owned(),
            Some(scheme) if scheme.eq_ignore_ascii_case("basic") => {
                return Err(self.invalid(
                    format!("{key}.authorization.type"),
                    "it must not be \"basic\": use basic_auth",
                ));
            }
            Some(scheme) => scheme.to_owned(),
        };
        match (given.credentials, given.credentials_file) {
            (Some(_), Some(_)) => Err(self.invalid(
                format!("{key}.authorization"),
                "at most one of credentials and credentials_file may be given",
            )),
            (Some(credentials), None) => Ok(Auth::Header {
                scheme,
                credentials,
            }),
            (None, Some(file)) => {
                let credentials_file = self.resolve(&file);
                self.readable(
                    &format!("{key}.authorization.credentials_file"),
                    &credentials_file,
                );
                Ok(Auth::HeaderFromFile {
                    scheme,
                    credentials_file,
                })
            }
            (None, None) => Err(self.invalid(
                format!("{key}.authorization"),
                "it needs credentials or credentials_file",
            )),
        }
    }
}
