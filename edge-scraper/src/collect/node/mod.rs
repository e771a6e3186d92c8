//! How is this machine? node_exporter's metrics without node_exporter: same names, labels, types and values.
//!
//! One file a collector, named as node_exporter names it; [`page`] is what they write to, [`roots`] what they read
//! from, [`options`] what they leave out, [`run`] runs them so that one that hangs does not hold up the others. What is
//! left out altogether, and why, stands in `README.md` beside this file.

use std::path::PathBuf;

use wire::exposition::Format;

use super::{CollectError, Collector};
use crate::push::textfile::Textfile;

mod arp;
mod aside;
mod bcache;
mod bonding;
mod btrfs;
mod conntrack;
mod cpu;
mod cpufreq;
mod dbus;
mod diskstats;
mod dmi;
mod edac;
mod entropy;
mod fibrechannel;
mod filefd;
mod filesystem;
mod hwmon;
mod interrupts;
mod ipvs;
mod kernel_hung;
mod loadavg;
mod mdadm;
mod meminfo;
mod netclass;
mod netdev;
mod netstat;
mod nfs;
mod nfsd;
mod nvme;
mod options;
mod os;
mod own_process;
mod page;
mod powersupplyclass;
mod pressure;
mod processes;
mod rapl;
mod roots;
mod rpc;
mod run;
mod schedstat;
mod selinux;
mod sockstat;
mod softnet;
mod stat;
mod systemd;
mod tapestats;
mod tcpstat;
mod textfile;
mod thermal_zone;
mod time;
mod udp_queues;
mod uname;
mod vmstat;
mod xfs;
mod zfs;

#[cfg(test)]
mod dashboard;
#[cfg(test)]
mod fake_bus;
#[cfg(test)]
mod fixture;
#[cfg(test)]
mod peer;

pub use options::{COLLECTORS, NodeOptions, OptionError, PATTERNS, Patterns, Switches};
use page::Page;
use roots::PartError;
pub use roots::Roots;
use run::Runner;

/// Job of the node collector if the configuration gives no other: dashboards for node_exporter look for it.
pub const DEFAULT_JOB: &str = "node";

type Read = Box<dyn Fn(&Roots, &mut Page) -> Result<(), PartError> + Send + Sync>;

/// One of node_exporter's collectors.
struct Part {
    name: &'static str,
    read: Read,
}

/// The machine as a target. Cheap to make; keeps the CPU times seen last and what hangs.
pub struct NodeCollector {
    job: String,
    runner: Runner,
}

impl NodeCollector {
    /// Collects as `job` what the options say.
    pub fn new(job: impl Into<String>, options: &NodeOptions) -> NodeCollector {
        let mut parts = parts(&options.patterns, options.textfile_directory.clone());
        parts.retain(|part| options.collectors.is_on(part.name));
        NodeCollector {
            job: job.into(),
            runner: Runner::new(options.roots.clone(), parts),
        }
    }

    /// Names of the collectors that run, sorted.
    pub fn parts(&self) -> impl Iterator<Item = &'static str> {
        self.runner.parts().iter().map(|part| part.name)
    }

    /// The page now, of the collectors that `wanted` names; it ends in time even if one of them hangs. May block: to be called
    /// off the async threads.
    pub fn page(&self, format: Format, wanted: impl Fn(&str) -> bool) -> String {
        let mut page = self.runner.run(wanted);
        if let Err(error) = own_process::read(&mut page) {
            tracing::debug!(%error, "no metrics about this process");
        }
        page.print(format)
    }
}

