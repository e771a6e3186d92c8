//! Why a push is not taken, and what its sender is told.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use daemon::http::BodyError;
use wire::remote_write::DecodeError;

/// Refusals that an answer lists; then it says how many more there are.
const SHOWN_MAX: usize = 5;
/// When to try again while others are being taken.
pub(super) const BUSY_RETRY_SECONDS: u32 = 5;
/// When to try again while there is no room on disk.
pub(super) const DISK_RETRY_SECONDS: u32 = 30;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) status: StatusCode,
    pub(super) text: String,
    retry_after: Option<u32>,
}

impl Refused {
    pub(super) fn new(status: StatusCode, why: impl ToString) -> Refused {
        Refused {
            status,
            text: why.to_string(),
            retry_after: None,
        }
    }

    pub(super) fn bad(why: impl ToString) -> Refused {
        Refused::new(StatusCode::BAD_REQUEST, why)
    }

    /// 503: keep it, and send it again. (429 makes a Prometheus drop it, unless it is told otherwise.)
    pub(super) fn later(seconds: u32, why: impl ToString) -> Refused {
        Refused {
            retry_after: Some(seconds),
            ..Refused::new(StatusCode::SERVICE_UNAVAILABLE, why)
        }
    }
}

impl From<BodyError> for Refused {
    fn from(error: BodyError) -> Refused {
        match error {
            BodyError::TooLong { .. } => Refused::new(StatusCode::PAYLOAD_TOO_LARGE, error),
            BodyError::Broken { .. } => Refused::bad(error),
            BodyError::Busy | BodyError::Silent | BodyError::Stopping => {
                Refused::later(BUSY_RETRY_SECONDS, error)
            }
        }
    }
}

impl From<DecodeError> for Refused {
    fn from(error: DecodeError) -> Refused {
        match error.is_body_too_long() {
            true => Refused::new(StatusCode::PAYLOAD_TOO_LARGE, error),
            false => Refused::bad(error),
        }
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let mut response = (self.status, self.text + "\n").into_response();
        if let Some(seconds) = self.retry_after {
            let seconds = HeaderValue::from(seconds);
            response.headers_mut().insert(header::RETRY_AFTER, seconds);
        }
        response
    }
}

/// What of a request is not taken while the rest is.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    pub(super) samples: u64,
    count: usize,
    shown: Vec<String>,
}

impl Refusals {
    /// So many samples are not taken; `why` is only made while there is room to say it.
    pub(super) fn add(&mut self, samples: u64, why: impl FnOnce() -> String) {
        (self.samples, self.count) = (self.samples + samples, self.count + 1);
        if self.shown.len() < SHOWN_MAX {
            self.shown.push(why());
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// 400, for a request of which so many samples are stored.
    pub(super) fn answer(&self, stored: u64) -> Refused {
        let mut text = format!(
            "{} samples refused, {stored} stored: {}",
            self.samples,
            self.shown.join("; ")
        );
        if self.count > self.shown.len() {
            text.push_str(&format!("; and {} more", self.count - self.shown.len()));
        }
        Refused::bad(text)
    }
}
