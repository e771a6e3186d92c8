//! The hub's metrics about itself, beside those of its branches.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use tsdb::Store;

use crate::api::Queries;
use crate::ingest::Ingest;
use crate::query_log::QueryLog;
use crate::ruler::Ruler;

/// `branchline_ingest_*`, `branchline_rule_*`, `branchline_store_*`.
pub(crate) struct HubMetrics {
    pub(crate) ingest: Arc<Ingest>,
    pub(crate) ruler: Arc<Ruler>,
    pub(crate) store: Arc<Store>,
    pub(crate) exemplars_max: usize,
    pub(crate) queries: Arc<Queries>,
    pub(crate) query_log: Arc<QueryLog>,
}

impl fmt::Debug for HubMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HubMetrics")
    }
}

impl Collector for HubMetrics {
    fn encode(&self, mut out: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let ingest = self.ingest.counts();
        let outcomes = [
            ("stored", &ingest.requests_stored),
            ("refused", &ingest.requests_refused),
            ("unauthorized", &ingest.requests_unauthorized),
            ("failed", &ingest.requests_failed),
        ];
        by_outcome(
            &mut out,
            "branchline_ingest_requests",
            "Remote-write requests",
            &outcomes,
        )?;
        let outcomes = [
            ("stored", &ingest.samples_stored),
            ("refused", &ingest.samples_refused),
        ];
        by_outcome(
            &mut out,
            "branchline_ingest_samples",
            "Samples received",
            &outcomes,
        )?;
        by_outcome(
            &mut out,
            "branchline_ingest_exemplars",
            "Exemplars received",
            &ingest.exemplars.by_outcome(),
        )?;

        let ruler = &self.ruler.counts;
        let counters = [
            (
                "branchline_rule_group_evaluations",
                "Evaluations of rule groups",
                &ruler.evaluations,
            ),
            (
                "branchline_rule_group_evaluations_missed",
                "Evaluations left out because the group took too long",
                &ruler.missed,
            ),
            (
                "branchline_rule_evaluation_failures",
                "Rules that failed",
                &ruler.failures,
            ),
            (
                "branchline_rule_samples",
                "Samples that rules have written",
                &ruler.samples,
            ),
        ];
        for (name, help, value) in counters {
            let counter = ConstCounter::new(value.load(Ordering::Relaxed));
            counter.encode(out.encode_descriptor(name, help, None, MetricType::Counter)?)?;
        }

        let cache = &self.queries.cache;
        let outcomes = [
            ("hit", &cache.counts.hits),
            ("partial", &cache.counts.partial),
            ("miss", &cache.counts.misses),
            ("bypass", &cache.counts.bypassed),
        ];
        by_outcome(
            &mut out,
            "branchline_query_cache_requests",
            "Range queries by how many of their steps were kept: all (hit), some (partial), none (miss); bypass: those of which nothing can be kept, or is to be",
            &outcomes,
        )?;
        let (name, help) = (
            "branchline_query_log_lines_lost",
            "Queries that could not be logged, because the log is too slow or cannot be written",
        );
        let counter = ConstCounter::new(self.query_log.lost());
        counter.encode(out.encode_descriptor(name, help, None, MetricType::Counter)?)?;
        let stats = self.store.stats();
        let (cache_bytes, cache_bytes_max) = cache.bytes();
        let gauges = [
            (
                "branchline_query_cache_bytes",
                "Bytes of answers that are kept",
                cache_bytes,
            ),
            (
                "branchline_query_cache_bytes_max",
                "Bytes of answers that may be kept",
                cache_bytes_max,
            ),
            (
                "branchline_queries_running",
                "Queries that run now; those that wait are not among them",
                self.queries.running() as u64,
            ),
            (
                "branchline_store_series",
                "Series known to the store",
                stats.series,
            ),
            (
                "branchline_store_memory_samples",
                "Samples in memory, not yet in a part",
                stats.memory_rows,
            ),
            (
                "branchline_store_part_samples",
                "Samples in parts",
                stats.part_rows,
            ),
            ("branchline_store_parts", "Parts on disk", stats.parts),
            (
                "branchline_store_part_bytes",
                "Bytes of parts",
                stats.part_bytes,
            ),
            (
                "branchline_store_wal_bytes",
                "Bytes of the write-ahead log",
                stats.wal_bytes,
            ),
            (
                "branchline_store_catalogue_bytes",
                "Bytes of the series catalogue",
                stats.catalogue_bytes,
            ),
            (
                "branchline_store_parts_quarantined",
                "Parts set aside because they are damaged",
                stats.parts_quarantined,
            ),
            (
                "branchline_store_records_lost",
                "Records of log and catalogue lost to damage",
                stats.records_lost,
            ),
            (
                "branchline_store_exemplars",
                "Exemplars in memory",
                stats.exemplars,
            ),
            (
                "branchline_store_exemplars_max",
                "Exemplars that memory may hold",
                self.exemplars_max as u64,
            ),
            (
                "branchline_store_exemplar_series",
                "Series with exemplars in memory",
                stats.exemplar_series,
            ),
            (
                "branchline_store_accepts_writes",
                "1, or 0 after a failed fsync",
                u64::from(stats.poisoned.is_none()),
            ),
        ];
        for (name, help, value) in gauges {
            let gauge = ConstGauge::new(value as f64);
            gauge.encode(out.encode_descriptor(name, help, None, MetricType::Gauge)?)?;
        }
        let (name, help) = (
            "branchline_store_exemplars_oldest_timestamp_seconds",
            "When the oldest exemplar in memory was made; 0 without any",
        );
        let oldest = stats.exemplars_oldest.unwrap_or_default();
        let gauge = ConstGauge::new(oldest.seconds_f64());
        gauge.encode(out.encode_descriptor(name, help, None, MetricType::Gauge)?)?;
        Ok(())
    }
}

fn by_outcome(
    out: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    outcomes: &[(&str, &AtomicU64)],
) -> Result<(), fmt::Error> {
    let mut family = out.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (outcome, value) in outcomes {
        let counter = ConstCounter::new(value.load(Ordering::Relaxed));
        counter.encode(family.encode_family(&[("outcome", *outcome)])?)?;
    }
    Ok(())
}
