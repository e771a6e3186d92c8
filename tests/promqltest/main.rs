//! `promqltest`: what does the hub's PromQL engine answer to scripts in Prometheus's test language?
//!
//! The engine and its entry are those that the hub asks; series come from memory. Options are those that upstream's scripts
//! assume: everything experimental on. `cargo test -p promql` runs the same runner over our own scripts.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use promql::Engine;
use promql::script::{MemoryTarget, Report, engine_options, run};

/// Runs files of Prometheus's PromQL test language: a line per failing case, and last how many passed and failed.
#[derive(Parser)]
#[command(name = "promqltest")]
struct Cli {
    /// Test scripts, or folders of them (*.test).
    #[arg(required = true, value_name = "FILE")]
    paths: Vec<PathBuf>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let (mut passed, mut failed) = (0, 0);
    let mut out = std::io::stdout().lock();
    for path in &cli.paths {
        let reports = match scripts(path) {
            Ok(reports) => reports,
            Err(why) => {
                failed += 1;
                let _ = writeln!(out, "{}: {why}", path.display());
                continue;
            }
        };
        for (script, report) in reports {
            passed += report.passed;
            failed += report.failures.len();
            for failure in &report.failures {
                let _ = writeln!(out, "{}: {failure}", script.display());
            }
        }
    }
    // A reader that has left knows the result from the exit code.
    let _ = writeln!(out, "{passed} passed, {failed} failed");
    match failed {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

/// The scripts at a path, in the order of their names, and how each went.
fn scripts(path: &Path) -> Result<Vec<(PathBuf, Report)>, String> {
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
    files.into_iter().map(of_file).collect()
}

fn of_file(file: PathBuf) -> Result<(PathBuf, Report), String> {
    let script = std::fs::read_to_string(&file).map_err(|error| error.to_string())?;
    let engine = Engine::new(engine_options());
    let report = run(&script, &mut MemoryTarget::default(), &engine);
    Ok((file, report))
}
