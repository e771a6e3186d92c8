//! TLS and credentials: what Prometheus's web configuration file promises, on real processes and with a real Prometheus.

use std::path::Path;
use std::time::Duration;

use tests::certificates::Authority;
use tests::https::Https;
use tests::peers::{Peer, all_there};
use tests::process;
use tests::service::Service;
use tests::wait;

use crate::setup::{EdgeConfig, TICKER_SERIES, Ticker, hub_config};

const SOON: Duration = Duration::from_secs(30);

/// `grafana` with the password `secret`.
const USERS: &str =
    "basic_auth_users: {grafana: '$2y$04$e7mwEyX7I0PKx1dC0EwV3Owl4abdoRgDin0qTSNop/6j4.Vvn2/C.'}\n";

fn tls(more: &str) -> String {
    format!("tls_server_config: {{cert_file: server.pem, key_file: server.key{more}}}\n")
}

/// An authority in `folder` with a certificate for 127.0.0.1, and a web configuration beside them.
fn secured(folder: &Path, web: &str) -> Authority {
    let authority = Authority::new(folder, "ca");
    authority.issue("server", &["127.0.0.1"]);
    std::fs::write(folder.join("web.yml"), web).expect("a file");
    authority
}

/// Started with this web configuration file; ready when `ask` says so.
fn start(service: Service, folder: &Path, ask: &Https) -> Service {
    let mut service = service.argument(format!(
        "--web.config.file={}",
        folder.join("web.yml").display()
    ));
    service.launch();
    let url = https(&service, "/-/ready");
    wait::until(SOON, "ready over TLS", || match ask.get(&url) {
        Ok(answer) if answer.status == 200 => Ok(()),
        Ok(answer) => Err(answer.text()),
        Err(error) => Err(error),
    });
    service
}

fn https(service: &Service, path: &str) -> String {
    format!("https://{}{path}", service.address())
}

/// The number of series that a query finds.
fn count(ask: &Https, service: &Service, query: &str) -> Result<usize, String> {
    let query = tests::http::percent_encode(query);
    let answer = ask.get(&https(service, &format!("/api/v1/query?query={query}")))?;
    let json: serde_json::Value =
        serde_json::from_slice(&answer.body).map_err(|_| answer.text())?;
    let found = json["data"]["result"].as_array();
    found.map(Vec::len).ok_or_else(|| answer.text())
}

fn wait_for(what: &str, ask: &Https, service: &Service, query: &str, series: usize) {
    wait::until(SOON, what, || match count(ask, service, query)? {
        found if found >= series => Ok(()),
        found => Err(format!("{found} of {series} series")),
    });
}

#[test]
fn every_process_serves_tls_and_asks_for_client_certificates() {
    for program in ["hub", "edge-scraper", "alert-router"] {
        let folder = tempfile::tempdir().expect("a folder");
        let keys = folder.path().join("keys");
        let more = ", client_auth_type: RequireAndVerifyClientCert, client_ca_file: ca.pem, client_allowed_sans: [me.example]";
        let authority = secured(&keys, &tls(more));
        let me = authority.issue("me", &["me.example"]);
        let other = authority.issue("other", &["other.example"]);
        let strangers = Authority::new(&keys, "strangers");
        let stranger = strangers.issue("stranger", &["me.example"]);
        let trusting = Https::trusting(&authority.pem());
        let ask = trusting.clone().identity(&me);
        let service = start(Service::bare(program, folder.path()), &keys, &ask);
        let url = https(&service, "/metrics");
        assert_eq!(ask.get(&url).expect("an answer").status, 200);
        for (who, refused) in [
            ("without a certificate", trusting.clone()),
            ("with another's", trusting.clone().identity(&other)),
            ("with a stranger's", trusting.clone().identity(&stranger)),
        ] {
            let answer = refused.get(&url);
            assert!(answer.is_err(), "{program} {who}: {answer:?}");
        }
        let fooled = Https::trusting(&strangers.pem()).identity(&me);
        let why = fooled.get(&url).expect_err("no trust");
        assert!(why.contains("certificate"), "{why}");
        let plain = tests::http::get(&service.url("/metrics")).expect("an answer");
        assert_eq!(plain.status, 400);
        assert!(plain.text().contains("https://"), "{}", plain.text());
    }
}

#[test]
fn every_process_asks_users_and_takes_new_certificates_while_it_runs() {
    for program in ["hub", "edge-scraper", "alert-router"] {
        let folder = tempfile::tempdir().expect("a folder");
        let keys = folder.path().join("keys");
        let authority = secured(&keys, &(tls("") + USERS));
        let nobody = Https::trusting(&authority.pem());
        let service = start(Service::bare(program, folder.path()), &keys, &nobody);
        let url = https(&service, "/metrics");
        let status = |ask: &Https| ask.get(&url).expect("an answer").status;
        assert_eq!(status(&nobody), 401, "{program}");
        assert_eq!(status(&nobody.clone().user("grafana", "wrong")), 401);
        assert_eq!(status(&nobody.clone().user("nobody", "secret")), 401);
        let user = nobody.user("grafana", "secret");
        assert_eq!(status(&user), 200);

        let mut renewed = user.clone();
        renewed.tls.server_name = Some("new.example".to_owned());
        assert!(renewed.get(&url).is_err(), "it has no such name yet");
        authority.issue("server", &["new.example"]);
        assert_eq!(status(&renewed), 200, "{program}: {}", service.log());
        assert!(user.get(&url).is_err(), "the old certificate is gone");
    }
}

