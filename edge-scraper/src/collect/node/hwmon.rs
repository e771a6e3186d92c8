//! `/sys/class/hwmon`: temperatures, fans, voltages, currents and power of the machine's sensors.
//!
//! A chip is labelled by the path of its device, because `hwmonN` counts in the order in which drivers were loaded. Files are
//! named `<kind><number>_<property>`, e.g. `temp2_crit`; the kernel's `Documentation/hwmon/sysfs-interface` says in which unit.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;

use super::options::Filter;
use super::page::Page;
use super::roots::{PartError, Roots, names};

const KINDS: [&str; 14] = [
    "vrm",
    "beep_enable",
    "update_interval",
    "in",
    "cpu",
    "fan",
    "pwm",
    "temp",
    "curr",
    "power",
    "energy",
    "humidity",
    "intrusion",
    "freq",
];

const MILLI: f64 = 0.001;
const MICRO: f64 = 0.000_001;

/// Properties by name of one sensor; the property of a bare `pwm1` is empty.
type Sensor = BTreeMap<String, String>;

pub(super) struct HwMon {
    chips: Filter,
    sensors: Filter,
}

impl HwMon {
    pub(super) fn new(chips: Filter, sensors: Filter) -> HwMon {
        HwMon { chips, sensors }
    }

    pub(super) fn read(&self, roots: &Roots, page: &mut Page) -> Result<(), PartError> {
        let folder = roots.sys.join("class/hwmon");
        let monitors = names(&folder)?;
        if monitors.is_empty() {
            return Err(PartError::NoData);
        }
        let mut taken = BTreeMap::<String, u32>::new();
        for monitor in monitors {
            let path = folder.join(&monitor);
            if !path.is_dir() {
                continue;
            }
            let mut chip = chip(&path, &monitor);
            if !self.chips.takes(&chip) {
                continue;
            }
            // Two monitors of one device: the later ones carry their own name too, or their series would be the same.
            let uses = taken.entry(chip.clone()).or_default();
            *uses += 1;
            if *uses > 1 {
                chip = format!("{chip}_{monitor}");
            }
            let mut sensors = BTreeMap::new();
            collect(&path, &mut sensors)?;
            let device = path.join("device");
            if device.is_dir() {
                collect(&device, &mut sensors)?;
            }
            if let Some(name) = value(&path.join("name"))
                .map(|name| clean(&name))
                .filter(|name| !name.is_empty())
            {
                page.gauge(
                    "node_hwmon_chip_names",
                    "Annotation metric for human-readable chip names",
                )
                .row(&[("chip", &chip), ("chip_name", &name)], 1.0);
            }
            for ((kind, number), properties) in sensors {
                let sensor = format!("{kind}{number}");
                if self.sensors.takes(&format!("{chip};{sensor}")) {
                    print(page, &chip, kind, &sensor, &properties);
                }
            }
        }
        Ok(())
    }
}

/// The label of a chip: type and name of its device, else the monitor's own name, else `hwmonN`.
fn chip(path: &Path, monitor: &str) -> String {
    if let Ok(device) = std::fs::canonicalize(path.join("device")) {
        let part = |path: Option<&Path>| {
            let name = path.and_then(Path::file_name).unwrap_or_default();
            clean(&name.to_string_lossy())
        };
        let (bus, name) = (part(device.parent()), part(Some(&device)));
        match (bus.is_empty(), name.is_empty()) {
            (false, false) => return format!("{bus}_{name}"),
            (true, false) => return name,
            _ => {}
        }
    }
    let own = value(&path.join("name"))
        .map(|name| clean(&name))
        .unwrap_or_default();
    if own.is_empty() { clean(monitor) } else { own }
}

/// What may stand in the name of a metric, in lower case.
fn clean(name: &str) -> String {
    let lower = name.to_lowercase();
    let kept = lower.chars().map(|c| match c {
        'a'..='z' | '0'..='9' | ':' | '_' => c,
        _ => '_',
    });
    kept.collect::<String>().trim_matches('_').to_owned()
}

/// Reads once and takes what comes: some drivers answer EAGAIN for ever to a reader that insists.
fn value(path: &Path) -> Option<String> {
    let mut bytes = [0; 128];
    let mut file = std::fs::File::open(path).ok()?;
    let read = file.read(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes[..read]);
    Some(text.trim_matches('\n').to_owned())
}

