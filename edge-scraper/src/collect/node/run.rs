//! Runs the collectors, one after the other, so that the page ends in time.
//!
//! A read of `/proc` or `/sys` can hang for as long as hardware does not answer (a sensor behind a stuck bus, a tape drive that
//! resets), and a thread that hangs in the kernel cannot be stopped. So the collectors run on a thread apart: one that has not
//! come back within [`ANSWER_WITHIN`] is left to itself, counts as failed in this page and in the next ones until it comes
//! back, and the others go on on a new thread. What hangs is never asked again meanwhile: at most one thread for each collector.

use std::collections::BTreeMap;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::Part;
use super::page::Page;
use super::roots::{PartError, Roots};

/// How long one collector may take. Above what any does that is alive, and with the time for the others still below the usual
/// scrape timeout of 10 s.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// How long each further one may take, once one of the page hangs.
const THEN_WITHIN: Duration = Duration::from_millis(500);

pub(super) struct Runner {
    shared: Arc<Shared>,
    within: (Duration, Duration),
}

struct Shared {
    roots: Roots,
    parts: Vec<Part>,
    /// The collectors that hang, by their place, and since when.
    stuck: Mutex<BTreeMap<usize, Instant>>,
}

/// What a collector did.
struct Outcome {
    page: Page,
    seconds: f64,
    success: bool,
}

impl Runner {
    pub(super) fn new(roots: Roots, parts: Vec<Part>) -> Runner {
        Runner::within(roots, parts, (ANSWER_WITHIN, THEN_WITHIN))
    }

    fn within(roots: Roots, parts: Vec<Part>, within: (Duration, Duration)) -> Runner {
        Runner {
            shared: Arc::new(Shared {
                roots,
                parts,
                stuck: Mutex::default(),
            }),
            within,
        }
    }

    pub(super) fn parts(&self) -> &[Part] {
        &self.shared.parts
    }

    /// The page of the collectors that `wanted` names.
    pub(super) fn run(&self, wanted: impl Fn(&str) -> bool) -> Page {
        let parts = &self.shared.parts;
        let mut all = Page::default();
        let mut queue = Vec::with_capacity(parts.len());
        {
            let stuck = self.shared.stuck();
            for (index, part) in parts
                .iter()
                .enumerate()
                .filter(|(_, part)| wanted(part.name))
            {
                match stuck.get(&index) {
                    None => queue.push(index),
                    Some(since) => report(&mut all, part, since.elapsed().as_secs_f64(), false),
                }
            }
        }
        let mut within = self.within.0;
        let mut next = 0;
        while next < queue.len() {
            let rest: Vec<usize> = queue[next..].to_vec();
            let (answers, receive) = sync_channel(rest.len());
            let shared = Arc::clone(&self.shared);
            let thread = std::thread::Builder::new().name("node collector".to_owned());
            if let Err(error) = thread.spawn(move || shared.work(&rest, &answers)) {
                tracing::warn!("node collector: no thread to be had: {error}");
                for index in &queue[next..] {
                    report(&mut all, &parts[*index], 0.0, false);
                }
                return all;
            }
            while next < queue.len() {
                let index = queue[next];
                match receive.recv_timeout(within) {
                    Ok(outcome) => {
                        all.absorb(outcome.page);
                        report(&mut all, &parts[index], outcome.seconds, outcome.success);
                        next += 1;
                    }
                    Err(error) => {
                        let begin = Instant::now();
                        if error == RecvTimeoutError::Timeout {
                            tracing::warn!(
                                collector = parts[index].name,
                                "node collector does not answer, left alone until it does"
                            );
                            let since = begin.checked_sub(within).unwrap_or(begin);
                            self.shared.stuck().insert(index, since);
                        }
                        // Disconnected: it panicked, which is a bug, and costs the page no more than itself.
                        report(&mut all, &parts[index], within.as_secs_f64(), false);
                        within = self.within.1;
                        next += 1;
                        break;
                    }
                }
            }
        }
        all
    }
}

