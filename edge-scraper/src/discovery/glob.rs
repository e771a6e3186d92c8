//! Files by a pattern whose last part may have `*` and `?`.

use std::path::{Path, PathBuf};

/// The files that match, sorted, at most `max`. A pattern without `*` and `?` names itself, if it is there.
///
/// # Errors
///
/// A folder that cannot be read (a missing one has no files), or more than `max` matches.
pub fn find(pattern: &Path, max: usize) -> Result<Vec<PathBuf>, String> {
    let name = pattern
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    if !name.contains(['*', '?']) {
        return Ok(if pattern.is_file() {
            vec![pattern.to_owned()]
        } else {
            Vec::new()
        });
    }
    let folder = match pattern.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed)?;
        let matched = entry
            .file_name()
            .to_str()
            .is_some_and(|file| matches(name.as_bytes(), file.as_bytes()));
        if matched && entry.path().is_file() {
            if found.len() == max {
                return Err(format!(
                    "{}: more than {max} files match",
                    pattern.display()
                ));
            }
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

/// Whether the whole name matches. As in shells a leading dot must be written. Linear in memory, at worst the product of
/// both lengths in time.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    if name.first() == Some(&b'.') && pattern.first() != Some(&b'.') {
        return false;
    }
    let (mut p, mut n) = (0, 0);
    // Where the last `*` stood, and how much of the name it has taken so far.
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(&c) if c == b'?' || c == name[n] => {
                p += 1;
                n += 1;
            }
            _ => match &mut star {
                Some((at, taken)) => {
                    *taken += 1;
                    (p, n) = (*at + 1, *taken);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_and_question_marks() {
        let check = |pattern: &str, name: &str, expected| {
            assert_eq!(
                matches(pattern.as_bytes(), name.as_bytes()),
                expected,
                "{pattern} {name}"
            );
        };
        for (pattern, name) in [
            ("*.yml", "a.yml"),
            ("a*b*c", "axxbyybc"),
            ("?.json", "a.json"),
            ("*", ""),
            ("a*", "a"),
            (".*", ".x"),
        ] {
            check(pattern, name, true);
        }
        for (pattern, name) in [
            ("*.yml", "a.json"),
            ("a*b", "ac"),
            ("?", ""),
            ("*", ".hidden"),
            ("a", "ab"),
            ("ab", "a"),
        ] {
            check(pattern, name, false);
        }
    }

    #[test]
    fn files_only_and_not_too_many() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.yml", "a.yml", "c.txt"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        std::fs::create_dir(folder.path().join("d.yml")).unwrap();
        let pattern = folder.path().join("*.yml");
        assert_eq!(
            find(&pattern, 2).unwrap(),
            [folder.path().join("a.yml"), folder.path().join("b.yml")]
        );
        assert!(find(&pattern, 1).unwrap_err().contains("more than 1"));
        assert!(
            find(&folder.path().join("none/*.yml"), 1)
                .unwrap()
                .is_empty()
        );
        assert!(find(&folder.path().join("none.yml"), 1).unwrap().is_empty());
    }
}
