//! As much of D-Bus as asking systemd takes: one connection to the system bus, one call after the other, replies with strings and
//! numbers in them. The format is that of the D-Bus specification, version 0.42, sections *Marshaling* and *Message protocol*.
//!
//! A crate for D-Bus brings an executor and a code generator; this is a few calls to one peer. Every length that comes from
//! the bus is checked against what is there before it is used, a message is at most [`MESSAGE_BYTES_MAX`] long, and a bus that says
//! nothing is given up after [`ANSWER_WITHIN`].

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// The list of a thousand units is about 300 KiB.
const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Signals and other messages that nobody asked for, before a reply comes.
const OTHERS_MAX: usize = 1000;

const CALL: u8 = 1;
const RETURN: u8 = 2;
const ERROR: u8 = 3;

/// Header fields, by their codes.
const PATH: u8 = 1;
const INTERFACE: u8 = 2;
const MEMBER: u8 = 3;
const REPLY_SERIAL: u8 = 5;
const DESTINATION: u8 = 6;
const SIGNATURE: u8 = 8;

/// Why the bus did not answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum BusError {
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error("it does not let us in: {0:?}")]
    Refused(String),
    #[error("{0}")]
    Answered(String),
    #[error("it sent what is no message: {0}")]
    Malformed(&'static str),
}

/// A connection to a bus.
pub(super) struct Bus {
    stream: BufReader<UnixStream>,
    serial: u32,
}

/// What is called: an object of a service, and one of its methods.
pub(super) struct Call<'a> {
    pub(super) service: &'a str,
    pub(super) path: &'a str,
    pub(super) interface: &'a str,
    pub(super) member: &'a str,
    /// All arguments of the calls here are strings.
    pub(super) arguments: &'a [&'a str],
}

/// The value of a property, of the types that are asked for here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Text(String),
    Number(u64),
}

impl Bus {
    /// Connects to the bus at this socket, and says hello.
    ///
    /// # Errors
    ///
    /// No socket, or a bus that does not want us.
    pub(super) fn connect(socket: &Path) -> Result<Bus, BusError> {
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(ANSWER_WITHIN))?;
        stream.set_write_timeout(Some(ANSWER_WITHIN))?;
        let mut bus = Bus {
            stream: BufReader::new(stream),
            serial: 0,
        };
        // Who we are the kernel tells the bus; we only name the same user, in decimal digits in hexadecimal.
        let user = rustix::process::geteuid().as_raw().to_string();
        let user: String = user.bytes().map(|digit| format!("{digit:02x}")).collect();
        bus.send(format!("\0AUTH EXTERNAL {user}\r\n").as_bytes())?;
        let mut line = String::new();
        (&mut bus.stream).take(1024).read_line(&mut line)?;
        if !line.starts_with("OK ") {
            return Err(BusError::Refused(line));
        }
        bus.send(b"BEGIN\r\n")?;
        bus.call(&Call {
            service: "org.freedesktop.DBus",
            path: "/org/freedesktop/DBus",
            interface: "org.freedesktop.DBus",
            member: "Hello",
            arguments: &[],
        })?;
        Ok(bus)
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), BusError> {
        Ok(self.stream.get_mut().write_all(bytes)?)
    }

    /// Calls a method and waits for its reply.
    ///
    /// # Errors
    ///
    /// What the service answered, or that it did not.
    pub(super) fn call(&mut self, call: &Call<'_>) -> Result<Reply, BusError> {
        self.serial += 1;
        let serial = self.serial;
        self.send(&encode(call, serial))?;
        for _ in 0..OTHERS_MAX {
            let message = self.receive()?;
            if message.reply_to != Some(serial) {
                continue; // the bus tells us our name, and may tell more
            }
            return match message.kind {
                RETURN => Ok(message.body),
                ERROR => {
                    let text = message.body.reader().text().unwrap_or_default();
                    Err(BusError::Answered(text))
                }
                _ => Err(BusError::Malformed("a reply of another type")),
            };
        }
        Err(BusError::Malformed("no reply among very many messages"))
    }

    /// A property of an object.
    ///
    /// # Errors
    ///
    /// As [`Bus::call`]; a property of another type.
    pub(super) fn property(
        &mut self,
        service: &str,
        path: &str,
        interface: &str,
        name: &str,
    ) -> Result<Value, BusError> {
        let reply = self.call(&Call {
            service,
            path,
            interface: "org.freedesktop.DBus.Properties",
            member: "Get",
            arguments: &[interface, name],
        })?;
        let mut reader = reply.reader();
        match reader.signature()?.as_str() {
            "s" => Ok(Value::Text(reader.text()?)),
            "u" => Ok(Value::Number(u64::from(reader.u32()?))),
            "t" => Ok(Value::Number(reader.u64()?)),
            _ => Err(BusError::Malformed(
                "a property of a type that is not expected",
            )),
        }
    }

    fn receive(&mut self) -> Result<Message, BusError> {
        // Byte order, type, flags, version, length of the body, serial, length of the header fields.
        let mut start = [0; 16];
        self.stream.read_exact(&mut start)?;
        let big = match start[0] {
            b'l' => false,
            b'B' => true,
            _ => return Err(BusError::Malformed("a byte order")),
        };
        let number = |at: usize| {
            let bytes = [start[at], start[at + 1], start[at + 2], start[at + 3]];
            order(big, u32::from_le_bytes(bytes), u32::from_be_bytes(bytes)) as usize
        };
        let (body, fields) = (number(4), number(12));
        let padding = (8 - fields % 8) % 8;
        let rest = fields.saturating_add(padding).saturating_add(body);
        if rest > MESSAGE_BYTES_MAX {
            return Err(BusError::Malformed("a message of more than 16 MiB"));
        }
        let mut bytes = vec![0; rest];
        self.stream.read_exact(&mut bytes)?;
        let body = Reply {
            bytes: bytes.split_off(fields + padding),
            big,
        };
        bytes.truncate(fields);
        let reply_to = reply_serial(&Reply { bytes, big })?;
        Ok(Message {
            kind: start[1],
            reply_to,
            body,
        })
    }
}

