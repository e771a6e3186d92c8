//! How fast is asked data answered? The hub and the peers hold the same data, and each question goes to one after the other, caches
//! off. Times count only for answers that are Prometheus's.

mod questions;
mod report;
mod sets;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, ensure};
use clap::Args;
use serde_json::json;

use crate::ask::{self, Asker};
use crate::data::Shape;
use crate::latency::Latencies;
use crate::progress::Progress;
use crate::push::{Job, push};
use crate::settle::settle;
use crate::systems::{Kind, Programs, Running, System};
use crate::usage;
use questions::{Question, questions};
use report::{Line, Took};
use sets::Set;

/// A question is not asked again once that has passed, but at least so often.
const ASKED_WITHIN: Duration = Duration::from_secs(20);
const TIMES_MIN: u32 = 3;
/// The first answers warm up what a dashboard that is open would have warm.
const WARM_UP: u32 = 2;

/// `bench query`
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Which data, and how far back is asked.
    #[arg(long, value_enum, default_value_t)]
    set: Set,
    /// Series, in whole targets of 500. Default: the set's.
    #[arg(long, value_name = "COUNT")]
    series: Option<usize>,
    /// Their scrapes, 15 s apart. Default: the set's.
    #[arg(long, value_name = "COUNT")]
    scrapes: Option<usize>,
    /// How often each question is asked; tables show medians.
    #[arg(long, value_name = "COUNT", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    times: u32,
    /// So small that it only shows that everything works.
    #[arg(long, conflicts_with_all = ["series", "scrapes"])]
    quick: bool,
    /// Our hub. Default: the one beside this program.
    #[arg(long, value_name = "PATH")]
    hub: Option<PathBuf>,
    /// VictoriaMetrics. Default: as tests/run --peers brings it, or on PATH.
    #[arg(long, value_name = "PATH")]
    victoria_metrics: Option<PathBuf>,
    /// Prometheus, which has to be there: it knows the right answers. Default: as tests/run --peers brings it, or on PATH.
    #[arg(long, value_name = "PATH")]
    prometheus: Option<PathBuf>,
    /// Where the servers keep their data while they run. Default: target.
    #[arg(long, value_name = "FOLDER")]
    dir: Option<PathBuf>,
    /// Writes all numbers there; - is stdout, and the table then goes to stderr.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Measures, and prints what came out.
pub(crate) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let programs = Programs {
        hub: options.hub.clone(),
        victoria_metrics: options.victoria_metrics.clone(),
        prometheus: options.prometheus.clone(),
    };
    let systems = programs.find(&[])?;
    ensure!(
        systems.iter().any(|s| s.kind == Kind::Prometheus),
        "without Prometheus nobody knows the right answers: tests/run --peers brings it, or name one with --prometheus PATH"
    );
    let end_ms = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?;
    let (series, scrapes) = options.set.size(options.quick);
    let (series, scrapes) = (
        options.series.unwrap_or(series),
        options.scrapes.unwrap_or(scrapes),
    );
    let shape = Shape::new(series, scrapes, end_ms);
    let folder = crate::folder(options.dir.as_deref())?;
    let mut progress = Progress::new();
    let mut running = Vec::new();
    for system in &systems {
        running.push(filled(system, &shape, folder.path(), &mut progress)?);
    }
    let mut lines = Vec::new();
    for question in questions(&shape, options.set) {
        progress.phase(question.title);
        lines.push(ask_all(&running, &question, options.times)?);
    }
    progress.clear();
    let to_stdout = options.json.as_deref() == Some(Path::new("-"));
    let text = report::text(&lines);
    if to_stdout {
        eprint!("{text}");
    } else {
        print!("{text}");
    }
    if let Some(path) = &options.json {
        let versions = systems
            .iter()
            .map(|s| (s.kind.to_string(), json!(s.version())));
        let all = json!({
            "versions": versions.collect::<serde_json::Map<_, _>>(),
            "series": shape.series,
            "scrapes": scrapes,
            "samples": shape.samples(),
            "times": options.times,
            "result": report::json(&lines),
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

/// A server that holds the data, and rests.
fn filled(
    system: &System,
    shape: &Shape,
    folder: &Path,
    progress: &mut Progress,
) -> anyhow::Result<Running> {
    progress.phase(format!("{}: ingest", system.kind));
    let running = system.start(&folder.join(system.kind.to_string()), shape)?;
    let job = Job {
        address: running.address.clone(),
        shape: *shape,
        connections: 4,
        with_tokens: system.needs_tokens(shape.series),
        stop_after: None,
    };
    let all = shape.samples();
    push(&job, None, |done| progress.at(done, all))
        .with_context(|| format!("{}\n{}", running.kind, running.last_lines()))?;
    if running.kind == Kind::VictoriaMetrics {
        // What it took last is invisible for a while otherwise.
        let _ = Asker::at(&running.address)?.get("/internal/force_flush");
    }
    progress.phase(format!("{}: settling", system.kind));
    settle(running.pid(), true)?;
    Ok(running)
}

fn ask_all(running: &[Running], question: &Question, times: u32) -> anyhow::Result<Line> {
    let mut answers = BTreeMap::new();
    for one in running {
        let answer = ask_one(one, question, times)
            .with_context(|| format!("{}: {}", one.kind, question.title))?;
        answers.insert(one.kind, answer);
    }
    let right = answers.get(&Kind::Prometheus).map(|(_, said)| said.clone());
    let took = answers.into_iter().map(|(kind, (took, said))| {
        let agrees = right.as_ref().is_some_and(|right| ask::same(&said, right));
        if kind == Kind::Hub
            && let Some(right) = &right
            && let Some(difference) = ask::difference(&said, right)
        {
            eprintln!("{}: the hub is wrong: {difference}", question.title);
        }
        (kind, Took { agrees, ..took })
    });
    Ok(Line {
        title: question.title,
        query: question.form[0].1.clone(),
        took: took.collect(),
    })
}

fn ask_one(
    running: &Running,
    question: &Question,
    times: u32,
) -> anyhow::Result<(Took, serde_json::Value)> {
    let mut asker = Asker::at(&running.address)?;
    let form: Vec<(&str, &str)> = (question.form.iter())
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    for _ in 0..WARM_UP {
        asker.post_unread(question.path, &form)?;
    }
    let (mut latencies, mut asked_times) = (Latencies::default(), 0);
    let (began, cpu_before) = (Instant::now(), usage::cpu(running.pid())?);
    let mut body = Vec::new();
    while asked_times < times && (asked_times < TIMES_MIN || began.elapsed() < ASKED_WITHIN) {
        let asked = Instant::now();
        body = asker.post_unread(question.path, &form)?;
        latencies.add(asked.elapsed());
        asked_times += 1;
    }
    let cpu = usage::cpu(running.pid())?.saturating_sub(cpu_before);
    let millis = |time: Duration| time.as_secs_f64() * 1000.0;
    let took = Took {
        millis: latencies.quantile(0.5).map_or(f64::NAN, millis),
        cpu_millis: millis(cpu) / f64::from(asked_times.max(1)),
        agrees: false,
    };
    Ok((took, ask::data(&body)?))
}
