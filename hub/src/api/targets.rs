//! `/api/v1/targets` and its kin: what the head office's own edge scrapes. Targets of branches are their edges' to tell; the
//! first page shows them by their `up`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use model::relabel::RelabelRule;
use model::{INSTANCE, JOB, LabelSet, METRIC_NAME, Matcher, Metadata};
use serde_json::{Value, json};

use super::error::ApiError;
use super::json::success_value;
use super::params::Params;
use super::yaml;
use crate::state::HubState;

type Answer = Result<Response, ApiError>;

/// A target's metrics are those of the series that it had so lately.
const LOOKBACK: std::time::Duration = std::time::Duration::from_secs(5 * 60);
/// What samples of a metric may have behind the name that its metadata has.
const SUFFIXES: [&str; 7] = [
    "", "_total", "_bucket", "_count", "_sum", "_info", "_created",
];

pub(crate) async fn targets(State(state): State<Arc<HubState>>, params: Params) -> Answer {
    let which = params.get("state").unwrap_or("any").to_ascii_lowercase();
    if !matches!(which.as_str(), "active" | "dropped" | "any") {
        return Err(ApiError::bad_parameter("state", "active, dropped or any"));
    }
    let pool = params.get("scrapePool").map(str::to_owned);
    let counts = (which != "active").then(|| json!({}));
    let value = daemon::blocking(move || match &state.edge {
        Some(edge) => edge.targets(&which, pool.as_deref()),
        None => json!({"activeTargets": [], "droppedTargets": [], "droppedTargetCounts": counts}),
    })
    .await;
    Ok(success_value(&value))
}

pub(crate) async fn pools(State(state): State<Arc<HubState>>) -> Response {
    let pools = state.edge.as_ref().map(|edge| edge.pools());
    let names: BTreeSet<String> = pools.into_iter().flatten().map(|pool| pool.name).collect();
    success_value(&json!({"scrapePools": names}))
}

/// The pool's entry of `scrape_configs`, as the file has it, secrets masked.
pub(crate) async fn pool_config(State(state): State<Arc<HubState>>, params: Params) -> Answer {
    let name = pool_name(&params)?;
    let yaml = state.loaded().yaml_without_secrets;
    let file: Value =
        daemon::config::parse_yaml(&yaml, std::path::Path::new("")).unwrap_or_default();
    let written = file["scrape_configs"].as_array().into_iter().flatten();
    let mut written = written.filter(|job| job["job_name"] == *name);
    if let Some(job) = written.next() {
        return Ok(success_value(&json!({"yaml": yaml::block(job)})));
    }
    // One that the hub has by itself, or whose file is another: what is known of it.
    let job = match &state.edge {
        Some(edge) => edge.jobs().into_iter().find(|job| job.name == name),
        None => None,
    };
    let Some(job) = job else {
        return known(&state, name)
            .map(|()| success_value(&json!({"yaml": yaml::block(&json!({"job_name": name}))})));
    };
    let rules = |rules: &[RelabelRule]| -> Vec<Value> {
        let rules = rules.iter();
        rules.map(|rule| rule_json(rule, YAML_KEYS)).collect()
    };
    let shown = json!({
        "job_name": job.name,
        "scrape_interval": model::duration::format(job.target.interval),
        "scrape_timeout": model::duration::format(job.target.timeout),
        "metrics_path": job.target.metrics_path,
        "scheme": job.target.scheme,
        "honor_labels": job.honor_labels,
        "honor_timestamps": job.honor_timestamps,
        "relabel_configs": rules(&job.relabel),
        "metric_relabel_configs": rules(&job.metric_relabel),
    });
    Ok(success_value(&json!({"yaml": yaml::block(&shown)})))
}

/// What the pool's relabelling makes of a label set, rule by rule, until one drops it.
pub(crate) async fn relabel_steps(State(state): State<Arc<HubState>>, params: Params) -> Answer {
    let name = pool_name(&params)?;
    known(&state, name)?;
    let labels = params.required("labels")?;
    let labels: BTreeMap<String, String> = serde_json::from_str(labels)
        .map_err(|error| ApiError::bad_parameter("labels", format!("no JSON object: {error}")))?;
    let mut labels =
        LabelSet::from_pairs(&labels).map_err(|error| ApiError::bad_parameter("labels", error))?;
    let jobs = state.edge.as_ref().map(|edge| edge.jobs());
    let job = jobs.into_iter().flatten().find(|job| job.name == name);
    let mut steps = Vec::new();
    for rule in job.iter().flat_map(|job| &job.relabel) {
        let kept = model::relabel::apply(std::slice::from_ref(rule), &labels);
        let keep = kept.is_some();
        labels = kept.unwrap_or(labels);
        let output: BTreeMap<&str, &str> = labels.iter().collect();
        steps.push(json!({"rule": rule_json(rule, JSON_KEYS), "output": output, "keep": keep}));
        if !keep {
            break;
        }
    }
    Ok(success_value(&json!({"steps": steps})))
}

