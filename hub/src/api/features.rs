//! `/api/v1/features`: what this hub can, by Prometheus's names. What is not listed it cannot.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde_json::json;

use super::json::success_value;
use crate::state::HubState;

/// Operators and modifiers that are always there.
const OPERATORS: [&str; 17] = [
    "%", "*", "+", "-", "/", "<", "<=", "!=", "==", ">", ">=", "^", "and", "atan2", "or", "unless",
    "@",
];
const AGGREGATIONS: [&str; 12] = [
    "avg",
    "bottomk",
    "count",
    "count_values",
    "group",
    "max",
    "min",
    "quantile",
    "stddev",
    "stdvar",
    "sum",
    "topk",
];
const KEYWORDS: [&str; 8] = [
    "bool",
    "by",
    "group_left",
    "group_right",
    "ignoring",
    "offset",
    "on",
    "without",
];

pub(crate) async fn features(State(state): State<Arc<HubState>>) -> Response {
    let on = &state.features;
    let all = |names: &[&'static str]| -> BTreeMap<&'static str, bool> {
        names.iter().map(|name| (*name, true)).collect()
    };
    let mut operators = all(&OPERATORS);
    operators.extend(all(&AGGREGATIONS));
    for name in ["limitk", "limit_ratio"] {
        operators.insert(name, on.parse.experimental_functions);
    }
    for name in ["fill", "fill_left", "fill_right"] {
        operators.insert(name, on.parse.fill_modifiers);
    }
    let functions: BTreeMap<&str, bool> = promql::FUNCTIONS
        .iter()
        .map(|f| (f.name, !f.experimental || on.parse.experimental_functions))
        .collect();
    let mut promql = all(&KEYWORDS);
    promql.extend([
        ("at_modifier", true),
        ("negative_offset", true),
        ("subqueries", true),
        ("per_query_lookback_delta", true),
        ("per_step_stats", on.per_step_stats),
        ("delayed_name_removal", on.delayed_name_removal),
        ("type_and_unit_labels", on.type_and_unit_labels),
        ("duration_expr", on.parse.duration_expressions),
        ("anchored", on.parse.extended_range_selectors),
        ("smoothed", on.parse.extended_range_selectors),
    ]);
    success_value(&json!({
        "api": {
            "admin": state.loaded().admin_api,
            "exclude_alerts": true,
            "label_values_match": true,
            "lifecycle": true,
            "openapi_3.1": true,
            "openapi_3.2": true,
            "query_stats": true,
            "query_warnings": true,
            "remote_write_receiver": true,
            "search": on.search_api,
            "search_fuzz_alg_jarowinkler": on.search_api,
            "search_fuzz_alg_subsequence": on.search_api,
            "time_range_labels": true,
            "time_range_series": true,
        },
        "otlp_receiver": {},
        "prometheus": {"exemplar_storage": true, "remote_read_receiver": true},
        "promql": promql,
        "promql_functions": functions,
        "promql_operators": operators,
        "rules": {"concurrent_rule_eval": true, "keep_firing_for": true, "query_offset": true},
        "scrape": {"openmetrics": true, "start_timestamps": on.start_timestamps},
        "service_discovery_providers": {"file": true, "static": true},
        "templating_functions": {},
        "tsdb": {"exemplar_storage": true, "native_histograms": true, "out_of_order": true},
        "ui": {"ui_v2": false, "ui_v3": false},
    }))
}
