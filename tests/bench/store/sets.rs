//! The data sets by name: what each is to show, and how large it is.

use clap::ValueEnum;

/// A data set by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Set {
    /// 100,000 series for an hour.
    #[value(name = "1h")]
    Hour,
    /// 20,000 series for six hours.
    #[value(name = "6h")]
    SixHours,
    /// A million series, ten scrapes each.
    #[value(name = "1m")]
    Million,
    /// 100,000, 300,000 and 1,000,000 series, ten scrapes each: does it stay linear?
    Linear,
    /// 30 branches live while another one sends the 24 hours of an outage.
    Backlog,
}

/// What is done with a data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Phase {
    /// All of it, measured until the server rests. Always done for `queries`.
    Ingest,
    /// Some typical queries on what was stored.
    Queries,
    /// kill -9 in the middle of it, and the start after it.
    Restart,
}

/// What is to be measured in one go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) name: String,
    pub(crate) work: Work,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Work {
    Store {
        series: usize,
        scrapes: usize,
        phases: Vec<Phase>,
    },
    Backlog {
        live_branches: usize,
        scrapes: usize,
    },
}

/// The plans of a set. `quick`: so small that they only show that everything works.
pub(crate) fn plans(set: Set, quick: bool, three_million: bool, phases: &[Phase]) -> Vec<Plan> {
    let store = |name: &str, series, scrapes, phases: &[Phase]| Plan {
        name: name.to_owned(),
        work: Work::Store {
            series,
            scrapes,
            phases: phases.to_vec(),
        },
    };
    match (set, quick) {
        (Set::Hour, false) => vec![store("1h", 100_000, 240, phases)],
        (Set::Hour, true) => vec![store("1h", 10_000, 60, phases)],
        (Set::SixHours, false) => vec![store("6h", 20_000, 1_440, phases)],
        (Set::SixHours, true) => vec![store("6h", 4_000, 240, phases)],
        (Set::Million, false) => vec![store("1m", 1_000_000, 10, phases)],
        (Set::Million, true) => vec![store("1m", 50_000, 5, phases)],
        (Set::Linear, _) => {
            let mut thousands = vec![100, 300, 1_000];
            thousands.extend(three_million.then_some(3_000));
            let (unit, scrapes) = if quick { (50, 5) } else { (1_000, 10) };
            let plan =
                |k: usize| store(&format!("linear {k}k"), k * unit, scrapes, &[Phase::Ingest]);
            thousands.into_iter().map(plan).collect()
        }
        (Set::Backlog, _) => {
            let (live_branches, scrapes) = if quick { (4, 240) } else { (30, 5_760) };
            vec![Plan {
                name: "backlog".to_owned(),
                work: Work::Backlog {
                    live_branches,
                    scrapes,
                },
            }]
        }
    }
}
