//! What is wrong with this edge, and what is to be done? `edge-scraper diagnose` looks at the configuration, the machine, every hub
//! step by step, and, if an edge runs, at what that says of itself; each thing that is wrong comes with its way out.
//!
//! Nothing is changed: a small file is written into the data folder and removed again, and hubs get an empty write, as an edge sends it for a
//! sign of life. `bundle` packs it all for somebody else to look at, without secrets.

mod bundle;
mod hub;
mod machine;
mod report;
mod running;
mod secrets;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use daemon::Clock;
use model::Timestamp;
use serde_json::Value;

pub use bundle::{BundleError, collect};
pub use report::{Finding, Report, State};
pub use running::EdgeAddress;

use self::report::Section;
use crate::config::{Discovery, EdgeConfig};

/// Static targets that are tried where no edge runs that knows better.
const TARGETS_MAX: usize = 100;
const CONNECT_WITHIN: Duration = Duration::from_secs(3);

/// Which edge.
pub struct Subject {
    /// Its configuration file; none: what an edge does without one.
    pub config: Option<PathBuf>,
    /// Its data folder.
    pub data_dir: PathBuf,
    /// Where it answers, if it runs.
    pub address: EdgeAddress,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

/// What the running edge answers at a path.
///
/// # Errors
/// Why it does not.
pub async fn ask(address: &EdgeAddress, path: &str) -> Result<String, String> {
    address.get(path).await
}

/// Looks at everything.
pub async fn check(subject: &Subject) -> Report {
    let mut findings = Vec::new();
    let (clock, data_dir) = (Arc::clone(&subject.clock), subject.data_dir.clone());
    let at = clock.now();
    let mut section = |name: &str, look: &mut dyn FnMut(&mut Section<'_>)| {
        look(&mut Section {
            findings: &mut findings,
            name: name.to_owned(),
        });
    };
    let config = match &subject.config {
        None => Ok(EdgeConfig::without_file()),
        Some(path) => EdgeConfig::load(path).map_err(|error| error.to_string()),
    };
    section("configuration", &mut |section| {
        configuration(section, subject, &config)
    });
    let status = subject.address.data("/api/v1/status/edge").await;
    let process = machine::process_of(&data_dir);
    section("edge", &mut |section| {
        running::process(section, &subject.address, process, &status);
        if let Ok(status) = &status {
            running::buffer(section, status);
            running::pushes(section, &status["push"]);
        }
    });
    let targets = match &status {
        Ok(_) => subject
            .address
            .data("/api/v1/targets?state=active")
            .await
            .ok(),
        Err(_) => None,
    };
    let config = config.ok();
    let hubs = config.as_ref().map_or(&[][..], |config| &config.hubs);
    let of_buffer = status.as_ref().ok().map(|status| {
        let number = |key: &str| status[key].as_u64().unwrap_or(0);
        number("bufferBytesMax").saturating_sub(number("bufferBytes"))
    });
    let most = config.as_ref().map_or(0, |config| config.buffer.bytes_max);
    let count = targets
        .as_ref()
        .and_then(|all| all["activeTargets"].as_array().map(Vec::len));
    let connections = count.unwrap_or(0) as u64 + 4 * hubs.len() as u64;
    section("machine", &mut |section| {
        machine::disk(section, &data_dir, of_buffer.unwrap_or(most), &*clock);
        machine::descriptors(section, process, connections);
    });
    let known: &[Value] = match &status {
        Ok(status) => status["hubs"].as_array().map_or(&[], Vec::as_slice),
        Err(_) => &[],
    };
    for config in hubs {
        let mut section = Section {
            findings: &mut findings,
            name: format!("hub {}", config.name),
        };
        hub::check(&mut section, config, &clock).await;
        if let Some(known) = known.iter().find(|hub| hub["name"] == config.name.as_str()) {
            running::hub(&mut section, known);
        }
    }
    let mut section = Section {
        findings: &mut findings,
        name: "targets".to_owned(),
    };
    match (&targets, &config) {
        (Some(targets), _) => running::targets(&mut section, targets),
        (None, Some(config)) => try_targets(&mut section, config).await,
        (None, None) => section.skipped("targets", "without a configuration none is known"),
    }
    let named = config.map(|config| config.edge);
    let running = status.ok();
    let told = running
        .as_ref()
        .and_then(|status| status["edge"].as_str().map(str::to_owned));
    Report {
        at,
        edge: told.or(named),
        running,
        findings,
    }
}

fn configuration(
    section: &mut Section<'_>,
    subject: &Subject,
    config: &Result<EdgeConfig, String>,
) {
    let name = match &subject.config {
        Some(path) => path.display().to_string(),
        None => "no file".to_owned(),
    };
    match config {
        Err(error) => section.failure(
            &name,
            error,
            "mend the file; a running edge keeps the configuration that it has",
        ),
        Ok(config) => {
            let jobs = config.jobs.len();
            section.ok(
                &name,
                format!("{jobs} scrape jobs, {} hubs", config.hubs.len()),
            );
            for warning in &config.warnings {
                section.warning(&name, warning, "see whether that is meant");
            }
        }
    }
}

/// Connects to what the file itself names, where no edge runs that could be asked.
async fn try_targets(section: &mut Section<'_>, config: &EdgeConfig) {
    let (mut addresses, mut others) = (Vec::new(), 0);
    for job in &config.jobs {
        for source in &job.discovery {
            match source {
                // Relabelling may make something else of an address.
                Discovery::Static(groups) if job.relabel.is_empty() => {
                    let targets = groups.iter().flat_map(|group| &group.targets);
                    addresses.extend(targets.map(|target| {
                        let port = if job.target.scheme == "https" {
                            443
                        } else {
                            80
                        };
                        match target.rsplit_once(':') {
                            Some((_, number)) if number.parse::<u16>().is_ok() => target.clone(),
                            _ => format!("{target}:{port}"),
                        }
                    }));
                }
                _ => others += 1,
            }
        }
    }
    if others > 0 {
        section.skipped(
            "discovered targets",
            format!("{others} sources of targets are known to a running edge only"),
        );
    }
    addresses.sort();
    addresses.dedup();
    let left_out = addresses.len().saturating_sub(TARGETS_MAX);
    let mut down = Vec::new();
    let tried = addresses
        .iter()
        .take(TARGETS_MAX)
        .map(|address| async move {
            let connected = tokio::time::timeout(
                CONNECT_WITHIN,
                tokio::net::TcpStream::connect(address.as_str()),
            );
            match connected.await {
                Ok(Ok(_)) => None,
                Ok(Err(error)) => Some(format!("{address} ({error})")),
                Err(_) => Some(format!("{address} (no answer within 3 s)")),
            }
        });
    down.extend(
        futures_util::future::join_all(tried)
            .await
            .into_iter()
            .flatten(),
    );
    let count = addresses.len() - left_out;
    match down.is_empty() {
        true => section.ok("static targets", format!("{count} take connections")),
        false => section.failure(
            "static targets",
            format!("{} of {count} take no connection: {}", down.len(), down.join("; ")),
            "see whether these programs run and listen there, and whether a firewall stands between",
        ),
    }
    if left_out > 0 {
        section.skipped("static targets", format!("{left_out} more were not tried"));
    }
}

fn time(at: Timestamp) -> String {
    crate::process::rfc3339(at)
}