/// `temp2_crit` is the property `crit` of the sensor `temp` number 2; a sensor without a number has the number 0.
fn parse(file: &str) -> Option<(&'static str, u32, &str)> {
    let digits = file.find(|c: char| c.is_ascii_digit());
    // Kinds without a number have underscores of their own, and no property.
    if let Some(kind) = KINDS.iter().find(|kind| **kind == file) {
        return Some((kind, 0, ""));
    }
    let kind_end = digits.unwrap_or_else(|| file.find('_').unwrap_or(file.len()));
    let (kind, rest) = file.split_at(kind_end);
    let kind = KINDS.iter().find(|known| **known == kind)?;
    let number_end = rest
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(rest.len());
    let (number, rest) = rest.split_at(number_end);
    let number = if number.is_empty() {
        0
    } else {
        number.parse().ok()?
    };
    match rest.strip_prefix('_') {
        Some(property) if !property.is_empty() => Some((kind, number, property)),
        None if rest.is_empty() => Some((kind, number, "")),
        _ => None,
    }
}

fn collect(
    folder: &Path,
    sensors: &mut BTreeMap<(&'static str, u32), Sensor>,
) -> Result<(), PartError> {
    for file in names(folder)? {
        if let Some((kind, number, property)) = parse(&file)
            && let Some(value) = value(&folder.join(&file))
        {
            sensors
                .entry((kind, number))
                .or_default()
                .insert(property.to_owned(), value);
        }
    }
    Ok(())
}

fn print(page: &mut Page, chip: &str, kind: &str, sensor: &str, properties: &Sensor) {
    let labels = [("chip", chip), ("sensor", sensor)];
    if let Some(label) = properties.get("label") {
        page.gauge("node_hwmon_sensor_label", "Label for given chip and sensor")
            .row(&[("chip", chip), ("sensor", sensor), ("label", label)], 1.0);
    }
    let bare = properties.get("").map(String::as_str).unwrap_or_default();
    match kind {
        "beep_enable" => {
            let on = if bare == "1" { 1.0 } else { 0.0 };
            page.gauge("node_hwmon_beep_enabled", "Hardware beep enabled")
                .row(&labels, on);
            return;
        }
        "vrm" => {
            if let Ok(version) = bare.parse() {
                page.gauge(
                    "node_hwmon_voltage_regulator_version",
                    "Hardware voltage regulator",
                )
                .row(&labels, version);
            }
            return;
        }
        "update_interval" => {
            if let Ok(interval) = bare.parse::<f64>() {
                page.gauge(
                    "node_hwmon_update_interval_seconds",
                    "Hardware monitor update interval",
                )
                .row(&labels, interval * MILLI);
            }
            return;
        }
        _ => {}
    }
    for (property, value) in properties {
        let Ok(value) = value.parse::<f64>() else {
            continue;
        };
        let name = match property.as_str() {
            "label" => continue,
            // `input` is the value itself, unless a file without a property is.
            "input" if properties.contains_key("") => format!("node_hwmon_{kind}_input"),
            "input" | "" => format!("node_hwmon_{kind}"),
            property => format!("node_hwmon_{kind}_{}", clean(property)),
        };
        let reading = Reading {
            kind,
            property,
            value,
        };
        if kind == "freq" && property == "input" {
            // Shown by its label only: amdgpu's clocks have no other name.
            if let Some(label) = properties.get("label") {
                let label = clean(label);
                page.gauge(
                    &format!("{name}_freq_mhz"),
                    "Hardware monitor for GPU frequency in MHz",
                )
                .row(&[("chip", chip), ("sensor", &label)], value * MICRO);
            }
            continue;
        }
        let (suffix, help, value, counter) = reading.in_base_units();
        let name = name + suffix;
        let family = if counter {
            page.counter(&name, &help)
        } else {
            page.gauge(&name, &help)
        };
        family.row(&labels, value);
    }
}

/// One property as the kernel shows it.
struct Reading<'a> {
    kind: &'a str,
    property: &'a str,
    value: f64,
}

