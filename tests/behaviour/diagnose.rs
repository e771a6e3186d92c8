//! `edge-scraper diagnose` on real processes with real faults: what is wrong is named, with the way out, and the exit code says so; a
//! support bundle holds no secret.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tests::certificates::Authority;
use tests::checkout;
use tests::server::{Answer, Server};
use tests::service::Service;
use tests::wait;

use crate::setup::{Ticker, hub_config};

const SOON: Duration = Duration::from_secs(40);

/// Runs `edge-scraper diagnose` for an edge; (whether nothing is wrong, what it printed).
fn run(edge: &Service, arguments: &[&str]) -> (bool, String) {
    let mut command = Command::new(checkout::binary("edge-scraper"));
    command.arg("diagnose").args(arguments);
    command.arg("--config").arg(edge.config_path());
    command.arg("--data-dir").arg(edge.data_dir());
    command.args(["--listen", edge.address()]);
    let output = command.output().expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(!errors.contains("panicked"), "{errors}");
    (output.status.success(), text + &errors)
}

/// The findings as JSON, after the exit code and the summary agree.
fn findings(edge: &Service) -> Vec<Value> {
    let (healthy, text) = run(edge, &["--json"]);
    let report: Value =
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    assert_eq!(report["healthy"], Value::Bool(healthy), "{text}");
    report["findings"].as_array().expect("a list").clone()
}

/// Fails unless this was found, with these words in what was found or in the way out.
#[track_caller]
fn found(edge: &Service, section: &str, name: &str, state: &str, words: &[&str]) {
    let all = findings(edge);
    let finding = all
        .iter()
        .find(|finding| finding["section"] == section && finding["name"] == name);
    let Some(finding) = finding else {
        panic!("no finding {section}, {name}: {all:#?}");
    };
    assert_eq!(finding["state"], state, "{finding:#}");
    for word in words {
        assert!(finding.to_string().contains(word), "{word}: {finding:#}");
    }
}

fn config(hub: &str, token: &str, target: &str, more: &str) -> String {
    format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\n\
         scrape_configs: [{{job_name: ticker, static_configs: [{{targets: ['{target}']}}]}}]\n\
         remote_write: [{{name: hub, url: '{hub}/api/v1/write', authorization: {{credentials: {token}}}{more}}}]\n"
    )
}

#[test]
fn a_healthy_edge_is_healthy_and_faults_are_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let ticker = Ticker::start();
    let mut hub = Service::hub(&folder.path().join("hub"))
        .config(&hub_config(&[("b01", "the-right-token")]))
        .start();
    let (url, target) = (hub.url(""), ticker.address());
    let mut edge = Service::edge(&folder.path().join("edge"))
        .config(&config(&url, "the-right-token", &target, ""))
        .start();
    wait::until(SOON, "a healthy edge", || match run(&edge, &[]) {
        (true, _) => Ok(()),
        (false, text) => Err(text),
    });
    let (_, text) = run(&edge, &[]);
    for words in [
        "Nothing is wrong",
        "hub hub",
        "link: up since",
        "within two seconds",
        "backlog: up to date",
        "none is down",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    let (_, status) = run(&edge, &["get", "status"]);
    assert!(status.contains("\"bufferBytesMax\""), "{status}");

    // A target that is gone.
    drop(ticker);
    wait::until(SOON, "a target that is down", || match run(&edge, &[]) {
        (false, text) if text.contains("1 of 1 targets are down") && text.contains(&target) => {
            Ok(())
        }
        (_, text) => Err(text),
    });
    // A hub that is gone.
    hub.terminate();
    wait::until(SOON, "a link that is down", || match run(&edge, &[]) {
        (false, text) if text.contains("link: down since") => Ok(()),
        (_, text) => Err(text),
    });
    found(
        &edge,
        "hub hub",
        "connection",
        "failure",
        &["refused", "start the hub"],
    );
    hub.start_again();

    // Without a running edge, and with a wrong token.
    edge.terminate();
    found(
        &edge,
        "edge",
        "process",
        "failure",
        &["no edge runs here", "--data-dir"],
    );
    found(&edge, "hub hub", "token", "ok", &[]);
    found(
        &edge,
        "targets",
        "static targets",
        "failure",
        &[&target, "refused"],
    );
    edge.write_config(&config(&url, "another-token", &target, ""));
    found(
        &edge,
        "hub hub",
        "token",
        "failure",
        &["401", "branchline.branches"],
    );
    edge.write_config(&config("http://no-such-host.invalid:1", "x", &target, ""));
    found(
        &edge,
        "hub hub",
        "address",
        "failure",
        &["cannot be resolved", "DNS"],
    );
    edge.write_config("scrape_konfigs: []\n");
    let path = edge.config_path().display().to_string();
    found(
        &edge,
        "configuration",
        &path,
        "failure",
        &["scrape_konfigs"],
    );
}

