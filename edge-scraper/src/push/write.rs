//! Remote write 1.0 and 2.0: every series that is one is stored, the others are named in the answer.
//!
//! A body is walked twice: first to see that it can be read to its end, because what is in the buffer cannot be taken back.

use std::collections::BTreeMap;

use model::{Exemplar, LabelSet, METRIC_NAME, Sample, Timestamp};
use wire::remote_write::headers::Version;
use wire::remote_write::v2::{SeriesViewV2, WalkV2};
use wire::remote_write::{self, Limits, Part, SeriesRefusal, SeriesView, Walk};

use super::delivery::Delivery;
use super::refused::{Refusals, Refused};
use super::{AHEAD_MAX, Pushes, Source};

/// Characters of a series in a refusal.
const SERIES_SHOWN: usize = 200;
/// As Prometheus refuses them.
const TOO_FAR_AHEAD: &str = "more than 10 minutes in the future: set the sender's clock";

/// What became of a request.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// Durable.
    pub(super) stored: u64,
    /// Of those, native histograms.
    pub(super) histograms: u64,
    pub(super) exemplars: u64,
    pub(super) refusals: Refusals,
}

/// Takes a body, as far as its series are good.
///
/// # Errors
/// A body that is none, or a buffer that does not take it.
pub(super) fn take(
    pushes: &Pushes,
    source: &Source,
    version: Version,
    body: &[u8],
    limits: &Limits,
) -> Result<Taken, Refused> {
    let now = pushes.clock.now();
    let mut taking = Taking {
        delivery: Delivery::new(pushes, source, now),
        latest: now.saturating_add(AHEAD_MAX),
        histograms: 0,
        exemplars: 0,
        refusals: Refusals::default(),
    };
    let message = remote_write::decompress(body, limits)?;
    match version {
        Version::V1 => taking.version_1(&message)?,
        Version::V2 => taking.version_2(&message, limits)?,
    }
    Ok(Taken {
        stored: taking.delivery.finish()?,
        histograms: taking.histograms,
        exemplars: taking.exemplars,
        refusals: taking.refusals,
    })
}

struct Taking<'p> {
    delivery: Delivery<'p>,
    latest: Timestamp,
    histograms: u64,
    exemplars: u64,
    refusals: Refusals,
}

impl Taking<'_> {
    fn version_1(&mut self, message: &[u8]) -> Result<(), Refused> {
        let (mut walk, mut view) = (Walk::new(message), SeriesView::new());
        while walk.next_part(&mut view)?.is_some() {}
        let mut walk = Walk::new(message);
        let (mut samples, mut broken) = (Vec::new(), Vec::new());
        while let Some(part) = walk.next_part(&mut view)? {
            if let Part::Metadata(about) = part {
                let (family, about) = remote_write::convert::metadata_from_proto(&about);
                self.delivery.describe(family, about);
                continue;
            }
            let sent = (view.samples.len() + view.histogram_count()) as u64;
            let labels = match view.labels() {
                Ok(labels) => labels,
                Err(refusal) => {
                    self.refusals.add(sent, || refusal.to_string());
                    continue;
                }
            };
            samples.clear();
            broken.clear();
            view.samples_into(&mut samples, &mut broken, || labels.to_string());
            for refusal in &broken {
                self.refusals.add(1, || refusal.to_string());
            }
            // Floats come before histograms there.
            samples.sort_by_key(|sample| sample.at);
            for sample in samples.drain(..) {
                self.sample(&labels, sample)?;
            }
            for exemplar in view.checked_exemplars() {
                self.exemplar(&labels, exemplar);
            }
        }
        Ok(())
    }

    fn version_2(&mut self, message: &[u8], limits: &Limits) -> Result<(), Refused> {
        let (mut walk, mut view) = (WalkV2::new(message, limits)?, SeriesViewV2::new());
        while walk.next_series(&mut view)? {}
        let mut walk = WalkV2::new(message, limits)?;
        let symbols = walk.symbols().to_vec();
        let mut metadata = BTreeMap::new();
        while walk.next_series(&mut view)? {
            let sent = (view.samples.len() + view.histogram_count()) as u64;
            let labels = match view.labels(&symbols) {
                Ok(labels) => labels,
                Err(refusal) => {
                    self.refusals.add(sent, || refusal.to_string());
                    continue;
                }
            };
            let shown = || labels.to_string().chars().take(SERIES_SHOWN).collect();
            // Prometheus sends exemplars as series of their own.
            if view.is_empty() && view.exemplar_count() == 0 {
                let why = || format!("series {} has no sample", shown());
                self.refusals.add(0, why);
            }
            match view.metadata(labels.get(METRIC_NAME).unwrap_or_default(), &symbols) {
                Ok(Some((family, about))) => drop(metadata.insert(family, about)),
                Ok(None) => {}
                Err(refusal) => self.refusals.add(0, || refusal.to_string()),
            }
            let mut samples: Vec<Sample> = view.floats().collect();
            for histogram in view.histograms(&shown) {
                match histogram {
                    Ok(sample) => samples.push(sample),
                    Err(refusal) => self.refusals.add(1, || refusal.to_string()),
                }
            }
            samples.sort_by_key(|sample| sample.at);
            for sample in samples {
                self.sample(&labels, sample)?;
            }
            for exemplar in view.exemplars(&symbols) {
                self.exemplar(&labels, exemplar);
            }
        }
        for (family, about) in metadata {
            self.delivery.describe(family, about);
        }
        Ok(())
    }

    fn exemplar(&mut self, labels: &LabelSet, exemplar: Result<Exemplar, SeriesRefusal>) {
        match exemplar {
            Ok(exemplar) => {
                self.exemplars += 1;
                self.delivery.exemplar(labels, exemplar);
            }
            Err(refusal) => self.refusals.add(0, || refusal.to_string()),
        }
    }

    fn sample(&mut self, labels: &LabelSet, sample: Sample) -> Result<(), Refused> {
        if sample.at > self.latest {
            let at = sample.at;
            let shown = || {
                labels
                    .to_string()
                    .chars()
                    .take(SERIES_SHOWN)
                    .collect::<String>()
            };
            let why = || format!("sample of {} at {at} is {TOO_FAR_AHEAD}", shown());
            self.refusals.add(1, why);
            return Ok(());
        }
        self.histograms += u64::from(matches!(sample.value, model::Value::Histogram(_)));
        self.delivery.add(labels, sample)
    }
}
