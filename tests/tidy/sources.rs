//! What no source may contain, with the places that may, and why.

use crate::files::{SourceFile, all, no_findings};

/// Something that no source contains outside its exceptions.
struct Ban {
    /// Any of these texts, in code (not in comments).
    texts: &'static [&'static str],
    /// Whether test code may.
    tests_may: bool,
    /// What to do in its place.
    instead: &'static str,
    /// (beginning of the path, the reason).
    except: &'static [(&'static str, &'static str)],
}

const BANS: [Ban; 8] = [
    Ban {
        texts: &[
            "SystemTime::now",
            "Instant::now",
            "Timestamp::now(",
            "Zoned::now",
        ],
        tests_may: true,
        instead: "take the time from daemon's Clock, or as an argument, so that a simulation can replay it",
        except: &[
            (
                "hub/daemon/src/clock.rs",
                "the one place that reads the clocks",
            ),
            (
                "edge-scraper/src/collect/node/",
                "the machine's clock and the collectors' durations are what it measures",
            ),
            (
                "hub/tsdb/examples/",
                "they measure how long the store's parts take",
            ),
        ],
    },
    Ban {
        texts: &["tokio::spawn(", "tokio::task::spawn(", "task::spawn_local("],
        tests_may: true,
        instead: "give the task an owner: daemon's Tasks, or a JoinSet or TaskTracker that is awaited",
        except: &[],
    },
    Ban {
        texts: &[
            "unbounded_channel",
            "mpsc::unbounded",
            "std::sync::mpsc::channel",
        ],
        tests_may: true,
        instead: "bound the queue and say what happens when it is full",
        except: &[],
    },
    Ban {
        texts: &["#[ignore"],
        tests_may: false,
        instead: "a test that does not run is no test: mend it, take it out, or let it say why it was left out",
        except: &[],
    },
    Ban {
        texts: &["#[allow(", "#![allow("],
        tests_may: false,
        instead: "write #[expect(lint, reason = \"...\")], which goes away with its cause",
        except: &[],
    },
    Ban {
        texts: &["todo!(", "unimplemented!(", "dbg!("],
        tests_may: false,
        instead: "finish it, or return an error that says what is not there yet",
        except: &[],
    },
    Ban {
        texts: &["process::exit("],
        tests_may: false,
        instead: "return an ExitCode from main: exit skips every destructor and the ordered shutdown",
        except: &[],
    },
    Ban {
        texts: &["thread::sleep(", "time::sleep("],
        tests_may: true,
        instead: "wait on daemon's Clock or on what is to happen, so that a simulation can replay it",
        except: &[
            ("hub/daemon/src/clock.rs", "the clock that others wait on"),
            (
                "hub/src/demo/link.rs",
                "the demo's links are real ports, tried again in real time",
            ),
        ],
    },
];

/// This folder names what it looks for.
const TIDY: &str = "tests/tidy/";

/// The paths that hold nothing but test code: folders and files of tests, and what a `#[cfg(test)] mod name;` names.
fn test_paths(files: &[SourceFile]) -> Vec<String> {
    let mut paths = Vec::new();
    for file in files.iter().filter(|file| file.is("rs")) {
        let folder = match file.path.rsplit_once('/') {
            Some((folder, "mod.rs" | "lib.rs" | "main.rs")) => folder.to_owned(),
            _ => file.path.trim_end_matches(".rs").to_owned(),
        };
        let lines: Vec<&str> = file.text.lines().collect();
        for pair in lines
            .windows(2)
            .filter(|pair| pair[0].trim() == "#[cfg(test)]")
        {
            if let Some(name) = pair[1]
                .trim()
                .strip_prefix("mod ")
                .and_then(|rest| rest.strip_suffix(';'))
            {
                paths.push(format!("{folder}/{name}.rs"));
                paths.push(format!("{folder}/{name}/"));
            }
        }
    }
    paths
}

fn is_test_file(path: &str, test_paths: &[String]) -> bool {
    path.starts_with("tests/")
        || path.contains("/tests/")
        || path.contains("/benches/")
        || test_paths
            .iter()
            .any(|test| path.starts_with(test.as_str()))
}

