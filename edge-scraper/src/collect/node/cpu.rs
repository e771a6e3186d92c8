//! CPU time by mode from `/proc/stat`; throttling and isolation from sysfs.

use std::collections::BTreeMap;
use std::sync::Mutex;

use super::page::Page;
use super::roots::{PartError, Roots, Text, attribute, integer_attribute, names};

/// The kernel prints CPU times in USER_HZ, which is 100 on every architecture that Linux promises an ABI for.
const TICKS_PER_SECOND: f64 = 100.0;

/// Idle time that falls by this much means that the CPU went away and came back with new counters; a smaller fall
/// is the kernel's arithmetic, and the old value stays.
const IDLE_FALL_SECONDS_MAX: f64 = 3.0;

/// Columns of a `cpuN` line in file order: user, nice, system, idle, iowait, irq, softirq, steal, guest, guest nice.
const COLUMNS: usize = 10;
const IDLE: usize = 3;
const MODES: [&str; 8] = [
    "user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal",
];

/// CPU times seen last, kept so that counters never fall: the kernel's idle and iowait do now and then.
#[derive(Debug, Default)]
pub(super) struct Cpu {
    last: Mutex<BTreeMap<u32, [f64; COLUMNS]>>,
}

impl Cpu {
    pub(super) fn read(&self, roots: &Roots, page: &mut Page) -> Result<(), PartError> {
        let text = Text::read(roots.proc.join("stat"))?;
        let now = parse(&text)?;
        let mut last = self.last.lock().unwrap_or_else(|e| e.into_inner());
        if last.len() != now.len() {
            last.clear();
        }
        for (&cpu, &new) in &now {
            let kept = last.entry(cpu).or_insert([0.0; COLUMNS]);
            *kept = settle(*kept, new);
            let cpu = cpu.to_string();
            let family = page.counter(
                "node_cpu_seconds_total",
                "Seconds the CPUs spent in each mode.",
            );
            for (mode, value) in MODES.iter().zip(kept.iter()) {
                family.row(&[("cpu", &cpu), ("mode", mode)], *value);
            }
            // Guest time is counted in user and nice too, so it is a family of its own.
            let family = page.counter(
                "node_cpu_guest_seconds_total",
                "Seconds the CPUs spent in guests (VMs) for each mode.",
            );
            family.row(&[("cpu", &cpu), ("mode", "user")], kept[8]);
            family.row(&[("cpu", &cpu), ("mode", "nice")], kept[9]);
        }
        drop(last);
        isolated(roots, page);
        throttles(roots, page)
    }
}

/// The times to report, given those reported before.
fn settle(last: [f64; COLUMNS], new: [f64; COLUMNS]) -> [f64; COLUMNS] {
    if last[IDLE] - new[IDLE] >= IDLE_FALL_SECONDS_MAX {
        return new;
    }
    std::array::from_fn(|i| last[i].max(new[i]))
}

fn parse(text: &Text) -> Result<BTreeMap<u32, [f64; COLUMNS]>, PartError> {
    let mut cpus = BTreeMap::new();
    for line in text.lines() {
        let Some(rest) = line.strip_prefix("cpu") else {
            continue;
        };
        let mut fields = rest.split_ascii_whitespace();
        if rest.starts_with(' ') {
            continue; // the line over all CPUs
        }
        let number = fields.next().unwrap_or("");
        let Ok(cpu) = number.parse::<u32>() else {
            return Err(text.malformed("a CPU number", line));
        };
        let mut times = [0.0; COLUMNS];
        for (slot, field) in times.iter_mut().zip(fields) {
            *slot = text.number(Some(field))? / TICKS_PER_SECOND;
        }
        cpus.insert(cpu, times);
    }
    Ok(cpus)
}

fn isolated(roots: &Roots, page: &mut Page) {
    let Some(list) = attribute(&roots.sys.join("devices/system/cpu/isolated")) else {
        return;
    };
    let family = page.gauge(
        "node_cpu_isolated",
        "Whether each core is isolated, information from /sys/devices/system/cpu/isolated.",
    );
    for range in list.split(',').filter(|range| !range.is_empty()) {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        if let (Ok(first), Ok(last)) = (first.parse::<u16>(), last.parse::<u16>()) {
            for cpu in first..=last {
                family.row(&[("cpu", &cpu.to_string())], 1.0);
            }
        }
    }
}

