//! A link that can be cut: a TCP proxy on loopback between an edge and its hub.
//!
//! Two kinds of cut, because programs meet both. *Refused*: nobody listens any more and every open connection breaks, as when
//! the far process is gone. *Silent*: connections stay open and new ones are taken, but no byte passes either way, as when a line
//! goes dead in the middle. After mending, what stood in an open connection flows on, as it does through a real line.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often a waiting thread looks whether the link has changed.
const LOOK: Duration = Duration::from_millis(20);

/// What the link does now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkState {
    /// Passes bytes both ways.
    Up,
    /// Connections stay open, nothing passes.
    Silent,
    /// Nobody listens, nothing is open.
    Refused,
}

struct Shared {
    state: Mutex<LinkState>,
    target: Mutex<String>,
    /// Counts the cuts that break connections: each connection belongs to the generation it was opened in.
    generation: AtomicU64,
    bytes_up: AtomicU64,
    bytes_down: AtomicU64,
    connections: AtomicU64,
    /// Bytes a second from the near end to the far one; 0: as fast as they come.
    rate_up: AtomicU64,
    /// When the line has carried what it was given, at that rate.
    free_at: Mutex<Instant>,
    stop: AtomicBool,
}

impl Shared {
    /// How much is read at a time: at a limited rate, twentieths of a second, so that no connection keeps the line for long.
    fn chunk(&self, most: usize) -> usize {
        match self.rate_up.load(Ordering::SeqCst) {
            0 => most,
            rate => usize::try_from(rate / 20).unwrap_or(most).clamp(64, most),
        }
    }

    /// Waits until the line has carried `bytes` more: connections share it in the order in which they come.
    fn wait_for_room(&self, bytes: usize) {
        let rate = self.rate_up.load(Ordering::SeqCst);
        if rate == 0 {
            return;
        }
        let until = {
            let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
            *free_at = (*free_at).max(Instant::now())
                + Duration::from_secs_f64(bytes as f64 / rate as f64);
            *free_at
        };
        std::thread::sleep(until.saturating_duration_since(Instant::now()));
    }

    fn state(&self) -> LinkState {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lives(&self, generation: u64) -> bool {
        !self.stop.load(Ordering::SeqCst) && self.generation.load(Ordering::SeqCst) == generation
    }
}

/// A proxy on a loopback port of its own; ends when dropped.
pub struct Link {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

impl Link {
    /// A link to `target` (`host:port`), up. Nothing needs to listen there yet.
    ///
    /// # Panics
    /// When no port can be had.
    pub fn to(target: &str) -> Self {
        let address: SocketAddr = crate::process::free_address().parse().expect("an address");
        let listener = TcpListener::bind(address).expect("the port was free");
        let shared = Arc::new(Shared {
            state: Mutex::new(LinkState::Up),
            target: Mutex::new(target.to_owned()),
            generation: AtomicU64::new(0),
            bytes_up: AtomicU64::new(0),
            bytes_down: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            rate_up: AtomicU64::new(0),
            free_at: Mutex::new(Instant::now()),
            stop: AtomicBool::new(false),
        });
        let accepting = std::thread::spawn({
            let shared = shared.clone();
            move || accept(address, listener, &shared)
        });
        Self {
            address,
            shared,
            accepting: Some(accepting),
        }
    }

    /// `127.0.0.1:PORT` of the near end.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// `http://127.0.0.1:PORT` followed by `path`.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Cuts: connections stay open, nothing passes.
    pub fn go_silent(&self) {
        self.set(LinkState::Silent);
    }

    /// Cuts: breaks what is open, refuses what comes. Returns when new connections are refused.
    ///
    /// # Panics
    /// When the near end still takes connections after five seconds.
    pub fn refuse(&self) {
        self.set(LinkState::Refused);
        self.shared.generation.fetch_add(1, Ordering::SeqCst);
        crate::wait::until_true(Duration::from_secs(5), "the link refuses", || {
            TcpStream::connect_timeout(&self.address, Duration::from_millis(200)).is_err()
        });
    }

