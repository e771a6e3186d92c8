//! `/sys/class/scsi_tape`: what tape drives read and wrote.

use super::options::Filter;
use super::page::Page;
use super::roots::{PartError, Roots, Text, names};

const NANOSECONDS: f64 = 0.000_000_001;

/// File, name after `node_tape_`, factor, help.
const COUNTERS: [(&str, &str, f64, &str); 9] = [
    (
        "io_ns",
        "io_time_seconds_total",
        NANOSECONDS,
        "The amount of time spent waiting for all I/O to complete (including read and write). This includes tape movement commands such as seeking between file or set marks and implicit tape movement such as when rewind on close tape devices are used.",
    ),
    (
        "other_cnt",
        "io_others_total",
        1.0,
        "The number of I/Os issued to the tape drive other than read or write commands. The time taken to complete these commands uses the following calculation io_time_seconds_total-read_time_seconds_total-write_time_seconds_total",
    ),
    (
        "read_byte_cnt",
        "read_bytes_total",
        1.0,
        "The number of bytes read from the tape drive.",
    ),
    (
        "read_cnt",
        "reads_completed_total",
        1.0,
        "The number of read requests issued to the tape drive.",
    ),
    (
        "read_ns",
        "read_time_seconds_total",
        NANOSECONDS,
        "The amount of time spent waiting for read requests to complete.",
    ),
    (
        "resid_cnt",
        "residual_total",
        1.0,
        "The number of times during a read or write we found the residual amount to be non-zero. This should mean that a program is issuing a read larger thean the block size on tape. For write not all data made it to tape.",
    ),
    (
        "write_byte_cnt",
        "written_bytes_total",
        1.0,
        "The number of bytes written to the tape drive.",
    ),
    (
        "write_cnt",
        "writes_completed_total",
        1.0,
        "The number of write requests issued to the tape drive.",
    ),
    (
        "write_ns",
        "write_time_seconds_total",
        NANOSECONDS,
        "The amount of time spent waiting for write requests to complete.",
    ),
];

pub(super) struct TapeStats {
    devices: Filter,
}

impl TapeStats {
    pub(super) fn new(devices: Filter) -> TapeStats {
        TapeStats { devices }
    }

    pub(super) fn read(&self, roots: &Roots, page: &mut Page) -> Result<(), PartError> {
        let folder = roots.sys.join("class/scsi_tape");
        if !folder.is_dir() {
            return Err(PartError::NoData);
        }
        for device in names(&folder)? {
            // `st0l`, `nst0a` and the like are the same drive in another mode.
            let number = device.strip_prefix("st").map(str::parse::<u32>);
            if !matches!(number, Some(Ok(_))) || !self.devices.takes(&device) {
                continue;
            }
            let stats = folder.join(&device).join("stats");
            let read = |file: &str| {
                let text = Text::read(stats.join(file))?;
                text.number(Some(text.trimmed()))
            };
            let labels = [("device", device.as_str())];
            page.gauge(
                "node_tape_io_now",
                "The number of I/Os currently outstanding to this device.",
            )
            .row(&labels, read("in_flight")?);
            for (file, name, factor, help) in COUNTERS {
                page.counter(&format!("node_tape_{name}"), help)
                    .row(&labels, read(file)? * factor);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::check;
    use super::*;

    #[test]
    fn one_series_a_drive() {
        let tapes = TapeStats::new(Filter::exclude("^st1$").unwrap());
        let names = [
            "in_flight",
            "io_ns",
            "other_cnt",
            "read_byte_cnt",
            "read_cnt",
            "read_ns",
            "resid_cnt",
            "write_byte_cnt",
            "write_cnt",
            "write_ns",
        ];
        let mut files: Vec<(String, String)> = Vec::new();
        for device in ["st0", "st1", "nst0", "st0a"] {
            for (value, name) in names.iter().enumerate() {
                files.push((
                    format!("sys/class/scsi_tape/{device}/stats/{name}"),
                    format!("{value}000000000\n"),
                ));
            }
        }
        let files: Vec<(&str, &str)> = files
            .iter()
            .map(|(a, b)| (a.as_str(), b.as_str()))
            .collect();
        check(
            |roots: &Roots, page: &mut Page| tapes.read(roots, page),
            &files,
            "node_tape_io_now{device=\"st0\"} 0\nnode_tape_io_others_total{device=\"st0\"} 2000000000\n\
             node_tape_io_time_seconds_total{device=\"st0\"} 1\nnode_tape_read_bytes_total{device=\"st0\"} 3000000000\n\
             node_tape_read_time_seconds_total{device=\"st0\"} 5\nnode_tape_reads_completed_total{device=\"st0\"} 4000000000\n\
             node_tape_residual_total{device=\"st0\"} 6000000000\nnode_tape_write_time_seconds_total{device=\"st0\"} 9\n\
             node_tape_writes_completed_total{device=\"st0\"} 8000000000\nnode_tape_written_bytes_total{device=\"st0\"} 7000000000\n",
        );
        check(
            |roots: &Roots, page: &mut Page| tapes.read(roots, page),
            &[],
            "error nothing to collect on this machine\n",
        );
    }
}
