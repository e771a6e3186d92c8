/// What kind of metric a family is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum MetricType {
    /// Only rises, save for resets.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Buckets, sum and count.
    Histogram,
    /// Buckets that may fall.
    GaugeHistogram,
    /// Quantiles, sum and count.
    Summary,
    /// Constant 1 with facts in its labels.
    Info,
    /// One series per state.
    StateSet,
    /// Not said (`untyped` in the classic text format).
    #[default]
    Unknown,
}

impl MetricType {
    /// The word that Prometheus's API and OpenMetrics use.
    pub fn as_str(self) -> &'static str {
        match self {
            MetricType::Counter => "counter",
            MetricType::Gauge => "gauge",
            MetricType::Histogram => "histogram",
            MetricType::GaugeHistogram => "gaugehistogram",
            MetricType::Summary => "summary",
            MetricType::Info => "info",
            MetricType::StateSet => "stateset",
            MetricType::Unknown => "unknown",
        }
    }

    /// The type that the word names; `untyped` is the classic format's word for unknown.
    pub fn from_word(word: &str) -> Option<Self> {
        Some(match word {
            "counter" => MetricType::Counter,
            "gauge" => MetricType::Gauge,
            "histogram" => MetricType::Histogram,
            "gaugehistogram" => MetricType::GaugeHistogram,
            "summary" => MetricType::Summary,
            "info" => MetricType::Info,
            "stateset" => MetricType::StateSet,
            "unknown" | "untyped" => MetricType::Unknown,
            _ => return None,
        })
    }
}

/// What is said of a metric family beside its samples.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Metadata {
    /// Its type.
    pub kind: MetricType,
    /// One line for people; empty when not said.
    pub help: String,
    /// Base unit; empty when not said.
    pub unit: String,
}
