use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use model::re2::Re2;

/// Whose pages may read what is there: `--web.cors.origin`. By default everybody's.
#[derive(Clone, Debug, Default)]
pub struct CorsOrigin {
    /// Anchored; None: any.
    pattern: Option<Arc<Re2>>,
}

impl CorsOrigin {
    /// Those origins that the regular expression matches from end to end; `.*` are all.
    ///
    /// # Errors
    /// It is no regular expression.
    pub fn matching(pattern: &str) -> Result<Self, String> {
        if pattern == ".*" {
            return Ok(CorsOrigin::default());
        }
        let pattern = Re2::anchored(pattern).map_err(|error| error.to_string())?;
        Ok(CorsOrigin {
            pattern: Some(Arc::new(pattern)),
        })
    }

    /// What a page from there is told: who may read; None: not this one.
    fn answer_to(&self, origin: &HeaderValue) -> Option<HeaderValue> {
        match &self.pattern {
            None => Some(HeaderValue::from_static("*")),
            Some(pattern) => {
                let matches = |text: &str| pattern.is_match(text);
                origin.to_str().is_ok_and(matches).then(|| origin.clone())
            }
        }
    }
}

/// What a page from elsewhere may do, as in Prometheus: whatever anybody may, but without the browser's credentials.
const ALLOWED: [(HeaderName, HeaderValue); 3] = [
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
pub(crate) async fn cors(
    State(allowed): State<CorsOrigin>,
    request: Request,
    next: Next,
) -> Response {
    if !request.uri().path().starts_with("/api/") {
        return next.run(request).await;
    }
    let origin = request.headers().get(header::ORIGIN).cloned();
    let mut response = match *request.method() {
        Method::OPTIONS => StatusCode::NO_CONTENT.into_response(),
        _ => next.run(request).await,
    };
    add_headers(response.headers_mut(), &allowed, origin);
    response
}

fn add_headers(headers: &mut HeaderMap, allowed: &CorsOrigin, origin: Option<HeaderValue>) {
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
    if let Some(origin) = origin {
        headers.extend(ALLOWED);
        if let Some(answer) = allowed.answer_to(&origin) {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, answer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_match_as_a_whole() {
        let check = |pattern: &str, origin: &'static str, expected: Option<&'static str>| {
            let allowed = CorsOrigin::matching(pattern).unwrap();
            let answer = allowed.answer_to(&HeaderValue::from_static(origin));
            assert_eq!(answer, expected.map(HeaderValue::from_static), "{pattern}");
        };
        check(".*", "https://a.example", Some("*"));
        let two = r"https?://(a|b)\.example";
        check(two, "https://a.example", Some("https://a.example"));
        check(two, "http://b.example", Some("http://b.example"));
        check(two, "https://a.example.evil", None);
        check(two, "xhttps://a.example", None);
        check("a|b", "ab", None);
        check("", "https://a.example", None);
        assert!(CorsOrigin::matching("(").is_err());
        assert!(CorsOrigin::matching("a)(b").is_err());
    }
}
