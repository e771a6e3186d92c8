use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};

use super::{SignIn, Web};

/// Probes have no password, and learn nothing that a closed port would not tell.
const OPEN_PATHS: [&str; 2] = ["/-/healthy", "/-/ready"];

/// Lets only users of the web configuration in, if there are some. For services without credentials of their own.
pub fn guard(router: Router, web: &Web) -> Router {
    router.layer(middleware::from_fn_with_state(web.clone(), users_only))
}

async fn users_only(State(web): State<Web>, request: Request, next: Next) -> Response {
    if OPEN_PATHS.contains(&request.uri().path()) {
        return next.run(request).await;
    }
    match web.sign_in(request.headers()).await {
        SignIn::NobodyAsked | SignIn::User(_) => next.run(request).await,
        SignIn::Refused => (
            StatusCode::UNAUTHORIZED,
            [(header::WWW_AUTHENTICATE, "Basic realm=\"branchline\"")],
            "name and password of a user of the web configuration (basic_auth_users) are needed\n",
        )
            .into_response(),
        SignIn::Busy => busy(),
    }
}

/// The answer to [`SignIn::Busy`].
fn busy() -> Response {
    (
        StatusCode::SERVICE_UNAVAILABLE,
        [(header::RETRY_AFTER, "1")],
        "too many passwords are being checked: try again\n",
    )
        .into_response()
}

impl SignIn {
    /// The answer to those who cannot be checked now.
    pub fn busy() -> Response {
        busy()
    }
}

/// Puts the headers of `http_server_config` on every answer.
pub(crate) fn add_headers(router: Router, web: &Web) -> Router {
    if web.file.is_none() {
        return router;
    }
    router.layer(middleware::from_fn_with_state(web.clone(), with_headers))
}

async fn with_headers(State(web): State<Web>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    if let Some(config) = web.current() {
        response
            .headers_mut()
            .extend(config.headers.iter().cloned());
    }
    response
}