    /// Mends. Returns when connections are taken again.
    ///
    /// # Panics
    /// When the near end takes no connections after five seconds.
    pub fn mend(&self) {
        self.set(LinkState::Up);
        crate::wait::until_true(Duration::from_secs(5), "the link is mended", || {
            TcpStream::connect_timeout(&self.address, Duration::from_millis(200)).is_ok()
        });
    }

    /// From now on so many bytes a second pass from the near end to the far one, all connections together; `None`: as many as come.
    /// Connections made while it is limited have short queues, as a line of that rate has: without that, loopback takes megabytes
    /// from a sender who then believes them sent.
    pub fn limit_up(&self, bytes_per_second: Option<u64>) {
        let rate = bytes_per_second.map_or(0, |rate| rate.max(1));
        self.shared.rate_up.store(rate, Ordering::SeqCst);
    }

    /// Bytes passed from the near end to the far one.
    pub fn bytes_up(&self) -> u64 {
        self.shared.bytes_up.load(Ordering::SeqCst)
    }

    /// Bytes passed back.
    pub fn bytes_down(&self) -> u64 {
        self.shared.bytes_down.load(Ordering::SeqCst)
    }

    /// Connections taken since the start.
    pub fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::SeqCst)
    }

    fn set(&self, state: LinkState) {
        *self
            .shared
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = state;
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
    }
}

/// Takes connections while the link does not refuse. The listener is closed while it does, and bound anew afterwards.
fn accept(address: SocketAddr, listener: TcpListener, shared: &Arc<Shared>) {
    let mut listener = Some(listener);
    while !shared.stop.load(Ordering::SeqCst) {
        if shared.state() == LinkState::Refused {
            listener = None;
        } else if listener.is_none() {
            listener = TcpListener::bind(address).ok();
            if let Some(listener) = &listener
                && shared.rate_up.load(Ordering::SeqCst) > 0
            {
                keep_queues_short(listener);
            }
        }
        let Some(listening) = &listener else {
            std::thread::sleep(LOOK);
            continue;
        };
        let _ = listening.set_nonblocking(true);
        match listening.accept() {
            Ok((near, _)) => {
                shared.connections.fetch_add(1, Ordering::SeqCst);
                let shared = shared.clone();
                std::thread::spawn(move || carry(near, &shared));
            }
            Err(_) => std::thread::sleep(LOOK),
        }
    }
}

/// What is not carried yet stands with the sender, in segments of a real line's size. What the kernel does not want stays as it was.
fn keep_queues_short(listener: &TcpListener) {
    const RECEIVE_BYTES: usize = 8 << 10;
    const SEGMENT_BYTES: u32 = 1448;
    let socket = socket2::SockRef::from(listener);
    let _ = socket.set_recv_buffer_size(RECEIVE_BYTES);
    let _ = socket.set_tcp_mss(SEGMENT_BYTES);
}

/// Carries one connection until an end closes it or the link breaks it.
fn carry(near: TcpStream, shared: &Arc<Shared>) {
    let generation = shared.generation.load(Ordering::SeqCst);
    let _ = near.set_nonblocking(false);
    // A silent link takes the connection, but nobody behind it hears of it.
    while shared.state() == LinkState::Silent && shared.lives(generation) {
        std::thread::sleep(LOOK);
    }
    let target = shared
        .target
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    let far = match TcpStream::connect(target) {
        Ok(far) if shared.lives(generation) => far,
        _ => return,
    };
    let _ = near.set_nodelay(true);
    let _ = far.set_nodelay(true);
    let (Ok(near_back), Ok(far_back)) = (near.try_clone(), far.try_clone()) else {
        return;
    };
    let back = std::thread::spawn({
        let shared = shared.clone();
        move || {
            pump(far_back, near_back, &shared, generation, |shared| {
                &shared.bytes_down
            })
        }
    });
    pump(near, far, shared, generation, |shared| &shared.bytes_up);
    let _ = back.join();
}

