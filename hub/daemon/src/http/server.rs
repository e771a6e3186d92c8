use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::connect_info::Connected;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::serve::{IncomingStream, Listener, ListenerExt};
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};

use crate::web::{self, TlsListener, Web};
use crate::{Tasks, metrics};

/// Why a port cannot be opened.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum ListenError {
    #[error(
        "address {address} is in use: another process listens there; stop it, or choose another address with --listen"
    )]
    InUse { address: SocketAddr },
    #[error("address {address} is not one of this machine's: choose another with --listen")]
    NotOurs { address: SocketAddr },
    #[error(
        "not allowed to listen on {address}: choose a port above 1023 with --listen, or give the process that right"
    )]
    NotAllowed { address: SocketAddr },
    #[error("cannot listen on {address}: {source}")]
    Other {
        address: SocketAddr,
        source: std::io::Error,
    },
}

/// Opens a port.
///
/// # Errors
/// See [`ListenError`].
pub async fn listen(address: SocketAddr) -> Result<TcpListener, ListenError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| match source.kind() {
            ErrorKind::AddrInUse => ListenError::InUse { address },
            ErrorKind::AddrNotAvailable => ListenError::NotOurs { address },
            ErrorKind::PermissionDenied => ListenError::NotAllowed { address },
            _ => ListenError::Other { address, source },
        })
}

/// An idle connection is asked whether its other end is still there after this long, then as often again; a
/// link that was cut in silence would leave its connections open for ever.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// Questions without an answer after which a connection is closed.
const KEEPALIVE_RETRIES: u32 = 4;

/// Answers requests until the tasks' node is cancelled, then finishes those that are under way. Without TLS.
pub fn serve(listener: TcpListener, router: Router, tasks: &Tasks) {
    serve_web(listener, router, &Web::default(), tasks);
}

/// The same as the web configuration says: with TLS, if it has some, and with its headers. Who may ask for what is for the
/// router to say.
pub fn serve_web(listener: TcpListener, router: Router, web: &Web, tasks: &Tasks) {
    let router = web::add_headers(router, web);
    match web.listener() {
        Some(config) => run(
            TlsListener::new(listener, config, keep_alive),
            router,
            tasks,
        ),
        None => run(listener.tap_io(|stream| keep_alive(stream)), router, tasks),
    }
}

fn keep_alive(connection: &TcpStream) {
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE)
        .with_interval(KEEPALIVE)
        .with_retries(KEEPALIVE_RETRIES);
    if let Err(error) = SockRef::from(connection).set_tcp_keepalive(&keepalive) {
        tracing::debug!("no keepalive on a connection: {error}");
    }
}

/// Who asks, with TLS and without: `ConnectInfo<Peer>` among the extensions of a request.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);

/// A listener of ours: axum's own know addresses of their own kind only.
struct Known<L>(L);

impl<L: Listener<Addr = SocketAddr>> Listener for Known<L> {
    type Io = L::Io;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        self.0.accept().await
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.0.local_addr()
    }
}

impl<L: Listener<Addr = SocketAddr>> Connected<IncomingStream<'_, Known<L>>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Known<L>>) -> Self {
        Self(*stream.remote_addr())
    }
}

fn run<L: Listener<Addr = SocketAddr>>(listener: L, router: Router, tasks: &Tasks) {
    let token = tasks.token().clone();
    tasks.spawn("http server", async move {
        let until = token.cancelled_owned();
        if let Err(error) = axum::serve(
            Known(listener),
            router.into_make_service_with_connect_info::<Peer>(),
        )
        .with_graceful_shutdown(until)
        .await
        {
            tracing::error!("the HTTP server ended: {error}");
        }
    });
}

/// Whether a server that is not ready stops, rather than starts.
const STOPPING: &str = "x-prometheus-stopping";

/// Whether the service takes work. Healthy it is as long as it answers at all.
#[derive(Clone, Debug, Default)]
pub struct Health {
    ready: Arc<AtomicBool>,
    stopping: Arc<AtomicBool>,
}

impl Health {
    /// Says whether it is ready from now on.
    pub fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::Release);
    }

    /// It is ready no more, and will not be again.
    pub fn set_stopping(&self) {
        self.stopping.store(true, Ordering::Release);
        self.set_ready(false);
    }

    /// What is answered while it is not ready: says whether it starts or stops, as Prometheus does.
    pub fn not_ready(&self) -> impl IntoResponse + use<> {
        let stopping = match self.stopping.load(Ordering::Acquire) {
            true => "true",
            false => "false",
        };
        let headers = [(STOPPING, stopping)];
        (
            StatusCode::SERVICE_UNAVAILABLE,
            headers,
            "Service Unavailable",
        )
    }

    /// Whether it is ready.
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }
}

/// Gives the text of `/metrics`, in OpenMetrics.
pub type MetricsText = Arc<dyn Fn() -> String + Send + Sync>;

/// `/-/healthy`, `/-/ready`, `/metrics`; `name` stands in the answers as `Prometheus Server` does in Prometheus's.
pub fn common_routes(name: &'static str, health: Health, metrics_text: MetricsText) -> Router {
    let ready = move || {
        let health = health.clone();
        async move {
            match health.is_ready() {
                true => format!("{name} is Ready.\n").into_response(),
                false => health.not_ready().into_response(),
            }
        }
    };
    let metrics = move || {
        let metrics_text = metrics_text.clone();
        async move {
            let text = crate::blocking(move || metrics_text()).await;
            ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response()
        }
    };
    Router::new()
        .route(
            "/-/healthy",
            get(move || async move { format!("{name} is Healthy.\n") }),
        )
        .route("/-/ready", get(ready))
        .route("/metrics", get(metrics))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_busy_port_says_what_to_do() {
        let first = listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let error = listen(first.local_addr().unwrap())
            .await
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("is in use") && error.contains("--listen"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn answers_and_ends_in_order() {
        let listener = listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let (tasks, health) = (Tasks::new(), Health::default());
        serve(
            listener,
            common_routes("Hub", health.clone(), Arc::new(|| "# EOF\n".into())),
            &tasks,
        );
        let client = super::super::client(&Default::default()).unwrap();
        let get = |path: &str| client.get(format!("{base}{path}")).send();
        assert_eq!(
            get("/-/healthy").await.unwrap().text().await.unwrap(),
            "Hub is Healthy.\n"
        );
        assert_eq!(get("/-/ready").await.unwrap().status(), 503);
        health.set_ready(true);
        assert_eq!(
            get("/-/ready").await.unwrap().text().await.unwrap(),
            "Hub is Ready.\n"
        );
        let metrics = get("/metrics").await.unwrap();
        assert!(
            metrics.headers()["content-type"]
                .to_str()
                .unwrap()
                .starts_with("application/openmetrics-text")
        );
        assert_eq!(tasks.shutdown(Duration::from_secs(5)).await, Ok(()));
        assert!(get("/-/healthy").await.is_err());
    }
}
