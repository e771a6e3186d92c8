//! The bytes of one segment file (`FORMAT.md`): header, records, and a cursor that walks them and finds its way past
//! damage.

use std::{io, sync::Arc};

use crate::disk::{DiskFile, read_exact_at};

/// No record of any release is larger (bytes of payload). Recovery uses it to tell a length from garbage, so lowering
/// `Options::record_bytes_max` never makes old records unreadable.
pub const RECORD_BYTES_LIMIT: usize = 256 << 20;

pub(crate) const VERSION: u32 = 1;
pub(crate) const HEADER_BYTES: u64 = 32;
pub(crate) const RECORD_HEADER_BYTES: u64 = 16;

const MAGIC: [u8; 8] = *b"BRLJRNL\n";
/// Read-ahead of a cursor. Large enough that a system call is cheap beside it.
const READ_BYTES: u64 = 64 << 10;

const NAME_DIGITS: usize = 20;
const NAME_SUFFIX: &str = ".seg";

/// File name of the segment that starts with `first_seq`: zero-padded, so that names sort as numbers.
pub(crate) fn file_name(first_seq: u64) -> String {
    format!("{first_seq:0NAME_DIGITS$}{NAME_SUFFIX}")
}

/// The inverse of [`file_name`]; `None` for anything else.
pub(crate) fn parse_file_name(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(NAME_SUFFIX)?;
    if digits.len() != NAME_DIGITS || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    // Half the range is out of reach of any honest journal; refusing it keeps `seq + 1` from overflowing.
    digits.parse().ok().filter(|&seq| seq <= u64::MAX / 2)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    /// Sequence of the first record.
    pub(crate) first_seq: u64,
    /// The sequence that would have come next in the segment before. Smaller than `first_seq` where numbers were
    /// left out on purpose (`Options::next_seq_min`).
    pub(crate) previous_next_seq: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HeaderFault {
    /// Too short, wrong magic or bad checksum.
    Damaged,
    /// Whole, but of another format version.
    Version(u32),
}

pub(crate) fn encode_header(header: Header) -> [u8; HEADER_BYTES as usize] {
    let mut bytes = [0; HEADER_BYTES as usize];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
    bytes[16..24].copy_from_slice(&header.first_seq.to_le_bytes());
    bytes[24..32].copy_from_slice(&header.previous_next_seq.to_le_bytes());
    let crc = header_crc(&bytes);
    bytes[12..16].copy_from_slice(&crc.to_le_bytes());
    bytes
}

pub(crate) fn decode_header(bytes: &[u8]) -> Result<Header, HeaderFault> {
    if bytes.len() < HEADER_BYTES as usize
        || bytes[..8] != MAGIC
        || u32_at(bytes, 12) != header_crc(bytes)
    {
        return Err(HeaderFault::Damaged);
    }
    match u32_at(bytes, 8) {
        VERSION => Ok(Header {
            first_seq: u64_at(bytes, 16),
            previous_next_seq: u64_at(bytes, 24),
        }),
        other => Err(HeaderFault::Version(other)),
    }
}

fn header_crc(bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&bytes[..12]), &bytes[16..32])
}

/// Appends one record to `out`. `payload` is at most [`RECORD_BYTES_LIMIT`] bytes.
pub(crate) fn encode_record(out: &mut Vec<u8>, seq: u64, payload: &[u8]) {
    let len = (payload.len() as u32).to_le_bytes();
    let seq = seq.to_le_bytes();
    out.extend_from_slice(&len);
    out.extend_from_slice(&record_crc(&len, &seq, payload).to_le_bytes());
    out.extend_from_slice(&seq);
    out.extend_from_slice(payload);
}

fn record_crc(len: &[u8], seq: &[u8], payload: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c_append(crc32c::crc32c(len), seq), payload)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

/// What a cursor finds next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Item {
    Record {
        seq: u64,
        payload: Vec<u8>,
    },
    /// Bytes that are no record, with a whole record behind them.
    Damage {
        offset: u64,
        bytes: u64,
        lost_first: u64,
        /// Inclusive.
        lost_last: u64,
    },
    /// Bytes that are no record, up to the end.
    Tail {
        offset: u64,
        bytes: u64,
    },
}

/// Walks the records of one segment.
pub(crate) struct Cursor {
    file: Arc<dyn DiskFile>,
    /// Where the next record starts.
    offset: u64,
    /// The sequence the next record must have.
    next_seq: u64,
    buffer: Vec<u8>,
    buffer_offset: u64,
}

