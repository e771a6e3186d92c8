use super::*;
use wire::remote_write::headers::Version;

fn config(text: &str) -> EdgeConfig {
    EdgeConfig::parse(text, Path::new("/etc/edge/edge.yml"))
        .unwrap_or_else(|error| panic!("{error}\n{text}"))
}

#[track_caller]
fn refused(text: &str, expected: &[&str]) {
    let error = match EdgeConfig::parse(text, Path::new("edge.yml")) {
        Ok(_) => panic!("accepted:\n{text}"),
        Err(error) => error.to_string(),
    };
    for part in expected {
        assert!(error.contains(part), "{error}\nlacks {part}");
    }
}

/// A scrape configuration with these lines added to it.
fn job(lines: &str) -> String {
    format!(
        "scrape_configs:\n- job_name: a\n{}",
        lines
            .lines()
            .map(|l| format!("  {l}\n"))
            .collect::<String>()
    )
}

#[test]
fn a_file_of_prometheus_as_debian_ships_it() {
    let config = config(
        "global:\n  scrape_interval:     15s # Set\n  evaluation_interval: 15s\n  external_labels:\n      monitor: 'example'\n\
         rule_files:\n  # - \"first_rules.yml\"\n\
         scrape_configs:\n  - job_name: 'prometheus'\n    scrape_interval: 5s\n    scrape_timeout: 5s\n    static_configs:\n      - targets: ['localhost:9090']\n\
         \u{20} - job_name: node\n    static_configs:\n      - targets: ['localhost:9100']\n        labels: {rack: 7}\n",
    );
    assert_eq!(config.external_labels.to_string(), "{monitor=\"example\"}");
    let [first, second] = config.jobs.as_slice() else {
        panic!("{:?}", config.jobs)
    };
    assert_eq!(
        (
            first.target.interval.as_secs(),
            first.target.timeout.as_secs()
        ),
        (5, 5)
    );
    assert_eq!(
        (
            second.target.interval.as_secs(),
            second.target.timeout.as_secs()
        ),
        (15, 10)
    );
    assert_eq!(first.protocols.len(), 4);
    let Discovery::Static(groups) = &second.discovery[0] else {
        panic!("{:?}", second.discovery)
    };
    assert_eq!(groups[0].targets, ["localhost:9100"]);
    assert_eq!(
        groups[0].labels["rack"], "7",
        "a number is a label value too"
    );
    assert!(
        config.node_collector.is_none(),
        "Prometheus would not collect it either"
    );
    assert!(
        config.warnings[0].starts_with("global.evaluation_interval has no effect"),
        "{:?}",
        config.warnings
    );
}

#[test]
fn the_summary_and_errors_have_no_password() {
    let text = "remote_write: [{name: b, url: 'http://ru:SEKRIT@host/api/v1/write?key=SEKRIT'}]";
    let summary = config(text).summary();
    assert!(!summary.contains("SEKRIT"), "{summary}");
    let shown = "hubs: b (http://ru:...@host/api/v1/write?key=...)\n";
    assert!(summary.contains(shown), "{summary}");
    for url in ["http://u:SEKRIT@h:x/", "ftp://u:SEKRIT@h/"] {
        for text in [
            format!("remote_write: [{{url: '{url}'}}]"),
            format!(
                "remote_write: [{{url: 'http://h/', oauth2: {{client_id: i, token_url: '{url}?'}}}}]"
            ),
        ] {
            if let Err(error) = EdgeConfig::parse(&text, Path::new("/etc/edge/edge.yml")) {
                assert!(!error.to_string().contains("SEKRIT"), "{error}");
            }
        }
    }
}

