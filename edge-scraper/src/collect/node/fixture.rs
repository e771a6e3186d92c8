//! Fixture trees for the tests of the collectors beside this file.

use std::path::Path;

use super::page::Page;
use super::roots::{PartError, Roots};

/// The machine that has everything: files of `/proc`, `/sys` and `/` one after the other, each below a line `## path`, a link
/// below none.
const MACHINE: &str = include_str!("fixtures/machine.txt");

/// A folder with `proc`, `sys` and `root` in it.
pub(super) struct Fixture {
    folder: tempfile::TempDir,
}

impl Fixture {
    /// Writes `files`, given by their path below the folder.
    pub(super) fn new(files: &[(&str, &str)]) -> Fixture {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        Fixture { folder }
    }

    /// The machine that has everything.
    pub(super) fn machine() -> Fixture {
        let (mut files, mut links) = (Vec::new(), Vec::new());
        for part in MACHINE.split("## ").skip(1) {
            let (path, text) = part.split_once('\n').unwrap();
            match path.split_once(" -> ") {
                Some(link) => links.push(link),
                None => files.push((path, text)),
            }
        }
        let fixture = Fixture::new(&files);
        for (path, target) in links {
            let path = fixture.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::os::unix::fs::symlink(target, path).unwrap();
        }
        fixture
    }

    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(super) fn roots(&self) -> Roots {
        Roots {
            proc: self.path().join("proc"),
            sys: self.path().join("sys"),
            root: self.path().join("root"),
        }
    }
}

/// Collects over a fixture tree and compares the page's rows (without HELP and TYPE), then the error if there is one.
#[track_caller]
pub(super) fn check(
    read: impl Fn(&Roots, &mut Page) -> Result<(), PartError>,
    files: &[(&str, &str)],
    expected: &str,
) {
    let fixture = Fixture::new(files);
    let mut page = Page::default();
    let result = read(&fixture.roots(), &mut page);
    let mut found = String::new();
    for line in page.text().lines().filter(|line| !line.starts_with('#')) {
        found.push_str(line);
        found.push('\n');
    }
    if let Err(error) = result {
        let folder = format!("{}/", fixture.path().display());
        found.push_str(&format!(
            "error {}\n",
            error.to_string().replace(&folder, "")
        ));
    }
    assert_eq!(found, expected);
}
