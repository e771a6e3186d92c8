//! The task around a [`Shipper`]: buffer, link and clock.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use daemon::{Clock, Tasks, blocking};
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use model::Timestamp;
use model::relabel::RelabelRule;
use tokio_util::sync::CancellationToken;
use wire::edge_headers::EdgeHeaders;
use wire::remote_write::headers::{Version, Written};
use wire::remote_write::{compress, headers};

use super::classify::Answer;
use super::families::Families;
use super::line::{LineEnd, LineLink, LineOptions};
use super::link::{Link, LinkRequest};
use super::message::message;
use super::rewrite::Wanted;
use super::shipper::{Ask, Content, Outcome, Peer, Shipper, ShipperOptions, Step, Verdict};
use super::status::{HubStatus, LinkState};
use crate::buffer::{Batch, Buffer, BufferError, HubCounts, RecordMeta, SequenceSet, Want};
use crate::clock::{Change, HubTime};

/// What a forwarder needs to know.
#[derive(Clone, Debug)]
pub struct ForwardOptions {
    /// This edge's name, for an own hub: visible ASCII characters.
    pub edge: String,
    /// The hub's name; its cursor in the buffer bears it.
    pub hub: String,
    /// How requests are paced.
    pub shipper: ShipperOptions,
    /// `write_relabel_configs`.
    pub write_relabel: Vec<RelabelRule>,
    /// What besides samples is sent.
    pub wanted: Wanted,
    /// How a line behaves.
    pub line: LineOptions,
    /// Learns from the line how far the machine's clock is off.
    pub time: Option<Arc<HubTime>>,
}

/// A hub's acknowledgements may become so scattered that only the oldest scrapes are sent, which joins them again.
const RANGES_MAX: usize = 4096;
/// How long a hub of ours that does not speak the line gets remote write before it is asked again: first so long, as a portal or an ingress
/// may have answered in its place, each time twice as long, and at last so long.
const ASK_FOR_LINE_FIRST: Duration = Duration::from_secs(5);
const ASK_FOR_LINE_LAST: Duration = Duration::from_secs(300);
/// How long a stopping edge waits for answers that are under way.
const STOP_GRACE: Duration = Duration::from_secs(1);

/// Ships the buffer to one hub until stopped.
pub struct Forwarder {
    options: ForwardOptions,
    buffer: Arc<Buffer>,
    status: Mutex<HubStatus>,
    families: Mutex<Families>,
}

impl Forwarder {
    /// Attaches the hub to the buffer and starts shipping in `tasks`. It stops, and saves what was acknowledged, when the
    /// tasks are cancelled.
    ///
    /// # Errors
    /// The buffer cannot save the hub's cursor.
    pub fn start(
        options: ForwardOptions,
        buffer: Arc<Buffer>,
        link: Arc<dyn Link>,
        line: Option<Arc<dyn LineLink>>,
        tasks: &Tasks,
    ) -> Result<Arc<Forwarder>, BufferError> {
        buffer.attach(&options.hub)?;
        let status = HubStatus {
            name: options.hub.clone(),
            address: link.address(),
            peer: options.shipper.peer.clone(),
            since: Some(buffer.clock().now()),
            ..HubStatus::default()
        };
        let forwarder = Arc::new(Forwarder {
            options,
            buffer,
            status: Mutex::new(status),
            families: Mutex::default(),
        });
        // Frames leave as they are in the buffer: what has to be changed on the way goes as remote write.
        let options = &forwarder.options;
        let line = line.filter(|_| options.write_relabel.is_empty() && options.wanted.metadata);
        tasks.spawn(
            format!("forward to {}", options.hub),
            forwarder.clone().ship(link, line, tasks.clone()),
        );
        Ok(forwarder)
    }

    /// The hub's status, with the books as they are now. Reads the disk.
    pub fn status(&self) -> HubStatus {
        let counts = self.buffer.counts(&self.options.hub);
        let mut status = self.lock().clone();
        if let Ok(counts) = counts {
            status.counts = counts;
        }
        status
    }

    /// The hub's status with the books as they were when the last request was made. Does not wait for anything.
    pub fn status_now(&self) -> HubStatus {
        self.lock().clone()
    }

