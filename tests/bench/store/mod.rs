//! What does storing cost? The same data set, by the same client, into the hub and into the peers, one after the other.

mod backlog;
mod ingest;
mod queries;
mod ratios;
mod report;
mod restart;
mod sets;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use clap::Args;
use serde_json::json;

use crate::ask;
use crate::data::Shape;
use crate::measured::Measured;
use crate::progress::Progress;
use crate::push::Job;
use crate::systems::{Kind, Programs, System};
use queries::Answers;
use report::Report;
use sets::{Phase, Plan, Set, Work, plans};

/// `bench store`
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The data set.
    #[arg(long, value_enum, default_value = "1h", conflicts_with_all = ["series", "scrapes"])]
    set: Set,
    /// A data set of your own: so many series, in whole targets of 500.
    #[arg(long, value_name = "COUNT", requires = "scrapes")]
    series: Option<usize>,
    /// Its scrapes, 15 s apart.
    #[arg(long, value_name = "COUNT", requires = "series")]
    scrapes: Option<usize>,
    /// So small that it only shows that everything works.
    #[arg(long)]
    quick: bool,
    /// Three million series too, with --set linear.
    #[arg(long)]
    three_million: bool,
    /// So many of 100 targets get new series every five minutes.
    #[arg(long, value_name = "PERCENT", default_value_t = 0)]
    churn: usize,
    /// How often all of it is done; tables show medians.
    #[arg(long, value_name = "COUNT", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Connections that are held open to write.
    #[arg(long, value_name = "COUNT", default_value_t = 4)]
    connections: usize,
    /// What is done; not for --set linear and backlog.
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "ingest,queries,restart"
    )]
    phases: Vec<Phase>,
    /// Only these servers. Default: all that are there.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Kind>,
    /// Our hub. Default: the one beside this program.
    #[arg(long, value_name = "PATH")]
    hub: Option<PathBuf>,
    /// VictoriaMetrics. Default: as tests/run --peers brings it, or on PATH.
    #[arg(long, value_name = "PATH")]
    victoria_metrics: Option<PathBuf>,
    /// Prometheus. Default: as tests/run --peers brings it, or on PATH.
    #[arg(long, value_name = "PATH")]
    prometheus: Option<PathBuf>,
    /// Where the servers keep their data while they run: on the disk that is to be measured. Default: target.
    #[arg(long, value_name = "FOLDER")]
    dir: Option<PathBuf>,
    /// Writes all numbers of all runs there; - is stdout, and the tables then go to stderr.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

impl Options {
    fn plans(&self) -> Vec<Plan> {
        match (self.series, self.scrapes) {
            (Some(series), Some(scrapes)) => vec![Plan {
                name: "custom".to_owned(),
                work: Work::Store {
                    series,
                    scrapes,
                    phases: self.phases.clone(),
                },
            }],
            _ => plans(self.set, self.quick, self.three_million, &self.phases),
        }
    }
}