impl Reading<'_> {
    /// The suffix of the metric's name, its help, the value, and whether it is a counter.
    fn in_base_units(&self) -> (&'static str, String, f64, bool) {
        let (kind, property, value) = (self.kind, self.property, self.value);
        let of = |what: &str, property: &str| format!("Hardware monitor for {what} ({property})");
        match (kind, property) {
            (_, "fault" | "alarm") => (
                "",
                format!("Hardware sensor {property} status ({kind})"),
                value,
                false,
            ),
            (_, "beep") => (
                "_enabled",
                "Hardware monitor sensor has beeping enabled".to_owned(),
                value,
                false,
            ),
            ("in" | "cpu", _) => ("_volts", of("voltage", property), value * MILLI, false),
            ("temp", _) if property != "type" => {
                let property = if property.is_empty() {
                    "input"
                } else {
                    property
                };
                (
                    "_celsius",
                    of("temperature", property),
                    value * MILLI,
                    false,
                )
            }
            ("curr", _) => ("_amps", of("current", property), value * MILLI, false),
            ("energy", _) => (
                "_joule_total",
                of("joules used so far", property),
                value * MICRO,
                true,
            ),
            ("power", "accuracy") => (
                "",
                "Hardware monitor power meter accuracy, as a ratio".to_owned(),
                value * MICRO,
                false,
            ),
            ("power", "average_interval" | "average_interval_min" | "average_interval_max") => (
                "_seconds",
                format!("Hardware monitor power usage update interval ({property})"),
                value * MILLI,
                false,
            ),
            ("power", _) => (
                "_watt",
                of("power usage in watts", property),
                value * MICRO,
                false,
            ),
            ("humidity", _) => (
                "",
                of(
                    "humidity, as a ratio (multiply with 100.0 to get the humidity as a percentage)",
                    property,
                ),
                value * MICRO,
                false,
            ),
            ("fan", "input" | "min" | "max" | "target") => (
                "_rpm",
                of("fan revolutions per minute", property),
                value,
                false,
            ),
            _ => (
                "",
                format!("Hardware monitor {kind} element {property}"),
                value,
                false,
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::Fixture;
    use super::*;

    fn check(filters: (Filter, Filter), expected: &str) {
        let fixture = Fixture::new(&[
            (
                "sys/devices/platform/coretemp.0/hwmon/hwmon1/name",
                "coretemp\n",
            ),
            (
                "sys/devices/platform/coretemp.0/hwmon/hwmon1/temp1_input",
                "55000\n",
            ),
            (
                "sys/devices/platform/coretemp.0/hwmon/hwmon1/temp1_label",
                "Core 0\n",
            ),
            ("sys/class/hwmon/hwmon0/name", "Fan Box\n"),
            ("sys/class/hwmon/hwmon0/fan1_input", "1200\n"),
            ("sys/class/hwmon/hwmon0/fan1_alarm", "1\n"),
            ("sys/class/hwmon/hwmon0/pwm1", "90\n"),
            ("sys/class/hwmon/hwmon0/in0_input", "\n"),
            ("sys/class/hwmon/hwmon0/update_interval", "1500\n"),
        ]);
        let link = |target: &str, name: &str| {
            std::os::unix::fs::symlink(target, fixture.path().join(name)).unwrap();
        };
        link(
            "../..",
            "sys/devices/platform/coretemp.0/hwmon/hwmon1/device",
        );
        link(
            "../../devices/platform/coretemp.0/hwmon/hwmon1",
            "sys/class/hwmon/hwmon1",
        );
        let mut page = Page::default();
        HwMon::new(filters.0, filters.1)
            .read(&fixture.roots(), &mut page)
            .unwrap();
        let page = page.text();
        let rows: Vec<&str> = page.lines().filter(|l| !l.starts_with('#')).collect();
        assert_eq!(rows.join("\n"), expected);
    }

    #[test]
    fn chips_by_device_or_name_values_in_base_units() {
        check(
            (Filter::all(), Filter::all()),
            "node_hwmon_chip_names{chip=\"fan_box\",chip_name=\"fan_box\"} 1\n\
             node_hwmon_chip_names{chip=\"platform_coretemp_0\",chip_name=\"coretemp\"} 1\n\
             node_hwmon_fan_alarm{chip=\"fan_box\",sensor=\"fan1\"} 1\n\
             node_hwmon_fan_rpm{chip=\"fan_box\",sensor=\"fan1\"} 1200\n\
             node_hwmon_pwm{chip=\"fan_box\",sensor=\"pwm1\"} 90\n\
             node_hwmon_sensor_label{chip=\"platform_coretemp_0\",sensor=\"temp1\",label=\"Core 0\"} 1\n\
             node_hwmon_temp_celsius{chip=\"platform_coretemp_0\",sensor=\"temp1\"} 55\n\
             node_hwmon_update_interval_seconds{chip=\"fan_box\",sensor=\"update_interval0\"} 1.5",
        );
    }

    #[test]
    fn chips_and_sensors_can_be_left_out() {
        check(
            (
                Filter::exclude("coretemp").unwrap(),
                Filter::exclude("^fan_box;(pwm1|update_interval0)$").unwrap(),
            ),
            "node_hwmon_chip_names{chip=\"fan_box\",chip_name=\"fan_box\"} 1\n\
             node_hwmon_fan_alarm{chip=\"fan_box\",sensor=\"fan1\"} 1\n\
             node_hwmon_fan_rpm{chip=\"fan_box\",sensor=\"fan1\"} 1200",
        );
    }

    #[test]
    fn names_of_files() {
        for (file, expected) in [
            ("temp2_crit", Some(("temp", 2, "crit"))),
            (
                "power1_average_interval",
                Some(("power", 1, "average_interval")),
            ),
            ("pwm1", Some(("pwm", 1, ""))),
            ("beep_enable", Some(("beep_enable", 0, ""))),
            ("update_interval", Some(("update_interval", 0, ""))),
            ("name", None),
            ("temp99999999999_input", None),
            ("temp1_", None),
            ("in0input", None),
        ] {
            assert_eq!(parse(file), expected, "{file}");
        }
    }
}