/// A hub that answers everything, in another time.
#[test]
fn a_clock_that_is_off_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    for (date, state, words) in [
        ("Mon, 01 Jan 2024 00:00:00 GMT", "failure", "ahead of"),
        ("Thu, 01 Jan 2099 00:00:00 GMT", "failure", "behind"),
    ] {
        let hub = Server::start(move |_| Answer {
            headers: vec![
                ("Date", date.to_owned()),
                ("Branchline-Hub", "h".to_owned()),
            ],
            ..Answer::status(204, "")
        });
        let mut edge = Service::edge(&folder.path().join(words));
        edge.write_config(&config(&hub.url(""), "x", &hub.address(), ""));
        found(&edge, "hub hub", "clock", state, &[words, "chrony"]);
        found(&edge, "hub hub", "token", "ok", &["hub h takes it"]);
    }
}

#[test]
fn an_expired_certificate_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let authority = Authority::new(&folder.path().join("ca"), "ca");
    let start = |name: &str, days: (i64, i64)| {
        let (cert, key) = authority.issue_for(name, &["127.0.0.1"], days);
        let web = folder.path().join(format!("{name}.yml"));
        let text = format!(
            "tls_server_config: {{cert_file: '{}', key_file: '{}'}}\n",
            cert.display(),
            key.display()
        );
        std::fs::write(&web, text).expect("a file");
        let mut hub = Service::hub(&folder.path().join(name))
            .config(&hub_config(&[("b01", "one")]))
            .argument("--web.config.file")
            .argument(web.display().to_string());
        hub.launch();
        let address = hub.address().to_owned();
        wait::until_true(SOON, "it listens", || {
            std::net::TcpStream::connect(&address).is_ok()
        });
        hub
    };
    let trust = format!(", tls_config: {{ca_file: '{}'}}", authority.pem().display());
    let mut edge = Service::edge(&folder.path().join("edge"));
    let mut write = |hub: &Service, more: &str| {
        let url = format!("https://{}", hub.address());
        edge.write_config(&config(&url, "one", hub.address(), more));
    };
    let (expired, soon, good) = (
        start("expired", (-20, -10)),
        start("soon", (-20, 5)),
        start("good", (-20, 100)),
    );
    write(&expired, &trust);
    let edge_now = Service::edge(&folder.path().join("edge"));
    let at = |state: &str, words: &[&str]| found(&edge_now, "hub hub", "certificate", state, words);
    at("failure", &["expired 10 days ago", "renew"]);
    found(
        &edge_now,
        "hub hub",
        "request",
        "failure",
        &["expired", "tls_config"],
    );
    write(&soon, &trust);
    at("warning", &["valid for 4 more days"]);
    write(&good, &trust);
    at("ok", &["valid for 99 more days"]);
    found(&edge_now, "hub hub", "token", "ok", &[]);
    // Nobody said whom to trust.
    write(&good, "");
    found(
        &edge_now,
        "hub hub",
        "request",
        "failure",
        &["certificate", "ca_file"],
    );
}

