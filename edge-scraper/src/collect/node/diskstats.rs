//! `/proc/diskstats`: block devices, with what udev knows of them.

use std::collections::BTreeMap;

use super::options::Filter;
use super::page::Page;
use super::roots::{PartError, Roots, Text};

/// Kernel sectors are 512 bytes whatever the device's own are.
const SECTOR_BYTES: f64 = 512.0;
const SECONDS_PER_MS: f64 = 1.0 / 1000.0;

/// One column of the file after major, minor and name.
struct Column {
    name: &'static str,
    help: &'static str,
    factor: f64,
}

const fn column(name: &'static str, help: &'static str, factor: f64) -> Column {
    Column { name, help, factor }
}

/// In file order. Older kernels end after 11 (before 4.18) or 15 (before 5.5).
const COLUMNS: [Column; 17] = [
    column(
        "reads_completed_total",
        "The total number of reads completed successfully.",
        1.0,
    ),
    column(
        "reads_merged_total",
        "The total number of reads merged.",
        1.0,
    ),
    column(
        "read_bytes_total",
        "The total number of bytes read successfully.",
        SECTOR_BYTES,
    ),
    column(
        "read_time_seconds_total",
        "The total number of seconds spent by all reads.",
        SECONDS_PER_MS,
    ),
    column(
        "writes_completed_total",
        "The total number of writes completed successfully.",
        1.0,
    ),
    column("writes_merged_total", "The number of writes merged.", 1.0),
    column(
        "written_bytes_total",
        "The total number of bytes written successfully.",
        SECTOR_BYTES,
    ),
    column(
        "write_time_seconds_total",
        "This is the total number of seconds spent by all writes.",
        SECONDS_PER_MS,
    ),
    column("io_now", "The number of I/Os currently in progress.", 1.0),
    column(
        "io_time_seconds_total",
        "Total seconds spent doing I/Os.",
        SECONDS_PER_MS,
    ),
    column(
        "io_time_weighted_seconds_total",
        "The weighted # of seconds spent doing I/Os.",
        SECONDS_PER_MS,
    ),
    column(
        "discards_completed_total",
        "The total number of discards completed successfully.",
        1.0,
    ),
    column(
        "discards_merged_total",
        "The total number of discards merged.",
        1.0,
    ),
    column(
        "discarded_sectors_total",
        "The total number of sectors discarded successfully.",
        1.0,
    ),
    column(
        "discard_time_seconds_total",
        "This is the total number of seconds spent by all discards.",
        SECONDS_PER_MS,
    ),
    column(
        "flush_requests_total",
        "The total number of flush requests completed successfully",
        1.0,
    ),
    column(
        "flush_requests_time_seconds_total",
        "This is the total number of seconds spent by all flush requests.",
        SECONDS_PER_MS,
    ),
];

pub(super) struct DiskStats {
    devices: Filter,
}

impl DiskStats {
    /// By default without partitions, and without devices that hold no data of their own.
    pub(super) fn new(devices: Filter) -> DiskStats {
        DiskStats { devices }
    }

    pub(super) fn read(&self, roots: &Roots, page: &mut Page) -> Result<(), PartError> {
        let text = Text::read(roots.proc.join("diskstats"))?;
        for line in text.lines() {
            let mut fields = line.split_ascii_whitespace();
            let (Some(major), Some(minor), Some(device)) =
                (fields.next(), fields.next(), fields.next())
            else {
                return Err(text.malformed("major, minor and device", line));
            };
            if !self.devices.takes(device) {
                continue;
            }
            for (column, field) in COLUMNS.iter().zip(fields) {
                let value = text.number(Some(field))? * column.factor;
                let name = format!("node_disk_{}", column.name);
                let family = if column.name == "io_now" {
                    page.gauge(&name, column.help)
                } else {
                    page.counter(&name, column.help)
                };
                family.row(&[("device", device)], value);
            }
            let udev = udev_properties(roots, major, minor);
            info(page, device, major, minor, &udev);
        }
        Ok(())
    }
}

