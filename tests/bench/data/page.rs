//! What one target shows at every scrape: its series with their labels, in the order of the page.

use super::random::Random;
use super::value::{Motion, Moving};

/// A series of a target, before its target's own labels.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) name: String,
    /// In any order.
    pub(crate) labels: Vec<(&'static str, String)>,
    pub(crate) motion: Motion,
}

/// A page that is being written.
#[derive(Debug, Default)]
pub(crate) struct Page {
    pub(crate) entries: Vec<Entry>,
}

impl Page {
    /// Adds one series.
    pub(crate) fn add(
        &mut self,
        name: impl Into<String>,
        labels: &[(&'static str, &str)],
        motion: Motion,
    ) {
        self.entries.push(Entry {
            name: name.into(),
            labels: labels
                .iter()
                .map(|(name, value)| (*name, (*value).to_owned()))
                .collect(),
            motion,
        });
    }

    /// Without what a scraper adds itself: what the target shows.
    pub(crate) fn exposed(mut self) -> Self {
        self.entries
            .retain(|entry| entry.name != "up" && !entry.name.starts_with("scrape_"));
        self
    }

    /// Cuts it to `series`, or fills it up with states of services, which is what long pages of real machines are made of: most
    /// of them never change.
    pub(crate) fn with_series(mut self, series: usize) -> Self {
        let states = ["activating", "active", "deactivating", "failed", "inactive"];
        let mut unit = 0;
        while self.entries.len() < series {
            let name = format!("branch-service-{unit:02}.service");
            for state in states {
                let on = f64::from(u8::from(state == "active"));
                self.add(
                    "node_systemd_unit_state",
                    &[("name", &name), ("state", state), ("type", "simple")],
                    Motion::Constant(on),
                );
            }
            unit += 1;
        }
        self.entries.truncate(series);
        self
    }

    /// The series of one target: each begins at a place of its own.
    pub(crate) fn series(&self, random: &mut Random) -> Vec<Moving> {
        self.entries
            .iter()
            .map(|entry| {
                let units = match entry.motion {
                    Motion::Constant(_) | Motion::Clock | Motion::Bucket { .. } => 0,
                    // Machines have been up for days: some ten thousand scrapes.
                    Motion::Counter { rate, .. } | Motion::Observations { rate } => {
                        i64::from(rate) * i64::from(10_000 + random.below(20_000))
                    }
                    Motion::Rare { .. } => i64::from(random.below(100)),
                    Motion::Walk { step, .. } => {
                        i64::from(step) * i64::from(50 + random.below(1000))
                    }
                    Motion::Noise { spread, .. } => i64::from(spread) * 2,
                };
                Moving::new(entry.motion, units)
            })
            .collect()
    }
}
