//! How is this machine? node_exporter's metrics without node_exporter: same names, labels, types and values.
//!
//! One file a collector, named as node_exporter names it; [`page`] is what they write to, [`roots`] what they read
//! from. What is left out, and why, stands in `README.md` beside this file.

use std::time::Instant;

use super::{CollectError, Collector};

mod arp;
mod bonding;
mod conntrack;
mod cpu;
mod cpufreq;
mod diskstats;
mod dmi;
mod entropy;
mod filefd;
mod filesystem;
mod loadavg;
mod mdadm;
mod meminfo;
mod netclass;
mod netdev;
mod netstat;
mod os;
mod page;
mod pressure;
mod roots;
mod schedstat;
mod selinux;
mod sockstat;
mod softnet;
mod stat;
mod thermal_zone;
mod time;
mod udp_queues;
mod uname;
mod vmstat;

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod peer;

use page::Page;
use roots::PartError;
pub use roots::Roots;

/// Job of the node collector if the configuration gives no other: dashboards for node_exporter look for it.
pub const DEFAULT_JOB: &str = "node";

type Read = Box<dyn Fn(&Roots, &mut Page) -> Result<(), PartError> + Send + Sync>;

/// One of node_exporter's collectors.
struct Part {
    name: &'static str,
    read: Read,
}

/// The machine as a target. Cheap to make; keeps the CPU times seen last and the mounts that hang.
pub struct NodeCollector {
    job: String,
    roots: Roots,
    parts: Vec<Part>,
}

impl NodeCollector {
    /// Collects under `roots` as `job`.
    pub fn new(job: impl Into<String>, roots: Roots) -> NodeCollector {
        NodeCollector {
            job: job.into(),
            roots,
            parts: parts(),
        }
    }

    /// Names of the collectors of the page, sorted.
    pub fn parts(&self) -> impl Iterator<Item = &'static str> {
        self.parts.iter().map(|part| part.name)
    }
}

fn parts() -> Vec<Part> {
    let part = |name, read| Part { name, read };
    let cpu = cpu::Cpu::default();
    let diskstats = diskstats::DiskStats::new();
    let filesystem = filesystem::Filesystem::new();
    let netstat = netstat::NetStat::new();
    vec![
        part("arp", Box::new(arp::read)),
        part("bonding", Box::new(bonding::read)),
        part("conntrack", Box::new(conntrack::read)),
        part("cpu", Box::new(move |roots, page| cpu.read(roots, page))),
        part("cpufreq", Box::new(cpufreq::read)),
        part(
            "diskstats",
            Box::new(move |roots, page| diskstats.read(roots, page)),
        ),
        part("dmi", Box::new(dmi::read)),
        part("entropy", Box::new(entropy::read)),
        part("filefd", Box::new(filefd::read)),
        part(
            "filesystem",
            Box::new(move |roots, page| filesystem.read(roots, page)),
        ),
        part("loadavg", Box::new(loadavg::read)),
        part("mdadm", Box::new(mdadm::read)),
        part("meminfo", Box::new(meminfo::read)),
        part("netclass", Box::new(netclass::read)),
        part("netdev", Box::new(netdev::read)),
        part(
            "netstat",
            Box::new(move |roots, page| netstat.read(roots, page)),
        ),
        part("os", Box::new(os::read)),
        part("pressure", Box::new(pressure::read)),
        part("schedstat", Box::new(schedstat::read)),
        part("selinux", Box::new(selinux::read)),
        part("sockstat", Box::new(sockstat::read)),
        part("softnet", Box::new(softnet::read)),
        part("stat", Box::new(stat::read)),
        part("thermal_zone", Box::new(thermal_zone::read)),
        part("time", Box::new(time::read)),
        part("udp_queues", Box::new(udp_queues::read)),
        part("uname", Box::new(uname::read)),
        part("vmstat", Box::new(vmstat::read)),
    ]
}

impl Collector for NodeCollector {
    fn job(&self) -> &str {
        &self.job
    }

    /// Never fails as a whole: a collector of the page that does shows `node_scrape_collector_success` 0.
    fn collect(&self) -> Result<String, CollectError> {
        let mut page = Page::default();
        for part in &self.parts {
            let begin = Instant::now();
            let result = (part.read)(&self.roots, &mut page);
            let seconds = begin.elapsed().as_secs_f64();
            let success = match result {
                Ok(()) => 1.0,
                Err(PartError::NoData) => 0.0,
                Err(error) => {
                    // At debug level: it would repeat with every scrape, and the page says so anyway.
                    tracing::debug!(collector = part.name, %error, "node collector failed");
                    0.0
                }
            };
            let labels = [("collector", part.name)];
            page.gauge(
                "node_scrape_collector_duration_seconds",
                "node_exporter: Duration of a collector scrape.",
            )
            .row(&labels, seconds);
            page.gauge(
                "node_scrape_collector_success",
                "node_exporter: Whether a collector succeeded.",
            )
            .row(&labels, success);
        }
        Ok(page.print())
    }
}
