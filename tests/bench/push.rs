//! Pushes a data set over a few held connections, closed loop: each connection has its own share of the targets, sends them scrape
//! by scrape, and sends the next request when the last one is acknowledged.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::client::{Answer, Connection};
use crate::data::{Pages, Shape, branch_name};
use crate::encode::Encoder;
use crate::latency::Latencies;
use crate::usage;

/// So far may one connection be ahead of the slowest: half an hour of data. A Prometheus refuses what is an hour behind its newest.
const STEPS_AHEAD_MAX: usize = 120;
/// Between two looks at the progress.
const LOOK: Duration = Duration::from_millis(10);
/// How often a request is sent again to a server that says "later".
const RETRIES_MAX: u32 = 60;
/// Longest wait that a server may ask for.
const RETRY_SECONDS_MAX: u64 = 5;

/// What to send where.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    pub(crate) address: String,
    pub(crate) shape: Shape,
    pub(crate) connections: usize,
    /// Each request says whose it is.
    pub(crate) with_tokens: bool,
    /// Ends before all is sent.
    pub(crate) stop_after: Option<Duration>,
}

/// Kills the server in the middle.
pub(crate) struct Interrupt<'a> {
    /// When so many samples are acknowledged.
    pub(crate) at_samples: u64,
    pub(crate) kill: &'a mut dyn FnMut(),
}

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Pushed {
    /// Samples that were acknowledged.
    pub(crate) acknowledged: u64,
    /// Samples that were sent and got no answer.
    pub(crate) unanswered: u64,
    /// Of the first target, which the probes ask for.
    pub(crate) probe_scrapes: u64,
    /// The probe's scrapes that got no answer: none or one.
    pub(crate) probe_unanswered: u64,
    pub(crate) wall: Duration,
    pub(crate) client_cpu: Duration,
    pub(crate) latencies: Latencies,
    /// Requests that the server wanted to see again later.
    pub(crate) retries: u64,
    /// Bytes before compression, and on the wire.
    pub(crate) message_bytes: u64,
    pub(crate) body_bytes: u64,
}

/// What the connections share.
struct Shared {
    acknowledged: AtomicU64,
    interrupted: AtomicBool,
    /// Scrapes that each connection has finished.
    steps: Vec<AtomicUsize>,
    running: AtomicUsize,
    stop_at: Option<Instant>,
}

impl Shared {
    /// Scrapes that the slowest connection has finished. One that has ended counts as having finished more than there are.
    fn slowest(&self) -> usize {
        let steps = self.steps.iter().map(|step| step.load(Ordering::Relaxed));
        steps.min().unwrap_or(usize::MAX)
    }
}

/// The token of a branch, as the hub's configuration has it.
pub(crate) fn token(branch: &str) -> String {
    format!("token-of-{branch}")
}

/// All tokens of a data set, by branch.
pub(crate) fn tokens(shape: &Shape) -> impl Iterator<Item = (String, String)> {
    (shape.first_branch..shape.first_branch + shape.branches()).map(|number| {
        let branch = branch_name(number);
        let token = token(&branch);
        (branch, token)
    })
}

/// Sends all of it, or until the interrupt. `seen` is told how much is acknowledged, some times a second.
///
/// # Errors
/// When the server refuses a request, or a connection breaks that nobody broke.
pub(crate) fn push(
    job: &Job,
    mut interrupt: Option<Interrupt<'_>>,
    mut seen: impl FnMut(u64),
) -> anyhow::Result<Pushed> {
    let pages = Pages::new();
    let connections = job.connections.clamp(1, job.shape.targets());
    let share = |index| index * job.shape.targets() / connections;
    let mut senders = Vec::new();
    for index in 0..connections {
        senders.push(Sender {
            index,
            connection: Connection::open(&job.address).context("connecting to write")?,
            encoder: Encoder::new(job.shape, &pages, share(index)..share(index + 1)),
            with_tokens: job.with_tokens,
            pushed: Pushed::default(),
        });
    }
    let shared = Shared {
        acknowledged: AtomicU64::new(0),
        interrupted: AtomicBool::new(false),
        steps: senders.iter().map(|_| AtomicUsize::new(0)).collect(),
        running: AtomicUsize::new(connections),
        stop_at: job.stop_after.map(|after| Instant::now() + after),
    };
    let own_cpu = || usage::cpu(std::process::id()).unwrap_or_default();
    let (began, cpu_before) = (Instant::now(), own_cpu());
    let mut pushed = Pushed::default();
    thread::scope(|scope| {
        let threads: Vec<_> = senders
            .into_iter()
            .map(|sender| scope.spawn(|| sender.run(job.shape.scrapes, &shared)))
            .collect();
        while shared.running.load(Ordering::SeqCst) > 0 {
            thread::sleep(LOOK);
            let acknowledged = shared.acknowledged.load(Ordering::Relaxed);
            seen(acknowledged);
            if interrupt
                .as_ref()
                .is_some_and(|interrupt| acknowledged >= interrupt.at_samples)
                && let Some(interrupt) = interrupt.take()
            {
                shared.interrupted.store(true, Ordering::SeqCst);
                (interrupt.kill)();
            }
        }
        pushed.wall = began.elapsed();
        for thread in threads {
            let one = thread
                .join()
                .map_err(|_| anyhow::anyhow!("a connection's thread panicked"))??;
            pushed.add(one);
        }
        anyhow::Ok(())
    })?;
    pushed.client_cpu = own_cpu().saturating_sub(cpu_before);
    Ok(pushed)
}