fn order<T>(big: bool, little_endian: T, big_endian: T) -> T {
    if big { big_endian } else { little_endian }
}

struct Message {
    kind: u8,
    reply_to: Option<u32>,
    body: Reply,
}

/// The serial of the call that a message answers, among its header fields: structs of a code and a variant.
fn reply_serial(fields: &Reply) -> Result<Option<u32>, BusError> {
    let mut reader = fields.reader();
    let mut found = None;
    while !reader.at_end() {
        reader.align(8)?;
        let code = reader.byte()?;
        match reader.signature()?.as_str() {
            "u" => {
                let number = reader.u32()?;
                if code == REPLY_SERIAL {
                    found = Some(number);
                }
            }
            "s" | "o" => drop(reader.text()?),
            "g" => drop(reader.signature()?),
            _ => return Err(BusError::Malformed("a header field of another type")),
        }
    }
    Ok(found)
}

/// The message of a call, little-endian.
fn encode(call: &Call<'_>, serial: u32) -> Vec<u8> {
    let mut body = Vec::new();
    for argument in call.arguments {
        put_text(&mut body, argument);
    }
    let mut message = vec![b'l', CALL, 0, 1];
    message.extend((body.len() as u32).to_le_bytes());
    message.extend(serial.to_le_bytes());
    let length_at = message.len();
    message.extend([0; 4]);
    let signature = "s".repeat(call.arguments.len());
    for (code, kind, text) in [
        (PATH, b'o', call.path),
        (INTERFACE, b's', call.interface),
        (MEMBER, b's', call.member),
        (DESTINATION, b's', call.service),
        (SIGNATURE, b'g', &signature),
    ] {
        if text.is_empty() {
            continue;
        }
        pad(&mut message, 8);
        message.extend([code, 1, kind, 0]);
        if kind == b'g' {
            message.push(text.len() as u8);
            message.extend(text.as_bytes());
            message.push(0);
        } else {
            put_text(&mut message, text);
        }
    }
    let length = (message.len() - length_at - 4) as u32;
    message[length_at..length_at + 4].copy_from_slice(&length.to_le_bytes());
    pad(&mut message, 8);
    message.extend(body);
    message
}

fn pad(bytes: &mut Vec<u8>, to: usize) {
    bytes.resize(bytes.len().next_multiple_of(to), 0);
}

fn put_text(bytes: &mut Vec<u8>, text: &str) {
    pad(bytes, 4);
    bytes.extend((text.len() as u32).to_le_bytes());
    bytes.extend(text.as_bytes());
    bytes.push(0);
}

/// The body of a reply.
#[derive(Debug)]
pub(super) struct Reply {
    bytes: Vec<u8>,
    big: bool,
}

impl Reply {
    pub(super) fn reader(&self) -> Reader<'_> {
        Reader {
            bytes: &self.bytes,
            at: 0,
            big: self.big,
        }
    }
}

/// Reads values one after the other, each at its alignment.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    big: bool,
}

