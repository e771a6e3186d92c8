//! The status page: one look tells whether samples are scraped, kept and shipped.

use std::time::Duration;

use daemon::config::ByteSize;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use model::Timestamp;

use super::api::rfc3339;
use super::{Drain, EdgeStatus};
use crate::forward::{HubStatus, LinkState};
use crate::push::PushStatus;
use crate::scrape::{PoolStatus, TargetStatus};

const STYLE: &str = "\
body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem;color:#1c2430;background:#fff}\
h1{font-size:1.4rem}h2{font-size:1.1rem;margin-top:2rem}h3{font-size:1rem}\
table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.3rem .8rem .3rem 0;border-bottom:1px solid #dde3ea;vertical-align:top;overflow-wrap:anywhere}\
th{font-weight:600;color:#5a6675}td.n{font-variant-numeric:tabular-nums}meter{width:12rem;max-width:100%}\
.up{color:#10753b}.down{color:#b3261e}.unknown{color:#7a6200}.quiet{color:#5a6675}\
@media(prefers-color-scheme:dark){body{color:#dfe5ec;background:#14181e}th,td{border-color:#2b333d}th,.quiet{color:#93a0b0}\
a{color:#8ab4f8}.up{color:#5fd38d}.down{color:#ff8a80}.unknown{color:#e5c454}}\
@media(max-width:45rem){body{margin:1rem auto}tr.head{display:none}tr{display:block;padding:.4rem 0;border-bottom:1px solid #8886}\
td{display:block;border:0;padding:.1rem 0}td[data-l]::before{content:attr(data-l) ': ';color:#7d8896}}";

/// Targets listed per job; a page is for people.
const TARGETS_MAX: usize = 200;

pub(super) fn home(status: &EdgeStatus, now: Timestamp) -> String {
    let targets: usize = status.pools.iter().map(|pool| pool.active.len()).sum();
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width,initial-scale=1";
                meta http-equiv="refresh" content="5";
                title { "Edge " (status.edge) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                h1 { "Edge " (status.edge) }
                p class="quiet" {
                    "Branchline " (daemon::VERSION) " · started " (rfc3339(status.started_at))
                    " · " a href="/metrics" { "metrics" } " · " a href="/api/v1/targets" { "targets" }
                    " · " a href="/api/v1/status/edge" { "books" }
                    " · this page needs no hub: it shows what the edge itself has"
                }
                @if !status.reload.success {
                    p class="down" { "The configuration file was changed but not loaded, because it is wrong: see the log, or run edge-scraper check-config." }
                }
                @if let Some(from) = &status.from_disk {
                    p class="down" {
                        "The configuration in force is " @if from.whole { "the one" } @else { "partly the one" }
                        " of " (rfc3339(from.at)) ", as it was kept on disk: " (from.why)
                    }
                }
                @if let Some(correction) = status.clock_correction_ms {
                    p class="down" {
                        "This machine's clock is wrong: scrapes are stamped with the hub's time, "
                        (format!("{:+.1} s", correction as f64 / 1e3)) " from it"
                    }
                }
                h2 { "Hubs" }
                @if status.hubs.is_empty() {
                    p class="unknown" { "None: samples are buffered and go nowhere. Name one under remote_write." }
                } @else {
                    (hubs(status, now))
                }
                h2 { "Buffer" }
                (buffer(status, now))
                @if !status.push.receivers.is_empty() || !status.push.groups.is_empty() {
                    h2 { "Pushed" }
                    (pushed(&status.push, now))
                }
                h2 { "Targets (" (targets) ")" }
                @for pool in &status.pools { (pool_table(pool, now)) }
            }
        }
    };
    page.into_string()
}

fn buffer(status: &EdgeStatus, now: Timestamp) -> Markup {
    let (bytes, most) = (status.buffer.bytes, status.buffer.bytes_max);
    let evicted = status.hubs.iter().map(|hub| hub.counts.evicted.samples);
    let evicted = evicted.max().unwrap_or(0);
    html! {
        p {
            meter min="0" max=(most) value=(bytes) { }
            " " (ByteSize::from_bytes(bytes)) " of " (ByteSize::from_bytes(most)) " used"
            @if let Some(oldest) = status.oldest { ", back to " (ago(now, oldest)) }
            ". " (grouped(status.buffer.scraped.samples)) " samples scraped since it was made."
        }
        @if evicted > 0 {
            p class="down" { (grouped(evicted)) " samples went for lack of room before every hub had them." }
        }
        @if status.buffer.refused.samples > 0 {
            p class="down" { (grouped(status.buffer.refused.samples)) " samples could not be kept since the start: the disk was full or failed." }
        }
        @if let Some(error) = &status.buffer.poisoned {
            p class="down" { "It takes no more scrapes: " (error) ". Mend the disk, then start the edge again." }
        }
    }
}

fn hubs(status: &EdgeStatus, now: Timestamp) -> Markup {
    html! {
        table {
            tr class="head" { th { "Hub" } th { "Link" } th { "Round trip" } th { "Newest there" } th { "Backlog" } th { "Acknowledged" } th { "Refused" } th { "Evicted" } }
            @for (hub, drain) in status.hubs.iter().zip(&status.drains) {
                tr {
                    td {
                        (hub.name) br; span class="quiet" { (hub.address) }
                        @if hub.link == LinkState::Up { br; span class="quiet" { (hub.protocol()) } }
                        @if let Some(why) = &hub.instead_of_second { br; span class="quiet" { "not 2.0: " (why) } }
                    }
                    td data-l="Link" { (link(hub, now)) }
                    td class="n" data-l="Round trip" { (hub.round_trip.map_or_else(|| "–".to_owned(), milliseconds)) }
                    td class="n" data-l="Newest there" { (hub.watermark.map_or_else(|| "–".to_owned(), |at| ago(now, at))) }
                    td class="n" data-l="Backlog" {
                        (grouped(hub.counts.pending.counts.samples)) " pending" br;
                        span class="quiet" { (ByteSize::from_bytes(hub.counts.pending.bytes)) ", " (drained(*drain)) }
                    }
                    td class="n" data-l="Acknowledged" { (grouped(hub.counts.acknowledged.samples)) }
                    td class="n" data-l="Refused" { (grouped(hub.counts.quarantined.samples)) }
                    td class="n" data-l="Evicted" {
                        (grouped(hub.counts.evicted.samples))
                        @if hub.counts.thinned.samples > 0 {
                            br; span class="quiet" { (grouped(hub.counts.thinned.samples)) " by thinning" }
                        }
                    }
                }
            }
        }
    }
}