    /// By the line where it is spoken, else by remote write. A hub of ours that had no line is asked again now and then: it
    /// may have been updated.
    async fn ship(
        self: Arc<Self>,
        link: Arc<dyn Link>,
        line: Option<Arc<dyn LineLink>>,
        tasks: Tasks,
    ) {
        let stop = tasks.token().clone();
        let Some(line) = line else {
            return self.run(link, stop, None).await;
        };
        let mut again = ASK_FOR_LINE_FIRST;
        while !stop.is_cancelled() {
            match self.run_line(&*line, &tasks, &stop).await {
                LineEnd::Stopped => return,
                LineEnd::NotSpoken { why, was_spoken } => {
                    if was_spoken {
                        again = ASK_FOR_LINE_FIRST;
                    }
                    tracing::info!(
                        hub = self.options.hub,
                        why,
                        "remote write instead of a line"
                    );
                }
            }
            self.clone()
                .run(link.clone(), stop.clone(), Some(again))
                .await;
            again = (again * 2).min(ASK_FOR_LINE_LAST);
        }
    }

    async fn run(
        self: Arc<Self>,
        link: Arc<dyn Link>,
        stop: CancellationToken,
        own_for: Option<Duration>,
    ) {
        let clock = self.buffer.clock().clone();
        let since = clock.elapsed();
        let mut shipper = Shipper::new(self.shipper_options());
        let mut news = self.buffer.subscribe();
        let mut flights: FuturesUnordered<BoxFuture<'static, (u64, Outcome)>> =
            FuturesUnordered::new();
        let mut chance = Chance::new();
        // When what was acknowledged has to be on disk.
        let mut save_at: Option<Duration> = None;
        while !stop.is_cancelled() {
            if matches!(shipper.peer(), Peer::Own { .. })
                && own_for.is_some_and(|own_for| clock.elapsed() >= since + own_for)
            {
                break;
            }
            let wake = match shipper.next(clock.elapsed(), clock.now()) {
                Step::Ask(ask) => {
                    let flight = self.clone().ask(&mut shipper, &ask, &link, &*clock).await;
                    flights.extend(flight);
                    continue;
                }
                Step::Wait(wake) => wake,
            };
            if save_at.is_some_and(|save_at| save_at <= clock.elapsed()) {
                save_at = None;
                self.save().await;
            }
            let wake = wake.into_iter().chain(save_at).min();
            let pause = wake.map(|wake| wake.saturating_sub(clock.elapsed()));
            let sleep = async {
                match pause {
                    Some(pause) => clock.sleep(pause).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = stop.cancelled() => break,
                Some((id, outcome)) = flights.next(), if !flights.is_empty() => {
                    self.settle(&mut shipper, id, outcome, &*clock, chance.next()).await;
                    // What is sent twice is stored once by an own hub; a foreign endpoint may refuse it as out of order.
                    let bound = match shipper.peer() {
                        Peer::Foreign => Duration::ZERO,
                        _ => self.buffer.save_bound(),
                    };
                    save_at.get_or_insert(clock.elapsed() + bound);
                }
                Ok(()) = news.changed() => shipper.news(),
                () = sleep => {}
            }
        }
        // What is under way may just be answered; what is not will be sent again after the restart.
        let grace = clock.sleep(STOP_GRACE);
        tokio::pin!(grace);
        loop {
            tokio::select! {
                flight = flights.next() => match flight {
                    Some((id, outcome)) => self.settle(&mut shipper, id, outcome, &*clock, chance.next()).await,
                    None => break,
                },
                () = &mut grace => break,
            }
        }
        self.save().await;
    }

    /// As configured, but 1.0 where 2.0 was found not to be understood: once an endpoint has said so it is not asked again.
    fn shipper_options(&self) -> ShipperOptions {
        let mut options = self.options.shipper.clone();
        let mut status = self.lock();
        status.speaks_line = false;
        if status.instead_of_second.is_some() {
            options.version = Version::V1;
        }
        status.version = options.version;
        options
    }

    pub(super) fn buffer(&self) -> &Arc<Buffer> {
        &self.buffer
    }

    pub(super) fn hub(&self) -> &str {
        &self.options.hub
    }

    pub(super) fn edge(&self) -> &str {
        &self.options.edge
    }

    pub(super) fn line_options(&self) -> &LineOptions {
        &self.options.line
    }

    pub(super) async fn save(&self) {
        let buffer = self.buffer.clone();
        if let Err(error) = blocking(move || buffer.save()).await {
            tracing::warn!(hub = self.options.hub, %error, "acknowledgements could not be saved: after a restart some samples are sent again");
        }
    }

    /// Reads what is asked for and sends it. None when there is nothing to send now.
    async fn ask(
        self: Arc<Self>,
        shipper: &mut Shipper,
        ask: &Ask,
        link: &Arc<dyn Link>,
        clock: &dyn Clock,
    ) -> Option<BoxFuture<'static, (u64, Outcome)>> {
        let peer = shipper.peer().clone();
        let (this, content, in_flight) = (self.clone(), ask.clone(), shipper.in_flight());
        let made = blocking(move || this.make(&content, &in_flight, &peer)).await;
        let now = clock.elapsed();
        let made = match made {
            Ok(Some(made)) => made,
            Ok(None) => {
                shipper.nothing(ask, now);
                return None;
            }
            Err(error) => {
                tracing::warn!(hub = self.options.hub, %error, "the buffer cannot be read: trying again");
                shipper.unreadable(ask, now);
                self.note_error(clock.now(), error.to_string());
                return None;
            }
        };
        let id = shipper.sent(ask, made.records, made.carried, now);
        {
            let mut status = self.lock();
            status.requests += 1;
            status.bytes_sent += made.request.body.len() as u64;
            status.counts = made.counts;
            if ask.attempt == 0 {
                status.exemplars_left += made.exemplars_left;
            }
            (status.in_flight_requests, status.in_flight_samples) = shipper.under_way();
        }
        let answer = link.send(made.request);
        let (timeout, timer) = (ask.timeout, clock.sleep(ask.timeout));
        let buffer = self.buffer.clone();
        Some(Box::pin(async move {
            let outcome = tokio::select! {
                answer = answer => match answer {
                    Ok(response) => Outcome::Answered(Answer::read(&response, buffer.clock().now())),
                    Err(error) => Outcome::Failed(error.to_string()),
                },
                () = timer => Outcome::TimedOut(timeout),
            };
            (id, outcome)
        }))
    }