/// Metadata by target: that of the metrics that the store has of it.
pub(crate) async fn metadata(State(state): State<Arc<HubState>>, params: Params) -> Answer {
    let wanted: Vec<Matcher> = match params.get("match_target") {
        None => Vec::new(),
        Some(text) => promql::parse_selector(text)
            .map_err(|error| ApiError::bad_parameter("match_target", error))?,
    };
    let limit = match params.get("limit").map(str::parse::<i64>) {
        None => usize::MAX,
        Some(Ok(limit)) => usize::try_from(limit).unwrap_or(usize::MAX),
        Some(Err(_)) => return Err(ApiError::bad_parameter("limit", "must be a number")),
    };
    let metric = params.get("metric").map(str::to_owned);
    let found = daemon::blocking(move || {
        let all = state.store.metadata(metric.as_deref());
        let pools = state.edge.as_ref().map(|edge| edge.pools());
        let targets = pools.into_iter().flatten().flat_map(|pool| pool.active);
        let targets =
            targets.filter(|target| wanted.iter().all(|m| m.matches_labels(&target.labels)));
        let mut found = Vec::new();
        for target in targets {
            let metrics = metrics_of(&state, &target.labels);
            let labels: BTreeMap<&str, &str> = target.labels.iter().collect();
            for (name, entries) in &all {
                let has = |suffix: &&str| metrics.contains(&format!("{name}{suffix}"));
                if !SUFFIXES.iter().any(has) {
                    continue;
                }
                for entry in entries {
                    if found.len() >= limit {
                        return found;
                    }
                    found.push(entry_json(&labels, entry, metric.is_none().then_some(name)));
                }
            }
        }
        found
    })
    .await;
    Ok(success_value(&found.into()))
}

fn entry_json(target: &BTreeMap<&str, &str>, entry: &Metadata, metric: Option<&String>) -> Value {
    let mut value = json!({
        "target": target,
        "type": entry.kind.as_str(),
        "help": entry.help,
        "unit": entry.unit,
    });
    if let Some(metric) = metric {
        value["metric"] = metric.as_str().into();
    }
    value
}

fn metrics_of(state: &HubState, labels: &LabelSet) -> BTreeSet<String> {
    let own = [JOB, INSTANCE].into_iter().filter_map(|name| {
        let value = labels.get(name)?;
        Some(Matcher::equal(name, value))
    });
    let now = state.clock.now();
    let range = tsdb::TimeRange::new(now.saturating_sub(LOOKBACK), now);
    let matchers: Vec<Matcher> = own.collect();
    let names = state.store.label_values(METRIC_NAME, &matchers, range);
    names.into_iter().collect()
}

fn pool_name(params: &Params) -> Result<&str, ApiError> {
    params
        .get("scrapePool")
        .ok_or_else(|| ApiError::bad_data("no scrapePool parameter provided"))
}

fn known(state: &HubState, name: &str) -> Result<(), ApiError> {
    let pools = state.edge.as_ref().map(|edge| edge.pools());
    match pools.into_iter().flatten().any(|pool| pool.name == name) {
        true => Ok(()),
        false => Err(ApiError::bad_data(format!(
            "scrape pool {name:?} not found: /api/v1/scrape_pools lists them"
        ))),
    }
}

/// What the fields of a rule are called, in the order of [`rule_json`].
type Keys = [&'static str; 7];

const YAML_KEYS: Keys = [
    "source_labels",
    "separator",
    "regex",
    "modulus",
    "target_label",
    "replacement",
    "action",
];
const JSON_KEYS: Keys = [
    "sourceLabels",
    "separator",
    "regex",
    "modulus",
    "targetLabel",
    "replacement",
    "action",
];

/// Without what is empty.
fn rule_json(rule: &RelabelRule, keys: Keys) -> Value {
    let o = rule.options();
    let values = [
        json!(o.source_labels),
        json!(o.separator),
        json!(o.regex),
        json!(o.modulus),
        json!(o.target_label),
        json!(o.replacement),
        json!(o.action.as_str()),
    ];
    let empty = [json!([]), json!(""), json!(0)];
    let fields = keys.into_iter().zip(values);
    let fields = fields.filter(|(_, value)| !empty.contains(value));
    Value::Object(fields.map(|(key, value)| (key.to_owned(), value)).collect())
}
