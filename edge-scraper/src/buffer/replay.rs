//! Reading records back: a segment's sessions are decoded in order, from where one begins.

use journal::{Journal, JournalError, Reader};
use model::Timestamp;
use wire::line::{Frame, LineDecoder, LineLimits, LineSink, LineState};
use wire::remote_write::convert::append_float;

use super::index::RecordMeta;
use super::label_fields::LabelFields;
use super::record::{frame, place_in_session};

/// Stands in a session, ready to read its next record.
pub(super) struct Replay {
    reader: Reader,
    decoder: LineDecoder<u32>,
    labels: LabelFields,
    /// Label bytes of the series that is being written.
    scratch: Vec<u8>,
}

/// What became of a record that was to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// It was appended to the message.
    Here,
    /// It was evicted or thinned meanwhile.
    Gone,
    /// It cannot be read, nor those up to this one.
    Damaged(u64),
}

impl Replay {
    /// Stands before a record that begins a session.
    pub(super) fn at(journal: &Journal, start: u64) -> Replay {
        Replay {
            reader: journal.read_synced_from(start),
            decoder: LineDecoder::new(),
            labels: LabelFields::default(),
            scratch: Vec::new(),
        }
    }

    /// The record that comes next.
    pub(super) fn next(&self) -> u64 {
        self.reader.next_seq()
    }

    /// Appends a record, as a message of remote write, to `message`.
    ///
    /// # Errors
    /// A disk that cannot be read.
    pub(super) fn read(
        &mut self,
        record: &RecordMeta,
        message: &mut Vec<u8>,
    ) -> Result<Found, JournalError> {
        let (seq, session) = (record.seq, record.session);
        loop {
            match self.reader.next() {
                None => return Ok(Found::Gone),
                Some(Ok((read, _))) if read > seq => return Ok(Found::Gone),
                Some(Ok((read, bytes)))
                    if read == seq
                        && place_in_session(&bytes).is_ok_and(|(is, _)| is != session) =>
                {
                    return Ok(Found::Gone);
                }
                Some(Ok((read, record))) => {
                    let limits = LineLimits::default();
                    let message = (read == seq).then_some(&mut *message);
                    let decoded = Frame::read(frame(&record), &limits).and_then(|frame| {
                        if frame.starts() {
                            // None of the series described so far is spoken of again.
                            self.labels.clear();
                        }
                        let mut sink = Sink {
                            message,
                            labels: &mut self.labels,
                            scratch: &mut self.scratch,
                        };
                        self.decoder.decode(&frame, &limits, &mut sink)
                    });
                    match decoded {
                        Ok(_) if self.labels.is_full() => {
                            tracing::warn!(
                                seq = read,
                                "a session of the buffer describes too many series"
                            );
                            return Ok(Found::Damaged(seq));
                        }
                        Ok(_) if read == seq => return Ok(Found::Here),
                        Ok(_) => {}
                        Err(fault) => {
                            tracing::warn!(seq = read, %fault, "a record of the buffer cannot be read");
                            return Ok(Found::Damaged(seq));
                        }
                    }
                }
                Some(Err(JournalError::Damaged { lost_last, .. })) => {
                    return Ok(Found::Damaged(lost_last.max(seq)));
                }
                Some(Err(error)) => return Err(error),
            }
        }
    }
}

/// How a session that began with the record `start` stood before one of its frames. None when it cannot be read so far.
///
/// # Errors
/// A disk that cannot be read.
pub(super) fn state_before(
    journal: &Journal,
    start: u64,
    session: u32,
    number: u64,
) -> Result<Option<LineState>, JournalError> {
    let mut reader = journal.read_synced_from(start);
    let (limits, mut decoder) = (LineLimits::default(), LineDecoder::new());
    while decoder.session().is_none() || decoder.next() < number {
        let record = match reader.next() {
            Some(Ok((_, record))) => record,
            None | Some(Err(JournalError::Damaged { .. })) => return Ok(None),
            Some(Err(error)) => return Err(error),
        };
        let decoded = Frame::read(frame(&record), &limits)
            .and_then(|frame| decoder.decode(&frame, &limits, &mut Nothing));
        if decoded.is_err() || decoder.session() != Some(session) {
            return Ok(None);
        }
    }
    Ok(decoder.into_state())
}

/// Keeps nothing of what is decoded.
struct Nothing;

impl LineSink for Nothing {
    type Key = ();
    fn series(&mut self, _: &[u8]) {}
    fn sample(&mut self, (): &(), _: i64, _: f64) {}
    fn rest(&mut self, _: Vec<u8>) {}
}

/// Makes a message of what is decoded; without one it only decodes.
struct Sink<'m> {
    message: Option<&'m mut Vec<u8>>,
    labels: &'m mut LabelFields,
    scratch: &'m mut Vec<u8>,
}

impl LineSink for Sink<'_> {
    /// Of [`LabelFields`].
    type Key = u32;

    fn series(&mut self, labels: &[u8]) -> u32 {
        self.labels.add(labels)
    }

    fn sample(&mut self, series: &u32, at: i64, value: f64) {
        if let Some(message) = &mut self.message {
            self.labels.put(*series, self.scratch);
            append_float(message, self.scratch, Timestamp::from_millis(at), value);
        }
    }

    fn rest(&mut self, rest: Vec<u8>) {
        if let Some(message) = &mut self.message {
            message.extend_from_slice(&rest);
        }
    }
}
