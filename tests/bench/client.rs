//! A connection that is held open: one request at a time, as a sender does. Small and blocking, so that it costs little beside the
//! server that is measured.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// For one answer: a query over everything may take a while.
const ANSWER_WITHIN: Duration = Duration::from_secs(150);
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// An answer, whatever its status.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Seconds after which to come again, if the server said so.
    pub(crate) retry_after_s: Option<u64>,
    /// It is the last one on its connection: VictoriaMetrics ends one every two minutes.
    closes: bool,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The beginning of the body, for messages.
    pub(crate) fn excerpt(&self) -> String {
        let text = String::from_utf8_lossy(&self.body);
        text.trim().chars().take(300).collect()
    }
}

/// One connection to a server.
pub(crate) struct Connection {
    address: String,
    stream: BufReader<TcpStream>,
    /// The server said that it closes this connection.
    closed: bool,
}

impl Connection {
    /// # Errors
    /// When nobody listens there.
    pub(crate) fn open(address: &str) -> io::Result<Self> {
        Ok(Self {
            address: address.to_owned(),
            stream: connect(address)?,
            closed: false,
        })
    }

    /// Sends one remote-write body and reads the answer.
    ///
    /// # Errors
    /// When no whole answer came.
    pub(crate) fn write(&mut self, token: Option<&str>, body: &[u8]) -> io::Result<Answer> {
        let mut head = format!(
            "POST /api/v1/write HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\n",
            self.address,
            body.len()
        );
        for (name, value) in tests::remote_write::HEADERS {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if let Some(token) = token {
            head.push_str(&format!("Authorization: Bearer {token}\r\n"));
        }
        head.push_str("\r\n");
        self.send(head.as_bytes(), body)
    }

    /// `POST`s a form and reads the answer.
    ///
    /// # Errors
    /// When no whole answer came.
    pub(crate) fn post_form(&mut self, path: &str, form: &[(&str, &str)]) -> io::Result<Answer> {
        let body = tests::http::form_encode(form);
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n",
            self.address,
            body.len()
        );
        self.send(head.as_bytes(), body.as_bytes())
    }

    /// `GET`s and reads the answer.
    ///
    /// # Errors
    /// When no whole answer came.
    pub(crate) fn get(&mut self, path: &str) -> io::Result<Answer> {
        let head = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", self.address);
        self.send(head.as_bytes(), &[])
    }

    fn send(&mut self, head: &[u8], body: &[u8]) -> io::Result<Answer> {
        if self.closed {
            self.stream = connect(&self.address)?;
        }
        let stream = self.stream.get_mut();
        stream.write_all(head)?;
        stream.write_all(body)?;
        let answer = read_answer(&mut self.stream)?;
        self.closed = answer.closes;
        Ok(answer)
    }
}

fn connect(address: &str) -> io::Result<BufReader<TcpStream>> {
    let target = address.parse().map_err(io::Error::other)?;
    let stream = TcpStream::connect_timeout(&target, CONNECT_WITHIN)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(ANSWER_WITHIN))?;
    stream.set_write_timeout(Some(ANSWER_WITHIN))?;
    Ok(BufReader::new(stream))
}

fn read_answer(stream: &mut impl BufRead) -> io::Result<Answer> {
    let broken = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let status_line = read_line(stream)?;
    let status = status_line
        .split(' ')
        .nth(1)
        .and_then(|word| word.parse().ok())
        .ok_or_else(|| broken("no status line"))?;
    let (mut length, mut chunked, mut closes, mut retry_after_s) = (None, false, false, None);
    loop {
        let line = read_line(stream)?;
        if line.is_empty() {
            break;
        }
        let Some((name, value)) = line.split_once(':') else {
            return Err(broken("no colon in a header"));
        };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().ok(),
            "transfer-encoding" => chunked = value.trim().eq_ignore_ascii_case("chunked"),
            "connection" => closes = value.trim().eq_ignore_ascii_case("close"),
            "retry-after" => retry_after_s = value.trim().parse().ok(),
            _ => {}
        }
    }
    let mut body = Vec::new();
    if chunked {
        read_chunks(stream, &mut body)?;
    } else if let Some(length) = length {
        body.resize(length, 0);
        stream.read_exact(&mut body)?;
    } else if status != 204 && status != 304 {
        return Err(broken("a body of unknown length"));
    }
    Ok(Answer {
        status,
        retry_after_s,
        closes,
        body,
    })
}

fn read_chunks(stream: &mut impl BufRead, body: &mut Vec<u8>) -> io::Result<()> {
    loop {
        let line = read_line(stream)?;
        let size = line.split(';').next().unwrap_or("").trim();
        let size = u64::from_str_radix(size, 16).map_err(io::Error::other)?;
        if size == 0 {
            while !read_line(stream)?.is_empty() {}
            return Ok(());
        }
        let before = body.len() as u64;
        stream.take(size).read_to_end(body)?;
        if body.len() as u64 - before != size {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        read_line(stream)?;
    }
}

/// A line without its end.
fn read_line(stream: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    if stream.read_line(&mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    line.truncate(line.trim_end().len());
    Ok(line)
}

#[cfg(test)]
mod tests_of_answers {
    use super::*;

    fn check(bytes: &str, status: u16, body: &str) {
        let answer = read_answer(&mut bytes.as_bytes()).expect("a whole answer");
        assert_eq!(
            (answer.status, answer.excerpt().as_str()),
            (status, body),
            "{bytes:?}"
        );
    }

    #[test]
    fn every_way_to_end_a_body() {
        check("HTTP/1.1 204 No Content\r\n\r\n", 204, "");
        check("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, "ok");
        check(
            "HTTP/1.1 400 Bad Request\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nwhy\r\n1\r\n!\r\n0\r\n\r\n",
            400,
            "why!",
        );
    }

    #[test]
    fn an_answer_cut_short_is_an_error() {
        assert!(
            read_answer(&mut "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf".as_bytes())
                .is_err()
        );
        assert!(read_answer(&mut "HTTP/1.1 200".as_bytes()).is_err());
    }
}
