//! Since when can the others' scrapes be read?

use std::collections::HashMap;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;

use super::figures::Shared;
use super::frames::now_ms;
use crate::ask::Asker;

/// Between two questions: a delay is up to so much too long.
const EVERY: Duration = Duration::from_millis(50);

/// Asks for the newest scrape of each of the others until it is told to stop. Each that is new counts from when it was due; those
/// that another one has overtaken by then are visible, too, and count as that one.
pub(super) fn ask(address: &str, query: &str, shared: &Shared) -> anyhow::Result<()> {
    let mut asker = Asker::at(address)?;
    let mut newest: HashMap<String, i64> = HashMap::new();
    while !shared.stop.is_cancelled() {
        let asked = Instant::now();
        let data = asker.post("/api/v1/query", &[("query", query)])?;
        shared.query_took(asked.elapsed());
        let now = now_ms();
        let found = data["result"].as_array().context("no result")?;
        for series in found {
            let branch = series["metric"]["branch"].as_str().context("no branch")?;
            let value = series["value"][1].as_str().context("no value")?;
            let due = value.parse::<f64>()? as i64;
            let before = newest.insert(branch.to_owned(), due);
            if before.is_some_and(|before| before < due) {
                let delay = u64::try_from(now - due).unwrap_or(0);
                shared.live_visible(Duration::from_millis(delay));
            }
        }
        thread::sleep(EVERY.saturating_sub(asked.elapsed()));
    }
    Ok(())
}
