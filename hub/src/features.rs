//! What of PromQL, of the API and of ingest is off unless asked for, by the names of Prometheus's `--enable-feature`.

use promql::{EngineOptions, ParseOptions};

/// Which of them are on. The default is that of Prometheus 3.14.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// Which syntax is read, in queries, rule files and templates alike.
    pub parse: ParseOptions,
    /// See [`EngineOptions::delayed_name_removal`].
    pub delayed_name_removal: bool,
    /// `stats=all` of a query tells what each step took.
    pub per_step_stats: bool,
    /// See [`EngineOptions::start_timestamps`].
    pub start_timestamps: bool,
    /// `/api/v1/search/…` answers.
    pub search_api: bool,
    /// See [`EngineOptions::type_and_unit_labels`].
    /// OTLP adds these labels to its series too.
    pub type_and_unit_labels: bool,
    /// Whether OTLP metrics of delta temporality are stored as they come, of unknown type.
    pub otlp_native_delta: bool,
}

/// The names, and the switch of each.
type Switch = (&'static str, fn(&mut Features) -> &mut bool);

const SWITCHES: [Switch; 10] = [
    ("otlp-native-delta-ingestion", |f| &mut f.otlp_native_delta),
    ("promql-binop-fill-modifiers", |f| {
        &mut f.parse.fill_modifiers
    }),
    ("promql-delayed-name-removal", |f| {
        &mut f.delayed_name_removal
    }),
    ("promql-duration-expr", |f| {
        &mut f.parse.duration_expressions
    }),
    ("promql-experimental-functions", |f| {
        &mut f.parse.experimental_functions
    }),
    ("promql-extended-range-selectors", |f| {
        &mut f.parse.extended_range_selectors
    }),
    ("promql-per-step-stats", |f| &mut f.per_step_stats),
    ("search-api", |f| &mut f.search_api),
    ("type-and-unit-labels", |f| &mut f.type_and_unit_labels),
    ("use-start-timestamps", |f| &mut f.start_timestamps),
];

impl Features {
    /// Those of the names on, the others as they are by default.
    ///
    /// # Errors
    /// A name that is none of ours.
    pub fn from_names<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        let mut features = Features::default();
        for name in names {
            let Some((_, switch)) = SWITCHES.iter().find(|(known, _)| *known == name) else {
                let known: Vec<&str> = SWITCHES.iter().map(|(known, _)| *known).collect();
                return Err(format!(
                    "unknown feature {name:?}: there are {}",
                    known.join(", ")
                ));
            };
            *switch(&mut features) = true;
        }
        Ok(features)
    }

    /// With what is switched on here.
    pub(crate) fn engine_options(&self, others: EngineOptions) -> EngineOptions {
        EngineOptions {
            delayed_name_removal: self.delayed_name_removal,
            start_timestamps: self.start_timestamps,
            type_and_unit_labels: self.type_and_unit_labels,
            ..others
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_switch() {
        assert_eq!(Features::from_names([]), Ok(Features::default()));
        let all = SWITCHES.iter().map(|(name, _)| *name);
        let all = Features::from_names(all).unwrap();
        assert_eq!(all.parse, ParseOptions::all());
        assert!(
            all.delayed_name_removal
                && all.per_step_stats
                && all.start_timestamps
                && all.type_and_unit_labels
                && all.search_api
                && all.otlp_native_delta
        );
        let one = Features::from_names(["promql-experimental-functions"]).unwrap();
        assert!(one.parse.experimental_functions && !one.parse.fill_modifiers);
        let error = Features::from_names(["promql-everything"]).unwrap_err();
        assert!(
            error.contains("unknown feature \"promql-everything\""),
            "{error}"
        );
        assert!(
            error.contains("promql-duration-expr, promql-exp"),
            "{error}"
        );
    }
}