/// Measures, and prints what came out. Fails only when something could not be measured: numbers are for people to judge.
pub(crate) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let programs = Programs {
        hub: options.hub.clone(),
        victoria_metrics: options.victoria_metrics.clone(),
        prometheus: options.prometheus.clone(),
    };
    let systems = programs.find(&options.only)?;
    for system in &systems {
        eprintln!("{:<16} {}", system.kind.to_string(), system.version());
    }
    // One end for all: the same bytes for every server in every run.
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let end_ms = i64::try_from(since_epoch.as_millis())?;
    let mut reports = Vec::new();
    let to_stdout = options.json.as_deref() == Some(Path::new("-"));
    for plan in options.plans() {
        let report = measure(options, &plan, &systems, end_ms)?;
        if to_stdout {
            eprint!("{}", report.text());
        } else {
            print!("{}", report.text());
        }
        reports.push(report);
    }
    if options.quick {
        eprintln!("\n--quick: these sizes are too small to judge by.");
    }
    if let Some(path) = &options.json {
        let all = json!({
            "machine": machine(),
            "versions": systems.iter().map(|s| (s.kind.to_string(), json!(s.version()))).collect::<serde_json::Map<_, _>>(),
            "quick": options.quick,
            "connections": options.connections,
            "churn_percent": options.churn,
            "reports": reports.iter().map(Report::json).collect::<Vec<_>>(),
        });
        let text = format!("{all:#}\n");
        if to_stdout {
            print!("{text}");
        } else {
            std::fs::write(path, text).with_context(|| path.display().to_string())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// One plan: run by run, and in each run one server after the other, so that a machine that slows down does so for all.
fn measure(
    options: &Options,
    plan: &Plan,
    systems: &[System],
    end_ms: i64,
) -> anyhow::Result<Report> {
    let mut progress = Progress::new();
    let mut runs: BTreeMap<Kind, Vec<Measured>> = BTreeMap::new();
    for run in 1..=options.runs {
        let (mut measured, mut answers) = (BTreeMap::new(), BTreeMap::new());
        for system in systems {
            progress.phase(format!("{} run {run}: {}", plan.name, system.kind));
            let (numbers, said) = measure_one(options, plan, system, end_ms, &mut progress)
                .with_context(|| format!("{} with {}", plan.name, system.kind))?;
            measured.insert(system.kind, numbers);
            answers.insert(system.kind, said);
        }
        mark_differences(&mut measured, &answers);
        for (kind, numbers) in measured {
            runs.entry(kind).or_default().push(numbers);
        }
    }
    progress.clear();
    let (series, samples) = match plan.work {
        Work::Store {
            series, scrapes, ..
        } => {
            let shape = Shape::new(series, scrapes, end_ms);
            (shape.series, shape.samples())
        }
        Work::Backlog {
            live_branches,
            scrapes,
        } => {
            let branch = crate::data::BRANCH_TARGETS * crate::data::TARGET_SERIES;
            ((live_branches + 1) * branch, (branch * scrapes) as u64)
        }
    };
    Ok(Report {
        name: plan.name.clone(),
        series,
        samples,
        runs,
    })
}

fn measure_one(
    options: &Options,
    plan: &Plan,
    system: &System,
    end_ms: i64,
    progress: &mut Progress,
) -> anyhow::Result<(Measured, Answers)> {
    let folder = crate::folder(options.dir.as_deref())?;
    let (series, scrapes, phases) = match &plan.work {
        Work::Backlog {
            live_branches,
            scrapes,
        } => {
            let measured =
                backlog::backlog(system, folder.path(), *live_branches, *scrapes, progress)?;
            return Ok((measured, Vec::new()));
        }
        Work::Store {
            series,
            scrapes,
            phases,
        } => (*series, *scrapes, phases),
    };
    let shape = Shape {
        churn_percent: options.churn,
        ..Shape::new(series, scrapes, end_ms)
    };
    let job = |address: &str| Job {
        address: address.to_owned(),
        shape,
        connections: options.connections,
        with_tokens: system.needs_tokens(shape.series),
        stop_after: None,
    };
    let (mut measured, mut answers) = (Measured::default(), Vec::new());
    if phases.contains(&Phase::Ingest) || phases.contains(&Phase::Queries) {
        let mut running = system.start(&folder.path().join("ingest"), &shape)?;
        progress.phase(format!("{}: ingest", system.kind));
        let job = job(&running.address);
        measured.join(ingest::ingest(&mut running, &job, progress)?);
        if phases.contains(&Phase::Queries) {
            let (times, said) = queries::queries(&running, &shape, progress)?;
            measured.join(times);
            answers = said;
        }
    }
    if phases.contains(&Phase::Restart) {
        let mut running = system.start(&folder.path().join("restart"), &shape)?;
        progress.phase(format!("{}: ingest until kill -9", system.kind));
        let job = job(&running.address);
        measured.join(restart::restart(&mut running, &job, progress)?);
    }
    Ok((measured, answers))
}

fn mark_differences(measured: &mut BTreeMap<Kind, Measured>, answers: &BTreeMap<Kind, Answers>) {
    let Some(right) = answers.get(&Kind::Prometheus) else {
        return;
    };
    for (kind, said) in answers {
        for ((key, answer), (_, right)) in said.iter().zip(right) {
            let differs = !ask::same(answer, right);
            if let Some(measured) = measured.get_mut(kind) {
                measured.set(key, f64::from(u8::from(differs)));
            }
        }
    }
}

/// What it ran on, as far as it matters to a reader of the numbers.
fn machine() -> serde_json::Value {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let line = |text: &str, key: &str| {
        let line = text.lines().find(|line| line.starts_with(key));
        line.and_then(|line| line.split_once(':'))
            .map_or(String::new(), |(_, value)| value.trim().to_owned())
    };
    json!({
        "cpu": line(&read("/proc/cpuinfo"), "model name"),
        "cores": std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
        "memory": line(&read("/proc/meminfo"), "MemTotal"),
    })
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
