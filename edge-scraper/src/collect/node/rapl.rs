//! `/sys/class/powercap`: energy that the CPU's packages, cores and memory took.
//!
//! Since Linux 5.10 only root may read the counters (they leak what runs). As another user there is nothing to collect.

use std::collections::BTreeMap;
use std::io::ErrorKind;

use super::page::Page;
use super::roots::{PartError, Roots, Text, attribute, names};

const MICROJOULES_PER_JOULE: f64 = 1e6;

pub(super) fn read(roots: &Roots, page: &mut Page) -> Result<(), PartError> {
    let folder = roots.sys.join("class/powercap");
    if !folder.is_dir() {
        return Err(PartError::NoData);
    }
    let mut uses = BTreeMap::<String, u32>::new();
    for entry in names(&folder)? {
        let path = folder.join(&entry);
        let Some(full) = attribute(&path.join("name")) else {
            continue; // the control type, a folder without a zone's files
        };
        // `package-1` is number 1 of `package`; zones whose names have no number are counted.
        let (zone, index) = match full.split_once('-') {
            Some((zone, number)) if number.parse::<u32>().is_ok() => {
                (zone.to_owned(), number.parse().unwrap_or_default())
            }
            _ => (full.clone(), uses.get(&full).copied().unwrap_or_default()),
        };
        uses.insert(zone.clone(), index + 1);
        let text = match Text::read(path.join("energy_uj")) {
            Ok(text) => text,
            Err(PartError::Read { source, .. }) if source.kind() == ErrorKind::PermissionDenied => {
                return Err(PartError::NoData);
            }
            Err(error) => return Err(error),
        };
        let joules = text.number(Some(text.trimmed()))? / MICROJOULES_PER_JOULE;
        page.counter(
            &format!("node_rapl_{}_joules_total", metric_name(&zone)),
            &format!("Current RAPL {zone} value in joules"),
        )
        .row(
            &[
                ("index", &index.to_string()),
                ("path", &path.to_string_lossy()),
            ],
            joules,
        );
    }
    Ok(())
}

fn metric_name(zone: &str) -> String {
    let kept = zone.chars().map(|c| match c {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '_' | ':' => c,
        _ => '_',
    });
    kept.collect()
}

#[cfg(test)]
mod tests {
    use super::super::fixture::Fixture;
    use super::*;

    #[test]
    fn zones_by_name_and_number() {
        let zone = "sys/class/powercap/intel-rapl";
        let file = |of: &str, name: &str| format!("{zone}{of}/{name}");
        let files = [
            (file(":0", "name"), "package-0\n"),
            (file(":0", "energy_uj"), "240422366267\n"),
            (file(":0:0", "name"), "core\n"),
            (file(":0:0", "energy_uj"), "118821284256\n"),
            (file(":1", "name"), "package-10\n"),
            (file(":1", "energy_uj"), "0\n"),
            (file(":1:0", "name"), "core\n"),
            (file(":1:0", "energy_uj"), "1\n"),
            (file("", "enabled"), "1\n"),
        ];
        let files: Vec<(&str, &str)> = files
            .iter()
            .map(|(path, text)| (path.as_str(), *text))
            .collect();
        let fixture = Fixture::new(&files);
        let mut page = Page::default();
        read(&fixture.roots(), &mut page).unwrap();
        let folder = format!("{}/", fixture.path().join("sys/class/powercap").display());
        let page = page.text().replace(&folder, "");
        let rows: Vec<&str> = page.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            rows,
            [
                "node_rapl_core_joules_total{index=\"0\",path=\"intel-rapl:0:0\"} 118821.284256",
                "node_rapl_core_joules_total{index=\"1\",path=\"intel-rapl:1:0\"} 0.000001",
                "node_rapl_package_joules_total{index=\"0\",path=\"intel-rapl:0\"} 240422.366267",
                "node_rapl_package_joules_total{index=\"10\",path=\"intel-rapl:1\"} 0",
            ]
        );
    }
}
