//! The nouns of the store's interface.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use journal::SyncPolicy;
use model::{Histogram, LabelSet, Metadata, Sample, Timestamp, Value};

use crate::{
    error::{AppendError, RefusedReason},
    exemplars::ExemplarsAppended,
    part::block_cache,
};

/// Names a series without parsing its labels: a keyed hash over (scope, raw label bytes), made by
/// [`crate::Store::series_key`]. Without the store's secret key nobody can find two inputs with the same hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SeriesKey(pub(crate) u128);

impl SeriesKey {
    #[doc(hidden)]
    pub fn from_bits(bits: u128) -> Self {
        Self(bits)
    }
}

/// Parses the canonical label set of a series; called only when its key is new. The error is given back as
/// [`RefusedReason::Labels`].
pub type LabelsFn<'a> = dyn Fn() -> Result<LabelSet, String> + 'a;

/// Samples of one series.
#[derive(Clone, Copy)]
pub struct BatchSeries<'a> {
    /// From [`crate::Store::series_key`]. Two keys may lead to the same label set, and then to the same series.
    pub key: SeriesKey,
    /// See [`LabelsFn`].
    pub labels: &'a LabelsFn<'a>,
    /// In any order, of any age within the retention. Of equal timestamps the later one in the slice wins.
    pub samples: &'a [Sample],
}

/// What one append stores: all of it or nothing, save for what [`Appended::refused`] lists.
#[derive(Clone, Default)]
pub struct Batch<'a> {
    /// Whose samples these are, e.g. the branch: new series count against this scope's limit.
    pub scope: &'a str,
    /// May name a series more than once; the later one wins.
    pub series: Vec<BatchSeries<'a>>,
    /// (metric name, what is said of it). Kept per metric name.
    pub metadata: Vec<(&'a str, &'a Metadata)>,
}

/// What an append returns.
#[derive(Debug)]
pub struct Appended {
    /// Completes when everything stored is durable.
    pub commit: Commit,
    /// Samples stored (those that replaced an older one, or repeated it, included).
    pub samples: u64,
    /// Series seen for the first time.
    pub series_created: u64,
    /// What was not stored, in the order of the batch.
    pub refused: Vec<RefusedSeries>,
    /// What became of the exemplars.
    pub exemplars: ExemplarsAppended,
    /// Memory is full enough: see [`crate::Store::seal_when_due`].
    pub seal_due: bool,
}

/// Samples that were not stored.
#[derive(Debug, Clone, PartialEq)]
pub struct RefusedSeries {
    /// Index in [`Batch::series`].
    pub index: usize,
    /// How many of its samples were refused.
    pub samples: u64,
    /// Why the first of them was.
    pub reason: RefusedReason,
}

/// Completes once a batch is durable.
#[derive(Debug, Clone)]
pub struct Commit(pub(crate) Option<journal::Commit>);

impl Commit {
    /// Blocks until the batch is durable.
    ///
    /// # Errors
    /// [`AppendError::Poisoned`]: whether the batch is found after a restart is unknown.
    pub fn wait(&self) -> Result<(), AppendError> {
        self.0
            .as_ref()
            .map_or(Ok(()), |commit| commit.wait().map_err(AppendError::from))
    }

    /// Calls `callback` once with what [`Commit::wait`] would return: at once when that is known, else on the thread that
    /// syncs. It must be short, must not panic and must not wait for a commit.
    pub fn on_done(&self, callback: impl FnOnce(Result<(), AppendError>) + Send + 'static) {
        match &self.0 {
            Some(commit) => commit.on_done(|result| callback(result.map_err(AppendError::from))),
            None => callback(Ok(())),
        }
    }
}

/// A stretch of time, both ends inclusive; empty when `start > end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeRange {
    /// First instant.
    pub start: Timestamp,
    /// Last instant.
    pub end: Timestamp,
}

impl TimeRange {
    /// All of time.
    pub const ALL: Self = Self {
        start: Timestamp::MIN,
        end: Timestamp::MAX,
    };

    /// From `start` to `end`, both inclusive.
    pub const fn new(start: Timestamp, end: Timestamp) -> Self {
        Self { start, end }
    }

    pub(crate) fn overlaps(&self, first: i64, last: i64) -> bool {
        self.start <= self.end && self.start.millis() <= last && first <= self.end.millis()
    }

    pub(crate) fn contains(&self, at: i64) -> bool {
        self.overlaps(at, at)
    }
}

/// How much one read may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SelectLimits {
    /// Series in the answer.
    pub series: usize,
    /// Samples in the answer; of series that are read one by one, samples of one.
    pub samples: u64,
}

impl Default for SelectLimits {
    fn default() -> Self {
        Self {
            series: 1_000_000,
            samples: 50_000_000,
        }
    }
}

/// What is wanted of samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Wanted {
    /// All of it.
    #[default]
    Samples,
    /// When there are samples, and which of them are staleness markers: any other number may stand for a number.
    Times,
}

