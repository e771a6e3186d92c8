//! Real processes: started with a log of their own, ended by their own pid, never left behind.

use std::collections::BTreeSet;
use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::{http, wait};

/// How much of a log a failed test shows.
const LOG_LINES_SHOWN: usize = 60;

/// A process that a test started. Killed when dropped; shows the end of its log when the test has failed.
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    ended: Option<ExitStatus>,
}

impl Process {
    /// Starts `command` with its output in a file `name.log` of `folder` (added to, so that a restart keeps the story).
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(name: &str, folder: &Path, command: &mut Command) -> Self {
        let log = folder.join(format!("{name}.log"));
        let out = File::options().create(true).append(true).open(&log);
        let out = out.unwrap_or_else(|error| panic!("{}: {error}", log.display()));
        let err = out.try_clone().expect("a file handle can be copied");
        let child = command.stdin(Stdio::null()).stdout(out).stderr(err).spawn();
        let child =
            child.unwrap_or_else(|error| panic!("{name} cannot be started: {command:?}: {error}"));
        Self {
            name: name.to_owned(),
            child,
            log,
            ended: None,
        }
    }

    /// The name given at the start.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process id, by which the system tells what it uses.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Everything it has printed so far.
    pub fn log(&self) -> String {
        std::fs::read(&self.log)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// Waits until `url` answers 200.
    ///
    /// # Panics
    /// When it does not within the deadline, or the process ends before.
    pub fn wait_ready(&mut self, url: &str, within: Duration) {
        let name = self.name.clone();
        wait::until(within, &format!("{name} ready at {url}"), || {
            if let Some(status) = self.exited() {
                panic!("{name} ended before it was ready: {status}");
            }
            match http::get(url) {
                Ok(answer) if answer.status == 200 => Ok(()),
                Ok(answer) => Err(format!("status {}: {}", answer.status, answer.text())),
                Err(error) => Err(error.to_string()),
            }
        });
    }

    /// How it ended, if it has.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().expect("a child can be waited for");
        }
        self.ended
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it still runs after `within`.
    pub fn wait_exit(&mut self, within: Duration) -> ExitStatus {
        let name = self.name.clone();
        wait::until(within, &format!("{name} ends"), || {
            self.exited().ok_or_else(|| "it runs".to_owned())
        })
    }

    /// `kill -9`: no destructor, no flush, no good-bye. Returns when it is gone.
    pub fn kill_9(&mut self) {
        if self.exited().is_none() {
            self.child.kill().expect("an own child can be killed");
            self.ended = Some(self.child.wait().expect("a child can be waited for"));
        }
    }

    /// SIGTERM, then waits for an ordered end.
    ///
    /// # Panics
    /// When it still runs after `within`.
    pub fn terminate(&mut self, within: Duration) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait_exit(within)
    }

    /// Any signal, to this process only. Nothing when it has ended.
    ///
    /// # Panics
    /// When the signal cannot be sent to a running child.
    pub fn signal(&mut self, signal: Signal) {
        if self.exited().is_none() {
            kill_process(Pid::from_child(&self.child), signal).expect("an own child takes signals");
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.exited().is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let shown = &lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..];
            println!(
                "---- {}: the last {} of {} lines",
                self.name,
                shown.len(),
                lines.len()
            );
            println!("{}", shown.join("\n"));
        }
    }
}

/// A loopback address that nobody listens on, and that no other test of this run gets: `127.0.0.1:PORT`.
///
/// The port lies below the range from which the system takes those of outgoing connections, so that none of them steals it.
///
/// # Panics
/// When there is no free port.
pub fn free_address() -> String {
    static TAKEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    const FIRST: u16 = 20_000;
    const COUNT: u16 = 12_000;
    let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    // Runs at the same time begin at different places.
    let start = u16::try_from(std::process::id() % u32::from(COUNT)).unwrap_or(0);
    for step in 0..COUNT {
        let port = FIRST + (start + step) % COUNT;
        if !taken.contains(&port) && TcpListener::bind(("127.0.0.1", port)).is_ok() {
            taken.insert(port);
            return format!("127.0.0.1:{port}");
        }
    }
    panic!("no free port from {FIRST} on");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_logged_and_ended() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut command = Command::new("sh");
        command.args(["-c", "echo begun; exec sleep 60"]);
        let mut process = Process::start("sleeper", folder.path(), &mut command);
        wait::until_true(Duration::from_secs(5), "the first line", || {
            process.log().contains("begun")
        });
        assert!(process.exited().is_none());
        let status = process.terminate(Duration::from_secs(5));
        assert!(!status.success());
    }

    #[test]
    fn no_address_is_given_twice() {
        let addresses: BTreeSet<String> = (0..50).map(|_| free_address()).collect();
        assert_eq!(addresses.len(), 50);
    }
}
