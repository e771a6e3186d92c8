//! What dashboards and rules ask: twenty questions, each over the last hour or at its end. Of a day the graphs show all, and some
//! questions more ask about all of it.

use super::sets::Set;
use crate::ask::seconds;
use crate::data::Shape;

/// (what a graph shows in milliseconds, seconds from point to point), as a dashboard asks on a wide screen.
fn graph(set: Set) -> (i64, i64) {
    match set {
        Set::Hour => (3_600_000, 60),
        Set::Day => (86_400_000, 300),
    }
}

/// One question.
pub(super) struct Question {
    pub(super) title: &'static str,
    pub(super) path: &'static str,
    pub(super) form: Vec<(&'static str, String)>,
}

/// At the end of the data, as a rule or a panel with one number asks.
const INSTANT: &[(&str, &str)] = &[
    ("rule: targets down", "up == 0"),
    (
        "rule: disk nearly full",
        "node_filesystem_avail_bytes{fstype!=\"tmpfs\"} / node_filesystem_size_bytes < 0.1",
    ),
    (
        "rule: disk full in 4 h",
        "predict_linear(node_filesystem_avail_bytes{fstype=\"ext4\"}[1h], 14400) < 0",
    ),
    ("rule: restarted", "changes(node_boot_time_seconds[1h]) > 0"),
    (
        "rule: busy CPUs",
        "100 * (1 - avg by (instance) (rate(node_cpu_seconds_total{mode=\"idle\"}[5m]))) > 90",
    ),
    (
        "rule: recorded rate",
        "sum by (branch, job) (rate(till_http_request_duration_seconds_count[5m]))",
    ),
    (
        "number: 99 % of requests",
        "histogram_quantile(0.99, sum by (le, route) (rate(till_http_request_duration_seconds_bucket[5m])))",
    ),
    (
        "table: sales in an hour",
        "sum by (branch, payment) (increase(till_sales_total[1h]))",
    ),
    (
        "table: five busiest disks",
        "topk(5, sum by (instance) (rate(node_disk_io_time_seconds_total[5m])))",
    ),
    ("number: all series", "count({__name__!=\"\"})"),
    (
        "table: series by name",
        "count by (__name__) ({__name__=~\"node_.+\"})",
    ),
];

/// About the last day as one.
const DAY: &[(&str, &str)] = &[
    (
        "number: sales in a day",
        "sum by (branch) (increase(till_sales_total[1d]))",
    ),
    (
        "table: five highest loads",
        "topk(5, max_over_time(node_load1[1d]))",
    ),
    (
        "number: targets up in a day",
        "avg by (branch) (avg_over_time(up[1d]))",
    ),
    (
        "table: 95 % of free memory",
        "quantile_over_time(0.95, node_memory_MemAvailable_bytes[1d])",
    ),
];

/// A graph of the last hour or day. `PROBE` stands for one machine.
const RANGE: &[(&str, &str)] = &[
    ("graph: one series", "node_load1{instance=\"PROBE\"}"),
    (
        "graph: one machine's CPU",
        "sum by (mode) (rate(node_cpu_seconds_total{instance=\"PROBE\"}[5m]))",
    ),
    (
        "graph: one machine's network",
        "rate(node_network_receive_bytes_total{instance=\"PROBE\",device!=\"lo\"}[5m])",
    ),
    (
        "graph: free memory",
        "node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes",
    ),
    (
        "graph: CPU by branch",
        "sum by (branch) (rate(node_cpu_seconds_total{mode!=\"idle\"}[5m]))",
    ),
    (
        "graph: network by branch",
        "sum by (branch) (rate(node_network_receive_bytes_total[5m]))",
    ),
    (
        "graph: load over 10 min",
        "avg by (branch) (avg_over_time(node_load1[10m]))",
    ),
    (
        "graph: mean of requests",
        "sum(rate(till_http_request_duration_seconds_sum[5m])) / sum(rate(till_http_request_duration_seconds_count[5m]))",
    ),
    (
        "graph: 99 % of requests",
        "histogram_quantile(0.99, sum by (le) (rate(till_http_request_duration_seconds_bucket[5m])))",
    ),
];

/// All of them for a data set.
pub(super) fn questions(shape: &Shape, set: Set) -> Vec<Question> {
    let end = seconds(shape.end_ms);
    let (shown_ms, step_s) = graph(set);
    let start = seconds(shape.end_ms - (shape.span_s() * 1000).min(shown_ms));
    let day = DAY.iter().filter(|_| set == Set::Day);
    let instant = INSTANT.iter().chain(day).map(|(title, query)| Question {
        title,
        path: "/api/v1/query",
        form: vec![("query", (*query).to_owned()), ("time", end.clone())],
    });
    let range = RANGE.iter().map(|(title, query)| Question {
        title,
        path: "/api/v1/query_range",
        form: vec![
            ("query", query.replace("PROBE", &shape.probe())),
            ("start", start.clone()),
            ("end", end.clone()),
            ("step", step_s.to_string()),
        ],
    });
    instant.chain(range).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn legal_questions() {
        for (set, count) in [(Set::Hour, 20), (Set::Day, 24)] {
            let questions = questions(&Shape::new(4_000, 240, 1_700_000_000_000), set);
            assert_eq!(questions.len(), count);
            for question in questions {
                let query = &question.form[0].1;
                let parsed = promql::parse(query, &promql::ParseOptions::default());
                assert!(parsed.is_ok(), "{query}");
            }
        }
    }

    #[test]
    fn a_days_graphs_show_the_day() {
        let shape = Shape::new(500, 5_760, 1_700_000_000_000);
        let of = |set| {
            let all = questions(&shape, set);
            let graph = all
                .into_iter()
                .find(|question| question.path.ends_with("range"));
            let form = graph.expect("a graph").form;
            let number = |at: usize| form[at].1.parse::<f64>().expect("a number");
            (number(2) - number(1), number(3))
        };
        assert_eq!(of(Set::Hour), (3_600.0, 60.0));
        let (shown, step) = of(Set::Day);
        assert!(
            (86_000.0..=86_400.0).contains(&shown) && step == 300.0,
            "{shown}"
        );
    }
}
