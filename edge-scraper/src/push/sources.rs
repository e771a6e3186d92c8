//! Who pushes: for the page, the metrics and the API. A source is a kind of push and who it comes from: the user that signed in, or the
//! address.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use axum::http::{HeaderMap, header};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use daemon::http::Peer;
use model::{LabelSet, Timestamp};

/// Sources that are remembered; of more, the one that was heard of longest ago goes.
const SOURCES_MAX: usize = 500;
/// Characters of a name or an error.
const TEXT_MAX: usize = 200;

/// In which form something is pushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Remote write 1.0 or 2.0.
    RemoteWrite,
    /// OTLP/HTTP.
    Otlp,
    /// The Pushgateway's API.
    Gateway,
}

impl Kind {
    /// For people, and as a label.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::RemoteWrite => "remote_write",
            Kind::Otlp => "otlp",
            Kind::Gateway => "pushgateway",
        }
    }
}

/// Who pushed what, since the start.
#[derive(Debug, Clone, PartialEq)]
pub struct SourceStatus {
    /// How.
    pub kind: Kind,
    /// User or address.
    pub from: String,
    /// Requests, refused ones included.
    pub requests: u64,
    /// Of those, refused ones.
    pub refused: u64,
    /// Samples taken.
    pub samples: u64,
    /// When something was last taken.
    pub last: Option<Timestamp>,
    /// The last refusal.
    pub last_error: Option<(Timestamp, String)>,
}

/// Counts by kind, which no forgotten source takes away.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PushCounts {
    /// Requests, refused ones included.
    pub requests: u64,
    /// Of those, refused ones.
    pub refused: u64,
    /// Samples taken.
    pub samples: u64,
    /// Samples refused.
    pub samples_refused: u64,
}

/// One request's sender.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Source {
    pub(super) kind: Kind,
    pub(super) from: String,
}

impl Source {
    /// Names the sender of a request that was let in.
    pub(super) fn of(kind: Kind, headers: &HeaderMap, peer: Option<Peer>, users: bool) -> Source {
        let user = users.then(|| user(headers)).flatten();
        let from = user.unwrap_or_else(|| match peer {
            Some(Peer(address)) => address.ip().to_string(),
            None => "unknown".to_owned(),
        });
        Source { kind, from }
    }

    /// Its identity as a target: equal over restarts.
    pub(super) fn target(&self) -> u64 {
        LabelSet::from_pairs([("kind", self.kind.as_str()), ("from", self.from.as_str())])
            .unwrap_or_default()
            .fingerprint()
    }
}

/// The name in basic auth, whose password was checked before the request came here.
fn user(headers: &HeaderMap) -> Option<String> {
    let given = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, coded) = given.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(STANDARD.decode(coded.trim()).ok()?).ok()?;
    let (user, _) = decoded.split_once(':')?;
    (!user.is_empty()).then(|| user.chars().take(TEXT_MAX).collect())
}

#[derive(Default)]
pub(super) struct Sources(Mutex<State>);

#[derive(Default)]
struct State {
    sources: BTreeMap<Source, SourceStatus>,
    counts: BTreeMap<Kind, PushCounts>,
}

impl Sources {
    /// Notes how a request ended: samples taken and refused, and why.
    pub(super) fn note(
        &self,
        source: &Source,
        now: Timestamp,
        samples: u64,
        samples_refused: u64,
        error: Option<&str>,
    ) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let counts = state.counts.entry(source.kind).or_default();
        counts.requests += 1;
        counts.refused += u64::from(error.is_some());
        counts.samples += samples;
        counts.samples_refused += samples_refused;
        let known = state.sources.contains_key(source);
        if !known && state.sources.len() >= SOURCES_MAX {
            let heard = |status: &SourceStatus| {
                let failed = status.last_error.as_ref().map(|(at, _)| *at);
                status.last.max(failed)
            };
            let oldest = state.sources.iter().min_by_key(|(_, status)| heard(status));
            if let Some(oldest) = oldest.map(|(source, _)| source.clone()) {
                state.sources.remove(&oldest);
            }
        }
        let status = state
            .sources
            .entry(source.clone())
            .or_insert_with(|| SourceStatus {
                kind: source.kind,
                from: source.from.clone(),
                requests: 0,
                refused: 0,
                samples: 0,
                last: None,
                last_error: None,
            });
        status.requests += 1;
        status.samples += samples;
        if error.is_none() || samples > 0 {
            status.last = Some(now);
        }
        if let Some(error) = error {
            status.refused += 1;
            let text = error.chars().take(TEXT_MAX).collect();
            status.last_error = Some((now, text));
        }
    }

    pub(super) fn status(&self) -> Vec<SourceStatus> {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.sources.values().cloned().collect()
    }

    pub(super) fn counts(&self) -> Vec<(Kind, PushCounts)> {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        [Kind::RemoteWrite, Kind::Otlp, Kind::Gateway]
            .into_iter()
            .map(|kind| (kind, state.counts.get(&kind).copied().unwrap_or_default()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_have_names_and_others_addresses() {
        let mut headers = HeaderMap::new();
        let coded = format!("Basic {}", STANDARD.encode("till:secret"));
        headers.insert(header::AUTHORIZATION, coded.parse().unwrap());
        let peer = Some(Peer("10.0.0.7:4711".parse().unwrap()));
        let named = Source::of(Kind::Otlp, &headers, peer, true);
        assert_eq!(named.from, "till");
        // Nobody checked the name.
        assert_eq!(
            Source::of(Kind::Otlp, &headers, peer, false).from,
            "10.0.0.7"
        );
        let other = Source::of(Kind::RemoteWrite, &headers, peer, true);
        assert_ne!(named.target(), other.target());
        // Golden: records of a source must not change their target with a release.
        assert_eq!(named.target(), 7_794_918_537_217_980_815);
    }

    #[test]
    fn so_many_are_remembered_and_all_are_counted() {
        let sources = Sources::default();
        for n in 0..SOURCES_MAX as i64 + 3 {
            let source = Source {
                kind: Kind::Otlp,
                from: n.to_string(),
            };
            sources.note(&source, Timestamp::from_millis(n), 1, 2, Some("no"));
        }
        let status = sources.status();
        assert_eq!(status.len(), SOURCES_MAX);
        assert!(!status.iter().any(|status| status.from == "2"));
        let counts = sources.counts()[1].1;
        assert_eq!((counts.requests, counts.samples_refused), (503, 1006));
    }
}
