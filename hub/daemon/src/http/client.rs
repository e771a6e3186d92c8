use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};

use super::client_tls::{self, TlsClientOptions};
use super::proxy::{self, ProxyOptions};
use super::round_robin::{RoundRobin, SystemNames};
use crate::tls::{PemError, provider};

/// How requests leave; `Default` is what a plain `http://` or `https://` address needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientOptions {
    /// Longest time for a connection to come about.
    pub connect_timeout: Duration,
    /// Longest time for a whole request, answer included. None: the caller sets it per request.
    pub timeout: Option<Duration>,
    /// Whether to follow redirects (at most 10).
    pub follow_redirects: bool,
    /// Which proxy requests take.
    pub proxy: ProxyOptions,
    /// Whether to offer HTTP/2 to `https://` addresses. Default: no, HTTP/1.1 only.
    pub http2: bool,
    /// Whether connections without a request are kept for the next one. Each holds a buffer as large as the answers that it
    /// brought, so who asks many addresses seldom, without TLS, does better without.
    pub keep_idle: bool,
    /// Whether each new connection goes to the next of a name's addresses, so that many clients spread over them. Default: no, to the
    /// first that answers.
    pub round_robin_dns: bool,
    /// For `https://`.
    pub tls: TlsClientOptions,
}

impl Default for ClientOptions {
    fn default() -> Self {
        ClientOptions {
            connect_timeout: Duration::from_secs(5),
            timeout: Some(Duration::from_secs(30)),
            follow_redirects: true,
            proxy: ProxyOptions::default(),
            http2: false,
            keep_idle: true,
            round_robin_dns: false,
            tls: TlsClientOptions::default(),
        }
    }
}

/// Why a client cannot be made.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum ClientError {
    #[error("{path}: cannot be read: {source}: check the path and its permissions", path = path.display())]
    Unreadable {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error(transparent)]
    Pem(#[from] PemError),
    #[error("tls_config has {has} but no {lacks}: give both")]
    HalfIdentity {
        has: &'static str,
        lacks: &'static str,
    },
    #[error("proxy_url {url:?}: {reason}")]
    BadProxy { url: String, reason: String },
    #[error("cannot make an HTTP client: {reason}")]
    Other { reason: String },
}

/// Makes a client: TLS by rustls with the system's authorities.
///
/// # Errors
/// Files that cannot be read or are not PEM, a bad proxy address.
pub fn client(options: &ClientOptions) -> Result<reqwest::Client, ClientError> {
    provider();
    match builder(options)?.build() {
        Ok(client) => Ok(client),
        // A machine without any CA certificate can still talk plain HTTP; https:// then fails by name.
        Err(_) if options.tls == TlsClientOptions::default() => {
            tracing::warn!(
                "no CA certificates on this system: https:// addresses will fail; install ca-certificates or set tls_config.ca_file"
            );
            builder(options)?.tls_certs_only([]).build().map_err(other)
        }
        Err(error) => Err(other(error)),
    }
}

fn builder(options: &ClientOptions) -> Result<reqwest::ClientBuilder, ClientError> {
    let redirects = match options.follow_redirects {
        true => reqwest::redirect::Policy::limited(10),
        false => reqwest::redirect::Policy::none(),
    };
    let mut builder = reqwest::Client::builder()
        .user_agent(format!("branchline/{}", crate::VERSION))
        .connect_timeout(options.connect_timeout)
        .redirect(redirects);
    if options.round_robin_dns {
        builder = builder.dns_resolver(Arc::new(RoundRobin::new(SystemNames)));
    }
    if !options.keep_idle {
        builder = builder.pool_max_idle_per_host(0);
    }
    builder = proxy::apply(&options.proxy, builder)?;
    if !options.http2 {
        builder = builder.http1_only();
    }
    if let Some(timeout) = options.timeout {
        builder = builder.timeout(timeout);
    }
    Ok(match client_tls::config(&options.tls, options.http2)? {
        Some(config) => builder.tls_backend_preconfigured(config),
        None => builder,
    })
}

