//! The least HTTP/1.1 that serves a scraper or takes remote write: held connections, bodies with a length, one thread a connection.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Far above what a sender puts into one request.
const BODY_BYTES_MAX: usize = 64 << 20;
const HEAD_BYTES_MAX: u64 = 64 << 10;
/// What one thread does with the body of each request of its connection: fills the answer, gives its status.
pub(super) type Respond = dyn Fn(&[u8], &mut Vec<u8>) -> u16 + Send + Sync;

/// A server on a loopback port of its own; takes no more connections when dropped.
pub(super) struct HttpServer {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    accepting: Option<JoinHandle<()>>,
}

impl HttpServer {
    /// # Errors
    /// When no port can be had.
    pub(super) fn start(respond: Arc<Respond>) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let stop = Arc::new(AtomicBool::new(false));
        let accepting = std::thread::spawn({
            let stop = stop.clone();
            move || {
                for stream in listener.incoming().flatten() {
                    if stop.load(Ordering::SeqCst) {
                        return;
                    }
                    let (respond, stop) = (respond.clone(), stop.clone());
                    // Who goes away in the middle comes again.
                    std::thread::spawn(move || serve(&stream, respond.as_ref(), &stop));
                }
            }
        });
        Ok(Self {
            address,
            stop,
            accepting: Some(accepting),
        })
    }

    /// `127.0.0.1:PORT`.
    pub(super) fn address(&self) -> String {
        self.address.to_string()
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts.
        let _ = TcpStream::connect_timeout(&self.address, Duration::from_secs(1));
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
    }
}

fn serve(stream: &TcpStream, respond: &Respond, stop: &AtomicBool) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut reader, mut writer) = (BufReader::new(stream), stream);
    let (mut request, mut answer, mut out) = (Vec::new(), Vec::new(), Vec::new());
    while !stop.load(Ordering::SeqCst) {
        let Some(next) = read_request(&mut reader, &mut request)? else {
            return Ok(());
        };
        answer.clear();
        let status = respond(&request, &mut answer);
        out.clear();
        let reason = if status < 300 { "OK" } else { "Refused" };
        write!(out, "HTTP/1.1 {status} {reason}\r\n")?;
        // RFC 9110: an answer of 204 says nothing of a length.
        if status != 204 {
            let length = answer.len();
            write!(
                out,
                "Content-Type: text/plain; version=0.0.4; charset=utf-8\r\nContent-Length: {length}\r\n"
            )?;
        }
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(&answer);
        writer.write_all(&out)?;
        if next == Next::Closes {
            return stream.shutdown(Shutdown::Write);
        }
    }
    Ok(())
}

/// What becomes of a connection after a request.
#[derive(PartialEq)]
enum Next {
    Held,
    Closes,
}

/// Reads the body of the next request; none at the end of the connection.
fn read_request(reader: &mut impl BufRead, body: &mut Vec<u8>) -> io::Result<Option<Next>> {
    let (mut length, mut line, mut is_first) = (0, String::new(), true);
    let mut next = Next::Held;
    let mut head = reader.take(HEAD_BYTES_MAX);
    loop {
        line.clear();
        if head.read_line(&mut line)? == 0 {
            return match is_first {
                true => Ok(None),
                false => Err(io::ErrorKind::UnexpectedEof.into()),
            };
        }
        is_first = false;
        let text = line.trim_end();
        if text.is_empty() {
            break;
        }
        let Some((name, value)) = text.split_once(':') else {
            continue;
        };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().map_err(io::Error::other)?;
        }
        if name.eq_ignore_ascii_case("connection") && value.trim().eq_ignore_ascii_case("close") {
            next = Next::Closes;
        }
        if name.eq_ignore_ascii_case("transfer-encoding") {
            return Err(io::Error::other("a body without a length"));
        }
    }
    if length > BODY_BYTES_MAX {
        return Err(io::Error::other("the body is too long"));
    }
    body.resize(length, 0);
    head.into_inner().read_exact(body)?;
    Ok(Some(next))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_held() {
        let respond = |body: &[u8], answer: &mut Vec<u8>| {
            answer.extend_from_slice(body);
            if body.is_empty() { 204 } else { 200 }
        };
        let server = HttpServer::start(Arc::new(respond)).expect("a port");
        let mut stream = TcpStream::connect(server.address()).expect("taken");
        let request = b"POST / HTTP/1.1\r\ncontent-length: 3\r\n\r\nabcGET / HTTP/1.1\r\n\r\n";
        stream.write_all(request).expect("written");
        stream.shutdown(std::net::Shutdown::Write).expect("shut");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("answers");
        assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
        assert!(
            text.ends_with("\r\n\r\nabcHTTP/1.1 204 OK\r\n\r\n"),
            "{text}"
        );
    }
}