impl Pushed {
    fn add(&mut self, one: Self) {
        self.acknowledged += one.acknowledged;
        self.unanswered += one.unanswered;
        self.probe_scrapes += one.probe_scrapes;
        self.probe_unanswered += one.probe_unanswered;
        self.latencies.join(one.latencies);
        self.retries += one.retries;
        self.message_bytes += one.message_bytes;
        self.body_bytes += one.body_bytes;
    }
}

struct Sender {
    index: usize,
    connection: Connection,
    encoder: Encoder,
    with_tokens: bool,
    pushed: Pushed,
}

impl Sender {
    fn run(mut self, scrapes: usize, shared: &Shared) -> anyhow::Result<Pushed> {
        let result = self.send_all(scrapes, shared);
        // Nobody waits for one that has gone.
        shared.steps[self.index].store(usize::MAX, Ordering::SeqCst);
        shared.running.fetch_sub(1, Ordering::SeqCst);
        result.map(|()| self.pushed)
    }

    fn send_all(&mut self, scrapes: usize, shared: &Shared) -> anyhow::Result<()> {
        for step in 0..scrapes {
            if shared.stop_at.is_some_and(|at| Instant::now() > at) {
                return Ok(());
            }
            for request in 0..self.encoder.requests() {
                let probes = u64::from(self.index == 0 && request == 0);
                let request = self.encoder.scrape(request, step);
                let samples = request.samples as u64;
                let token = self.with_tokens.then(|| token(request.branch));
                let began = Instant::now();
                let sent = write_with_retries(&mut self.connection, token.as_deref(), request.body);
                let retries = match sent {
                    Ok(retries) => retries,
                    Err(_) if shared.interrupted.load(Ordering::SeqCst) => {
                        self.pushed.unanswered += samples;
                        self.pushed.probe_unanswered += probes;
                        return Ok(());
                    }
                    Err(error) => return Err(error),
                };
                self.pushed.latencies.add(began.elapsed());
                self.pushed.retries += u64::from(retries);
                self.pushed.acknowledged += samples;
                self.pushed.probe_scrapes += probes;
                self.pushed.message_bytes += request.message.len() as u64;
                self.pushed.body_bytes += request.body.len() as u64;
                shared.acknowledged.fetch_add(samples, Ordering::Relaxed);
            }
            shared.steps[self.index].store(step + 1, Ordering::Relaxed);
            while shared.slowest() < step.saturating_sub(STEPS_AHEAD_MAX) {
                thread::sleep(LOOK);
            }
        }
        Ok(())
    }
}

/// Sends one request until it is taken; returns how often the server asked for patience.
///
/// # Errors
/// When it is refused for good, or no answer came.
pub(crate) fn write_with_retries(
    connection: &mut Connection,
    token: Option<&str>,
    body: &[u8],
) -> anyhow::Result<u32> {
    for retries in 0..=RETRIES_MAX {
        let answer = connection.write(token, body).context("writing")?;
        if answer.is_success() {
            return Ok(retries);
        }
        if answer.status != 429 && answer.status < 500 {
            bail!("a write was refused: {}", said(&answer));
        }
        if retries == RETRIES_MAX {
            bail!("still refused after {RETRIES_MAX} tries: {}", said(&answer));
        }
        let seconds = answer.retry_after_s.unwrap_or(1).min(RETRY_SECONDS_MAX);
        thread::sleep(Duration::from_secs(seconds));
    }
    Ok(RETRIES_MAX)
}

fn said(answer: &Answer) -> String {
    format!("status {}: {}", answer.status, answer.excerpt())
}
