//! What the node collector is told: which of node_exporter's collectors run, and which devices, mounts and fields they leave
//! out. Names and defaults are those of node_exporter's flags, with Debian's patterns.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use regex::Regex;

use super::roots::Roots;

/// A collector's switch.
#[derive(Debug, Clone, Copy)]
pub struct Switch {
    /// node_exporter's name of it.
    pub name: &'static str,
    /// node_exporter's flag that switches it on, without `--`.
    pub flag: &'static str,
    /// The flag that switches it off.
    pub no_flag: &'static str,
    /// Whether it runs by default. Those that do not cost more, or are many series.
    pub on: bool,
}

macro_rules! switches {
    ($($name:literal: $on:literal),+ $(,)?) => {
        &[$(Switch {
            name: $name,
            flag: concat!("collector.", $name),
            no_flag: concat!("no-collector.", $name),
            on: $on,
        }),+]
    };
}

/// All collectors, sorted.
pub const COLLECTORS: &[Switch] = switches![
    "arp": true,
    "bcache": true,
    "bonding": true,
    "btrfs": true,
    "conntrack": true,
    "cpu": true,
    "cpufreq": true,
    "diskstats": true,
    "dmi": true,
    "edac": true,
    "entropy": true,
    "fibrechannel": true,
    "filefd": true,
    "filesystem": true,
    "hwmon": true,
    "interrupts": false,
    "ipvs": true,
    "kernel_hung": true,
    "loadavg": true,
    "mdadm": true,
    "meminfo": true,
    "netclass": true,
    "netdev": true,
    "netstat": true,
    "nfs": true,
    "nfsd": true,
    "nvme": true,
    "os": true,
    "powersupplyclass": true,
    "pressure": true,
    "processes": false,
    "rapl": true,
    "schedstat": true,
    "selinux": true,
    "sockstat": true,
    "softnet": true,
    "stat": true,
    "systemd": false,
    "tapestats": true,
    "tcpstat": false,
    "textfile": true,
    "thermal_zone": true,
    "time": true,
    "udp_queues": true,
    "uname": true,
    "vmstat": true,
    "xfs": true,
    "zfs": true,
];

/// A pattern that can be set.
#[derive(Debug, Clone, Copy)]
pub struct Pattern {
    /// node_exporter's flag without `--collector.`.
    pub name: &'static str,
    /// The flag without `--`.
    pub flag: &'static str,
    /// Empty: none.
    pub default: &'static str,
    /// What it does.
    pub help: &'static str,
}

macro_rules! patterns {
    ($(($name:literal, $default:expr, $help:literal $(,)?)),+ $(,)?) => {
        &[$(Pattern { name: $name, flag: concat!("collector.", $name), default: $default, help: $help }),+]
    };
}

