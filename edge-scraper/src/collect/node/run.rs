//! Runs the collectors, one after the other, so that the page ends in time.
//!
//! A read of `/proc` or `/sys` can hang for as long as hardware does not answer (a sensor behind a stuck bus, a tape drive that
//! resets). So the collectors run on a thread [aside](super::aside): one that has not come back within [`WITHIN`] counts as failed in
//! this page and in the next ones until it comes back, and the others go on. What hangs is not asked again meanwhile: at most
//! one thread hangs for each collector.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::Part;
use super::aside::{Aside, Hanging, Task, Within};
use super::page::Page;
use super::roots::{PartError, Roots};

/// Above what any collector takes that is alive, and with the time for the others still below the usual scrape timeout of 10 s.
const WITHIN: Within = Within {
    first: Duration::from_secs(5),
    then: Duration::from_millis(500),
};

pub(super) struct Runner {
    shared: Arc<Shared>,
    aside: Aside<Outcome>,
    within: Within,
}

struct Shared {
    roots: Roots,
    parts: Vec<Part>,
    /// The collectors that hang, by their place, and since when.
    stuck: Mutex<BTreeMap<usize, Instant>>,
    /// Families of collectors that others have too.
    clashes: Mutex<BTreeMap<usize, Vec<String>>>,
}

/// What a collector did.
struct Outcome {
    page: Page,
    seconds: f64,
    success: bool,
}

/// The places in one run, as places among all collectors.
struct Places {
    shared: Arc<Shared>,
    places: Vec<usize>,
    first: Duration,
}

impl Hanging for Places {
    fn hangs(&self, task: usize) {
        let place = self.places[task];
        tracing::warn!(
            collector = self.shared.parts[place].name,
            "node collector does not answer, left alone until it does"
        );
        let now = Instant::now();
        let since = now.checked_sub(self.first).unwrap_or(now);
        self.shared.stuck().insert(place, since);
    }

    fn is_back(&self, task: usize) {
        let place = self.places[task];
        tracing::info!(
            collector = self.shared.parts[place].name,
            "node collector answers again"
        );
        self.shared.stuck().remove(&place);
    }
}

impl Runner {
    pub(super) fn new(roots: Roots, parts: Vec<Part>) -> Runner {
        Runner::within(roots, parts, WITHIN)
    }

    fn within(roots: Roots, parts: Vec<Part>, within: Within) -> Runner {
        Runner {
            shared: Arc::new(Shared {
                roots,
                parts,
                stuck: Mutex::default(),
                clashes: Mutex::default(),
            }),
            aside: Aside::new("node collector"),
            within,
        }
    }

    pub(super) fn parts(&self) -> &[Part] {
        &self.shared.parts
    }

    /// Says when it begins that a collector (text files, for example) has metrics that another one has.
    fn clashes(&self, place: usize, families: Vec<String>) {
        let mut known = self
            .shared
            .clashes
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if families.is_empty() {
            known.remove(&place);
        } else if known.get(&place) != Some(&families) {
            let (collector, names) = (self.shared.parts[place].name, families.join(", "));
            tracing::warn!(
                collector,
                families = names,
                "another collector has these metrics already: they are left out"
            );
            known.insert(place, families);
        }
    }

    /// The page of the collectors that `wanted` names.
    pub(super) fn run(&self, wanted: impl Fn(&str) -> bool) -> Page {
        let parts = &self.shared.parts;
        let mut all = Page::default();
        let mut places = Vec::with_capacity(parts.len());
        {
            let stuck = self.shared.stuck();
            for (place, part) in parts.iter().enumerate() {
                match stuck.get(&place) {
                    _ if !wanted(part.name) => {}
                    None => places.push(place),
                    Some(since) => report(&mut all, part, since.elapsed().as_secs_f64(), false),
                }
            }
        }
        let tasks = places.iter().map(|place| {
            let (shared, place) = (Arc::clone(&self.shared), *place);
            Box::new(move || shared.collect(place)) as Task<Outcome>
        });
        let tasks = tasks.collect();
        let hanging: Arc<dyn Hanging> = Arc::new(Places {
            shared: Arc::clone(&self.shared),
            places: places.clone(),
            first: self.within.first,
        });
        let outcomes = self.aside.run(tasks, self.within, &hanging);
        for (place, outcome) in places.into_iter().zip(outcomes) {
            match outcome {
                Some(outcome) => {
                    let clash = all.absorb(outcome.page);
                    let success = outcome.success && clash.is_empty();
                    self.clashes(place, clash);
                    report(&mut all, &parts[place], outcome.seconds, success);
                }
                // It hangs, or it panicked, which is a bug and costs the page no more than itself.
                None => report(
                    &mut all,
                    &parts[place],
                    self.within.first.as_secs_f64(),
                    false,
                ),
            }
        }
        all
    }
}

impl Shared {
    fn stuck(&self) -> MutexGuard<'_, BTreeMap<usize, Instant>> {
        self.stuck.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn collect(&self, place: usize) -> Outcome {
        let part = &self.parts[place];
        let begin = Instant::now();
        let mut page = Page::default();
        let success = match (part.read)(&self.roots, &mut page) {
            Ok(()) => true,
            Err(PartError::NoData) => false,
            Err(error) => {
                // At debug level: it would repeat with every scrape, and the page says so anyway.
                tracing::debug!(collector = part.name, %error, "node collector failed");
                false
            }
        };
        Outcome {
            page,
            seconds: begin.elapsed().as_secs_f64(),
            success,
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
    use std::sync::mpsc::sync_channel;

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
        let within = Within {
            first: Duration::from_millis(500),
            then: Duration::from_millis(500),
        };
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
    fn what_two_have_is_shown_once() {
        let runner = Runner::new(
            Roots::default(),
            vec![
                good("a"),
                part("b", |page| {
                    page.gauge("a", "").value(2.0);
                    page.counter("mine", "").value(3.0);
                    Ok(())
                }),
            ],
        );
        expect(run(&runner), ("a", "b", "a 1 mine 3"));
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
