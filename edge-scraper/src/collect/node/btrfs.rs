//! `/sys/fs/btrfs`: how each btrfs filesystem's space is laid out, and the errors of its devices.
//!
//! node_exporter asks for the errors by ioctl on every mount; since Linux 5.14 they stand in `devinfo/*/error_stats`, without
//! the device's name: a device is labelled by its number there (`devid`).

use std::path::Path;

use super::page::Page;
use super::roots::{PartError, Roots, Text, attribute, names};

const SECTOR_BYTES: f64 = 512.0;

const ERRORS: [(&str, &str); 5] = [
    ("write_errs", "write"),
    ("read_errs", "read"),
    ("flush_errs", "flush"),
    ("corruption_errs", "corruption"),
    ("generation_errs", "generation"),
];

pub(super) fn read(roots: &Roots, page: &mut Page) -> Result<(), PartError> {
    let folder = roots.sys.join("fs/btrfs");
    for name in names(&folder)? {
        let path = folder.join(&name);
        // Beside the filesystems, named by UUID, there is a folder `features`.
        if name.contains('-') && path.is_dir() {
            let uuid = attribute(&path.join("metadata_uuid"))
                .filter(|uuid| !uuid.is_empty())
                .unwrap_or(name);
            filesystem(&path, &uuid, page)?;
        }
    }
    Ok(())
}

/// What the kernel does not show counts as 0, as in node_exporter.
fn number(path: &Path) -> f64 {
    attribute(path)
        .and_then(|text| text.parse().ok())
        .unwrap_or(0.0)
}

fn filesystem(path: &Path, uuid: &str, page: &mut Page) -> Result<(), PartError> {
    let label = attribute(&path.join("label")).unwrap_or_default();
    page.gauge("node_btrfs_info", "Filesystem information")
        .row(&[("uuid", uuid), ("label", &label)], 1.0);
    page.gauge(
        "node_btrfs_global_rsv_size_bytes",
        "Size of global reserve.",
    )
    .row(
        &[("uuid", uuid)],
        number(&path.join("allocation/global_rsv_size")),
    );
    let devices = names(&path.join("devices"))?;
    for device in &devices {
        let sectors = number(&path.join("devices").join(device).join("size"));
        page.gauge(
            "node_btrfs_device_size_bytes",
            "Size of a device that is part of the filesystem.",
        )
        .row(
            &[("uuid", uuid), ("device", device)],
            sectors * SECTOR_BYTES,
        );
    }
    for kind in ["data", "metadata", "system"] {
        let allocation = path.join("allocation").join(kind);
        page.gauge(
            "node_btrfs_reserved_bytes",
            "Amount of space reserved for a data type",
        )
        .row(
            &[("uuid", uuid), ("block_group_type", kind)],
            number(&allocation.join("bytes_reserved")),
        );
        for mode in names(&allocation)? {
            let layout = allocation.join(&mode);
            if !layout.is_dir() {
                continue;
            }
            let labels = [
                ("uuid", uuid),
                ("block_group_type", kind),
                ("mode", mode.as_str()),
            ];
            page.gauge(
                "node_btrfs_used_bytes",
                "Amount of used space by a layout/data type",
            )
            .row(&labels, number(&layout.join("used_bytes")));
            page.gauge(
                "node_btrfs_size_bytes",
                "Amount of space allocated for a layout/data type",
            )
            .row(&labels, number(&layout.join("total_bytes")));
            page.gauge(
                "node_btrfs_allocation_ratio",
                "Data allocation ratio for a layout/data type",
            )
            .row(&labels, ratio(&mode, devices.len() as f64));
        }
    }
    errors(path, uuid, page)
}

/// Bytes on disk for each byte of data.
fn ratio(mode: &str, devices: f64) -> f64 {
    match mode {
        "single" | "raid0" => 1.0,
        "dup" | "raid1" | "raid10" => 2.0,
        "raid1c3" => 3.0,
        "raid1c4" => 4.0,
        "raid5" => devices / (devices - 1.0),
        "raid6" => devices / (devices - 2.0),
        _ => 0.0,
    }
}

fn errors(path: &Path, uuid: &str, page: &mut Page) -> Result<(), PartError> {
    let folder = path.join("devinfo");
    for device in names(&folder)? {
        let Some(text) = Text::read_if_there(folder.join(&device).join("error_stats"))? else {
            continue; // a kernel before 5.14
        };
        for line in text.lines() {
            let mut fields = line.split_ascii_whitespace();
            let known = ERRORS
                .iter()
                .find(|(name, _)| fields.clone().next() == Some(name));
            let Some((_, kind)) = known else { continue };
            page.counter(
                "node_btrfs_device_errors_total",
                "Errors reported for the device",
            )
            .row(
                &[("type", kind), ("uuid", uuid), ("devid", &device)],
                text.number(fields.nth(1))?,
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::fixture::check;

    #[test]
    fn space_devices_and_errors() {
        let uuid = "0abb23a9-579b-43e6-ad30-227ef47fcb9d";
        let at = |file: &str| format!("sys/fs/btrfs/{uuid}/{file}");
        let files = [
            (at("label"), "fixture\n"),
            (at("allocation/global_rsv_size"), "16777216\n"),
            (at("allocation/data/bytes_reserved"), "4096\n"),
            (at("allocation/data/raid5/total_bytes"), "2147483648\n"),
            (at("allocation/data/raid5/used_bytes"), "808189952\n"),
            (at("devices/loop25/size"), "20971520\n"),
            (at("devices/loop26/size"), "20971520\n"),
            (at("devices/loop27/size"), "20971520\n"),
            (
                at("devinfo/1/error_stats"),
                "write_errs 0\nread_errs 3\nfuture_errs 1\n",
            ),
            ("sys/fs/btrfs/features/x".to_owned(), ""),
        ];
        let files: Vec<(&str, &str)> = files
            .iter()
            .map(|(path, text)| (path.as_str(), *text))
            .collect();
        check(
            super::read,
            &files,
            "node_btrfs_allocation_ratio{uuid=\"U\",block_group_type=\"data\",mode=\"raid5\"} 1.5\n\
             node_btrfs_device_errors_total{type=\"read\",uuid=\"U\",devid=\"1\"} 3\n\
             node_btrfs_device_errors_total{type=\"write\",uuid=\"U\",devid=\"1\"} 0\n\
             node_btrfs_device_size_bytes{uuid=\"U\",device=\"loop25\"} 10737418240\n\
             node_btrfs_device_size_bytes{uuid=\"U\",device=\"loop26\"} 10737418240\n\
             node_btrfs_device_size_bytes{uuid=\"U\",device=\"loop27\"} 10737418240\n\
             node_btrfs_global_rsv_size_bytes{uuid=\"U\"} 16777216\n\
             node_btrfs_info{uuid=\"U\",label=\"fixture\"} 1\n\
             node_btrfs_reserved_bytes{uuid=\"U\",block_group_type=\"data\"} 4096\n\
             node_btrfs_reserved_bytes{uuid=\"U\",block_group_type=\"metadata\"} 0\n\
             node_btrfs_reserved_bytes{uuid=\"U\",block_group_type=\"system\"} 0\n\
             node_btrfs_size_bytes{uuid=\"U\",block_group_type=\"data\",mode=\"raid5\"} 2147483648\n\
             node_btrfs_used_bytes{uuid=\"U\",block_group_type=\"data\",mode=\"raid5\"} 808189952\n"
                .replace("\"U\"", &format!("{uuid:?}"))
                .as_str(),
        );
        check(super::read, &[], "");
    }
}