fn parts(patterns: &Patterns, textfiles: Option<PathBuf>) -> Vec<Part> {
    let part = |name, read| Part { name, read };
    let arp_devices = patterns.filter("arp.device");
    let cpu = cpu::Cpu::default();
    let diskstats = diskstats::DiskStats::new(patterns.filter("diskstats.device"));
    let filesystem = filesystem::Filesystem::new(patterns);
    let hwmon = hwmon::HwMon::new(
        patterns.filter("hwmon.chip"),
        patterns.filter("hwmon.sensor"),
    );
    let net_classes = patterns.ignoring("netclass.ignored-devices");
    let net_devices = patterns.filter("netdev.device");
    let netstat = netstat::NetStat::new(patterns.showing("netstat.fields"));
    let supplies =
        powersupplyclass::PowerSupplyClass::new(patterns.ignoring("powersupply.ignored-supplies"));
    let systemd = systemd::Systemd::new(patterns.units());
    let tapes = tapestats::TapeStats::new(patterns.ignoring("tapestats.ignored-devices"));
    let textfiles = textfiles.map(|folder| Textfile::new("textfile".to_owned(), folder));
    let vmstat_fields = patterns.showing("vmstat.fields");
    vec![
        part(
            "arp",
            Box::new(move |roots, page| arp::read(&arp_devices, roots, page)),
        ),
        part("bcache", Box::new(bcache::read)),
        part("bonding", Box::new(bonding::read)),
        part("btrfs", Box::new(btrfs::read)),
        part("conntrack", Box::new(conntrack::read)),
        part("cpu", Box::new(move |roots, page| cpu.read(roots, page))),
        part("cpufreq", Box::new(cpufreq::read)),
        part(
            "diskstats",
            Box::new(move |roots, page| diskstats.read(roots, page)),
        ),
        part("dmi", Box::new(dmi::read)),
        part("edac", Box::new(edac::read)),
        part("entropy", Box::new(entropy::read)),
        part("fibrechannel", Box::new(fibrechannel::read)),
        part("filefd", Box::new(filefd::read)),
        part(
            "filesystem",
            Box::new(move |roots, page| filesystem.read(roots, page)),
        ),
        part(
            "hwmon",
            Box::new(move |roots, page| hwmon.read(roots, page)),
        ),
        part("interrupts", Box::new(interrupts::read)),
        part("ipvs", Box::new(ipvs::read)),
        part("kernel_hung", Box::new(kernel_hung::read)),
        part("loadavg", Box::new(loadavg::read)),
        part("mdadm", Box::new(mdadm::read)),
        part("meminfo", Box::new(meminfo::read)),
        part(
            "netclass",
            Box::new(move |roots, page| netclass::read(&net_classes, roots, page)),
        ),
        part(
            "netdev",
            Box::new(move |roots, page| netdev::read(&net_devices, roots, page)),
        ),
        part(
            "netstat",
            Box::new(move |roots, page| netstat.read(roots, page)),
        ),
        part("nfs", Box::new(nfs::read)),
        part("nfsd", Box::new(nfsd::read)),
        part("nvme", Box::new(nvme::read)),
        part("os", Box::new(os::read)),
        part(
            "powersupplyclass",
            Box::new(move |roots, page| supplies.read(roots, page)),
        ),
        part("pressure", Box::new(pressure::read)),
        part("processes", Box::new(processes::read)),
        part("rapl", Box::new(rapl::read)),
        part("schedstat", Box::new(schedstat::read)),
        part("selinux", Box::new(selinux::read)),
        part("sockstat", Box::new(sockstat::read)),
        part("softnet", Box::new(softnet::read)),
        part("stat", Box::new(stat::read)),
        part(
            "systemd",
            Box::new(move |roots, page| systemd.read(roots, page)),
        ),
        part(
            "tapestats",
            Box::new(move |roots, page| tapes.read(roots, page)),
        ),
        part("tcpstat", Box::new(tcpstat::read)),
        part(
            "textfile",
            Box::new(move |roots, page| textfile::read(textfiles.as_ref(), roots, page)),
        ),
        part("thermal_zone", Box::new(thermal_zone::read)),
        part("time", Box::new(time::read)),
        part("udp_queues", Box::new(udp_queues::read)),
        part("uname", Box::new(uname::read)),
        part(
            "vmstat",
            Box::new(move |roots, page| vmstat::read(&vmstat_fields, roots, page)),
        ),
        part("xfs", Box::new(xfs::read)),
        part("zfs", Box::new(zfs::read)),
    ]
}

impl Collector for NodeCollector {
    fn job(&self) -> &str {
        &self.job
    }

    /// Never fails as a whole: a collector of the page that does shows `node_scrape_collector_success` 0.
    fn collect(&self) -> Result<String, CollectError> {
        Ok(self.page(Format::Classic, |_| true))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_collector_has_a_switch_and_every_switch_a_collector() {
        let parts: Vec<&str> = parts(&Patterns::default(), None)
            .iter()
            .map(|part| part.name)
            .collect();
        let names: Vec<&str> = COLLECTORS.iter().map(|switch| switch.name).collect();
        assert_eq!(parts, names);
        let options = NodeOptions {
            collectors: Switches::with(&["tcpstat".to_owned()], &["arp".to_owned()]).unwrap(),
            ..NodeOptions::default()
        };
        let running: Vec<&str> = NodeCollector::new("node", &options).parts().collect();
        assert_eq!(
            running.len(),
            COLLECTORS.iter().filter(|switch| switch.on).count()
        );
        assert!(running.contains(&"tcpstat") && !running.contains(&"arp"));
    }

    #[test]
    fn a_page_of_some_collectors() {
        let collector = NodeCollector::new("node", &NodeOptions::default());
        let page = collector.page(Format::Classic, |name| name == "loadavg");
        assert!(page.contains("\nnode_load1 "), "{page}");
        assert!(page.contains("node_scrape_collector_success{collector=\"loadavg\"} 1\n"));
        assert!(!page.contains("node_uname_info") && !page.contains("collector=\"uname\""));
    }
}
