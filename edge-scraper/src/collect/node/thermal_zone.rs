//! `/sys/class/thermal`: temperatures and cooling devices.

use super::page::Page;
use super::roots::{PartError, Roots, attribute, integer_attribute, names};

pub(super) fn read(roots: &Roots, page: &mut Page) -> Result<(), PartError> {
    let folder = roots.sys.join("class/thermal");
    for name in names(&folder)? {
        let path = folder.join(&name);
        let kind = attribute(&path.join("type")).unwrap_or_default();
        if let Some(zone) = name.strip_prefix("thermal_zone") {
            if let Some(millidegrees) = integer_attribute(&path.join("temp")) {
                page.gauge("node_thermal_zone_temp", "Zone temperature in Celsius")
                    .row(
                        &[("zone", zone), ("type", &kind)],
                        millidegrees as f64 / 1000.0,
                    );
            }
        } else if let Some(device) = name.strip_prefix("cooling_device") {
            for (file, help) in [
                ("cur_state", "Current throttle state of the cooling device"),
                ("max_state", "Maximum throttle state of the cooling device"),
            ] {
                if let Some(state) = integer_attribute(&path.join(file)) {
                    page.gauge(&format!("node_cooling_device_{file}"), help)
                        .row(&[("name", device), ("type", &kind)], state as f64);
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::fixture::check;

    #[test]
    fn zones_and_cooling_devices() {
        check(
            super::read,
            &[
                ("sys/class/thermal/thermal_zone0/type", "cpu-thermal\n"),
                ("sys/class/thermal/thermal_zone0/temp", "12376\n"),
                ("sys/class/thermal/cooling_device0/type", "Processor\n"),
                ("sys/class/thermal/cooling_device0/cur_state", "0\n"),
                ("sys/class/thermal/cooling_device0/max_state", "3\n"),
            ],
            "node_cooling_device_cur_state{name=\"0\",type=\"Processor\"} 0\n\
             node_cooling_device_max_state{name=\"0\",type=\"Processor\"} 3\n\
             node_thermal_zone_temp{zone=\"0\",type=\"cpu-thermal\"} 12.376\n",
        );
    }
}
