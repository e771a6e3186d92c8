//! The targets of a branch: each an address of its own, each scrape a fresh page.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use super::http::HttpServer;
use super::page::TargetPage;
use super::{Span, now_ms};

/// All of them. They stop when it is dropped.
pub(super) struct Targets {
    servers: Vec<HttpServer>,
    /// When each page was served.
    served: Arc<Mutex<Vec<i64>>>,
    series: usize,
}

impl Targets {
    /// # Errors
    /// When no ports can be had.
    pub(super) fn start(targets: usize, series: usize) -> io::Result<Self> {
        let served = Arc::new(Mutex::new(Vec::new()));
        let mut servers = Vec::new();
        for number in 0..targets {
            let page = Mutex::new(TargetPage::new(number as u64, series));
            let served = Arc::clone(&served);
            servers.push(HttpServer::start(Arc::new(
                move |_: &[u8], answer: &mut Vec<u8>| {
                    let at = now_ms();
                    let mut page = page.lock().unwrap_or_else(PoisonError::into_inner);
                    page.next(at, answer);
                    served
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push(at);
                    200
                },
            ))?);
        }
        Ok(Self {
            servers,
            served,
            series,
        })
    }

    pub(super) fn addresses(&self) -> Vec<String> {
        self.servers.iter().map(HttpServer::address).collect()
    }

    /// Pages served in that time.
    pub(super) fn pages(&self, span: Span) -> u64 {
        let served = self.served.lock().unwrap_or_else(PoisonError::into_inner);
        served.iter().filter(|at| span.contains(**at)).count() as u64
    }

    /// Samples on them: those that a scraper adds itself do not count.
    pub(super) fn samples(&self, span: Span) -> f64 {
        (self.pages(span) * self.series as u64) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_counted_when_they_are_served() {
        let targets = Targets::start(2, 30).expect("ports");
        let before = now_ms();
        let addresses = targets.addresses();
        for address in [&addresses[0], &addresses[1], &addresses[0]] {
            let answer = ::tests::http::get(&format!("http://{address}/metrics")).expect("a page");
            let text = answer.text();
            let lines = text.lines().filter(|line| !line.starts_with('#'));
            assert_eq!((answer.status, lines.count()), (200, 30));
        }
        let all = Span {
            from: before,
            to: now_ms() + 1,
        };
        assert_eq!((targets.pages(all), targets.samples(all)), (3, 90.0));
        let none = Span { to: before, ..all };
        assert_eq!(targets.pages(none), 0);
    }
}