fn throttles(roots: &Roots, page: &mut Page) -> Result<(), PartError> {
    let folder = roots.sys.join("devices/system/cpu");
    let mut packages = BTreeMap::new();
    let mut cores = BTreeMap::new();
    for name in names(&folder)? {
        let is_cpu = name
            .strip_prefix("cpu")
            .is_some_and(|n| n.starts_with(|c: char| c.is_ascii_digit()));
        if !is_cpu {
            continue;
        }
        let cpu = folder.join(name);
        let Some(package) = integer_attribute(&cpu.join("topology/physical_package_id")) else {
            continue;
        };
        let Some(core) = integer_attribute(&cpu.join("topology/core_id")) else {
            continue;
        };
        // Threads of one core, and cores of one package, show the same counter: it is read once.
        if let std::collections::btree_map::Entry::Vacant(slot) = cores.entry((package, core))
            && let Some(count) =
                integer_attribute(&cpu.join("thermal_throttle/core_throttle_count"))
        {
            slot.insert(count);
        }
        if let std::collections::btree_map::Entry::Vacant(slot) = packages.entry(package)
            && let Some(count) =
                integer_attribute(&cpu.join("thermal_throttle/package_throttle_count"))
        {
            slot.insert(count);
        }
    }
    for (package, count) in packages {
        page.counter(
            "node_cpu_package_throttles_total",
            "Number of times this CPU package has been throttled.",
        )
        .row(&[("package", &package.to_string())], count as f64);
    }
    for ((package, core), count) in cores {
        page.counter(
            "node_cpu_core_throttles_total",
            "Number of times this CPU core has been throttled.",
        )
        .row(
            &[
                ("package", &package.to_string()),
                ("core", &core.to_string()),
            ],
            count as f64,
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{Fixture, check};
    use super::*;

    #[test]
    fn times_by_mode_and_throttles() {
        let cpu = Cpu::default();
        check(
            move |roots: &Roots, page: &mut Page| cpu.read(roots, page),
            &[
                (
                    "proc/stat",
                    "cpu  9 9 9\ncpu1 100 250 3 44490.5 7 8 9 10 11 12\nintr 5\n",
                ),
                ("sys/devices/system/cpu/isolated", "1,3-4\n"),
                (
                    "sys/devices/system/cpu/cpu0/topology/physical_package_id",
                    "0\n",
                ),
                ("sys/devices/system/cpu/cpu0/topology/core_id", "2\n"),
                (
                    "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count",
                    "5\n",
                ),
                (
                    "sys/devices/system/cpu/cpu0/thermal_throttle/package_throttle_count",
                    "30\n",
                ),
                ("sys/devices/system/cpu/cpufreq/x", ""),
            ],
            "node_cpu_core_throttles_total{package=\"0\",core=\"2\"} 5\n\
             node_cpu_guest_seconds_total{cpu=\"1\",mode=\"nice\"} 0.12\n\
             node_cpu_guest_seconds_total{cpu=\"1\",mode=\"user\"} 0.11\n\
             node_cpu_isolated{cpu=\"1\"} 1\nnode_cpu_isolated{cpu=\"3\"} 1\nnode_cpu_isolated{cpu=\"4\"} 1\n\
             node_cpu_package_throttles_total{package=\"0\"} 30\n\
             node_cpu_seconds_total{cpu=\"1\",mode=\"idle\"} 444.905\n\
             node_cpu_seconds_total{cpu=\"1\",mode=\"iowait\"} 0.07\n\
             node_cpu_seconds_total{cpu=\"1\",mode=\"irq\"} 0.08\n\
             node_cpu_seconds_total{cpu=\"1\",mode=\"nice\"} 2.5\n\
             node_cpu_seconds_total{cpu=\"1\",mode=\"softirq\"} 0.09\n\
             node_cpu_seconds_total{cpu=\"1\",mode=\"steal\"} 0.1\n\
             node_cpu_seconds_total{cpu=\"1\",mode=\"system\"} 0.03\n\
             node_cpu_seconds_total{cpu=\"1\",mode=\"user\"} 1\n",
        );
    }

    #[test]
    fn counters_do_not_fall_unless_the_cpu_was_replaced() {
        let cpu = Cpu::default();
        let idle_and_iowait = |stat: &str| {
            let fixture = Fixture::new(&[("proc/stat", stat)]);
            let mut page = Page::default();
            cpu.read(&fixture.roots(), &mut page).unwrap();
            let page = page.text();
            let value = |mode: &str| {
                let line = page.lines().find(|l| l.contains(mode)).unwrap();
                line.rsplit_once(' ').unwrap().1.to_owned()
            };
            (value("\"idle\""), value("\"iowait\""))
        };
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(idle_and_iowait("cpu0 0 0 0 1000 500\n"), pair("10", "5"));
        assert_eq!(idle_and_iowait("cpu0 0 0 0 900 400\n"), pair("10", "5"));
        assert_eq!(idle_and_iowait("cpu0 0 0 0 1100 501\n"), pair("11", "5.01"));
        assert_eq!(idle_and_iowait("cpu0 0 0 0 100 0\n"), pair("1", "0"));
    }
}
