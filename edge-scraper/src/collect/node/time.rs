//! The machine's clock: time, zone and clock sources.

use std::time::{SystemTime, UNIX_EPOCH};

use super::page::Page;
use super::roots::{PartError, Roots, attribute, names};

pub(super) fn read(roots: &Roots, page: &mut Page) -> Result<(), PartError> {
    // The machine's clock is what is measured here, so it is read itself and not through the process's clock.
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    page.gauge(
        "node_time_seconds",
        "System time in seconds since epoch (1970).",
    )
    .value(now.as_nanos() as f64 / 1e9);
    let zone = jiff::tz::TimeZone::system();
    let info = zone.to_offset_info(jiff::Timestamp::now());
    page.gauge(
        "node_time_zone_offset_seconds",
        "System time zone offset in seconds.",
    )
    .row(
        &[("time_zone", info.abbreviation())],
        f64::from(info.offset().seconds()),
    );
    clock_sources(roots, page)
}

fn clock_sources(roots: &Roots, page: &mut Page) -> Result<(), PartError> {
    let folder = roots.sys.join("devices/system/clocksource");
    let devices = names(&folder)?;
    let devices = devices
        .iter()
        .filter(|name| name.starts_with("clocksource"));
    for (index, name) in devices.enumerate() {
        let device = index.to_string();
        let text = |file: &str| attribute(&folder.join(name).join(file)).unwrap_or_default();
        let family = page.gauge(
            "node_time_clocksource_available_info",
            "Available clocksources read from '/sys/devices/system/clocksource'.",
        );
        for source in text("available_clocksource").split_ascii_whitespace() {
            family.row(&[("device", &device), ("clocksource", source)], 1.0);
        }
        page.gauge(
            "node_time_clocksource_current_info",
            "Current clocksource read from '/sys/devices/system/clocksource'.",
        )
        .row(
            &[
                ("device", &device),
                ("clocksource", &text("current_clocksource")),
            ],
            1.0,
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::fixture::check;

    #[test]
    fn clock_sources() {
        check(
            super::clock_sources,
            &[
                (
                    "sys/devices/system/clocksource/clocksource0/available_clocksource",
                    "tsc hpet \n",
                ),
                (
                    "sys/devices/system/clocksource/clocksource0/current_clocksource",
                    "tsc\n",
                ),
            ],
            "node_time_clocksource_available_info{device=\"0\",clocksource=\"hpet\"} 1\n\
             node_time_clocksource_available_info{device=\"0\",clocksource=\"tsc\"} 1\n\
             node_time_clocksource_current_info{device=\"0\",clocksource=\"tsc\"} 1\n",
        );
    }
}
