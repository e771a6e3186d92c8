//! A thousand branches come back in the same second, each with a backlog: what becomes of the newest scrapes of the others?
//!
//! ```text
//! others (here): connected all the time, live ──▶ hub (measured) ◀── crowd (here): away, back at once, backlog and live
//!                                                  ▲ asked (here): since when are the others' scrapes visible?
//! ```
//!
//! All edges are tasks in this process that speak the line over sockets of their own, with frames of the real encoder. A delay counts
//! from when a scrape was due: to the hub's word that it is on disk, and to the first answer of a query that has it. The crowd
//! shares the machine with the hub: what it uses stands in the table.

mod asking;
mod edge;
mod figures;
mod frames;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::Args;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::task::JoinSet;

use crate::ask::Asker;
use crate::progress::Progress;
use crate::systems::{Kind, Programs, Running};
use crate::usage;
use edge::{Away, Crowd, Other};
use figures::{Figures, Part, Shared};

/// A crowd that has not drained by then is measured for so long.
const STORM_MAX: Duration = Duration::from_secs(90);
/// The crowd comes back within so much.
const RETURN_WITHIN: Duration = Duration::from_secs(1);
/// Until the others have begun: the first scrape of each describes its series.
const WARM_UP: Duration = Duration::from_secs(3);
/// Between two looks at how late a thread wakes up.
const WAKE_EVERY: Duration = Duration::from_millis(5);
/// Open files beside the connections, in either process.
const FILES_BESIDE: u64 = 200;

/// What is measured.
#[derive(Args)]
pub(crate) struct Options {
    /// Edges that come back at once.
    #[arg(long, default_value_t = 1_000)]
    edges: usize,
    /// Edges that were there all the time.
    #[arg(long, default_value_t = 20)]
    others: usize,
    /// Series of each edge.
    #[arg(long, default_value_t = 100)]
    series: usize,
    /// Scrapes of each edge's backlog, 15 s apart.
    #[arg(long, default_value_t = 120)]
    backlog: usize,
    /// How often the others are scraped.
    #[arg(long, default_value = "1s", value_parser = super::edge::seconds)]
    live: Duration,
    /// How long before the return, and after the last one has drained.
    #[arg(long, default_value = "25s", value_parser = super::edge::seconds)]
    around: Duration,
    /// A hundred edges and short phases: does everything work here?
    #[arg(long)]
    quick: bool,
    /// Another build of the hub.
    #[arg(long, value_name = "PATH")]
    hub: Option<PathBuf>,
    /// Where all numbers go, `-` for the terminal.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// The folder for data; target if not given.
    #[arg(long, value_name = "FOLDER")]
    dir: Option<PathBuf>,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    ensure!(
        (1..=10_000).contains(&options.edges) && (1..=1_000).contains(&options.others),
        "--edges must be from 1 to 10000, --others from 1 to 1000"
    );
    ensure!(
        (1..=10_000).contains(&options.series) && (1..=100_000).contains(&options.backlog),
        "--series must be from 1 to 10000, --backlog from 1 to 100000"
    );
    let (edges, around) = match options.quick {
        true => (options.edges.min(100), Duration::from_secs(8)),
        false => (options.edges, options.around),
    };
    raise_open_files((edges + options.others) as u64 + FILES_BESIDE)?;
    let programs = Programs {
        hub: options.hub.clone(),
        ..Programs::default()
    };
    let system = programs.find(&[Kind::Hub])?;
    let system = system.first().context("no hub")?;
    let mut progress = Progress::new();
    progress.note(&format!("{}: {}", system.kind, system.version()));
    let folder = crate::folder(options.dir.as_deref())?;
    let shape = crate::data::Shape::new(0, 0, 0);
    let running = system.start(folder.path(), &shape)?;
    let shared = Arc::new(Shared::new(Instant::now()));
    progress.phase(format!("{edges} backlogs are made"));
    let from = frames::now_ms();
    let crowd = (0..edges).map(|n| Away::new(n, options.series, options.backlog, from));
    let crowd: Vec<Away> = crowd.collect();
    let figures = measure(options, around, &running, crowd, &shared, &mut progress)?;
    progress.clear();
    print!("{}", figures.text());
    if let Some(path) = &options.json {
        let text = format!("{:#}\n", figures.json());
        match path.as_os_str() == "-" {
            true => print!("{text}"),
            false => std::fs::write(path, text).with_context(|| path.display().to_string())?,
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn measure(
    options: &Options,
    around: Duration,
    running: &Running,
    crowd: Vec<Away>,
    shared: &Arc<Shared>,
    progress: &mut Progress,
) -> anyhow::Result<Figures> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let _inside = runtime.enter();
    let mut tasks = JoinSet::new();
    progress.phase("the others alone");
    let began_with = Usage::now(running.pid())?;
    let others: Vec<Other> = (0..options.others)
        .map(|n| Other::new(n, options.others, options.series, options.live))
        .collect();
    let others = {
        let (address, shared) = (running.address.clone(), shared.clone());
        thread::spawn(move || run_others(others, &address, &shared))
    };
    let waking = {
        let shared = shared.clone();
        thread::spawn(move || wake_up(&shared))
    };
    let asking = {
        let (address, shared) = (running.address.clone(), shared.clone());
        let query = frames::newest_of_others();
        thread::spawn(move || asking::ask(&address, &query, &shared))
    };
    thread::sleep(WARM_UP);
    shared.settled();
    thread::sleep(around);
    let before = Usage::now(running.pid())?;

    let edges = crowd.len() as u64;
    progress.phase(format!("{edges} edges come back"));
    shared.storm();
    let began = Instant::now();
    for (n, away) in crowd.into_iter().enumerate() {
        let after = RETURN_WITHIN.mul_f64(n as f64 / edges as f64);
        tasks.spawn(Crowd::new(away, after).run(running.address.clone(), shared.clone()));
    }
    let mut anonymous_max = 0;
    while began.elapsed() < STORM_MAX && shared.drained.load(Ordering::SeqCst) < edges {
        progress.at(shared.drained.load(Ordering::SeqCst), edges);
        anonymous_max = anonymous_max.max(usage::memory(running.pid())?.anonymous);
        thread::sleep(Duration::from_millis(100));
    }
    let storm = began.elapsed();
    let during = Usage::now(running.pid())?;
    let drained = shared.drained.load(Ordering::SeqCst);

    progress.phase("all of them live");
    shared.part.store(Part::After as u8, Ordering::SeqCst);
    thread::sleep(around);
    let after = Usage::now(running.pid())?;
    shared.stop.cancel();
    let acknowledged = shared.acknowledged.load(Ordering::SeqCst);
    progress.phase("counting");
    runtime.block_on(async {
        while let Some(ended) = tasks.join_next().await {
            ended.context("an edge of ours")?.context("an edge")?;
        }
        anyhow::Ok(())
    })?;
    join(others)??;
    join(asking)??;
    join(waking)?;
    let query = frames::count(options.backlog);
    let found = Asker::at(&running.address)?.number(&query, None)?;
    Ok(Figures {
        edges,
        drained,
        acknowledged,
        found: found as u64,
        storm,
        connected: *shared.lock(&shared.connected_last),
        retries: shared.retries.load(Ordering::SeqCst),
        cores: [
            before.cores(&began_with, WARM_UP + around).0,
            during.cores(&before, storm).0,
            after.cores(&during, around).0,
        ],
        cores_here: during.cores(&before, storm).1,
        memory: [before.anonymous, anonymous_max.max(during.anonymous)],
        seen: shared.parts(),
    })
}

/// On a thread of their own: none of their delay is to come from the crowd's tasks here.
fn run_others(others: Vec<Other>, address: &str, shared: &Arc<Shared>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut tasks = JoinSet::new();
        for other in others {
            tasks.spawn(other.run(address.to_owned(), shared.clone()));
        }
        while let Some(ended) = tasks.join_next().await {
            ended.context("one of the others")?.context("an edge")?;
        }
        Ok(())
    })
}

