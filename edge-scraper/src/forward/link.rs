use bytes::Bytes;
use futures_util::future::BoxFuture;

/// The way to one hub: HTTP, or a direct call for the edge inside a hub.
pub trait Link: Send + Sync + 'static {
    /// Sends a request and waits for its answer, for as long as it takes: the caller has the timeout, and drops the future
    /// when it is over.
    fn send(&self, request: LinkRequest) -> BoxFuture<'static, Result<LinkResponse, LinkError>>;

    /// Where it leads, for people; without secrets.
    fn address(&self) -> String;
}

/// A remote-write request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkRequest {
    /// A message of remote write 1.0 or 2.0, as the headers say, in one Snappy block.
    pub body: Bytes,
    /// Headers, name in lower case and value: content type, encoding, version, and those of the edge. Credentials and
    /// configured headers are the link's.
    pub headers: Vec<(&'static str, String)>,
}

/// What came back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkResponse {
    /// HTTP status.
    pub status: u16,
    /// Headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The beginning of the body, at most [`LinkResponse::BODY_BYTES_MAX`] bytes.
    pub body: String,
}

impl LinkResponse {
    /// How much of a body is kept: enough for an error text, as in Prometheus.
    pub const BODY_BYTES_MAX: usize = 1024;

    /// The first header of that name (lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, value)| value.as_str())
    }
}

/// No answer: nobody there, connection lost, name not found, certificate refused…
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct LinkError(
    /// What happened, for people.
    pub String,
);