#[test]
fn beyond_loopback_takes_tls_and_credentials_or_a_proxy() {
    for program in ["hub", "edge-scraper", "alert-router"] {
        let folder = tempfile::tempdir().expect("a folder");
        let address = process::free_address().replace("127.0.0.1", "0.0.0.0");
        let mut service = Service::bare(program, folder.path()).at(&address);
        let (status, log) = service.run_to_end(SOON);
        assert!(!status.success(), "{program}: {log}");
        for word in [
            &address,
            "127.0.0.1",
            "TLS",
            "--web.config.file",
            "--web.behind-proxy",
        ] {
            assert!(log.contains(word), "{program} does not say {word:?}: {log}");
        }
    }
}

#[test]
fn a_broken_web_configuration_is_refused_with_its_line() {
    for program in ["hub", "edge-scraper", "alert-router"] {
        let folder = tempfile::tempdir().expect("a folder");
        let web = folder.path().join("web.yml");
        std::fs::write(&web, "# users\nbasic_auth_users:\n  grafana: secret\n").expect("a file");
        let mut service = Service::bare(program, folder.path())
            .argument(format!("--web.config.file={}", web.display()));
        let (status, log) = service.run_to_end(SOON);
        let place = format!("{}:3", web.display());
        assert!(
            !status.success() && log.contains(&place),
            "{program}: {log}"
        );
        assert!(log.contains("bcrypt") && !log.contains("secret"), "{log}");
        let checked = std::process::Command::new(tests::checkout::binary(program))
            .arg("check-web-config")
            .arg(&web)
            .output()
            .expect("it runs");
        let said = String::from_utf8_lossy(&checked.stderr).into_owned();
        assert!(!checked.status.success() && said.contains(&place), "{said}");
    }
}

#[test]
fn an_edge_writes_over_tls_with_its_certificate_and_its_token() {
    let folder = tempfile::tempdir().expect("a folder");
    let keys = folder.path().join("keys");
    let more = ", client_auth_type: RequireAndVerifyClientCert, client_ca_file: ca.pem";
    let authority = secured(&keys, &(tls(more) + USERS));
    let reader = authority.issue("reader", &["reader.example"]);
    authority.issue("edge", &["b01.example"]);
    let ask = Https::trusting(&authority.pem())
        .identity(&reader)
        .user("grafana", "secret");
    let hub = Service::hub(&folder.path().join("hub")).config(&hub_config(&[("b01", "token-b01")]));
    let hub = start(hub, &keys, &ask);
    let ticker = Ticker::start();
    let edge_folder = folder.path().join("edge");
    std::fs::create_dir_all(&edge_folder).expect("a folder");
    std::fs::write(edge_folder.join("token"), "token-b01").expect("a file");
    let url = https(&hub, "/api/v1/write");
    let config = EdgeConfig {
        branch: "b01",
        interval: "250ms",
        targets: &[("ticker", &ticker.address())],
        url: &url,
        token_file: Some("token"),
        node_collector: false,
    };
    let timeout = "  remote_timeout: 2s\n";
    let keys_text = keys.display();
    let tls = format!(
        "{timeout}  tls_config: {{ca_file: {keys_text}/ca.pem, cert_file: {keys_text}/edge.pem, key_file: {keys_text}/edge.key, min_version: TLS13}}\n"
    );
    let text = config.text().replace(timeout, &tls);
    let _edge = Service::edge(&edge_folder).config(&text).start();
    let query = "scrape_number{branch=\"b01\"}";
    wait_for("the edge's series", &ask, &hub, query, TICKER_SERIES);
}

#[test]
fn an_edge_scrapes_a_target_over_tls_as_a_user() {
    let folder = tempfile::tempdir().expect("a folder");
    let keys = folder.path().join("keys");
    let authority = secured(&keys, &(tls("") + USERS));
    let nobody = Https::trusting(&authority.pem());
    let target = start(
        Service::router(&folder.path().join("router")),
        &keys,
        &nobody,
    );
    let hub = Service::hub(&folder.path().join("hub")).start();
    let text = format!(
        "global: {{scrape_interval: 250ms, scrape_timeout: 250ms, external_labels: {{branch: b01}}}}\n\
         scrape_configs:\n\
         - job_name: right\n  scheme: https\n  basic_auth: {{username: grafana, password: secret}}\n  tls_config: {{ca_file: {keys}/ca.pem}}\n  static_configs: [{{targets: ['{address}']}}]\n\
         - job_name: nobody\n  scheme: https\n  tls_config: {{ca_file: {keys}/ca.pem}}\n  static_configs: [{{targets: ['{address}']}}]\n\
         remote_write: [{{url: '{write}'}}]\n\
         branchline: {{edge: b01, node_collector: {{enabled: false}}}}\n",
        keys = keys.display(),
        address = target.address(),
        write = hub.url("/api/v1/write"),
    );
    let _edge = Service::edge(&folder.path().join("edge"))
        .config(&text)
        .start();
    let api = hub.api();
    wait::until(SOON, "one target is up and one down", || {
        let up = api.query("up{job=\"right\"} == 1")?.len();
        let down = api.query("up{job=\"nobody\"} == 0")?.len();
        match (up, down) {
            (1, 1) => Ok(()),
            found => Err(format!("{found:?}")),
        }
    });
}

