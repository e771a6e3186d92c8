use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

/// What a page from elsewhere may do, as in Prometheus: whatever anybody may, but without the browser's credentials.
const ALLOWED: [(HeaderName, HeaderValue); 4] = [
    (
        header::ACCESS_CONTROL_ALLOW_ORIGIN,
        HeaderValue::from_static("*"),
    ),
    (
        header::ACCESS_CONTROL_ALLOW_METHODS,
        HeaderValue::from_static("GET, POST, OPTIONS"),
    ),
    (
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        HeaderValue::from_static("Accept, Authorization, Content-Type, Origin"),
    ),
    (
        header::ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static("Date"),
    ),
];

/// Answers `OPTIONS` below `/api/` (without credentials: a browser sends none with it), and lets pages from
/// elsewhere read what is there.
pub(crate) async fn cors(request: Request, next: Next) -> Response {
    if !request.uri().path().starts_with("/api/") {
        return next.run(request).await;
    }
    let from_elsewhere = request.headers().contains_key(header::ORIGIN);
    let mut response = match *request.method() {
        Method::OPTIONS => StatusCode::NO_CONTENT.into_response(),
        _ => next.run(request).await,
    };
    add_headers(response.headers_mut(), from_elsewhere);
    response
}

fn add_headers(headers: &mut HeaderMap, from_elsewhere: bool) {
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
    if from_elsewhere {
        headers.extend(ALLOWED);
    }
}
