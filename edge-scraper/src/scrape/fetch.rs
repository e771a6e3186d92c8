//! Getting a target's page: over HTTP, or from a collector of this process.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use daemon::Clock;
use daemon::http::{ClientOptions, Signer};
use reqwest::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, HeaderValue};
use wire::exposition::{Format, PageFormat};

use super::page::{Body, FetchError};
use super::target::Target;
use crate::collect::{Collector, Page};
use crate::config::{JobConfig, Protocol};

/// Bound of pages without a `body_size_limit`: far above any real page, and below what would end a small machine.
const BODY_BYTES_MAX: u64 = 256 << 20;

/// So much room is made for a page at once, if it says that it is so long.
const BODY_HINT_MAX: u64 = 1 << 20;

/// The weight, in tenths, of the first choice in an `Accept` header; each next one has one less.
const FIRST_WEIGHT: usize = 5;

/// Where pages come from.
pub(super) enum Source {
    Http(Box<HttpSource>),
    Collector(CollectorSource),
}

pub(super) struct HttpSource {
    client: reqwest::Client,
    signer: Signer,
    accept: HeaderValue,
    compression: bool,
    body_bytes_max: u64,
    fallback: Option<PageFormat>,
}

pub(super) struct CollectorSource {
    collector: Arc<dyn Collector>,
    /// A page is being made; it may outlive the scrape that asked for it.
    busy: Arc<AtomicBool>,
}

impl Source {
    /// The source of a job's targets. Jobs with the same client options share a client of `clients`: each has its own
    /// copy of the system's certificates.
    ///
    /// # Errors
    ///
    /// TLS files or a proxy address that cannot be used.
    pub(super) fn http(
        job: &JobConfig,
        clients: &mut Clients,
        clock: &Arc<dyn Clock>,
    ) -> Result<Source, String> {
        let signer = Signer::new(&job.http.signer(), clock).map_err(|error| error.to_string())?;
        Ok(Source::Http(Box::new(HttpSource {
            client: clients.get(&ClientOptions {
                // A connection holds some 128 KiB between scrapes; without TLS a new one costs little.
                keep_idle: job.target.scheme == "https",
                ..job.http.client.clone()
            })?,
            signer,
            accept: accept(job),
            compression: job.compression,
            body_bytes_max: job.limits.body_bytes.unwrap_or(BODY_BYTES_MAX),
            fallback: job.fallback_protocol.map(format),
        })))
    }

    pub(super) fn collector(collector: Arc<dyn Collector>) -> Source {
        Source::Collector(CollectorSource {
            collector,
            busy: Arc::default(),
        })
    }

    /// The target's page now. The caller bounds the time; `timeout` is only what the target is told.
    pub(super) async fn fetch(
        &self,
        target: &Target,
        timeout: Duration,
    ) -> Result<Body, FetchError> {
        match self {
            Source::Http(http) => http.fetch(target, timeout).await,
            Source::Collector(collector) => collector.fetch().await,
        }
    }
}

/// Clients by their options.
#[derive(Default)]
pub(super) struct Clients {
    known: Vec<(ClientOptions, reqwest::Client)>,
}

impl Clients {
    fn get(&mut self, options: &ClientOptions) -> Result<reqwest::Client, String> {
        if let Some((_, client)) = self.known.iter().find(|(known, _)| known == options) {
            return Ok(client.clone());
        }
        let client = daemon::http::client(options).map_err(|error| error.to_string())?;
        self.known.push((options.clone(), client.clone()));
        Ok(client)
    }

    /// Forgets clients that have read certificates from files: a reload is to read them again.
    pub(super) fn forget_files(&mut self) {
        self.known.retain(|(options, _)| !reads_files(options));
    }
}

/// Whether a client depends on more than its options.
fn reads_files(options: &ClientOptions) -> bool {
    options.tls.files().next().is_some()
}

fn format(protocol: Protocol) -> PageFormat {
    match protocol {
        Protocol::Protobuf => PageFormat::Protobuf,
        Protocol::OpenMetrics100 | Protocol::OpenMetrics001 => {
            PageFormat::Text(Format::OpenMetrics)
        }
        Protocol::Text100 | Protocol::Text004 => PageFormat::Text(Format::Classic),
    }
}

fn accept(job: &JobConfig) -> HeaderValue {
    let mut text = String::new();
    let mut weight = FIRST_WEIGHT.max(job.protocols.len() + 1);
    for protocol in &job.protocols {
        text.push_str(protocol.media_type());
        // Older formats know no escaping.
        if matches!(protocol, Protocol::OpenMetrics100 | Protocol::Text100) {
            text.push_str(";escaping=");
            text.push_str(job.escaping.as_str());
        }
        text.push_str(&format!(";q=0.{weight},"));
        weight -= 1;
    }
    text.push_str(&format!("*/*;q=0.{weight}"));
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static(wire::exposition::ACCEPT))
}

