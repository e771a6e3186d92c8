//! What pushers ask over HTTP.

use std::sync::Arc;

use axum::Router;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, HeaderName, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, post};
use daemon::http::Peer;
use wire::otlp::body::form_of;
use wire::remote_write::Limits;
use wire::remote_write::headers::{self, Version};

use super::gateway::{How, PushError, parse_key};
use super::refused::{DISK_RETRY_SECONDS, Refused};
use super::sources::Source;
use super::{Kind, Pushes, families, otlp, protobuf, write};

/// Longest body of remote write and OTLP, compressed and not: several times what senders make by default.
const LIMITS: Limits = Limits {
    compressed_bytes_max: 8 << 20,
    decompressed_bytes_max: 16 << 20,
    messages_max: 1_000_000,
};
/// Longest push of one group, compressed and not.
const GROUP_BYTES_MAX: usize = 4 << 20;

#[derive(Clone)]
struct Door {
    pushes: Arc<Pushes>,
    /// Whether there are users, so that a name in basic auth is one.
    users: bool,
}

/// The paths. `users` says whether names are checked before a request comes here.
pub(crate) fn routes(pushes: Arc<Pushes>, users: bool) -> Router {
    Router::new()
        .route("/api/v1/write", post(remote_write))
        .route("/api/v1/otlp/v1/metrics", post(otlp_metrics))
        .route("/metrics/{*key}", any(group))
        .with_state(Door { pushes, users })
}

impl Door {
    fn source(&self, kind: Kind, request: &Request) -> Source {
        let peer = request.extensions().get::<ConnectInfo<Peer>>();
        let peer = peer.map(|ConnectInfo(peer)| *peer);
        Source::of(kind, request.headers(), peer, self.users)
    }

    /// Counts a request, and shows it where its source is shown.
    fn note(&self, source: &Source, stored: u64, refused_samples: u64, refused: Option<&Refused>) {
        let now = self.pushes.clock.now();
        let text = refused.map(|refused| refused.text.as_str());
        if let Some(text) = text {
            let (kind, from) = (source.kind.as_str(), &source.from);
            tracing::warn!(kind, from, "push refused: {text}");
        }
        self.pushes
            .sources
            .note(source, now, stored, refused_samples, text);
    }
}

fn text_of(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    // A header that is no text is none that we know.
    headers.get(name).map(|value| value.to_str().unwrap_or("?"))
}

async fn remote_write(State(door): State<Door>, request: Request) -> Response {
    let source = door.source(Kind::RemoteWrite, &request);
    let version = headers::check(
        text_of(request.headers(), header::CONTENT_TYPE),
        text_of(request.headers(), header::CONTENT_ENCODING),
    );
    let taken = match &version {
        Ok(version) => take_write(&door, &source, *version, request).await,
        Err(error) => Err(Refused::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, error)),
    };
    let (stored, histograms, exemplars, result) = match taken {
        Ok(taken) => {
            let result = match taken.refusals.is_empty() {
                true => Ok(()),
                false => Err(taken.refusals.answer(taken.stored)),
            };
            let refused = taken.refusals.samples;
            door.note(&source, taken.stored, refused, result.as_ref().err());
            (taken.stored, taken.histograms, taken.exemplars, result)
        }
        Err(refused) => {
            door.note(&source, 0, 0, Some(&refused));
            (0, 0, 0, Err(refused))
        }
    };
    let mut response = match result {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(refused) => refused.into_response(),
    };
    // Senders of 1.0 are not told, as Prometheus does not tell them.
    if let Ok(Version::V2) = version {
        let counts = [
            (headers::SAMPLES_WRITTEN, stored - histograms),
            (headers::HISTOGRAMS_WRITTEN, histograms),
            (headers::EXEMPLARS_WRITTEN, exemplars),
        ];
        for (name, count) in counts {
            if let Ok(name) = name.parse::<HeaderName>() {
                response.headers_mut().insert(name, count.into());
            }
        }
    }
    response
}

async fn take_write(
    door: &Door,
    source: &Source,
    version: Version,
    request: Request,
) -> Result<write::Taken, Refused> {
    let pushes = Arc::clone(&door.pushes);
    if !pushes.settings().remote_write {
        let why = "the remote-write receiver is off: set branchline.remote_write_receiver: true in the edge's configuration";
        return Err(Refused::new(StatusCode::NOT_FOUND, why));
    }
    // The room that the body takes is given back when it is stored.
    let read = pushes
        .bodies
        .read(request.into_body(), LIMITS.compressed_bytes_max);
    let (body, room) = read.await?;
    // The semaphore is never closed.
    let turn = door.pushes.storing.acquire().await;
    let source = source.clone();
    let taken = daemon::blocking(move || {
        let _room = room;
        pushes.check_room()?;
        write::take(&pushes, &source, version, &body, &LIMITS)
    })
    .await;
    drop(turn);
    taken
}

async fn otlp_metrics(State(door): State<Door>, request: Request) -> Response {
    let source = door.source(Kind::Otlp, &request);
    match take_otlp(&door, &source, request).await {
        Ok(stored) => {
            door.note(&source, stored, 0, None);
            // The whole answer of the protocol, when all was taken, is an empty message.
            StatusCode::OK.into_response()
        }
        Err(refused) => {
            door.note(&source, 0, 0, Some(&refused));
            refused.into_response()
        }
    }
}

