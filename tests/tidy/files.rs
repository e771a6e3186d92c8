//! The files of the repository, as git sees them.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A file of the repository.
pub(crate) struct SourceFile {
    /// From the root, with `/`.
    pub(crate) path: String,
    /// Its text. Empty when it is not text.
    pub(crate) text: String,
}

impl SourceFile {
    pub(crate) fn is(&self, extension: &str) -> bool {
        Path::new(&self.path)
            .extension()
            .is_some_and(|found| found == extension)
    }
}

pub(crate) fn root() -> PathBuf {
    tests::checkout::root()
}

/// All files that git tracks or would track, in the order of their paths.
pub(crate) fn all() -> Vec<SourceFile> {
    let root = root();
    let listed = Command::new("git")
        .args([
            "-c",
            "safe.directory=*",
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ])
        .current_dir(&root)
        .output()
        .expect("git runs");
    assert!(
        listed.status.success(),
        "git ls-files: {}",
        String::from_utf8_lossy(&listed.stderr)
    );
    let mut paths: Vec<String> = listed
        .stdout
        .split(|byte| *byte == 0)
        .filter(|path| !path.is_empty())
        .map(|path| String::from_utf8_lossy(path).into_owned())
        .collect();
    paths.sort();
    paths.dedup();
    paths
        .into_iter()
        // Deleted and not yet committed: git lists it still.
        .filter(|path| root.join(path).is_file())
        .map(|path| {
            let bytes =
                std::fs::read(root.join(&path)).unwrap_or_else(|error| panic!("{path}: {error}"));
            SourceFile {
                path,
                text: String::from_utf8(bytes).unwrap_or_default(),
            }
        })
        .collect()
}

/// Fails with all findings at once.
pub(crate) fn no_findings(findings: &[String], what_to_do: &str) {
    assert!(
        findings.is_empty(),
        "{what_to_do}\n  {}",
        findings.join("\n  ")
    );
}