/// All patterns, sorted. Defaults are node_exporter's as Debian ships it.
pub const PATTERNS: &[Pattern] = patterns![
    ("arp.device-exclude", "", "devices to leave out"),
    ("arp.device-include", "", "devices to show, no others"),
    (
        "diskstats.device-exclude",
        r"^(ram|loop|fd|(h|s|v|xv)d[a-z]|nvme\d+n\d+p)\d+$",
        "devices to leave out",
    ),
    ("diskstats.device-include", "", "devices to show, no others"),
    (
        "filesystem.fs-types-exclude",
        "^(autofs|binfmt_misc|bpf|cgroup2?|configfs|debugfs|devpts|devtmpfs|fusectl|hugetlbfs|iso9660|mqueue|nsfs|overlay|proc|\
procfs|pstore|rpc_pipefs|securityfs|selinuxfs|squashfs|sysfs|tracefs)$",
        "types of filesystems to leave out",
    ),
    (
        "filesystem.fs-types-include",
        "",
        "types of filesystems to show, no others",
    ),
    // Debian's, which also leaves out what is plugged in for a moment (`/mnt`, `/media`) and `/run`.
    (
        "filesystem.mount-points-exclude",
        "^/(dev|proc|run|sys|mnt|media|var/lib/docker/.+|var/lib/containers/storage/.+)($|/)",
        "mount points to leave out",
    ),
    (
        "filesystem.mount-points-include",
        "",
        "mount points to show, no others",
    ),
    ("hwmon.chip-exclude", "", "chips to leave out"),
    ("hwmon.chip-include", "", "chips to show, no others"),
    (
        "hwmon.sensor-exclude",
        "",
        "sensors to leave out, as chip;sensor",
    ),
    (
        "hwmon.sensor-include",
        "",
        "sensors to show, no others, as chip;sensor",
    ),
    (
        "netclass.ignored-devices",
        "",
        "devices to leave out of netclass",
    ),
    (
        "netdev.device-exclude",
        "^lo$",
        "devices to leave out of netdev",
    ),
    (
        "netdev.device-include",
        "",
        "devices to show in netdev, no others",
    ),
    (
        "netstat.fields",
        "^(.*_(InErrors|InErrs)|Ip_Forwarding|Ip(6|Ext)_(InOctets|OutOctets)|Icmp6?_(InMsgs|OutMsgs)|\
TcpExt_(Listen.*|Syncookies.*|TCPSynRetrans|TCPTimeouts|TCPOFOQueue|TCPRcvQDrop)|\
Tcp_(ActiveOpens|InSegs|OutSegs|OutRsts|PassiveOpens|RetransSegs|CurrEstab)|\
Udp6?_(InDatagrams|OutDatagrams|NoPorts|RcvbufErrors|SndbufErrors))$",
        "fields of netstat, snmp and snmp6 to show",
    ),
    (
        "powersupply.ignored-supplies",
        "",
        "power supplies to leave out",
    ),
    (
        "systemd.unit-exclude",
        r".+\.(automount|device|mount|scope|slice|target)",
        "systemd units to leave out; matches whole names"
    ),
    (
        "systemd.unit-include",
        "",
        "systemd units to show, of those not left out; matches whole names"
    ),
    ("tapestats.ignored-devices", "", "tape drives to leave out"),
    (
        "vmstat.fields",
        "^(oom_kill|pgpg|pswp|pg.*fault).*",
        "fields of vmstat to show",
    ),
];

/// Where both patterns count.
const UNITS: &str = "systemd.unit";

/// Longest pattern that is compiled.
const PATTERN_BYTES_MAX: usize = 4096;

/// What of the machine is collected. Equal options make equal collectors.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NodeOptions {
    /// Where the kernel's files are.
    pub roots: Roots,
    /// Which collectors run.
    pub collectors: Switches,
    /// What they leave out.
    pub patterns: Patterns,
    /// Where the collector `textfile` finds its files. None: it has none.
    pub textfile_directory: Option<PathBuf>,
}

/// Why an option is refused. The message names what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum OptionError {
    #[error("{0:?} is not a collector of ours: {why}", why = why_unknown(.0))]
    UnknownCollector(String),
    #[error("{0:?} is enabled and disabled: take it out of one of the two")]
    Contradiction(String),
    #[error("{0:?} is not a pattern of ours: there are {known}", known = known_patterns())]
    UnknownPattern(String),
    #[error("{name}: {message}")]
    Regex { name: String, message: String },
    #[error("{0}-include and {0}-exclude go not together: give one of them")]
    BothWays(String),
}

fn why_unknown(name: &str) -> String {
    match name {
        "infiniband" => "scrape node_exporter where there is InfiniBand".to_owned(),
        _ => format!("there are {}", known_collectors()),
    }
}

fn known_collectors() -> String {
    let names: Vec<&str> = COLLECTORS.iter().map(|switch| switch.name).collect();
    names.join(", ")
}

fn known_patterns() -> String {
    let names: Vec<&str> = PATTERNS.iter().map(|pattern| pattern.name).collect();
    names.join(", ")
}

/// Which collectors run: those that do by default, with changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Switches {
    on: BTreeSet<&'static str>,
}

impl Default for Switches {
    fn default() -> Switches {
        Switches {
            on: (COLLECTORS.iter())
                .filter(|switch| switch.on)
                .map(|switch| switch.name)
                .collect(),
        }
    }
}