async fn take_otlp(door: &Door, source: &Source, request: Request) -> Result<u64, Refused> {
    let pushes = Arc::clone(&door.pushes);
    let settings = pushes.settings();
    if settings.otlp.is_none() {
        let why = "the OTLP receiver is off: set branchline.otlp_receiver: true in the edge's configuration";
        return Err(Refused::new(StatusCode::NOT_FOUND, why));
    }
    let form = form_of(
        text_of(request.headers(), header::CONTENT_TYPE),
        text_of(request.headers(), header::CONTENT_ENCODING),
    );
    let form = form.map_err(Refused::bad)?;
    let read = pushes
        .bodies
        .read(request.into_body(), LIMITS.compressed_bytes_max);
    let (body, room) = read.await?;
    let turn = door.pushes.storing.acquire().await;
    let source = source.clone();
    let taken = daemon::blocking(move || {
        let _room = room;
        pushes.check_room()?;
        // Looked at above.
        let translation = settings.otlp.clone().unwrap_or_default();
        otlp::take(&pushes, &source, &translation, form, &body, &LIMITS)
    })
    .await;
    drop(turn);
    taken
}

async fn group(State(door): State<Door>, request: Request) -> Response {
    let source = door.source(Kind::Gateway, &request);
    match change_group(&door, request).await {
        Ok((status, series)) => {
            door.note(&source, series, 0, None);
            status.into_response()
        }
        Err(refused) => {
            door.note(&source, 0, 0, Some(&refused));
            refused.into_response()
        }
    }
}

/// How it ended, and how many series were pushed.
async fn change_group(door: &Door, request: Request) -> Result<(StatusCode, u64), Refused> {
    let pushes = Arc::clone(&door.pushes);
    if !pushes.settings().gateway {
        let why = "the Pushgateway's API is off: add branchline.pushgateway: {} to the edge's configuration";
        return Err(Refused::new(StatusCode::NOT_FOUND, why));
    }
    let how = match *request.method() {
        Method::PUT => Some(How::Replace),
        Method::POST => Some(How::Update),
        Method::DELETE => None,
        _ => {
            let why = "a group takes PUT, POST and DELETE; it is read with all others at /federate";
            return Err(Refused::new(StatusCode::METHOD_NOT_ALLOWED, why));
        }
    };
    let path = request.uri().path();
    // As sent: a slash in a value is %2F there.
    let path = path.strip_prefix("/metrics/").unwrap_or_default();
    let key = parse_key(path).map_err(Refused::bad)?;
    let Some(how) = how else {
        let gone = daemon::blocking(move || pushes.gateway.delete(&key)).await;
        return gone.map(|()| (StatusCode::ACCEPTED, 0)).map_err(refuse);
    };
    let headers = request.headers().clone();
    let read = pushes.bodies.read(request.into_body(), GROUP_BYTES_MAX);
    let (body, room) = read.await?;
    let pushed = daemon::blocking(move || {
        let _room = room;
        let text = unpacked(&headers, &body)?;
        let families = match is_protobuf(&headers) {
            true => protobuf::read(&text),
            false => families::read(&text),
        };
        let series = families.iter().flat_map(|all| all.values());
        let series = series.map(|family| family.series() as u64).sum();
        pushes.gateway.push(&key, families, how).map_err(refuse)?;
        Ok((StatusCode::OK, series))
    });
    pushed.await
}

fn refuse(error: PushError) -> Refused {
    match error {
        PushError::Format(_) | PushError::Inconsistent(_) => Refused::bad(error),
        PushError::Full(_) | PushError::Disk(_) => Refused::later(DISK_RETRY_SECONDS, error),
    }
}

fn is_protobuf(headers: &HeaderMap) -> bool {
    let said = text_of(headers, header::CONTENT_TYPE).unwrap_or_default();
    let media = said.split(';').next().unwrap_or_default().trim();
    media.eq_ignore_ascii_case("application/vnd.google.protobuf")
}

/// The body as it was before it was compressed.
fn unpacked(headers: &HeaderMap, body: &[u8]) -> Result<Vec<u8>, Refused> {
    use std::io::Read;
    let limit = GROUP_BYTES_MAX;
    let reader: Box<dyn Read + '_> = match text_of(headers, header::CONTENT_ENCODING) {
        None | Some("" | "identity") => Box::new(body),
        Some("gzip") => Box::new(flate2::read::MultiGzDecoder::new(body)),
        Some("zstd") => {
            let decoder = zstd::stream::read::Decoder::new(body).map_err(Refused::bad)?;
            Box::new(decoder)
        }
        Some("snappy") => {
            let limits = Limits {
                compressed_bytes_max: limit,
                decompressed_bytes_max: limit,
                ..LIMITS
            };
            return Ok(wire::remote_write::decompress(body, &limits)?);
        }
        Some(other) => {
            let why = format!("unsupported compression: {other}; there are gzip, snappy and zstd");
            return Err(Refused::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, why));
        }
    };
    let mut text = Vec::new();
    let read = reader.take(limit as u64 + 1).read_to_end(&mut text);
    read.map_err(|error| Refused::bad(format!("the body cannot be decompressed: {error}")))?;
    match text.len() > limit {
        true => {
            let why =
                format!("push is longer than the limit of {limit} bytes: split it into groups");
            Err(Refused::new(StatusCode::PAYLOAD_TOO_LARGE, why))
        }
        false => Ok(text),
    }
}
