//! systemd's units by state, asked over D-Bus. Off by default, as in node_exporter: five series a unit, and a hundred units are few.
//!
//! The type of a service does not change while it runs and costs a call each, so it is asked once an hour.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::dbus::{Bus, BusError, Call, Value};
use super::options::Filter;
use super::page::Page;
use super::roots::{PartError, Roots};

/// Below the root: the machine's own bus.
pub(super) const SOCKET: &str = "run/dbus/system_bus_socket";

const SERVICE: &str = "org.freedesktop.systemd1";
const MANAGER_PATH: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";

const STATES: [&str; 5] = ["active", "activating", "deactivating", "inactive", "failed"];

/// How long the types of units are believed.
const TYPES_LAST: Duration = Duration::from_secs(3600);

/// More units than any machine has; a bus that lists more is not believed.
const UNITS_MAX: usize = 50_000;

pub(super) struct Systemd {
    units: Filter,
    /// Types of services and mounts by unit, and since when.
    types: Mutex<Option<(Instant, BTreeMap<String, String>)>>,
}

struct Unit {
    name: String,
    state: String,
    path: String,
}

impl Systemd {
    pub(super) fn new(units: Filter) -> Systemd {
        Systemd {
            units,
            types: Mutex::default(),
        }
    }

    pub(super) fn read(&self, roots: &Roots, page: &mut Page) -> Result<(), PartError> {
        let socket = roots.root.join(SOCKET);
        // Not every machine is run by systemd, nor does every container see its bus.
        if !socket.exists() {
            return Err(PartError::NoData);
        }
        self.ask(&socket, page).map_err(|error| PartError::Read {
            path: PathBuf::from(&socket),
            source: std::io::Error::other(error),
        })
    }

    fn ask(&self, socket: &std::path::Path, page: &mut Page) -> Result<(), BusError> {
        let mut bus = Bus::connect(socket)?;
        if let Value::Text(version) = manager(&mut bus, "Version")? {
            page.gauge("node_systemd_version", "Detected systemd version")
                .row(&[("version", &version)], number_of(&version));
        }
        let running = manager(&mut bus, "SystemState")? == Value::Text("running".to_owned());
        page.gauge(
            "node_systemd_system_running",
            "Whether the system is operational (see 'systemctl is-system-running')",
        )
        .value(f64::from(u8::from(running)));
        let mut units = list(&mut bus)?;
        let family = page.gauge("node_systemd_units", "Summary of systemd unit states");
        for state in STATES {
            let count = units.iter().filter(|unit| unit.state == state).count();
            family.row(&[("state", state)], count as f64);
        }
        units.retain(|unit| self.units.takes(&unit.name));
        let types = self.types(&mut bus, &units)?;
        for unit in &units {
            let kind = types.get(&unit.name).map_or("", String::as_str);
            let family = page.gauge("node_systemd_unit_state", "Systemd unit");
            for state in STATES {
                let value = if state == unit.state { 1.0 } else { 0.0 };
                family.row(
                    &[("name", &unit.name), ("state", state), ("type", kind)],
                    value,
                );
            }
            details(&mut bus, unit, page)?;
        }
        Ok(())
    }

    /// The types of the services and mounts among the units.
    fn types(&self, bus: &mut Bus, units: &[Unit]) -> Result<BTreeMap<String, String>, BusError> {
        let mut kept = self.types.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let (since, mut types) = match kept.take() {
            Some((since, types)) if now.duration_since(since) < TYPES_LAST => (since, types),
            _ => (now, BTreeMap::new()),
        };
        let names: BTreeSet<&str> = units.iter().map(|unit| unit.name.as_str()).collect();
        types.retain(|name, _| names.contains(name.as_str()));
        for unit in units {
            let interface = match unit.name.rsplit_once('.') {
                Some((_, "service")) => "org.freedesktop.systemd1.Service",
                Some((_, "mount")) => "org.freedesktop.systemd1.Mount",
                _ => continue,
            };
            if !types.contains_key(&unit.name)
                && let Some(Value::Text(kind)) = property(bus, unit, interface, "Type")?
            {
                types.insert(unit.name.clone(), kind);
            }
        }
        *kept = Some((since, types.clone()));
        Ok(types)
    }
}

fn manager(bus: &mut Bus, name: &str) -> Result<Value, BusError> {
    bus.property(SERVICE, MANAGER_PATH, MANAGER, name)
}

