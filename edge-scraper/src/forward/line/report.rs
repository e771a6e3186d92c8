use std::time::Duration;

use model::Timestamp;
use wire::line::link::Report;

use super::machine::LineShipper;
use crate::buffer::{Buffer, BufferError, RecordMeta};
use crate::planted::{self, Planted};

/// What the line measured.
#[derive(Clone, Debug, Default)]
pub struct LineFigures {
    round_trip: Option<Duration>,
    clock_offset_ms: Option<i64>,
    lost_percent: u32,
    /// The hub has said what it has, and the buffer's books go by that.
    knows_hub: bool,
    /// The machine's own time.
    machine_now: Option<Timestamp>,
    correction_ms: Option<i64>,
    /// Records that are sent and not answered, or about to be sent.
    under_way: Vec<RecordMeta>,
}

impl LineFigures {
    /// What a machine has measured.
    pub fn of(shipper: &LineShipper) -> LineFigures {
        LineFigures {
            round_trip: shipper.round_trip(),
            clock_offset_ms: shipper.clock_offset_ms(),
            lost_percent: shipper.lost_percent(),
            knows_hub: shipper.knows_hub(),
            under_way: shipper.records_that_may_arrive(),
            ..LineFigures::default()
        }
    }

    /// With the machine's own time, against which the hub's is measured, and what samples are corrected by.
    pub(super) fn at(self, machine_now: Timestamp, correction_ms: Option<i64>) -> LineFigures {
        LineFigures {
            machine_now: Some(machine_now),
            correction_ms,
            ..self
        }
    }
}

/// How the buffer stands towards a hub. Reads the disk where something is pending that was not looked at yet.
///
/// # Errors
/// A hub that was not attached, or a disk that cannot be read.
pub fn report(
    buffer: &Buffer,
    hub: &str,
    edge: &str,
    number: u64,
    line: &LineFigures,
) -> Result<Report, BufferError> {
    let counts = buffer.counts(hub)?;
    let status = buffer.status();
    let now = buffer.clock().now();
    // A hub that came back from a backup has less than the books say: until it has told, they vouch for no time.
    let scraped_through = match line.knows_hub {
        true => buffer.scraped_through().map_or(0, |at| at.millis()),
        false => 0,
    };
    let believed = (scraped_through != 0).then_some(number);
    Ok(Report {
        edge: edge.to_owned(),
        epoch: buffer.epoch(),
        number,
        sent_at_ms: line.machine_now.unwrap_or(now).millis(),
        scraped: counts.scraped.samples,
        before: counts.before.samples,
        acknowledged: counts.acknowledged.samples,
        pending: counts.pending.counts.samples,
        pending_bytes: counts.pending.bytes,
        quarantined: match planted::is(Planted::ReportsNoQuarantine) {
            true => 0,
            false => counts.quarantined.samples,
        },
        evicted: counts.evicted.samples,
        damaged: counts.damaged.samples,
        buffer_bytes: status.bytes,
        buffer_bytes_max: status.bytes_max,
        scraped_through_ms: scraped_through,
        scraped_since_ms: buffer.scraped_since()?.map_or(0, |at| at.millis()),
        pending_intervals: buffer.pending_intervals(hub, &line.under_way)?,
        lost_intervals: buffer.lost_intervals(hub, &line.under_way, believed)?,
        round_trip_us: line
            .round_trip
            .map_or(0, |trip| trip.as_micros().max(1) as u64),
        clock_offset_ms: line.clock_offset_ms,
        clock_correction_ms: line.correction_ms,
        lost_percent: line.lost_percent,
        version: daemon::VERSION.to_owned(),
        config: String::new(),
    })
}