    /// Chooses and reads records and makes the request. None when there are none.
    fn make(
        &self,
        ask: &Ask,
        in_flight: &SequenceSet,
        peer: &Peer,
    ) -> Result<Option<Made>, BufferError> {
        let (buffer, hub) = (&self.buffer, self.options.hub.as_str());
        let chosen = match &ask.content {
            Content::Hello => Vec::new(),
            Content::Exactly(records) => records.clone(),
            Content::Choose(Want::NewestSince(_)) if buffer.range_count(hub)? > RANGES_MAX => {
                Vec::new()
            }
            Content::Choose(want) => buffer.select(hub, *want, in_flight, &ask.limits)?,
        };
        let Batch {
            message: buffered,
            records,
        } = buffer.load(&chosen)?;
        if records.is_empty() && ask.content != Content::Hello {
            return Ok(None);
        }
        // A hub of ours keeps everything: `send_exemplars: false` is for those that take none.
        let wanted = match peer {
            Peer::Foreign => self.options.wanted,
            _ => Wanted {
                metadata: self.options.wanted.metadata,
                ..Wanted::default()
            },
        };
        let made = {
            let mut families = self.families.lock().unwrap_or_else(PoisonError::into_inner);
            message(
                ask.version,
                buffered,
                &self.options.write_relabel,
                wanted,
                &mut families,
            )
        };
        let mut body = compress(&made.bytes);
        // It goes before the next is made: they are megabytes.
        drop(made.bytes);
        // The compressor made room for the worst case, and the body stays until it is answered.
        body.shrink_to_fit();
        let counts = buffer.counts(hub)?;
        let (content_type, version) = ask.version.said();
        let mut pairs = vec![
            ("content-type", content_type.to_owned()),
            ("content-encoding", headers::CONTENT_ENCODING.to_owned()),
            ("x-prometheus-remote-write-version", version.to_owned()),
        ];
        if ask.attempt > 0 {
            pairs.push(("retry-attempt", ask.attempt.to_string()));
        }
        if *peer != Peer::Foreign {
            let sequences: SequenceSet = records.iter().map(|record| record.seq).collect();
            let about = EdgeHeaders {
                edge: self.options.edge.clone(),
                epoch: buffer.epoch(),
                sequences: sequences.ranges().collect(),
                lane: ask.lane,
                scraped_samples: counts.scraped.samples,
                pending_samples: counts.pending.counts.samples,
                pending_bytes: counts.pending.bytes,
                oldest_pending: counts.pending.oldest,
                evicted_samples: counts.evicted.samples,
            };
            pairs.extend(about.to_pairs());
        }
        let request = LinkRequest {
            body: Bytes::from(body),
            headers: pairs,
        };
        Ok(Some(Made {
            request,
            records,
            counts,
            carried: made.carried,
            exemplars_left: made.exemplars_left,
        }))
    }

