//! The page of a machine in a branch, shaped like node_exporter's.

use super::page::Page;
use super::value::{Motion, Unit};

const CPUS: usize = 8;

const ZERO: Motion = Motion::Constant(0.0);
const ONE: Motion = Motion::Constant(1.0);

const fn counter(rate: u32, unit: Unit) -> Motion {
    Motion::Counter { rate, unit }
}

const fn walk(step: u32, unit: Unit) -> Motion {
    Motion::Walk { step, unit }
}

const fn noise(spread: u32, unit: Unit) -> Motion {
    Motion::Noise { spread, unit }
}

/// All of it.
pub(crate) fn page() -> Page {
    let mut page = Page::default();
    page.add("up", &[], ONE);
    page.add(
        "scrape_duration_seconds",
        &[],
        noise(9_000_000, Unit::Nanos),
    );
    page.add("scrape_samples_scraped", &[], Motion::Constant(497.0));
    page.add("scrape_series_added", &[], ZERO);
    machine(&mut page);
    cpus(&mut page);
    memory(&mut page);
    disks(&mut page);
    filesystems(&mut page);
    network(&mut page);
    exporter(&mut page);
    page
}

fn machine(page: &mut Page) {
    page.add("node_time_seconds", &[], Motion::Clock);
    page.add(
        "node_boot_time_seconds",
        &[],
        Motion::Constant(1_690_000_017.0),
    );
    page.add("node_load1", &[], walk(12, Unit::Hundredths));
    page.add("node_load5", &[], walk(5, Unit::Hundredths));
    page.add("node_load15", &[], walk(2, Unit::Hundredths));
    page.add("node_procs_running", &[], noise(4, Unit::One));
    page.add("node_procs_blocked", &[], ZERO);
    page.add("node_forks_total", &[], counter(90, Unit::One));
    page.add("node_intr_total", &[], counter(41_000, Unit::One));
    page.add(
        "node_context_switches_total",
        &[],
        counter(73_000, Unit::One),
    );
    page.add("node_entropy_available_bits", &[], Motion::Constant(256.0));
    page.add("node_filefd_allocated", &[], walk(64, Unit::One));
    page.add(
        "node_filefd_maximum",
        &[],
        Motion::Constant(9.223_372_036_854_776e18),
    );
    page.add(
        "node_uname_info",
        &[
            ("domainname", "(none)"),
            ("machine", "x86_64"),
            ("release", "6.1.0-31-amd64"),
            ("sysname", "Linux"),
            ("version", "#1 SMP PREEMPT_DYNAMIC Debian 6.1.128-1"),
        ],
        ONE,
    );
    for resource in ["cpu", "io", "memory"] {
        page.add(
            format!("node_pressure_{resource}_waiting_seconds_total"),
            &[],
            counter(70_000, Unit::Micros),
        );
    }
    for sensor in ["temp1", "temp2", "temp3"] {
        page.add(
            "node_hwmon_temp_celsius",
            &[("chip", "platform_coretemp_0"), ("sensor", sensor)],
            noise(3, Unit::One),
        );
        page.add(
            "node_hwmon_temp_crit_celsius",
            &[("chip", "platform_coretemp_0"), ("sensor", sensor)],
            Motion::Constant(100.0),
        );
    }
    for name in [
        "offset_seconds",
        "frequency_adjustment_ratio",
        "maxerror_seconds",
    ] {
        page.add(
            format!("node_timex_{name}"),
            &[],
            noise(90_000, Unit::Nanos),
        );
    }
    for name in [
        "loop_time_constant",
        "pps_calibration_total",
        "sync_status",
        "tai_offset_seconds",
    ] {
        page.add(format!("node_timex_{name}"), &[], ZERO);
    }
    for name in [
        "pgfault",
        "pgmajfault",
        "pgpgin",
        "pgpgout",
        "oom_kill",
        "pswpin",
        "pswpout",
    ] {
        let motion = match name {
            "pgfault" => counter(52_000, Unit::One),
            "pgpgin" | "pgpgout" => counter(800, Unit::One),
            "pgmajfault" => Motion::Rare { one_in: 20 },
            _ => ZERO,
        };
        page.add(format!("node_vmstat_{name}"), &[], motion);
    }
}

