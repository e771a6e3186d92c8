//! Where are the checkout, our own binaries, and what the person running the tests asked for?

use std::path::{Path, PathBuf};

/// The root of the checkout: the folder that holds `tests/`.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the tests package lies in a folder of the checkout")
        .to_path_buf()
}

/// One of our binaries (`hub`, `edge-scraper`, `alert-router`), of the same build as the running test.
///
/// # Panics
/// When it has not been built: `cargo test -p tests` alone builds only the tests.
pub fn binary(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a running test has a path");
    let path = test
        .parent()
        .and_then(Path::parent)
        .expect("a test lies in target/PROFILE/deps")
        .join(name);
    assert!(
        path.exists(),
        "{} has not been built: run tests/run, or cargo build --workspace --all-targets",
        path.display()
    );
    path
}

/// Whether the long versions were asked for (`tests/run --all`).
pub fn long_versions() -> bool {
    std::env::var_os("BRANCHLINE_TESTS_ALL").is_some_and(|value| value == "true")
}

/// Whether nothing may be left out.
pub fn in_ci() -> bool {
    std::env::var_os("CI").is_some_and(|value| value == "true")
}