fn udev_properties(roots: &Roots, major: &str, minor: &str) -> BTreeMap<String, String> {
    let path = roots.root.join(format!("run/udev/data/b{major}:{minor}"));
    let Ok(text) = Text::read(path) else {
        return BTreeMap::new(); // no udev, as in containers
    };
    let properties = text
        .lines()
        .filter_map(|line| line.strip_prefix("E:")?.split_once('='));
    properties
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

fn info(page: &mut Page, device: &str, major: &str, minor: &str, udev: &BTreeMap<String, String>) {
    let get = |name: &str| udev.get(name).map_or("", String::as_str);
    page.gauge("node_disk_info", "Info of /sys/block/<block_device>.")
        .row(
            &[
                ("device", device),
                ("major", major),
                ("minor", minor),
                ("path", get("ID_PATH")),
                ("wwn", get("ID_WWN")),
                ("model", get("ID_MODEL")),
                ("serial", get("ID_SERIAL_SHORT")),
                ("revision", get("ID_REVISION")),
            ],
            1.0,
        );
    if !get("ID_FS_TYPE").is_empty() {
        page.gauge("node_disk_filesystem_info", "Info about disk filesystem.")
            .row(
                &[
                    ("device", device),
                    ("type", get("ID_FS_TYPE")),
                    ("usage", get("ID_FS_USAGE")),
                    ("uuid", get("ID_FS_UUID")),
                    ("version", get("ID_FS_VERSION")),
                ],
                1.0,
            );
    }
    if !get("DM_NAME").is_empty() {
        page.gauge(
            "node_disk_device_mapper_info",
            "Info about disk device mapper.",
        )
        .row(
            &[
                ("device", device),
                ("name", get("DM_NAME")),
                ("uuid", get("DM_UUID")),
                ("vg_name", get("DM_VG_NAME")),
                ("lv_name", get("DM_LV_NAME")),
                ("lv_layer", get("DM_LV_LAYER")),
            ],
            1.0,
        );
    }
    if get("ID_ATA").is_empty() {
        return;
    }
    let ata = [
        (
            "ID_ATA_WRITE_CACHE",
            "ata_write_cache",
            "ATA disk has a write cache.",
        ),
        (
            "ID_ATA_WRITE_CACHE_ENABLED",
            "ata_write_cache_enabled",
            "ATA disk has its write cache enabled.",
        ),
        (
            "ID_ATA_ROTATION_RATE_RPM",
            "ata_rotation_rate_rpm",
            "ATA disk rotation rate in RPMs (0 for SSDs).",
        ),
    ];
    for (property, name, help) in ata {
        if let Ok(value) = get(property).parse() {
            page.gauge(&format!("node_disk_{name}"), help)
                .row(&[("device", device)], value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::check;
    use super::super::options::Patterns;
    use super::*;

    #[test]
    fn columns_of_old_and_new_kernels() {
        let stats = DiskStats::new(Patterns::default().filter("diskstats.device"));
        check(
            move |roots: &Roots, page: &mut Page| stats.read(roots, page),
            &[
                (
                    "proc/diskstats",
                    "   8       0 sda 25 1 2 1003 5 6 7 8 9 10 11\n   8       1 sda1 1 1 1 1\n   7       0 loop0 1 1\n\
                     \u{20}259       0 nvme0n1 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17\n",
                ),
                (
                    "root/run/udev/data/b8:0",
                    "S:disk/by-id/x\nE:ID_MODEL=Model X\nE:ID_ATA=1\nE:ID_ATA_ROTATION_RATE_RPM=7200\nE:ID_FS_TYPE=ext4\nE:DM_NAME=nvme0n1_crypt\n",
                ),
            ],
            "node_disk_ata_rotation_rate_rpm{device=\"sda\"} 7200\n\
             node_disk_device_mapper_info{device=\"sda\",name=\"nvme0n1_crypt\",uuid=\"\",vg_name=\"\",lv_name=\"\",lv_layer=\"\"} 1\n\
             node_disk_discard_time_seconds_total{device=\"nvme0n1\"} 0.015\n\
             node_disk_discarded_sectors_total{device=\"nvme0n1\"} 14\n\
             node_disk_discards_completed_total{device=\"nvme0n1\"} 12\n\
             node_disk_discards_merged_total{device=\"nvme0n1\"} 13\n\
             node_disk_filesystem_info{device=\"sda\",type=\"ext4\",usage=\"\",uuid=\"\",version=\"\"} 1\n\
             node_disk_flush_requests_time_seconds_total{device=\"nvme0n1\"} 0.017\n\
             node_disk_flush_requests_total{device=\"nvme0n1\"} 16\n\
             node_disk_info{device=\"nvme0n1\",major=\"259\",minor=\"0\",path=\"\",wwn=\"\",model=\"\",serial=\"\",revision=\"\"} 1\n\
             node_disk_info{device=\"sda\",major=\"8\",minor=\"0\",path=\"\",wwn=\"\",model=\"Model X\",serial=\"\",revision=\"\"} 1\n\
             node_disk_io_now{device=\"nvme0n1\"} 9\nnode_disk_io_now{device=\"sda\"} 9\n\
             node_disk_io_time_seconds_total{device=\"nvme0n1\"} 0.01\nnode_disk_io_time_seconds_total{device=\"sda\"} 0.01\n\
             node_disk_io_time_weighted_seconds_total{device=\"nvme0n1\"} 0.011\nnode_disk_io_time_weighted_seconds_total{device=\"sda\"} 0.011\n\
             node_disk_read_bytes_total{device=\"nvme0n1\"} 1536\nnode_disk_read_bytes_total{device=\"sda\"} 1024\n\
             node_disk_read_time_seconds_total{device=\"nvme0n1\"} 0.004\nnode_disk_read_time_seconds_total{device=\"sda\"} 1.0030000000000001\n\
             node_disk_reads_completed_total{device=\"nvme0n1\"} 1\nnode_disk_reads_completed_total{device=\"sda\"} 25\n\
             node_disk_reads_merged_total{device=\"nvme0n1\"} 2\nnode_disk_reads_merged_total{device=\"sda\"} 1\n\
             node_disk_write_time_seconds_total{device=\"nvme0n1\"} 0.008\nnode_disk_write_time_seconds_total{device=\"sda\"} 0.008\n\
             node_disk_writes_completed_total{device=\"nvme0n1\"} 5\nnode_disk_writes_completed_total{device=\"sda\"} 5\n\
             node_disk_writes_merged_total{device=\"nvme0n1\"} 6\nnode_disk_writes_merged_total{device=\"sda\"} 6\n\
             node_disk_written_bytes_total{device=\"nvme0n1\"} 3584\nnode_disk_written_bytes_total{device=\"sda\"} 3584\n",
        );
    }
}
