//! The far end of the link: for our edge a real hub, for the peers a sink. Both know when each scrape arrived.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tests::api::Api;
use tests::process::{Process, free_address};

use super::arrivals::Arrivals;
use super::sender::dying_with_us;
use super::sink::Sink;
use super::{Span, now_ms};

const READY_WITHIN: Duration = Duration::from_secs(60);
/// A hub is asked that often what is new: a delay is known to this.
const LOOK: Duration = Duration::from_millis(200);
/// How far back a look goes. What comes later than that is found by [`Receiver::look_back`].
const LOOK_BACK: Duration = Duration::from_secs(30);

/// One of the two, running.
pub(super) struct Receiver {
    pub(super) address: String,
    pub(super) arrivals: Arc<Arrivals>,
    end: End,
}

enum End {
    Sink(Sink),
    Hub {
        api: Api,
        /// Killed when dropped.
        _process: Process,
        watcher: Option<(Arc<AtomicBool>, JoinHandle<()>)>,
    },
}

impl Receiver {
    pub(super) fn sink() -> anyhow::Result<Self> {
        let arrivals = Arc::new(Arrivals::default());
        let sink = Sink::start(Arc::clone(&arrivals))?;
        Ok(Self {
            address: sink.address(),
            arrivals,
            end: End::Sink(sink),
        })
    }

    pub(super) fn hub(program: &Path, folder: &Path) -> anyhow::Result<Self> {
        let address = free_address();
        let mut command = dying_with_us(program);
        command
            .args(["--no-local-edge", "--listen", &address, "--data-dir"])
            .arg(folder.join("hub"));
        let mut process = Process::start("hub", folder, &mut command);
        process.wait_ready(&format!("http://{address}/-/ready"), READY_WITHIN);
        let (api, arrivals) = (
            Api::at(format!("http://{address}")),
            Arc::new(Arrivals::default()),
        );
        let ended = Arc::new(AtomicBool::new(false));
        let watching = std::thread::spawn({
            let (api, arrivals, ended) = (api.clone(), Arc::clone(&arrivals), Arc::clone(&ended));
            move || {
                while !ended.load(Ordering::SeqCst) {
                    look(&api, &arrivals, LOOK_BACK);
                    std::thread::sleep(LOOK);
                }
            }
        });
        Ok(Self {
            address,
            arrivals,
            end: End::Hub {
                api,
                _process: process,
                watcher: Some((ended, watching)),
            },
        })
    }

    /// Scrapes of that time that are there, each once; as the receiver itself counts them.
    pub(super) fn count(&self, scraped: Span) -> u64 {
        let End::Hub { api, .. } = &self.end else {
            return self.arrivals.count(scraped);
        };
        // A range selector is open at its beginning, a span at its end.
        let query = format!("sum(count_over_time(up[{}ms]))", scraped.to - scraped.from);
        let at = (scraped.to - 1) as f64 / 1000.0;
        let found = api.query_at(&query, at).unwrap_or_default();
        found
            .first()
            .and_then(|series| series.points.last())
            .map_or(0, |(_, count)| *count as u64)
    }

    /// Takes note of what came so late that nobody looked for it any more; its time of arrival is now.
    pub(super) fn look_back(&self, since: i64) {
        if let End::Hub { api, .. } = &self.end {
            let millis = u64::try_from(now_ms() - since).unwrap_or(0);
            look(api, &self.arrivals, Duration::from_millis(millis + 1000));
        }
    }

    /// Requests that a sink could not read; the peers' numbers mean nothing then.
    pub(super) fn unreadable(&self) -> u64 {
        match &self.end {
            End::Sink(sink) => sink.unreadable(),
            End::Hub { .. } => 0,
        }
    }

    /// What came, in words.
    pub(super) fn said(&self) -> String {
        match &self.end {
            End::Sink(sink) => format!("{} samples in {} requests", sink.samples(), sink.bodies()),
            End::Hub { .. } => "a hub".to_owned(),
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        if let End::Hub { watcher, .. } = &mut self.end
            && let Some((ended, watching)) = watcher.take()
        {
            ended.store(true, Ordering::SeqCst);
            let _ = watching.join();
        }
    }
}

/// Every sample of `up` that was not there at the last look has arrived since.
fn look(api: &Api, arrivals: &Arrivals, back: Duration) {
    let Ok(found) = api.query(&format!("up[{}ms]", back.as_millis())) else {
        return;
    };
    let arrived = now_ms();
    for series in found {
        for (seconds, _) in &series.points {
            let scraped = (seconds * 1000.0).round() as i64;
            arrivals.add(series.label("instance"), scraped, arrived);
        }
    }
}
