//! `POST /api/v1/otlp/v1/metrics`: metrics of OpenTelemetry, off unless `branchline.otlp_receiver` says otherwise.
//!
//! A request that contradicts itself, or a sample out of time, refuses all of it, as in Prometheus. What only this hub's own
//! limits refuse (new series beyond the branch's, labels too long) leaves the rest stored, as with remote write: an exporter
//! repeats what it knows for ever, and one series too many must not take the others with it.

mod store;

use std::sync::{Arc, PoisonError, RwLock};

use axum::extract::{Request, State};
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use wire::otlp::{Settings, body};

use super::receive::{Answer, Ingest, Refused};
use super::write::identify;

/// Whether there is a receiver, and how it translates. Clones share it, so that a reload reaches the handler.
#[derive(Clone, Debug, Default)]
pub(crate) struct OtlpReceiver(Arc<RwLock<Option<Arc<Settings>>>>);

impl OtlpReceiver {
    /// Puts it in force; None switches the receiver off.
    pub(crate) fn set(&self, settings: Option<Settings>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = settings.map(Arc::new);
    }

    fn settings(&self) -> Option<Arc<Settings>> {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

pub(super) async fn write(State(ingest): State<Arc<Ingest>>, request: Request) -> Response {
    match take(&ingest, request).await {
        // The whole answer of the protocol, when all was taken, is an empty message.
        Answer::Stored => StatusCode::OK.into_response(),
        Answer::Refused(refused) => refused.into_response(),
    }
}

/// Who sends and what kind of message it is are looked at before a byte of the body is read.
async fn take(ingest: &Arc<Ingest>, request: Request) -> Answer {
    let (parts, body) = request.into_parts();
    let identity = match identify(ingest, &parts.headers) {
        Ok(identity) => identity,
        Err(refused) => return refused,
    };
    let Some(settings) = ingest.otlp().settings() else {
        let why = "the OTLP receiver is off: set branchline.otlp_receiver: true in the hub's configuration";
        return ingest.refuse(&identity, None, Refused::new(StatusCode::NOT_FOUND, why));
    };
    // A header that is no text is none that we know.
    let said = |name: HeaderName| {
        parts
            .headers
            .get(name)
            .map(|value| value.to_str().unwrap_or("?"))
    };
    let form = body::form_of(said(header::CONTENT_TYPE), said(header::CONTENT_ENCODING));
    let (kind, encoding) = match form {
        Ok(form) => form,
        Err(why) => {
            return ingest.refuse(&identity, None, Refused::new(StatusCode::BAD_REQUEST, why));
        }
    };
    // The room that the body takes is given back when it is stored.
    let (bytes, _room) = match ingest.read(body).await {
        Ok(read) => read,
        Err(refused) => return ingest.refuse(&identity, None, refused),
    };
    let store = move |ingest: &Ingest, identity: &super::Identity| {
        let message = body::message(&bytes, kind, encoding, ingest.limits())
            .map_err(|why| Refused::new(StatusCode::BAD_REQUEST, why))?;
        store::store(ingest, &settings, identity, &message)
    };
    ingest.receive_with(identity, None, store).await.0
}