/// A unit may go between the list and the question, and older versions lack some properties: nothing then.
fn property(
    bus: &mut Bus,
    unit: &Unit,
    interface: &str,
    name: &str,
) -> Result<Option<Value>, BusError> {
    match bus.property(SERVICE, &unit.path, interface, name) {
        Ok(value) => Ok(Some(value)),
        Err(BusError::Answered(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

fn list(bus: &mut Bus) -> Result<Vec<Unit>, BusError> {
    let reply = bus.call(&Call {
        service: SERVICE,
        path: MANAGER_PATH,
        interface: MANAGER,
        member: "ListUnits",
        arguments: &[],
    })?;
    let mut reader = reply.reader();
    let mut array = reader.array_of_structs()?;
    let mut units = Vec::new();
    while !array.at_end() {
        array.align(8)?;
        let name = array.text()?;
        let (_description, _load) = (array.text()?, array.text()?);
        let state = array.text()?;
        let (_sub, _followed) = (array.text()?, array.text()?);
        let path = array.text()?;
        let (_job, _kind, _job_path) = (array.u32()?, array.text()?, array.text()?);
        if units.len() == UNITS_MAX {
            return Err(BusError::Malformed("more units than a machine has"));
        }
        units.push(Unit { name, state, path });
    }
    Ok(units)
}

/// What sockets and timers have beside a state.
fn details(bus: &mut Bus, unit: &Unit, page: &mut Page) -> Result<(), BusError> {
    let labels = [("name", unit.name.as_str())];
    match unit.name.rsplit_once('.') {
        Some((_, "socket")) => {
            let mut ask = |name| match property(bus, unit, "org.freedesktop.systemd1.Socket", name)
            {
                Ok(Some(Value::Number(number))) => Ok(Some(number as f64)),
                Ok(_) => Ok(None),
                Err(error) => Err(error),
            };
            if let Some(accepted) = ask("NAccepted")? {
                page.counter(
                    "node_systemd_socket_accepted_connections_total",
                    "Total number of accepted socket connections",
                )
                .row(&labels, accepted);
            }
            if let Some(current) = ask("NConnections")? {
                page.gauge(
                    "node_systemd_socket_current_connections",
                    "Current number of socket connections",
                )
                .row(&labels, current);
            }
            if let Some(refused) = ask("NRefused")? {
                // A gauge in node_exporter.
                page.gauge(
                    "node_systemd_socket_refused_connections_total",
                    "Total number of refused socket connections",
                )
                .row(&labels, refused);
            }
        }
        Some((_, "timer")) => {
            let interface = "org.freedesktop.systemd1.Timer";
            if let Some(Value::Number(micros)) = property(bus, unit, interface, "LastTriggerUSec")?
            {
                page.gauge(
                    "node_systemd_timer_last_trigger_seconds",
                    "Seconds since epoch of last trigger.",
                )
                .row(&labels, micros as f64 / 1e6);
            }
        }
        _ => {}
    }
    Ok(())
}

/// 252.38 of `252.38-1~deb12u1`.
fn number_of(version: &str) -> f64 {
    let digits = |text: &str| {
        let other = text.find(|c: char| !c.is_ascii_digit());
        other.unwrap_or(text.len())
    };
    let start = version.find(|c: char| c.is_ascii_digit());
    let version = &version[start.unwrap_or(version.len())..];
    let mut end = digits(version);
    if version[end..].starts_with('.') {
        let part = digits(&version[end + 1..]);
        end += if part > 0 { part + 1 } else { 0 };
    }
    version[..end].parse().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::os::unix::net::UnixListener;

    use super::super::fake_bus;
    use super::super::fixture::Fixture;
    use super::super::options::Patterns;
    use super::*;

    fn page(systemd: &Systemd, roots: &Roots) -> Result<Vec<String>, String> {
        let mut page = Page::default();
        let result = systemd.read(roots, &mut page);
        let text = page.text();
        let rows = text
            .lines()
            .filter(|line| !line.starts_with('#') && !line.ends_with(" 0"));
        result
            .map(|()| rows.map(str::to_owned).collect())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn units_sockets_and_timers() {
        let fixture = Fixture::new(&[]);
        let asked = fake_bus::start(&fixture.path().join("root").join(SOCKET));
        let systemd = Systemd::new(Patterns::default().units());
        let expected = [
            "node_systemd_socket_accepted_connections_total{name=\"web.socket\"} 12",
            "node_systemd_socket_current_connections{name=\"web.socket\"} 3",
            "node_systemd_socket_refused_connections_total{name=\"web.socket\"} 1",
            "node_systemd_timer_last_trigger_seconds{name=\"clean.timer\"} 1.5",
            "node_systemd_unit_state{name=\"broken.service\",state=\"failed\",type=\"\"} 1",
            "node_systemd_unit_state{name=\"clean.timer\",state=\"inactive\",type=\"\"} 1",
            "node_systemd_unit_state{name=\"ssh.service\",state=\"active\",type=\"notify\"} 1",
            "node_systemd_unit_state{name=\"web.socket\",state=\"active\",type=\"\"} 1",
            "node_systemd_units{state=\"active\"} 3",
            "node_systemd_units{state=\"failed\"} 1",
            "node_systemd_units{state=\"inactive\"} 1",
            "node_systemd_version{version=\"252.38-1~deb12u1\"} 252.38",
        ];
        for types_asked in [2, 1] {
            asked.lock().unwrap().clear();
            assert_eq!(page(&systemd, &fixture.roots()).unwrap(), expected);
            // What is known is not asked again; what could not be told is.
            let types = asked
                .lock()
                .unwrap()
                .iter()
                .filter(|name| *name == "Type")
                .count();
            assert_eq!(types, types_asked);
        }
    }

    #[test]
    fn no_bus_and_a_bus_that_lets_nobody_in() {
        let fixture = Fixture::new(&[("root/run/dbus/x", "")]);
        let systemd = Systemd::new(Filter::all());
        assert_eq!(
            page(&systemd, &fixture.roots()).unwrap_err(),
            "nothing to collect on this machine"
        );
        let socket = fixture.path().join("root").join(SOCKET);
        let listener = UnixListener::bind(&socket).unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut line = String::new();
            BufReader::new(&stream).read_line(&mut line).unwrap();
            stream.write_all(b"REJECTED EXTERNAL\r\n").unwrap();
        });
        let error = page(&systemd, &fixture.roots()).unwrap_err();
        assert_eq!(
            error,
            format!(
                "{}: it does not let us in: \"REJECTED EXTERNAL\\r\\n\"",
                socket.display()
            )
        );
    }

    #[test]
    fn versions() {
        for (version, expected) in [
            ("252.38-1~deb12u1", 252.38),
            ("255", 255.0),
            ("v247.3", 247.3),
            ("249.", 249.0),
            ("unknown", 0.0),
        ] {
            assert_eq!(number_of(version), expected, "{version}");
        }
    }
}
