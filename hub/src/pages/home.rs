use std::collections::BTreeMap;
use std::time::Duration;

use axum::response::{Html, IntoResponse, Response};
use maud::{Markup, html};
use model::Timestamp;

use super::Page;
use crate::federation::{Branch, LinkState, Sender};
use crate::targets::TargetState;

/// What the first page shows.
pub(crate) struct Home {
    pub(crate) now: Timestamp,
    pub(crate) branches: Vec<Branch>,
    pub(crate) targets: BTreeMap<String, Vec<TargetState>>,
    pub(crate) firing: usize,
    /// Whether branches prove who they are.
    pub(crate) checked: bool,
}

/// The whole page, or only its table.
pub(crate) fn home(home: &Home, fragment: bool) -> Response {
    let table = table(home);
    if fragment {
        return Html(table.into_string()).into_response();
    }
    let content = html! {
        h1 { "Branches" }
        @if !home.checked {
            p.note { "No credentials are configured: labels are taken as they come, and the hub listens on loopback only." }
        }
        div id="branches" { (table) }
    };
    let page = Page {
        title: "Branches",
        script: "home.js",
        style: None,
        modules: Vec::new(),
    };
    page.response(&content)
}

fn table(home: &Home) -> Markup {
    html! {
        p.note id="state" {
            (home.branches.len()) " branches · " (home.firing) " alerts firing"
        }
        table {
            thead {
                tr {
                    th { "Branch" } th { "Link" } th { "Last seen" } th.number { "Behind" }
                    th.number { "Backlog" } th.number { "Lost" } th { "Targets" }
                }
            }
            tbody {
                @for branch in &home.branches {
                    (row(branch, home.now, home.targets.get(&branch.name).map_or(&[], Vec::as_slice)))
                }
            }
        }
    }
}

fn row(branch: &Branch, now: Timestamp, targets: &[TargetState]) -> Markup {
    let (class, link) = match branch.link {
        LinkState::Up => ("up", "up"),
        LinkState::Draining => ("up", "up, draining"),
        LinkState::Silent => ("silent", "silent"),
        LinkState::Unknown => ("unknown", "not heard yet"),
    };
    let up = targets.iter().filter(|target| target.up).count();
    let silent = branch.link == LinkState::Silent;
    html! {
        tr {
            td {
                a href=(query_of(&branch.name)) title="Ask for this branch" { (branch.name) }
                @if branch.sender == Some(Sender::RemoteWrite) { span.note { " remote write" } }
            }
            td class=(class) {
                (link)
                @if let Some(why) = &branch.last_refusal {
                    details data-branch={ (branch.name) "/refused" } {
                        summary.down { (branch.refused_requests) " refused" }
                        code { (why) }
                    }
                }
            }
            td { (branch.last_seen.map_or_else(|| "–".to_owned(), |at| ago(now, at))) }
            td.number { (branch.lag.map_or_else(|| "–".to_owned(), short)) }
            td.number {
                @if silent {
                    // What has piled up since is the edge's to tell, once it is heard again.
                    span.unknown { "not known" }
                    span.note { " (" (branch.pending_samples) " when last heard)" }
                } @else {
                    (branch.pending_samples) " samples"
                    @if let Some(oldest) = branch.oldest_pending { span.note { " from " (ago(now, oldest)) } }
                }
            }
            td.number class=[(branch.lost_samples > 0).then_some("down")] {
                (branch.lost_samples)
                @if branch.quarantined_samples > 0 { span.note { " (" (branch.quarantined_samples) " refused and kept)" } }
            }
            td {
                @if targets.is_empty() { "–" } @else {
                    details data-branch=(branch.name) {
                        summary class=(targets_class(silent, up == targets.len())) {
                            (up) "/" (targets.len()) " up"
                            @if silent { span.note { " when last heard" } }
                        }
                        @for target in targets {
                            div class=(targets_class(silent, target.up)) {
                                (target.job) " " (target.instance)
                                span.note { " " (ago(now, target.at)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The query page with whether this branch's targets are up.
fn query_of(branch: &str) -> String {
    let quoted = serde_json::Value::from(branch).to_string();
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("g0.expr", &format!("up{{branch={quoted}}}"));
    query.append_pair("g0.tab", "graph");
    format!("query?{}", query.finish())
}

/// Nothing is known of the targets of a branch that is not heard.
fn targets_class(silent: bool, up: bool) -> &'static str {
    match (silent, up) {
        (true, _) => "unknown",
        (false, true) => "up",
        (false, false) => "down",
    }
}

fn ago(now: Timestamp, at: Timestamp) -> String {
    format!("{} ago", short(now.saturating_since(at)))
}

/// To the second, at most two units.
fn short(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h{:02}m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{}d{}h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_for_people() {
        let check = |seconds, text: &str| assert_eq!(short(Duration::from_secs(seconds)), text);
        check(0, "0s");
        check(61, "1m01s");
        check(3600, "1h00m");
        check(90_000, "1d1h");
    }

    #[test]
    fn names_from_outside_are_escaped() {
        let branch = Branch {
            name: "<script>".into(),
            link: LinkState::Unknown,
            sender: None,
            last_seen: None,
            lag: None,
            pending_samples: 0,
            pending_bytes: 0,
            oldest_pending: None,
            evicted_samples: 0,
            quarantined_samples: 0,
            lost_samples: 0,
            complete: None,
            clock_offset_ms: None,
            clock_correction_ms: None,
            round_trip: None,
            edges: Vec::new(),
            stored_samples: 0,
            refused_requests: 0,
            last_refusal: None,
        };
        let text = row(&branch, Timestamp::default(), &[]).into_string();
        assert!(
            text.contains("&lt;script&gt;") && !text.contains("<script>"),
            "{text}"
        );
    }

    #[test]
    fn a_branch_links_to_its_targets() {
        assert_eq!(
            query_of("b\"1&"),
            "query?g0.expr=up%7Bbranch%3D%22b%5C%221%26%22%7D&g0.tab=graph"
        );
    }
}