impl Cursor {
    pub(crate) fn new(file: Arc<dyn DiskFile>, first_seq: u64) -> Self {
        Self {
            file,
            offset: HEADER_BYTES,
            next_seq: first_seq,
            buffer: Vec::new(),
            buffer_offset: 0,
        }
    }

    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    pub(crate) fn next_seq(&self) -> u64 {
        self.next_seq
    }

    /// Goes on with `seq` behind a `Tail`, for whoever knows better what was there.
    pub(crate) fn resume_at(&mut self, seq: u64) {
        self.next_seq = self.next_seq.max(seq);
    }

    /// The next item before byte `limit`, or `None` when the cursor stands there. May be called again with a larger
    /// limit. A `Tail` moves the cursor to the limit.
    pub(crate) fn next(&mut self, limit: u64) -> io::Result<Option<Item>> {
        if self.offset >= limit {
            return Ok(None);
        }
        if let Some(record) = self.record(limit)? {
            return Ok(Some(record));
        }
        let (offset, lost_first) = (self.offset, self.next_seq);
        let item = match self.resynchronise(limit)? {
            Some((at, seq)) => {
                self.offset = at;
                self.next_seq = seq;
                Item::Damage {
                    offset,
                    bytes: at - offset,
                    lost_first,
                    lost_last: seq - 1,
                }
            }
            None => {
                self.offset = limit;
                Item::Tail {
                    offset,
                    bytes: limit - offset,
                }
            }
        };
        Ok(Some(item))
    }

    fn record(&mut self, limit: u64) -> io::Result<Option<Item>> {
        if limit - self.offset < RECORD_HEADER_BYTES {
            return Ok(None);
        }
        let header = self.fill(RECORD_HEADER_BYTES, limit)?;
        let (len, seq) = (u64::from(u32_at(header, 0)), u64_at(header, 8));
        let end = self.offset + RECORD_HEADER_BYTES + len;
        if len > RECORD_BYTES_LIMIT as u64 || end > limit || seq != self.next_seq {
            return Ok(None);
        }
        let bytes = self.fill(RECORD_HEADER_BYTES + len, limit)?;
        let Some((seq, payload)) = whole_record(bytes) else {
            return Ok(None);
        };
        let payload = payload.to_vec();
        self.offset = end;
        self.next_seq = seq + 1;
        Ok(Some(Item::Record { seq, payload }))
    }

    /// The next `bytes` bytes (which lie before `limit`).
    fn fill(&mut self, bytes: u64, limit: u64) -> io::Result<&[u8]> {
        let have_to = self.buffer_offset + self.buffer.len() as u64;
        if self.offset < self.buffer_offset || self.offset + bytes > have_to {
            let want = bytes.max(READ_BYTES).min(limit - self.offset);
            self.buffer.clear();
            self.buffer.resize(want as usize, 0);
            self.buffer_offset = self.offset;
            if let Err(e) = read_exact_at(&*self.file, &mut self.buffer, self.offset) {
                self.buffer.clear();
                return Err(e);
            }
        }
        let from = (self.offset - self.buffer_offset) as usize;
        Ok(&self.buffer[from..from + bytes as usize])
    }

    /// Looks for the first whole record behind a bad one: its offset and sequence. Rare, so it reads the rest of the
    /// segment (bounded by the segment's size) and tries every byte. Each lost record took at least its header, which
    /// bounds the sequence numbers that are believable.
    fn resynchronise(&mut self, limit: u64) -> io::Result<Option<(u64, u64)>> {
        let mut bytes = vec![0; (limit - self.offset) as usize];
        read_exact_at(&*self.file, &mut bytes, self.offset)?;
        let last_start = bytes.len().saturating_sub(RECORD_HEADER_BYTES as usize);
        for at in 1..=last_start {
            if bytes.len() - at < RECORD_HEADER_BYTES as usize {
                break;
            }
            let skipped = u64_at(&bytes, at + 8).checked_sub(self.next_seq);
            let believable =
                skipped.is_some_and(|n| n > 0 && n <= at as u64 / RECORD_HEADER_BYTES + 1);
            if believable && let Some((seq, _)) = whole_record(&bytes[at..]) {
                return Ok(Some((self.offset + at as u64, seq)));
            }
        }
        Ok(None)
    }
}