fn cpus(page: &mut Page) {
    for cpu in 0..CPUS {
        let cpu = cpu.to_string();
        for (mode, motion) in [
            ("idle", counter(1_350, Unit::Hundredths)),
            ("iowait", counter(3, Unit::Hundredths)),
            ("irq", ZERO),
            ("nice", Motion::Constant(0.14)),
            ("softirq", counter(2, Unit::Hundredths)),
            ("steal", ZERO),
            ("system", counter(40, Unit::Hundredths)),
            ("user", counter(95, Unit::Hundredths)),
        ] {
            page.add(
                "node_cpu_seconds_total",
                &[("cpu", &cpu), ("mode", mode)],
                motion,
            );
        }
        for mode in ["nice", "user"] {
            page.add(
                "node_cpu_guest_seconds_total",
                &[("cpu", &cpu), ("mode", mode)],
                ZERO,
            );
        }
        for (name, motion) in [
            ("running_seconds_total", counter(1_600_000_000, Unit::Nanos)),
            ("waiting_seconds_total", counter(30_000_000, Unit::Nanos)),
            ("timeslices_total", counter(9_100, Unit::One)),
        ] {
            page.add(format!("node_schedstat_{name}"), &[("cpu", &cpu)], motion);
        }
        let at_most = Motion::Constant(3.4e9);
        page.add(
            "node_cpu_scaling_frequency_max_hertz",
            &[("cpu", &cpu)],
            at_most,
        );
        page.add(
            "node_cpu_scaling_frequency_min_hertz",
            &[("cpu", &cpu)],
            Motion::Constant(8e8),
        );
        page.add(
            "node_cpu_core_throttles_total",
            &[("core", &cpu), ("package", "0")],
            Motion::Rare { one_in: 500 },
        );
    }
}

fn memory(page: &mut Page) {
    for name in [
        "Active",
        "Active_anon",
        "Active_file",
        "AnonPages",
        "Buffers",
        "Cached",
        "Committed_AS",
        "Dirty",
        "Inactive",
        "Inactive_anon",
        "Inactive_file",
        "KReclaimable",
        "KernelStack",
        "Mapped",
        "MemAvailable",
        "MemFree",
        "PageTables",
        "SReclaimable",
        "SUnreclaim",
        "Shmem",
        "Slab",
    ] {
        page.add(
            format!("node_memory_{name}_bytes"),
            &[],
            walk(60, Unit::Pages),
        );
    }
    for name in [
        "AnonHugePages",
        "Bounce",
        "CommitLimit",
        "DirectMap1G",
        "DirectMap2M",
        "DirectMap4k",
        "FileHugePages",
        "HardwareCorrupted",
        "Hugepagesize",
        "Hugetlb",
        "MemTotal",
        "Mlocked",
        "NFS_Unstable",
        "Percpu",
        "ShmemHugePages",
        "SwapCached",
        "SwapFree",
        "SwapTotal",
        "Unevictable",
        "VmallocChunk",
        "VmallocTotal",
        "Writeback",
        "WritebackTmp",
    ] {
        let bytes = f64::from(u32::try_from(name.len() * name.len()).unwrap_or(0)) * 4_194_304.0;
        page.add(
            format!("node_memory_{name}_bytes"),
            &[],
            Motion::Constant(bytes),
        );
    }
}

fn disks(page: &mut Page) {
    for (device, rate) in [("nvme0n1", 120), ("dm-0", 90), ("sda", 0)] {
        for (name, factor, unit) in [
            ("io_time_seconds_total", 3, Unit::Millis),
            ("io_time_weighted_seconds_total", 5, Unit::Millis),
            ("read_bytes_total", 40, Unit::Sectors),
            ("read_time_seconds_total", 1, Unit::Millis),
            ("reads_completed_total", 1, Unit::One),
            ("write_time_seconds_total", 4, Unit::Millis),
            ("writes_completed_total", 3, Unit::One),
            ("written_bytes_total", 90, Unit::Sectors),
        ] {
            let motion = if rate == 0 {
                Motion::Constant(17.0)
            } else {
                counter(rate * factor, unit)
            };
            page.add(format!("node_disk_{name}"), &[("device", device)], motion);
        }
        page.add("node_disk_io_now", &[("device", device)], ZERO);
        for name in [
            "discard_time_seconds",
            "discarded_sectors",
            "discards_completed",
            "discards_merged",
        ] {
            page.add(
                format!("node_disk_{name}_total"),
                &[("device", device)],
                ZERO,
            );
        }
    }
}

fn filesystems(page: &mut Page) {
    for (device, kind, mountpoint, busy) in [
        ("/dev/mapper/vg-root", "ext4", "/", true),
        ("/dev/mapper/vg-data", "xfs", "/srv/data", true),
        ("/dev/nvme0n1p1", "vfat", "/boot/efi", false),
        ("tmpfs", "tmpfs", "/run", true),
        ("tmpfs", "tmpfs", "/run/lock", false),
    ] {
        let labels = [
            ("device", device),
            ("fstype", kind),
            ("mountpoint", mountpoint),
        ];
        for (name, moves) in [
            ("avail_bytes", true),
            ("free_bytes", true),
            ("size_bytes", false),
        ] {
            let motion = if moves && busy {
                walk(30, Unit::Pages)
            } else {
                Motion::Constant(5_368_709_120.0)
            };
            page.add(format!("node_filesystem_{name}"), &labels, motion);
        }
        page.add(
            "node_filesystem_files",
            &labels,
            Motion::Constant(3_276_800.0),
        );
        let free = if busy {
            walk(8, Unit::One)
        } else {
            Motion::Constant(3_276_791.0)
        };
        page.add("node_filesystem_files_free", &labels, free);
        page.add("node_filesystem_readonly", &labels, ZERO);
        page.add("node_filesystem_device_error", &labels, ZERO);
    }
}

