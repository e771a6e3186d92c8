use super::*;
use daemon::web::WebFlags;

fn parse(text: &str) -> Result<HubConfig, String> {
    HubConfig::parse(text, Path::new("hub.yml")).map_err(|error| error.to_string())
}

fn check_error(text: &str, parts: &[&str]) {
    let error = parse(text).expect_err(text);
    for part in parts {
        assert!(error.contains(part), "{part:?} not in {error}");
    }
}

#[test]
fn defaults() {
    let config = parse("").unwrap();
    assert_eq!(config.evaluation_interval, EVALUATION_INTERVAL);
    assert_eq!(config.retention.age, Some(RETENTION));
    let edge = config.local_edge.unwrap();
    assert_eq!(edge.external_labels.to_string(), r#"{branch="hq"}"#);
    assert_eq!(edge.node_collector.unwrap().interval, LOCAL_INTERVAL);
}

#[test]
fn a_query_may_hold_so_much() {
    let max = |text: &str| parse(text).unwrap().query_memory_bytes_max;
    assert!((1 << 20..=1 << 30).contains(&max("")));
    assert_eq!(max("branchline: {query_memory_bytes: 8MiB}"), 8 << 20);
    check_error(
        "branchline: {query_memory_bytes: 1000KiB}\n",
        &["branchline.query_memory_bytes", "at least 1MiB"],
    );
}

#[test]
fn the_block_cache_has_a_size() {
    assert_eq!(parse("").unwrap().query_cache_bytes_max, 64 << 20);
    let config = parse("branchline: {query_cache_bytes: 0}").unwrap();
    assert_eq!(config.query_cache_bytes_max, 0);
    assert_eq!(parse("").unwrap().block_cache_bytes_max, 32 << 20);
    let config = parse("branchline: {block_cache_bytes: 1GiB}").unwrap();
    assert_eq!(config.block_cache_bytes_max, 1 << 30);
}

#[test]
fn exemplars_are_kept_as_many_as_it_says() {
    let max = |text: &str| parse(text).unwrap().exemplars_max;
    for default in ["", "storage: {exemplars: {}}"] {
        assert_eq!(max(default), 100_000);
    }
    assert_eq!(max("storage: {exemplars: {max_exemplars: 7}}"), 7);
    assert_eq!(max("storage: {exemplars: {max_exemplars: 0}}"), 0);
    assert_eq!(max("storage: {exemplars: {max_exemplars: -1}}"), 0);
    check_error(
        "storage: {exemplars: {max: 7}}\n",
        &["hub.yml:1:", "max_exemplars"],
    );
}

#[test]
fn a_central_prometheus_file_works() {
    let config = parse(
        "global: {scrape_interval: 30s, evaluation_interval: 10s, external_labels: {site: north}}\n\
         scrape_configs: [{job_name: tills, static_configs: [{targets: ['127.0.0.1:9100']}]}]\n\
         alerting: {alertmanagers: [{static_configs: [{targets: ['127.0.0.1:9093']}]}]}\n\
         storage: {tsdb: {retention: {time: 30d, size: 10GiB}}}\n",
    )
    .unwrap();
    assert_eq!(config.evaluation_interval, Duration::from_secs(10));
    assert_eq!(config.retention.bytes_max, Some(10 << 30));
    assert_eq!(config.local_edge.unwrap().jobs.len(), 1);
}

#[test]
fn errors_say_where_and_what_to_do() {
    check_error("branchlin: {}\n", &["hub.yml:1:1", "branchlin"]);
    check_error(
        "global:\n  scrape_intervall: 5s\n",
        &["hub.yml:2:", "scrape_intervall"],
    );
    check_error(
        "remote_read: [{url: x}]\n",
        &["remote_read", "does not support"],
    );
    check_error(
        "branchline: {branches: [{name: b 1, token: x}]}\n",
        &["branches[0].name", "letters"],
    );
    check_error(
        "branchline: {branches: [{name: b1}]}\n",
        &["branches[0]", "token_file"],
    );
    check_error(
        "branchline: {branches: [{name: a, token: x}, {name: a, token: y}]}\n",
        &["twice"],
    );
    check_error(
        "branchline: {branches: [{name: a, token: x}, {name: b, token: x}]}\n",
        &["same token"],
    );
    check_error(
        "branchline: {external_url: hub.example}\n",
        &["external_url", "http://"],
    );
}

#[test]
fn a_branch_has_a_limit_of_series() {
    let max = |text: &str| parse(text).unwrap().series_per_branch_max;
    assert_eq!(max(""), 1_000_000);
    assert_eq!(max("branchline: {series_per_branch_max: 5}"), 5);
    check_error(
        "branchline: {series_per_branch_max: 0}\n",
        &["branchline.series_per_branch_max", "at least 1"],
    );
}

#[test]
fn beyond_loopback_needs_credentials() {
    let anywhere: SocketAddr = "0.0.0.0:9490".parse().unwrap();
    let branches = "branches: [{name: a, token: x}]";
    let proxied = Web::load(&WebFlags {
        behind_proxy: true,
        ..WebFlags::default()
    })
    .unwrap();
    let check = |text: &str, web: &Web| parse(text).unwrap().check_listen(anywhere, web);
    let refused = |text: &str| check(text, &Web::default()).unwrap_err().to_string();
    assert!(refused("").contains("branchline.branches"));
    assert!(refused(&format!("branchline: {{{branches}}}")).contains("branchline.readers"));
    for text in [
        format!("branchline: {{{branches}, readers: [{{name: g, token: y}}]}}"),
        format!("branchline: {{{branches}, anonymous_reads: true}}"),
    ] {
        let why = refused(&text);
        assert!(!why.contains("credentials are configured"), "{why}");
        assert!(
            why.contains("no TLS") && why.contains("--web.behind-proxy"),
            "{why}"
        );
        assert!(check(&text, &proxied).is_ok());
    }
    assert!(
        parse("")
            .unwrap()
            .check_listen("127.0.0.1:9490".parse().unwrap(), &Web::default())
            .is_ok()
    );
}

#[test]
fn two_senders_of_one_branch_are_warned_of() {
    let warnings = |text: &str| parse(text).unwrap().warnings.join("\n");
    let both = "branchline: {branches: [{name: b1, token: x}, {name: hq, token: y}]}";
    assert!(warnings(both).contains("branchline.branches[1]"));
    let off = "branchline: {local_edge: {enabled: false}, branches: [{name: hq, token: y}]}";
    assert_eq!(warnings(off), "");
}

#[test]
fn otlp_is_prometheus_section() {
    use wire::otlp::{Promoted, Settings, Strategy};
    let parse = |text: &str| HubConfig::parse(text, Path::new("hub.yml"));
    let on = "branchline: {otlp_receiver: true}\n";
    assert_eq!(parse("otlp: {}\n").unwrap().otlp_in_force(), None);
    assert_eq!(
        parse(on).unwrap().otlp_in_force(),
        Some(Settings::default())
    );
    let all = parse(&format!(
        "{on}otlp: {{promote_all_resource_attributes: true, ignore_resource_attributes: [' a.b '], \
         translation_strategy: NoUTF8EscapingWithSuffixes, keep_identifying_resource_attributes: true, \
         convert_histograms_to_nhcb: true, promote_scope_metadata: true, label_name_underscore_sanitization: false, \
         label_name_preserve_multiple_underscores: false}}\n"
    ));
    let expected = Settings {
        strategy: Strategy::NoUtf8EscapingWithSuffixes,
        promoted: Promoted::AllBut(["a.b".to_owned()].into()),
        keep_identifying: true,
        convert_to_nhcb: true,
        promote_scope: true,
        underscore_sanitization: false,
        preserve_multiple_underscores: false,
        ..Settings::default()
    };
    assert_eq!(all.unwrap().otlp_in_force(), Some(expected));
    let wrong = [
        (
            "{translation_strategy: x}",
            "unsupported OTLP translation strategy \"x\"",
        ),
        (
            "{promote_resource_attributes: [a, a]}",
            "\"a\" stands there twice",
        ),
        ("{promote_resource_attributes: ['']}", "empty name"),
        (
            "{ignore_resource_attributes: [a]}",
            "only with promote_all_resource_attributes",
        ),
        (
            "{promote_all_resource_attributes: true, promote_resource_attributes: [a]}",
            "give either",
        ),
        ("{delta: x}", "delta"),
    ];
    for (section, why) in wrong {
        check_error(&format!("otlp: {section}\n"), &[why]);
    }
}