/// How late a thread is that has nothing to do but to wake up: below that no delay on this machine can be.
fn wake_up(shared: &Shared) {
    while !shared.stop.is_cancelled() {
        let slept = Instant::now();
        thread::sleep(WAKE_EVERY);
        shared.woken_late(slept.elapsed().saturating_sub(WAKE_EVERY));
    }
}

fn join<T>(thread: thread::JoinHandle<T>) -> anyhow::Result<T> {
    let ended = thread.join();
    ended.map_err(|_| anyhow::anyhow!("a thread of the benchmark panicked"))
}

/// What was used so far.
#[derive(Clone, Copy, Default)]
struct Usage {
    hub: Duration,
    own: Duration,
    anonymous: u64,
}

impl Usage {
    fn now(pid: u32) -> anyhow::Result<Self> {
        Ok(Usage {
            hub: usage::cpu(pid)?,
            own: usage::cpu(std::process::id())?,
            anonymous: usage::memory(pid)?.anonymous,
        })
    }

    /// Cores that the hub used since, and that we did.
    fn cores(&self, since: &Usage, wall: Duration) -> (f64, f64) {
        let wall = wall.as_secs_f64().max(0.001);
        let of = |now: Duration, then: Duration| now.saturating_sub(then).as_secs_f64() / wall;
        (of(self.hub, since.hub), of(self.own, since.own))
    }
}

/// For us and for the hub, which inherits it.
fn raise_open_files(wanted: u64) -> anyhow::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.unwrap_or(u64::MAX);
    ensure!(
        most >= wanted,
        "{wanted} open files are needed and {most} are allowed: raise that with ulimit -Hn, or ask for fewer --edges"
    );
    if limit.current.is_some_and(|now| now < wanted) {
        let raised = Rlimit {
            current: Some(wanted),
            ..limit
        };
        setrlimit(Resource::Nofile, raised).context("raising the limit of open files")?;
    }
    Ok(())
}
