use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::serve::Listener;
use rustls::ServerConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::config::WebConfig;
use crate::tls::Watched;

/// Handshakes under way; beyond them new connections wait in the system's queue.
const HANDSHAKES_MAX: usize = 512;
/// A client that takes longer is let go of.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);
/// The first byte of every TLS connection.
const TLS_RECORD: u8 = 0x16;

type Handshake = Option<(TlsStream<TcpStream>, SocketAddr)>;

/// Gives connections whose TLS handshake is done. Handshakes run side by side, so that a slow client keeps nobody waiting.
pub(crate) struct TlsListener {
    tcp: TcpListener,
    config: Arc<Watched<WebConfig>>,
    handshakes: JoinSet<Handshake>,
    prepare: fn(&TcpStream),
}

impl TlsListener {
    /// `prepare` sets the options of each connection.
    pub(crate) fn new(
        tcp: TcpListener,
        config: Arc<Watched<WebConfig>>,
        prepare: fn(&TcpStream),
    ) -> Self {
        TlsListener {
            tcp,
            config,
            handshakes: JoinSet::new(),
            prepare,
        }
    }
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    // Nothing is lost when it is dropped: handshakes belong to the listener.
    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            tokio::select! {
                (stream, from) = Listener::accept(&mut self.tcp), if self.handshakes.len() < HANDSHAKES_MAX => {
                    (self.prepare)(&stream);
                    // Files have been looked at for this handshake. Without TLS in them, what was read before is in force.
                    let Some(tls) = self.config.current().tls.clone() else { continue };
                    self.handshakes.spawn(async move {
                        match timeout(HANDSHAKE_WITHIN, handshake(stream, tls)).await {
                            Ok(Ok(stream)) => return Some((stream, from)),
                            Ok(Err(error)) => tracing::debug!(%from, "TLS handshake: {error}"),
                            Err(_) => tracing::debug!(%from, "TLS handshake: not within {HANDSHAKE_WITHIN:?}"),
                        }
                        None
                    });
                }
                Some(done) = self.handshakes.join_next(), if !self.handshakes.is_empty() => {
                    if let Ok(Some(connection)) = done {
                        return connection;
                    }
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }
}

async fn handshake(
    mut stream: TcpStream,
    config: Arc<ServerConfig>,
) -> io::Result<TlsStream<TcpStream>> {
    let mut first = [0];
    if stream.peek(&mut first).await? == 1 && first[0].is_ascii_uppercase() {
        say_https(&mut stream).await?;
        return Err(io::Error::other("a client sent plain HTTP"));
    }
    if first[0] != TLS_RECORD {
        return Err(io::Error::other("what a client sent is no TLS"));
    }
    TlsAcceptor::from(config).accept(stream).await
}

/// As Go's servers say it, so that people see what is wrong.
async fn say_https(stream: &mut TcpStream) -> io::Result<()> {
    const ANSWER: &[u8] = b"HTTP/1.0 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\nClient sent an HTTP request to an HTTPS server: use https://\n";
    // What has come is read first, or the system would throw the answer away with it.
    let mut request = [0; 4096];
    let _ = stream.read(&mut request).await?;
    stream.write_all(ANSWER).await?;
    stream.shutdown().await
}
