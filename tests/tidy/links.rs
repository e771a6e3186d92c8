//! Links in our texts lead somewhere.

use std::path::Path;

use crate::files::{all, no_findings, root};

/// The targets of `[text](target)` outside code.
fn targets(markdown: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut in_code = false;
    for line in markdown.lines() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        if in_code {
            continue;
        }
        // Every second piece stands between backticks.
        for piece in line.split('`').step_by(2) {
            let mut rest = piece;
            while let Some(at) = rest.find("](") {
                rest = &rest[at + 2..];
                if let Some(end) = rest.find(')') {
                    found.push(rest[..end].trim().to_owned());
                    rest = &rest[end..];
                }
            }
        }
    }
    found
}

#[test]
fn links_between_our_files_lead_to_files() {
    let root = root();
    let mut findings = Vec::new();
    for file in all().iter().filter(|file| file.is("md")) {
        let folder = root.join(Path::new(&file.path).parent().unwrap_or(Path::new("")));
        for target in targets(&file.text) {
            let path = target.split('#').next().unwrap_or("");
            if path.is_empty() || path.contains("://") || path.starts_with("mailto:") {
                continue;
            }
            if !folder.join(path).exists() {
                findings.push(format!("{}: {target}", file.path));
            }
        }
    }
    no_findings(&findings, "these links lead nowhere:");
}

#[test]
fn links_are_found_outside_code_only() {
    let text = "see [a](b.md#c) and `[x](y)`\n```\n[p](q)\n```\n[d](e)[f](g)";
    assert_eq!(targets(text), ["b.md#c", "e", "g"]);
}