/// The record at the start of `bytes`, when it is whole and passes its checksum.
fn whole_record(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (header, rest) = bytes.split_at_checked(RECORD_HEADER_BYTES as usize)?;
    let len = u32_at(header, 0) as usize;
    if len > RECORD_BYTES_LIMIT {
        return None;
    }
    let payload = rest.get(..len)?;
    (record_crc(&header[..4], &header[8..16], payload) == u32_at(header, 4))
        .then(|| (u64_at(header, 8), payload))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{disk::Disk as _, sim::SimDisk};

    #[test]
    fn names_are_parsed_back() {
        assert_eq!(file_name(7), "00000000000000000007.seg");
        assert_eq!(
            parse_file_name(&file_name(u64::MAX / 2)),
            Some(u64::MAX / 2)
        );
        for other in [
            "7.seg",
            "00000000000000000007.tmp",
            "+0000000000000000007.seg",
            "",
            "10000000000000000000.seg",
        ] {
            assert_eq!(parse_file_name(other), None, "{other}");
        }
    }

    #[test]
    fn header_is_read_back_or_refused() {
        let header = Header {
            first_seq: 9,
            previous_next_seq: 5,
        };
        let bytes = encode_header(header);
        assert_eq!(decode_header(&bytes), Ok(header));
        assert_eq!(decode_header(&bytes[..31]), Err(HeaderFault::Damaged));
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode_header(&bad), Err(HeaderFault::Damaged), "bit {bit}");
        }
        let mut newer = bytes;
        newer[8] = 2;
        let crc = header_crc(&newer).to_le_bytes();
        newer[12..16].copy_from_slice(&crc);
        assert_eq!(decode_header(&newer), Err(HeaderFault::Version(2)));
    }

    /// What the cursor says about a segment of the records `payloads` (from sequence 5 on) after `spoil`.
    fn items(payloads: &[&[u8]], spoil: impl FnOnce(&mut Vec<u8>)) -> Vec<Item> {
        let mut bytes = encode_header(Header {
            first_seq: 5,
            previous_next_seq: 5,
        })
        .to_vec();
        for (i, payload) in payloads.iter().enumerate() {
            encode_record(&mut bytes, 5 + i as u64, payload);
        }
        spoil(&mut bytes);
        let disk = SimDisk::new(1);
        disk.create_dir_all(Path::new("/d")).unwrap();
        let file = disk.create(Path::new("/d/f")).unwrap();
        file.append(&bytes).unwrap();
        let mut cursor = Cursor::new(file, 5);
        std::iter::from_fn(|| cursor.next(bytes.len() as u64).unwrap()).collect()
    }

    fn record(seq: u64, payload: &[u8]) -> Item {
        Item::Record {
            seq,
            payload: payload.to_vec(),
        }
    }

    #[test]
    fn cursor_walks_past_damage() {
        let three: &[&[u8]] = &[b"aaaa", b"", b"cc"];
        assert_eq!(
            items(three, |_| {}),
            [record(5, b"aaaa"), record(6, b""), record(7, b"cc")]
        );
        // 32 header, a: 32..52, b: 52..68, c: 68..86
        let damage = |offset, bytes, lost_first, lost_last| Item::Damage {
            offset,
            bytes,
            lost_first,
            lost_last,
        };
        assert_eq!(
            items(three, |b| b[50] ^= 1),
            [damage(32, 20, 5, 5), record(6, b""), record(7, b"cc")]
        );
        assert_eq!(
            items(three, |b| b[33] ^= 1),
            [damage(32, 20, 5, 5), record(6, b""), record(7, b"cc")]
        );
        assert_eq!(
            items(three, |b| b[32..60].fill(0)),
            [damage(32, 36, 5, 6), record(7, b"cc")]
        );
        assert_eq!(
            items(three, |b| b[85] ^= 1),
            [
                record(5, b"aaaa"),
                record(6, b""),
                Item::Tail {
                    offset: 68,
                    bytes: 18
                }
            ]
        );
        assert_eq!(
            items(three, |b| b.truncate(70)),
            [
                record(5, b"aaaa"),
                record(6, b""),
                Item::Tail {
                    offset: 68,
                    bytes: 2
                }
            ]
        );
        assert_eq!(
            items(&[b"x"], |b| b.resize(200, 0)),
            [
                record(5, b"x"),
                Item::Tail {
                    offset: 49,
                    bytes: 151
                }
            ]
        );
        // A record that belongs elsewhere is no record, however whole.
        assert_eq!(
            items(&[], |b| encode_record(b, 900, b"stray")),
            [Item::Tail {
                offset: 32,
                bytes: 21
            }]
        );
    }
}