/// The lines of a source that count: (number, text), without comments and, if asked, without the test module at its end.
fn code(file: &SourceFile, with_tests: bool) -> impl Iterator<Item = (usize, &str)> {
    let end = file
        .text
        .find("#[cfg(test)]\nmod tests {")
        .filter(|_| !with_tests)
        .unwrap_or(file.text.len());
    file.text[..end]
        .lines()
        .enumerate()
        .map(|(number, line)| (number + 1, line))
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
}

#[test]
fn sources_contain_nothing_that_is_banned() {
    let files = all();
    let test_paths = test_paths(&files);
    let mut findings = Vec::new();
    for ban in &BANS {
        for file in files
            .iter()
            .filter(|file| file.is("rs") && !file.path.starts_with(TIDY))
        {
            if ban.tests_may && is_test_file(&file.path, &test_paths) {
                continue;
            }
            if ban
                .except
                .iter()
                .any(|(path, _)| file.path.starts_with(path))
            {
                continue;
            }
            for (number, line) in code(file, !ban.tests_may) {
                if let Some(text) = ban.texts.iter().find(|text| line.contains(**text)) {
                    findings.push(format!("{}:{number}: {text} - {}", file.path, ban.instead));
                }
            }
        }
    }
    no_findings(
        &findings,
        "banned here; where there is a good reason, add the file and the reason to BANS in tests/tidy/sources.rs:",
    );
}

#[test]
fn exceptions_are_still_needed() {
    let files = all();
    let mut findings = Vec::new();
    for ban in &BANS {
        for (path, reason) in ban.except {
            let needed = files
                .iter()
                .filter(|file| file.path.starts_with(path))
                .any(|file| {
                    code(file, !ban.tests_may)
                        .any(|(_, line)| ban.texts.iter().any(|text| line.contains(text)))
                });
            if !needed {
                findings.push(format!("{path} ({reason})"));
            }
        }
    }
    no_findings(
        &findings,
        "these exceptions in tests/tidy/sources.rs excuse nothing any more; take them out:",
    );
}

#[test]
fn lint_exceptions_have_a_reason() {
    let mut findings = Vec::new();
    for file in all()
        .iter()
        .filter(|file| file.is("rs") && !file.path.starts_with(TIDY))
    {
        for (at, _) in file
            .text
            .match_indices("#[expect(")
            .chain(file.text.match_indices("#![expect("))
        {
            let end = file.text[at..]
                .find(")]")
                .map_or(file.text.len(), |end| at + end);
            if !file.text[at..end].contains("reason") {
                let line = file.text[..at].lines().count() + 1;
                findings.push(format!("{}:{line}", file.path));
            }
        }
    }
    no_findings(&findings, "say why: #[expect(lint, reason = \"...\")]:");
}

#[test]
fn nothing_names_a_place_on_one_machine() {
    // Put together here, so that this file does not contain them.
    let places = [
        concat!("/work", "/main"),
        concat!("/work", "/shared"),
        concat!("/tmp", "/bl/"),
        concat!("/root", "/."),
        concat!("/Users", "/"),
    ];
    let mut findings = Vec::new();
    for file in all() {
        for (number, line) in file.text.lines().enumerate() {
            if let Some(place) = places.iter().find(|place| line.contains(**place)) {
                findings.push(format!("{}:{}: {place}", file.path, number + 1));
            }
        }
    }
    no_findings(
        &findings,
        "these paths exist on one machine only; find the place from CARGO_MANIFEST_DIR or an argument:",
    );
}

#[test]
fn nothing_is_left_for_later() {
    let words = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("XX", "X:"),
    ];
    let mut findings = Vec::new();
    for file in all()
        .iter()
        .filter(|file| file.is("rs") || file.is("md") || file.is("toml") || file.is("yml"))
    {
        for (number, line) in file.text.lines().enumerate() {
            if let Some(word) = words.iter().find(|word| line.contains(**word)) {
                findings.push(format!("{}:{}: {word}", file.path, number + 1));
            }
        }
    }
    no_findings(&findings, "do it now, or file it as an issue:");
}
