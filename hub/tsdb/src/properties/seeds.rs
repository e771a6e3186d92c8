//! Numbered cases: a seed is a case, the same everywhere, so that a failure found in a long run is one command to repeat.
//!
//! `BRANCHLINE_SEEDS=10000` runs the seeds 0 to 9,999 instead of the few hundred that take seconds, `BRANCHLINE_SEEDS=4711..4712`
//! those of a range. BRANCHLINE_TESTS_ALL=true runs twenty times the usual: 10,000 of what takes milliseconds.

use std::fmt::Debug;

use proptest::{
    strategy::Strategy,
    test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner},
};

const ALL_FACTOR: u64 = 20;

/// Checks a property for each seed; the first that fails is made smaller and shown.
pub(super) fn check<T: Debug>(
    name: &str,
    few: u64,
    strategy: impl Strategy<Value = T>,
    property: impl Fn(T) -> Result<(), String>,
) {
    for seed in journal::sim::seeds(0..few, ALL_FACTOR) {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let config = Config {
            cases: 1,
            failure_persistence: None,
            max_shrink_iters: 4096,
            ..Config::default()
        };
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
        let run = TestRunner::new_with_rng(config, rng).run(&strategy, |case| {
            property(case).map_err(TestCaseError::fail)
        });
        match run {
            Ok(()) => {}
            Err(TestError::Fail(reason, case)) => panic!(
                "seed {seed}: {reason}\n{case:?}\nagain: BRANCHLINE_SEEDS={seed}..{} cargo test -p tsdb {name}",
                seed + 1
            ),
            Err(TestError::Abort(reason)) => panic!("seed {seed}: {reason}"),
        }
    }
}
