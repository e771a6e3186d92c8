use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;

use daemon::Clock;
use daemon::config::without_passwords;
use daemon::http::{ClientError, ClientOptions, Signer, SignerOptions};
use futures_util::future::BoxFuture;
use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

use super::link::{Link, LinkError, LinkRequest, LinkResponse};

/// Where and how requests leave.
#[derive(Clone, Debug)]
pub struct HttpLinkOptions {
    /// The remote-write address.
    pub url: Url,
    /// Connection, TLS, proxy. Its `timeout` should be None: the shipper has its own.
    pub client: ClientOptions,
    /// Credentials and `http_headers`; what is in files is read for every request, so that a mended token works at once.
    pub signer: SignerOptions,
    /// Further headers.
    pub headers: BTreeMap<String, String>,
}

/// A link over HTTP. Connections are kept open between requests.
pub struct HttpLink {
    client: reqwest::Client,
    /// A WebSocket begins as HTTP/1.1.
    line_client: reqwest::Client,
    url: Url,
    signer: Arc<Signer>,
    headers: HeaderMap,
}

impl HttpLink {
    /// Makes the client. Nothing is sent yet.
    ///
    /// # Errors
    /// TLS files that cannot be read, a bad proxy address (of the token server's client too), or a header that HTTP does not allow.
    pub fn new(options: HttpLinkOptions, clock: &Arc<dyn Clock>) -> Result<HttpLink, ClientError> {
        let mut headers = HeaderMap::new();
        for (name, value) in &options.headers {
            let bad = || ClientError::Other {
                reason: format!("header {name:?} has characters that HTTP does not allow"),
            };
            let value = HeaderValue::from_str(value).map_err(|_| bad())?;
            headers.insert(
                HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad())?,
                value,
            );
        }
        let client = daemon::http::client(&options.client)?;
        let line_client = daemon::http::client(&ClientOptions {
            http2: false,
            follow_redirects: false,
            ..options.client
        })?;
        Ok(HttpLink {
            client,
            line_client,
            url: options.url,
            signer: Arc::new(Signer::new(&options.signer, clock)?),
            headers,
        })
    }
}

impl HttpLink {
    /// Where the line of the same hub is. None where the address is not one of a hub's.
    pub(super) fn line_url(&self) -> Option<Url> {
        let before = self.url.path().strip_suffix("/api/v1/write")?;
        let mut url = self.url.clone();
        url.set_path(&format!("{before}{}", wire::line::link::PATH));
        Some(url)
    }

    /// A request with the configured headers, sent with the credentials as they are now.
    pub(super) async fn ask(
        &self,
        make: impl Fn(&reqwest::Client) -> reqwest::RequestBuilder,
    ) -> Result<reqwest::Response, String> {
        let make = || make(&self.line_client).headers(self.headers.clone());
        signed(&self.signer, make).await
    }
}

/// Sends a request with credentials. A token of a token server that is refused (revoked, or the server's clock is ahead) is renewed
/// and the request sent once more: an endpoint that is not ours is never asked again after a 401, and would lose the samples.
async fn signed(
    signer: &Signer,
    make: impl Fn() -> reqwest::RequestBuilder,
) -> Result<reqwest::Response, String> {
    let mut response = send(signer, make()).await?;
    if signer.answered(response.status()).await {
        response = send(signer, make()).await?;
        signer.answered(response.status()).await;
    }
    Ok(response)
}

async fn send(
    signer: &Signer,
    request: reqwest::RequestBuilder,
) -> Result<reqwest::Response, String> {
    let request = signer.sign(request).await;
    let request = request.map_err(|error| error.to_string())?;
    request.send().await.map_err(|error| explain(&error))
}

impl Link for HttpLink {
    fn send(&self, request: LinkRequest) -> BoxFuture<'static, Result<LinkResponse, LinkError>> {
        let (client, signer) = (self.client.clone(), Arc::clone(&self.signer));
        let (url, headers) = (self.url.clone(), self.headers.clone());
        Box::pin(async move {
            let make = || {
                let builder = client.post(url.clone()).headers(headers.clone());
                let pairs = request.headers.iter();
                let builder = pairs.fold(builder, |builder, (name, value)| {
                    builder.header(*name, value)
                });
                builder.body(request.body.clone())
            };
            let response = signed(&signer, make).await.map_err(LinkError)?;
            let status = response.status().as_u16();
            let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
            let headers = response
                .headers()
                .iter()
                .map(|(name, value)| (name.as_str().to_owned(), text(value)));
            let headers = headers.collect();
            Ok(LinkResponse {
                status,
                headers,
                body: beginning(response).await,
            })
        })
    }

    fn address(&self) -> String {
        let mut url = self.url.clone();
        // Neither can fail for an http or https URL.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        without_passwords(url.as_str())
    }
}

/// The beginning of a body. A little more is read and thrown away so that the connection can be used again.
async fn beginning(mut response: reqwest::Response) -> String {
    const READ_BYTES_MAX: usize = 64 << 10;
    let (mut kept, mut read) = (Vec::new(), 0);
    while read < READ_BYTES_MAX
        && let Ok(Some(chunk)) = response.chunk().await
    {
        read += chunk.len();
        let room = LinkResponse::BODY_BYTES_MAX - kept.len();
        kept.extend_from_slice(&chunk[..chunk.len().min(room)]);
    }
    String::from_utf8_lossy(&kept).into_owned()
}

