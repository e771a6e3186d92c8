use std::time::Duration;

use model::Timestamp;
use wire::edge_headers::{HUB, REASON, REASON_SERIES_LIMIT, parse_hub};
use wire::remote_write::headers::Written;

use super::link::LinkResponse;
use super::shipper::Peer;

/// What of an answer matters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// The hub that answered, if it is one of ours.
    pub hub: Option<String>,
    /// How long it asks us to wait.
    pub retry_after: Option<Duration>,
    /// Its first line, for people.
    pub text: String,
    /// It is a page for people: no remote-write endpoint answers with one, but portals and proxies do.
    pub is_page: bool,
    /// The hub has as many series of this branch as it may have; it stored all others of the request.
    pub series_limit: bool,
    /// How much it says it has written; None where it does not say: who reads remote write 2.0 always does.
    pub written: Option<Written>,
}

impl Answer {
    /// Reads a response that arrived at `now`.
    pub fn read(response: &LinkResponse, now: Timestamp) -> Answer {
        let content_type = response.header("content-type").unwrap_or_default();
        let line = response
            .body
            .lines()
            .map(str::trim)
            .find(|line| !line.is_empty())
            .unwrap_or_default();
        Answer {
            status: response.status,
            hub: response.header(HUB).and_then(|hub| parse_hub(hub).ok()),
            retry_after: response
                .header("retry-after")
                .and_then(|value| parse_retry_after(value, now)),
            text: line.chars().take(300).collect(),
            is_page: content_type
                .trim()
                .to_ascii_lowercase()
                .starts_with("text/html"),
            series_limit: response.header(REASON) == Some(REASON_SERIES_LIMIT),
            written: Written::from_lookup(|name| response.header(name)),
        }
    }

    /// For people: `HTTP 503: disk full`.
    pub fn describe(&self) -> String {
        match self.text.as_str() {
            "" => format!("HTTP {}", self.status),
            text => format!("HTTP {}: {text}", self.status),
        }
    }
}

/// Seconds, or a date as HTTP writes it.
fn parse_retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    if let Ok(seconds) = value.trim().parse::<u32>() {
        return Some(Duration::from_secs(seconds.into()));
    }
    let date = jiff::fmt::rfc2822::parse(value.trim()).ok()?;
    let until = Timestamp::from_millis(date.timestamp().as_millisecond());
    Some(until.saturating_since(now))
}

/// What an answer says about the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// Stored.
    Taken,
    /// The other end, or something before it, cannot now: keep and try again. `link`: nothing at all gets through.
    Later { link: bool },
    /// It never will. `parts`: perhaps smaller parts of it would be.
    Never { parts: bool, too_large: bool },
}

/// What an answer to a request of remote write 2.0 says of that version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// It says how much was written: whoever does not read 2.0 would not.
    Understood,
    /// It is not spoken there. `retry`: the same has to be asked in 1.0.
    NotSpoken { retry: bool },
    /// Nothing.
    Unsaid,
    /// Samples were taken without a word of how many were written. Receivers of 1.0 that do not look at the content type find no series in a
    /// message of 2.0, and take that.
    Doubtful,
}

/// `empty`: there was nothing in the request that could be refused.
pub(super) fn heard(answer: &Answer, empty: bool) -> Heard {
    match answer.status {
        _ if answer.written.is_some() => Heard::Understood,
        415 => Heard::NotSpoken { retry: true },
        _ if answer.is_page => Heard::Unsaid,
        200..=299 if empty => Heard::NotSpoken { retry: false },
        200..=299 => Heard::Doubtful,
        // What receivers from before 2.0 answer to a message that they do not know.
        400 | 422 if empty && answer.hub.is_none() => Heard::NotSpoken { retry: true },
        _ => Heard::Unsaid,
    }
}

/// A refusal, with how much was written all the same.
pub(super) fn explain_written(carried: &Written, answer: &Answer) -> String {
    match answer.written {
        Some(written) if carried.values() > 0 => format!(
            "{} ({} of {} samples were written)",
            answer.describe(),
            written.values(),
            carried.values()
        ),
        _ => answer.describe(),
    }
}

