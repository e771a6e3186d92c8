//! What a target answers when it is scraped: the classic Prometheus text format (0.0.4 and 1.0.0), OpenMetrics text and
//! [`protobuf`], as lax and as strict as Prometheus 3.14 reads them; and the classic text that we write ourselves.
//!
//! [`Parser`] reads the text formats. It goes over the bytes once and borrows from them; it allocates nothing per sample unless the caller asks for
//! owned labels. An error anywhere fails the whole scrape: the entries before it must then be thrown away too.
//!
//! What Prometheus's parser leaves to the scrape loop is left to it here as well: duplicate label names, samples outside
//! their family, repeated series.
//!
//! ```
//! use wire::exposition::{Entry, Format, Parser};
//!
//! let mut parser = Parser::new(Format::Classic, b"# TYPE up gauge\nup{job=\"node\"} 1\n");
//! let mut seen = Vec::new();
//! while let Some(entry) = parser.next_entry().unwrap() {
//!     if let Entry::Sample(sample) = entry {
//!         seen.push((sample.labels.to_label_set().unwrap().to_string(), sample.value));
//!     }
//! }
//! assert_eq!(seen, [("up{job=\"node\"}".to_owned(), 1.0)]);
//! ```

mod answer;
mod classic;
mod delimited;
mod encode;
mod entry;
mod negotiate;
mod number;
mod openmetrics;
pub mod protobuf;
mod pushed;
mod scan;

pub use answer::PageResponse;
pub use delimited::DelimitedEncoder;
pub use encode::Encoder;
pub use entry::{Entry, ExemplarEntry, KnownSample, Labels, ParseError, SampleEntry};
pub use negotiate::{ACCEPT, ContentTypeError, Format, PageFormat, TextResponse};
pub use number::{format_float, parse_float};

use model::MetricType;

use entry::Found;
use scan::Scan;

/// Reads one scrape, entry by entry.
#[derive(Debug)]
pub struct Parser<'a> {
    format: Format,
    scan: Scan<'a>,
    found: Found,
    /// An error that comes after the entry that was returned last.
    pending: Option<ParseError>,
    done: bool,
}

impl<'a> Parser<'a> {
    /// Starts at the front of a scrape's body.
    pub fn new(format: Format, text: &'a [u8]) -> Self {
        let scan = match format {
            // A last line without its newline is read as if it had one.
            Format::Classic => Scan::new(text, true),
            Format::OpenMetrics => Scan::new(text, false),
        };
        Parser {
            format,
            scan,
            found: Found::default(),
            pending: None,
            done: false,
        }
    }

    /// The next entry if it is a sample whose [`SampleEntry::series`] is these `length` bytes again and `known` agrees that
    /// they are: the labels are then not read, only what stands behind them. None, with nothing read, if it is anything else.
    ///
    /// `known` must only agree to bytes that [`Parser::next_entry`] once returned as a series, in the same format.
    ///
    /// # Errors
    /// As [`Parser::next_entry`].
    pub fn next_known(
        &mut self,
        length: usize,
        known: impl FnOnce(&[u8]) -> bool,
    ) -> Result<Option<KnownSample<'_>>, ParseError> {
        if self.done || self.pending.is_some() {
            return Ok(None);
        }
        let start = self.scan.at;
        let series = self.scan.bytes(start..start + length);
        // A name without braces goes on, or its braces follow, unless a blank and then no brace stand behind it.
        let ends = match series.last() {
            Some(b'}') => true,
            Some(_) => self.scan.blank_and_no_brace(start + length),
            None => false,
        };
        if series.len() != length || !ends || !known(series) {
            return Ok(None);
        }
        self.found.start_sample();
        self.scan.at = start + length;
        let step = match self.format {
            Format::Classic => classic::suffix(&mut self.scan, &mut self.found),
            Format::OpenMetrics => {
                openmetrics::suffix(&mut self.scan, &mut self.found, &mut self.pending)
            }
        };
        match step {
            Ok(_) => Ok(Some(self.found.known(&self.scan))),
            Err(error) => {
                self.done = true;
                Err(error)
            }
        }
    }

    /// Where the next entry is looked for: an offset in the body, or one more behind a last line without its newline.
    pub fn at(&self) -> usize {
        self.scan.at
    }

    /// Goes past the next `length` bytes if `known` agrees to them; says whether it did. `said` is the type that their last `# TYPE` line says.
    ///
    /// `known` must only agree to bytes over which [`Parser::next_entry`] once went from one comment, `# HELP`, `# TYPE` or `# UNIT` line to the end
    /// of another, with nothing else between, in the same format. Lines that do not end in a newline are not skipped: they may go on here.
    pub fn skip_known(
        &mut self,
        length: usize,
        said: Option<MetricType>,
        known: impl FnOnce(&[u8]) -> bool,
    ) -> bool {
        let (start, end) = (self.scan.at, self.scan.at + length);
        let lines = self.scan.bytes(start..end);
        let are_lines = lines.len() == length && lines.last() == Some(&b'\n');
        let skips = !self.done && self.pending.is_none() && are_lines && known(lines);
        if skips {
            self.scan.at = end;
            // It decides how some labels are read.
            self.found.kind = said.unwrap_or(self.found.kind);
        }
        skips
    }

    /// The next entry, or None at the end.
    ///
    /// # Errors
    /// The first place that is not in the format; nothing more can be read then.
    pub fn next_entry(&mut self) -> Result<Option<Entry<'_>>, ParseError> {
        if self.done {
            return Ok(None);
        }
        let step = match self.pending.take() {
            Some(error) => Err(error),
            None => match self.format {
                Format::Classic => classic::next(&mut self.scan, &mut self.found),
                Format::OpenMetrics => {
                    openmetrics::next(&mut self.scan, &mut self.found, &mut self.pending)
                }
            },
        };
        match step {
            Ok(Some(kind)) => Ok(Some(self.found.entry(kind, &self.scan))),
            Ok(None) => {
                self.done = true;
                Ok(None)
            }
            Err(error) => {
                self.done = true;
                Err(error)
            }
        }
    }
}
