//! `dns_sd_configs`: names asked for again and again, whose records are targets.

use std::collections::BTreeMap;
use std::sync::Arc;

use daemon::Clock;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::ResolveHosts;
use hickory_resolver::proto::rr::{RData, RecordType};

use super::remote::Found;
use super::{ADDRESS_LABEL, Discovered};
use crate::config::{DnsRecord, DnsSd};

/// More records of one name are a mistake, or somebody else's.
const RECORDS_MAX: usize = 10_000;

const NAME_LABEL: &str = "__meta_dns_name";
const SRV_TARGET_LABEL: &str = "__meta_dns_srv_record_target";
const SRV_PORT_LABEL: &str = "__meta_dns_srv_record_port";
const MX_TARGET_LABEL: &str = "__meta_dns_mx_record_target";
const NS_TARGET_LABEL: &str = "__meta_dns_ns_record_target";

pub(super) async fn run(config: DnsSd, found: Arc<Found>, clock: Arc<dyn Clock>) {
    // Targets by name: one name that cannot be resolved keeps its own and none of the others'.
    let mut known = BTreeMap::new();
    loop {
        // Made anew each time: which servers to ask may change.
        match daemon::blocking(system_resolver).await {
            Ok(resolver) => {
                let failed = ask(&config, &resolver, &mut known).await;
                if known.len() == config.names.len() {
                    found
                        .publish(known.values().flatten().cloned().collect())
                        .await;
                }
                if let Some(error) = failed {
                    found.failed(error);
                }
            }
            Err(error) => found.failed(error),
        }
        clock.sleep(config.refresh).await;
    }
}

fn system_resolver() -> Result<TokioResolver, String> {
    let mut builder = TokioResolver::builder_tokio()
        .map_err(|error| format!("/etc/resolv.conf cannot be used: {error}"))?;
    builder.options_mut().cache_size = 0;
    // Records come from name servers, as with Prometheus.
    builder.options_mut().use_hosts_file = ResolveHosts::Never;
    builder.build().map_err(|error| error.to_string())
}

/// Asks for every name; the first thing that went wrong.
async fn ask(
    config: &DnsSd,
    resolver: &TokioResolver,
    known: &mut BTreeMap<String, Vec<Discovered>>,
) -> Option<String> {
    let mut failed = None;
    for name in &config.names {
        match targets(config, resolver, name).await {
            Ok(targets) => {
                known.insert(name.clone(), targets);
            }
            Err(error) => {
                failed.get_or_insert(format!("{name}: {error}"));
            }
        }
    }
    failed
}

async fn targets(
    config: &DnsSd,
    resolver: &TokioResolver,
    name: &str,
) -> Result<Vec<Discovered>, String> {
    let kind = match config.record {
        DnsRecord::A => RecordType::A,
        DnsRecord::Aaaa => RecordType::AAAA,
        DnsRecord::Srv => RecordType::SRV,
        DnsRecord::Mx => RecordType::MX,
        DnsRecord::Ns => RecordType::NS,
    };
    let answer = match resolver.lookup(name, kind).await {
        Ok(answer) => answer,
        // The servers know that there is nothing: an answer.
        Err(error) if error.is_nx_domain() || error.is_no_records_found() => return Ok(Vec::new()),
        Err(error) => return Err(error.to_string()),
    };
    let records = answer.answers().iter().take(RECORDS_MAX);
    Ok(records
        .filter_map(|record| target(&record.data, config.port))
        .map(|mut target| {
            target.insert(NAME_LABEL.to_owned(), name.to_owned());
            target
        })
        .collect())
}

