//! A blocking HTTP client, as small as the tests need: one request a connection, HTTP/1.0, so that no answer comes in chunks.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

/// For each of connecting, writing and one read. Longer than any honest answer on loopback.
const TIMEOUT: Duration = Duration::from_secs(30);

/// An answer: any status is one.
#[derive(Debug, Clone)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Header names in lower case, in the order they came.
    pub headers: Vec<(String, String)>,
    /// The whole body.
    pub body: Vec<u8>,
}

impl Response {
    /// The body as text; bytes that are no UTF-8 are replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The value of the first header of that name (lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, value)| value.as_str())
    }
}

/// `GET url`.
///
/// # Errors
/// When no whole answer came.
pub fn get(url: &str) -> io::Result<Response> {
    send("GET", url, &[], &[])
}

/// `POST url` with these headers and this body.
///
/// # Errors
/// When no whole answer came.
pub fn post(url: &str, headers: &[(&str, &str)], body: &[u8]) -> io::Result<Response> {
    send("POST", url, headers, body)
}

/// `POST url` with a form as its body.
///
/// # Errors
/// When no whole answer came.
pub fn post_form(url: &str, form: &[(&str, &str)]) -> io::Result<Response> {
    let body = form_encode(form);
    post(
        url,
        &[("Content-Type", "application/x-www-form-urlencoded")],
        body.as_bytes(),
    )
}

/// One request of any method. `url` must be `http://host:port/path?query` with the query already encoded.
///
/// # Errors
/// When no whole answer came.
pub fn send(
    method: &str,
    url: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> io::Result<Response> {
    let (host, path) = split(url)?;
    let mut stream = TcpStream::connect_timeout(&address(host)?, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    let mut head = format!(
        "{method} {path} HTTP/1.0\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    // A server may refuse a long body before it has read it all: then writing fails, and the answer is there to be read.
    let written = stream
        .write_all(head.as_bytes())
        .and_then(|()| stream.write_all(body));
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    match parse(&answer) {
        Some(response) => Ok(response),
        None => {
            written?;
            read?;
            Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!(
                    "{method} {url}: no whole answer: {:?}",
                    String::from_utf8_lossy(&answer)
                ),
            ))
        }
    }
}

/// `a=1&b=2`, percent-encoded.
pub fn form_encode(form: &[(&str, &str)]) -> String {
    form.iter()
        .map(|(name, value)| format!("{}={}", percent_encode(name), percent_encode(value)))
        .collect::<Vec<_>>()
        .join("&")
}

/// Everything but letters, digits and `-._~` as `%XX`.
pub fn percent_encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

fn split(url: &str) -> io::Result<(&str, &str)> {
    let rest = url.strip_prefix("http://").ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{url}: only http:// is spoken here"),
        )
    })?;
    Ok(match rest.find('/') {
        Some(slash) => rest.split_at(slash),
        None => (rest, "/"),
    })
}

fn address(host: &str) -> io::Result<SocketAddr> {
    host.to_socket_addrs()?
        .next()
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("{host}: no address")))
}

/// `None` when the answer is not whole.
fn parse(answer: &[u8]) -> Option<Response> {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&answer[..end]).ok()?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let body = answer[end + 4..].to_vec();
    let promised = headers.iter().find(|(name, _)| name == "content-length");
    if let Some((_, length)) = promised
        && length.parse() != Ok(body.len())
    {
        return None;
    }
    Some(Response {
        status,
        headers,
        body,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_an_answer() {
        let answer = parse(b"HTTP/1.0 400 Bad Request\r\nContent-Length: 3\r\nX-A: b\r\n\r\nwhy")
            .expect("whole");
        assert_eq!(
            (answer.status, answer.text().as_str(), answer.header("x-a")),
            (400, "why", Some("b"))
        );
    }

    #[test]
    fn an_answer_cut_short_is_none() {
        assert!(parse(b"HTTP/1.0 200 OK\r\nContent-Length: 9\r\n\r\nhalf").is_none());
        assert!(parse(b"HTTP/1.0 200 OK\r\nContent-Le").is_none());
    }

    #[test]
    fn forms_are_encoded() {
        assert_eq!(
            form_encode(&[("query", "up{a=\"b\"} + 1")]),
            "query=up%7Ba%3D%22b%22%7D%20%2B%201"
        );
    }
}
