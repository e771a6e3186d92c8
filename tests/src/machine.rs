//! A machine that has everything: the files of `/proc`, `/sys` and `/` that the node collector's tests use, as folders.

use std::path::Path;

use crate::checkout;

/// Unpacks it into `folder`: `proc`, `sys` and `root` are there then.
///
/// # Panics
/// When it cannot be read or written.
pub fn unpack(folder: &Path) {
    let archive = checkout::root().join("edge-scraper/src/collect/node/fixtures/machine.txt");
    let archive = std::fs::read_to_string(&archive)
        .unwrap_or_else(|error| panic!("{}: {error}", archive.display()));
    // A file stands below a line `## path`, a link in a line `## path -> target`.
    for part in archive.split("## ").skip(1) {
        let (path, text) = part.split_once('\n').expect("a line with a path");
        let (path, target) = match path.split_once(" -> ") {
            Some((path, target)) => (path, Some(target)),
            None => (path, None),
        };
        let path = folder.join(path);
        let parent = path.parent().expect("a folder");
        std::fs::create_dir_all(parent).expect("a folder");
        match target {
            Some(target) => std::os::unix::fs::symlink(target, &path).expect("a link"),
            None => std::fs::write(&path, text).expect("a file"),
        }
    }
}