#[test]
fn hubs_and_their_credentials() {
    let config = config(
        "remote_write:\n- url: http://10.0.0.1:9490/api/v1/write\n  authorization: {credentials: s3cret}\n\
         - url: https://hub.example/api/v1/write\n  name: second\n  remote_timeout: 5s\n  headers: {X-Scope: b}\n\
         \u{20} basic_auth: {username: b07, password_file: pw}\n  tls_config: {ca_file: /ca.pem, insecure_skip_verify: true}\n\
         \u{20} queue_config: {max_samples_per_send: 500, min_backoff: 1s, max_backoff: 10s, capacity: 5}\n\
         \u{20} write_relabel_configs: [{action: drop, source_labels: [__name__], regex: go_.*}]\n  metadata_config: {send: false}\n",
    );
    let [first, second] = config.hubs.as_slice() else {
        panic!("{:?}", config.hubs)
    };
    assert_eq!(
        (first.name.as_str(), first.timeout, first.send_metadata),
        ("10.0.0.1:9490", None, true)
    );
    assert_eq!(second.name, "second");
    assert_eq!(
        second.http.auth,
        daemon::http::Auth::BasicFromFile {
            username: "b07".into(),
            password_file: "/etc/edge/pw".into()
        }
    );
    assert_eq!(
        second
            .http
            .client
            .tls
            .ca
            .as_ref()
            .and_then(daemon::tls::Pem::file),
        Some(Path::new("/ca.pem"))
    );
    assert_eq!(
        (
            second.samples_per_send_max,
            second.backoff_first.map(|pause| pause.as_secs()),
            second.write_relabel.len()
        ),
        (Some(500), Some(1), 1)
    );
    assert!(!second.send_metadata);
    let warnings = config.warnings.join("\n");
    assert!(
        warnings.contains("password_file: /etc/edge/pw cannot be read now"),
        "{warnings}"
    );
    assert!(
        warnings.contains("remote_write[1].queue_config has no effect here"),
        "{warnings}"
    );
    assert!(!config.summary().contains("s3cret") && !format!("{config:?}").contains("s3cret"));
}

#[test]
fn jobs_take_what_global_gives() {
    let config = config(
        "global: {sample_limit: 10, body_size_limit: 1MB, metric_name_validation_scheme: legacy, scrape_protocols: [PrometheusText0.0.4]}\n\
         scrape_configs:\n- {job_name: a, sample_limit: 5, honor_labels: true, params: {x: [1, 2]}, metrics_path: /m, scheme: https}\n\
         - {job_name: b, metric_name_validation_scheme: utf8, fallback_scrape_protocol: OpenMetricsText1.0.0, bearer_token_file: t}\n",
    );
    let [a, b] = config.jobs.as_slice() else {
        panic!()
    };
    assert_eq!(
        (a.limits.samples, a.limits.body_bytes, b.limits.samples),
        (Some(5), Some(1 << 20), Some(10))
    );
    assert_eq!(
        (a.legacy_names, a.escaping, b.legacy_names, b.escaping),
        (true, Escaping::Underscores, false, Escaping::AllowUtf8)
    );
    assert_eq!(
        (a.protocols.as_slice(), b.fallback_protocol),
        (
            [Protocol::Text004].as_slice(),
            Some(Protocol::OpenMetrics100)
        )
    );
    assert_eq!(a.target.params["x"], ["1", "2"]);
    assert_eq!(
        b.http.auth,
        daemon::http::Auth::HeaderFromFile {
            scheme: "Bearer".into(),
            credentials_file: "/etc/edge/t".into()
        }
    );
}

#[test]
fn collectors_are_switched_and_patterns_set_as_in_node_exporter() {
    let node = |keys: &str| {
        let text = format!("branchline: {{node_collector: {{{keys}}}}}");
        EdgeConfig::parse(&text, Path::new("edge.yml")).map(|config| config.node_collector.unwrap())
    };
    let config = node(
        "collectors: {enable: [processes], disable: [arp]}, patterns: {netdev.device-exclude: '^(lo|veth.*)$'}",
    )
    .unwrap();
    assert!(
        config.options.collectors.is_on("processes") && !config.options.collectors.is_on("arp")
    );
    assert_ne!(config.options.patterns, node("").unwrap().options.patterns);
    for (keys, expected) in [
        (
            "collectors: {enable: [proceses]}",
            "branchline.node_collector.collectors: \"proceses\" is not a collector",
        ),
        ("collectors: {enable: [infiniband]}", "scrape node_exporter"),
        (
            "collectors: {enable: [cpu], disable: [cpu]}",
            "\"cpu\" is enabled and disabled",
        ),
        ("collectors: [cpu]", "edge.yml:1:"),
        (
            "patterns: {netdev.device: x}",
            "branchline.node_collector.patterns: \"netdev.device\" is not a pattern",
        ),
        (
            "patterns: {vmstat.fields: '('}",
            "vmstat.fields: regex parse error",
        ),
        (
            "patterns: {netdev.device-include: x, netdev.device-exclude: y}",
            "netdev.device-include and netdev.device-exclude go not together",
        ),
    ] {
        let error = node(keys).unwrap_err().to_string();
        assert!(error.contains(expected), "{keys}: {error}");
    }
}

