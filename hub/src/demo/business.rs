//! The demo's business: a small call centre per branch, as a source of metrics that a branch would really have.

use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::http::header;
use axum::routing::get;
use daemon::{Clock, Tasks};

const SEATS: u32 = 24;
const QUEUES: [&str; 3] = ["billing", "sales", "support"];
/// Upper bounds of the call duration's buckets, in seconds.
const BOUNDS: [f64; 8] = [15.0, 30.0, 60.0, 120.0, 240.0, 480.0, 960.0, 1920.0];

/// Starts a source on a loopback port of its own and says where.
pub(crate) async fn serve(
    seed: u64,
    clock: Arc<dyn Clock>,
    tasks: &Tasks,
) -> Result<SocketAddr, daemon::http::ListenError> {
    let listener = daemon::http::listen(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
    // A bound listener knows its address; the fallback is never a real one.
    let address = listener
        .local_addr()
        .unwrap_or(SocketAddr::from(([127, 0, 0, 1], 0)));
    let centre = Arc::new(Mutex::new(CallCentre::new(seed)));
    let metrics = move || {
        let (centre, elapsed) = (centre.clone(), clock.elapsed());
        async move {
            let text = centre
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .metrics_at(elapsed);
            ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text)
        }
    };
    daemon::http::serve(
        listener,
        Router::new().route("/metrics", get(metrics)),
        tasks,
    );
    Ok(address)
}

/// Calls arrive, wait, are taken and end, second by second, from a seed.
struct CallCentre {
    random: u64,
    lived_seconds: u64,
    waiting: [u32; 3],
    busy: u32,
    buckets: [u64; 9],
    duration_sum: f64,
    calls: u64,
    abandoned: u64,
}

impl CallCentre {
    fn new(seed: u64) -> Self {
        CallCentre {
            random: seed,
            lived_seconds: 0,
            waiting: [2, 4, 3],
            busy: SEATS / 2,
            buckets: [0; 9],
            duration_sum: 0.0,
            calls: 0,
            abandoned: 0,
        }
    }

    fn metrics_at(&mut self, elapsed: Duration) -> String {
        // At most an hour is lived through at once: a laptop that slept must not spin.
        let behind = elapsed
            .as_secs()
            .saturating_sub(self.lived_seconds)
            .min(3600);
        for _ in 0..behind {
            self.live_one_second();
        }
        self.lived_seconds = elapsed.as_secs();
        self.text()
    }

    fn live_one_second(&mut self) {
        for queue in 0..QUEUES.len() {
            if self.chance(0.10 + 0.05 * queue as f64) {
                self.waiting[queue] += 1;
            }
            if self.waiting[queue] > 8 && self.chance(0.1) {
                self.waiting[queue] -= 1;
                self.abandoned += 1;
            }
            if self.waiting[queue] > 0 && self.busy < SEATS && self.chance(0.5) {
                self.waiting[queue] -= 1;
                self.busy += 1;
            }
        }
        // A call lasts a minute or so on average: each of the busy seats ends its call with that chance.
        for _ in 0..self.busy {
            if self.chance(1.0 / 60.0) {
                self.busy -= 1;
                let seconds = -90.0 * (1.0 - self.unit()).ln();
                let bucket = BOUNDS
                    .iter()
                    .position(|bound| seconds <= *bound)
                    .unwrap_or(BOUNDS.len());
                self.buckets[bucket] += 1;
                self.duration_sum += seconds;
                self.calls += 1;
            }
        }
    }

    fn text(&self) -> String {
        let mut text = String::with_capacity(2048);
        let _ = self.write(&mut text);
        text
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        writeln!(
            out,
            "# HELP call_center_calls_waiting Callers who wait for a free seat."
        )?;
        writeln!(out, "# TYPE call_center_calls_waiting gauge")?;
        for (queue, waiting) in QUEUES.iter().zip(self.waiting) {
            writeln!(
                out,
                "call_center_calls_waiting{{queue=\"{queue}\"}} {waiting}"
            )?;
        }
        writeln!(out, "# HELP call_center_seats_busy Seats with a call.")?;
        writeln!(
            out,
            "# TYPE call_center_seats_busy gauge\ncall_center_seats_busy {}",
            self.busy
        )?;
        writeln!(out, "# HELP call_center_seats_total Seats there are.")?;
        writeln!(
            out,
            "# TYPE call_center_seats_total gauge\ncall_center_seats_total {SEATS}"
        )?;
        writeln!(
            out,
            "# HELP call_center_calls_abandoned_total Callers who gave up waiting."
        )?;
        writeln!(out, "# TYPE call_center_calls_abandoned_total counter")?;
        writeln!(out, "call_center_calls_abandoned_total {}", self.abandoned)?;
        writeln!(
            out,
            "# HELP call_center_call_duration_seconds How long calls lasted."
        )?;
        writeln!(out, "# TYPE call_center_call_duration_seconds histogram")?;
        let mut below = 0;
        for (bound, count) in BOUNDS.iter().zip(self.buckets) {
            below += count;
            writeln!(
                out,
                "call_center_call_duration_seconds_bucket{{le=\"{bound}\"}} {below}"
            )?;
        }
        writeln!(
            out,
            "call_center_call_duration_seconds_bucket{{le=\"+Inf\"}} {}",
            self.calls
        )?;
        writeln!(
            out,
            "call_center_call_duration_seconds_sum {}",
            self.duration_sum
        )?;
        writeln!(
            out,
            "call_center_call_duration_seconds_count {}",
            self.calls
        )
    }

    fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// SplitMix64 (Steele, Lea, Flood 2014), scaled to [0, 1).
    fn unit(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_lives_the_same_day() {
        let (mut a, mut b) = (CallCentre::new(7), CallCentre::new(7));
        let day = a.metrics_at(Duration::from_secs(3000));
        b.metrics_at(Duration::from_secs(1500));
        assert_eq!(day, b.metrics_at(Duration::from_secs(3000)));
        assert!(a.calls > 100 && a.busy <= SEATS, "{day}");
        assert_eq!(a.buckets.iter().sum::<u64>(), a.calls);
    }

    #[test]
    fn a_scraper_can_read_it() {
        let text = CallCentre::new(1).metrics_at(Duration::from_secs(600));
        let samples = text.lines().filter(|line| !line.starts_with('#')).count();
        assert_eq!(samples, 3 + 1 + 1 + 1 + 9 + 2);
    }
}