fn pump(
    mut from: TcpStream,
    mut to: TcpStream,
    shared: &Shared,
    generation: u64,
    count: fn(&Shared) -> &AtomicU64,
) {
    let is_up = std::ptr::eq(count(shared), &raw const shared.bytes_up);
    let mut buffer = [0; 16 << 10];
    let _ = from.set_read_timeout(Some(LOOK));
    loop {
        if !shared.lives(generation) {
            let _ = from.shutdown(Shutdown::Both);
            let _ = to.shutdown(Shutdown::Both);
            return;
        }
        if shared.state() != LinkState::Up {
            std::thread::sleep(LOOK);
            continue;
        }
        let most = match is_up {
            true => shared.chunk(buffer.len()),
            false => buffer.len(),
        };
        match from.read(&mut buffer[..most]) {
            Ok(0) => {
                let _ = to.shutdown(Shutdown::Write);
                return;
            }
            Ok(read) => {
                if is_up {
                    shared.wait_for_room(read);
                }
                // The link may have gone silent while the read waited: then these bytes are on the line, and wait there.
                while shared.state() != LinkState::Up && shared.lives(generation) {
                    std::thread::sleep(LOOK);
                }
                // Counted first: whoever has got an answer finds the bytes of its question counted.
                count(shared).fetch_add(read as u64, Ordering::SeqCst);
                if to.write_all(&buffer[..read]).is_err() {
                    let _ = from.shutdown(Shutdown::Both);
                    return;
                }
            }
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                ) => {}
            Err(_) => {
                let _ = to.shutdown(Shutdown::Both);
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http;
    use crate::server::{Answer, Server};

    #[test]
    fn carries_refuses_and_mends() {
        let server = Server::start(|_| Answer::status(200, "through"));
        let link = Link::to(&server.address());
        assert_eq!(
            http::get(&link.url("/")).expect("through the link").text(),
            "through"
        );
        assert!(link.bytes_up() > 0 && link.bytes_down() > 0);
        link.refuse();
        assert_eq!(
            http::get(&link.url("/")).expect_err("refused").kind(),
            ErrorKind::ConnectionRefused
        );
        link.mend();
        assert_eq!(http::get(&link.url("/")).expect("mended").status, 200);
    }

    #[test]
    fn a_limited_link_takes_its_time() {
        let server = Server::start(|_| Answer::status(200, "through"));
        let link = Link::to(&server.address());
        let body = vec![b'x'; 20_000];
        link.refuse();
        link.limit_up(Some(40_000));
        link.mend();
        let before = link.bytes_up();
        let began = Instant::now();
        let answer = http::post(&link.url("/"), &[], &body).expect("through, slowly");
        assert_eq!(answer.status, 200);
        let bytes = link.bytes_up() - before;
        let least = Duration::from_secs_f64(bytes as f64 / 40_000.0);
        assert!(bytes >= 20_000 && began.elapsed() >= least.mul_f64(0.9));
        link.limit_up(None);
        assert_eq!(
            http::get(&link.url("/"))
                .expect("as fast as it comes")
                .status,
            200
        );
    }

    #[test]
    fn silence_holds_open_connections_and_new_ones() {
        let server = Server::start(|_| Answer::status(200, "through"));
        let link = Link::to(&server.address());
        let mut open = TcpStream::connect(link.address()).expect("taken");
        crate::wait::until_true(Duration::from_secs(5), "carried", || {
            link.connections() == 1
        });
        link.go_silent();
        let mut new = TcpStream::connect(link.address()).expect("a silent link takes connections");
        for stream in [&mut open, &mut new] {
            stream
                .write_all(b"GET / HTTP/1.0\r\n\r\n")
                .expect("into the socket's buffer");
            stream
                .set_read_timeout(Some(Duration::from_millis(300)))
                .expect("a timeout");
            let silence = stream.read(&mut [0; 1]).expect_err("nothing comes");
            assert!(matches!(
                silence.kind(),
                ErrorKind::WouldBlock | ErrorKind::TimedOut
            ));
        }
        assert!(server.requests().is_empty(), "nothing passes a silent link");
        link.mend();
        for stream in [&mut open, &mut new] {
            stream
                .set_read_timeout(Some(Duration::from_secs(5)))
                .expect("a timeout");
            let mut answer = String::new();
            stream.read_to_string(&mut answer).expect("an answer");
            assert!(
                answer.ends_with("through"),
                "what stood on the line flows on: {answer}"
            );
        }
    }
}