#[test]
fn the_node_collector_is_on_when_nothing_else_is() {
    let on = |text: &str| {
        config(text)
            .node_collector
            .map(|node| (node.job, node.interval.as_secs(), node.timeout.as_secs()))
    };
    let node = |interval, timeout| Some(("node".to_owned(), interval, timeout));
    assert_eq!(on(""), node(60, 10));
    assert_eq!(on("global: {scrape_interval: 5s}"), node(5, 5));
    assert_eq!(on("scrape_configs: [{job_name: a}]"), None);
    assert_eq!(
        on("scrape_configs: [{job_name: a}]\nbranchline: {node_collector: {scrape_interval: 15s}}"),
        node(15, 10)
    );
    assert_eq!(on("branchline: {node_collector: {enabled: false}}"), None);
    let config = config(
        "branchline: {edge: b07, node_collector: {procfs: /host/proc}, buffer: {bytes_max: 64MiB, sync_within: 250ms}}",
    );
    assert_eq!(
        (
            config.edge.as_str(),
            config.buffer.bytes_max,
            config.buffer.sync_within.as_millis()
        ),
        ("b07", 64 << 20, 250)
    );
    let thins = self::config(
        "branchline: {buffer: {eviction: {thin_to_every: 4, keep: ['{job=\"pos\"}', 'up{zone=~\"a|b\"}']}}}",
    );
    let policy = &thins.buffer.eviction;
    assert_eq!((policy.thin_to_every, policy.keep.len()), (Some(4), 2));
    let summary = thins.summary();
    assert!(
        summary.contains(
            "when it is full one scrape of 4 stays, then the oldest go, series of 2 selectors last"
        ),
        "{summary}"
    );
    let usual = config.summary();
    assert!(
        usual.contains("250ms; when it is full the oldest go\n"),
        "{usual}"
    );
    let node = config.node_collector.unwrap();
    assert_eq!(
        (node.instance.as_str(), node.options.roots.proc.as_path()),
        ("b07", Path::new("/host/proc"))
    );
    assert_eq!(EdgeConfig::without_file().hubs[0].name, "127.0.0.1:9490");
}

#[test]
fn unsupported_keys_are_refused_by_name() {
    refused(
        "rule_files: [a.yml]\n",
        &[
            "edge.yml:1:",
            "rule_files is not supported by the edge",
            "the hub",
        ],
    );
    refused(
        "global: {}\nalerting:\n  alertmanagers: []\n",
        &["edge.yml:3:", "alerting is not supported"],
    );
    refused(
        &job("consul_sd_configs: [{server: x}]"),
        &[
            "edge.yml:3:",
            "consul_sd_configs is not supported",
            "file_sd_configs",
        ],
    );
    refused(
        &job("native_histogram_min_bucket_factor: -1.1"),
        &[
            "scrape_configs[0].native_histogram_min_bucket_factor",
            "is no factor",
        ],
    );
    refused(
        "remote_write: [{url: 'http://x', sigv4: {region: x}}]",
        &["sigv4 is not supported", "oauth2"],
    );
    refused(
        "remote_write: [{url: 'http://x', queue_config: {sample_age_limit: 1h}}]",
        &["sample_age_limit is not supported", "bytes_max"],
    );
    refused(
        "remote_write: [{url: 'http://x', protobuf_message: io.prometheus.write.v3.Request}]",
        &[
            "remote_write[0].protobuf_message",
            "1.0 is prometheus.WriteRequest, 2.0 is io.prometheus.write.v2.Request",
        ],
    );
    for (message, version) in [
        ("''", Version::V1),
        ("prometheus.WriteRequest", Version::V1),
        ("io.prometheus.write.v2.Request", Version::V2),
    ] {
        let text = format!("remote_write: [{{url: 'http://x', protobuf_message: {message}}}]");
        assert_eq!(config(&text).hubs[0].version, version);
    }
    config(
        "rule_files:\nstorage: {}\nremote_read: []\nscrape_configs: [{job_name: a, scrape_native_histograms: false}]",
    );
}

