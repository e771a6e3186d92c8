//! Processes and threads by state, from `/proc/<pid>/stat` and `/proc/<pid>/task`. Off by default, as in node_exporter: it
//! costs a file read for every thread of the machine.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;

use super::page::Page;
use super::roots::{PartError, Roots, Text};

/// About 50 numbers.
const STAT_BYTES_MAX: u64 = 4096;

/// Counts by the letter of the state: R, S, D, Z, T, I…
#[derive(Default)]
struct Counts {
    processes: BTreeMap<char, u32>,
    threads: BTreeMap<char, u32>,
    pids: u32,
    allocated: f64,
}

pub(super) fn read(roots: &Roots, page: &mut Page) -> Result<(), PartError> {
    let counts = count(roots)?;
    page.gauge("node_processes_threads", "Allocated threads in system")
        .value(counts.allocated);
    let limit = |file: &str| {
        let text = Text::read(roots.proc.join("sys/kernel").join(file))?;
        text.number(Some(text.trimmed()))
    };
    page.gauge(
        "node_processes_max_threads",
        "Limit of threads in the system",
    )
    .value(limit("threads-max")?);
    for (state, count) in &counts.processes {
        page.gauge("node_processes_state", "Number of processes in each state.")
            .row(
                &[("state", state.encode_utf8(&mut [0; 4]))],
                f64::from(*count),
            );
    }
    for (state, count) in &counts.threads {
        page.gauge(
            "node_processes_threads_state",
            "Number of threads in each state.",
        )
        .row(
            &[("thread_state", state.encode_utf8(&mut [0; 4]))],
            f64::from(*count),
        );
    }
    page.gauge("node_processes_pids", "Number of PIDs")
        .value(f64::from(counts.pids));
    page.gauge("node_processes_max_processes", "Number of max PIDs limit")
        .value(limit("pid_max")?);
    Ok(())
}

fn count(roots: &Roots) -> Result<Counts, PartError> {
    let mut counts = Counts::default();
    let mut buffer = Vec::new();
    for pid in numbers(&roots.proc)? {
        let process = roots.proc.join(&pid);
        // It may have ended since the folder was listed.
        let Some((state, threads)) = stat(&process.join("stat"), &mut buffer) else {
            continue;
        };
        counts.pids += 1;
        *counts.processes.entry(state).or_default() += 1;
        counts.allocated += threads;
        let Ok(tasks) = numbers(&process.join("task")) else {
            continue;
        };
        for task in tasks {
            let state = if task == pid {
                state
            } else {
                match stat(&process.join("task").join(&task).join("stat"), &mut buffer) {
                    Some((state, _)) => state,
                    None => continue,
                }
            };
            *counts.threads.entry(state).or_default() += 1;
        }
    }
    Ok(counts)
}

fn numbers(folder: &Path) -> Result<Vec<String>, PartError> {
    let read = |source| PartError::Read {
        path: folder.to_path_buf(),
        source,
    };
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(read)? {
        let name = entry.map_err(read)?.file_name();
        if let Some(name) = name
            .to_str()
            .filter(|name| name.bytes().all(|b| b.is_ascii_digit()))
        {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

/// The state's letter and the number of threads. The name before them stands in parentheses and may hold anything.
fn stat(path: &Path, buffer: &mut Vec<u8>) -> Option<(char, f64)> {
    buffer.clear();
    let file = std::fs::File::open(path).ok()?;
    file.take(STAT_BYTES_MAX).read_to_end(buffer).ok()?;
    let name_ends = buffer.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(&buffer[name_ends + 1..]).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    // Field 20 of the file; the state is field 3.
    let threads = fields.nth(16)?.parse().ok()?;
    Some((state, threads))
}

#[cfg(test)]
mod tests {
    use super::super::fixture::check;

    fn stat(name: &str, state: char, threads: u32) -> String {
        format!("7 ({name}) {state} 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 {threads} 0 42\n")
    }

    #[test]
    fn states_of_processes_and_threads() {
        let (init, shell, other) = (
            stat("init", 'S', 1),
            stat("a (b) R 9", 'R', 2),
            stat("a (b) R 9", 'D', 2),
        );
        check(
            super::read,
            &[
                ("proc/1/stat", &init),
                ("proc/1/task/1/stat", &init),
                ("proc/7/stat", &shell),
                ("proc/7/task/7/stat", &shell),
                ("proc/7/task/8/stat", &other),
                ("proc/8/comm", "ended while we looked"),
                ("proc/self/stat", &init),
                ("proc/sys/kernel/threads-max", "7801\n"),
                ("proc/sys/kernel/pid_max", "32768\n"),
            ],
            "node_processes_max_processes 32768\nnode_processes_max_threads 7801\nnode_processes_pids 2\n\
             node_processes_state{state=\"R\"} 1\nnode_processes_state{state=\"S\"} 1\nnode_processes_threads 3\n\
             node_processes_threads_state{thread_state=\"D\"} 1\n\
             node_processes_threads_state{thread_state=\"R\"} 1\n\
             node_processes_threads_state{thread_state=\"S\"} 1\n",
        );
    }
}