impl HttpSource {
    async fn fetch(&self, target: &Target, timeout: Duration) -> Result<Body, FetchError> {
        let mut request = self
            .client
            .get(target.url.clone())
            .header(ACCEPT, self.accept.clone())
            .header(
                "X-Prometheus-Scrape-Timeout-Seconds",
                timeout.as_secs_f64().to_string(),
            );
        if !self.compression {
            request = request.header(ACCEPT_ENCODING, "identity");
        }
        let request = self.signer.sign(request).await;
        let request = request.map_err(|error| FetchError::new(error.to_string()))?;
        let mut response = request.send().await.map_err(failed)?;
        let status = response.status();
        self.signer.answered(status).await;
        if status != reqwest::StatusCode::OK {
            return Err(FetchError::new(format!(
                "server returned HTTP status {status}"
            )));
        }
        let content_type = response
            .headers()
            .get(CONTENT_TYPE)
            .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        let format = PageFormat::from_content_type(content_type.as_deref(), self.fallback);
        // What it says is only a hint, and only of what is not compressed.
        let length = response.content_length().unwrap_or(0);
        let mut bytes = Vec::with_capacity(length.min(BODY_HINT_MAX) as usize);
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            // Counted as it arrives, after decompression: a small answer may unfold to a huge page.
            if (bytes.len() + chunk.len()) as u64 > self.body_bytes_max {
                return Err(FetchError {
                    reason: format!(
                        "body size limit exceeded: more than {} bytes",
                        self.body_bytes_max
                    ),
                    body_too_large: true,
                });
            }
            bytes.extend_from_slice(&chunk);
        }
        if bytes.is_empty() {
            // As in Prometheus: an empty page is a good page of any type.
            return Ok(Body {
                format: PageFormat::Text(Format::Classic),
                bytes,
            });
        }
        let format = format.map_err(|error| FetchError::new(error.to_string()))?;
        Ok(Body { format, bytes })
    }
}

/// The last cause says what happened; what stands before it, only where.
fn failed(error: reqwest::Error) -> FetchError {
    let mut cause: &dyn Error = &error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    match error.is_connect() {
        true => FetchError::new(format!("cannot connect: {cause}")),
        false => FetchError::new(cause.to_string()),
    }
}

impl CollectorSource {
    async fn fetch(&self) -> Result<Body, FetchError> {
        if self.busy.swap(true, Ordering::AcqRel) {
            return Err(FetchError::new(
                "the collector is still busy with an earlier page",
            ));
        }
        let (collector, busy) = (Arc::clone(&self.collector), Busy(Arc::clone(&self.busy)));
        let page = daemon::blocking(move || {
            let _busy = busy;
            collector.page()
        });
        let page = page
            .await
            .map_err(|error| FetchError::new(error.to_string()))?;
        let text = match page {
            Page::Text(text) => text,
            Page::Protobuf(bytes) => {
                return Ok(Body {
                    format: PageFormat::Protobuf,
                    bytes,
                });
            }
        };
        let format = if text.ends_with("# EOF\n") {
            Format::OpenMetrics
        } else {
            Format::Classic
        };
        Ok(Body {
            format: PageFormat::Text(format),
            bytes: text.into_bytes(),
        })
    }
}

/// Free again when the page is made, also if the collector panics.
struct Busy(Arc<AtomicBool>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::EdgeConfig;

    fn job(lines: &str) -> JobConfig {
        let text = format!("scrape_configs:\n- job_name: a\n{lines}");
        EdgeConfig::parse(&text, std::path::Path::new("x"))
            .unwrap()
            .jobs
            .remove(0)
    }

    #[test]
    fn the_accept_header_is_prometheus_s() {
        assert_eq!(accept(&job("")), wire::exposition::ACCEPT);
        assert_eq!(
            accept(&job(
                "  scrape_protocols: [PrometheusText0.0.4, OpenMetricsText1.0.0]\n  metric_name_escaping_scheme: underscores\n"
            )),
            "text/plain;version=0.0.4;q=0.5,application/openmetrics-text;version=1.0.0;escaping=underscores;q=0.4,*/*;q=0.3"
        );
        assert_eq!(
            accept(&job("  scrape_native_histograms: true\n")),
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6,".to_owned()
                + wire::exposition::ACCEPT
        );
    }
}