pub(super) fn classify(peer: &Peer, answer: &Answer) -> Meaning {
    let own = matches!(peer, Peer::Own { .. });
    if own && answer.hub.is_none() {
        return Meaning::Later { link: true };
    }
    let foreign = *peer == Peer::Foreign;
    match answer.status {
        200..=299 if answer.is_page => Meaning::Later { link: true },
        200..=299 => Meaning::Taken,
        413 => Meaning::Never {
            parts: true,
            too_large: true,
        },
        // Waiting would hold up what comes after, which is mostly of series that the hub takes.
        429 if own && answer.series_limit => Meaning::Never {
            parts: true,
            too_large: false,
        },
        400 | 422 => Meaning::Never {
            parts: true,
            too_large: false,
        },
        401 | 403 | 404 if !foreign => Meaning::Later { link: true },
        408 | 425 | 429 => Meaning::Later { link: false },
        401..=499 => Meaning::Never {
            parts: false,
            too_large: false,
        },
        500..=599 => Meaning::Later { link: false },
        _ => Meaning::Later { link: true },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, hub: bool) -> Answer {
        Answer {
            status,
            hub: hub.then(|| "hq".into()),
            retry_after: None,
            text: String::new(),
            is_page: false,
            series_limit: false,
            written: None,
        }
    }

    #[test]
    fn the_table() {
        let own = Peer::Own { hub: "hq".into() };
        let later = |link| Meaning::Later { link };
        let never = |parts, too_large| Meaning::Never { parts, too_large };
        let rows = [
            (204, Meaning::Taken, Meaning::Taken),
            (302, later(true), later(true)),
            (400, never(true, false), never(true, false)),
            (401, later(true), never(false, false)),
            (403, later(true), never(false, false)),
            (404, later(true), never(false, false)),
            (408, later(false), later(false)),
            (413, never(true, true), never(true, true)),
            (415, never(false, false), never(false, false)),
            (429, later(false), later(false)),
            (503, later(false), later(false)),
        ];
        for (status, ours, theirs) in rows {
            assert_eq!(classify(&own, &answer(status, true)), ours, "{status}");
            assert_eq!(
                classify(&own, &answer(status, false)),
                later(true),
                "{status} from a proxy"
            );
            assert_eq!(
                classify(&Peer::Foreign, &answer(status, false)),
                theirs,
                "{status}"
            );
        }
        let portal = Answer {
            is_page: true,
            ..answer(200, false)
        };
        assert_eq!(classify(&Peer::Foreign, &portal), later(true));
        let full = Answer {
            series_limit: true,
            ..answer(429, true)
        };
        assert_eq!(classify(&own, &full), never(true, false));
        assert_eq!(classify(&Peer::Foreign, &full), later(false));
    }

    #[test]
    fn reads_headers() {
        let response = |name: &str, value: &str| LinkResponse {
            status: 503,
            headers: vec![(name.to_owned(), value.to_owned())],
            body: "\n  disk full \nmore".into(),
        };
        let now = Timestamp::from_millis(1_700_000_000_000);
        let after = |value: &str| Answer::read(&response("retry-after", value), now).retry_after;
        assert_eq!(after("120"), Some(Duration::from_secs(120)));
        assert_eq!(
            after("Tue, 14 Nov 2023 22:14:20 GMT"),
            Some(Duration::from_secs(60))
        );
        assert_eq!(after("Tue, 14 Nov 2023 22:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(after("soon"), None);
        let read = Answer::read(&response("branchline-hub", "hq-1"), now);
        assert_eq!(
            (read.hub.as_deref(), read.describe().as_str()),
            (Some("hq-1"), "HTTP 503: disk full")
        );
        assert!(Answer::read(&response("content-type", "text/HTML; charset=utf-8"), now).is_page);
    }
}