#[test]
fn alerts_of_a_hub_reach_a_router_over_tls_as_a_user() {
    let folder = tempfile::tempdir().expect("a folder");
    let keys = folder.path().join("keys");
    let authority = secured(&keys, &(tls("") + USERS));
    let nobody = Https::trusting(&authority.pem());
    let router = start(
        Service::router(&folder.path().join("router")),
        &keys,
        &nobody,
    );
    let hub_folder = folder.path().join("hub");
    std::fs::create_dir_all(&hub_folder).expect("a folder");
    std::fs::write(
        hub_folder.join("rules.yml"),
        "groups: [{name: g, interval: 1s, rules: [{alert: Always, expr: vector(1)}]}]\n",
    )
    .expect("rules");
    std::fs::write(hub_folder.join("password"), "secret\n").expect("a password");
    // Paths are relative to the file, as in Prometheus.
    let text = format!(
        "rule_files: [rules.yml]\nalerting:\n  alertmanagers:\n  - scheme: https\n    basic_auth: {{username: grafana, password_file: password}}\n    tls_config: {{ca_file: ../keys/ca.pem}}\n    static_configs: [{{targets: ['{}']}}]\n",
        router.address()
    );
    let _hub = Service::hub(&hub_folder).config(&text).start();
    let user = nobody.user("grafana", "secret");
    let url = https(&router, "/api/v2/alerts");
    wait::until(SOON, "the alert", || match user.get(&url)?.text() {
        text if text.contains("Always") => Ok(()),
        text => Err(text),
    });
}

#[test]
fn prometheus_scrapes_writes_and_federates_over_tls_as_a_user() {
    if !all_there(&[Peer::Prometheus, Peer::Promtool]) {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let keys = folder.path().join("keys");
    let web =
        tls("") + USERS + "http_server_config: {http2: true, headers: {X-Frame-Options: deny}}\n";
    let authority = secured(&keys, &web);
    let checked = std::process::Command::new(Peer::Promtool.path())
        .args(["check", "web-config"])
        .arg(keys.join("web.yml"))
        .output()
        .expect("it runs");
    assert!(checked.status.success(), "Prometheus reads the same file");
    let nobody = Https::trusting(&authority.pem());
    let hub = start(Service::hub(&folder.path().join("hub")), &keys, &nobody);
    let user = nobody.user("grafana", "secret");
    let client = format!(
        "  basic_auth: {{username: grafana, password: secret}}\n  tls_config: {{ca_file: {}/ca.pem}}\n",
        keys.display()
    );
    let address = hub.address();
    let text = format!(
        "global: {{scrape_interval: 1s, external_labels: {{replica: p}}}}\n\
         scrape_configs:\n\
         - job_name: hub\n  scheme: https\n{client}  static_configs: [{{targets: ['{address}']}}]\n\
         - job_name: federate\n  scheme: https\n  honor_labels: true\n  metrics_path: /federate\n  params: {{'match[]': ['{{job=\"hub\"}}']}}\n{client}  static_configs: [{{targets: ['{address}']}}]\n\
         remote_write:\n- url: https://{address}/api/v1/write\n{client}"
    );
    let prometheus = Service::prometheus(&folder.path().join("prometheus"))
        .config(&text)
        .start();
    wait_for(
        "what Prometheus wrote",
        &user,
        &hub,
        "branchline_build_info{replica=\"p\"}",
        1,
    );
    let api = prometheus.api();
    wait::until(SOON, "both targets up, and series federated", || {
        let up = api.query("up{replica=\"\"} == 1")?.len();
        let federated = api.query("branchline_build_info{replica=\"p\"}")?.len();
        match (up, federated) {
            (2, 1..) => Ok(()),
            found => Err(format!("{found:?}")),
        }
    });
    let answer = user.get(&https(&hub, "/api/v1/labels")).expect("an answer");
    assert_eq!(answer.header("x-frame-options"), Some("deny"));
    let http2 = std::process::Command::new("curl")
        .args(["-sS", "--http2", "--cacert"])
        .arg(authority.pem())
        .args([
            "-u",
            "grafana:secret",
            "-o",
            "/dev/null",
            "-w",
            "%{http_version} %{http_code}",
        ])
        .arg(https(&hub, "/api/v1/labels"))
        .output();
    if let Ok(output) = http2 {
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let why = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(said, "2 200", "HTTP/2 over TLS: {why}");
    }
}