    async fn settle(
        &self,
        shipper: &mut Shipper,
        id: u64,
        outcome: Outcome,
        clock: &dyn Clock,
        random: f64,
    ) {
        let (now, wall) = (clock.elapsed(), clock.now());
        let sent_at = shipper.sent_at(id);
        let verdict = shipper.settle(id, &outcome, now, random);
        self.note(shipper, &outcome, &verdict, wall);
        let (buffer, hub) = (self.buffer.clone(), self.options.hub.clone());
        let written = match verdict {
            Verdict::Kept => Ok(()),
            Verdict::Acknowledged(records) => {
                self.note_taken(&records, sent_at.map(|sent_at| now.saturating_sub(sent_at)));
                blocking(move || buffer.acknowledge(&hub, &records)).await
            }
            Verdict::Quarantined(records, reason) => {
                let samples: u64 = records.iter().map(|record| record.counts.samples).sum();
                let (hub_name, records_len) = (&self.options.hub, records.len());
                tracing::error!(
                    hub = %hub_name, records = records_len, samples, %reason,
                    "refused for good: kept in the buffer's quarantine, not sent again by itself"
                );
                blocking(move || buffer.quarantine(&hub, &records)).await
            }
        };
        self.note_written(written, wall);
    }

    pub(super) fn note_written(&self, written: Result<(), BufferError>, now: Timestamp) {
        if let Err(error) = written {
            // Kept in memory and saved with the next chance.
            tracing::warn!(hub = self.options.hub, %error, "acknowledgements could not be saved");
            self.note_error(now, error.to_string());
        }
    }

    /// Who is at the other end of the line.
    pub(super) fn note_hub(&self, hub: &str) {
        self.lock().peer = Peer::Own {
            hub: hub.to_owned(),
        };
    }

    /// The machine's own time, whatever samples are stamped with.
    pub(super) fn machine_now(&self) -> Timestamp {
        match &self.options.time {
            Some(time) => time.machine_now(),
            None => self.buffer.clock().now(),
        }
    }

    /// How much later samples are stamped than the machine's clock says.
    pub(super) fn correction_ms(&self) -> Option<i64> {
        self.options.time.as_ref()?.correction_ms()
    }

    /// How far the hub's clock is from the machine's, give or take.
    pub(super) fn note_offset(&self, offset_ms: i64, uncertain_ms: u64) {
        self.lock().clock_offset_ms = Some(offset_ms);
        let Some(time) = &self.options.time else {
            return;
        };
        let (hub, seconds) = (&self.options.hub, offset_ms as f64 / 1e3);
        match time.measured(hub, offset_ms, uncertain_ms) {
            Some(Change::Follows) => {
                tracing::warn!(
                    hub,
                    "this machine's clock is {seconds:+.1} s from the hub's: scrapes are stamped with the hub's time"
                );
            }
            Some(Change::TrustsMachine) => {
                tracing::info!(hub, "scrapes are stamped with this machine's time again");
            }
            None => {}
        }
    }

    /// The line sent a message.
    pub(super) fn note_sent(&self, bytes: u64) {
        let mut status = self.lock();
        status.requests += 1;
        status.bytes_sent += bytes;
    }