fn network(page: &mut Page) {
    for (device, rate) in [("eth0", 310), ("lo", 44), ("wg0", 25), ("eth1", 0)] {
        let device = [("device", device)];
        for direction in ["receive", "transmit"] {
            let (bytes, packets) = match rate {
                0 => (ZERO, ZERO),
                rate => (counter(rate * 420, Unit::One), counter(rate, Unit::One)),
            };
            page.add(
                format!("node_network_{direction}_bytes_total"),
                &device,
                bytes,
            );
            page.add(
                format!("node_network_{direction}_packets_total"),
                &device,
                packets,
            );
            for kind in ["compressed", "errs", "fifo"] {
                page.add(
                    format!("node_network_{direction}_{kind}_total"),
                    &device,
                    ZERO,
                );
            }
        }
        let drops = if rate > 100 {
            counter(2, Unit::One)
        } else {
            ZERO
        };
        page.add("node_network_receive_drop_total", &device, drops);
        page.add(
            "node_network_up",
            &device,
            Motion::Constant(f64::from(u8::from(rate > 0))),
        );
        page.add("node_network_mtu_bytes", &device, Motion::Constant(1500.0));
        page.add(
            "node_network_speed_bytes",
            &device,
            Motion::Constant(1.25e8),
        );
        page.add(
            "node_network_carrier_changes_total",
            &device,
            Motion::Constant(2.0),
        );
    }
    for (name, rate) in [
        ("Tcp_InSegs", 900),
        ("Tcp_OutSegs", 870),
        ("Tcp_ActiveOpens", 14),
        ("Tcp_PassiveOpens", 11),
        ("Tcp_RetransSegs", 1),
        ("Udp_InDatagrams", 60),
        ("Udp_OutDatagrams", 60),
        ("Ip_Forwarding", 0),
        ("IpExt_InOctets", 130_000),
        ("IpExt_OutOctets", 126_000),
        ("Icmp_InErrors", 0),
        ("Icmp_InMsgs", 0),
        ("TcpExt_ListenDrops", 0),
        ("TcpExt_ListenOverflows", 0),
        ("TcpExt_SyncookiesFailed", 0),
        ("Tcp_InErrs", 0),
        ("Udp_InErrors", 0),
        ("Udp_NoPorts", 0),
        ("Udp_RcvbufErrors", 0),
    ] {
        let motion = if rate == 0 {
            ZERO
        } else {
            counter(rate, Unit::One)
        };
        page.add(format!("node_netstat_{name}"), &[], motion);
    }
    for name in ["TCP_alloc", "TCP_inuse", "TCP_tw", "sockets_used"] {
        page.add(format!("node_sockstat_{name}"), &[], walk(4, Unit::One));
    }
    for name in [
        "FRAG_inuse",
        "FRAG_memory",
        "RAW_inuse",
        "TCP_orphan",
        "UDPLITE_inuse",
        "UDP_mem",
    ] {
        page.add(format!("node_sockstat_{name}"), &[], ZERO);
    }
}

fn exporter(page: &mut Page) {
    for collector in [
        "arp",
        "conntrack",
        "cpu",
        "cpufreq",
        "diskstats",
        "filefd",
        "filesystem",
        "hwmon",
        "loadavg",
        "meminfo",
        "netdev",
        "netstat",
        "pressure",
        "schedstat",
        "sockstat",
        "stat",
        "systemd",
        "timex",
        "uname",
        "vmstat",
    ] {
        let labels = [("collector", collector)];
        page.add(
            "node_scrape_collector_duration_seconds",
            &labels,
            noise(400_000, Unit::Nanos),
        );
        page.add("node_scrape_collector_success", &labels, ONE);
    }
    page.add(
        "process_cpu_seconds_total",
        &[],
        counter(4, Unit::Hundredths),
    );
    page.add("process_resident_memory_bytes", &[], walk(20, Unit::Pages));
    page.add("process_open_fds", &[], noise(2, Unit::One));
    page.add(
        "process_start_time_seconds",
        &[],
        Motion::Constant(1_690_000_031.21),
    );
    for quantile in ["0", "0.25", "0.5", "0.75", "1"] {
        page.add(
            "go_gc_duration_seconds",
            &[("quantile", quantile)],
            noise(60_000, Unit::Nanos),
        );
    }
    page.add("go_goroutines", &[], noise(2, Unit::One));
    page.add("go_memstats_alloc_bytes", &[], walk(90_000, Unit::One));
    page.add("go_info", &[("version", "go1.22.4")], ONE);
}
