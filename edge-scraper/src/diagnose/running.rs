//! What the running edge says of itself, and what of that is wrong.

use std::path::PathBuf;
use std::time::Duration;

use daemon::http::{Auth, ClientOptions, TlsClientOptions};
use daemon::tls::Pem;
use serde_json::Value;

use super::hub::innermost;
use super::report::Section;

/// For each question.
const WITHIN: Duration = Duration::from_secs(10);
/// Targets and sources that are named.
const NAMED_MAX: usize = 5;

/// Where the running edge answers, and who asks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EdgeAddress {
    /// `http://127.0.0.1:9491`.
    pub url: String,
    /// Who signed its certificate, if not an authority that this machine knows.
    pub ca_file: Option<PathBuf>,
    /// A user of its web configuration.
    pub auth: Auth,
}

impl EdgeAddress {
    /// `GET`s a path.
    pub(super) async fn get(&self, path: &str) -> Result<String, String> {
        let options = ClientOptions {
            timeout: Some(WITHIN),
            tls: TlsClientOptions {
                ca: self.ca_file.clone().map(Pem::File),
                ..TlsClientOptions::default()
            },
            ..ClientOptions::default()
        };
        let client = daemon::http::client(&options).map_err(|error| error.to_string())?;
        let request = client.get(format!("{}{path}", self.url.trim_end_matches('/')));
        let request = self
            .auth
            .apply(request)
            .map_err(|error| error.to_string())?;
        let answer = request.send().await.map_err(|error| innermost(&error))?;
        let status = answer.status();
        let text = answer.text().await.map_err(|error| innermost(&error))?;
        match status.is_success() {
            true => Ok(text),
            false => Err(format!("{status}: {}", text.trim())),
        }
    }

    /// The `data` of an answer of the API.
    pub(super) async fn data(&self, path: &str) -> Result<Value, String> {
        let text = self.get(path).await?;
        let mut answer: Value = serde_json::from_str(&text).map_err(|_| {
            "the answer is not that of an edge: another program listens there".to_owned()
        })?;
        match answer.get_mut("data") {
            Some(data) => Ok(data.take()),
            None => Err("the answer is not that of an edge".to_owned()),
        }
    }
}

/// `process`: the one that holds the data folder.
pub(super) fn process(
    section: &mut Section<'_>,
    address: &EdgeAddress,
    process: Option<u32>,
    status: &Result<Value, String>,
) {
    let name = "process";
    let url = &address.url;
    match (status, process) {
        (Ok(_), Some(id)) => section.ok(name, format!("process {id} answers at {url}")),
        (Ok(_), None) => section.ok(name, format!("it answers at {url}")),
        (Err(why), Some(id)) => section.failure(
            name,
            format!("process {id} holds the data folder and does not answer at {url} ({why})"),
            "give its address with --edge-url, a user with --user and --password-file if its web configuration has users; if it hangs, restart it",
        ),
        (Err(why), None) if why.contains("401") => section.failure(
            name,
            format!("{url} asks for a user ({why})"),
            "give one of the web configuration's with --user and --password-file",
        ),
        (Err(why), None) => section.failure(
            name,
            format!("no edge runs here: {url} does not answer ({why})"),
            "start it, or give its address with --edge-url and its data folder with --data-dir",
        ),
    }
}

fn count(of: &Value, key: &str) -> u64 {
    of[key]["samples"].as_u64().unwrap_or(0)
}

/// The buffer and the configuration of the running edge.
pub(super) fn buffer(section: &mut Section<'_>, status: &Value) {
    let (bytes, most) = (
        status["bufferBytes"].as_u64().unwrap_or(0),
        status["bufferBytesMax"].as_u64().unwrap_or(0),
    );
    let oldest = status["bufferOldest"].as_str().unwrap_or("never");
    let text = format!("{} of {} bytes, back to {oldest}", bytes, most);
    match status["bufferError"].as_str() {
        Some(error) => section.failure(
            "buffer",
            format!("it takes nothing any more: {error}"),
            "mend the disk, then restart the edge: what was synced is there",
        ),
        None => section.ok("buffer", text),
    }
    let refused = count(status, "refused");
    if refused > 0 {
        section.warning(
            "refused samples",
            format!("{refused} samples could not be kept since the start"),
            "the disk was full or failed: see the edge's log for when, and free some space",
        );
    }
    if status["configLoaded"] == Value::Bool(false) {
        section.failure(
            "configuration in force",
            "the file was changed and could not be loaded; the old configuration is in force",
            "edge-scraper check-config FILE says what is wrong; then reload",
        );
    }
}

