//! HTTPS for the tests: our own client as the processes have it, one request a connection.

use std::path::Path;
use std::time::Duration;

use daemon::http::{ClientOptions, TlsClientOptions, client};
use daemon::tls::Pem;

use crate::http::Response;

/// How to ask.
#[derive(Clone, Debug, Default)]
pub struct Https {
    /// Whom to trust, and who we are.
    pub tls: TlsClientOptions,
    /// Name and password.
    pub user: Option<(String, String)>,
}

impl Https {
    /// Trusts this authority.
    pub fn trusting(authority: &Path) -> Self {
        Https {
            tls: TlsClientOptions {
                ca: Some(Pem::File(authority.to_owned())),
                ..TlsClientOptions::default()
            },
            user: None,
        }
    }

    /// With this certificate and key.
    #[must_use]
    pub fn identity(mut self, (cert, key): &(std::path::PathBuf, std::path::PathBuf)) -> Self {
        self.tls.cert = Some(Pem::File(cert.clone()));
        self.tls.key = Some(Pem::File(key.clone()));
        self
    }

    /// As this user.
    #[must_use]
    pub fn user(mut self, name: &str, password: &str) -> Self {
        self.user = Some((name.to_owned(), password.to_owned()));
        self
    }

    /// `GET url`.
    ///
    /// # Errors
    /// Why there is no answer: the innermost reason.
    pub fn get(&self, url: &str) -> Result<Response, String> {
        self.send("GET", url)
    }

    /// One request without a body.
    ///
    /// # Errors
    /// Why there is no answer: the innermost reason.
    pub fn send(&self, method: &str, url: &str) -> Result<Response, String> {
        let explain = |error: reqwest::Error| {
            let mut cause: &dyn std::error::Error = &error;
            while let Some(deeper) = cause.source() {
                cause = deeper;
            }
            cause.to_string()
        };
        let options = ClientOptions {
            tls: self.tls.clone(),
            timeout: Some(Duration::from_secs(30)),
            ..ClientOptions::default()
        };
        let client = client(&options).map_err(|error| error.to_string())?;
        let method = method.parse().map_err(|_| "no method".to_owned())?;
        let mut request = client.request(method, url);
        if let Some((name, password)) = &self.user {
            request = request.basic_auth(name, Some(password));
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| error.to_string())?;
        runtime.block_on(async {
            let answer = request.send().await.map_err(explain)?;
            let headers = answer.headers().iter().map(|(name, value)| {
                let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
                (name.as_str().to_owned(), value)
            });
            let (status, headers) = (answer.status().as_u16(), headers.collect());
            let body = answer.bytes().await.map_err(explain)?.to_vec();
            Ok(Response {
                status,
                headers,
                body,
            })
        })
    }
}