#[test]
fn discovery_by_servers() {
    let discovery = |lines: &str| config(&job(lines)).jobs[0].discovery.clone();
    let found = discovery(
        "http_sd_configs: [{url: 'https://sd/x', refresh_interval: 5s, basic_auth: {username: u}}]",
    );
    let Discovery::Http(http) = &found[0] else {
        panic!("{found:?}");
    };
    assert_eq!(
        (http.url.as_str(), http.refresh.as_secs()),
        ("https://sd/x", 5)
    );
    let found = discovery("dns_sd_configs: [{names: [a.b]}, {names: [c], type: aaaa, port: 9}]");
    let Discovery::Dns(dns) = &found[1] else {
        panic!("{found:?}");
    };
    assert_eq!(
        (dns.record, dns.port, dns.refresh.as_secs()),
        (DnsRecord::Aaaa, 9, 30)
    );
    let found = discovery(
        "kubernetes_sd_configs: [{role: endpoints, selectors: [{role: pod, label: a=b}]}]",
    );
    let Discovery::Kubernetes(kubernetes) = &found[0] else {
        panic!("{found:?}");
    };
    assert_eq!(
        (kubernetes.role, &kubernetes.access),
        (Role::Endpoints, &ClusterAccess::InCluster)
    );
    for (lines, said) in [
        (
            "http_sd_configs: [{}]",
            "http_sd_configs[0].url: URL is missing",
        ),
        ("http_sd_configs: [{url: 'ftp://x'}]", "http:// or https://"),
        ("dns_sd_configs: [{names: []}]", "at least one"),
        (
            "dns_sd_configs: [{names: [a], type: A}]",
            "a port is required",
        ),
        (
            "dns_sd_configs: [{names: [a], type: TXT}]",
            "invalid DNS-SD records type TXT",
        ),
        ("kubernetes_sd_configs: [{}]", "role missing"),
        (
            "kubernetes_sd_configs: [{role: pods}]",
            "unknown Kubernetes SD role",
        ),
        (
            "kubernetes_sd_configs: [{role: pod, bearer_token: x}]",
            "provide the 'api_server' URL",
        ),
        (
            "kubernetes_sd_configs: [{role: pod, api_server: 'http://x', kubeconfig_file: y}]",
            "simultaneously",
        ),
        (
            "kubernetes_sd_configs: [{role: pod, selectors: [{role: service}]}]",
            "pod role supports only pod, node selectors",
        ),
        (
            "kubernetes_sd_configs: [{role: pod, selectors: [{role: pod}, {role: pod}]}]",
            "duplicated selector role: pod",
        ),
        (
            "kubernetes_sd_configs: [{role: pod, api_server: 'http://x', namespaces: {own_namespace: true}}]",
            "runs in the cluster",
        ),
    ] {
        refused(&job(lines), &[said]);
    }
}

