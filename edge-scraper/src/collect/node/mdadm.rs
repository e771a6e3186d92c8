//! `/proc/mdstat`: software RAID, its disks and how far it is synced.

use super::page::Page;
use super::roots::{PartError, Roots, Text};

/// One array as the file shows it.
struct Array<'a> {
    name: &'a str,
    /// Its first line behind the colon: state, level, disks.
    head: &'a str,
    /// The lines below, up to the blank one.
    rest: Vec<&'a str>,
}

pub(super) fn read(roots: &Roots, page: &mut Page) -> Result<(), PartError> {
    let text = Text::read(roots.proc.join("mdstat")).map_err(PartError::or_no_data)?;
    let mut arrays: Vec<Array<'_>> = Vec::new();
    let mut open = false;
    for line in text.lines() {
        if let Some((name, head)) = line.split_once(" : ")
            && line.starts_with("md")
        {
            arrays.push(Array {
                name,
                head,
                rest: Vec::new(),
            });
            open = true;
        } else if line.trim().is_empty() {
            open = false;
        } else if open && let Some(array) = arrays.last_mut() {
            array.rest.push(line);
        }
    }
    for array in arrays {
        array.print(&text, page)?;
    }
    Ok(())
}

impl Array<'_> {
    fn print(&self, text: &Text, page: &mut Page) -> Result<(), PartError> {
        let status = self.rest.first().copied().unwrap_or_default();
        let blocks = text.number(status.split_ascii_whitespace().next())?;
        let (required, active) = self.disks(status);
        let (state, synced) = self.progress(text, blocks)?;
        for known in ["active", "inactive", "recovering", "resync", "check"] {
            let value = if known == state { 1.0 } else { 0.0 };
            page.gauge("node_md_state", "Indicates the state of md-device.")
                .row(&[("device", self.name), ("state", known)], value);
        }
        let count = |mark: &str| self.head.matches(mark).count() as f64;
        for (state, value) in [
            ("active", active),
            ("failed", count("(F)")),
            ("spare", count("(S)")),
        ] {
            page.gauge(
                "node_md_disks",
                "Number of active/failed/spare disks of device.",
            )
            .row(&[("device", self.name), ("state", state)], value);
        }
        for (name, help, value) in [
            (
                "disks_required",
                "Total number of disks of device.",
                required,
            ),
            ("blocks", "Total number of blocks on device.", blocks),
            (
                "blocks_synced",
                "Number of blocks synced on device.",
                synced,
            ),
        ] {
            page.gauge(&format!("node_md_{name}"), help)
                .row(&[("device", self.name)], value);
        }
        Ok(())
    }

    /// Disks that there should be, and that there are: `[4/3]` of the status line. Levels without redundancy show none, and
    /// live only with all of their disks.
    fn disks(&self, status: &str) -> (f64, f64) {
        if self.head.contains("raid0") || self.head.contains("linear") {
            let disks = self.head.matches('[').count() as f64;
            return (disks, disks);
        }
        if self.head.starts_with("inactive") {
            return (0.0, 0.0);
        }
        let pairs = status.split('[').filter_map(|part| part.split_once(']'));
        let mut counts = pairs.filter_map(|(pair, _)| {
            let (required, active) = pair.split_once('/')?;
            Some((required.parse().ok()?, active.parse().ok()?))
        });
        counts.next_back().unwrap_or((0.0, 0.0))
    }

    /// The state, and the blocks that are in sync: of a running check or rebuild those done so far.
    fn progress(&self, text: &Text, blocks: f64) -> Result<(&str, f64), PartError> {
        let work = [
            ("recovery", "recovering"),
            ("resync", "resync"),
            ("check", "check"),
        ];
        for line in self
            .rest
            .iter()
            .skip(1)
            .filter(|line| !line.contains("bitmap"))
        {
            let Some((_, state)) = work.iter().find(|(word, _)| line.contains(word)) else {
                continue;
            };
            if line.contains("PENDING") || line.contains("DELAYED") {
                return Ok((state, 0.0));
            }
            let done = line
                .split_once('(')
                .and_then(|(_, rest)| rest.split_once('/'));
            return Ok((state, text.number(done.map(|(done, _)| done))?));
        }
        let state = self
            .head
            .split_ascii_whitespace()
            .next()
            .unwrap_or_default();
        Ok((state, blocks))
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{Fixture, check};
    use super::*;

    /// For each array: state, required, active, failed, spare, blocks, synced.
    fn arrays(mdstat: &str) -> Vec<String> {
        let fixture = Fixture::new(&[("proc/mdstat", mdstat)]);
        let mut page = Page::default();
        read(&fixture.roots(), &mut page).unwrap();
        let page = page.text();
        let value = |key: &str| {
            page.lines()
                .find_map(|line| line.strip_prefix(key)?.strip_prefix(' '))
                .unwrap_or("?")
        };
        let names = page.lines().filter_map(|line| {
            line.strip_prefix("node_md_blocks{device=\"")?
                .split('"')
                .next()
        });
        let mut found = Vec::new();
        for name in names {
            let states = ["active", "inactive", "recovering", "resync", "check"];
            let state = states.iter().find(|state| {
                value(&format!(
                    "node_md_state{{device=\"{name}\",state=\"{state}\"}}"
                )) == "1"
            });
            let mut line = format!("{name} {}", state.unwrap());
            for key in [
                "disks_required{D}",
                "disks{D,state=\"active\"}",
                "disks{D,state=\"failed\"}",
                "disks{D,state=\"spare\"}",
                "blocks{D}",
                "blocks_synced{D}",
            ] {
                let key = format!(
                    "node_md_{}",
                    key.replace('D', &format!("device=\"{name}\""))
                );
                line.push_str(&format!(" {}", value(&key)));
            }
            found.push(line);
        }
        found
    }

    #[test]
    fn whole_degraded_rebuilding_and_waiting() {
        let mdstat = "Personalities : [raid1] [raid6]\n\
            md0 : active raid1 sdb1[1] sda1[0]\n      523968 blocks super 1.2 [2/2] [UU]\n      bitmap: 0/1 pages [0KB], 65536KB chunk\n\n\
            md1 : active raid6 sdb2[0] sdc2[1](F) sdd2[2] sde2[3]\n      7813735424 blocks super 1.2 level 6, 512k chunk, algorithm 2 [4/3] [U_UU]\n\n\
            md2 : active raid1 sdb3[2](F) sdc[1](S) sda3[0]\n      195310144 blocks [2/1] [U_]\n      [=>...]  recovery =  8.5% (16775552/195310144) finish=17.0min\n\n\
            md3 : active (auto-read-only) raid1 sdb4[0] sda4[1]\n      4190208 blocks super 1.2 [2/2] [UU]\n      resync=PENDING\n\n\
            md4 : inactive sdb[1](S) sda[0](S)\n        7932 blocks super external:imsm\n\n\
            md5 : active raid0 sdb5[1] sda5[0]\n      1855870976 blocks super external:/md127/0 128k chunks\n\n\
            md6 : active raid1 sdb6[1] sda6[0]\n      1993728 blocks super 1.2 [2/2] [UU]\n      [=>..]  check =  5.7% (114176/1993728) finish=0.2min\n\n\
            unused devices: <none>\n";
        assert_eq!(
            arrays(mdstat),
            [
                "md0 active 2 2 0 0 523968 523968",
                "md1 active 4 3 1 0 7813735424 7813735424",
                "md2 recovering 2 1 1 1 195310144 16775552",
                "md3 resync 2 2 0 0 4190208 0",
                "md4 inactive 0 0 0 2 7932 7932",
                "md5 active 2 2 0 0 1855870976 1855870976",
                "md6 check 2 2 0 0 1993728 114176",
            ]
        );
        check(
            super::read,
            &[],
            "error nothing to collect on this machine\n",
        );
        check(
            super::read,
            &[("proc/mdstat", "md0 : active raid1 sda[0]\n\n")],
            "error proc/mdstat: expected a number, found \"\"\n",
        );
    }
}
