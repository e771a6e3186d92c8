//! What every request of a client carries besides what it asks for: credentials and headers of the configuration.

use std::sync::Arc;

use reqwest::header::{AUTHORIZATION, HeaderName, HeaderValue};
use reqwest::{RequestBuilder, StatusCode};

use super::client::{Auth, ClientError};
use super::oauth2::{OAuth2Options, Secret, TokenSource};
use crate::Clock;

/// A header of Prometheus's `http_headers`; one name may have several values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtraHeader {
    /// Its name.
    pub name: HeaderName,
    /// Its value, read anew for every request if it is in a file.
    pub value: Secret,
}

/// Who we are, and what else to say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SignerOptions {
    /// Credentials.
    pub auth: Auth,
    /// Credentials in place of those.
    pub oauth2: Option<OAuth2Options>,
    /// More headers.
    pub headers: Vec<ExtraHeader>,
}

/// Completes requests.
pub struct Signer {
    auth: Auth,
    tokens: Option<TokenSource>,
    headers: Vec<ExtraHeader>,
    /// Something has to be read from a file for every request.
    reads_files: bool,
}

impl Signer {
    /// # Errors
    /// TLS files or a proxy of the token server's client that cannot be used.
    pub fn new(options: &SignerOptions, clock: &Arc<dyn Clock>) -> Result<Signer, ClientError> {
        let tokens = match &options.oauth2 {
            Some(oauth2) => Some(TokenSource::new(oauth2.clone(), Arc::clone(clock))?),
            None => None,
        };
        let in_file = |header: &ExtraHeader| matches!(header.value, Secret::File(_));
        Ok(Signer {
            reads_files: matches!(
                options.auth,
                Auth::HeaderFromFile { .. } | Auth::BasicFromFile { .. }
            ) || options.headers.iter().any(in_file),
            auth: options.auth.clone(),
            tokens,
            headers: options.headers.clone(),
        })
    }

    /// Puts credentials and headers into a request.
    ///
    /// # Errors
    /// A file that cannot be read, a value that no header may have, or no token from the token server.
    pub async fn sign(&self, request: RequestBuilder) -> Result<RequestBuilder, ClientError> {
        let (auth, headers) = (self.auth.clone(), self.headers.clone());
        let complete = move || -> Result<RequestBuilder, ClientError> {
            let mut request = auth.apply(request)?;
            for header in &headers {
                request = request.header(header.name.clone(), value(&header.value.read()?)?);
            }
            Ok(request)
        };
        let request = match self.reads_files {
            true => crate::blocking(complete).await,
            false => complete(),
        }?;
        match &self.tokens {
            Some(tokens) => Ok(request.header(AUTHORIZATION, value(&tokens.header().await?)?)),
            None => Ok(request),
        }
    }

    /// Looks at the answer to a signed request: a token that was refused is not used again. True if the same request with another token
    /// may be answered otherwise.
    pub async fn answered(&self, status: StatusCode) -> bool {
        match &self.tokens {
            Some(tokens) if status == StatusCode::UNAUTHORIZED => {
                tokens.forget().await;
                true
            }
            _ => false,
        }
    }
}

