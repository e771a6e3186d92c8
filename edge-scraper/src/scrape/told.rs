//! What a buffer knows of labels, for tests without one.

use std::collections::HashMap;
use std::sync::Mutex;

use model::{LabelSet, SeriesId};

use super::{NotKept, Scrape};

#[derive(Default)]
pub(super) struct Told {
    labels: Mutex<HashMap<(u64, SeriesId), LabelSet>>,
}

impl Told {
    /// The scrape with all labels.
    pub(super) fn completed(&self, scrape: &Scrape) -> Result<Scrape, NotKept> {
        let (mut known, mut scrape) = (self.labels.lock().unwrap(), scrape.clone());
        for (series, _) in &mut scrape.series {
            let key = (scrape.target, series.id);
            match &series.labels {
                Some(labels) => {
                    known.insert(key, labels.clone());
                }
                None => series.labels = Some(known.get(&key).ok_or(NotKept::LabelsWanted)?.clone()),
            }
        }
        Ok(scrape)
    }
}
