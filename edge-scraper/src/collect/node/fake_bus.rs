//! A bus with systemd on it, for tests: five units, of each kind that is asked more about.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

/// A body: little-endian values at their alignment.
#[derive(Default)]
struct Body(Vec<u8>);

impl Body {
    fn pad(&mut self, to: usize) {
        self.0.resize(self.0.len().next_multiple_of(to), 0);
    }

    fn number(mut self, number: u32) -> Body {
        self.pad(4);
        self.0.extend(number.to_le_bytes());
        self
    }

    fn long(mut self, number: u64) -> Body {
        self.pad(8);
        self.0.extend(number.to_le_bytes());
        self
    }

    fn text(self, text: &str) -> Body {
        let mut body = self.number(text.len() as u32);
        body.0.extend(text.as_bytes());
        body.0.push(0);
        body
    }

    fn signature(mut self, text: &str) -> Body {
        self.0.push(text.len() as u8);
        self.0.extend(text.as_bytes());
        self.0.push(0);
        self
    }
}

/// The strings in a call, of its header and its body, in their order.
fn strings(message: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    let mut at = 16;
    while at + 4 < message.len() {
        let length = u32::from_le_bytes(message[at..at + 4].try_into().unwrap()) as usize;
        let end = at + 4 + length;
        let text = message
            .get(at + 4..end)
            .map(|text| String::from_utf8_lossy(text).into_owned());
        match text {
            Some(text)
                if length > 0
                    && message.get(end) == Some(&0)
                    && text.bytes().all(|b| b.is_ascii_graphic()) =>
            {
                found.push(text);
                at = (end + 1).next_multiple_of(4);
            }
            _ => at += 4,
        }
    }
    found
}

fn message(kind: u8, serial: u32, body: &Body) -> Vec<u8> {
    let mut message = vec![b'l', kind, 1, 1];
    message.extend((body.0.len() as u32).to_le_bytes());
    message.extend([1, 0, 0, 0, 8, 0, 0, 0]);
    message.extend([5, 1, b'u', 0]);
    message.extend(serial.to_le_bytes());
    message.extend(&body.0);
    message
}

fn units() -> Body {
    let mut array = Body::default();
    for (name, state) in [
        ("ssh.service", "active"),
        ("broken.service", "failed"),
        ("web.socket", "active"),
        ("clean.timer", "inactive"),
        ("home.mount", "active"),
    ] {
        array.pad(8);
        array = array
            .text(name)
            .text("about it")
            .text("loaded")
            .text(state)
            .text("running")
            .text("")
            .text(&format!("/org/freedesktop/systemd1/unit/{name}"))
            .number(0)
            .text("")
            .text("/");
    }
    let mut body = Body::default().number(array.0.len() as u32);
    body.pad(8);
    body.0.extend(array.0);
    body
}

/// Opens a bus at this socket. Gives what it has been asked: the last string of each call.
pub(super) fn start(socket: &Path) -> Arc<Mutex<Vec<String>>> {
    std::fs::create_dir_all(socket.parent().unwrap()).unwrap();
    let listener = UnixListener::bind(socket).unwrap();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&asked);
    std::thread::spawn(move || serve(listener, &seen));
    asked
}

/// As many connections as come, one after the other.
fn serve(listener: UnixListener, asked: &Mutex<Vec<String>>) {
    while let Ok((stream, _)) = listener.accept() {
        let _ = answer(stream, asked);
    }
}

fn answer(stream: UnixStream, asked: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut out = stream.try_clone()?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    assert!(line.starts_with("\0AUTH EXTERNAL "), "{line:?}");
    out.write_all(b"OK 1234deadbeef\r\n")?;
    line.clear();
    reader.read_line(&mut line)?;
    assert_eq!(line, "BEGIN\r\n");
    loop {
        let mut start = [0; 16];
        reader.read_exact(&mut start)?;
        let number = |at: usize| u32::from_le_bytes(start[at..at + 4].try_into().unwrap());
        let rest = (number(12) as usize).next_multiple_of(8) + number(4) as usize;
        let mut call = start.to_vec();
        call.resize(16 + rest, 0);
        reader.read_exact(&mut call[16..])?;
        let strings = strings(&call);
        let last = strings.last().unwrap().as_str();
        asked.lock().unwrap().push(last.to_owned());
        let of = |unit: &str| strings.iter().any(|text| text.ends_with(unit));
        let text = |text: &str| (2, Body::default().signature("s").text(text));
        let (kind, body) = match last {
            "org.freedesktop.DBus" => (2, Body::default().text(":1.7")),
            "Version" => text("252.38-1~deb12u1"),
            "SystemState" => text("degraded"),
            "Type" if of("/ssh.service") => text("notify"),
            "Type" => (3, Body::default().text("Unknown unit")),
            "NAccepted" => (2, Body::default().signature("u").number(12)),
            "NConnections" => (2, Body::default().signature("u").number(3)),
            "NRefused" => (2, Body::default().signature("u").number(1)),
            "LastTriggerUSec" => (2, Body::default().signature("t").long(1_500_000)),
            _ => (2, units()),
        };
        // The bus says something of its own before it answers.
        out.write_all(&message(4, 99_999, &Body::default().text(":1.7")))?;
        out.write_all(&message(kind, number(8), &body))?;
    }
}
