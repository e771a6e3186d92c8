use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// An error as the Prometheus API reports it: status code, `errorType` and text.
#[derive(Clone, Debug)]
pub(crate) struct ApiError {
    kind: Kind,
    text: String,
}

/// The error types of the API; each has its HTTP status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    BadData,
    Execution,
    Canceled,
    Timeout,
    Internal,
    Unavailable,
}

impl Kind {
    fn parts(self) -> (StatusCode, &'static str) {
        match self {
            Kind::BadData => (StatusCode::BAD_REQUEST, "bad_data"),
            Kind::Execution => (StatusCode::UNPROCESSABLE_ENTITY, "execution"),
            // 499: the client closed the request; it has no name in the standard.
            Kind::Canceled => (
                StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST),
                "canceled",
            ),
            Kind::Timeout => (StatusCode::SERVICE_UNAVAILABLE, "timeout"),
            Kind::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
            // As Prometheus answers for what its flags switch off.
            Kind::Unavailable => (StatusCode::INTERNAL_SERVER_ERROR, "unavailable"),
        }
    }
}

impl ApiError {
    pub(crate) fn new(kind: Kind, text: impl ToString) -> Self {
        ApiError {
            kind,
            text: text.to_string(),
        }
    }

    /// 400: the request is wrong.
    pub(crate) fn bad_data(text: impl ToString) -> Self {
        ApiError::new(Kind::BadData, text)
    }

    /// 400: one parameter is wrong.
    pub(crate) fn bad_parameter(name: &str, why: impl ToString) -> Self {
        ApiError::bad_data(format!("invalid parameter {name:?}: {}", why.to_string()))
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (status, name) = self.kind.parts();
        if status.is_server_error() {
            tracing::warn!(kind = name, "request failed: {}", self.text);
        }
        let body = json!({"status": "error", "errorType": name, "error": self.text}).to_string();
        (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
    }
}