impl Switches {
    /// No collector at all, to be switched on one by one.
    pub fn none() -> Switches {
        Switches {
            on: BTreeSet::new(),
        }
    }

    /// The defaults with changes.
    ///
    /// # Errors
    ///
    /// A name that is no collector, or one that stands in both lists.
    pub fn with(enable: &[String], disable: &[String]) -> Result<Switches, OptionError> {
        let mut switches = Switches::default();
        for name in enable {
            if disable.contains(name) {
                return Err(OptionError::Contradiction(name.clone()));
            }
            switches.set(name, true)?;
        }
        for name in disable {
            switches.set(name, false)?;
        }
        Ok(switches)
    }

    /// Switches one collector on or off.
    ///
    /// # Errors
    ///
    /// A name that is no collector.
    pub fn set(&mut self, name: &str, on: bool) -> Result<(), OptionError> {
        let known = COLLECTORS.iter().find(|switch| switch.name == name);
        let Switch { name: known, .. } =
            known.ok_or_else(|| OptionError::UnknownCollector(name.to_owned()))?;
        if on {
            self.on.insert(known);
        } else {
            self.on.remove(known);
        }
        Ok(())
    }

    /// Whether it runs.
    pub fn is_on(&self, name: &str) -> bool {
        self.on.contains(name)
    }
}

/// The patterns that are not the default's, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Patterns {
    set: BTreeMap<&'static str, String>,
}

impl Patterns {
    /// The defaults with changes, checked together.
    ///
    /// # Errors
    ///
    /// A name that is no pattern, a pattern that is no regular expression, or both ways for the same devices.
    pub fn with<'a>(
        pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Patterns, OptionError> {
        let mut patterns = Patterns::default();
        for (name, pattern) in pairs {
            let known = PATTERNS.iter().find(|known| known.name == name);
            let Some(Pattern { name: known, .. }) = known else {
                return Err(OptionError::UnknownPattern(name.to_owned()));
            };
            compile(known, pattern)?;
            patterns.set.insert(known, pattern.to_owned());
        }
        for name in patterns.set.keys() {
            if let Some(subject) = name.strip_suffix("-include")
                && subject != UNITS
                && patterns
                    .set
                    .contains_key(format!("{subject}-exclude").as_str())
            {
                return Err(OptionError::BothWays(subject.to_owned()));
            }
        }
        Ok(patterns)
    }

    fn get(&self, name: &str) -> Option<Regex> {
        let default = || {
            let pattern = PATTERNS.iter().find(|known| known.name == name);
            pattern.map_or("", |pattern| pattern.default)
        };
        let text = self.set.get(name).map_or_else(default, String::as_str);
        // It was compiled when it was set; the defaults are in a test.
        Regex::new(text).ok().filter(|_| !text.is_empty())
    }

    /// The filter of `<subject>-include` and `<subject>-exclude`. To include some takes the default of the other away.
    pub(super) fn filter(&self, subject: &str) -> Filter {
        let include = self.get(&format!("{subject}-include"));
        let exclude = match include {
            Some(_) => None,
            None => self.get(&format!("{subject}-exclude")),
        };
        Filter { include, exclude }
    }

    /// The filter of systemd's units, which have to match the one and not the other, as whole names.
    pub(super) fn units(&self) -> Filter {
        let whole = |regex: Regex| Regex::new(&format!("^(?:{regex})$")).ok();
        Filter {
            include: self.get(&format!("{UNITS}-include")).and_then(whole),
            exclude: self.get(&format!("{UNITS}-exclude")).and_then(whole),
        }
    }

    /// The filter of a pattern that leaves out.
    pub(super) fn ignoring(&self, name: &str) -> Filter {
        Filter {
            include: None,
            exclude: self.get(name),
        }
    }

    /// The filter of a pattern that shows.
    pub(super) fn showing(&self, name: &str) -> Filter {
        Filter {
            include: self.get(name),
            exclude: None,
        }
    }
}

