//! Which group a path names: `job/<job>{/<label>/<value>}`, where `<label>@base64` says that the value is in base64.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use model::{JOB, LabelSet, is_legacy_label_name};

const BASE64_SUFFIX: &str = "@base64";
const RESERVED_PREFIX: &str = "__";
/// Longest path; far above what a name of a job and its labels need.
const PATH_BYTES_MAX: usize = 4096;

/// The labels of a group.
///
/// # Errors
/// What the path lacks.
pub(crate) fn parse(path: &str) -> Result<LabelSet, String> {
    if path.len() > PATH_BYTES_MAX {
        return Err(format!("the path is longer than {PATH_BYTES_MAX} bytes"));
    }
    let mut parts: Vec<&str> = path.split('/').collect();
    // A slash behind the job is forgiven, as the Pushgateway does.
    if parts.len() == 3 && parts[2].is_empty() {
        parts.pop();
    }
    if !parts.len().is_multiple_of(2) {
        return Err(format!(
            "odd number of components in label string {path:?}: it is job/JOB and then /LABEL/VALUE any number of times"
        ));
    }
    let mut labels = LabelSet::empty().builder();
    for (index, pair) in parts.chunks_exact(2).enumerate() {
        let (name, value) = (decode(pair[0])?, pair[1]);
        let (name, value) = match name.strip_suffix(BASE64_SUFFIX) {
            Some(name) => (name.to_owned(), from_base64(name, value)?),
            None => (name, decode(value)?),
        };
        if index == 0 {
            if name != JOB {
                return Err("the path must begin with job/ or job@base64/".to_owned());
            }
            if value.is_empty() {
                return Err("job name is required".to_owned());
            }
        } else if name == JOB {
            // The first one names the job.
            continue;
        }
        if value.contains('\0') {
            return Err(format!(
                "label {name:?}: {value:?} has a NUL byte, which no page may have"
            ));
        }
        if !is_legacy_label_name(&name) || name.starts_with(RESERVED_PREFIX) {
            return Err(format!("improper label name {name:?}"));
        }
        labels.set(name, value);
    }
    Ok(labels.build())
}

fn from_base64(name: &str, value: &str) -> Result<String, String> {
    let bytes = URL_SAFE_NO_PAD
        .decode(decode(value)?.trim_end_matches('='))
        .map_err(|error| format!("label {name:?}: {value:?} is not base64url: {error}"))?;
    String::from_utf8(bytes).map_err(|_| format!("label {name:?}: {value:?} is not UTF-8"))
}

/// Resolves `%XX`.
fn decode(text: &str) -> Result<String, String> {
    let wrong = || format!("{text:?} has a % that is no escape");
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        rest = behind;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digits = rest.get(..2).ok_or_else(wrong)?;
        let digits = std::str::from_utf8(digits).map_err(|_| wrong())?;
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        bytes.push(u8::from_str_radix(digits, 16).map_err(|_| wrong())?);
        rest = &rest[2..];
    }
    String::from_utf8(bytes).map_err(|_| format!("{text:?} is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn random_paths_do_not_panic(path in r"(job|@base64|[a-z/%=_0-9é]){0,20}") {
            if let Ok(labels) = parse(&path) {
                prop_assert!(labels.get(JOB).is_some());
            }
        }
    }

    #[test]
    fn paths_and_what_is_none() {
        let check = |path: &str, expected: &str| {
            let found = parse(path).map_or_else(|error| error, |labels| labels.to_string());
            assert!(found.starts_with(expected), "{path}: {found}");
        };
        check("job/backup", r#"{job="backup"}"#);
        check("job/backup/", r#"{job="backup"}"#);
        check("job/a%20b/host/h%2F1", r#"{host="h/1", job="a b"}"#);
        check("job/titan/name/%CE%A0%CF%81", r#"{job="titan", name="Πρ"}"#);
        check(
            "job/titan/name@base64/zqDPgc6_zrzOt864zrXPjc-C",
            r#"{job="titan", name="Προμηθεύς"}"#,
        );
        check(
            "job@base64/YS9i/path@base64/L3Zhci90bXA=",
            r#"{job="a/b", path="/var/tmp"}"#,
        );
        // An empty value is no label at all.
        check(
            "job/some/first_label@base64/=/second/x",
            r#"{job="some", second="x"}"#,
        );
        check("job/a/job/b", r#"{job="a"}"#);
        check("job/", "job name is required");
        check("job@base64/=", "job name is required");
        check("job/a/b", "odd number of components");
        check("jab/a", "the path must begin with job/");
        check("job/a/b-c/d", "improper label name \"b-c\"");
        check("job/a/__b/d", "improper label name");
        check(
            "job/a/b@base64/***",
            "label \"b\": \"***\" is not base64url",
        );
        check("job/a/b/x%00y", "label \"b\": \"x\\0y\" has a NUL byte");
        check("job@base64/YQBi", "label \"job\": \"a\\0b\" has a NUL byte");
        check("job/a/b/%zz", "\"%zz\" has a %");
        check("job/a/b/%ff", "\"%ff\" is not UTF-8");
        check(&"a".repeat(5000), "the path is longer");
    }
}
