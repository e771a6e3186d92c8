use std::collections::BTreeMap;
use std::error::Error;

use daemon::http::{Auth, ClientError, ClientOptions};
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
    /// Credentials; those from files are read for every request, so that a mended token works at once.
    pub auth: Auth,
    /// Further headers.
    pub headers: BTreeMap<String, String>,
}

/// A link over HTTP. Connections are kept open between requests.
pub struct HttpLink {
    client: reqwest::Client,
    /// A WebSocket begins as HTTP/1.1.
    line_client: reqwest::Client,
    url: Url,
    auth: Auth,
    headers: HeaderMap,
}

impl HttpLink {
    /// Makes the client. Nothing is sent yet.
    ///
    /// # Errors
    /// TLS files that cannot be read, a bad proxy address, or a header that HTTP does not allow.
    pub fn new(options: HttpLinkOptions) -> Result<HttpLink, ClientError> {
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
            auth: options.auth,
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

    /// A request with the configured headers.
    pub(super) fn get(&self, url: Url) -> reqwest::RequestBuilder {
        self.line_client.get(url).headers(self.headers.clone())
    }

    /// Adds the credentials, as they are now.
    pub(super) fn authorize(
        &self,
        request: reqwest::RequestBuilder,
    ) -> Result<reqwest::RequestBuilder, ClientError> {
        self.auth.apply(request)
    }
}

impl Link for HttpLink {
    fn send(&self, request: LinkRequest) -> BoxFuture<'static, Result<LinkResponse, LinkError>> {
        let mut builder = self
            .client
            .post(self.url.clone())
            .headers(self.headers.clone())
            .body(request.body);
        for (name, value) in request.headers {
            builder = builder.header(name, value);
        }
        let builder = self.auth.apply(builder);
        Box::pin(async move {
            let builder = builder.map_err(|error| LinkError(error.to_string()))?;
            let response = builder
                .send()
                .await
                .map_err(|error| LinkError(explain(&error)))?;
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
        url.to_string()
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
