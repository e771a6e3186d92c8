//! Keys of an HTTP client: authorization, TLS, redirects, proxies, headers.

use std::collections::BTreeMap;
use std::time::Duration;

use daemon::config::{ConfigError, without_passwords};
use daemon::http::{
    Auth, ClientOptions, ExtraHeader, OAuth2Options, ProxyOptions, Secret, SignerOptions,
    TlsClientOptions, TlsYaml,
};
use reqwest::header::HeaderName;

use super::Check;
pub(super) use super::raw_client::Keys;
use super::raw_client::{Authorization, BasicAuth, HttpHeader, OAuth2};

/// A client's options and what its requests carry.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HttpConfig {
    /// TLS, redirects, proxy.
    pub client: ClientOptions,
    /// Who we are.
    pub auth: Auth,
    /// Who we are by a token server's word, in place of that.
    pub oauth2: Option<OAuth2Options>,
    /// More headers.
    pub headers: Vec<ExtraHeader>,
}

impl HttpConfig {
    /// What completes requests.
    pub fn signer(&self) -> SignerOptions {
        SignerOptions {
            auth: self.auth.clone(),
            oauth2: self.oauth2.clone(),
            headers: self.headers.clone(),
        }
    }

    /// Whether making the client and its token server's reads files: a reload is to read them again.
    pub(crate) fn reads_files(&self) -> bool {
        let files = |client: &ClientOptions| client.tls.files().next().is_some();
        files(&self.client)
            || self
                .oauth2
                .as_ref()
                .is_some_and(|oauth2| files(&oauth2.client))
    }
}

impl Keys {
    /// Whether nothing is said.
    pub(super) fn is_default(&self) -> bool {
        self.basic_auth.is_none()
            && self.authorization.is_none()
            && self.bearer_token.is_none()
            && self.bearer_token_file.is_none()
            && self.oauth2.is_none()
            && self.tls_config.is_none()
            && self.proxy_url.is_none()
            && self.proxy_from_environment.is_none()
            && self.http_headers.is_none()
    }
}

/// Longest time for a connection to come about, if the request's own timeout is not shorter.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Headers that are set by other keys or by the edge itself, in lower case.
const RESERVED: [&str; 15] = [
    "authorization",
    "host",
    "content-encoding",
    "content-length",
    "content-type",
    "user-agent",
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "www-authenticate",
    "accept-encoding",
    "x-prometheus-remote-write-version",
    "x-prometheus-remote-read-version",
    "x-prometheus-scrape-timeout-seconds",
];

impl Check {
    pub(super) fn client(&mut self, key: &str, keys: Keys) -> Result<HttpConfig, ConfigError> {
        let bearer = keys.bearer_token.map(|token| Authorization {
            credentials: Some(token),
            ..Default::default()
        });
        let bearer_file = keys.bearer_token_file.map(|file| Authorization {
            credentials_file: Some(file),
            ..Default::default()
        });
        let given = [keys.authorization, bearer, bearer_file];
        let ways = given.iter().flatten().count()
            + usize::from(keys.basic_auth.is_some())
            + usize::from(keys.oauth2.is_some());
        if ways > 1 {
            return Err(self.invalid(key, "at most one of basic_auth, authorization, oauth2, bearer_token and bearer_token_file may be given"));
        }
        let auth = match (keys.basic_auth, given.into_iter().flatten().next()) {
            (Some(basic), _) => self.basic_auth(key, basic)?,
            (None, Some(authorization)) => self.authorization(key, authorization)?,
            (None, None) => Auth::None,
        };
        let oauth2 = match keys.oauth2 {
            Some(oauth2) => Some(self.oauth2(&format!("{key}.oauth2"), oauth2)?),
            None => None,
        };
        let proxy = Proxy {
            url: keys.proxy_url,
            no_proxy: keys.no_proxy,
            from_environment: keys.proxy_from_environment,
            connect_header: keys.proxy_connect_header,
        };
        Ok(HttpConfig {
            client: ClientOptions {
                keep_idle: true,
                connect_timeout: CONNECT_TIMEOUT,
                timeout: None,
                follow_redirects: keys.follow_redirects.unwrap_or(true),
                proxy: self.proxy(key, proxy)?,
                http2: keys.enable_http2.unwrap_or(true),
                round_robin_dns: false,
                tls: self.tls(key, keys.tls_config)?,
            },
            auth,
            oauth2,
            headers: self.headers(key, keys.http_headers.unwrap_or_default())?,
        })
    }

    fn tls(&mut self, key: &str, given: Option<TlsYaml>) -> Result<TlsClientOptions, ConfigError> {
        let key = format!("{key}.tls_config");
        let mut tls = match given {
            Some(given) => given.check(&self.path, &key)?,
            None => TlsClientOptions::default(),
        };
        for pem in [&mut tls.ca, &mut tls.cert, &mut tls.key]
            .into_iter()
            .flatten()
        {
            if let daemon::tls::Pem::File(file) = pem {
                *file = self.secret_file(&key, std::mem::take(file));
            }
        }
        Ok(tls)
    }

