//! What a line batch takes, and how long: bytes of whole frames a sample, without TLS and TCP, and nanoseconds a sample at both ends.
//!
//! `bench line` takes the data set of the other benchmarks; `--pages FOLDER` takes recorded pages of one target beside it, one file a
//! scrape in the order of names, each name ending in `-<milliseconds since 1970>.txt`:
//!
//! ```sh
//! for i in $(seq -w 240); do curl -s localhost:9100/metrics -o "page-$i-$(date +%s%3N).txt"; sleep 5; done
//! ```
//!
//! Every scrape of every target is a frame, as on the link; the backlog's are the same ones.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use model::{LabelSet, Sample, Series, Timestamp};
use wire::line::{Frame, LineDecoder, LineEncoder, LineLimits, LineScrape, LineSink};
use wire::remote_write::convert::append_series;
use wire::remote_write::{SeriesView, Walk};

use crate::data::{Pages, Shape};
use crate::encode::Encoder;

/// What is measured.
#[derive(Args)]
pub(crate) struct Options {
    /// Series of the made data set, 500 a target.
    #[arg(long, default_value_t = 8_000)]
    series: usize,
    /// Scrapes of each.
    #[arg(long, default_value_t = 240)]
    scrapes: usize,
    /// A folder of recorded pages.
    #[arg(long)]
    pages: Option<PathBuf>,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    println!("           B/sample  first frames  later frames     encode     decode");
    made(options)?.print("synthetic");
    if let Some(folder) = &options.pages {
        recorded(&read(folder)?)?.print("pages");
    }
    Ok(ExitCode::SUCCESS)
}

/// The made data set: 1,700,000,010 is the end, so that every run has the same bytes.
fn made(options: &Options) -> anyhow::Result<Session> {
    let shape = Shape::new(options.series, options.scrapes, 1_700_000_010_000);
    let pages = Pages::new();
    let mut source = Encoder::new(shape, &pages, 0..shape.targets()).one_target_a_request();
    let mut session = Session::new();
    for step in 0..shape.scrapes {
        for target in 0..source.requests() {
            let at = shape.at(step, shape.target(target).offset_ms);
            let request = source.scrape(target, step);
            session.push(target as u64, at, request.message)?;
        }
    }
    Ok(session)
}

fn recorded(pages: &[(i64, Vec<u8>)]) -> anyhow::Result<Session> {
    let mut session = Session::new();
    for (at, page) in pages {
        session.push(1, *at, page)?;
    }
    Ok(session)
}

/// The pages as messages. What stands in braces is one label: enough to tell series apart.
fn read(folder: &Path) -> anyhow::Result<Vec<(i64, Vec<u8>)>> {
    let place = || folder.display().to_string();
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .with_context(place)?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .collect();
    files.sort();
    let mut pages = Vec::new();
    for file in &files {
        let name = file.file_stem().unwrap_or_default().to_string_lossy();
        let at = name.rsplit('-').next().unwrap_or_default().parse();
        let at: i64 = at.with_context(|| format!("{}: no time in its name", file.display()))?;
        let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
        let mut message = Vec::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let Some((series, value)) = line.rsplit_once(' ') else {
                continue;
            };
            let (name, rest) = series.split_once('{').unwrap_or((series, ""));
            let labels = LabelSet::from_pairs([("__name__", name), ("labels", rest)])?;
            let value = value.parse().with_context(|| line.to_owned())?;
            let sample = Sample::float(Timestamp::from_millis(at), value);
            append_series(&mut message, &labels, &[sample]);
        }
        pages.push((at, message));
    }
    anyhow::ensure!(!pages.is_empty(), "{}: no pages", place());
    Ok(pages)
}

