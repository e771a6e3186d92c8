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
    let mut failing = Vec::new();
    for path in own_scripts() {
        let early = path.ends_with("names_dropped_early.test");
        let options = EngineOptions {
            delayed_name_removal: !early,
            ..engine_options()
        };
        let report = run_file(&path, options);
        show(&path, &report);
        if !report.failures.is_empty() || report.passed == 0 {
            failing.push(path);
        }
    }
    assert!(failing.is_empty(), "{failing:?}");
}

/// A runner that lets everything pass would be worth nothing.
#[test]
fn wrong_expectations_fail() {
    let check = |case: &str, failures: usize| {
        let script = format!(
            "load 1m\n  up{{a=\"1\"}} 1 2 3\n  up{{a=\"2\"}} 5 6 7\n  h {{{{sum:1 count:1 buckets:[1]}}}}\n\n{case}"
        );
        let engine = Engine::new(engine_options());
        let report = run(&script, &mut MemoryTarget::default(), &engine);
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

/// A mistake in one block is told with its line, and the rest of the script runs.
#[test]
fn mistakes_of_a_script_are_told() {
    let check = |script: &str, line: usize, passed: usize, text: &str| {
        let engine = Engine::new(engine_options());
        let report = run(script, &mut MemoryTarget::default(), &engine);
        assert_eq!(
            (report.failures.len(), report.passed),
            (1, passed),
            "{script}"
        );
        let failure = report.failures[0].to_string();
        assert!(
            failure.starts_with(&format!("line {line}: ")) && failure.contains(text),
            "{script}: {failure}"
        );
    };
    check(
        "frob 1m\n a 1\n\neval instant at 0 1\n 1",
        1,
        1,
        "invalid command",
    );
    check("load 1y1m1y\n a 1\n\neval instant at 0 1\n 1", 1, 1, "");
    check("load 1m\n a@st _\n", 2, 0, "no sample line");
    check("load 1m\n a@st _ _\n a 1\n", 3, 0, "another series");
    check(
        "eval instant at 0 1\n expect warn\n expect no_warn\n 1",
        3,
        0,
        "at once",
    );
    check(
        "eval instant at 0 a\n expect fail\n expect fail",
        3,
        0,
        "two",
    );
    check("eval instant at 0 a\n a 1 2", 2, 0, "range vector");
    check(
        "eval range from 2m to 1m step 1m 1\n {} 1",
        1,
        0,
        "before the start",
    );
    check(
        "eval instant at 0 a\n expect nothing",
        2,
        0,
        "invalid expectation",
    );
}

/// Start timestamps for all series of a block, and the last one again.
#[test]
fn start_timestamps_of_a_whole_block() {
    let script = "load 1m
  @st -30s
  a_total 10 20 30 40
  b_total@st _ -1m *x1
  b_total 10 20 30 40

load 1m
  c_total@st _ -1m -1m -1m
  c_total 10 20 30 40
  d_total@st -30sx3
  d_total 10 20 30 40

eval instant at 3m increase(a_total[3m1ms]) - on () increase(d_total[3m1ms])
  {} 0

eval instant at 3m increase(b_total[3m1ms]) - on () increase(c_total[3m1ms])
  {} 0

eval instant at 0 16
  0x10
";
    let engine = Engine::new(engine_options());
    let report = run(script, &mut MemoryTarget::default(), &engine);
    assert_eq!(
        (report.passed, report.failures.len()),
        (3, 0),
        "{:?}",
        report.failures
    );
}
