//! Who asks: for the query log.

use std::convert::Infallible;

use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::request::Parts;
use daemon::http::Peer;
use serde_json::{Value, json};

/// Where a request comes from and goes to.
pub(crate) struct Asker {
    ip: String,
    method: String,
    path: String,
}

impl<S: Send + Sync> FromRequestParts<S> for Asker {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let peer = parts.extensions.get::<ConnectInfo<Peer>>();
        Ok(Asker {
            ip: peer.map_or_else(String::new, |ConnectInfo(Peer(address))| {
                address.ip().to_string()
            }),
            method: parts.method.to_string(),
            path: parts.uri.path().to_owned(),
        })
    }
}

impl Asker {
    /// As the query log says it.
    pub(super) fn origin(self) -> (&'static str, Value) {
        let request = json!({"clientIP": self.ip, "method": self.method, "path": self.path});
        ("httpRequest", request)
    }
}
