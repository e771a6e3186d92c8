//! How fast, and what does it cost? The whole data set into an empty server, until it rests.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::ask::Asker;
use crate::data::Shape;
use crate::latency::Latencies;
use crate::measured::Measured;
use crate::progress::Progress;
use crate::push::{Job, Pushed, push};
use crate::settle::{peak_anonymous, settle};
use crate::systems::{Kind, Running};
use crate::usage;

/// What was written must be found after so long.
const FOUND_WITHIN: Duration = Duration::from_secs(10);

/// Fewer are not worth waiting for.
const FEW_SAMPLES: u64 = 2_000_000;

/// Fills the server; what it then holds is there for queries.
pub(super) fn ingest(
    running: &mut Running,
    job: &Job,
    progress: &mut Progress,
) -> anyhow::Result<Measured> {
    let (pid, all) = (running.pid(), job.shape.samples());
    let cpu_before = usage::cpu(pid)?;
    let (pushed, mut peak_anonymous) =
        peak_anonymous(pid, || push(job, None, |done| progress.at(done, all)));
    let pushed = pushed.with_context(|| format!("{}\n{}", running.kind, running.last_lines()))?;
    progress.phase(format!("{}: settling", running.kind));
    // Few samples leave nothing to tidy up.
    let settled = settle(pid, all < FEW_SAMPLES)?;
    let cpu = settled.cpu.saturating_sub(cpu_before);
    let memory = usage::memory(pid)?;
    peak_anonymous = peak_anonymous.max(memory.anonymous);
    let samples = in_float(pushed.acknowledged);
    let mut measured = Measured::default();
    measured.set("samples_per_second", samples / pushed.wall.as_secs_f64());
    measured.set(
        "samples_per_cpu_second",
        samples / cpu.as_secs_f64().max(0.01),
    );
    measured.set("server_cpu_seconds", cpu.as_secs_f64());
    measured.set("client_cpu_seconds", pushed.client_cpu.as_secs_f64());
    measured.set("settle_seconds", settled.after.as_secs_f64());
    measured.set("retries", in_float(pushed.retries));
    measured.set("memory_peak_bytes", in_float(memory.peak));
    measured.set("memory_peak_anonymous_bytes", in_float(peak_anonymous));
    measured.set("memory_rest_bytes", in_float(memory.resident));
    measured.set("memory_rest_anonymous_bytes", in_float(memory.anonymous));
    measured.set(
        "memory_rest_proportional_bytes",
        in_float(usage::proportional_memory(pid)),
    );
    measured.set(
        "disk_bytes_per_sample",
        in_float(usage::disk(&running.data())) / samples,
    );
    latencies(&mut measured, &pushed.latencies);
    let missing = not_found(running, &job.shape, &pushed, progress)?;
    measured.set("not_found", missing);
    Ok(measured)
}

fn latencies(measured: &mut Measured, latencies: &Latencies) {
    for (key, part) in [
        ("ack_p50_ms", 0.5),
        ("ack_p99_ms", 0.99),
        ("ack_p999_ms", 0.999),
        ("ack_max_ms", 1.0),
    ] {
        measured.set_if(key, latencies.quantile(part).map(super::millis));
    }
}

/// How many acknowledged samples a query does not find; below zero when it finds more.
fn not_found(
    running: &mut Running,
    shape: &Shape,
    pushed: &Pushed,
    progress: &mut Progress,
) -> anyhow::Result<f64> {
    progress.phase(format!("{}: counting", running.kind));
    let mut asker = Asker::at(&running.address)?;
    let began = Instant::now();
    let mut flushed = false;
    loop {
        let found = asker.count_all(shape).context("counting what was stored")?;
        let late = began.elapsed() > FOUND_WITHIN;
        if found == pushed.acknowledged
            || late && (flushed || running.kind != Kind::VictoriaMetrics)
        {
            return Ok(in_float(pushed.acknowledged) - in_float(found));
        }
        if late {
            progress.note("VictoriaMetrics: not all is visible yet; /internal/force_flush called");
            let _ = Asker::at(&running.address)?.get("/internal/force_flush");
            flushed = true;
        }
        thread::sleep(Duration::from_millis(500));
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts and sizes below 2⁵³")]
pub(super) fn in_float(count: u64) -> f64 {
    count as f64
}