/// One series of an answer. `timestamps` (ms since the epoch) rise strictly; `values` has one value for each.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Its labels.
    pub labels: LabelSet,
    /// When.
    pub timestamps: Vec<i64>,
    /// What. NaN bits are kept, staleness markers included.
    pub values: Column,
    /// Start timestamps (ms), one for each sample, [`NO_START`] where none was given; empty when none was given at all.
    pub starts: Vec<i64>,
}

/// A sample without a start timestamp, in [`Series::starts`].
pub const NO_START: i64 = i64::MIN;

/// The values of a series, in order of time. Answers hold numbers only as `Floats`.
#[derive(Debug, Clone)]
pub enum Column {
    /// Numbers only: the usual case.
    Floats(Vec<f64>),
    /// At least one native histogram.
    Mixed(Vec<Value>),
}

impl Default for Column {
    fn default() -> Self {
        Self::Floats(Vec::new())
    }
}

impl PartialEq for Column {
    /// Equal values, bit for bit, however they are held.
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && (0..self.len()).all(|i| self.get(i) == other.get(i))
    }
}

impl Column {
    /// How many values.
    pub fn len(&self) -> usize {
        match self {
            Self::Floats(values) => values.len(),
            Self::Mixed(values) => values.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value at `index`, if there is one. A histogram is shared, not copied.
    pub fn get(&self, index: usize) -> Option<Value> {
        match self {
            Self::Floats(values) => values.get(index).copied().map(Value::Float),
            Self::Mixed(values) => values.get(index).cloned(),
        }
    }

    /// The histogram at `index`, if that is one.
    pub fn histogram(&self, index: usize) -> Option<&Arc<Histogram>> {
        match self {
            Self::Mixed(values) => match values.get(index)? {
                Value::Histogram(histogram) => Some(histogram),
                Value::Float(_) => None,
            },
            Self::Floats(_) => None,
        }
    }

    /// All values in order.
    pub fn iter(&self) -> impl Iterator<Item = Value> + '_ {
        (0..self.len()).filter_map(|i| self.get(i))
    }

    /// As `Floats` when it holds nothing else.
    pub(crate) fn normalised(self) -> Self {
        match &self {
            Self::Mixed(values) if values.iter().all(|value| matches!(value, Value::Float(_))) => {
                let mut floats = Self::default();
                self.iter().for_each(|value| floats.push(value));
                floats
            }
            _ => self,
        }
    }

    pub(crate) fn push(&mut self, value: Value) {
        match (&mut *self, value) {
            (Self::Floats(values), Value::Float(value)) => values.push(value),
            (Self::Mixed(values), value) => values.push(value),
            (Self::Floats(values), value) => {
                let mut mixed: Vec<Value> = values.iter().copied().map(Value::Float).collect();
                mixed.push(value);
                *self = Self::Mixed(mixed);
            }
        }
    }
}

/// The answer of [`crate::Store::select`].
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Selection {
    /// In the order of their label sets; each with at least one sample.
    pub series: Vec<Series>,
    /// What the reader of the answer must know, e.g. that a damaged part is missing from it.
    pub warnings: Vec<String>,
}

/// Metadata by metric name; most recent last, no duplicates.
pub type MetadataByMetric = BTreeMap<String, Vec<Metadata>>;

/// How a store is kept.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// What is dropped when.
    pub retention: Retention,
    /// What is refused.
    pub limits: Limits,
    /// When samples go from memory to parts.
    pub seal: SealOptions,
    /// The write-ahead log.
    pub wal: WalOptions,
    /// For a new folder only; an existing one keeps its own.
    pub create: CreateOptions,
    /// Memory for blocks of parts that were read, so that the next query need not read them. Default 32 MiB.
    pub block_cache_bytes_max: usize,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            retention: Retention::default(),
            limits: Limits::default(),
            seal: SealOptions::default(),
            wal: WalOptions::default(),
            create: CreateOptions::default(),
            block_cache_bytes_max: block_cache::BYTES_MAX,
        }
    }
}

/// What is dropped when ([`crate::Store::maintain`] does it). Whole parts at a time, so up to a partition more is on disk.
#[derive(Debug, Clone, Copy, Default)]
pub struct Retention {
    /// Samples older than this, at the last maintenance, are dropped, refused, and not answered. `None` (default): no bound.
    pub age: Option<Duration>,
    /// The oldest partitions are dropped while parts and log take more than this. `None` (default): no bound.
    pub bytes_max: Option<u64>,
}

/// What is refused, each with its [`RefusedReason`].
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// New series of a scope beyond this many are refused. Default 1,000,000.
    pub series_per_scope_max: usize,
    /// Default 64.
    pub labels_per_series_max: usize,
    /// For a name and for a value. Default 4,096.
    pub label_bytes_max: usize,
    /// How far a timestamp may be ahead of the `now` of the last maintenance. Default 1 day; none before the first.
    pub future_max: Duration,
    /// Metric names that metadata is kept for; later ones are dropped. Default 100,000.
    pub metadata_metrics_max: usize,
    /// Exemplars kept of all series together: a new one takes the place of the oldest. 0 switches them off. Default 100,000
    /// (about 20 MB once so many have come with a trace id each).
    pub exemplars_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            series_per_scope_max: 1_000_000,
            labels_per_series_max: 64,
            label_bytes_max: 4096,
            future_max: Duration::from_secs(24 * 3600),
            metadata_metrics_max: 100_000,
            exemplars_max: 100_000,
        }
    }
}