#[test]
fn options_of_http_clients() {
    let client = |lines: &str| config(&job(lines)).jobs[0].http.clone();
    let http = client(
        "oauth2: {client_id: i, client_secret_file: s, token_url: 'http://t/', scopes: [a], endpoint_params: {x: y}}",
    );
    let oauth2 = http.oauth2.unwrap();
    assert_eq!(
        oauth2.client_secret,
        daemon::http::Secret::File("/etc/edge/s".into())
    );
    assert!(http.client.http2 && http.client.follow_redirects);
    let http = client(
        "proxy_url: 'http://p:1'\nno_proxy: 'localhost,10.0.0.0/8'\nproxy_connect_header: {X-A: [b, c]}\nenable_http2: false\nfollow_redirects: false\nhttp_headers: {X-Scope: {values: [a], secrets: [b], files: [c]}}",
    );
    assert_eq!(
        http.client.proxy.no_proxy.as_deref(),
        Some("localhost,10.0.0.0/8")
    );
    assert_eq!(http.client.proxy.connect_headers.len(), 2);
    assert!(!http.client.http2 && !http.client.follow_redirects);
    assert_eq!(http.headers.len(), 3);
    for (lines, said) in [
        ("oauth2: {client_id: i, token_url: ''}", "oauth2.token_url"),
        (
            "oauth2: {client_id: i, token_url: 'http://t', client_secret: a, client_secret_file: b}",
            "at most one of client_secret",
        ),
        (
            "oauth2: {client_id: i, token_url: 'http://t'}\nbearer_token: x",
            "at most one of basic_auth",
        ),
        ("no_proxy: x", "proxy_url must also be configured"),
        (
            "proxy_from_environment: true\nproxy_url: 'http://p'",
            "proxy_url must not be configured",
        ),
        (
            "proxy_from_environment: true\nno_proxy: x",
            "no_proxy must not be configured",
        ),
        (
            "proxy_connect_header: {a: [b]}",
            "proxy_from_environment must also be configured",
        ),
        (
            "http_headers: {Authorization: {values: [x]}}",
            "is not allowed",
        ),
        ("http_headers: {'a b': {values: [x]}}", "no header name"),
    ] {
        refused(&job(lines), &[said]);
    }
}

#[test]
fn remote_write_has_every_option_of_http_clients() {
    let hub = |lines: &str| {
        let config = config(&format!("remote_write: [{{url: 'http://x/w', {lines}}}]"));
        (config.hubs[0].clone(), config.warnings.join("\n"))
    };
    let (plain, _) = hub("name: a");
    assert!(plain.send_exemplars && plain.send_native_histograms && plain.send_metadata);
    assert!(!plain.http.client.round_robin_dns);
    let (hub, warnings) = hub(
        "oauth2: {client_id: i, client_secret_file: s, token_url: 'http://t/', tls_config: {ca_file: ca.pem}}, \
         http_headers: {X-Scope: {values: [a], files: [c]}}, proxy_from_environment: true, \
         tls_config: {insecure_skip_verify: true}, follow_redirects: false, round_robin_dns: true, \
         send_exemplars: false, send_native_histograms: false, metadata_config: {send: false}",
    );
    assert_eq!(
        hub.http.oauth2.as_ref().unwrap().client_secret,
        daemon::http::Secret::File("/etc/edge/s".into())
    );
    assert_eq!(hub.http.headers.len(), 2);
    assert!(hub.http.reads_files(), "the token server's ca_file");
    let client = &hub.http.client;
    assert!(client.proxy.from_environment && client.round_robin_dns && !client.follow_redirects);
    assert!(!hub.send_exemplars && !hub.send_native_histograms && !hub.send_metadata);
    assert!(!warnings.contains("no effect"), "{warnings}");
    for (lines, said) in [
        ("oauth2: {client_id: i}", "remote_write[0].oauth2.token_url"),
        (
            "oauth2: {client_id: i, token_url: 'http://t'}, basic_auth: {username: u}",
            "at most one of",
        ),
        (
            "http_headers: {Branchline-Edge: {values: [x]}}",
            "remote_write[0].http_headers",
        ),
        (
            "http_headers: {Content-Encoding: {values: [x]}}",
            "is not allowed",
        ),
        ("round_robin_dns: 3", "round_robin_dns"),
    ] {
        refused(
            &format!("remote_write: [{{url: 'http://x', {lines}}}]"),
            &[said],
        );
    }
}

#[test]
fn bounds_of_native_histograms() {
    let histograms = |lines: &str| config(&job(lines)).jobs[0].histograms;
    let limited = histograms("native_histogram_bucket_limit: 160");
    assert_eq!((limited.buckets_max, limited.schema_max), (Some(160), None));
    assert_eq!(
        histograms("native_histogram_bucket_limit: 0").buckets_max,
        None
    );
    // The table of Prometheus's documentation.
    for (factor, schema) in [
        ("0", None),
        ("1", None),
        ("1.002", None),
        ("1.00271", None),
        ("1.003", Some(7)),
        ("1.1", Some(2)),
        ("1.2", Some(1)),
        ("1.5", Some(0)),
        ("2", Some(0)),
        ("3", Some(-1)),
        ("70000", Some(-4)),
        ("1e300", Some(-4)),
    ] {
        let found = histograms(&format!("native_histogram_min_bucket_factor: {factor}"));
        assert_eq!(found.schema_max, schema, "{factor}");
    }
}

