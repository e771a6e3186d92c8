//! `/sys/devices/system/edac/mc`: errors that memory modules corrected, and those that they could not.

use super::page::Page;
use super::roots::{PartError, Roots, Text, names};

pub(super) fn read(roots: &Roots, page: &mut Page) -> Result<(), PartError> {
    let folder = roots.sys.join("devices/system/edac/mc");
    for name in names(&folder)? {
        let Some(controller) = numbered(&name, "mc") else {
            continue;
        };
        let path = folder.join(&name);
        let count = |file: &str| {
            let text = Text::read(path.join(file))?;
            text.number(Some(text.trimmed()))
        };
        let labels = [("controller", controller)];
        page.counter(
            "node_edac_correctable_errors_total",
            "Total correctable memory errors.",
        )
        .row(&labels, count("ce_count")?);
        page.counter(
            "node_edac_uncorrectable_errors_total",
            "Total uncorrectable memory errors.",
        )
        .row(&labels, count("ue_count")?);
        // Errors whose row is not known stand beside the rows.
        let mut rows = vec![(
            "unknown".to_owned(),
            count("ce_noinfo_count")?,
            count("ue_noinfo_count")?,
        )];
        for name in names(&path)? {
            if let Some(row) = numbered(&name, "csrow") {
                rows.push((
                    row.to_owned(),
                    count(&format!("{name}/ce_count"))?,
                    count(&format!("{name}/ue_count"))?,
                ));
            }
        }
        for (row, correctable, uncorrectable) in rows {
            let labels = [("controller", controller), ("csrow", &row)];
            page.counter(
                "node_edac_csrow_correctable_errors_total",
                "Total correctable memory errors for this csrow.",
            )
            .row(&labels, correctable);
            page.counter(
                "node_edac_csrow_uncorrectable_errors_total",
                "Total uncorrectable memory errors for this csrow.",
            )
            .row(&labels, uncorrectable);
        }
    }
    Ok(())
}

fn numbered<'a>(name: &'a str, prefix: &str) -> Option<&'a str> {
    name.strip_prefix(prefix)
        .filter(|number| number.parse::<u32>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::super::fixture::check;

    #[test]
    fn errors_by_controller_and_row() {
        check(
            super::read,
            &[
                ("sys/devices/system/edac/mc/mc0/ce_count", "1\n"),
                ("sys/devices/system/edac/mc/mc0/ce_noinfo_count", "2\n"),
                ("sys/devices/system/edac/mc/mc0/ue_count", "5\n"),
                ("sys/devices/system/edac/mc/mc0/ue_noinfo_count", "6\n"),
                ("sys/devices/system/edac/mc/mc0/csrow0/ce_count", "3\n"),
                ("sys/devices/system/edac/mc/mc0/csrow0/ue_count", "4\n"),
                ("sys/devices/system/edac/mc/power/x", ""),
            ],
            "node_edac_correctable_errors_total{controller=\"0\"} 1\n\
             node_edac_csrow_correctable_errors_total{controller=\"0\",csrow=\"0\"} 3\n\
             node_edac_csrow_correctable_errors_total{controller=\"0\",csrow=\"unknown\"} 2\n\
             node_edac_csrow_uncorrectable_errors_total{controller=\"0\",csrow=\"0\"} 4\n\
             node_edac_csrow_uncorrectable_errors_total{controller=\"0\",csrow=\"unknown\"} 6\n\
             node_edac_uncorrectable_errors_total{controller=\"0\"} 5\n",
        );
        check(
            super::read,
            &[("sys/devices/system/edac/mc/mc1/ce_count", "many\n")],
            "error sys/devices/system/edac/mc/mc1/ce_count: expected a number, found \"many\"\n",
        );
        check(super::read, &[], "");
    }
}
