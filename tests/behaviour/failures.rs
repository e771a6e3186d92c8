//! What goes wrong on a first day: each failure says what happened and what to do, ends with an exit code where it must end, and
//! loses nothing where it need not.

use std::net::TcpListener;
use std::time::Duration;

use tests::peers::{Peer, all_there, leave_out};
use tests::remote_write::{body, send, series};
use tests::server::{Answer, Server};
use tests::service::Service;
use tests::{http, process, wait};

use crate::setup::{EdgeConfig, Ticker, hub_config};

const PROGRAMS: [&str; 3] = ["hub", "edge-scraper", "alert-router"];
/// For a process that refuses to start.
const SOON: Duration = Duration::from_secs(20);

/// What it prints before it ends with a failure.
fn refusal(service: &mut Service) -> String {
    let (status, log) = service.run_to_end(SOON);
    assert!(
        !status.success(),
        "it must not end as if all were well: {log}"
    );
    assert!(
        status.code().is_some(),
        "it must end by itself, not by a signal: {status}: {log}"
    );
    assert!(!log.contains("panicked"), "{log}");
    log
}

#[track_caller]
fn says(log: &str, words: &[&str]) {
    for word in words {
        assert!(
            log.to_lowercase().contains(&word.to_lowercase()),
            "does not say {word:?}: {log}"
        );
    }
}

#[test]
fn a_busy_port_is_named() {
    for program in PROGRAMS {
        let folder = tempfile::tempdir().expect("a folder");
        let mut service = Service::bare(program, folder.path());
        let _taken = TcpListener::bind(service.address()).expect("a free port");
        let address = service.address().to_owned();
        says(&refusal(&mut service), &[&address, "in use", "--listen"]);
    }
}

#[test]
fn a_data_folder_that_another_process_holds_is_named() {
    for program in PROGRAMS {
        let folder = tempfile::tempdir().expect("a folder");
        let _first = Service::bare(program, folder.path()).start();
        let mut second = Service::bare(program, folder.path());
        let data = second.data_dir().display().to_string();
        // Both logs go into one file: what the second says comes last.
        says(
            &refusal(&mut second),
            &[&data, "in use by another process", "--data-dir"],
        );
    }
}

#[test]
fn a_data_folder_that_cannot_be_made_is_named() {
    for program in PROGRAMS {
        let folder = tempfile::tempdir().expect("a folder");
        let mut service = Service::bare(program, folder.path());
        std::fs::write(service.data_dir(), "a file where a folder should be").expect("a file");
        let data = service.data_dir().display().to_string();
        says(&refusal(&mut service), &[&data]);
    }
}

#[test]
fn a_read_only_data_folder_is_named() {
    if !Service::small_disks_work() {
        leave_out("needs a file system of its own (unshare -rm)");
        return;
    }
    for program in PROGRAMS {
        let folder = tempfile::tempdir().expect("a folder");
        let mut service = Service::bare(program, folder.path()).read_only_disk();
        let data = service.data_dir().display().to_string();
        says(&refusal(&mut service), &[&data, "read-only"]);
    }
}

#[test]
fn an_unknown_key_is_named_with_file_and_line() {
    for program in PROGRAMS {
        let folder = tempfile::tempdir().expect("a folder");
        let mut service =
            Service::bare(program, folder.path()).config("# a comment\nscrape_confgis: []\n");
        let config = service.config_path().display().to_string();
        let log = refusal(&mut service);
        says(&log, &[&format!("{config}:2"), "scrape_confgis"]);
        assert!(
            TcpListener::bind(service.address()).is_ok(),
            "{program} refuses before it opens a port"
        );
        let checked = std::process::Command::new(tests::checkout::binary(program))
            .arg("check-config")
            .arg(service.config_path())
            .output()
            .expect("it runs");
        let said = String::from_utf8_lossy(&checked.stderr).into_owned()
            + &String::from_utf8_lossy(&checked.stdout);
        assert!(!checked.status.success(), "{program} check-config: {said}");
        says(&said, &[&format!("{config}:2"), "scrape_confgis"]);
    }
}

#[test]
fn a_missing_configuration_file_is_named() {
    for program in PROGRAMS {
        let folder = tempfile::tempdir().expect("a folder");
        let missing = folder.path().join("missing.yml");
        let mut service = Service::bare(program, folder.path())
            .argument("--config")
            .argument(missing.display().to_string());
        says(&refusal(&mut service), &[&missing.display().to_string()]);
    }
}

#[test]
fn a_hub_without_credentials_stays_on_loopback() {
    let folder = tempfile::tempdir().expect("a folder");
    let address = process::free_address().replace("127.0.0.1", "0.0.0.0");
    let mut hub = Service::hub(folder.path()).at(&address);
    says(
        &refusal(&mut hub),
        &[&address, "127.0.0.1", "branchline.branches"],
    );
}

#[test]
fn an_edge_whose_hub_is_not_there_says_so_and_goes_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let ticker = Ticker::start();
    let nobody = process::free_address();
    let url = format!("http://{nobody}/api/v1/write");
    let config = EdgeConfig {
        branch: "b01",
        interval: "250ms",
        targets: &[("ticker", &ticker.address())],
        url: &url,
        token_file: None,
        node_collector: false,
    };
    let edge = Service::edge(folder.path()).config(&config.text()).start();
    wait::until(SOON, "the edge says that nobody is there", || {
        let log = edge.log();
        if log.contains(&nobody) && log.to_lowercase().contains("refused") {
            Ok(())
        } else {
            Err(log)
        }
    });
    let so_far = ticker.scrapes();
    wait::until_true(SOON, "it scrapes on", || ticker.scrapes() > so_far + 3);
    for path in ["/-/healthy", "/-/ready"] {
        assert_eq!(
            http::get(&edge.url(path)).expect("an answer").status,
            200,
            "{path}"
        );
    }
}