/// The last cause says what happened; what stands before it, only where.
pub(super) fn explain(error: &reqwest::Error) -> String {
    let mut cause: &dyn Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    match error.is_connect() {
        true => format!("cannot connect: {cause}"),
        false => cause.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Duration;

    use axum::Router;
    use axum::http::{HeaderMap as Given, StatusCode};
    use axum::routing::post;
    use daemon::http::{OAuth2Options, Secret};
    use daemon::{SimClock, Tasks};
    use model::Timestamp;

    use super::*;

    /// A token server and an endpoint that takes its tokens.
    #[derive(Default)]
    struct Server {
        /// How many tokens were given: `t1`, `t2`, …
        given: usize,
        /// Tokens of lower numbers are no longer taken.
        good_from: usize,
        /// Bodies that were taken, and refusals.
        taken: Vec<String>,
        refused: usize,
    }

    async fn serve(tasks: &Tasks) -> (String, Arc<Mutex<Server>>) {
        let server: Arc<Mutex<Server>> = Arc::default();
        let (tokens, writes) = (Arc::clone(&server), Arc::clone(&server));
        let routes = Router::new()
            .route(
                "/token",
                post(move |body: String| async move {
                    assert!(body.contains("scope=write"), "{body}");
                    let mut server = tokens.lock().unwrap();
                    server.given += 1;
                    format!(
                        "{{\"access_token\": \"t{}\", \"token_type\": \"Bearer\", \"expires_in\": 60}}",
                        server.given
                    )
                }),
            )
            .route(
                "/write",
                post(move |headers: Given, body: String| async move {
                    let mut server = writes.lock().unwrap();
                    let token = headers["authorization"].to_str().unwrap();
                    let number = token.strip_prefix("Bearer t").unwrap().parse::<usize>();
                    if number.unwrap() < server.good_from || headers["x-scope"] != "7" {
                        server.refused += 1;
                        return StatusCode::UNAUTHORIZED;
                    }
                    assert_eq!(headers["branchline-edge"], "b07");
                    server.taken.push(format!("{token} {body}"));
                    StatusCode::NO_CONTENT
                }),
            );
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tasks.spawn_brief("token server", async move {
            axum::serve(listener, routes).await.unwrap();
        });
        (url, server)
    }

    #[tokio::test]
    async fn tokens_are_got_renewed_when_they_expire_and_at_once_when_refused() {
        let tasks = Tasks::new();
        let (url, server) = serve(&tasks).await;
        let clock = SimClock::new(Timestamp::from_millis(0));
        let shared: Arc<dyn Clock> = Arc::new(clock.clone());
        let options = HttpLinkOptions {
            url: format!("{url}/write").parse().unwrap(),
            client: ClientOptions::default(),
            signer: SignerOptions {
                oauth2: Some(OAuth2Options {
                    client_id: "b07".into(),
                    client_secret: Secret::Inline("s".into()),
                    scopes: vec!["write".into()],
                    token_url: format!("{url}/token"),
                    endpoint_params: Vec::new(),
                    client: ClientOptions::default(),
                }),
                headers: vec![daemon::http::ExtraHeader {
                    name: HeaderName::from_static("x-scope"),
                    value: Secret::Inline("7".into()),
                }],
                ..SignerOptions::default()
            },
            headers: BTreeMap::new(),
        };
        let link = HttpLink::new(options, &shared).unwrap();
        let send = async |body: &'static str| {
            let request = LinkRequest {
                body: body.into(),
                headers: vec![("branchline-edge", "b07".into())],
            };
            link.send(request).await.unwrap().status
        };
        assert_eq!((send("a").await, send("b").await), (204, 204));
        clock.advance(Duration::from_secs(51));
        assert_eq!(send("c").await, 204);
        server.lock().unwrap().good_from = 3;
        assert_eq!(send("d").await, 204);
        {
            let server = server.lock().unwrap();
            assert_eq!(
                server.taken,
                ["Bearer t1 a", "Bearer t1 b", "Bearer t2 c", "Bearer t3 d"]
            );
            assert_eq!((server.given, server.refused), (3, 1));
        }
        // Who refuses the new one too is believed, and not asked a third time.
        server.lock().unwrap().good_from = 100;
        assert_eq!(send("e").await, 401);
        let server = server.lock().unwrap();
        assert_eq!((server.given, server.refused), (4, 3));
    }

    #[tokio::test]
    async fn a_token_server_that_is_gone_keeps_the_samples() {
        let clock: Arc<dyn Clock> = Arc::new(SimClock::new(Timestamp::from_millis(0)));
        let options = HttpLinkOptions {
            url: "http://127.0.0.1:1/write".parse().unwrap(),
            client: ClientOptions::default(),
            signer: SignerOptions {
                oauth2: Some(OAuth2Options {
                    client_id: "b07".into(),
                    client_secret: Secret::Inline("hidden".into()),
                    scopes: Vec::new(),
                    token_url: "http://127.0.0.1:1/token".into(),
                    endpoint_params: Vec::new(),
                    client: ClientOptions::default(),
                }),
                ..SignerOptions::default()
            },
            headers: BTreeMap::new(),
        };
        let link = HttpLink::new(options, &clock).unwrap();
        let request = LinkRequest {
            body: "x".into(),
            headers: Vec::new(),
        };
        // No answer, and not a refusal: what was to be sent stays pending.
        let error = link.send(request).await.unwrap_err().to_string();
        assert!(
            error.contains("no OAuth2 token from http://127.0.0.1:1/token"),
            "{error}"
        );
        assert!(!error.contains("hidden"), "{error}");
    }
}