    fn proxy(&self, key: &str, given: Proxy) -> Result<ProxyOptions, ConfigError> {
        let full = |text: Option<String>| text.filter(|text| !text.is_empty());
        let (url, no_proxy) = (full(given.url), full(given.no_proxy));
        let from_environment = given.from_environment.unwrap_or(false);
        let headers = given.connect_header.unwrap_or_default();
        let wrong = |why: &str| Err(self.invalid(key, why));
        if from_environment && url.is_some() {
            return wrong(
                "if proxy_from_environment is configured, proxy_url must not be configured",
            );
        }
        if from_environment && no_proxy.is_some() {
            return wrong(
                "if proxy_from_environment is configured, no_proxy must not be configured",
            );
        }
        if url.is_none() && no_proxy.is_some() {
            return wrong("if no_proxy is configured, proxy_url must also be configured");
        }
        if !headers.is_empty() && url.is_none() && !from_environment {
            return wrong(
                "if proxy_connect_header is configured, proxy_url or proxy_from_environment must also be configured",
            );
        }
        let values = |(name, values): (String, Vec<String>)| {
            let pair = move |value| (name.clone(), value);
            values.into_iter().map(pair)
        };
        Ok(ProxyOptions {
            url,
            no_proxy,
            from_environment,
            connect_headers: headers.into_iter().flat_map(values).collect(),
        })
    }

    fn headers(
        &mut self,
        key: &str,
        given: BTreeMap<String, HttpHeader>,
    ) -> Result<Vec<ExtraHeader>, ConfigError> {
        let mut headers = Vec::new();
        for (name, header) in given {
            let key = format!("{key}.http_headers.{name}");
            if RESERVED.contains(&name.to_ascii_lowercase().as_str()) {
                return Err(self.invalid(key, format!("setting header {name:?} is not allowed")));
            }
            let Ok(name) = HeaderName::from_bytes(name.as_bytes()) else {
                return Err(self.invalid(key, format!("{name:?} is no header name")));
            };
            let inline = header.values.into_iter().chain(header.secrets).flatten();
            let mut values: Vec<Secret> = inline.map(Secret::Inline).collect();
            for file in header.files.into_iter().flatten() {
                let file = self.resolve(&file);
                values.push(Secret::File(self.secret_file(&key, file)));
            }
            let header = |value| ExtraHeader {
                name: name.clone(),
                value,
            };
            headers.extend(values.into_iter().map(header));
        }
        Ok(headers)
    }

    fn oauth2(&mut self, key: &str, given: OAuth2) -> Result<OAuth2Options, ConfigError> {
        let at = |name: &str| format!("{key}.{name}");
        for (name, value) in [
            ("client_id", &given.client_id),
            ("token_url", &given.token_url),
        ] {
            if value.is_empty() {
                return Err(self.invalid(at(name), "it must not be empty"));
            }
        }
        if let Err(error) = reqwest::Url::parse(&given.token_url) {
            let shown = without_passwords(&given.token_url);
            return Err(self.invalid(at("token_url"), format!("{shown:?}: {error}")));
        }
        let client_secret = match (given.client_secret, given.client_secret_file) {
            (Some(_), Some(_)) => {
                return Err(self.invalid(
                    key,
                    "at most one of client_secret and client_secret_file may be given",
                ));
            }
            (None, Some(file)) => {
                let file = self.resolve(&file);
                Secret::File(self.secret_file(&at("client_secret_file"), file))
            }
            (secret, None) => Secret::Inline(secret.unwrap_or_default()),
        };
        let proxy = Proxy {
            url: given.proxy_url,
            no_proxy: given.no_proxy,
            from_environment: given.proxy_from_environment,
            connect_header: given.proxy_connect_header,
        };
        Ok(OAuth2Options {
            client_id: given.client_id,
            client_secret,
            scopes: given.scopes.unwrap_or_default(),
            token_url: given.token_url,
            endpoint_params: given.endpoint_params.into_iter().flatten().collect(),
            client: ClientOptions {
                connect_timeout: CONNECT_TIMEOUT,
                proxy: self.proxy(key, proxy)?,
                tls: self.tls(key, given.tls_config)?,
                ..ClientOptions::default()
            },
        })
    }

    fn basic_auth(&mut self, key: &str, given: BasicAuth) -> Result<Auth, ConfigError> {
        let username = given.username;
        match (given.password, given.password_file) {
            (Some(_), Some(_)) => Err(self.invalid(
                format!("{key}.basic_auth"),
                "at most one of password and password_file may be given",
            )),
            (None, Some(file)) => {
                let file = self.resolve(&file);
                Ok(Auth::BasicFromFile {
                    username,
                    password_file: self
                        .secret_file(&format!("{key}.basic_auth.password_file"), file),
                })
            }
            (password, None) => Ok(Auth::Basic {
                username,
                password: password.unwrap_or_default(),
            }),
        }
    }

    fn authorization(&mut self, key: &str, given: Authorization) -> Result<Auth, ConfigError> {
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
                let file = self.resolve(&file);
                Ok(Auth::HeaderFromFile {
                    scheme,
                    credentials_file: self
                        .secret_file(&format!("{key}.authorization.credentials_file"), file),
                })
            }
            (None, None) => Err(self.invalid(
                format!("{key}.authorization"),
                "it needs credentials or credentials_file",
            )),
        }
    }
}

/// Keys about proxies.
struct Proxy {
    url: Option<String>,
    no_proxy: Option<String>,
    from_environment: Option<bool>,
    connect_header: Option<BTreeMap<String, Vec<String>>>,
}