#[test]
fn a_full_disk_is_named() {
    if !Service::small_disks_work() {
        return tests::peers::leave_out("needs unshare and mount namespaces");
    }
    // The data folder's disk is seen by this process alone, so the command runs where it is.
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    std::fs::create_dir(&data).expect("a folder");
    let output = Command::new("unshare")
        .args(["-rm", "sh", "-c"])
        .arg("mount -t tmpfs -o size=1m tmpfs \"$0\" && (cat /dev/zero >\"$0/fill\" 2>/dev/null; shift 0; exec \"$@\")")
        .arg(&data)
        .arg(checkout::binary("edge-scraper"))
        .args(["diagnose", "--data-dir"])
        .arg(&data)
        .output()
        .expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(!output.status.success(), "{text}");
    for words in [
        "FAIL  free space",
        "FAIL  fsync",
        "No space left",
        "free some space",
    ] {
        assert!(
            text.contains(words),
            "{words}: {text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

#[test]
fn a_bundle_holds_everything_but_secrets() {
    let folder = tempfile::tempdir().expect("a folder");
    let secrets = [
        "t0ken-in-a-file",
        "p4ssword-of-a-job",
        "he4der-value",
        "b3arer-inline",
        "url-p4ss",
        "par4meter-of-a-scrape",
        "p4rameter-label",
        "sd-addr3ss",
    ];
    std::fs::write(folder.path().join("token"), format!("{}\n", secrets[0])).expect("a file");
    std::fs::create_dir(folder.path().join("more")).expect("a folder");
    std::fs::write(
        folder.path().join("more/job.yml"),
        format!("scrape_configs: [{{job_name: more, basic_auth: {{username: me, password: {}}}, static_configs: [{{targets: ['127.0.0.1:1']}}]}}]\n", secrets[1]),
    )
    .expect("a file");
    // The job's error names its address, and so would the status.
    let text = format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\nscrape_config_files: [more/*.yml]\nscrape_configs:\n- job_name: a\n  bearer_token: {}\n  \
         params: {{api_key: [{}, x], module: [m]}}\n  http_sd_configs: [{{url: 'http://127.0.0.1:1/?sig={}'}}]\n  \
         static_configs: [{{targets: ['127.0.0.1:1'], labels: {{__param_secret: {}}}}}]\nremote_write:\n- url: http://me:{}@127.0.0.1:1/api/v1/write\n  headers: {{X-Key: {}}}\n  \
         authorization: {{credentials_file: token}}\n",
        secrets[3], secrets[5], secrets[7], secrets[6], secrets[4], secrets[2]
    );
    let edge = Service::edge(folder.path()).config(&text).start();
    wait::until(SOON, "a scrape", || match run(&edge, &[]) {
        (_, text) if text.contains("targets are down") => Ok(()),
        (_, text) => Err(text),
    });
    let bundle = folder.path().join("bundle.tar.gz");
    let output = bundle.display().to_string();
    let (done, text) = run(&edge, &["collect", "--output", &output]);
    assert!(done, "{text}");
    let all = unpacked(&bundle, folder.path());
    for (name, words) in [
        ("report.txt", "What is wrong"),
        ("report.json", "\"findings\""),
        ("status.json", "bufferBytes"),
        ("targets.json", "activeTargets"),
        ("metrics.txt", "branchline_edge_scrapes_total"),
        ("buffer.txt", "LOCK"),
        ("log.txt", "edge"),
        ("machine.txt", "MemTotal"),
        ("config/01-config.yml", "credentials_file: token"),
        ("config/02-job.yml", "username: me"),
    ] {
        let file = all.iter().find(|(file, _)| file.ends_with(name));
        let (_, text) = file.unwrap_or_else(|| {
            panic!(
                "no {name}: {:?}",
                all.iter().map(|(name, _)| name).collect::<Vec<_>>()
            )
        });
        assert!(text.contains(words), "{name}: {text}");
    }
    for (name, text) in &all {
        for secret in secrets {
            assert!(!text.contains(secret), "{secret} in {name}: {text}");
        }
    }
}

/// The files of an archive.
fn unpacked(bundle: &Path, folder: &Path) -> Vec<(String, String)> {
    let status = Command::new("tar")
        .arg("xzf")
        .arg(bundle)
        .current_dir(folder)
        .status()
        .expect("tar runs");
    assert!(status.success());
    let mut files = Vec::new();
    let mut waiting = vec![folder.join("edge-diagnosis")];
    while let Some(path) = waiting.pop() {
        for entry in std::fs::read_dir(&path).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                waiting.push(path);
            } else {
                let text = std::fs::read(&path).expect("a file");
                let text = String::from_utf8_lossy(&text).into_owned();
                files.push((path.display().to_string(), text));
            }
        }
    }
    files
}