/// When samples go from memory to parts.
#[derive(Debug, Clone, Copy)]
pub struct SealOptions {
    /// Sealing is due at this many rows; at twice as many an append does it itself. Default 3,000,000 (about 30 MB).
    pub rows_max: usize,
    /// Maintenance seals what is older than this, so that a restart replays little. Default 30 min.
    pub age_max: Duration,
    /// Maintenance seals what was not added to for so long, if it has `quiet_rows_min` rows: parts take less room than
    /// the log. Default 15 s.
    pub quiet_max: Duration,
    /// Default 50,000.
    pub quiet_rows_min: usize,
    /// Parts of one level and partition that are merged into one. Default 4, at least 2.
    pub merge_width: usize,
    /// Larger merges are not made: bounds the work, and the part. Default 64,000,000 rows.
    pub merge_rows_max: u64,
}

impl Default for SealOptions {
    fn default() -> Self {
        Self {
            rows_max: 3_000_000,
            age_max: Duration::from_secs(30 * 60),
            quiet_max: Duration::from_secs(15),
            quiet_rows_min: 50_000,
            merge_width: 4,
            merge_rows_max: 64_000_000,
        }
    }
}

/// The write-ahead log.
#[derive(Debug, Clone, Copy)]
pub struct WalOptions {
    /// When a [`Commit`] completes. Default: together with those of the others who write, at most 2 ms later than alone.
    pub sync: SyncPolicy,
    /// Size of its segments. Default 64 MiB.
    pub segment_bytes_max: u64,
}

impl Default for WalOptions {
    fn default() -> Self {
        Self {
            sync: SyncPolicy::Together(Duration::from_millis(2)),
            segment_bytes_max: 64 << 20,
        }
    }
}

/// What a new folder is created with.
#[derive(Debug, Clone, Copy)]
pub struct CreateOptions {
    /// Time that one part covers at most; retention drops whole partitions. Default 1 day, at least 1 minute.
    pub partition: Duration,
    /// The secret key of the series hash; `None` (default): random. Fixed only in tests.
    pub hash_key: Option<[u8; 16]>,
}

impl Default for CreateOptions {
    fn default() -> Self {
        Self {
            partition: Duration::from_secs(24 * 3600),
            hash_key: None,
        }
    }
}

/// What [`crate::Store::maintain`] did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Maintained {
    /// Rows that went from memory to parts.
    pub rows_sealed: u64,
    /// Merges made.
    pub merges: u64,
    /// Parts dropped by retention.
    pub parts_dropped: u64,
    /// Rows in them.
    pub rows_dropped: u64,
    /// Series forgotten because nothing of them is kept.
    pub series_dropped: u64,
}

/// What [`crate::Store::delete`] did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Deleted {
    /// Series that may have had samples in the range, as exact as a part's time allows.
    pub series: u64,
}

/// A part on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartInfo {
    /// Names it; never used twice.
    pub number: u64,
    /// 0 from memory; one more than its inputs' highest from a merge.
    pub level: u8,
    /// Its oldest sample.
    pub first: Timestamp,
    /// Its newest sample.
    pub last: Timestamp,
    /// Samples in it.
    pub samples: u64,
    /// Series in it.
    pub series: u64,
    /// Its size.
    pub bytes: u64,
}

/// What the store holds and has seen since it was opened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    /// Series known.
    pub series: u64,
    /// Series by scope.
    pub series_by_scope: BTreeMap<String, u64>,
    /// Samples in memory, not yet in a part.
    pub memory_rows: u64,
    /// Parts being served.
    pub parts: u64,
    /// Samples in them.
    pub part_rows: u64,
    /// Their size.
    pub part_bytes: u64,
    /// Size of the write-ahead log.
    pub wal_bytes: u64,
    /// Size of the catalogue.
    pub catalogue_bytes: u64,
    /// Exemplars kept.
    pub exemplars: u64,
    /// Series that have any.
    pub exemplar_series: u64,
    /// When the oldest of them was made.
    pub exemplars_oldest: Option<Timestamp>,
    /// Samples stored since opening.
    pub samples_appended: u64,
    /// Samples refused since opening.
    pub samples_refused: u64,
    /// Oldest and newest timestamp kept, as far as known without reading parts.
    pub time: Option<(Timestamp, Timestamp)>,
    /// Deletions that some part has not been rewritten for.
    pub tombstones: u64,
    /// Damaged parts set aside.
    pub parts_quarantined: u64,
    /// Records of the log and files of the catalogue lost to damage.
    pub records_lost: u64,
    /// Why nothing more is accepted, if so.
    pub poisoned: Option<String>,
    /// All that is wrong, in words.
    pub warnings: Vec<String>,
}