/// The secret in a small file, without the blanks around it.
pub(super) fn read_secret(path: &PathBuf) -> Result<String, ClientError> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).trim().to_owned()),
        Err(source) => Err(ClientError::Unreadable {
            path: path.clone(),
            source,
        }),
    }
}

fn other(error: reqwest::Error) -> ClientError {
    ClientError::Other {
        reason: error.to_string(),
    }
}

/// Who we are to the other side. Files are read anew for every request, so that a mended token works at once.
#[derive(Clone, Default, PartialEq, Eq)]
pub enum Auth {
    /// Nobody.
    #[default]
    None,
    /// `Authorization: SCHEME CREDENTIALS`.
    Header {
        /// `Bearer`, mostly.
        scheme: String,
        /// The secret.
        credentials: String,
    },
    /// The same, the secret read from a file.
    HeaderFromFile {
        /// `Bearer`, mostly.
        scheme: String,
        /// Where the secret is; blanks around it are cut.
        credentials_file: PathBuf,
    },
    /// Name and password.
    Basic {
        /// The name.
        username: String,
        /// The secret.
        password: String,
    },
    /// The same, the password read from a file.
    BasicFromFile {
        /// The name.
        username: String,
        /// Where the secret is; blanks around it are cut.
        password_file: PathBuf,
    },
}

impl std::fmt::Debug for Auth {
    /// Without the secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Auth::None => "None",
            Auth::Header { .. } | Auth::HeaderFromFile { .. } => "Header(<secret>)",
            Auth::Basic { .. } | Auth::BasicFromFile { .. } => "Basic(<secret>)",
        })
    }
}

impl Auth {
    /// Puts the header into the request. Reads a small file for the `…FromFile` forms.
    ///
    /// # Errors
    /// The file cannot be read, or the secret has characters that no header may have.
    pub fn apply(
        &self,
        request: reqwest::RequestBuilder,
    ) -> Result<reqwest::RequestBuilder, ClientError> {
        Ok(match self {
            Auth::None => request,
            Auth::Header {
                scheme,
                credentials,
            } => header(request, scheme, credentials)?,
            Auth::HeaderFromFile {
                scheme,
                credentials_file,
            } => header(request, scheme, &read_secret(credentials_file)?)?,
            Auth::Basic { username, password } => request.basic_auth(username, Some(password)),
            Auth::BasicFromFile {
                username,
                password_file,
            } => request.basic_auth(username, Some(read_secret(password_file)?)),
        })
    }
}

fn header(
    request: reqwest::RequestBuilder,
    scheme: &str,
    secret: &str,
) -> Result<reqwest::RequestBuilder, ClientError> {
    let mut value =
        HeaderValue::from_str(&format!("{scheme} {secret}")).map_err(|_| ClientError::Other {
            reason: "the credentials have characters that no HTTP header may have".into(),
        })?;
    value.set_sensitive(true);
    Ok(request.headers(HeaderMap::from_iter([(AUTHORIZATION, value)])))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::Pem;

    #[test]
    fn secrets_come_from_files_and_stay_out_of_logs() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), " s3cret \n").unwrap();
        let auth = Auth::HeaderFromFile {
            scheme: "Bearer".into(),
            credentials_file: file.path().into(),
        };
        let client = client(&ClientOptions::default()).unwrap();
        let request = auth
            .apply(client.get("http://127.0.0.1/"))
            .unwrap()
            .build()
            .unwrap();
        assert_eq!(request.headers()["authorization"], "Bearer s3cret");
        assert!(!format!("{auth:?} {request:?}").contains("s3cret"));
    }

    #[test]
    fn bad_tls_files_are_named() {
        let options = |tls| ClientOptions {
            tls,
            ..ClientOptions::default()
        };
        let missing = TlsClientOptions {
            ca: Some(Pem::File("/nonexistent/ca.pem".into())),
            ..Default::default()
        };
        assert!(
            client(&options(missing))
                .unwrap_err()
                .to_string()
                .contains("/nonexistent/ca.pem cannot be read")
        );
        let half = TlsClientOptions {
            cert: Some(Pem::File("/x".into())),
            ..Default::default()
        };
        assert!(
            client(&options(half))
                .unwrap_err()
                .to_string()
                .contains("no key_file")
        );
    }
}
