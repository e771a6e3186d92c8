//! `/etc/os-release` (or `/usr/lib/os-release`): name and version of the distribution.

use std::collections::BTreeMap;

use super::page::Page;
use super::roots::{PartError, Roots, Text};

const LABELS: [&str; 12] = [
    "build_id",
    "id",
    "id_like",
    "image_id",
    "image_version",
    "name",
    "pretty_name",
    "variant",
    "variant_id",
    "version",
    "version_codename",
    "version_id",
];

pub(super) fn read(roots: &Roots, page: &mut Page) -> Result<(), PartError> {
    let text = match Text::read_if_there(roots.root.join("etc/os-release"))? {
        Some(text) => text,
        None => Text::read(roots.root.join("usr/lib/os-release")).map_err(PartError::or_no_data)?,
    };
    let values = parse(&text);
    let get = |name: &str| values.get(name).map_or("", String::as_str);
    let labels: Vec<(&str, &str)> = LABELS.iter().map(|name| (*name, get(name))).collect();
    let help = format!(
        "A metric with a constant '1' value labeled by {}.",
        LABELS.join(", ")
    );
    page.gauge("node_os_info", &help).row(&labels, 1.0);
    if let Some(version) = major_minor(get("version_id")).filter(|version| *version > 0.0) {
        page.gauge(
            "node_os_version",
            "Metric containing the major.minor part of the OS version.",
        )
        .row(
            &[
                ("id", get("id")),
                ("id_like", get("id_like")),
                ("name", get("name")),
            ],
            version,
        );
    }
    Ok(())
}

/// Assignments as a shell would read them, names in lower case.
fn parse(text: &Text) -> BTreeMap<String, String> {
    let mut values = BTreeMap::new();
    for line in text.lines().map(str::trim) {
        if line.starts_with('#') {
            continue;
        }
        if let Some((name, value)) = line.split_once('=') {
            values.insert(name.trim().to_ascii_lowercase(), unquote(value.trim()));
        }
    }
    values
}

fn unquote(value: &str) -> String {
    if let Some(inner) = value.strip_prefix('\'').and_then(|v| v.strip_suffix('\'')) {
        return inner.to_owned();
    }
    let Some(inner) = value.strip_prefix('"').and_then(|v| v.strip_suffix('"')) else {
        return value.to_owned();
    };
    let mut out = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        // In double quotes a backslash escapes the next character.
        out.extend(if c == '\\' { chars.next() } else { Some(c) });
    }
    out
}

/// `12.5` of `12.5.1`; `None` for names such as `rolling`.
fn major_minor(version: &str) -> Option<f64> {
    let digits = |text: &str| {
        text.find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len())
    };
    let major = digits(version);
    let mut end = major;
    if version[major..].starts_with('.') {
        end = major + 1 + digits(&version[major + 1..]);
    }
    version[..end].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::super::fixture::check;

    #[test]
    fn quotes_and_versions() {
        check(
            super::read,
            &[(
                "root/usr/lib/os-release",
                "# a comment\nNAME=\"Ubuntu \\\"x\\\"\"\nID=ubuntu\nID_LIKE='debian'\nVERSION_ID=\"20.04.1\"\n",
            )],
            "node_os_info{build_id=\"\",id=\"ubuntu\",id_like=\"debian\",image_id=\"\",image_version=\"\",name=\"Ubuntu \\\"x\\\"\",\
             pretty_name=\"\",variant=\"\",variant_id=\"\",version=\"\",version_codename=\"\",version_id=\"20.04.1\"} 1\n\
             node_os_version{id=\"ubuntu\",id_like=\"debian\",name=\"Ubuntu \\\"x\\\"\"} 20.04\n",
        );
        check(
            super::read,
            &[],
            "error nothing to collect on this machine\n",
        );
        for (version, expected) in [
            ("12", Some(12.0)),
            ("3.19.1", Some(3.19)),
            ("rolling", None),
            ("", None),
            ("7.", Some(7.0)),
        ] {
            assert_eq!(super::major_minor(version), expected, "{version}");
        }
    }
}
