//! The demo: a hub, some branches with real edges, links that fail by a script, and a tally at the end.

mod branch;
mod business;
mod files;
mod link;
mod script;
mod table;
mod tally;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use daemon::{Clock, Signal, Signals, SystemClock, Tasks};
use journal::RealDisk;
use model::{ALERT_NAME, BRANCH, LabelSet};

pub use script::Cut;
use script::CutKind;

use self::branch::DemoBranch;
use self::files::Folder;
use self::table::{Row, Table, View};
use self::tally::Tally;
use crate::config::HubConfig;
use crate::federation::LinkState;
use crate::process::{Hub, HubOptions};

/// More would not fit on a screen, nor on a laptop.
const BRANCHES_MAX: u32 = 50;
/// How often the table is drawn and the script looked at.
const TICK: Duration = Duration::from_millis(250);
/// How long the edges may drain once the script is over.
const DRAIN_WITHIN: Duration = Duration::from_secs(60);
/// How long each part may take to stop.
const STOP_GRACE: Duration = Duration::from_secs(10);

/// What the demo does.
#[derive(Args, Clone, Debug)]
pub struct DemoOptions {
    /// Branches beside the head office: b01, b02, …
    #[arg(long, default_value_t = 3)]
    branches: u32,
    /// Cut a branch's link: BRANCH@FROM+LENGTH, then `:silent` (default: open connections, nothing comes) or
    /// `:refuse`. May be given again. Default: b02@20s+60s and b03@60s+30s:refuse.
    #[arg(long = "cut", value_name = "CUT")]
    cuts: Vec<Cut>,
    /// End after this long. Default: at Ctrl-C.
    #[arg(long = "for", value_name = "DURATION", value_parser = model::duration::parse)]
    duration: Option<Duration>,
    /// Where the hub listens; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9490")]
    listen: SocketAddr,
    /// Where configurations and data go, and stay. Default: a temporary folder, removed at the end.
    #[arg(long, value_name = "FOLDER")]
    data_dir: Option<PathBuf>,
    /// How often the edges scrape.
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = model::duration::parse)]
    scrape_interval: Duration,
}

/// Runs the demo to its end. The answer: do the sums agree?
///
/// # Errors
/// Something could not be started, or would not stop.
pub async fn run(options: DemoOptions) -> anyhow::Result<bool> {
    daemon::init_log_quiet();
    let mut signals = Signals::listen().context("listening for signals")?;
    let mut demo = Demo::start(options).await?;
    demo.introduce();
    loop {
        tokio::select! {
            () = demo.clock.sleep(TICK) => {}
            signal = signals.next() => if signal == Signal::Stop { break },
        }
        demo.tick();
        if demo
            .options
            .duration
            .is_some_and(|end| demo.elapsed() >= end)
        {
            break;
        }
    }
    demo.finish(&mut signals).await
}

struct Demo {
    options: DemoOptions,
    cuts: Vec<Cut>,
    clock: Arc<dyn Clock>,
    started: Duration,
    folder: Folder,
    hub: Hub,
    tasks: Tasks,
    branches: Vec<DemoBranch>,
    peaks: BTreeMap<String, u64>,
    table: Table,
}

impl Demo {
    async fn start(options: DemoOptions) -> anyhow::Result<Self> {
        if !(1..=BRANCHES_MAX).contains(&options.branches) {
            bail!("--branches {}: 1 to {BRANCHES_MAX}", options.branches);
        }
        if options.scrape_interval < Duration::from_millis(500) {
            bail!("--scrape-interval: at least 500ms");
        }
        let names: Vec<String> = (1..=options.branches)
            .map(|number| format!("b{number:02}"))
            .collect();
        let cuts = match options.cuts.is_empty() {
            true => default_cuts(&names),
            false => options.cuts.clone(),
        };
        if let Some(cut) = cuts.iter().find(|cut| !names.contains(&cut.branch)) {
            bail!(
                "--cut {}@…: there is no such branch; there are {}",
                cut.branch,
                names.join(", ")
            );
        }
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let folder = Folder::make(options.data_dir.as_deref())?;
        let config = folder.write_hub(&names)?;
        let hub = Hub::start(HubOptions {
            web: daemon::web::Web::default(),
            config: HubConfig::load(&config)?,
            listen: options.listen,
            data_dir: folder.path().join("hub/data"),
            cors_origin: Default::default(),
            local_edge: true,
            clock: clock.clone(),
            disk: Arc::new(RealDisk),
            flags: BTreeMap::new(),
        })
        .await?;
        let tasks = Tasks::new();
        let mut branches = Vec::new();
        for (number, name) in names.iter().enumerate() {
            let seed = number as u64 + 1;
            branches.push(
                DemoBranch::start(
                    name,
                    seed,
                    hub.address(),
                    &folder,
                    options.scrape_interval,
                    &clock,
                    &tasks,
                )
                .await?,
            );
        }
        let started = clock.elapsed();
        let (peaks, table) = (BTreeMap::new(), Table::new());
        Ok(Demo {
            options,
            cuts,
            clock,
            started,
            folder,
            hub,
            tasks,
            branches,
            peaks,
            table,
        })
    }