fn compile(name: &str, pattern: &str) -> Result<Regex, OptionError> {
    let refused = |message: String| OptionError::Regex {
        name: name.to_owned(),
        message,
    };
    if pattern.len() > PATTERN_BYTES_MAX {
        return Err(refused(format!(
            "the pattern has {} bytes, the most is {PATTERN_BYTES_MAX}",
            pattern.len()
        )));
    }
    Regex::new(pattern).map_err(|error| refused(error.to_string()))
}

/// Which names are taken. Patterns match anywhere in a name, as in node_exporter.
#[derive(Debug, Clone, Default)]
pub(super) struct Filter {
    include: Option<Regex>,
    exclude: Option<Regex>,
}

impl Filter {
    pub(super) fn takes(&self, name: &str) -> bool {
        self.include
            .as_ref()
            .is_none_or(|regex| regex.is_match(name))
            && !self
                .exclude
                .as_ref()
                .is_some_and(|regex| regex.is_match(name))
    }

    #[cfg(test)]
    pub(super) fn all() -> Filter {
        Filter::default()
    }

    #[cfg(test)]
    pub(super) fn exclude(pattern: &str) -> Result<Filter, regex::Error> {
        Ok(Filter {
            include: None,
            exclude: Some(Regex::new(pattern)?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_compile_and_names_are_sorted() {
        for Pattern { name, default, .. } in PATTERNS {
            assert!(compile(name, default).is_ok(), "{name}");
        }
        assert!(PATTERNS.is_sorted_by_key(|pattern| pattern.name));
        assert!(COLLECTORS.is_sorted_by_key(|switch| switch.name));
    }

    #[test]
    fn collectors_are_switched_by_name() {
        let own = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        let switches = Switches::with(&own(&["processes"]), &own(&["arp"])).unwrap();
        assert!(switches.is_on("processes") && switches.is_on("cpu"));
        assert!(!switches.is_on("arp") && !switches.is_on("tcpstat"));
        let refused = |enable: &[&str], disable: &[&str]| {
            Switches::with(&own(enable), &own(disable))
                .unwrap_err()
                .to_string()
        };
        assert_eq!(
            refused(&["cpu"], &["cpu"]),
            "\"cpu\" is enabled and disabled: take it out of one of the two"
        );
        assert!(
            refused(&["cpus"], &[])
                .starts_with("\"cpus\" is not a collector of ours: there are arp, bcache,")
        );
        assert!(refused(&["infiniband"], &[]).contains("scrape node_exporter"));
    }

    #[test]
    fn patterns_by_the_names_of_flags() {
        let takes = |pairs: &[(&str, &str)], device: &str| {
            let patterns = Patterns::with(pairs.iter().copied()).unwrap();
            patterns.filter("netdev.device").takes(device)
        };
        assert!(takes(&[], "eth0") && !takes(&[], "lo"));
        assert!(takes(&[("netdev.device-exclude", "")], "lo"));
        // To ask for lo alone is to ask for lo, whatever the default leaves out.
        let lo = [("netdev.device-include", "^lo$")];
        assert!(takes(&lo, "lo") && !takes(&lo, "eth0"));
        // Units have to pass both, as whole names.
        let units = [("systemd.unit-include", "ssh.*")];
        let units = Patterns::with(units).unwrap().units();
        assert!(units.takes("sshd.service") && !units.takes("x-ssh.service"));
        assert!(!units.takes("ssh.slice") && units.takes("ssh.slice.service"));
        let refused = |pairs: &[(&str, &str)]| {
            Patterns::with(pairs.iter().copied())
                .unwrap_err()
                .to_string()
        };
        assert!(
            refused(&[("netdev.devices", "x")])
                .starts_with("\"netdev.devices\" is not a pattern of ours: there are arp.")
        );
        assert!(refused(&[("vmstat.fields", "(")]).starts_with("vmstat.fields: regex parse error"));
        assert!(refused(&[("vmstat.fields", &"x".repeat(5000))]).contains("5000 bytes"));
        assert_eq!(
            refused(&[("hwmon.chip-include", "a"), ("hwmon.chip-exclude", "b")]),
            "hwmon.chip-include and hwmon.chip-exclude go not together: give one of them"
        );
    }
}
