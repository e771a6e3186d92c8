//! Every query of the dashboards and the rules is asked: none may fail, none may be empty.

use std::process::Command;

use tests::dashboards::{
    Expression, Filling, annotation_queries, panel_queries, rule_expressions, rule_files,
    variable_queries,
};
use tests::peers::{Peer, all_there};
use tests::service::Service;

#[test]
fn prometheus_understands_every_expression() {
    if !all_there(&[Peer::Prometheus, Peer::Promtool]) {
        return;
    }
    let checked = Command::new(Peer::Promtool.path())
        .args(["check", "rules"])
        .args(rule_files())
        .output()
        .expect("promtool runs");
    assert!(
        checked.status.success(),
        "{}",
        String::from_utf8_lossy(&checked.stderr)
    );

    let folder = tempfile::tempdir().expect("a folder");
    let prometheus = Service::prometheus(folder.path())
        .config("global: {scrape_interval: 1m}\n")
        .start();
    let api = prometheus.api();
    let filling = Filling {
        branch: "b01",
        instance: ".+",
        interval: "1m",
        range: "5m",
    };
    let mut all: Vec<Expression> = panel_queries(&filling);
    all.extend(annotation_queries(&filling));
    all.extend(
        variable_queries(&filling)
            .into_iter()
            .map(|(selector, _)| selector),
    );
    all.extend(rule_expressions());
    let refused: Vec<String> = all
        .iter()
        .filter_map(|expression| {
            api.query(&expression.text)
                .err()
                .map(|error| format!("{}: {error}", expression.place))
        })
        .collect();
    assert!(refused.is_empty(), "{}", refused.join("\n"));
}