#[test]
fn a_full_disk_refuses_writes_and_still_answers() {
    if !Service::small_disks_work() {
        leave_out("needs a file system of its own (unshare -rm)");
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let mut hub = Service::hub(folder.path()).disk_bytes(48 << 20).start();
    let url = hub.url("/api/v1/write");
    let api = hub.api();
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("after 1970");
    let now = i64::try_from(since.as_millis()).expect("a time");
    let first = send(
        &url,
        None,
        &body(vec![series(&[("__name__", "kept")], &[(now, 1.0)])]),
    )
    .expect("an answer");
    assert!((200..300).contains(&first.status), "{}", first.text());

    // New series with long labels until the disk is full.
    let filler = "x".repeat(1_000);
    let mut refused = None;
    for round in 0..200 {
        let many = (0..1_000).map(|index| {
            let unlike = format!("{filler}{round}-{index}");
            series(&[("__name__", "filler"), ("a", &unlike)], &[(now, 1.0)])
        });
        let answer = send(&url, None, &body(many.collect())).expect("an answer");
        if !(200..300).contains(&answer.status) {
            refused = Some(answer);
            break;
        }
    }
    let refused = refused.expect("a disk of 48 MiB does not hold 200 MB");
    assert_eq!(
        refused.status,
        503,
        "senders must keep their data and try again: {}",
        refused.text()
    );
    says(&refused.text(), &["space"]);
    assert_eq!(
        http::get(&hub.url("/-/healthy")).expect("an answer").status,
        200
    );
    assert_eq!(
        api.value("kept")
            .expect("what was stored is still answered"),
        1.0
    );
    says(&hub.log(), &["space"]);
    assert!(hub.process().exited().is_none());
}

#[test]
fn an_alertmanager_that_is_down_gets_its_alerts_later() {
    if !all_there(&[Peer::Alertmanager]) {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let mut alertmanager = Service::alertmanager(&folder.path().join("alertmanager"))
        .config("route: {receiver: nobody}\nreceivers: [{name: nobody}]\n");
    let rules = folder.path().join("rules.yml");
    std::fs::write(
        &rules,
        "groups:\n- name: g\n  interval: 1s\n  rules:\n  - {alert: Always, expr: vector(1)}\n",
    )
    .expect("rules");
    let config = format!(
        "rule_files: ['{}']\nalerting:\n  alertmanagers:\n  - static_configs: [{{targets: ['{}']}}]\n",
        rules.display(),
        alertmanager.address()
    );
    let hub = Service::hub(&folder.path().join("hub"))
        .config(&config)
        .start();
    let address = alertmanager.address().to_owned();
    wait::until(SOON, "the hub says which Alertmanager is down", || {
        let log = hub.log();
        if log.contains(&address) && log.to_lowercase().contains("refused") {
            Ok(())
        } else {
            Err(log)
        }
    });
    alertmanager.start_again();
    wait::until(Duration::from_secs(60), "the alert arrives", || {
        let answer = http::get(&alertmanager.url("/api/v2/alerts"))
            .map_err(|error| error.to_string())?
            .text();
        if answer.contains("Always") {
            Ok(())
        } else {
            Err(answer)
        }
    });
}

#[test]
fn a_token_file_that_is_not_there_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let missing = folder.path().join("no-such-token");
    let text = format!(
        "branchline:\n  branches:\n  - {{name: b01, token_file: '{}'}}\n",
        missing.display()
    );
    let mut hub = Service::hub(&folder.path().join("hub")).config(&text);
    says(&refusal(&mut hub), &[&missing.display().to_string(), "b01"]);
    let mut twice = Service::hub(&folder.path().join("twice"))
        .config(&hub_config(&[("b01", "same"), ("b02", "same")]));
    let log = refusal(&mut twice);
    says(&log, &["b01", "b02", "token"]);
    assert!(!log.contains("same\""), "a secret in the log: {log}");
}

#[test]
fn a_target_that_is_down_or_speaks_nonsense_shows_in_up() {
    let folder = tempfile::tempdir().expect("a folder");
    let hub = Service::hub(&folder.path().join("hub")).start();
    let nonsense = Server::start(|_| Answer::metrics("<html>not metrics</html>\n"));
    let broken = Server::start(|_| Answer::status(500, "broken"));
    let nobody = process::free_address();
    let config = EdgeConfig {
        branch: "b01",
        interval: "500ms",
        targets: &[
            ("nonsense", &nonsense.address()),
            ("broken", &broken.address()),
            ("nobody", &nobody),
        ],
        url: &hub.url("/api/v1/write"),
        token_file: None,
        node_collector: false,
    };
    let _edge = Service::edge(&folder.path().join("edge"))
        .config(&config.text())
        .start();
    let api = hub.api();
    wait::until(SOON, "up is 0 for all three", || {
        let down = api.query("up{branch=\"b01\"} == 0")?;
        if down.len() == 3 {
            Ok(())
        } else {
            Err(format!("{} of 3", down.len()))
        }
    });
}