impl<'a> Reader<'a> {
    pub(super) fn at_end(&self) -> bool {
        self.at >= self.bytes.len()
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], BusError> {
        let end = self.at.checked_add(length);
        let taken = end.and_then(|end| self.bytes.get(self.at..end));
        let taken = taken.ok_or(BusError::Malformed("a value that ends beyond its message"))?;
        self.at += length;
        Ok(taken)
    }

    pub(super) fn align(&mut self, to: usize) -> Result<(), BusError> {
        self.take((to - self.at % to) % to).map(drop)
    }

    fn byte(&mut self) -> Result<u8, BusError> {
        Ok(self.take(1)?[0])
    }

    pub(super) fn u32(&mut self) -> Result<u32, BusError> {
        self.align(4)?;
        let bytes: [u8; 4] = self.take(4)?.try_into().unwrap_or_default();
        Ok(order(
            self.big,
            u32::from_le_bytes(bytes),
            u32::from_be_bytes(bytes),
        ))
    }

    fn u64(&mut self) -> Result<u64, BusError> {
        self.align(8)?;
        let bytes: [u8; 8] = self.take(8)?.try_into().unwrap_or_default();
        Ok(order(
            self.big,
            u64::from_le_bytes(bytes),
            u64::from_be_bytes(bytes),
        ))
    }

    /// A string or the path of an object.
    pub(super) fn text(&mut self) -> Result<String, BusError> {
        let length = self.u32()? as usize;
        let text = String::from_utf8_lossy(self.take(length)?).into_owned();
        self.take(1)?;
        Ok(text)
    }

    fn signature(&mut self) -> Result<String, BusError> {
        let length = usize::from(self.byte()?);
        let text = String::from_utf8_lossy(self.take(length)?).into_owned();
        self.take(1)?;
        Ok(text)
    }

    /// The length of an array of structs, as a reader of these.
    pub(super) fn array_of_structs(&mut self) -> Result<Reader<'a>, BusError> {
        let length = self.u32()? as usize;
        self.align(8)?;
        // Alignment counts from the start of the message, which is a multiple of 8, as is the array's.
        Ok(Reader {
            bytes: self.take(length)?,
            at: 0,
            big: self.big,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_call_byte_by_byte() {
        let message = encode(
            &Call {
                service: "a.b",
                path: "/x",
                interface: "i.j",
                member: "Get",
                arguments: &["p"],
            },
            7,
        );
        let mut expected = b"l\x01\0\x01\x06\0\0\0\x07\0\0\0\x4a\0\0\0".to_vec();
        expected.extend(b"\x01\x01o\0\x02\0\0\0/x\0\0\0\0\0\0");
        expected.extend(b"\x02\x01s\0\x03\0\0\0i.j\0\0\0\0\0");
        expected.extend(b"\x03\x01s\0\x03\0\0\0Get\0\0\0\0\0");
        expected.extend(b"\x06\x01s\0\x03\0\0\0a.b\0\0\0\0\0");
        expected.extend(b"\x08\x01g\0\x01s\0");
        // The fields end here; padding, then the body.
        expected[12] = (expected.len() - 16) as u8;
        expected.extend(b"\0");
        expected.extend(b"\x01\0\0\0p\0");
        assert_eq!(message, expected);
    }

    #[test]
    fn values_in_both_byte_orders() {
        for big in [false, true] {
            let number = |n: u32| order(big, n.to_le_bytes(), n.to_be_bytes());
            let mut bytes = number(2).to_vec();
            bytes.extend(b"hi\0\0");
            bytes.extend(order(big, 9_u64.to_le_bytes(), 9_u64.to_be_bytes()));
            bytes.extend(number(8));
            bytes.extend([0; 4]);
            bytes.extend(number(5));
            bytes.extend(number(6));
            let reply = Reply { bytes, big };
            let mut reader = reply.reader();
            assert_eq!(reader.text().unwrap(), "hi");
            assert_eq!(reader.u64().unwrap(), 9);
            let mut array = reader.array_of_structs().unwrap();
            assert_eq!((array.u32().unwrap(), array.u32().unwrap()), (5, 6));
            assert!(array.at_end() && reader.at_end());
            assert!(matches!(reader.u32(), Err(BusError::Malformed(_))));
        }
    }

    proptest! {
        /// Whatever a bus sends is read or refused.
        #[test]
        fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200), big: bool) {
            let reply = Reply { bytes, big };
            let _ = reply_serial(&reply);
            let mut reader = reply.reader();
            while reader.text().is_ok() {}
            if let Ok(mut array) = reply.reader().array_of_structs() {
                while array.align(8).is_ok() && array.text().is_ok() {}
            }
        }
    }
}
