//! An edge that restarts while it is cut off scrapes what it scraped before: its discovery server gone, its configuration file
//! broken, its secrets unreadable. It says so, and goes back to the file as soon as that is mended.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;
use tests::server::{Answer, Server};
use tests::service::Service;
use tests::{http, wait};

use crate::setup::Ticker;

const LONG: Duration = Duration::from_secs(90);

/// `data` of the edge's own status.
fn status(edge: &Service) -> Result<Value, String> {
    let answer = http::get(&edge.url("/api/v1/status/edge")).map_err(|error| error.to_string())?;
    let mut answer: Value = serde_json::from_str(&answer.text()).map_err(|e| e.to_string())?;
    Ok(answer["data"].take())
}

fn metric(edge: &Service, name: &str) -> f64 {
    let page = http::get(&edge.url("/metrics")).expect("an answer").text();
    let line = page
        .lines()
        .find(|line| line.starts_with(&format!("{name} ")));
    let line = line.unwrap_or_else(|| panic!("no {name} in\n{page}"));
    line.rsplit(' ')
        .next()
        .and_then(|value| value.parse().ok())
        .expect("a number")
}

#[test]
fn an_edge_that_restarts_while_cut_off_scrapes_the_same_targets() {
    let folder = tempfile::tempdir().expect("a folder");
    let found = Ticker::start();
    let asked_with_token = Arc::new(AtomicBool::new(false));
    let private = Server::start({
        let asked_with_token = Arc::clone(&asked_with_token);
        move |request| match request.header("authorization") {
            Some("Bearer s3cret") => {
                asked_with_token.store(true, Ordering::SeqCst);
                Answer::metrics("private_metric 1\n")
            }
            _ => Answer::status(401, "who are you?"),
        }
    });
    let discovery = Server::start({
        let page = format!(
            "[{{\"targets\": [\"{}\"], \"labels\": {{\"rack\": \"7\"}}}}]",
            found.address()
        );
        move |_| Answer {
            status: 200,
            content_type: "application/json",
            headers: Vec::new(),
            body: page.clone(),
        }
    });
    let token = folder.path().join("token");
    std::fs::write(&token, "s3cret\n").expect("a file");
    let config = format!(
        "global: {{scrape_interval: 250ms, scrape_timeout: 250ms}}\n\
         scrape_configs:\n\
         - job_name: found\n  http_sd_configs: [{{url: 'http://{}/sd', refresh_interval: 1s}}]\n\
         - job_name: private\n  authorization: {{credentials_file: '{}'}}\n  static_configs: [{{targets: ['{}']}}]\n\
         remote_write: [{{url: 'http://127.0.0.1:9/api/v1/write'}}]\n\
         branchline: {{edge: b07, node_collector: {{enabled: false}}}}\n",
        discovery.address(),
        token.display(),
        private.address(),
    );
    let mut edge = Service::edge(&folder.path().join("edge"))
        .config(&config)
        .start();
    let scraped = |edge: &Service, what: &str| {
        let until = found.scrapes() + 3;
        asked_with_token.store(false, Ordering::SeqCst);
        wait::until(LONG, what, || {
            match asked_with_token.load(Ordering::SeqCst) && found.scrapes() >= until {
                true => Ok(()),
                false => Err(edge.log()),
            }
        });
    };
    scraped(&edge, "both jobs are scraped");
    let before = status(&edge).expect("its status");
    assert_eq!(before["configFromDisk"], Value::Null);
    assert_eq!(before["discovery"][0]["fromDisk"], Value::Bool(false));

    // Cut off: nobody answers any more, and somebody has spoilt the files.
    edge.kill_9();
    drop(discovery);
    std::fs::remove_file(&token).expect("the token goes");
    edge.write_config("scrape_configs: [{job_nam: found}]\n");
    edge.start_again();
    scraped(&edge, "both jobs are scraped from what was kept");
    wait::until(LONG, "discovery fails, and says so", || {
        let now = status(&edge)?;
        let source = &now["discovery"][0];
        match (&source["error"], &source["fromDisk"]) {
            (Value::String(_), Value::Bool(true)) => Ok(()),
            _ => Err(now.to_string()),
        }
    });
    let cut_off = status(&edge).expect("its status");
    let why = cut_off["configFromDisk"]["why"].as_str().expect("why");
    assert!(
        why.contains("config.yml:1:") && why.contains("job_nam"),
        "{why}"
    );
    assert_eq!(metric(&edge, "branchline_edge_config_from_disk"), 1.0);
    assert_eq!(
        metric(&edge, "branchline_edge_discovery_sources_from_disk"),
        1.0
    );
    assert_eq!(
        metric(&edge, "branchline_edge_discovery_sources_failing"),
        1.0
    );
    let log = edge.log();
    assert!(
        log.contains("as it was kept on disk") && log.contains("keeping the targets found last"),
        "{log}"
    );
    let page = http::get(&edge.url("/")).expect("an answer").text();
    assert!(page.contains("kept on disk"), "{page}");

    // The file is gone altogether: still the same.
    edge.kill_9();
    std::fs::remove_file(edge.config_path()).expect("the file goes");
    edge.start_again();
    scraped(&edge, "both jobs are scraped without a file");

    // Mended: taken without anybody's doing.
    std::fs::write(&token, "s3cret\n").expect("a file");
    edge.write_config(&config);
    wait::until(LONG, "the mended file is in force", || {
        let now = status(&edge)?;
        match now["configFromDisk"] {
            Value::Null => Ok(()),
            _ => Err(now.to_string()),
        }
    });
    assert_eq!(metric(&edge, "branchline_edge_config_from_disk"), 0.0);
    scraped(&edge, "both jobs are scraped on");
}

#[test]
fn a_broken_file_that_was_never_in_force_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut edge = Service::edge(&folder.path().join("edge")).config("scrape_configs: 7\n");
    let (status, log) = edge.run_to_end(LONG);
    assert!(!status.success() && log.contains("config.yml:1:"), "{log}");
}
