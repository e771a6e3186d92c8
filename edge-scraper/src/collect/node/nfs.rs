//! `/proc/net/rpc/nfs`: what this machine asks of NFS servers.

use super::page::Page;
use super::roots::{PartError, Roots, Text};
use super::rpc::{NFS2, NFS3, numbers, procedures};

/// The client's own numbering of NFS 4. Kernels that do not know the later ones yet show them as never called.
const NFS4: [&str; 59] = [
    "Null",
    "Read",
    "Write",
    "Commit",
    "Open",
    "OpenConfirm",
    "OpenNoattr",
    "OpenDowngrade",
    "Close",
    "Setattr",
    "FsInfo",
    "Renew",
    "SetClientID",
    "SetClientIDConfirm",
    "Lock",
    "Lockt",
    "Locku",
    "Access",
    "Getattr",
    "Lookup",
    "LookupRoot",
    "Remove",
    "Rename",
    "Link",
    "Symlink",
    "Create",
    "Pathconf",
    "StatFs",
    "ReadLink",
    "ReadDir",
    "ServerCaps",
    "DelegReturn",
    "GetACL",
    "SetACL",
    "FsLocations",
    "ReleaseLockowner",
    "Secinfo",
    "FsidPresent",
    "ExchangeID",
    "CreateSession",
    "DestroySession",
    "Sequence",
    "GetLeaseTime",
    "ReclaimComplete",
    "LayoutGet",
    "GetDeviceInfo",
    "LayoutCommit",
    "LayoutReturn",
    "SecinfoNoName",
    "TestStateID",
    "FreeStateID",
    "GetDeviceList",
    "BindConnToSession",
    "DestroyClientID",
    "Seek",
    "Allocate",
    "DeAllocate",
    "LayoutStats",
    "Clone",
];

/// What has no line in the file counts as never called.
struct Calls {
    net: [f64; 4],
    rpc: [f64; 3],
    nfs2: Vec<f64>,
    nfs3: Vec<f64>,
    nfs4: Vec<f64>,
}

pub(super) fn read(roots: &Roots, page: &mut Page) -> Result<(), PartError> {
    let text = Text::read(roots.proc.join("net/rpc/nfs")).map_err(PartError::or_no_data)?;
    let mut calls = Calls {
        net: [0.0; 4],
        rpc: [0.0; 3],
        nfs2: vec![0.0; NFS2.len()],
        nfs3: vec![0.0; NFS3.len()],
        nfs4: vec![0.0; NFS4.len()],
    };
    for line in text.lines() {
        let (keyword, fields) = line.split_once(' ').unwrap_or((line, ""));
        let found = numbers(&text, fields)?;
        let wrong = |_| text.malformed("as many numbers as the kernel shows", line);
        match keyword {
            "net" => calls.net = found.try_into().map_err(wrong)?,
            "rpc" => calls.rpc = found.try_into().map_err(wrong)?,
            "proc2" => fill(&mut calls.nfs2, procedures(&text, line, &found)?),
            "proc3" => fill(&mut calls.nfs3, procedures(&text, line, &found)?),
            "proc4" => fill(&mut calls.nfs4, procedures(&text, line, &found)?),
            _ => {} // of a kernel newer than we are
        }
    }
    calls.print(page);
    Ok(())
}

fn fill(calls: &mut [f64], found: &[f64]) {
    for (slot, count) in calls.iter_mut().zip(found) {
        *slot = *count;
    }
}

impl Calls {
    fn print(&self, page: &mut Page) {
        let [_, udp, tcp, connections] = self.net;
        for (protocol, packets) in [("udp", udp), ("tcp", tcp)] {
            page.counter(
                "node_nfs_packets_total",
                "Total NFSd network packets (sent+received) by protocol type.",
            )
            .row(&[("protocol", protocol)], packets);
        }
        let [rpcs, retransmissions, refreshes] = self.rpc;
        for (name, help, value) in [
            (
                "connections_total",
                "Total number of NFSd TCP connections.",
                connections,
            ),
            ("rpcs_total", "Total number of RPCs performed.", rpcs),
            (
                "rpc_retransmissions_total",
                "Number of RPC transmissions performed.",
                retransmissions,
            ),
            (
                "rpc_authentication_refreshes_total",
                "Number of RPC authentication refreshes performed.",
                refreshes,
            ),
        ] {
            page.counter(&format!("node_nfs_{name}"), help).value(value);
        }
        let family = page.counter(
            "node_nfs_requests_total",
            "Number of NFS procedures invoked.",
        );
        let versions: [(&str, &[&str], &[f64]); 3] = [
            ("2", &NFS2, &self.nfs2),
            ("3", &NFS3, &self.nfs3),
            ("4", &NFS4, &self.nfs4),
        ];
        for (version, names, counts) in versions {
            for (method, count) in names.iter().zip(counts) {
                family.row(&[("proto", version), ("method", method)], *count);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{Fixture, check};
    use super::*;

    #[test]
    fn an_old_kernel_and_a_new_one() {
        let mut four = String::from("proc4 3 1 2 3\n");
        for _ in 0..2 {
            let file = format!(
                "net 70 71 69 45\nrpc 1218785755 374636 9\nproc3 22 {}{four}future 1\n",
                "5 ".repeat(22).trim_end().to_owned() + "\n"
            );
            let fixture = Fixture::new(&[("proc/net/rpc/nfs", &file)]);
            let mut page = Page::default();
            read(&fixture.roots(), &mut page).unwrap();
            let page = page.text();
            for row in [
                "node_nfs_packets_total{protocol=\"tcp\"} 69\n",
                "node_nfs_connections_total 45\n",
                "node_nfs_rpc_retransmissions_total 374636\n",
                "{proto=\"2\",method=\"FsStat\"} 0\n",
                "{proto=\"3\",method=\"Commit\"} 5\n",
                "{proto=\"4\",method=\"Write\"} 3\n",
            ] {
                assert!(page.contains(row), "{row} in {page}");
            }
            // One that has more procedures than we have names.
            four = format!("proc4 63 1 2 3 {}\n", "7 ".repeat(60).trim_end());
        }
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
            &[("proc/net/rpc/nfs", "net 70 71 69\n")],
            "error proc/net/rpc/nfs: expected as many numbers as the kernel shows, found \"net 70 71 69\"\n",
        );
        check(
            super::read,
            &[("proc/net/rpc/nfs", "proc3 22 1 2\n")],
            "error proc/net/rpc/nfs: expected a count and so many numbers, found \"proc3 22 1 2\"\n",
        );
    }
}
