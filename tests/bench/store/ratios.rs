//! Is it as good as we said? The hub against the peers and against fixed times, beside the floor that must hold and the aim.

use std::collections::BTreeMap;

use crate::measured::Measured;
use crate::systems::Kind;
use crate::table::Table;

/// From so many series on, the floors of large data sets hold.
const LARGE_SERIES: usize = 500_000;

/// What is promised of one number.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Promise {
    AtLeast { floor: f64, aim: Option<f64> },
    AtMost { floor: f64, aim: Option<f64> },
}

/// One promise, and what came of it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Verdict {
    pub(crate) what: String,
    pub(crate) value: f64,
    promise: Promise,
}

use Promise::{AtLeast, AtMost};

impl Verdict {
    pub(crate) fn holds(&self) -> bool {
        match self.promise {
            AtLeast { floor, .. } => self.value >= floor,
            AtMost { floor, .. } => self.value <= floor,
        }
    }

    fn reached(&self) -> bool {
        match self.promise {
            AtLeast { aim: Some(aim), .. } => self.value >= aim,
            AtMost { aim: Some(aim), .. } => self.value <= aim,
            _ => false,
        }
    }

    pub(crate) fn floor(&self) -> f64 {
        match self.promise {
            AtLeast { floor, .. } | AtMost { floor, .. } => floor,
        }
    }

    pub(crate) fn aim(&self) -> Option<f64> {
        match self.promise {
            AtLeast { aim, .. } | AtMost { aim, .. } => aim,
        }
    }

    fn word(&self) -> &'static str {
        match (self.holds(), self.reached()) {
            (false, _) => "BELOW THE FLOOR",
            (true, true) => "aim reached",
            (true, false) => "holds",
        }
    }
}

/// Everything that is promised for a data set of that name and size, as far as it was measured.
pub(crate) fn verdicts(
    name: &str,
    series: usize,
    by_kind: &BTreeMap<Kind, Measured>,
) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    let Some(hub) = by_kind.get(&Kind::Hub) else {
        return verdicts;
    };
    let mut against = |what: &str, peer: Kind, key: &str, promise| {
        let theirs = by_kind.get(&peer).and_then(|measured| measured.get(key));
        if let (Some(ours), Some(theirs)) = (hub.get(key), theirs)
            && theirs > 0.0
        {
            verdicts.push(Verdict {
                what: format!("{what}, hub / {peer}"),
                value: ours / theirs,
                promise,
            });
        }
    };
    let vm = Kind::VictoriaMetrics;
    let at_least = |floor, aim| AtLeast { floor, aim };
    let at_most = |floor, aim| AtMost { floor, aim };
    let large = series >= LARGE_SERIES;
    let ingest = if large {
        at_least(6.0, Some(10.0))
    } else {
        at_least(4.5, Some(8.0))
    };
    against("samples per CPU-s", vm, "samples_per_cpu_second", ingest);
    if !large {
        let promise = at_least(20.0, None);
        against(
            "samples per CPU-s",
            Kind::Prometheus,
            "samples_per_cpu_second",
            promise,
        );
    }
    against(
        "peak memory",
        vm,
        "memory_peak_bytes",
        at_most(0.5, Some(0.3)),
    );
    against(
        "memory at rest",
        vm,
        "memory_rest_bytes",
        at_most(0.5, Some(0.3)),
    );
    match name {
        "1h" => against("disk", vm, "disk_bytes_per_sample", at_most(0.65, None)),
        "6h" => against("disk", vm, "disk_bytes_per_sample", at_most(0.8, None)),
        _ => {}
    }
    let mut alone = |what: &str, key, promise| {
        if let Some(value) = hub.get(key) {
            verdicts.push(Verdict {
                what: what.to_owned(),
                value,
                promise,
            });
        }
    };
    alone("ack p99, ms", "ack_p99_ms", at_most(20.0, None));
    alone("ack p99.9, ms", "ack_p999_ms", at_most(150.0, None));
    alone(
        "samples not found after ingest",
        "not_found",
        at_most(0.0, None),
    );
    if large {
        alone(
            "first right answer after kill -9, s",
            "restart_probe_seconds",
            at_most(0.3, None),
        );
    }
    alone(
        "acknowledged and missing after kill -9",
        "restart_missing",
        at_most(0.0, None),
    );
    alone(
        "live ack p99 during a backlog, ms",
        "live_p99_ms",
        at_most(100.0, None),
    );
    alone(
        "live queries that were right, %",
        "live_queries_right_percent",
        at_least(100.0, None),
    );
    alone(
        "acknowledged and missing of the backlog",
        "backlog_missing",
        at_most(0.0, None),
    );
    verdicts
}

/// The promises as a table.
pub(crate) fn table(verdicts: &[Verdict]) -> String {
    let mut table = Table::default();
    table.row(["promise", "value", "floor", "aim", ""].map(str::to_owned));
    for verdict in verdicts {
        let sign = match verdict.promise {
            AtLeast { .. } => "≥",
            AtMost { .. } => "≤",
        };
        table.row([
            verdict.what.clone(),
            format!("{:.2}", verdict.value),
            format!("{sign} {}", verdict.floor()),
            verdict
                .aim()
                .map_or(String::new(), |aim| format!("{sign} {aim}")),
            verdict.word().to_owned(),
        ]);
    }
    table.text()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(series: usize, ours: f64, theirs: f64, expected: &str) {
        let measured = |rate| {
            let mut measured = Measured::default();
            measured.set("samples_per_cpu_second", rate);
            measured
        };
        let by_kind = BTreeMap::from([
            (Kind::Hub, measured(ours)),
            (Kind::VictoriaMetrics, measured(theirs)),
        ]);
        let words: Vec<&str> = verdicts("1h", series, &by_kind)
            .iter()
            .map(Verdict::word)
            .collect();
        assert_eq!(words, [expected]);
    }

    #[test]
    fn floors_and_aims() {
        check(100_000, 8.0, 1.0, "aim reached");
        check(100_000, 5.0, 1.0, "holds");
        check(100_000, 4.0, 1.0, "BELOW THE FLOOR");
        check(1_000_000, 5.0, 1.0, "BELOW THE FLOOR");
    }

    #[test]
    fn nothing_is_promised_of_what_was_not_measured() {
        assert!(verdicts("1h", 1, &BTreeMap::new()).is_empty());
    }
}
