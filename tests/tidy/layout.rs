//! What lies where, and that a newcomer finds it.

use std::collections::BTreeSet;

use crate::files::{all, no_findings, root};

/// The top level belongs to the user: these entries, and dotfiles.
const TOP_LEVEL: [&str; 11] = [
    "CHANGELOG.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "README.zh-CN.md",
    "alert-router",
    "dashboards",
    "edge-scraper",
    "hub",
    "tests",
];

/// Longer source files hold more than one idea.
const LINES_MAX: usize = 900;

fn crate_folders() -> Vec<String> {
    let mut folders: Vec<String> = all()
        .iter()
        .filter_map(|file| file.path.strip_suffix("/Cargo.toml").map(str::to_owned))
        .collect();
    folders.sort();
    folders
}

#[test]
fn the_top_level_has_only_what_was_agreed() {
    let found: BTreeSet<String> = all()
        .iter()
        .filter_map(|file| file.path.split('/').next().map(str::to_owned))
        .filter(|entry| !entry.starts_with('.'))
        .collect();
    let agreed: BTreeSet<String> = TOP_LEVEL.into_iter().map(str::to_owned).collect();
    let findings: Vec<String> = found.symmetric_difference(&agreed).cloned().collect();
    no_findings(
        &findings,
        "the top level is fixed: put new things into a crate or a dotfile, and keep what is there:",
    );
}

#[test]
fn every_crate_says_which_question_it_answers() {
    let root = root();
    let findings: Vec<String> = crate_folders()
        .into_iter()
        .filter(|folder| {
            let header = |file: &str| {
                let text =
                    std::fs::read_to_string(root.join(folder).join(file)).unwrap_or_default();
                let lines: Vec<&str> = text
                    .lines()
                    .take_while(|line| line.starts_with("//!"))
                    .collect();
                lines.join(" ").contains('?')
            };
            let readme = std::fs::read_to_string(root.join(folder).join("README.md"))
                .is_ok_and(|text| text.contains('?'));
            !(readme || header("src/lib.rs") || header("src/main.rs"))
        })
        .collect();
    no_findings(
        &findings,
        "a crate's README.md, or the //! header of its src/lib.rs, begins with the question that the crate answers:",
    );
}

#[test]
fn the_map_in_the_readme_names_every_crate() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap_or_default();
    let mut findings: Vec<String> = crate_folders()
        .into_iter()
        .filter(|folder| !readme.contains(folder.as_str()))
        .collect();
    if !readme.contains("dashboards") {
        findings.push("dashboards".to_owned());
    }
    no_findings(&findings, "the map in README.md does not name:");
}

#[test]
fn source_files_are_short() {
    let findings: Vec<String> = all()
        .iter()
        .filter(|file| {
            file.is("rs")
                || file.is("md")
                || file.is("sh")
                || file.is("html")
                || file.is("js")
                || file.is("css")
        })
        .map(|file| (file, file.text.lines().count()))
        .filter(|(_, lines)| *lines > LINES_MAX)
        .map(|(file, lines)| format!("{}: {lines} lines", file.path))
        .collect();
    no_findings(
        &findings,
        "one idea a file: split what has more than 900 lines:",
    );
}