/// The target of a record; None for records that only lead to others (CNAME).
fn target(record: &RData, port: u16) -> Option<Discovered> {
    let named = |name: String, port: u16, label: &str| {
        let host = name.strip_suffix('.').unwrap_or(&name);
        let address = format!("{host}:{port}");
        Discovered::from([
            (ADDRESS_LABEL.to_owned(), address),
            (label.to_owned(), name),
        ])
    };
    let address = |address: String| Discovered::from([(ADDRESS_LABEL.to_owned(), address)]);
    Some(match record {
        RData::A(ip) => address(format!("{}:{port}", ip.0)),
        RData::AAAA(ip) => address(format!("[{}]:{port}", ip.0)),
        RData::SRV(srv) => {
            let mut target = named(srv.target.to_string(), srv.port, SRV_TARGET_LABEL);
            target.insert(SRV_PORT_LABEL.to_owned(), srv.port.to_string());
            target
        }
        RData::MX(mx) => named(mx.exchange.to_string(), port, MX_TARGET_LABEL),
        RData::NS(ns) => named(ns.0.to_string(), port, NS_TARGET_LABEL),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};
    use std::time::Duration;

    use hickory_resolver::Resolver;
    use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
    use hickory_resolver::net::runtime::TokioRuntimeProvider;
    use hickory_resolver::proto::op::{Message, OpCode, ResponseCode};
    use hickory_resolver::proto::rr::rdata::{A, AAAA, CNAME, MX, NS, SRV};
    use hickory_resolver::proto::rr::{Name, Record};

    use super::*;

    fn name(text: &str) -> Name {
        Name::from_ascii(text).unwrap()
    }

    /// What the name server of the test says.
    fn answer(asked: &str, kind: RecordType) -> Result<Vec<RData>, ResponseCode> {
        Ok(match (asked, kind) {
            ("hosts.test.", RecordType::A) => vec![
                RData::CNAME(CNAME(name("real.test."))),
                RData::A(A(Ipv4Addr::new(10, 0, 0, 1))),
                RData::A(A(Ipv4Addr::new(10, 0, 0, 2))),
            ],
            ("hosts.test.", RecordType::AAAA) => {
                vec![RData::AAAA(AAAA("fd00::1".parse().unwrap()))]
            }
            ("_x._tcp.test.", RecordType::SRV) => {
                vec![RData::SRV(SRV::new(0, 0, 9100, name("a.test.")))]
            }
            ("mail.test.", RecordType::MX) => vec![RData::MX(MX::new(5, name("mx.test.")))],
            ("zone.test.", RecordType::NS) => vec![RData::NS(NS(name("ns.test.")))],
            ("broken.test.", _) => return Err(ResponseCode::ServFail),
            _ => return Err(ResponseCode::NXDomain),
        })
    }

    /// A resolver that asks a name server of this process.
    async fn resolver() -> TokioResolver {
        let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let port = socket.local_addr().unwrap().port();
        let tasks = daemon::Tasks::new();
        tasks.spawn_brief("name server", async move {
            let mut buffer = [0; 2048];
            while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
                let query = Message::from_vec(&buffer[..length]).unwrap();
                let asked = query.queries[0].clone();
                let mut message = Message::response(query.metadata.id, OpCode::Query);
                message.add_query(asked.clone());
                match answer(&asked.name().to_string(), asked.query_type()) {
                    Ok(records) => {
                        for data in records {
                            message.add_answer(Record::from_rdata(asked.name().clone(), 60, data));
                        }
                    }
                    Err(code) => message.metadata.response_code = code,
                }
                socket
                    .send_to(&message.to_vec().unwrap(), from)
                    .await
                    .unwrap();
            }
        });
        let mut connection = ConnectionConfig::udp();
        connection.port = port;
        let server = NameServerConfig::new(IpAddr::V4(Ipv4Addr::LOCALHOST), true, vec![connection]);
        let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
        let mut builder = Resolver::builder_with_config(config, TokioRuntimeProvider::default());
        builder.options_mut().cache_size = 0;
        builder.options_mut().attempts = 1;
        builder.build().unwrap()
    }

    fn config(names: &[&str], record: DnsRecord) -> DnsSd {
        DnsSd {
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            record,
            port: 80,
            refresh: Duration::from_secs(30),
        }
    }

    #[tokio::test]
    async fn records_of_every_kind() {
        let resolver = resolver().await;
        for (asked, record, expected) in [
            (
                "hosts.test",
                DnsRecord::A,
                r#"[{"__address__": "10.0.0.1:80", "__meta_dns_name": "hosts.test"}, {"__address__": "10.0.0.2:80", "__meta_dns_name": "hosts.test"}]"#,
            ),
            (
                "hosts.test",
                DnsRecord::Aaaa,
                r#"[{"__address__": "[fd00::1]:80", "__meta_dns_name": "hosts.test"}]"#,
            ),
            (
                "_x._tcp.test",
                DnsRecord::Srv,
                r#"[{"__address__": "a.test:9100", "__meta_dns_name": "_x._tcp.test", "__meta_dns_srv_record_port": "9100", "__meta_dns_srv_record_target": "a.test."}]"#,
            ),
            (
                "mail.test",
                DnsRecord::Mx,
                r#"[{"__address__": "mx.test:80", "__meta_dns_mx_record_target": "mx.test.", "__meta_dns_name": "mail.test"}]"#,
            ),
            (
                "zone.test",
                DnsRecord::Ns,
                r#"[{"__address__": "ns.test:80", "__meta_dns_name": "zone.test", "__meta_dns_ns_record_target": "ns.test."}]"#,
            ),
            ("nothing.test", DnsRecord::A, "[]"),
        ] {
            let found = targets(&config(&[asked], record), &resolver, asked)
                .await
                .unwrap();
            assert_eq!(format!("{found:?}"), expected);
        }
    }

    #[tokio::test]
    async fn a_name_that_fails_keeps_its_targets() {
        let resolver = resolver().await;
        let config = config(&["broken.test", "hosts.test"], DnsRecord::A);
        let before = Discovered::from([(ADDRESS_LABEL.to_owned(), "old:80".to_owned())]);
        let mut known = BTreeMap::from([("broken.test".to_owned(), vec![before.clone()])]);
        let error = ask(&config, &resolver, &mut known).await.unwrap();
        assert!(error.starts_with("broken.test: "), "{error}");
        assert_eq!(known["broken.test"], [before]);
        assert_eq!(known["hosts.test"].len(), 2);
    }
}
