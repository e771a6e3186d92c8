//! Whatever PromQL the ecosystem writes: rule files and dashboards of others parse, run, and answer as they do with Prometheus.
//!
//! The folders are those that `BRANCHLINE_FIELD` names (several with `:` between), and what `tests/run --all` brings from Debian's
//! packages. The peer is Prometheus 2.42: what it refuses too is not PromQL, and is counted; what only the hub refuses or answers
//! otherwise fails. Where 3.x means something else, [`newer`] says what.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use promql::ParseOptions;
use tests::field::{Field, series};
use tests::peers::{Peer, all_there, leave_out};
use tests::service::Service;
use tests::{checkout, remote_write, wait};

use crate::compliance::agree;

/// How long, how dense; after whole seconds, so that none is at the end of a window: see [`crate::compliance`].
const SAMPLES: i64 = 120;
const SAMPLE_MS: i64 = 30_000;
const SAMPLE_OFFSET_MS: i64 = 137;
const QUERY_OFFSET_S: f64 = 0.317;
/// What is asked over time, in seconds.
const POINTS: i64 = 5;
const STEP_S: f64 = 53.0;
/// Series of one request.
const BATCH: usize = 2_000;

/// The folders of this run.
fn folders() -> Vec<PathBuf> {
    let given = std::env::var_os("BRANCHLINE_FIELD").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&given)
        .filter(|path| !path.as_os_str().is_empty())
        .collect();
    let brought = checkout::root().join("target/peers/field");
    if checkout::long_versions() && brought.is_dir() {
        folders.push(brought);
    }
    folders
}

/// Whether a test of this module is to run; says so when it is left out.
fn field() -> Option<Field> {
    let folders = folders();
    if folders.is_empty() {
        // In a short run nobody expects it.
        if checkout::long_versions() {
            leave_out(
                "needs rule files and dashboards; tests/run --all brings some, BRANCHLINE_FIELD names more",
            );
        }
        return None;
    }
    let field = Field::read(&folders).unwrap_or_else(|error| panic!("BRANCHLINE_FIELD: {error}"));
    assert!(
        !field.expressions.is_empty(),
        "no expressions in {folders:?}"
    );
    Some(field)
}

/// Why Prometheus 3.x answers otherwise than 2.42, if it does.
fn newer(expression: &str) -> Option<&'static str> {
    let reasons = [
        ("holt_winters(", "has another name in 3.x"),
        ("predict_linear(", "with @ moves on in 2.42"),
        ("atan2", "keeps the name in 2.42"),
    ];
    let found = reasons.iter().find(|(part, _)| expression.contains(part));
    found.map(|(_, why)| *why)
}

struct Both {
    hub: Service,
    prometheus: Service,
    /// The newest time that is asked, in seconds.
    end: f64,
}

impl Both {
    /// The same samples in both: something for every selector.
    fn start(folder: &std::path::Path, expressions: &BTreeMap<&str, &str>) -> Self {
        let hub = Service::hub(&folder.join("hub")).start();
        let prometheus = Service::prometheus(&folder.join("prometheus"))
            .config("scrape_configs: []\n")
            .argument("--web.enable-remote-write-receiver")
            .start();
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("after 1970");
        let end = (now.as_secs() / 60 * 60) as i64 - 60;
        let times: Vec<i64> = (0..SAMPLES)
            .map(|n| end * 1000 - (SAMPLES - 1 - n) * SAMPLE_MS + SAMPLE_OFFSET_MS)
            .collect();
        let parsed = expressions
            .keys()
            .filter_map(|text| promql::parse(text, &ParseOptions::default()).ok());
        let all = series::samples(&series::invented(parsed), &times);
        assert!(!all.is_empty(), "no series for any expression");
        for batch in all.chunks(BATCH) {
            let body = remote_write::body(batch.to_vec());
            for server in [&hub, &prometheus] {
                let answer = remote_write::send(&server.url("/api/v1/write"), None, &body);
                let answer = answer.expect("an answer to a remote write");
                assert_eq!(answer.status / 100, 2, "{}", answer.text());
            }
        }
        Both {
            hub,
            prometheus,
            end: end as f64 + QUERY_OFFSET_S,
        }
    }
}

