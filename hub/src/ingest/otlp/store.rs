//! From a message to the store: all of it is translated and looked at before anything is stored.

use axum::http::StatusCode;
use model::{BRANCH, LabelSet, Metadata, Value};
use tsdb::{ColumnBatch, Columns, RefusedReason, Urgency};
use wire::otlp::{Settings, TranslatedSample, translate};
use wire::remote_write::convert::put_label_bytes;

use super::super::Identity;
use super::super::exemplars::ExemplarTally;
use super::super::receive::{Ingest, Refused};
use super::super::unpack::{
    NO_BRANCH, Refusals, SERIES_SHOWN, Stored, TOO_FAR_AHEAD, append_error, decode_error,
    proven_labels,
};

pub(super) fn store(
    ingest: &Ingest,
    settings: &Settings,
    identity: &Identity,
    message: &[u8],
) -> Result<Stored, Refused> {
    let store = ingest.store();
    let (latest, accepted) = (ingest.latest(), store.accepted_times());
    let keys = store.series_keys(identity.scope());
    let (mut columns, mut labels) = (Columns::default(), Vec::<LabelSet>::new());
    let (mut refusals, mut exemplars) = (Refusals::default(), ExemplarTally::default());
    let (mut newest, mut histograms, mut bytes) = (None, 0, Vec::new());
    let mut take = |taken: TranslatedSample| {
        let TranslatedSample {
            labels: series,
            sample,
            exemplars: sent,
        } = taken;
        let at = sample.at;
        if at > latest {
            let why = || format!("sample of {} at {at} is {TOO_FAR_AHEAD}", shown(&series));
            return refusals.add_with(1, why);
        }
        if at < accepted.start || at > accepted.end {
            let reason = RefusedReason::OutOfRange {
                at,
                oldest: accepted.start,
                newest: accepted.end,
            };
            return refusals.add_with(1, || format!("series {}: {reason}", shown(&series)));
        }
        newest = newest.max(Some(at));
        histograms += u64::from(matches!(sample.value, Value::Histogram(_)));
        put_label_bytes(&series, &mut bytes);
        columns.push_samples(keys.key(&bytes), &[sample]);
        exemplars.push(&mut columns, sent.into_iter(), latest);
        labels.push(series);
    };
    let all = translate(message, settings, ingest.limits(), &mut take)
        .map_err(|error| decode_error(&error))?;
    for warning in &all.warnings {
        tracing::warn!(branch = identity.scope(), "OTLP: {warning}");
    }
    // As Prometheus: a sample out of time is the sender's fault whatever else is wrong.
    if refusals.count > 0 {
        return Err(refusals.answer(0));
    }
    if all.problem_count > 0 {
        let mut text = all.problems.join("\n");
        if all.problem_count > all.problems.len() {
            let more = all.problem_count - all.problems.len();
            text.push_str(&format!("\nand {more} more"));
        }
        return Err(Refused::new(StatusCode::INTERNAL_SERVER_ERROR, text));
    }
    let metadata: Vec<(&str, &Metadata)> = all
        .metadata
        .iter()
        .map(|(family, about)| (family.as_str(), about))
        .collect();
    let of = |index: usize| Ok(proven_labels(labels[index].clone(), identity));
    let batch = ColumnBatch {
        scope: identity.scope(),
        labels: &of,
        metadata: &metadata,
        urgency: Urgency::Now,
    };
    let appended = store
        .append_columns(&mut columns, batch)
        .map_err(|error| append_error(&error))?;
    exemplars.add(&appended.exemplars);
    for refused in &appended.refused {
        refusals.series_limit |= matches!(refused.reason, RefusedReason::SeriesLimit { .. });
        refusals.add_with(refused.samples, || {
            let series = labels.get(refused.index).map(shown).unwrap_or_default();
            format!("series {series}: {}", refused.reason)
        });
    }
    let branch = labels
        .first()
        .map(|labels| labels.get(BRANCH).unwrap_or(NO_BRANCH));
    Ok(Stored {
        commit: appended.commit,
        seal_due: appended.seal_due,
        branch: branch.map(str::to_owned),
        samples: appended.samples,
        histograms: histograms.min(appended.samples),
        exemplars,
        newest,
        refusals,
    })
}

fn shown(labels: &LabelSet) -> String {
    labels.to_string().chars().take(SERIES_SHOWN).collect()
}