#[test]
fn failed_scrapes_are_written_to_a_file_beside_the_configuration() {
    let log = |global: &str, job: &str| {
        let text = format!("global: {{{global}}}\nscrape_configs: [{{job_name: a, {job}}}]");
        config(&text).jobs[0].failure_log.clone()
    };
    let path = |path: &str| Some(std::path::PathBuf::from(path));
    assert_eq!(log("", ""), None);
    let global = "scrape_failure_log_file: failures.log";
    assert_eq!(log(global, ""), path("/etc/edge/failures.log"));
    assert_eq!(
        log(global, "scrape_failure_log_file: ''"),
        path("/etc/edge/failures.log")
    );
    assert_eq!(
        log(global, "scrape_failure_log_file: /var/log/a"),
        path("/var/log/a")
    );
}

#[test]
fn native_histograms_ask_for_protobuf() {
    let jobs = |global: &str, job: &str| {
        let text = format!("global: {{{global}}}\nscrape_configs: [{{job_name: a, {job}}}]");
        let config = config(&text);
        (config.jobs[0].clone(), config.warnings.join("\n"))
    };
    let (job, _) = jobs("", "");
    assert!(!job.protocols.contains(&Protocol::Protobuf));
    assert_eq!(job.histograms, Histograms::default());
    let (job, _) = jobs(
        "scrape_native_histograms: true",
        "convert_classic_histograms_to_nhcb: true",
    );
    assert_eq!(
        (job.protocols[0], job.protocols.len()),
        (Protocol::Protobuf, 5)
    );
    assert!(job.histograms.native && job.histograms.to_custom_buckets);
    let (job, _) = jobs(
        "scrape_native_histograms: true, always_scrape_classic_histograms: true",
        "scrape_native_histograms: false, scrape_protocols: [PrometheusProto]",
    );
    assert_eq!(job.protocols, [Protocol::Protobuf]);
    assert!(!job.histograms.native && job.histograms.classic_too);
    let (_, warnings) = jobs(
        "",
        "scrape_native_histograms: true, scrape_protocols: [PrometheusText0.0.4]",
    );
    assert!(
        warnings.contains("leaves out PrometheusProto"),
        "{warnings}"
    );
}

