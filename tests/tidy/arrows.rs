//! Which of our crates may use which, and that every dependency of the workspace has a user.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

use crate::files::{no_findings, root};

/// Our crates and what each may use. A new arrow is the rarest kind of change: think of moving the code first.
/// No library knows a service; the engines know no wire format; `model` and `journal` know nobody.
const ARROWS: [(&str, &[&str]); 11] = [
    ("model", &[]),
    ("wire", &["model"]),
    ("journal", &[]),
    ("daemon", &["model", "wire"]),
    ("tsdb", &["model", "journal"]),
    ("promql", &["model"]),
    ("rules", &["model", "promql"]),
    ("edge-scraper", &["model", "wire", "journal", "daemon"]),
    ("alert-router", &["model", "wire", "journal", "daemon"]),
    (
        "hub",
        &[
            "model",
            "wire",
            "journal",
            "daemon",
            "tsdb",
            "promql",
            "rules",
            "edge-scraper",
            "alert-router",
        ],
    ),
    (
        "tests",
        &[
            "model",
            "wire",
            "journal",
            "daemon",
            "tsdb",
            "promql",
            "rules",
            "edge-scraper",
            "alert-router",
            "hub",
        ],
    ),
];

fn packages() -> Vec<Value> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let answer = Command::new(cargo)
        .args([
            "metadata",
            "--no-deps",
            "--format-version",
            "1",
            "--offline",
        ])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(
        answer.status.success(),
        "cargo metadata: {}",
        String::from_utf8_lossy(&answer.stderr)
    );
    let metadata: Value = serde_json::from_slice(&answer.stdout).expect("cargo metadata is JSON");
    metadata["packages"].as_array().expect("packages").clone()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or("")
}

fn dependencies(package: &Value) -> impl Iterator<Item = &Value> {
    package["dependencies"].as_array().into_iter().flatten()
}

#[test]
fn crates_use_only_what_they_may() {
    let arrows: BTreeMap<&str, &[&str]> = ARROWS.into_iter().collect();
    let mut findings = Vec::new();
    for package in packages() {
        let name = text(&package, "name");
        let Some(allowed) = arrows.get(name) else {
            findings.push(format!("{name} is not in the list"));
            continue;
        };
        for dependency in dependencies(&package) {
            let used = text(dependency, "name");
            // A test may use what the crate may not: tests of rules may stand on a real store.
            let for_tests = text(dependency, "kind") == "dev";
            if arrows.contains_key(used) && !for_tests && !allowed.contains(&used) {
                findings.push(format!("{name} -> {used}"));
            }
        }
    }
    no_findings(
        &findings,
        "a crate uses another that it may not. Move the code to where both may see it, or hand the thing in through a trait of the \
         using crate; only if the design itself changes, change ARROWS in tests/tidy/arrows.rs and say why in the commit:",
    );
}

#[test]
fn the_list_of_arrows_names_only_crates_that_exist() {
    let packages = packages();
    let found: BTreeSet<&str> = packages
        .iter()
        .map(|package| text(package, "name"))
        .collect();
    let listed: BTreeSet<&str> = ARROWS.into_iter().map(|(name, _)| name).collect();
    assert_eq!(
        found, listed,
        "ARROWS in tests/tidy/arrows.rs and the members of the workspace differ"
    );
}

#[test]
fn every_dependency_of_the_workspace_has_a_user() {
    let packages = packages();
    let used: BTreeSet<&str> = packages
        .iter()
        .flat_map(|package| dependencies(package).map(|dependency| text(dependency, "name")))
        .collect();
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).expect("the root manifest");
    let section = manifest
        .split("[workspace.dependencies]")
        .nth(1)
        .expect("a section of dependencies");
    let section = section.split("\n[").next().unwrap_or(section);
    let findings: Vec<String> = section
        .lines()
        // Our own crates stand there so that all name them in one way.
        .filter(|line| !line.starts_with('#') && !line.contains("path = "))
        .filter_map(|line| line.split_once('=').map(|(name, _)| name.trim().to_owned()))
        .filter(|name| !used.contains(name.as_str()))
        .collect();
    no_findings(
        &findings,
        "nobody uses these; take them out of [workspace.dependencies] in Cargo.toml:",
    );
}

#[test]
fn every_crate_takes_versions_and_lints_from_the_workspace() {
    let mut findings = Vec::new();
    for package in packages() {
        let (name, path) = (text(&package, "name"), text(&package, "manifest_path"));
        let manifest =
            std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"));
        if !manifest.contains("[lints]\nworkspace = true") {
            findings.push(format!(
                "{name}: no [lints] workspace = true: unsafe code would be allowed"
            ));
        }
        for line in manifest
            .lines()
            .filter(|line| line.contains("version = \"") && !line.contains("workspace"))
        {
            findings.push(format!(
                "{name}: {line}: the version belongs into the root Cargo.toml"
            ));
        }
        if text(&package, "license") != "Apache-2.0" {
            findings.push(format!("{name}: no license.workspace = true"));
        }
    }
    no_findings(
        &findings,
        "versions and lints are set once, in the root Cargo.toml:",
    );
}