/// Both ends of a session, and what they cost.
struct Session {
    encoder: LineEncoder,
    decoder: LineDecoder<u32>,
    limits: LineLimits,
    sink: Counted,
    seq: u64,
    pushed: u64,
    /// Bytes and samples of each frame.
    frames: Vec<(usize, u64)>,
    encoding: Duration,
    decoding: Duration,
    targets: HashSet<u64>,
    /// Label sets by label bytes, as a scraper keeps them.
    known: HashMap<Vec<u8>, Series>,
}

/// Counts what comes.
#[derive(Default)]
struct Counted {
    series: u32,
    samples: u64,
    newest: i64,
    sum: u64,
}

impl LineSink for Counted {
    type Key = u32;
    fn series(&mut self, _: &[u8]) -> u32 {
        self.series += 1;
        self.series
    }
    fn sample(&mut self, key: &u32, at: i64, value: f64) {
        self.samples += 1;
        self.newest = self.newest.max(at);
        self.sum = self.sum.wrapping_add(value.to_bits() ^ u64::from(*key));
    }
    fn rest(&mut self, _: Vec<u8>) {}
}

impl Session {
    fn new() -> Self {
        Session {
            encoder: LineEncoder::new(1, "bench", 1),
            decoder: LineDecoder::new(),
            limits: LineLimits::default(),
            sink: Counted::default(),
            seq: 0,
            pushed: 0,
            frames: Vec::new(),
            encoding: Duration::ZERO,
            decoding: Duration::ZERO,
            targets: HashSet::new(),
            known: HashMap::new(),
        }
    }

    fn push(&mut self, target: u64, at: i64, message: &[u8]) -> anyhow::Result<()> {
        let series = self.series(message)?;
        self.seq += 1;
        self.targets.insert(target);
        let since = Instant::now();
        let bytes = self.encoder.encode(&LineScrape {
            target,
            part: 0,
            seq: self.seq,
            at,
            series: &series,
            beside: &[],
        })?;
        self.encoding += since.elapsed();
        self.pushed += series.len() as u64;
        let since = Instant::now();
        let frame = Frame::read(&bytes, &self.limits)?;
        self.decoder.decode(&frame, &self.limits, &mut self.sink)?;
        self.decoding += since.elapsed();
        self.frames.push((bytes.len(), series.len() as u64));
        anyhow::ensure!(
            self.sink.samples == self.pushed && self.sink.newest >= at,
            "{} of {} samples came",
            self.sink.samples,
            self.pushed
        );
        Ok(())
    }

    fn series(&mut self, message: &[u8]) -> anyhow::Result<Vec<(Series, Sample)>> {
        let (mut walk, mut view, mut series) = (Walk::new(message), SeriesView::new(), Vec::new());
        while walk.next_part(&mut view)?.is_some() {
            let known = match self.known.get(view.label_bytes()) {
                Some(series) => series.clone(),
                None => {
                    let series = Series::from(view.labels()?);
                    self.known
                        .insert(view.label_bytes().to_vec(), series.clone());
                    series
                }
            };
            for (at, value) in &view.samples {
                let sample = Sample::float(Timestamp::from_millis(*at), *value);
                series.push((known.clone(), sample));
            }
        }
        Ok(series)
    }

    /// The first frame of each target describes its series; what comes later has values only.
    fn print(&self, name: &str) {
        let (first, later) = self.frames.split_at(self.targets.len());
        let sample = |frames: &[(usize, u64)]| {
            let bytes: usize = frames.iter().map(|(bytes, _)| bytes).sum();
            let samples: u64 = frames.iter().map(|(_, samples)| samples).sum();
            bytes as f64 / samples.max(1) as f64
        };
        let nanos = |time: Duration| time.as_nanos() as f64 / self.pushed.max(1) as f64;
        println!(
            "{:<9}  {:>8.3}  {:>12.3}  {:>12.3}  {:>6.1} ns  {:>6.1} ns",
            name,
            sample(&self.frames),
            sample(first),
            sample(later),
            nanos(self.encoding),
            nanos(self.decoding),
        );
    }
}
