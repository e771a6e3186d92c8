//! Clock frequencies of the CPUs, in hertz.

use super::page::Page;
use super::roots::{PartError, Roots, integer_attribute, names};

const FREQUENCIES: [(&str, &str, &str); 6] = [
    (
        "cpuinfo_cur_freq",
        "frequency_hertz",
        "Current cpu thread frequency in hertz.",
    ),
    (
        "cpuinfo_min_freq",
        "frequency_min_hertz",
        "Minimum cpu thread frequency in hertz.",
    ),
    (
        "cpuinfo_max_freq",
        "frequency_max_hertz",
        "Maximum cpu thread frequency in hertz.",
    ),
    (
        "scaling_cur_freq",
        "scaling_frequency_hertz",
        "Current scaled CPU thread frequency in hertz.",
    ),
    (
        "scaling_min_freq",
        "scaling_frequency_min_hertz",
        "Minimum scaled CPU thread frequency in hertz.",
    ),
    (
        "scaling_max_freq",
        "scaling_frequency_max_hertz",
        "Maximum scaled CPU thread frequency in hertz.",
    ),
];

pub(super) fn read(roots: &Roots, page: &mut Page) -> Result<(), PartError> {
    let folder = roots.sys.join("devices/system/cpu");
    for name in names(&folder)? {
        let Some(cpu) = name.strip_prefix("cpu") else {
            continue;
        };
        if cpu.parse::<u32>().is_err() {
            continue;
        }
        for (file, name, help) in FREQUENCIES {
            let path = folder.join(format!("cpu{cpu}/cpufreq")).join(file);
            // In kilohertz; the current one of cpuinfo only root may read.
            if let Some(frequency) = integer_attribute(&path) {
                page.gauge(&format!("node_cpu_{name}"), help)
                    .row(&[("cpu", cpu)], frequency as f64 * 1000.0);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::fixture::check;

    #[test]
    fn kilohertz_become_hertz() {
        check(
            super::read,
            &[
                (
                    "sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq",
                    "3700000\n",
                ),
                (
                    "sys/devices/system/cpu/cpu1/cpufreq/scaling_cur_freq",
                    "1219917\n",
                ),
                ("sys/devices/system/cpu/cpuidle/x", ""),
            ],
            "node_cpu_frequency_max_hertz{cpu=\"0\"} 3700000000\nnode_cpu_scaling_frequency_hertz{cpu=\"1\"} 1219917000\n",
        );
    }
}