/// One hub as the running edge sees it.
pub(super) fn hub(section: &mut Section<'_>, hub: &Value) {
    let since = hub["since"].as_str().unwrap_or("the start");
    match hub["link"].as_str().unwrap_or_default() {
        "up" => {
            let round_trip = hub["roundTripSeconds"].as_f64();
            let round_trip = round_trip.map_or(String::new(), |s| {
                format!(", round trip {:.0} ms", s * 1000.0)
            });
            section.ok("link", format!("up since {since}{round_trip}"));
        }
        state => {
            let error = hub["linkError"]
                .as_str()
                .unwrap_or("nobody has answered yet");
            section.failure(
                "link",
                format!("{state} since {since}: {error}"),
                "see what else is wrong with this hub here; samples are buffered meanwhile",
            );
        }
    }
    let pending = count(hub, "pending");
    let oldest = hub["oldestPending"].as_str().unwrap_or("now");
    let backlog = format!("{pending} samples pending, the oldest of {oldest}");
    match (hub["drain"].as_str(), hub["drainSeconds"].as_u64()) {
        (_, Some(0)) => section.ok("backlog", "up to date"),
        (_, Some(seconds)) => {
            let time = model::duration::format(Duration::from_secs(seconds));
            section.ok("backlog", format!("{backlog}; at the present pace it is drained in {time}"));
        }
        (Some("not shrinking"), _) => section.warning(
            "backlog",
            format!("{backlog}; it does not become less"),
            "while the link is down that is so; else the link or the hub takes less than is scraped: see the hub's log",
        ),
        _ => section.ok("backlog", format!("{backlog}; no estimate yet")),
    }
    if hub["balanced"] == Value::Bool(false) {
        section.failure(
            "books",
            "scraped samples and what became of them do not add up",
            "this is a fault of the edge: report it, with a bundle (diagnose collect)",
        );
    }
    for (key, what, way_out) in [
        (
            "quarantined",
            "were refused by the hub and are kept aside",
            "see lastError under /api/v1/status/edge and the hub's log for why; once that is mended, a POST to /-/retry_quarantined sends them again",
        ),
        (
            "evicted",
            "went for lack of room before the hub had them",
            "raise branchline.buffer.bytes_max, so that the buffer outlasts the longest cut",
        ),
        (
            "damaged",
            "were damaged on disk before the hub had them",
            "look at the disk (dmesg, smartctl)",
        ),
    ] {
        let samples = count(hub, key);
        if samples > 0 {
            section.warning(key, format!("{samples} samples {what}"), way_out);
        }
    }
}

/// The targets of the running edge.
pub(super) fn targets(section: &mut Section<'_>, targets: &Value) {
    let active = targets["activeTargets"].as_array().map(Vec::as_slice);
    let active = active.unwrap_or_default();
    let down: Vec<&Value> = active
        .iter()
        .filter(|target| target["health"] == "down")
        .collect();
    let name = "targets";
    if down.is_empty() {
        section.ok(name, format!("{} targets, none is down", active.len()));
        return;
    }
    let shown = down.iter().take(NAMED_MAX).map(|target| {
        let text = |key: &str| target[key].as_str().unwrap_or_default();
        format!("{} ({})", text("scrapeUrl"), text("lastError"))
    });
    let mut shown = shown.collect::<Vec<_>>().join("; ");
    if down.len() > NAMED_MAX {
        shown.push_str(&format!("; and {} more", down.len() - NAMED_MAX));
    }
    section.failure(
        name,
        format!("{} of {} targets are down: {shown}", down.len(), active.len()),
        "see whether these programs run and listen there, and whether a firewall stands between; take targets that are gone for good out of the configuration",
    );
}

/// Who pushes to the running edge.
pub(super) fn pushes(section: &mut Section<'_>, push: &Value) {
    let sources = push["sources"].as_array().map(Vec::as_slice);
    for source in sources.unwrap_or_default() {
        let refused = source["refused"].as_u64().unwrap_or(0);
        if refused == 0 {
            continue;
        }
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        section.warning(
            &format!("pushes of {}", text(&source["from"])),
            format!(
                "{refused} of {} requests were refused, the last because: {}",
                source["requests"],
                text(&source["lastError"]["error"])
            ),
            "mend what the sender sends, or what the reason names",
        );
    }
}
