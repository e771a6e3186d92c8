//! `/proc/net/ip_vs`: the kernel's load balancer, as Kubernetes and keepalived use it.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::page::Page;
use super::roots::{PartError, Roots, Text};

const TOTALS: [(&str, &str); 5] = [
    ("connections_total", "The total number of connections made."),
    (
        "incoming_packets_total",
        "The total number of incoming packets.",
    ),
    (
        "outgoing_packets_total",
        "The total number of outgoing packets.",
    ),
    ("incoming_bytes_total", "The total amount of incoming data."),
    ("outgoing_bytes_total", "The total amount of outgoing data."),
];

/// A virtual service: what clients connect to.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Service {
    protocol: String,
    address: String,
    port: String,
    mark: String,
}

pub(super) fn read(roots: &Roots, page: &mut Page) -> Result<(), PartError> {
    let text = Text::read(roots.proc.join("net/ip_vs_stats")).map_err(PartError::or_no_data)?;
    totals(&text, page)?;
    let text = Text::read(roots.proc.join("net/ip_vs"))?;
    backends(&text, page)
}

/// Two lines of heads, then one of numbers in hexadecimal.
fn totals(text: &Text, page: &mut Page) -> Result<(), PartError> {
    let line = text.lines().nth(2).unwrap_or_default();
    let mut fields = line.split_ascii_whitespace();
    for (name, help) in TOTALS {
        let field = fields.next().unwrap_or_default();
        let value = u64::from_str_radix(field, 16)
            .map_err(|_| text.malformed("a number in hexadecimal", field))?;
        page.counter(&format!("node_ipvs_{name}"), help)
            .value(value as f64);
    }
    Ok(())
}

fn backends(text: &Text, page: &mut Page) -> Result<(), PartError> {
    let mut service = Service::default();
    // The same backend may stand behind a service twice: it is one series, the sum.
    let mut sums = BTreeMap::<(Service, String, String), [f64; 3]>::new();
    for line in text.lines() {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        match fields[..] {
            [protocol @ ("TCP" | "UDP" | "SCTP"), local, ..] => {
                let (address, port) = address(text, local)?;
                service = Service {
                    protocol: protocol.to_owned(),
                    address,
                    port,
                    mark: String::new(),
                };
            }
            ["FWM", mark, ..] => {
                service = Service {
                    protocol: "FWM".to_owned(),
                    port: "0".to_owned(),
                    mark: mark.to_owned(),
                    ..Service::default()
                };
            }
            ["->", remote, _, weight, active, inactive, ..] if weight != "Weight" => {
                let (address, port) = address(text, remote)?;
                let numbers = [active, inactive, weight];
                let sum = sums.entry((service.clone(), address, port)).or_default();
                for (slot, number) in sum.iter_mut().zip(numbers) {
                    *slot += text.number(Some(number))?;
                }
            }
            _ => {}
        }
    }
    for ((service, address, port), [active, inactive, weight]) in &sums {
        let labels = [
            ("local_address", service.address.as_str()),
            ("local_port", &service.port),
            ("remote_address", address),
            ("remote_port", port),
            ("proto", &service.protocol),
            ("local_mark", &service.mark),
        ];
        for (name, help, value) in [
            (
                "connections_active",
                "The current active connections by local and remote address.",
                active,
            ),
            (
                "connections_inactive",
                "The current inactive connections by local and remote address.",
                inactive,
            ),
            (
                "weight",
                "The current backend weight by local and remote address.",
                weight,
            ),
        ] {
            page.gauge(&format!("node_ipvs_backend_{name}"), help)
                .row(&labels, *value);
        }
    }
    Ok(())
}

/// `C0A80016:0CEA` or `[2620:0000:…:0002]:0050`.
fn address(text: &Text, field: &str) -> Result<(String, String), PartError> {
    let parsed = field.rsplit_once(':').and_then(|(host, port)| {
        let port = u16::from_str_radix(port, 16).ok()?;
        let host = match host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
            Some(host) => host.parse::<Ipv6Addr>().ok()?.to_string(),
            None => Ipv4Addr::from(u32::from_str_radix(host, 16).ok()?).to_string(),
        };
        Some((host, port.to_string()))
    });
    parsed.ok_or_else(|| text.malformed("an address and a port in hexadecimal", field))
}

#[cfg(test)]
mod tests {
    use super::super::fixture::check;

    const STATS: (&str, &str) = (
        "proc/net/ip_vs_stats",
        "   Total Incoming Outgoing         Incoming         Outgoing\n   Conns  Packets  Packets            Bytes            Bytes\n 16AA370 E33656E5        0     51D8C8883AB3                0\n\n",
    );
    const HEAD: &str = "IP Virtual Server version 1.2.1 (size=4096)\nProt LocalAddress:Port Scheduler Flags\n  -> RemoteAddress:Port Forward Weight ActiveConn InActConn\n";

    #[test]
    fn services_and_their_backends() {
        let table = format!(
            "{HEAD}TCP  C0A80016:0CEA wlc  \n  -> C0A85216:0CEA      Tunnel  100    248        2\n  -> C0A85216:0CEA      Tunnel  1      2          3\n\
             TCP  [2620:0000:0000:0000:0000:0000:0000:0001]:0050 sh\n  -> [2620:0000:0000:0000:0000:0000:0000:0002]:0050      Route   1      0          0\n\
             FWM  10001000 wlc\n  -> C0A8321A:0CEA      Route   20     64         1\n"
        );
        let six = "{local_address=\"2620::1\",local_port=\"80\",remote_address=\"2620::2\",remote_port=\"80\",proto=\"TCP\",local_mark=\"\"}";
        let four = "{local_address=\"192.168.0.22\",local_port=\"3306\",remote_address=\"192.168.82.22\",remote_port=\"3306\",proto=\"TCP\",local_mark=\"\"}";
        let mark = "{local_address=\"\",local_port=\"0\",remote_address=\"192.168.50.26\",remote_port=\"3306\",proto=\"FWM\",local_mark=\"10001000\"}";
        let active = "node_ipvs_backend_connections_active";
        let inactive = "node_ipvs_backend_connections_inactive";
        let weight = "node_ipvs_backend_weight";
        check(
            super::read,
            &[STATS, ("proc/net/ip_vs", &table)],
            &format!(
                "{active}{mark} 64\n{active}{four} 250\n{active}{six} 0\n{inactive}{mark} 1\n{inactive}{four} 5\n{inactive}{six} 0\n\
                 {weight}{mark} 20\n{weight}{four} 101\n{weight}{six} 1\n\
                 node_ipvs_connections_total 23765872\nnode_ipvs_incoming_bytes_total 89991519156915\n\
                 node_ipvs_incoming_packets_total 3811989221\nnode_ipvs_outgoing_bytes_total 0\nnode_ipvs_outgoing_packets_total 0\n"
            ),
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        check(
            super::read,
            &[],
            "error nothing to collect on this machine\n",
        );
        check(
            super::read,
            &[("proc/net/ip_vs_stats", "a\nb\n")],
            "error proc/net/ip_vs_stats: expected a number in hexadecimal, found \"\"\n",
        );
    }
}
