//! The routes of all that writes, and `POST /api/v1/write`: remote write 1.0 and 2.0 from our edges, from Prometheus and from everything that speaks them.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use wire::edge_headers::{self, EdgeHeaders};
use wire::remote_write::headers::{self, HeaderRefusal, Version};

use super::Identity;
use super::otlp;
use super::receive::{Answer, Ingest, Refused, Written};

/// The routes. Every answer says whose it is, those to wrong methods and wrong tokens too.
pub(crate) fn routes(ingest: Arc<Ingest>) -> Router {
    Router::new()
        .route("/api/v1/write", post(write))
        .route("/api/v1/otlp/v1/metrics", post(otlp::write))
        .layer(middleware::from_fn_with_state(ingest.clone(), name_hub))
        .with_state(ingest)
}

async fn name_hub(State(ingest): State<Arc<Ingest>>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    if let Ok(id) = HeaderValue::from_str(ingest.hub_id()) {
        response.headers_mut().insert(edge_headers::HUB, id);
    }
    response
}

async fn write(State(ingest): State<Arc<Ingest>>, request: Request) -> Response {
    let version = version_of(request.headers());
    let (answer, written) = take(&ingest, request).await;
    let mut response = answer.into_response();
    // Senders of 1.0 are not told, as Prometheus does not tell them; those of 2.0 always, whatever went wrong.
    if let Ok(Version::V2) = version {
        let counts = [
            (headers::SAMPLES_WRITTEN, written.samples),
            (headers::HISTOGRAMS_WRITTEN, written.histograms),
            (headers::EXEMPLARS_WRITTEN, written.exemplars),
        ];
        for (name, count) in counts {
            if let Ok(name) = name.parse::<HeaderName>() {
                response.headers_mut().insert(name, count.into());
            }
        }
    }
    response
}

/// Who sends and what kind of message it is are looked at before a byte of the body is read.
async fn take(ingest: &Arc<Ingest>, request: Request) -> (Answer, Written) {
    let (parts, body) = request.into_parts();
    let nothing = Written::default();
    let identity = match identify(ingest, &parts.headers) {
        Ok(identity) => identity,
        Err(refused) => return (refused, nothing),
    };
    let (version, edge) = match check_headers(&parts.headers) {
        Ok(checked) => checked,
        Err(refused) => return (ingest.refuse(&identity, None, refused), nothing),
    };
    // The room that the body takes is given back when it is stored.
    let (body, _room) = match ingest.read(body).await {
        Ok(read) => read,
        Err(refused) => return (ingest.refuse(&identity, edge.as_ref(), refused), nothing),
    };
    match version {
        Version::V1 => (ingest.receive(identity, edge, body).await, nothing),
        Version::V2 => {
            let store =
                move |ingest: &Ingest, identity: &Identity| ingest.store_body_v2(identity, &body);
            ingest.receive_with(identity, edge, store).await
        }
    }
}

/// Who sends; nobody we know is told so.
pub(crate) fn identify(ingest: &Ingest, headers: &HeaderMap) -> Result<Identity, Answer> {
    ingest.credentials().identify(headers).ok_or_else(|| {
        ingest.count_unauthorized();
        Answer::refused(
            StatusCode::UNAUTHORIZED,
            "no branch has this bearer token: check credentials in remote_write and branchline.branches of the hub",
        )
    })
}

fn version_of(headers: &HeaderMap) -> Result<Version, HeaderRefusal> {
    let lookup = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    headers::check(
        lookup(header::CONTENT_TYPE),
        lookup(header::CONTENT_ENCODING),
    )
}

fn check_headers(headers: &HeaderMap) -> Result<(Version, Option<EdgeHeaders>), Refused> {
    let version = version_of(headers)
        .map_err(|error| Refused::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, error))?;
    let lookup = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let edge = EdgeHeaders::from_lookup(lookup);
    let edge = edge.map_err(|error| Refused::new(StatusCode::BAD_REQUEST, error))?;
    Ok((version, edge))
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        match self {
            Answer::Stored => StatusCode::NO_CONTENT.into_response(),
            Answer::Refused(refused) => refused.into_response(),
        }
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let mut response = (self.status, self.text + "\n").into_response();
        let headers = response.headers_mut();
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(reason) = self.reason {
            headers.insert(edge_headers::REASON, HeaderValue::from_static(reason));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("Bearer realm=\"branchline\"");
            headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}
