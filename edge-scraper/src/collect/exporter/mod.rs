//! How does a branch's other host show itself? `edge-scraper node`: the node collector's page over HTTP, in node_exporter's form
//! and with its flags, for an edge or a Prometheus to scrape.
//!
//! At most [`ExporterOptions::requests_max`] pages are made at a time, more are refused; a page ends in time whatever hangs
//! (see [`super::node`]). Not here: anything that is kept or sent.

mod accept;
mod flags;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use daemon::Tasks;
use daemon::http::{ListenError, listen, serve_web};
use daemon::web::{ListenRefused, Web};
use reqwest::Url;
use tokio::sync::Semaphore;
use tower_http::compression::CompressionLayer;
use wire::exposition::Format;

use super::node::{COLLECTORS, NodeCollector, NodeOptions};

pub use flags::ExporterFlags;

/// What an exporter is started with.
pub struct ExporterOptions {
    /// What is collected.
    pub node: NodeOptions,
    /// Where to answer. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// The path of the page, `/metrics` normally.
    pub path: String,
    /// Pages made at a time; those who ask beyond it are told to come again. 0: no bound but the threads.
    pub requests_max: usize,
    /// How the port is protected.
    pub web: Web,
}

/// Why an exporter does not start. Each says what to do.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum ExporterError {
    #[error(
        "--web.telemetry-path {0:?}: it must begin with / and be a plain path, such as /metrics"
    )]
    Path(String),
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error(transparent)]
    Refused(#[from] ListenRefused),
}

struct Exporter {
    collector: NodeCollector,
    path: String,
    requests_max: usize,
    requests: Semaphore,
}

/// Opens the port and answers until the tasks' node is cancelled. Gives the address.
///
/// # Errors
///
/// What is in the way.
pub async fn start(options: ExporterOptions, tasks: &Tasks) -> Result<SocketAddr, ExporterError> {
    let ExporterOptions {
        node,
        listen: address,
        path,
        requests_max,
        web,
    } = options;
    // Characters that would make a pattern of it, or that no client would send as they stand, are no use in a path.
    let plain = |c: char| c.is_ascii_alphanumeric() || "/-_.~".contains(c);
    let taken = ["/", "/-/healthy", "/-/ready"];
    if !path.starts_with('/') || !path.chars().all(plain) || taken.contains(&path.as_str()) {
        return Err(ExporterError::Path(path));
    }
    web.check_listen(address, None)?;
    let listener = listen(address).await?;
    let address = listener.local_addr().unwrap_or(address);
    let permits = match requests_max {
        0 => Semaphore::MAX_PERMITS,
        max => max.min(Semaphore::MAX_PERMITS),
    };
    let exporter = Arc::new(Exporter {
        collector: NodeCollector::new(super::node::DEFAULT_JOB, &node),
        path: path.clone(),
        requests_max,
        requests: Semaphore::new(permits),
    });
    let routes = Router::new()
        .route("/", get(home))
        .route(&path, get(metrics))
        .with_state(exporter)
        .route(
            "/-/healthy",
            get(|| async { "Branchline Node Exporter is Healthy.\n" }),
        )
        .route(
            "/-/ready",
            get(|| async { "Branchline Node Exporter is Ready.\n" }),
        )
        .layer(CompressionLayer::new());
    serve_web(listener, daemon::web::guard(routes, &web), &web, tasks);
    tracing::info!("node page ready: {}://{address}{path}", web.scheme());
    Ok(address)
}

async fn home(State(exporter): State<Arc<Exporter>>) -> Html<String> {
    let page = maud::html! {
        (maud::DOCTYPE)
        html lang="en" {
            head { title { "Node Exporter" } }
            body {
                h1 { "Branchline Node Exporter" }
                p { "Version " (daemon::VERSION) }
                p { a href=(exporter.path) { "Metrics" } }
            }
        }
    };
    Html(page.into_string())
}

async fn metrics(
    State(exporter): State<Arc<Exporter>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let wanted = match Wanted::parse(query.as_deref().unwrap_or_default(), &exporter.collector) {
        Ok(wanted) => wanted,
        Err(message) => return (StatusCode::BAD_REQUEST, message).into_response(),
    };
    let Ok(_permit) = exporter.requests.try_acquire() else {
        let message = format!(
            "Limit of concurrent requests reached ({}), try again later.\n",
            exporter.requests_max
        );
        return (StatusCode::SERVICE_UNAVAILABLE, message).into_response();
    };
    let format = accept::format(&headers);
    let content_type = match format {
        Format::Classic => "text/plain; version=0.0.4; charset=utf-8",
        Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
    };
    let own = Arc::clone(&exporter);
    let page =
        daemon::blocking(move || own.collector.page(format, |name| wanted.takes(name))).await;
    ([(header::CONTENT_TYPE, content_type)], page).into_response()
}

/// The collectors that a request asks for: `collect[]=cpu`, or all but `exclude[]=cpu`.
#[derive(Default)]
struct Wanted {
    collect: Vec<&'static str>,
    exclude: Vec<&'static str>,
}

impl Wanted {
    fn parse(query: &str, collector: &NodeCollector) -> Result<Wanted, String> {
        let mut wanted = Wanted::default();
        if query.is_empty() {
            return Ok(wanted);
        }
        let Ok(url) = Url::parse(&format!("http://localhost/?{query}")) else {
            return Err("the query of this address cannot be read\n".to_owned());
        };
        for (key, value) in url.query_pairs() {
            let list = match key.as_ref() {
                "collect[]" => &mut wanted.collect,
                "exclude[]" => &mut wanted.exclude,
                _ => continue,
            };
            let known = COLLECTORS.iter().find(|switch| switch.name == value);
            match known {
                None => return Err(format!("missing collector: {value}\n")),
                Some(known) if !collector.parts().any(|part| part == known.name) => {
                    return Err(format!("disabled collector: {value}\n"));
                }
                Some(known) => list.push(known.name),
            }
        }
        match wanted.collect.is_empty() || wanted.exclude.is_empty() {
            true => Ok(wanted),
            false => Err("collect[] and exclude[] go not together: give one of them\n".to_owned()),
        }
    }

    fn takes(&self, name: &str) -> bool {
        (self.collect.is_empty() || self.collect.contains(&name)) && !self.exclude.contains(&name)
    }
}