    /// How the line is now.
    pub(super) fn note_link(
        &self,
        link: &LinkState,
        round_trip: Option<Duration>,
        under_way: (usize, u64),
        now: Timestamp,
    ) {
        let mut status = self.lock();
        (status.in_flight_requests, status.in_flight_samples) = under_way;
        status.round_trip = round_trip.or(status.round_trip);
        status.speaks_line = true;
        if *link == LinkState::Up {
            status.last_answer = Some(now);
        }
        self.note_change(&mut status, link, now);
    }

    /// Logs what changed of the link.
    fn note_change(&self, status: &mut HubStatus, link: &LinkState, now: Timestamp) {
        let hub = self.options.hub.as_str();
        match (&status.link, link) {
            (LinkState::Up | LinkState::Connecting, LinkState::Down { error }) => {
                tracing::warn!(hub, error, "the hub cannot be reached: buffering");
            }
            (LinkState::Down { .. } | LinkState::Connecting, LinkState::Up) => {
                tracing::info!(hub, "the hub is there");
            }
            _ => {}
        }
        if std::mem::discriminant(&status.link) != std::mem::discriminant(link) {
            status.since = Some(now);
        }
        status.link = link.clone();
    }

    /// Keeps the status up to date and logs changes of the link.
    fn note(&self, shipper: &Shipper, outcome: &Outcome, verdict: &Verdict, now: Timestamp) {
        let mut status = self.lock();
        (status.in_flight_requests, status.in_flight_samples) = shipper.under_way();
        status.peer = shipper.peer().clone();
        self.note_version(&mut status, shipper);
        let error = match (outcome, verdict, shipper.link()) {
            (_, Verdict::Quarantined(_, reason), _) => Some(reason.clone()),
            (_, _, LinkState::Down { error }) => Some(error.clone()),
            (Outcome::Answered(answer), ..) if !(200..300).contains(&answer.status) => {
                Some(answer.describe())
            }
            _ => None,
        };
        if let Outcome::Answered(_) = outcome
            && *shipper.link() == LinkState::Up
        {
            status.last_answer = Some(now);
        }
        if let Some(error) = error {
            status.failures += 1;
            status.last_error = Some((now, error));
        }
        self.note_change(&mut status, shipper.link(), now);
    }

    /// What is spoken, and what came of it; changes are logged, each once.
    fn note_version(&self, status: &mut HubStatus, shipper: &Shipper) {
        let hub = self.options.hub.as_str();
        status.version = shipper.version();
        if let (None, Some(why)) = (&status.instead_of_second, shipper.instead_of_second()) {
            tracing::warn!(
                hub,
                why,
                "remote write 2.0 is not understood there: 1.0 from now on"
            );
            status.instead_of_second = Some(why.to_owned());
        }
        if status.unwritten == 0 && shipper.unwritten() > 0 {
            tracing::warn!(
                hub,
                samples = shipper.unwritten(),
                "a request was taken, and not all samples of it are said to be written: they count as acknowledged"
            );
        }
        status.unwritten = status.unwritten.max(shipper.unwritten());
    }

    pub(super) fn note_taken(&self, records: &[RecordMeta], round_trip: Option<Duration>) {
        let mut status = self.lock();
        status.round_trip = round_trip.or(status.round_trip);
        let newest = records.iter().map(|record| record.at).max();
        status.watermark = status.watermark.into_iter().chain(newest).max();
    }

    pub(super) fn note_error(&self, now: Timestamp, error: String) {
        self.lock().last_error = Some((now, error));
    }

    fn lock(&self) -> MutexGuard<'_, HubStatus> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request ready to go.
struct Made {
    request: LinkRequest,
    records: Vec<RecordMeta>,
    counts: HubCounts,
    carried: Written,
    exemplars_left: u64,
}

/// Spreads the pauses of many edges; nothing depends on its quality.
pub(super) struct Chance(RandomState, u64);

impl Chance {
    pub(super) fn new() -> Chance {
        Chance(RandomState::new(), 0)
    }

    /// From 0 to 1.
    pub(super) fn next(&mut self) -> f64 {
        self.1 += 1;
        let mut hasher = self.0.build_hasher();
        hasher.write_u64(self.1);
        (hasher.finish() >> 11) as f64 / (1_u64 << 53) as f64
    }
}
