//! `POST /api/v1/otlp/v1/metrics`: metrics of OpenTelemetry, off unless `branchline.otlp_receiver` says otherwise.
//!
//! A request that contradicts itself, or a sample out of time, refuses all of it, as in Prometheus. What only this hub's own
//! limits refuse (new series beyond the branch's, labels too long) leaves the rest stored, as with remote write: an exporter
//! repeats what it knows for ever, and one series too many must not take the others with it.

mod body;
mod store;

use std::sync::{Arc, PoisonError, RwLock};

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use wire::otlp::Settings;

use super::receive::{Answer, Ingest, Refused};
use super::write::identify;
use body::{Encoding, Kind};

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
    let (kind, encoding) = match form_of(&parts.headers) {
        Ok(form) => form,
        Err(why) => {
            return ingest.refuse(&identity, None, Refused::new(StatusCode::BAD_REQUEST, why));
        }
    };
    // The room that the body takes is given back when it is stored.
    let (body, _room) = match ingest.read(body).await {
        Ok(read) => read,
        Err(refused) => return ingest.refuse(&identity, None, refused),
    };
    let store = move |ingest: &Ingest, identity: &super::Identity| {
        let message = body::message(&body, kind, encoding, ingest.limits())?;
        store::store(ingest, &settings, identity, &message)
    };
    ingest.receive_with(identity, None, store).await.0
}

/// What the headers say of the body.
fn form_of(headers: &HeaderMap) -> Result<(Kind, Encoding), String> {
    let text = |name| {
        headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap_or("?"))
    };
    let said = text(header::CONTENT_TYPE);
    let media = said.split(';').next().unwrap_or_default().trim();
    let kind = match media {
        "application/x-protobuf" => Kind::Protobuf,
        "application/json" => Kind::Json,
        _ => {
            let known = "[application/json, application/x-protobuf]";
            return Err(format!(
                "unsupported content type: {said}, supported: {known}"
            ));
        }
    };
    let encoding = match text(header::CONTENT_ENCODING) {
        "" | "identity" => Encoding::Plain,
        "gzip" => Encoding::Gzip,
        "zstd" => Encoding::Zstd,
        other => {
            let known = "Only \"gzip\", \"zstd\" or no compression supported";
            return Err(format!("unsupported compression: {other}. {known}"));
        }
    };
    Ok((kind, encoding))
}
