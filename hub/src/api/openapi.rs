//! `/api/v1/openapi.yaml`: what can be asked here, for programs.

use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::error::ApiError;
use super::params::Params;
use super::yaml;

/// A path below `/api/v1`, its methods, what it answers, and its parameters: those that must be given begin with `!`.
type Endpoint = (
    &'static str,
    &'static [&'static str],
    &'static str,
    &'static [&'static str],
);

const GET: &[&str] = &["get"];
const BOTH: &[&str] = &["get", "post"];
const ACT: &[&str] = &["post", "put"];
const POST: &[&str] = &["post"];
const SELECTED: &[&str] = &["match[]", "start", "end", "limit"];
const SEARCHED: &[&str] = &[
    "match[]",
    "start",
    "end",
    "search[]",
    "fuzz_alg",
    "fuzz_threshold",
    "case_sensitive",
    "sort_by",
    "sort_dir",
    "include_score",
    "include_metadata",
    "label",
    "limit",
    "batch_size",
];
const RULES: &[&str] = &[
    "type",
    "rule_name[]",
    "rule_group[]",
    "file[]",
    "match[]",
    "exclude_alerts",
    "group_limit",
    "group_next_token",
];
const QUERY: &[&str] = &[
    "!query",
    "time",
    "timeout",
    "limit",
    "lookback_delta",
    "stats",
];
const RANGE: &[&str] = &[
    "!query",
    "!start",
    "!end",
    "!step",
    "timeout",
    "limit",
    "lookback_delta",
    "stats",
    "nocache",
];

pub(super) const ENDPOINTS: &[Endpoint] = &[
    (
        "/query",
        BOTH,
        "The value of an expression at one instant",
        QUERY,
    ),
    (
        "/query_range",
        BOTH,
        "The values of an expression over a range",
        RANGE,
    ),
    (
        "/query_exemplars",
        BOTH,
        "Exemplars of a query's series",
        &["!query", "start", "end"],
    ),
    (
        "/format_query",
        BOTH,
        "A query, printed prettily",
        &["!query"],
    ),
    ("/parse_query", BOTH, "A query's syntax tree", &["!query"]),
    ("/series", BOTH, "Series by selectors", SELECTED),
    ("/labels", BOTH, "Names of labels", SELECTED),
    ("/label/{name}/values", GET, "Values of a label", SELECTED),
    (
        "/metadata",
        GET,
        "What is known of metrics",
        &["limit", "limit_per_metric", "metric"],
    ),
    (
        "/search/metric_names",
        BOTH,
        "Metrics by what was typed",
        SEARCHED,
    ),
    (
        "/search/label_names",
        BOTH,
        "Names of labels by what was typed",
        SEARCHED,
    ),
    (
        "/search/label_values",
        BOTH,
        "Values of a label by what was typed",
        SEARCHED,
    ),
    (
        "/targets",
        GET,
        "Targets of the head office's edge",
        &["state", "scrapePool"],
    ),
    (
        "/targets/metadata",
        GET,
        "Metadata by target",
        &["match_target", "metric", "limit"],
    ),
    (
        "/targets/relabel_steps",
        GET,
        "Relabelling, rule by rule",
        &["!scrapePool", "!labels"],
    ),
    ("/scrape_pools", GET, "Names of the scrape jobs", &[]),
    (
        "/scrape_pools/config",
        GET,
        "A scrape job's configuration",
        &["!scrapePool"],
    ),
    ("/rules", GET, "Rule groups", RULES),
    ("/alerts", GET, "Pending and firing alerts", &[]),
    ("/alertmanagers", GET, "Where alerts are sent", &[]),
    (
        "/status/config",
        GET,
        "The configuration, secrets masked",
        &[],
    ),
    ("/status/flags", GET, "The command line", &[]),
    ("/status/buildinfo", GET, "Which build this is", &[]),
    ("/status/runtimeinfo", GET, "Which process this is", &[]),
    (
        "/status/tsdb",
        GET,
        "What there is most of in the store",
        &["limit"],
    ),
    ("/status/tsdb/blocks", GET, "The store's parts", &[]),
    ("/status/walreplay", GET, "How far the start is", &[]),
    (
        "/status/self_metrics",
        GET,
        "The hub's own metrics",
        &["metric_name_pattern"],
    ),
    ("/features", GET, "What this hub can", &[]),
    ("/notifications", GET, "What people should know", &[]),
    ("/notifications/live", GET, "The same, as it happens", &[]),
    ("/openapi.yaml", GET, "This document", &["openapi_version"]),
    (
        "/admin/tsdb/delete_series",
        ACT,
        "Deletes samples",
        &["!match[]", "start", "end"],
    ),
    (
        "/admin/tsdb/clean_tombstones",
        ACT,
        "Rewrites what has deletions",
        &[],
    ),
    (
        "/admin/tsdb/snapshot",
        ACT,
        "Makes a snapshot",
        &["skip_head"],
    ),
    ("/write", POST, "Remote write", &[]),
    (
        "/otlp/v1/metrics",
        POST,
        "OTLP metrics, where the configuration asks for it",
        &[],
    ),
    ("/read", POST, "Remote read", &[]),
];

pub(crate) async fn document(params: Params) -> Result<Response, ApiError> {
    let version = match params.get("openapi_version") {
        None | Some("3.1") => "3.1.0",
        Some("3.2") => "3.2.0",
        Some(_) => return Err(ApiError::bad_parameter("openapi_version", "3.1 or 3.2")),
    };
    let kind = [(header::CONTENT_TYPE, "application/yaml; charset=utf-8")];
    Ok((kind, yaml::block(&openapi(version))).into_response())
}

fn openapi(version: &str) -> Value {
    let paths = ENDPOINTS.iter().map(|endpoint| {
        let (path, methods, ..) = endpoint;
        let methods = methods.iter();
        let operations = methods.map(|method| ((*method).to_owned(), operation(endpoint, method)));
        let operations: Map<String, Value> = operations.collect();
        ((*path).to_owned(), Value::Object(operations))
    });
    json!({
        "openapi": version,
        "info": {
            "title": "Branchline hub: the Prometheus HTTP API",
            "version": daemon::VERSION,
            "license": {"name": "Apache-2.0"},
        },
        "servers": [{"url": "/api/v1"}],
        "paths": Value::Object(paths.collect()),
    })
}

fn operation((path, _, summary, names): &Endpoint, method: &str) -> Value {
    let parameter = |name: &str, place: &str, required: bool| {
        let schema = match name.ends_with("[]") {
            true => json!({"type": "array", "items": {"type": "string"}}),
            false => json!({"type": "string"}),
        };
        json!({"name": name, "in": place, "required": required, "schema": schema})
    };
    let mut parameters: Vec<Value> = names
        .iter()
        .map(|name| {
            let required = name.strip_prefix('!');
            // A form may give it as well.
            let must = required.is_some() && method == "get";
            parameter(required.unwrap_or(name), "query", must)
        })
        .collect();
    if path.contains("{name}") {
        parameters.push(parameter("name", "path", true));
    }
    let words = path.split(|c: char| !c.is_ascii_alphanumeric());
    let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
    json!({
        "operationId": format!("{method}-{}", words.join("-")),
        "summary": summary,
        "parameters": parameters,
        "responses": {
            "200": {"description": "As asked"},
            "default": {"description": "An error, with errorType and error"},
        },
    })
}
