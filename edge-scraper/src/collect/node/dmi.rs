//! `/sys/class/dmi/id`: maker, model and serial numbers of the machine.

use super::page::Page;
use super::roots::{PartError, Roots, attribute};

/// File names are the label names but for the vendor's.
const FILES: [&str; 20] = [
    "bios_date",
    "bios_release",
    "bios_vendor",
    "bios_version",
    "board_asset_tag",
    "board_name",
    "board_serial",
    "board_vendor",
    "board_version",
    "chassis_asset_tag",
    "chassis_serial",
    "chassis_vendor",
    "chassis_version",
    "product_family",
    "product_name",
    "product_serial",
    "product_sku",
    "product_uuid",
    "product_version",
    "sys_vendor",
];

pub(super) fn read(roots: &Roots, page: &mut Page) -> Result<(), PartError> {
    let folder = roots.sys.join("class/dmi/id");
    if !folder.is_dir() {
        return Err(PartError::NoData);
    }
    // A file that is missing, or that only root may read (serial numbers), is a label less.
    let values: Vec<(&str, String)> = FILES
        .iter()
        .filter_map(|file| {
            let name = if *file == "sys_vendor" {
                "system_vendor"
            } else {
                file
            };
            Some((name, attribute(&folder.join(file))?))
        })
        .collect();
    let labels: Vec<(&str, &str)> = values.iter().map(|(n, v)| (*n, v.as_str())).collect();
    page.gauge(
        "node_dmi_info",
        "A metric with a constant '1' value labeled by bios_date, bios_release, bios_vendor, bios_version, board_asset_tag, \
         board_name, board_serial, board_vendor, board_version, chassis_asset_tag, chassis_serial, chassis_vendor, \
         chassis_version, product_family, product_name, product_serial, product_sku, product_uuid, product_version, \
         system_vendor if provided by DMI.",
    )
    .row(&labels, 1.0);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::fixture::check;

    #[test]
    fn the_files_that_are_there() {
        check(
            super::read,
            &[
                ("sys/class/dmi/id/product_name", "PowerEdge R6515\n"),
                ("sys/class/dmi/id/sys_vendor", "Dell Inc.\n"),
            ],
            "node_dmi_info{product_name=\"PowerEdge R6515\",system_vendor=\"Dell Inc.\"} 1\n",
        );
        check(
            super::read,
            &[],
            "error nothing to collect on this machine\n",
        );
    }
}
