//! Where the peers write to: takes remote write, counts its samples, and knows when each scrape came.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use wire::remote_write::{SeriesView, Walk};

use super::arrivals::Arrivals;
use super::http::HttpServer;
use super::now_ms;

/// What the label fields of a series `up` contain: `__name__`, then its value.
const NAME_IS_UP: &[u8] = b"\x0a\x08__name__\x12\x02up";

/// A remote-write endpoint. Stops when dropped.
pub(super) struct Sink {
    server: HttpServer,
    counted: Arc<Counted>,
}

struct Counted {
    arrivals: Arc<Arrivals>,
    samples: AtomicU64,
    bodies: AtomicU64,
    unreadable: AtomicU64,
    /// Instances by the label bytes of their `up`.
    known: Mutex<HashMap<Vec<u8>, String>>,
}

impl Sink {
    /// # Errors
    /// When no port can be had.
    pub(super) fn start(arrivals: Arc<Arrivals>) -> io::Result<Self> {
        let counted = Arc::new(Counted {
            arrivals,
            samples: AtomicU64::new(0),
            bodies: AtomicU64::new(0),
            unreadable: AtomicU64::new(0),
            known: Mutex::default(),
        });
        let server = HttpServer::start(Arc::new({
            let counted = Arc::clone(&counted);
            move |body: &[u8], answer: &mut Vec<u8>| match counted.take(body) {
                Ok(()) => 204,
                Err(error) => {
                    counted.unreadable.fetch_add(1, Ordering::SeqCst);
                    answer.extend_from_slice(format!("{error:#}").as_bytes());
                    400
                }
            }
        }))?;
        Ok(Self { server, counted })
    }

    pub(super) fn address(&self) -> String {
        self.server.address()
    }

    /// Samples that came, those that came twice included.
    pub(super) fn samples(&self) -> u64 {
        self.counted.samples.load(Ordering::SeqCst)
    }

    /// Requests that came.
    pub(super) fn bodies(&self) -> u64 {
        self.counted.bodies.load(Ordering::SeqCst)
    }

    /// Requests that were refused, because nobody could read them.
    pub(super) fn unreadable(&self) -> u64 {
        self.counted.unreadable.load(Ordering::SeqCst)
    }
}

impl Counted {
    fn take(&self, body: &[u8]) -> anyhow::Result<()> {
        let arrived = now_ms();
        self.bodies.fetch_add(1, Ordering::SeqCst);
        let message = snap::raw::Decoder::new()
            .decompress_vec(body)
            .context("no snappy block")?;
        let (mut walk, mut view, mut samples) = (Walk::new(&message), SeriesView::new(), 0);
        while walk.next_part(&mut view)?.is_some() {
            samples += view.samples.len() as u64;
            let labels = view.label_bytes();
            if labels.windows(NAME_IS_UP.len()).any(|at| at == NAME_IS_UP) {
                self.scrapes(&view, arrived)?;
            }
        }
        self.samples.fetch_add(samples, Ordering::SeqCst);
        Ok(())
    }

    fn scrapes(&self, view: &SeriesView<'_>, arrived: i64) -> anyhow::Result<()> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if !known.contains_key(view.label_bytes()) {
            let labels = view.labels()?;
            let instance = labels.get("instance").unwrap_or_default().to_owned();
            known.insert(view.label_bytes().to_vec(), instance);
        }
        if let Some(instance) = known.get(view.label_bytes()) {
            for (at, _) in &view.samples {
                self.arrivals.add(instance, *at, arrived);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::Span;
    use ::tests::remote_write::{body, send, series};

    #[test]
    fn counts_samples_and_scrapes() {
        let arrivals = Arc::new(Arrivals::default());
        let sink = Sink::start(Arc::clone(&arrivals)).expect("a port");
        let url = format!("http://{}/api/v1/write", sink.address());
        let labels = |name| [("__name__", name), ("instance", "h:1"), ("job", "bench")];
        let both = body(vec![
            series(&labels("up"), &[(1_000, 1.0), (2_000, 1.0)]),
            series(&labels("upper"), &[(1_000, 7.0)]),
        ]);
        for _ in 0..2 {
            assert_eq!(send(&url, None, &both).expect("an answer").status, 204);
        }
        assert_eq!(send(&url, None, b"no body").expect("an answer").status, 400);
        assert_eq!(
            (sink.samples(), sink.bodies(), sink.unreadable()),
            (6, 3, 1)
        );
        let all = Span { from: 0, to: 9_000 };
        assert_eq!(arrivals.count(all), 2);
    }
}
