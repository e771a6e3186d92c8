//! Runs the upstream scripts and our own against an in-memory storage.

use std::path::{Path, PathBuf};

use promql::script::{MemoryTarget, Report, engine_options, run, shared_folder};
use promql::{Engine, EngineOptions};

/// Cases of each upstream script that pass. May only rise.
const FLOORS: [(&str, usize); 21] = [
    ("aggregators.test", 111),
    ("at_modifier.test", 54),
    ("collision.test", 2),
    ("duration_expression.test", 39),
    ("extended_vectors.test", 114),
    ("fill-modifier.test", 32),
    ("functions.test", 300),
    ("histograms.test", 125),
    ("info.test", 36),
    ("limit.test", 25),
    ("literals.test", 17),
    ("name_label_dropping.test", 21),
    ("native_histograms.test", 354),
    ("operators.test", 149),
    ("range_queries.test", 12),
    ("selectors.test", 20),
    ("staleness.test", 12),
    ("start_timestamps.test", 18),
    ("subquery.test", 23),
    ("trig_functions.test", 15),
    ("type_and_unit.test", 39),
];

fn run_file(path: &Path, options: EngineOptions) -> Report {
    let script = std::fs::read_to_string(path).unwrap();
    let engine = Engine::new(options);
    run(&script, &mut MemoryTarget::default(), &engine)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Prints a line per failing case, and last how many passed and failed.
fn show(path: &Path, report: &Report) {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    for failure in &report.failures {
        println!("{name} {failure}");
    }
    let (passed, failed) = (report.passed, report.failures.len());
    println!("{name}: {passed} passed, {failed} failed");
}

fn own_scripts() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
    let entries = std::fs::read_dir(folder).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

#[test]
fn upstream_scripts() {
    let Some(shared) = shared_folder() else {
        eprintln!("skipped: no shared/promqltest beside the checkout");
        return;
    };
    let mut below = Vec::new();
    let (mut passed, mut failed) = (0, 0);
    for (name, floor) in FLOORS {
        let path = shared.join("promqltest").join(name);
        let report = run_file(&path, engine_options());
        show(&path, &report);
        passed += report.passed;
        failed += report.failures.len();
        if report.passed < floor {
            below.push(format!("{name}: {} passed, floor {floor}", report.passed));
        }
    }
    println!("{passed} passed, {failed} failed");
    assert!(below.is_empty(), "{below:?}");
}

#[test]
fn own_scripts_pass() {
    for path in own_scripts() {
        let early = path.ends_with("names_dropped_early.test");
        let options = EngineOptions {
            delayed_name_removal: !early,
            ..engine_options()
        };
        let report = run_file(&path, options);
        show(&path, &report);
        assert!(
            report.failures.is_empty() && report.passed > 0,
            "{}",
            path.display()
        );
    }
}

/// A runner that lets everything pass would be worth nothing.
#[test]
fn wrong_expectations_fail() {
    let check = |case: &str, failures: usize| {
        let script = format!(
            "load 1m\n  up{{a=\"1\"}} 1 2 3\n  up{{a=\"2\"}} 5 6 7\n  h {{{{sum:1 count:1 buckets:[1]}}}}\n\n{case}"
        );
        let engine = Engine::new(engine_options());
        let report = run(&script, &mut MemoryTarget::default(), &engine).unwrap();
        assert_eq!(
            (report.failures.len(), report.passed),
            (failures, 1 - failures),
            "{case}"
        );
    };
    check("eval instant at 1m up{a=\"1\"}\n up{a=\"1\"} 2", 0);
    check("eval instant at 1m up{a=\"1\"}\n up{a=\"1\"} 2.001", 1);
    check("eval instant at 1m up{a=\"1\"}\n up 2", 1);
    check("eval instant at 1m up\n up{a=\"1\"} 2", 1);
    check(
        "eval instant at 1m up{a=\"1\"}\n up{a=\"1\"} 2\n up{a=\"2\"} 6",
        1,
    );
    check("eval instant at 1m up{a=\"1\"}\n expect fail", 1);
    check("eval instant at 1m up + on () up\n expect fail", 0);
    check("eval instant at 1m up + on () up", 1);
    check(
        "eval instant at 1m up + on () up\n expect fail msg: another",
        1,
    );
    check(
        "eval instant at 1m sort_desc(up)\n expect ordered\n up{a=\"1\"} 2\n up{a=\"2\"} 6",
        1,
    );
    check(
        "eval instant at 1m sort_desc(up)\n expect ordered\n up{a=\"2\"} 6\n up{a=\"1\"} 2",
        0,
    );
    check(
        "eval instant at 1m rate(up{a=\"1\"}[2m])\n expect no_info\n {a=\"1\"} 0.0166666667",
        1,
    );
    check(
        "eval instant at 1m rate(up{a=\"1\"}[2m])\n expect info\n {a=\"1\"} 0.0166666667",
        0,
    );
    check(
        "eval instant at 1m rate(up{a=\"1\"}[2m])\n expect warn\n {a=\"1\"} 0.0166666667",
        1,
    );
    check(
        "eval range from 0 to 2m step 1m up{a=\"1\"}\n up{a=\"1\"} 1 2 3",
        0,
    );
    check(
        "eval range from 0 to 2m step 1m up{a=\"1\"}\n up{a=\"1\"} 1 2",
        1,
    );
    check(
        "eval range from 0 to 2m step 1m up{a=\"1\"}\n up{a=\"1\"} 1 _ 3",
        1,
    );
    check("eval instant at 0 h\n h {{sum:1 count:1 buckets:[1]}}", 0);
    check("eval instant at 0 h\n h {{sum:1 count:1 buckets:[2]}}", 1);
    check(
        "eval instant at 0 h\n h {{sum:1 count:1 buckets:[1] offset:1}}",
        1,
    );
    check(
        "eval instant at 0 h\n h {{sum:1 count:1 buckets:[1] counter_reset_hint:gauge}}",
        1,
    );
    check("eval instant at 0 h\n h 1", 1);
    check("eval instant at 0 1 + 1\n 2", 0);
    check("eval instant at 0 1 + 1\n 3", 1);
    check("eval instant at 0 \"a\"\n expect string \"b\"", 1);
    check("eval instant at 0 up +\n expect fail", 0);
    check("eval instant at 0 up +", 1);
}