#[test]
fn unknown_keys_and_bad_values_are_named() {
    refused(
        "scrape_configs:\n- job_name: a\n  scrape_intervall: 5s\n",
        &["edge.yml:3:3", "scrape_intervall"],
    );
    refused(
        "branchline:\n  buffer: {bytes: 5}\n",
        &["edge.yml:2:", "bytes"],
    );
    refused(
        "global:\n  scrape_interval: 5 parsecs\n",
        &["edge.yml:2:20: scrape_interval: not a valid duration"],
    );
    refused(
        "global: {scrape_interval: 5s, scrape_timeout: 6s}",
        &["global.scrape_timeout", "greater"],
    );
    refused(
        &job("scrape_interval: 5s\nscrape_timeout: 6s"),
        &["scrape_configs[0].scrape_timeout", "greater"],
    );
    refused("scrape_configs: [{}]", &["scrape_configs[0].job_name"]);
    refused(
        "scrape_configs: [{job_name: a}, {job_name: a}]",
        &["multiple scrape configs with job name \"a\""],
    );
    refused(
        &job("static_configs: [{targets: ['http://x/metrics']}]"),
        &["static_configs[0].targets", "not a valid hostname"],
    );
    refused(
        &job("file_sd_configs: [{files: [x.txt]}]"),
        &["file_sd_configs[0]", "x.txt"],
    );
    refused(
        &job("relabel_configs: [{action: replac}]"),
        &["relabel_configs[0].action", "replac"],
    );
    refused(
        &job("metric_relabel_configs: [{regex: '(', target_label: x}]"),
        &["metric_relabel_configs[0]", "does not compile"],
    );
    refused(&job("relabel_configs: [null]"), &["empty or null"]);
    refused(
        &job("basic_auth: {}\nauthorization: {credentials: x}"),
        &["scrape_configs[0]", "at most one of"],
    );
    refused(
        &job("tls_config: {cert_file: x}"),
        &["tls_config", "key_file"],
    );
    refused(
        "remote_write: [{url: ''}]",
        &["remote_write[0].url", "missing"],
    );
    refused(
        "remote_write: [{url: 'ftp://x'}]",
        &["no http:// or https://"],
    );
    refused(
        "remote_write: [{url: 'http://x'}, {url: 'http://x'}]",
        &["remote_write[1].name", "multiple"],
    );
    refused(
        "remote_write: [{url: 'http://x', headers: {Authorization: x}}]",
        &["remote_write[0].headers"],
    );
    refused(
        "branchline: {buffer: {bytes_max: 1MiB}}",
        &["branchline.buffer.bytes_max", "16MiB"],
    );
    for bad in ["0", "1", "101"] {
        refused(
            &format!("branchline: {{buffer: {{eviction: {{thin_to_every: {bad}}}}}}}"),
            &[
                "branchline.buffer.eviction.thin_to_every",
                "between 2 and 100",
            ],
        );
    }
    refused(
        "branchline: {buffer: {eviction: {keep: ['up', '{job=}']}}}",
        &["branchline.buffer.eviction.keep[1]", "byte 5"],
    );
    refused(
        "branchline: {buffer: {eviction: {keep: ['{job!=\"x\"}']}}}",
        &["branchline.buffer.eviction.keep[0]", "Name a label"],
    );
    refused(
        "branchline: {buffer: {eviction: {kept: []}}}",
        &["kept", "thin_to_every"],
    );
    refused(
        "branchline: {buffer: {sync_within: 0s}}",
        &["branchline.buffer.sync_within"],
    );
    refused(
        "branchline: {link: {bytes_per_second: 50B}}",
        &["branchline.link.bytes_per_second", "100B"],
    );
    refused(
        "branchline: {clock: {when_off: guess}}",
        &["branchline.clock.when_off", "\"guess\" is neither correct"],
    );
    refused(
        "branchline: {clock: {tolerance: 2h}}",
        &["branchline.clock.tolerance", "between 100ms and 1h"],
    );
    refused(
        "branchline: {link: {heartbeat: 2m}}",
        &["branchline.link.heartbeat", "between 1s and 1m"],
    );
    refused("branchline: {edge: 'a b'}", &["branchline.edge"]);
    refused(
        "branchline: {node_collector: {job: a}}\nscrape_configs: [{job_name: a}]",
        &["branchline.node_collector.job"],
    );
    refused(
        "global: {external_labels: {__name__: x}}",
        &["global.external_labels"],
    );
}

#[test]
fn jobs_of_other_files() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write(
        "edge.yml",
        "scrape_config_files: [job-*.yml]\nscrape_configs: [{job_name: first}]\n",
    );
    write(
        "job-b.yml",
        "scrape_configs: [{job_name: b, file_sd_configs: [{files: [t.json]}]}]\n",
    );
    write("job-a.yml", "scrape_configs: [{job_name: a}]\n");
    let load = || EdgeConfig::load(&folder.path().join("edge.yml"));
    let config = load().unwrap();
    let names: Vec<&str> = config.jobs.iter().map(|job| job.name.as_str()).collect();
    assert_eq!(names, ["first", "a", "b"]);
    let Discovery::File { patterns, .. } = &config.jobs[2].discovery[0] else {
        panic!()
    };
    assert_eq!(patterns[0], folder.path().join("t.json"));
    write("job-c.yml", "scrape_configs: [{job_name: c}]\nglobal: {}\n");
    let error = load().unwrap_err().to_string();
    assert!(
        error.contains("job-c.yml:2:1") && error.contains("global"),
        "{error}"
    );
}
