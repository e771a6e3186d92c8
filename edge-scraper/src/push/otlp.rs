//! OTLP/HTTP metrics, translated as the hub and Prometheus translate them. A request that contradicts itself stores nothing.

use axum::http::StatusCode;
use model::{Exemplar, LabelSet, Sample};
use wire::otlp::body::{Encoding, Kind, message};
use wire::otlp::{Settings, TranslatedSample, translate};
use wire::remote_write::Limits;

use super::delivery::Delivery;
use super::refused::{Refusals, Refused};
use super::{AHEAD_MAX, Pushes, Source};

/// Memory that the samples of one request may take: two bytes of a message can become a series.
const BYTES_MAX: usize = 16 << 20;

/// Takes a body, whole or not at all; says how many samples.
///
/// # Errors
/// What is wrong with it, or a buffer that does not take it.
pub(super) fn take(
    pushes: &Pushes,
    source: &Source,
    settings: &Settings,
    (kind, encoding): (Kind, Encoding),
    body: &[u8],
    limits: &Limits,
) -> Result<u64, Refused> {
    let message = message(body, kind, encoding, limits).map_err(Refused::bad)?;
    let now = pushes.clock.now();
    let latest = now.saturating_add(AHEAD_MAX);
    let mut refusals = Refusals::default();
    let (mut samples, mut bytes) = (Vec::<(LabelSet, Sample)>::new(), 0);
    let mut with_samples: Vec<(LabelSet, Exemplar)> = Vec::new();
    let mut gather = |taken: TranslatedSample| {
        let TranslatedSample {
            labels,
            sample,
            exemplars,
        } = taken;
        if sample.at > latest {
            let at = sample.at;
            let why = || {
                format!(
                    "sample of {labels} at {at} is more than 10 minutes in the future: set the sender's clock"
                )
            };
            return refusals.add(1, why);
        }
        bytes += labels.as_bytes().len() + size_of::<(LabelSet, Sample)>();
        // One that is none is left out, as the hub does.
        for exemplar in exemplars.into_iter().flatten() {
            bytes += exemplar.labels.as_bytes().len() + size_of::<(LabelSet, Exemplar)>();
            if bytes <= BYTES_MAX {
                with_samples.push((labels.clone(), exemplar));
            }
        }
        if bytes <= BYTES_MAX {
            samples.push((labels, sample));
        }
    };
    let all = translate(&message, settings, limits, &mut gather)?;
    if bytes > BYTES_MAX {
        let why = format!(
            "the request stands for more than {BYTES_MAX} bytes of series: send smaller batches"
        );
        return Err(Refused::new(StatusCode::PAYLOAD_TOO_LARGE, why));
    }
    for warning in &all.warnings {
        tracing::warn!(from = source.from, "OTLP: {warning}");
    }
    if !refusals.is_empty() {
        return Err(refusals.answer(0));
    }
    if all.problem_count > 0 {
        let mut text = all.problems.join("\n");
        if all.problem_count > all.problems.len() {
            let more = all.problem_count - all.problems.len();
            text.push_str(&format!("\nand {more} more"));
        }
        // Not 5xx, as Prometheus answers: an exporter would send the same again and again.
        return Err(Refused::bad(text));
    }
    let mut delivery = Delivery::new(pushes, source, now);
    for (family, about) in all.metadata {
        delivery.describe(family, about);
    }
    samples.sort_by_key(|(_, sample)| sample.at);
    for (labels, sample) in samples {
        delivery.add(&labels, sample)?;
    }
    for (labels, exemplar) in with_samples {
        delivery.exemplar(&labels, exemplar);
    }
    delivery.finish()
}
