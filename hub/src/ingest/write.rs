//! `POST /api/v1/write`: remote write 1.0 from our edges, from Prometheus and from everything that speaks it.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use wire::edge_headers::{self, EdgeHeaders};
use wire::remote_write;

use super::receive::{Answer, Ingest, Refused};

/// The route. Every answer says whose it is, those to wrong methods and wrong tokens too.
pub(crate) fn routes(ingest: Arc<Ingest>) -> Router {
    Router::new()
        .route("/api/v1/write", post(write))
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
    match take(&ingest, request).await {
        Answer::Stored => StatusCode::NO_CONTENT.into_response(),
        Answer::Refused(refused) => refused.into_response(),
    }
}

/// Who sends and what kind of message it is are looked at before a byte of the body is read.
async fn take(ingest: &Arc<Ingest>, request: Request) -> Answer {
    let (parts, body) = request.into_parts();
    let Some(identity) = ingest.credentials().identify(&parts.headers) else {
        ingest.count_unauthorized();
        return Answer::refused(
            StatusCode::UNAUTHORIZED,
            "no branch has this bearer token: check credentials in remote_write and branchline.branches of the hub",
        );
    };
    let edge = match check_headers(&parts.headers) {
        Ok(edge) => edge,
        Err(refused) => return ingest.refuse(&identity, None, refused),
    };
    match ingest.read(body).await {
        // The room that the body takes is given back when it is stored.
        Ok((body, _room)) => ingest.receive(identity, edge, body).await,
        Err(refused) => ingest.refuse(&identity, edge.as_ref(), refused),
    }
}

fn check_headers(headers: &HeaderMap) -> Result<Option<EdgeHeaders>, Refused> {
    let lookup = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    remote_write::headers::check(
        lookup(header::CONTENT_TYPE.as_str()),
        lookup(header::CONTENT_ENCODING.as_str()),
    )
    .map_err(|error| Refused::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, error))?;
    EdgeHeaders::from_lookup(lookup).map_err(|error| Refused::new(StatusCode::BAD_REQUEST, error))
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
