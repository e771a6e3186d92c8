//! `/proc/net/netstat`, `snmp` and `snmp6`: protocol counters, those that node_exporter exports by default.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use super::options::Filter;
use super::page::Page;
use super::roots::{PartError, Roots, Text};

pub(super) struct NetStat {
    fields: Filter,
    /// Which of the names that came so far are shown: to ask the pattern four hundred times was most of the work.
    known: Mutex<HashMap<String, bool>>,
}

/// More names than any kernel has.
const NAMES_MAX: usize = 10_000;

impl NetStat {
    /// Shows `fields`, named `Tcp_InSegs`.
    pub(super) fn new(fields: Filter) -> NetStat {
        NetStat {
            fields,
            known: Mutex::default(),
        }
    }

    pub(super) fn read(&self, roots: &Roots, page: &mut Page) -> Result<(), PartError> {
        for file in ["net/netstat", "net/snmp"] {
            self.pairs_of_lines(&Text::read(roots.proc.join(file))?, page)?;
        }
        // Not there with IPv6 off.
        if let Some(text) = Text::read_if_there(roots.proc.join("net/snmp6"))? {
            self.line_by_line(&text, page)?;
        }
        Ok(())
    }

    /// `Tcp: names…` and below it `Tcp: values…`.
    fn pairs_of_lines(&self, text: &Text, page: &mut Page) -> Result<(), PartError> {
        let mut lines = text.lines();
        while let (Some(names), Some(values)) = (lines.next(), lines.next()) {
            let (mut names, mut values) = (names.split(' '), values.split(' '));
            let protocol = names.next().unwrap_or("");
            if values.next() != Some(protocol) {
                return Err(text.malformed("a line of values for each line of names", protocol));
            }
            let protocol = protocol.trim_end_matches(':');
            for name in names {
                self.add(text, page, protocol, name, values.next())?;
            }
        }
        Ok(())
    }

    /// `Ip6InReceives 7`.
    fn line_by_line(&self, text: &Text, page: &mut Page) -> Result<(), PartError> {
        for line in text.lines() {
            let mut fields = line.split_ascii_whitespace();
            if let (Some(name), Some(value)) = (fields.next(), fields.next())
                && let Some(six) = name.find('6')
            {
                let (protocol, name) = name.split_at(six + 1);
                self.add(text, page, protocol, name, Some(value))?;
            }
        }
        Ok(())
    }

    fn shows(&self, key: &str) -> bool {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(shown) = known.get(key) {
            return *shown;
        }
        let shown = self.fields.takes(key);
        if known.len() < NAMES_MAX {
            known.insert(key.to_owned(), shown);
        }
        shown
    }

    fn add(
        &self,
        text: &Text,
        page: &mut Page,
        protocol: &str,
        name: &str,
        value: Option<&str>,
    ) -> Result<(), PartError> {
        let key = format!("{protocol}_{name}");
        if self.shows(&key) {
            let value = text.number(value)?;
            page.untyped(
                &format!("node_netstat_{key}"),
                &format!("Statistic {protocol}{name}."),
            )
            .value(value);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::check;
    use super::super::options::Patterns;
    use super::*;

    #[test]
    fn the_fields_exported_by_default() {
        let netstat = NetStat::new(Patterns::default().showing("netstat.fields"));
        check(
            move |roots: &Roots, page: &mut Page| netstat.read(roots, page),
            &[
                (
                    "proc/net/netstat",
                    "TcpExt: SyncookiesSent Other ListenDrops\nTcpExt: 1 2 3\n",
                ),
                (
                    "proc/net/snmp",
                    "Ip: Forwarding DefaultTTL\nIp: 2 64\nTcp: MaxConn CurrEstab\nTcp: -1 4\n",
                ),
                (
                    "proc/net/snmp6",
                    "Ip6InOctets   \t460\nUdpLite6InErrors 0\nIcmp6Weird 1\n",
                ),
            ],
            "node_netstat_Ip6_InOctets 460\nnode_netstat_Ip_Forwarding 2\nnode_netstat_TcpExt_ListenDrops 3\n\
             node_netstat_TcpExt_SyncookiesSent 1\nnode_netstat_Tcp_CurrEstab 4\nnode_netstat_UdpLite6_InErrors 0\n",
        );
    }
}
