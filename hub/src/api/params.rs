//! Parameters of a request: query string and form body merged, body first, as Prometheus reads them.

use std::time::Duration;

use axum::body::{Bytes, to_bytes};
use axum::extract::{FromRequest, Request};
use axum::http::{Method, header};
use model::{Matcher, Timestamp};

use super::ApiError;

/// Longest form body: a query with many matchers, never samples.
const FORM_BYTES_MAX: usize = 10 * 1024 * 1024;

/// The parameters of one request, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Params {
    pairs: Vec<(String, String)>,
}

impl<S: Send + Sync> FromRequest<S> for Params {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let query = request.uri().query().unwrap_or_default().to_owned();
        let form = request.method() == Method::POST
            && request
                .headers()
                .get(header::CONTENT_TYPE)
                .and_then(|value| value.to_str().ok())
                .is_some_and(|value| value.starts_with("application/x-www-form-urlencoded"));
        let body = if form {
            to_bytes(request.into_body(), FORM_BYTES_MAX)
                .await
                .map_err(|_| ApiError::bad_data("form body cannot be read, or is over 10 MiB"))?
        } else {
            Bytes::new()
        };
        let mut pairs = Vec::new();
        for text in [&body[..], query.as_bytes()] {
            pairs.extend(form_pairs(text));
        }
        Ok(Params { pairs })
    }
}

fn form_pairs(text: &[u8]) -> impl Iterator<Item = (String, String)> + '_ {
    url_pairs(text).map(|(name, value)| (name.into_owned(), value.into_owned()))
}

fn url_pairs(text: &[u8]) -> form_urlencoded::Parse<'_> {
    form_urlencoded::parse(text)
}

impl Params {
    /// The first value of `name`; an empty one counts as missing.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let mut values = self.pairs.iter().filter(|(n, _)| n == name);
        values
            .next()
            .map(|(_, value)| value.as_str())
            .filter(|value| !value.is_empty())
    }

    /// All values of `name`.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.pairs
            .iter()
            .filter(move |(n, _)| n == name)
            .map(|(_, value)| value.as_str())
    }

    /// A parameter that must be there.
    pub(crate) fn required(&self, name: &str) -> Result<&str, ApiError> {
        self.get(name)
            .ok_or_else(|| ApiError::bad_parameter(name, format!("missing, give {name}=…")))
    }

    /// An instant: Unix seconds with a fraction, or RFC 3339.
    pub(crate) fn time(&self, name: &str) -> Result<Option<Timestamp>, ApiError> {
        self.get(name)
            .map(|text| parse_time(text).map_err(|error| ApiError::bad_parameter(name, error)))
            .transpose()
    }

    /// A duration: seconds with a fraction, or `1h30m`.
    pub(crate) fn duration(&self, name: &str) -> Result<Option<Duration>, ApiError> {
        let signed = self.signed_duration(name)?;
        signed
            .map(|millis| {
                u64::try_from(millis)
                    .map(Duration::from_millis)
                    .map_err(|_| {
                        ApiError::bad_parameter(name, "a negative duration makes no sense here")
                    })
            })
            .transpose()
    }

    /// A duration in milliseconds that may be negative.
    pub(crate) fn signed_duration(&self, name: &str) -> Result<Option<i64>, ApiError> {
        self.get(name)
            .map(|text| {
                parse_duration_millis(text).map_err(|error| ApiError::bad_parameter(name, error))
            })
            .transpose()
    }

    /// `limit`: 0 and missing mean none.
    pub(crate) fn limit(&self) -> Result<Option<usize>, ApiError> {
        let Some(text) = self.get("limit") else {
            return Ok(None);
        };
        match text.parse::<i64>() {
            Ok(0) => Ok(None),
            Ok(limit) if limit > 0 => Ok(Some(usize::try_from(limit).unwrap_or(usize::MAX))),
            Ok(_) => Err(ApiError::bad_parameter(
                "limit",
                "limit must be non-negative",
            )),
            Err(error) => Err(ApiError::bad_parameter(
                "limit",
                format!("cannot parse {text:?}: {error}"),
            )),
        }
    }

    /// Every `match[]`, parsed.
    pub(crate) fn matchers(&self) -> Result<Vec<Vec<Matcher>>, ApiError> {
        self.all("match[]")
            .map(|text| {
                let matchers = promql::parse_selector(text)
                    .map_err(|error| ApiError::bad_parameter("match[]", error))?;
                if matchers.iter().all(Matcher::matches_empty) {
                    return Err(ApiError::bad_parameter(
                        "match[]",
                        "match[] must contain at least one non-empty matcher",
                    ));
                }
                Ok(matchers)
            })
            .collect()
    }
}

fn parse_time(text: &str) -> Result<Timestamp, String> {
    if let Ok(seconds) = text.parse::<f64>() {
        if seconds.is_nan() {
            return Err(format!("cannot parse {text:?} to a valid timestamp"));
        }
        return Ok(Timestamp::from_seconds_f64(seconds));
    }
    match wire::alertmanager::parse_rfc3339(text) {
        Ok(Some(at)) => Ok(at),
        _ => Err(format!("cannot parse {text:?} to a valid timestamp")),
    }
}

fn parse_duration_millis(text: &str) -> Result<i64, String> {
    if let Ok(seconds) = text.parse::<f64>() {
        let millis = seconds * 1000.0;
        if millis.is_nan() || millis.abs() > i64::MAX as f64 / 1e6 {
            return Err(format!(
                "cannot parse {text:?} to a valid duration. It overflows int64"
            ));
        }
        return Ok(millis.round() as i64);
    }
    let (sign, rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text),
    };
    model::duration::parse(rest)
        .map(|duration| sign * duration.as_millis() as i64)
        .map_err(|_| format!("cannot parse {text:?} to a valid duration"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        let check = |text: &str, millis: i64| {
            assert_eq!(
                parse_time(text).map(Timestamp::millis),
                Ok(millis),
                "{text}"
            );
        };
        check("4", 4_000);
        check("1435781451.781", 1_435_781_451_781);
        check("2015-07-01T20:10:51.781Z", 1_435_781_451_781);
        check("2015-07-01T22:10:51.781+02:00", 1_435_781_451_781);
        check("1600096945479", 1_600_096_945_479_000);
        assert_eq!(parse_time("1e300").map(Timestamp::millis), Ok(i64::MAX));
        for bad in ["", "now", "NaN", "2015-13-01T00:00:00Z"] {
            assert!(parse_time(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn durations() {
        assert_eq!(parse_duration_millis("1.5"), Ok(1500));
        assert_eq!(parse_duration_millis("1h"), Ok(3_600_000));
        assert_eq!(parse_duration_millis("-5m"), Ok(-300_000));
        assert!(
            parse_duration_millis("1e30")
                .unwrap_err()
                .contains("overflows")
        );
        assert!(parse_duration_millis("soon").is_err());
    }

    #[test]
    fn the_body_comes_first_and_repeats_are_kept() {
        let mut pairs: Vec<_> = form_pairs(b"query=body&match[]=a").collect();
        pairs.extend(form_pairs(
            b"query=url&match%5B%5D=%7Bb%3D%22c%22%7D&limit=0",
        ));
        let params = Params { pairs };
        assert_eq!(params.get("query"), Some("body"));
        assert_eq!(
            params.all("match[]").collect::<Vec<_>>(),
            ["a", "{b=\"c\"}"]
        );
        assert_eq!(params.limit().unwrap(), None);
    }
}
