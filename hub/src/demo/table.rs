//! The demo's live table. On a terminal it is drawn in place; elsewhere a line is printed now and then.

use std::fmt::Write;
use std::io::{self, IsTerminal};
use std::time::Duration;

use super::script::CutKind;
use crate::federation::LinkState;

const BAR_CELLS: usize = 16;

/// One branch as the table shows it.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) branch: String,
    /// What the script does to the link right now.
    pub(crate) cut: Option<CutKind>,
    /// What the hub thinks of it.
    pub(crate) link: LinkState,
    /// How far the newest sample at the hub is behind now.
    pub(crate) lag: Option<Duration>,
    /// Samples that wait at the edge, and the most that have since the backlog was last empty.
    pub(crate) backlog: u64,
    pub(crate) backlog_peak: u64,
    pub(crate) stored: u64,
}

/// Everything the table shows.
#[derive(Clone, Debug)]
pub(crate) struct View {
    pub(crate) elapsed: Duration,
    pub(crate) rows: Vec<Row>,
    pub(crate) alerts: Vec<String>,
}

/// Draws one view after the other.
pub(crate) struct Table {
    in_place: bool,
    lines_drawn: usize,
    next_print: Duration,
}

impl Table {
    pub(crate) fn new() -> Self {
        Table {
            in_place: io::stdout().is_terminal(),
            lines_drawn: 0,
            next_print: Duration::ZERO,
        }
    }

    /// Shows the view; where it cannot be drawn in place, at most every five seconds.
    pub(crate) fn show(&mut self, view: &View) {
        if !self.in_place {
            if view.elapsed >= self.next_print {
                self.next_print = view.elapsed + Duration::from_secs(5);
                println!("{}", one_line(view));
            }
            return;
        }
        let text = drawn(view);
        let mut out = String::new();
        if self.lines_drawn > 0 {
            let _ = write!(out, "\x1b[{}A\x1b[J", self.lines_drawn);
        }
        out.push_str(&text);
        self.lines_drawn = text.lines().count();
        print!("{out}");
        let _ = io::Write::flush(&mut io::stdout());
    }
}

fn drawn(view: &View) -> String {
    let mut out = String::new();
    let _ = writeln!(
        out,
        "{:>4}s  {:<8} {:<10} {:<14} {:>7} {:>9}  {:<16} {:>10}",
        view.elapsed.as_secs(),
        "branch",
        "script",
        "hub sees",
        "behind",
        "backlog",
        "drained",
        "stored"
    );
    for row in &view.rows {
        let _ = writeln!(
            out,
            "       {:<8} {:<10} {:<14} {:>7} {:>9}  {:<16} {:>10}",
            row.branch,
            script(row.cut),
            seen(row.link),
            lag(row.lag),
            row.backlog,
            bar(row),
            row.stored
        );
    }
    match view.alerts.as_slice() {
        [] => out.push_str("       no alerts\n"),
        alerts => {
            for alert in alerts {
                let _ = writeln!(out, "       ! {alert}");
            }
        }
    }
    out
}

fn one_line(view: &View) -> String {
    let mut out = format!("{:>4}s", view.elapsed.as_secs());
    for row in &view.rows {
        let _ = write!(
            out,
            "  {} {}/{} behind {} backlog {}",
            row.branch,
            script(row.cut),
            seen(row.link),
            lag(row.lag),
            row.backlog
        );
    }
    let _ = write!(out, "  alerts {}", view.alerts.len());
    out
}

fn script(cut: Option<CutKind>) -> &'static str {
    match cut {
        None => "link works",
        Some(CutKind::Silent) => "CUT silent",
        Some(CutKind::Refuse) => "CUT refuse",
    }
}

fn seen(link: LinkState) -> &'static str {
    match link {
        LinkState::Up => "up",
        LinkState::Draining => "draining",
        LinkState::Silent => "silent",
        LinkState::Unknown => "not heard yet",
    }
}

fn lag(lag: Option<Duration>) -> String {
    lag.map_or_else(
        || "–".to_owned(),
        |lag| format!("{:.1}s", lag.as_secs_f64()),
    )
}

/// How much of the backlog has drained since its peak; empty while there is none.
fn bar(row: &Row) -> String {
    if row.backlog == 0 || row.backlog_peak == 0 {
        return String::new();
    }
    let drained = row.backlog_peak.saturating_sub(row.backlog) as f64 / row.backlog_peak as f64;
    let full = (drained * BAR_CELLS as f64) as usize;
    format!("{}{}", "█".repeat(full), "░".repeat(BAR_CELLS - full))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_fills_as_the_backlog_drains() {
        let row = |backlog| Row {
            branch: "b01".into(),
            cut: None,
            link: LinkState::Up,
            lag: None,
            backlog,
            backlog_peak: 1000,
            stored: 0,
        };
        assert_eq!(bar(&row(1000)), "░".repeat(16));
        assert_eq!(bar(&row(500)), "████████░░░░░░░░");
        assert_eq!(bar(&row(0)), "");
    }
}
