//! What a page of the node collector costs on this machine: CPU of the process, for each of so many pages.
//!
//! `cargo run --release -p edge-scraper --example node_page -- 1000`

use edge_scraper::collect::node::{DEFAULT_JOB, NodeCollector, NodeOptions};
use wire::exposition::Format;

/// User and system time of this process so far, in milliseconds.
fn cpu() -> Option<(f64, f64)> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<f64>().ok().map(|ticks| ticks * 10.0);
    Some((ticks()?, ticks()?))
}

fn main() {
    let pages: u32 = std::env::args()
        .nth(1)
        .and_then(|pages| pages.parse().ok())
        .unwrap_or(1000);
    let collector = NodeCollector::new(DEFAULT_JOB, &NodeOptions::default());
    let mut bytes = 0;
    let before = cpu();
    for _ in 0..pages {
        bytes = collector.page(Format::Classic, |_| true).len();
    }
    if let (Some(before), Some(after)) = (before, cpu()) {
        println!(
            "{pages} pages of {bytes} bytes: user {:.3} ms, system {:.3} ms a page",
            (after.0 - before.0) / f64::from(pages),
            (after.1 - before.1) / f64::from(pages),
        );
    }
}