fn value(text: &str) -> Result<HeaderValue, ClientError> {
    let mut value = HeaderValue::from_str(text).map_err(|_| ClientError::Other {
        reason: "the credentials or headers have characters that no HTTP header may have".into(),
    })?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Duration;

    use axum::Router;
    use axum::http::HeaderMap;
    use axum::routing::post;
    use model::Timestamp;

    use super::*;
    use crate::SimClock;
    use crate::http::{ClientOptions, client};

    /// A token server: remembers what it was asked, and gives one token after the other, for a minute each.
    async fn token_server(basic: bool) -> (String, Arc<Mutex<Vec<String>>>) {
        let seen: Arc<Mutex<Vec<String>>> = Arc::default();
        let asked = Arc::clone(&seen);
        let routes = Router::new().route(
            "/token",
            post(move |headers: HeaderMap, body: String| async move {
                let header = headers.get("authorization").map(|v| v.to_str().unwrap().to_owned());
                if header.is_some() != basic {
                    return (axum::http::StatusCode::UNAUTHORIZED, "wrong client".to_owned());
                }
                let mut asked = asked.lock().unwrap();
                asked.push(format!("{} {body}", header.unwrap_or_default()));
                let token = asked.len();
                let answer = format!("{{\"access_token\": \"t{token}\", \"token_type\": \"bearer\", \"expires_in\": 60}}");
                (axum::http::StatusCode::OK, answer)
            }),
        );
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/token", listener.local_addr().unwrap());
        let tasks = crate::Tasks::new();
        tasks.spawn_brief("token server", async move {
            axum::serve(listener, routes).await.unwrap();
        });
        (url, seen)
    }

    fn options(url: &str) -> SignerOptions {
        let secret = Secret::Inline("s&t".into());
        SignerOptions {
            oauth2: Some(OAuth2Options {
                client_id: "me".into(),
                client_secret: secret,
                scopes: vec!["a".into(), "b".into()],
                token_url: url.into(),
                endpoint_params: vec![("x".into(), "y".into())],
                client: ClientOptions::default(),
            }),
            headers: vec![ExtraHeader {
                name: HeaderName::from_static("x-scope"),
                value: Secret::Inline("7".into()),
            }],
            ..SignerOptions::default()
        }
    }

    async fn signed(signer: &Signer) -> Result<HeaderMap, ClientError> {
        let request = client(&ClientOptions::default())?.get("http://127.0.0.1/");
        Ok(signer
            .sign(request)
            .await?
            .build()
            .unwrap()
            .headers()
            .clone())
    }

    #[tokio::test]
    async fn tokens_are_kept_renewed_and_given_up() {
        let (url, seen) = token_server(true).await;
        let clock = SimClock::new(Timestamp::from_millis(0));
        let shared: Arc<dyn Clock> = Arc::new(clock.clone());
        let signer = Signer::new(&options(&url), &shared).unwrap();
        for _ in 0..2 {
            let headers = signed(&signer).await.unwrap();
            assert_eq!(
                (&headers["authorization"], &headers["x-scope"]),
                (&"Bearer t1".parse().unwrap(), &"7".parse().unwrap())
            );
        }
        // me and s%26t, encoded and joined.
        assert_eq!(
            *seen.lock().unwrap(),
            ["Basic bWU6cyUyNnQ= grant_type=client_credentials&scope=a+b&x=y"]
        );
        clock.advance(Duration::from_secs(51));
        assert_eq!(signed(&signer).await.unwrap()["authorization"], "Bearer t2");
        assert!(!signer.answered(StatusCode::OK).await);
        assert_eq!(signed(&signer).await.unwrap()["authorization"], "Bearer t2");
        assert!(signer.answered(StatusCode::UNAUTHORIZED).await);
        assert_eq!(signed(&signer).await.unwrap()["authorization"], "Bearer t3");
    }

    #[tokio::test]
    async fn servers_that_want_the_secret_in_the_form() {
        let (url, seen) = token_server(false).await;
        let clock: Arc<dyn Clock> = Arc::new(SimClock::new(Timestamp::from_millis(0)));
        let signer = Signer::new(&options(&url), &clock).unwrap();
        assert_eq!(signed(&signer).await.unwrap()["authorization"], "Bearer t1");
        let asked = seen.lock().unwrap()[0].clone();
        assert!(
            asked.ends_with("&client_id=me&client_secret=s%26t"),
            "{asked}"
        );
    }

    #[tokio::test]
    async fn no_token_is_said_without_the_secret() {
        let clock: Arc<dyn Clock> = Arc::new(SimClock::new(Timestamp::from_millis(0)));
        let signer = Signer::new(
            &options("http://uu:SEKRIT@127.0.0.1:1/token?k=SEKRIT"),
            &clock,
        )
        .unwrap();
        let error = signed(&signer).await.unwrap_err().to_string();
        assert!(
            error.contains("no OAuth2 token from http://uu:...@127.0.0.1:1/token?k=...: "),
            "{error}"
        );
        assert!(
            !error.contains("s&t") && !error.contains("SEKRIT"),
            "{error}"
        );
    }
}
