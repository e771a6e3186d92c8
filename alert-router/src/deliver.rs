//! Delivering a batch: over HTTP, or as a test wants it.

use std::sync::{Arc, Mutex, PoisonError};

use daemon::http::ClientOptions;
use futures_util::future::BoxFuture;
use wire::alertmanager::PostableAlert;

use crate::config::Destination;
use crate::outbox::{Content, Outcome};

/// Hands content to a destination and says how it went. Never hangs: the destination's timeout ends it.
pub(crate) trait Deliver: Send + Sync + 'static {
    fn deliver(&self, to: Arc<Destination>, content: Content) -> BoxFuture<'static, Outcome>;
}

/// `POST` with JSON.
#[derive(Default)]
pub(crate) struct HttpDeliver {
    /// One client for each set of options: connections are shared and kept.
    clients: Mutex<Vec<(ClientOptions, reqwest::Client)>>,
}

/// As much of an answer's body as goes into a message.
const REASON_BYTES_MAX: usize = 300;

impl HttpDeliver {
    fn client(&self, to: &Destination) -> Result<reqwest::Client, String> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, client)) = clients.iter().find(|(known, _)| *known == to.client) {
            return Ok(client.clone());
        }
        let client = daemon::http::client(&to.client).map_err(|error| error.to_string())?;
        clients.push((to.client.clone(), client.clone()));
        Ok(client)
    }

    /// The configuration has changed: certificates are read again.
    pub(crate) fn forget_clients(&self) {
        self.clients
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }

    fn request(
        &self,
        to: &Destination,
        content: &Content,
    ) -> Result<reqwest::RequestBuilder, String> {
        let body = match content {
            Content::Alerts(alerts) => {
                let alerts: Vec<PostableAlert> = alerts.iter().map(PostableAlert::from).collect();
                serde_json::to_vec(&alerts)
            }
            Content::Notice(message) => serde_json::to_vec(message),
        };
        let body = body.map_err(|error| format!("cannot be written as JSON: {error}"))?;
        let mut request = self
            .client(to)?
            .post(&to.url)
            .header("content-type", "application/json");
        for (name, value) in &to.headers {
            request = request.header(name, value);
        }
        to.auth
            .apply(request.body(body))
            .map_err(|error| error.to_string())
    }
}

impl Deliver for Arc<HttpDeliver> {
    fn deliver(&self, to: Arc<Destination>, content: Content) -> BoxFuture<'static, Outcome> {
        let this = Arc::clone(self);
        Box::pin(async move {
            // Making it may read files: a token, certificates.
            let made = daemon::blocking(move || this.request(&to, &content)).await;
            match made {
                Ok(request) => outcome(request.send().await).await,
                Err(reason) => Outcome::Failed(reason),
            }
        })
    }
}

async fn outcome(answer: Result<reqwest::Response, reqwest::Error>) -> Outcome {
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => return Outcome::Failed(explain(&error)),
    };
    let status = answer.status();
    if status.is_success() {
        return Outcome::Acknowledged;
    }
    let text = first_bytes(answer).await;
    let reason = if text.is_empty() {
        status.to_string()
    } else {
        format!("{status}: {text}")
    };
    match status.as_u16() {
        // It has read the request and calls it wrong. Anything else (not allowed, not found, too busy, broken) is about
        // the destination or our configuration of it, and may be mended.
        400 | 413 | 422 => Outcome::Refused(reason),
        _ => Outcome::Failed(reason),
    }
}

async fn first_bytes(mut answer: reqwest::Response) -> String {
    let mut bytes = Vec::new();
    while let Ok(Some(chunk)) = answer.chunk().await {
        bytes.extend_from_slice(&chunk);
        if bytes.len() >= REASON_BYTES_MAX {
            bytes.truncate(REASON_BYTES_MAX);
            break;
        }
    }
    String::from_utf8_lossy(&bytes).trim().to_owned()
}

/// What a person needs of it: reqwest's own text leaves out why, the whole chain says it three times.
fn explain(error: &reqwest::Error) -> String {
    let mut innermost: &dyn std::error::Error = error;
    while let Some(inner) = innermost.source() {
        innermost = inner;
    }
    if error.is_timeout() {
        "no answer within the timeout".to_owned()
    } else if error.is_connect() {
        format!("cannot connect: {innermost}")
    } else {
        format!("request failed: {innermost}")
    }
}
