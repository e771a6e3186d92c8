//! A link that can be cut: a TCP relay between an edge and the hub, on loopback.

use std::io;
use std::net::SocketAddr;

use daemon::Tasks;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::script::CutKind;

/// Bytes relayed at once; also all that a cut holds back in each direction beside the sockets' own buffers.
const CHUNK_BYTES: usize = 16 * 1024;

/// One relay. Dropping it does not end it; its tasks' node does.
#[derive(Debug)]
pub(crate) struct Link {
    address: SocketAddr,
    state: watch::Sender<Option<CutKind>>,
}

impl Link {
    /// Opens a port on loopback that leads to `target`.
    pub(crate) async fn open(target: SocketAddr, tasks: &Tasks) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let (state, watch) = watch::channel(None);
        let relay = Relay {
            address,
            target,
            state: watch,
            tasks: tasks.clone(),
        };
        let token = tasks.token().clone();
        tasks.spawn("demo link", async move {
            token.run_until_cancelled(relay.run(listener)).await;
        });
        Ok(Link { address, state })
    }

    /// Where the edge connects to.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Cuts the link, or mends it (None).
    pub(crate) fn set(&self, wanted: Option<CutKind>) {
        self.state
            .send_if_modified(|state| std::mem::replace(state, wanted) != wanted);
    }

    /// How it stands.
    pub(crate) fn state(&self) -> Option<CutKind> {
        *self.state.borrow()
    }
}

struct Relay {
    address: SocketAddr,
    target: SocketAddr,
    state: watch::Receiver<Option<CutKind>>,
    tasks: Tasks,
}

impl Relay {
    async fn run(mut self, listener: TcpListener) {
        let mut listener = Some(listener);
        loop {
            let refusing = *self.state.borrow_and_update() == Some(CutKind::Refuse);
            match (&listener, refusing) {
                // A closed port is what "refused" is.
                (Some(_), true) => listener = None,
                (None, false) => listener = TcpListener::bind(self.address).await.ok(),
                _ => {}
            }
            let accepted = async {
                match &listener {
                    Some(listener) => listener.accept().await.ok(),
                    None if refusing => std::future::pending().await,
                    // The port could not be had again yet.
                    None => {
                        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                        None
                    }
                }
            };
            tokio::select! {
                connection = accepted => if let Some((from, _)) = connection {
                    self.connect(from);
                },
                changed = self.state.changed() => if changed.is_err() {
                    return;
                },
            }
        }
    }

    fn connect(&self, from: TcpStream) {
        let (mut state, target, token) =
            (self.state.clone(), self.target, self.tasks.token().clone());
        self.tasks.spawn_brief("demo connection", async move {
            let relay = async {
                // Behind a silent link even the connection's far end does not come about.
                let _ = state
                    .wait_for(|state| *state != Some(CutKind::Silent))
                    .await;
                let Ok(to) = TcpStream::connect(target).await else {
                    return;
                };
                let (from_read, from_write) = from.into_split();
                let (to_read, to_write) = to.into_split();
                let mut broken = state.clone();
                tokio::select! {
                    () = async { tokio::join!(
                        copy(from_read, to_write, state.clone()),
                        copy(to_read, from_write, state.clone()),
                    ); } => {}
                    _ = broken.wait_for(|state| *state == Some(CutKind::Refuse)) => {}
                }
            };
            token.run_until_cancelled(relay).await;
        });
    }
}

/// Copies until one side closes; while the link is silent, nothing moves.
async fn copy(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut state: watch::Receiver<Option<CutKind>>,
) {
    let mut chunk = vec![0; CHUNK_BYTES];
    while let Ok(count @ 1..) = from.read(&mut chunk).await {
        let open = state
            .wait_for(|state| *state != Some(CutKind::Silent))
            .await
            .is_ok();
        if !open || to.write_all(&chunk[..count]).await.is_err() {
            break;
        }
    }
    // The other side learns that nothing more comes; it may already be gone.
    let _ = to.shutdown().await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    async fn echo_server(tasks: &Tasks) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (token, owner) = (tasks.token().clone(), tasks.clone());
        tasks.spawn("echo", async move {
            let accept = async {
                while let Ok((stream, _)) = listener.accept().await {
                    owner.spawn_brief("echo connection", async move {
                        let (mut read, mut write) = stream.into_split();
                        let _ = tokio::io::copy(&mut read, &mut write).await;
                    });
                }
            };
            token.run_until_cancelled(accept).await;
        });
        address
    }

    async fn echoes(stream: &mut TcpStream, byte: u8) -> bool {
        stream.write_all(&[byte]).await.is_ok()
            && stream.read_u8().await.is_ok_and(|back| back == byte)
    }

    #[tokio::test]
    async fn silence_holds_bytes_back_and_mending_delivers_them() {
        let tasks = Tasks::new();
        let link = Link::open(echo_server(&tasks).await, &tasks).await.unwrap();
        let mut stream = TcpStream::connect(link.address()).await.unwrap();
        assert!(echoes(&mut stream, 1).await);
        link.set(Some(CutKind::Silent));
        let waiting =
            tokio::time::timeout(Duration::from_millis(200), echoes(&mut stream, 2)).await;
        assert!(waiting.is_err(), "nothing comes through a silent link");
        link.set(None);
        assert_eq!(stream.read_u8().await.unwrap(), 2);
    }

    #[tokio::test]
    async fn refusing_breaks_connections_until_mended() {
        let tasks = Tasks::new();
        let link = Link::open(echo_server(&tasks).await, &tasks).await.unwrap();
        let mut stream = TcpStream::connect(link.address()).await.unwrap();
        assert!(echoes(&mut stream, 1).await);
        link.set(Some(CutKind::Refuse));
        assert!(stream.read_u8().await.is_err(), "the connection breaks");
        while TcpStream::connect(link.address()).await.is_ok() {
            tokio::task::yield_now().await;
        }
        link.set(None);
        let mut again = loop {
            if let Ok(stream) = TcpStream::connect(link.address()).await {
                break stream;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        assert!(echoes(&mut again, 3).await);
    }
}