    fn elapsed(&self) -> Duration {
        self.clock.elapsed().saturating_sub(self.started)
    }

    fn introduce(&self) {
        println!(
            "Branchline demo: hub on http://{}/, {} branches",
            self.hub.address(),
            self.branches.len()
        );
        println!("Configurations and data: {}", self.folder.path().display());
        for cut in &self.cuts {
            let how = match cut.kind {
                CutKind::Silent => "goes silent",
                CutKind::Refuse => "refuses",
            };
            println!(
                "  the link of {} {how} {} s from the start, for {} s",
                cut.branch,
                cut.from.as_secs(),
                cut.lasts.as_secs()
            );
        }
        let end = self.options.duration.map_or_else(
            || "at Ctrl-C".to_owned(),
            |end| format!("after {} s", end.as_secs()),
        );
        println!("It ends {end}.\n");
    }

    fn tick(&mut self) {
        let elapsed = self.elapsed();
        for branch in &self.branches {
            branch
                .link
                .set(script::wanted(&self.cuts, &branch.name, elapsed));
        }
        let view = self.view(elapsed);
        self.table.show(&view);
    }

    fn view(&mut self, elapsed: Duration) -> View {
        let seen = self.hub.state().branches.list();
        let rows = self.branches.iter().map(|branch| {
            let backlog = branch.pending();
            let peak = self.peaks.entry(branch.name.clone()).or_default();
            *peak = if backlog == 0 { 0 } else { backlog.max(*peak) };
            let seen = seen.iter().find(|seen| seen.name == branch.name);
            Row {
                branch: branch.name.clone(),
                cut: branch.link.state(),
                link: seen.map_or(LinkState::Unknown, |seen| seen.link),
                lag: seen.and_then(|seen| seen.lag),
                backlog,
                backlog_peak: *peak,
                stored: seen.map_or(0, |seen| seen.stored_samples),
            }
        });
        let rows = rows.collect();
        let alerts = self.hub.state().ruler.firing();
        let alerts = alerts.iter().map(alert_line).collect();
        View {
            elapsed,
            rows,
            alerts,
        }
    }

    /// Stops scraping, mends every link, lets the edges drain, counts, and stops everything.
    async fn finish(mut self, signals: &mut Signals) -> anyhow::Result<bool> {
        println!("\nEnding: scraping stops, links are mended, edges drain.");
        self.cuts.clear();
        for branch in &self.branches {
            branch.link.set(None);
            branch.stop_scraping().await;
        }
        self.drain(signals).await;
        let tallies = self.count().await;
        let stopped = self.stop().await;
        let tallies = tallies?;
        println!();
        for tally in &tallies {
            println!("{tally}");
        }
        stopped?;
        Ok(tallies.iter().all(Tally::agrees))
    }

    async fn drain(&mut self, signals: &mut Signals) {
        let deadline = self.clock.elapsed() + DRAIN_WITHIN;
        while self.branches.iter().any(|branch| branch.pending() > 0)
            && self.clock.elapsed() < deadline
        {
            tokio::select! {
                () = self.clock.sleep(TICK) => {}
                // Asked twice: no more waiting.
                signal = signals.next() => if signal == Signal::Stop { return },
            }
            self.tick();
        }
    }

    async fn count(&self) -> anyhow::Result<Vec<Tally>> {
        let mut tallies = Vec::new();
        for branch in &self.branches {
            tallies.push(branch.tally(self.hub.address()).await?);
        }
        Ok(tallies)
    }

    async fn stop(self) -> anyhow::Result<()> {
        for branch in &self.branches {
            branch.shutdown().await;
        }
        if let Err(names) = self.tasks.shutdown(STOP_GRACE).await {
            bail!("these would not stop: {}", names.join(", "));
        }
        self.hub.shutdown().await
    }
}

/// What fires, where, and how bad it is.
fn alert_line(labels: &LabelSet) -> String {
    let of = |name| labels.get(name).unwrap_or_default();
    format!("{} {} ({})", of(ALERT_NAME), of(BRANCH), of("severity"))
}

fn default_cuts(names: &[String]) -> Vec<Cut> {
    let cut = |name: &String, from, lasts, kind| Cut {
        branch: name.clone(),
        from: Duration::from_secs(from),
        lasts: Duration::from_secs(lasts),
        kind,
    };
    let silent = names
        .get(1)
        .or(names.first())
        .map(|name| cut(name, 20, 60, CutKind::Silent));
    let refuse = names.get(2).map(|name| cut(name, 60, 30, CutKind::Refuse));
    silent.into_iter().chain(refuse).collect()
}