#[test]
fn expressions_of_the_field_answer_as_with_prometheus() {
    let Some(field) = field() else { return };
    if !all_there(&[Peer::Prometheus]) {
        return;
    }
    let mut expressions = BTreeMap::new();
    for expression in &field.expressions {
        expressions
            .entry(expression.text.as_str())
            .or_insert(expression.place.as_str());
    }
    let folder = tempfile::tempdir().expect("a folder");
    let both = Both::start(folder.path(), &expressions);
    let (ours, theirs) = (both.hub.api(), both.prometheus.api());
    let (mut answered, mut no_promql, mut ties, mut wrong) = (0, 0, 0, Vec::new());
    for (text, place) in &expressions {
        let start = both.end - (POINTS - 1) as f64 * STEP_S;
        let asked = [&ours, &theirs].map(|api| api.query_range(text, start, both.end, STEP_S));
        let verdict = match asked {
            [Ok(ours), Ok(theirs)] if newer(text).is_none() => agree(&ours, &theirs),
            [Ok(_), Ok(_)] => Ok(true),
            // With 3.x valid, or in error in both: many partners for one series, PromQL that is none.
            [Ok(_), Err(_)] => Ok(false),
            [Err(error), Err(_)] => {
                eprintln!("refused by both: {place}: {error}");
                no_promql += 1;
                Ok(false)
            }
            [Err(error), Ok(_)] => match newer(text) {
                Some(_) => Ok(false),
                None => Err(format!("only the hub refuses it: {error}")),
            },
        };
        match verdict {
            Ok(found) => answered += usize::from(found),
            // Most of the data are equal, and which of equals stays depends on the order in storage.
            Err(_) if text.contains("topk") || text.contains("bottomk") => ties += 1,
            Err(why) => wrong.push(format!("{place}: {text}\n    {why}")),
        }
    }
    let unreadable: BTreeSet<&str> = field
        .unreadable
        .iter()
        .map(|(place, _)| place.as_str())
        .collect();
    eprintln!(
        "{} expressions, {} different: {answered} answered with data, {no_promql} refused by Prometheus too, {ties} ties, {} wrong; {} files unreadable",
        field.expressions.len(),
        expressions.len(),
        wrong.len(),
        unreadable.len(),
    );
    assert!(
        wrong.is_empty(),
        "{} of {}:\n{}",
        wrong.len(),
        expressions.len(),
        wrong.join("\n")
    );
    assert!(
        ties * 50 <= expressions.len() + 50,
        "{ties} ties are no accident"
    );
    assert!(
        answered * 2 > expressions.len(),
        "only {answered} of {} found data",
        expressions.len()
    );
}

#[test]
fn rule_files_of_the_field_load_and_are_evaluated() {
    let Some(field) = field() else { return };
    if !all_there(&[Peer::Promtool]) {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let (mut loaded, mut refused) = (0, 0);
    for (n, (_, file)) in field.rule_files.iter().enumerate() {
        let mut file = file.clone();
        // At the hub's interval, or the first evaluation may be an hour off.
        for group in file["groups"].as_array_mut().into_iter().flatten() {
            group.as_object_mut().map(|group| group.remove("interval"));
        }
        // JSON is YAML.
        let path = folder.path().join(format!("{n:05}.yml"));
        std::fs::write(&path, file.to_string()).expect("a rule file");
        let checked = Command::new(Peer::Promtool.path())
            .args(["check", "rules"])
            .arg(&path)
            .output()
            .expect("promtool runs");
        if checked.status.success() {
            loaded += 1;
        } else {
            // Wrong for Prometheus, too: not for us to judge.
            refused += 1;
            std::fs::remove_file(&path).expect("a file");
        }
    }
    if loaded == 0 {
        assert_eq!(refused, field.rule_files.len());
        return;
    }
    let hub = Service::hub(&folder.path().join("hub"))
        .config(&format!(
            "global: {{evaluation_interval: 5s}}\nrule_files: ['{}/*.yml']\n",
            folder.path().display()
        ))
        .start();
    let api = hub.api();
    let rules = wait::until(Duration::from_secs(180), "every rule evaluated", || {
        let answer = api.get("/api/v1/rules?exclude_alerts=true")?;
        let groups = answer["data"]["groups"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let rules: Vec<_> = groups
            .iter()
            .flat_map(|group| group["rules"].as_array().cloned().unwrap_or_default())
            .collect();
        match rules.iter().find(|rule| rule["health"] == "unknown") {
            None if !rules.is_empty() => Ok(rules),
            waiting => Err(format!("{} rules, {waiting:?}", rules.len())),
        }
    });
    let wrong: Vec<String> = rules
        .iter()
        .filter(|rule| rule["health"] != "ok")
        .map(|rule| format!("{}: {}", rule["name"], rule["lastError"]))
        .collect();
    eprintln!(
        "{loaded} rule files with {} rules loaded, {refused} refused by promtool too, {} rules in error",
        rules.len(),
        wrong.len()
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
