//! `/sys/class/power_supply`: batteries, and whether the mains are there. A branch's UPS on USB shows up here too.

use super::options::Filter;
use super::page::Page;
use super::roots::{PartError, Roots, attribute, names};

/// File and name of the metric after `node_power_supply_`, as the kernel counts.
const PLAIN: [(&str, &str); 10] = [
    ("authentic", "authentic"),
    ("calibrate", "calibrate"),
    ("capacity", "capacity"),
    ("capacity_alert_max", "capacity_alert_max"),
    ("capacity_alert_min", "capacity_alert_min"),
    ("cycle_count", "cyclecount"),
    ("online", "online"),
    ("present", "present"),
    ("time_to_empty_now", "time_to_empty_seconds"),
    ("time_to_full_now", "time_to_full_seconds"),
];

/// The kernel counts in µA, µV, µW, µAh and µWh.
const MICRO: [(&str, &str); 31] = [
    ("current_boot", "current_boot"),
    ("current_max", "current_max"),
    ("current_now", "current_ampere"),
    ("energy_empty", "energy_empty"),
    ("energy_empty_design", "energy_empty_design"),
    ("energy_full", "energy_full"),
    ("energy_full_design", "energy_full_design"),
    ("energy_now", "energy_watthour"),
    ("voltage_boot", "voltage_boot"),
    ("voltage_max", "voltage_max"),
    ("voltage_max_design", "voltage_max_design"),
    ("voltage_min", "voltage_min"),
    ("voltage_min_design", "voltage_min_design"),
    ("voltage_now", "voltage_volt"),
    ("voltage_ocv", "voltage_ocv"),
    ("charge_control_limit", "charge_control_limit"),
    ("charge_control_limit_max", "charge_control_limit_max"),
    ("charge_counter", "charge_counter"),
    ("charge_empty", "charge_empty"),
    ("charge_empty_design", "charge_empty_design"),
    ("charge_full", "charge_full"),
    ("charge_full_design", "charge_full_design"),
    ("charge_now", "charge_ampere"),
    ("charge_term_current", "charge_term_current"),
    ("constant_charge_current", "constant_charge_current"),
    ("constant_charge_current_max", "constant_charge_current_max"),
    ("constant_charge_voltage", "constant_charge_voltage"),
    ("constant_charge_voltage_max", "constant_charge_voltage_max"),
    ("precharge_current", "precharge_current"),
    ("input_current_limit", "input_current_limit"),
    ("power_now", "power_watt"),
];

/// The kernel counts in tenths of a degree.
const TENTHS: [(&str, &str); 8] = [
    ("temp", "temp_celsius"),
    ("temp_alert_max", "temp_alert_max_celsius"),
    ("temp_alert_min", "temp_alert_min_celsius"),
    ("temp_ambient", "temp_ambient_celsius"),
    ("temp_ambient_alert_max", "temp_ambient_max_celsius"),
    ("temp_ambient_alert_min", "temp_ambient_min_celsius"),
    ("temp_max", "temp_max_celsius"),
    ("temp_min", "temp_min_celsius"),
];

/// Labels of `node_power_supply_info`, each of a file of that name, if it says something.
const INFO: [&str; 11] = [
    "capacity_level",
    "charge_type",
    "health",
    "manufacturer",
    "model_name",
    "scope",
    "serial_number",
    "status",
    "technology",
    "type",
    "usb_type",
];

pub(super) struct PowerSupplyClass {
    supplies: Filter,
}

impl PowerSupplyClass {
    pub(super) fn new(supplies: Filter) -> PowerSupplyClass {
        PowerSupplyClass { supplies }
    }

    pub(super) fn read(&self, roots: &Roots, page: &mut Page) -> Result<(), PartError> {
        let folder = roots.sys.join("class/power_supply");
        if !folder.is_dir() {
            return Err(PartError::NoData);
        }
        for supply in names(&folder)? {
            if !self.supplies.takes(&supply) {
                continue;
            }
            let path = folder.join(&supply);
            for (table, per_unit) in [(&PLAIN[..], 1.0), (&MICRO, 1e6), (&TENTHS, 10.0)] {
                for (file, name) in table {
                    // Drivers answer ENODATA, EINVAL or EAGAIN for what a battery does not know now: no series then.
                    let text = attribute(&path.join(file));
                    let Some(value) = text.and_then(|text| text.parse::<i64>().ok()) else {
                        continue;
                    };
                    let help = format!("{name} value of /sys/class/power_supply/<power_supply>.");
                    page.gauge(&format!("node_power_supply_{name}"), &help)
                        .row(&[("power_supply", &supply)], value as f64 / per_unit);
                }
            }
            let info = INFO.map(|file| (file, attribute(&path.join(file)).unwrap_or_default()));
            let mut labels = vec![("power_supply", supply.as_str())];
            for (name, value) in &info {
                if !value.is_empty() {
                    labels.push((name, value));
                }
            }
            page.gauge(
                "node_power_supply_info",
                "info of /sys/class/power_supply/<power_supply>.",
            )
            .row(&labels, 1.0);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::check;
    use super::*;

    #[test]
    fn a_battery_and_the_mains() {
        let class = PowerSupplyClass::new(Filter::exclude("^hid").unwrap());
        check(
            |roots: &Roots, page: &mut Page| class.read(roots, page),
            &[
                ("sys/class/power_supply/AC/online", "0\n"),
                ("sys/class/power_supply/AC/type", "Mains\n"),
                ("sys/class/power_supply/BAT0/capacity", "81\n"),
                ("sys/class/power_supply/BAT0/voltage_now", "12229000\n"),
                ("sys/class/power_supply/BAT0/temp", "311\n"),
                ("sys/class/power_supply/BAT0/cycle_count", "\n"),
                ("sys/class/power_supply/BAT0/status", "Discharging\n"),
                ("sys/class/power_supply/hidpp_battery_0/online", "1\n"),
            ],
            "node_power_supply_capacity{power_supply=\"BAT0\"} 81\n\
             node_power_supply_info{power_supply=\"AC\",type=\"Mains\"} 1\n\
             node_power_supply_info{power_supply=\"BAT0\",status=\"Discharging\"} 1\n\
             node_power_supply_online{power_supply=\"AC\"} 0\n\
             node_power_supply_temp_celsius{power_supply=\"BAT0\"} 31.1\n\
             node_power_supply_voltage_volt{power_supply=\"BAT0\"} 12.229\n",
        );
        check(
            |roots: &Roots, page: &mut Page| class.read(roots, page),
            &[],
            "error nothing to collect on this machine\n",
        );
    }
}
