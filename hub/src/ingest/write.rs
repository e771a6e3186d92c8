//! `POST /api/v1/write`: remote write 1.0 from our edges, from Prometheus and from everything that speaks it.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use wire::edge_headers;
use wire::remote_write;

use super::receive::{Answer, Ingest, Refused};

/// The route. Bodies are read up to a little over the limit, so that the answer can say what the limit is.
pub(crate) fn routes(ingest: Arc<Ingest>) -> Router {
    let body_bytes_max = ingest.limits().compressed_bytes_max;
    Router::new()
        .route("/api/v1/write", post(write))
        .layer(DefaultBodyLimit::max(body_bytes_max))
        .with_state(ingest)
}

async fn write(State(ingest): State<Arc<Ingest>>, headers: HeaderMap, body: Bytes) -> Response {
    let header = |name: header::HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let answer = match ingest.credentials().identify(&headers) {
        None => {
            ingest.count_unauthorized();
            Answer::Refused(Refused {
                status: StatusCode::UNAUTHORIZED,
                text: "no branch has this bearer token: check credentials in remote_write and branchline.branches of the hub".into(),
                retry_after: None,
            })
        }
        Some(identity) => {
            match remote_write::headers::check(
                header(header::CONTENT_TYPE),
                header(header::CONTENT_ENCODING),
            ) {
                Err(error) => Answer::refused(StatusCode::UNSUPPORTED_MEDIA_TYPE, error),
                Ok(()) => {
                    let lookup =
                        |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
                    match edge_headers::EdgeHeaders::from_lookup(lookup) {
                        Err(error) => Answer::refused(StatusCode::BAD_REQUEST, error),
                        Ok(edge) => ingest.receive(identity, edge, body).await,
                    }
                }
            }
        }
    };
    let mut response = match answer {
        Answer::Stored => StatusCode::NO_CONTENT.into_response(),
        Answer::Refused(refused) => {
            let mut response = (refused.status, refused.text + "\n").into_response();
            if let Some(seconds) = refused.retry_after {
                response
                    .headers_mut()
                    .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
            }
            response
        }
    };
    if let Ok(id) = HeaderValue::from_str(ingest.hub_id()) {
        response.headers_mut().insert(edge_headers::HUB, id);
    }
    response
}
