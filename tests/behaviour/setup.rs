//! What several modules need: configurations, a target that counts its scrapes, and what of it arrived.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tests::api::Api;
use tests::server::{Answer, Server};

/// A hub that knows these branches by these tokens.
pub(crate) fn hub_config(branches: &[(&str, &str)]) -> String {
    let mut text = "branchline:\n  branches:\n".to_owned();
    for (name, token) in branches {
        text.push_str(&format!("  - {{name: {name}, token: {token}}}\n"));
    }
    text
}

/// An edge of one branch that scrapes these (job, address) and writes to `url`.
pub(crate) struct EdgeConfig<'a> {
    pub(crate) branch: &'a str,
    pub(crate) interval: &'a str,
    pub(crate) targets: &'a [(&'a str, &'a str)],
    pub(crate) url: &'a str,
    pub(crate) token_file: Option<&'a str>,
    pub(crate) node_collector: bool,
}

impl EdgeConfig<'_> {
    pub(crate) fn text(&self) -> String {
        let Self {
            branch,
            interval,
            url,
            node_collector,
            ..
        } = self;
        let mut text = format!(
            "global:\n  scrape_interval: {interval}\n  scrape_timeout: {interval}\n  external_labels: {{branch: {branch}}}\n"
        );
        text.push_str("scrape_configs:\n");
        for (job, address) in self.targets {
            text.push_str(&format!(
                "- job_name: {job}\n  static_configs: [{{targets: ['{address}']}}]\n"
            ));
        }
        if self.targets.is_empty() {
            text.push_str("  []\n");
        }
        text.push_str(&format!(
            "remote_write:\n- url: {url}\n  remote_timeout: 2s\n"
        ));
        if let Some(token_file) = self.token_file {
            text.push_str(&format!(
                "  authorization: {{credentials_file: {token_file}}}\n"
            ));
        }
        text.push_str(&format!(
            "branchline:\n  edge: {branch}\n  node_collector: {{enabled: {node_collector}}}\n"
        ));
        text
    }
}

/// How many series a [`Ticker`] shows.
pub(crate) const TICKER_SERIES: usize = 20;

/// A target whose series all tell the number of the scrape, from 1 on: what is missing or doubled at the hub shows in the values.
pub(crate) struct Ticker {
    server: Server,
    scrapes: Arc<AtomicU64>,
}

impl Ticker {
    pub(crate) fn start() -> Self {
        let scrapes = Arc::new(AtomicU64::new(0));
        let server = Server::start({
            let scrapes = scrapes.clone();
            move |_| {
                let number = scrapes.fetch_add(1, Ordering::SeqCst) + 1;
                let lines: Vec<String> = (0..TICKER_SERIES)
                    .map(|series| format!("scrape_number{{series=\"{series:02}\"}} {number}\n"))
                    .collect();
                Answer::metrics(format!("# TYPE scrape_number gauge\n{}", lines.concat()))
            }
        });
        Self { server, scrapes }
    }

    pub(crate) fn address(&self) -> String {
        self.server.address()
    }

    /// Scrapes answered so far: the number that the last one told.
    pub(crate) fn scrapes(&self) -> u64 {
        self.scrapes.load(Ordering::SeqCst)
    }
}

/// The numbers that the hub stores of a branch's ticker, series by series, in the order of their times.
pub(crate) fn stored_numbers(
    api: &Api,
    branch: &str,
) -> Result<BTreeMap<String, Vec<u64>>, String> {
    let series = api.query(&format!("scrape_number{{branch=\"{branch}\"}}[1h]"))?;
    Ok(series
        .into_iter()
        .map(|series| {
            let numbers = series.points.iter().map(|(_, value)| *value as u64);
            (series.label("series").to_owned(), numbers.collect())
        })
        .collect())
}

/// The highest number stored, 0 when nothing is.
pub(crate) fn last_number(api: &Api, branch: &str) -> Result<u64, String> {
    let stored = stored_numbers(api, branch)?;
    Ok(stored
        .values()
        .filter_map(|numbers| numbers.last().copied())
        .max()
        .unwrap_or(0))
}
