//! `promqltest`: what does the hub's PromQL engine answer to scripts in Prometheus's test language?
//!
//! The engine and its entry are those that the hub asks; series come from memory. With `--through-hub` they go through remote
//! write to a hub's store, and every query over its HTTP API. Options are those that upstream's scripts assume: everything
//! experimental on. `cargo test -p promql` runs the same runner over our own scripts.

mod through_hub;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use promql::Engine;
use promql::script::{
    Command, Expectation, MemoryTarget, Report, engine_options, parse, run, run_with,
};

use crate::through_hub::{DIFFER, HubSubject};

/// Runs files of Prometheus's PromQL test language: a line per failing case, and last how many passed and failed.
#[derive(Parser)]
#[command(name = "promqltest")]
struct Cli {
    /// Load through remote write into a hub in this process, and ask over its HTTP API.
    #[arg(long)]
    through_hub: bool,
    /// Test scripts, or folders of them (*.test).
    #[arg(required = true, value_name = "FILE")]
    paths: Vec<PathBuf>,
}

/// Who is asked.
enum Asked {
    Engine(Engine),
    Hub(Box<HubSubject>),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let mut asked = Asked::Engine(Engine::new(engine_options()));
    if cli.through_hub {
        match HubSubject::new() {
            Ok(hub) => asked = Asked::Hub(Box::new(hub)),
            Err(why) => {
                eprintln!("promqltest: {why}");
                return ExitCode::FAILURE;
            }
        }
    }
    let (mut passed, mut failed, mut hinted, mut differ) = (0, 0, 0, 0);
    let mut out = std::io::stdout().lock();
    for path in &cli.paths {
        let scripts = match scripts(path) {
            Ok(scripts) => scripts,
            Err(why) => {
                failed += 1;
                let _ = writeln!(out, "{}: {why}", path.display());
                continue;
            }
        };
        for (file, script) in scripts {
            let report: Report = match &mut asked {
                Asked::Engine(engine) => run(&script, &mut MemoryTarget::default(), engine),
                Asked::Hub(hub) => run_with(&script, &mut **hub),
            };
            passed += report.passed;
            hinted += hinted_cases(&script);
            for failure in &report.failures {
                let known = DIFFER.iter().find(|(expr, _)| *expr == failure.expr);
                let known = known.filter(|_| cli.through_hub);
                let _ = match known {
                    Some((_, why)) => {
                        writeln!(out, "{}: {failure}\n  known: {why}", file.display())
                    }
                    None => writeln!(out, "{}: {failure}", file.display()),
                };
                differ += usize::from(known.is_some());
                failed += usize::from(known.is_none());
            }
        }
    }
    if let Asked::Hub(hub) = &asked {
        let queries = hub.queries.get();
        let _ = writeln!(
            out,
            "{queries} queries over HTTP; no case is left out, {differ} known to differ. Histograms are compared by what JSON shows: count, sum, and the \
             buckets that hold something, with their bounds. {hinted} cases also expect a reset hint, which it does not show"
        );
    }
    // A reader that has left knows the result from the exit code.
    let _ = writeln!(out, "{passed} passed, {failed} failed");
    match failed {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

/// How many cases expect a histogram with its reset hint.
fn hinted_cases(script: &str) -> usize {
    let Ok(commands) = parse(script) else {
        // What is wrong with the script has been told by the run.
        return 0;
    };
    let is_hinted = |command: &Command| match command {
        Command::Eval(eval) => match &eval.expected.values {
            Expectation::Series(rows) => {
                let mut values = rows.iter().flat_map(|row| &row.values);
                values.any(|value| value.hint_set)
            }
            _ => false,
        },
        _ => false,
    };
    commands.iter().filter(|command| is_hinted(command)).count()
}

/// The scripts at a path, in the order of their names.
fn scripts(path: &Path) -> Result<Vec<(PathBuf, String)>, String> {
    let mut files = vec![path.to_path_buf()];
    if path.is_dir() {
        let entries = std::fs::read_dir(path).map_err(|e| e.to_string())?;
        files = entries
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<Result<_, _>>()
            .map_err(|e| e.to_string())?;
        files.retain(|file| file.extension().is_some_and(|found| found == "test"));
        files.sort();
        if files.is_empty() {
            return Err("no *.test files in this folder".to_owned());
        }
    }
    let read = |file: PathBuf| match std::fs::read_to_string(&file) {
        Ok(script) => Ok((file, script)),
        Err(error) => Err(format!("{}: {error}", file.display())),
    };
    files.into_iter().map(read).collect()
}