fn drained(drain: Drain) -> String {
    match drain {
        Drain::UpToDate => "up to date".to_owned(),
        Drain::Within(time) => format!("drained in about {}", model::duration::format(time)),
        Drain::NotShrinking => "not becoming less".to_owned(),
        Drain::Unknown => "no estimate yet".to_owned(),
    }
}

fn milliseconds(time: Duration) -> String {
    format!("{:.0} ms", time.as_secs_f64() * 1000.0)
}

fn pushed(push: &PushStatus, now: Timestamp) -> Markup {
    let taken: Vec<&str> = push.receivers.iter().map(|kind| kind.as_str()).collect();
    html! {
        p class="quiet" { "Takes: " (taken.join(", ")) "." }
        @if !push.sources.is_empty() {
            table {
                tr class="head" { th { "From" } th { "Last" } th { "Samples" } th { "Refused" } th { "Last error" } }
                @for source in push.sources.iter().take(TARGETS_MAX) {
                    tr {
                        td { (source.from) br; span class="quiet" { (source.kind.as_str()) } }
                        td class="n" data-l="Last" { (source.last.map_or_else(|| "–".to_owned(), |at| ago(now, at))) }
                        td class="n" data-l="Samples" { (grouped(source.samples)) }
                        td class="n" data-l="Requests refused" { (source.refused) " of " (source.requests) }
                        td data-l="Last error" { @if let Some((at, error)) = &source.last_error { (ago(now, *at)) ": " (error) } }
                    }
                }
            }
        }
        @if !push.groups.is_empty() {
            h3 { "Groups (" (push.groups.len()) ")" }
            table {
                tr class="head" { th { "Group" } th { "Pushed" } th { "Failed" } th { "Series" } }
                @for group in push.groups.iter().take(TARGETS_MAX) {
                    tr {
                        td { (group.labels) }
                        td class="n" data-l="Pushed" { (group.pushed.map_or_else(|| "never".to_owned(), |at| ago(now, at))) }
                        td class="n" data-l="Failed" { (group.failed.map_or_else(|| "never".to_owned(), |at| ago(now, at))) }
                        td class="n" data-l="Series" { (group.series) }
                    }
                }
            }
        }
    }
}

fn link(hub: &HubStatus, now: Timestamp) -> Markup {
    let since = hub.since.map(|at| ago(now, at)).unwrap_or_default();
    html! {
        @match &hub.link {
            LinkState::Connecting => span class="unknown" { "connecting" },
            LinkState::Up => span class="up" { "up" },
            LinkState::Down { error } => { span class="down" { "down" } " " (error) },
        }
        @if !since.is_empty() { br; span class="quiet" { "since " (since) } }
    }
}

fn pool_table(pool: &PoolStatus, now: Timestamp) -> Markup {
    let up = pool
        .active
        .iter()
        .filter(|target| target.health.as_str() == "up")
        .count();
    html! {
        h3 { (pool.name) span class="quiet" { " " (up) " of " (pool.active.len()) " up" } }
        table {
            @for target in pool.active.iter().take(TARGETS_MAX) { (row(target, now)) }
        }
        @for source in pool.sources.iter().filter(|source| source.error.is_some() || source.from_disk) {
            p class="down" {
                (source.mechanism) " discovery of " (source.source) ": " (source.targets) " targets "
                @if source.from_disk { "as they were kept on disk" } @else { "as they were found last" }
                @if let Some(error) = &source.error { ", because: " (error) }
            }
        }
        @if pool.active.len() > TARGETS_MAX {
            p class="quiet" { "and " (pool.active.len() - TARGETS_MAX) " more, see /api/v1/targets" }
        }
        @if pool.dropped_count > 0 {
            p class="quiet" { (pool.dropped_count) " dropped by relabelling" }
        }
    }
}

fn row(target: &TargetStatus, now: Timestamp) -> Markup {
    html! {
        tr {
            td { (target.url) br; span class="quiet" { (target.labels) } }
            td { span class=(target.health.as_str()) { (target.health.as_str()) } }
            td class="n" { (target.last_scrape.map_or_else(|| "not yet".to_owned(), |at| ago(now, at))) }
            td class="n" { (milliseconds(target.last_duration)) }
            td { (target.last_error.as_deref().unwrap_or_default()) }
        }
    }
}

fn ago(now: Timestamp, at: Timestamp) -> String {
    let seconds = now.saturating_since(at).as_secs();
    format!(
        "{} ago",
        model::duration::format(Duration::from_secs(seconds))
    )
}

/// 1234567 as 1,234,567.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_for_people() {
        let shown: Vec<String> = [0, 999, 1000, 1_234_567].map(grouped).into();
        assert_eq!(shown, ["0", "999", "1,000", "1,234,567"]);
        let at = Timestamp::from_millis;
        assert_eq!(ago(at(95_500), at(5_000)), "1m30s ago");
    }
}