impl Shared {
    fn stuck(&self) -> std::sync::MutexGuard<'_, BTreeMap<usize, Instant>> {
        self.stuck.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs one collector after the other until nobody listens any more; the one it hung on is then no longer stuck.
    fn work(&self, queue: &[usize], answers: &SyncSender<Outcome>) {
        for index in queue {
            let part = &self.parts[*index];
            let begin = Instant::now();
            let mut page = Page::default();
            let result = (part.read)(&self.roots, &mut page);
            let success = match result {
                Ok(()) => true,
                Err(PartError::NoData) => false,
                Err(error) => {
                    // At debug level: it would repeat with every scrape, and the page says so anyway.
                    tracing::debug!(collector = part.name, %error, "node collector failed");
                    false
                }
            };
            let seconds = begin.elapsed().as_secs_f64();
            let outcome = Outcome {
                page,
                seconds,
                success,
            };
            if answers.send(outcome).is_err() {
                self.stuck().remove(index);
                return;
            }
        }
    }
}

fn report(page: &mut Page, part: &Part, seconds: f64, success: bool) {
    let labels = [("collector", part.name)];
    page.gauge(
        "node_scrape_collector_duration_seconds",
        "node_exporter: Duration of a collector scrape.",
    )
    .row(&labels, seconds);
    page.gauge(
        "node_scrape_collector_success",
        "node_exporter: Whether a collector succeeded.",
    )
    .row(&labels, f64::from(u8::from(success)));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(
        name: &'static str,
        read: impl Fn(&mut Page) -> Result<(), PartError> + Send + Sync + 'static,
    ) -> Part {
        Part {
            name,
            read: Box::new(move |_, page| read(page)),
        }
    }

    fn good(name: &'static str) -> Part {
        part(name, move |page| {
            page.gauge(name, "").value(1.0);
            Ok(())
        })
    }

    /// The collectors that succeeded, those that failed, and the series beside those about them.
    fn run(runner: &Runner) -> (String, String, String) {
        let page = runner.run(|_| true).text();
        let of = |value: &str| {
            let names = page.lines().filter_map(|line| {
                let rest = line.strip_prefix("node_scrape_collector_success{collector=\"")?;
                rest.strip_suffix(value)
            });
            names.collect::<Vec<_>>().join(" ")
        };
        let series = page
            .lines()
            .filter(|line| !line.starts_with('#') && !line.starts_with("node_scrape"))
            .collect::<Vec<_>>()
            .join(" ");
        (of("\"} 1"), of("\"} 0"), series)
    }

    fn expect(found: (String, String, String), expected: (&str, &str, &str)) {
        let found = (found.0.as_str(), found.1.as_str(), found.2.as_str());
        assert_eq!(found, expected);
    }

    #[test]
    fn one_that_fails_shows_what_it_has() {
        let runner = Runner::new(
            Roots::default(),
            vec![
                good("a"),
                part("b", |page| {
                    page.gauge("half", "").value(2.0);
                    Err(PartError::NoData)
                }),
                good("c"),
            ],
        );
        expect(run(&runner), ("a c", "b", "a 1 c 1 half 2"));
    }

    #[test]
    fn one_that_hangs_is_left_alone_until_it_comes_back() {
        let (release, wait) = sync_channel::<()>(0);
        let wait = Mutex::new(wait);
        let calls = Arc::new(Mutex::new(0));
        let seen = Arc::clone(&calls);
        let hangs = part("b", move |page| {
            *seen.lock().unwrap() += 1;
            let _ = wait.lock().unwrap().recv();
            page.gauge("late", "").value(1.0);
            Ok(())
        });
        let within = (Duration::from_millis(500), Duration::from_millis(500));
        let parts = vec![good("a"), hangs, good("c")];
        let runner = Runner::within(Roots::default(), parts, within);
        expect(run(&runner), ("a c", "b", "a 1 c 1"));
        expect(run(&runner), ("a c", "b", "a 1 c 1"));
        assert_eq!(*calls.lock().unwrap(), 1, "what hangs is not asked again");
        drop(release);
        while !runner.shared.stuck().is_empty() {
            std::thread::yield_now();
        }
        expect(run(&runner), ("a b c", "", "a 1 c 1 late 1"));
    }

    #[test]
    fn a_panic_costs_one_collector() {
        let runner = Runner::new(
            Roots::default(),
            vec![good("a"), part("b", |_| panic!("a bug")), good("c")],
        );
        expect(run(&runner), ("a c", "b", "a 1 c 1"));
    }
}
