//! The exporter as those see it who scrape it.

use std::time::Duration;

use daemon::web::WebFlags;
use reqwest::header::{ACCEPT, CONTENT_ENCODING, CONTENT_TYPE};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

struct Running {
    base: String,
    tasks: Tasks,
}

async fn start_with(requests_max: usize) -> Running {
    let tasks = Tasks::new();
    let options = ExporterOptions {
        node: NodeOptions::default(),
        listen: "127.0.0.1:0".parse().unwrap(),
        path: "/metrics".to_owned(),
        requests_max,
        web: Web::default(),
    };
    let address = start(options, &tasks).await.unwrap();
    Running {
        base: format!("http://{address}"),
        tasks,
    }
}

impl Running {
    async fn get(&self, path: &str, headers: &[(header::HeaderName, &str)]) -> reqwest::Response {
        let client = daemon::http::client(&Default::default()).unwrap();
        let mut request = client.get(format!("{}{path}", self.base));
        for (name, value) in headers {
            request = request.header(name, *value);
        }
        request.send().await.unwrap()
    }

    /// Head and body as they were sent: a client would hide the compression.
    async fn raw(&self, header: &str) -> (String, Vec<u8>) {
        let address = self.base.strip_prefix("http://").unwrap();
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let request = format!("GET /metrics HTTP/1.0\r\n{header}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        let end = answer
            .windows(4)
            .position(|part| part == b"\r\n\r\n")
            .unwrap();
        let head = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
        (head, answer[end + 4..].to_vec())
    }

    async fn end(self) {
        assert_eq!(self.tasks.shutdown(Duration::from_secs(10)).await, Ok(()));
    }
}

fn header<'a>(response: &'a reqwest::Response, name: &header::HeaderName) -> &'a str {
    response
        .headers()
        .get(name)
        .map_or("", |value| value.to_str().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn text_openmetrics_and_gzip() {
    let exporter = start_with(40).await;
    let page = exporter.get("/metrics", &[]).await;
    assert_eq!(
        header(&page, &CONTENT_TYPE),
        "text/plain; version=0.0.4; charset=utf-8"
    );
    assert_eq!(header(&page, &CONTENT_ENCODING), "");
    let page = page.text().await.unwrap();
    assert!(page.contains("\nnode_load1 ") && page.contains("\nprocess_cpu_seconds_total "));

    let accept = "application/openmetrics-text;version=1.0.0,text/plain;q=0.5";
    let page = exporter.get("/metrics", &[(ACCEPT, accept)]).await;
    assert!(
        header(&page, &CONTENT_TYPE).starts_with("application/openmetrics-text; version=1.0.0")
    );
    let page = page.text().await.unwrap();
    assert!(page.contains("# TYPE node_cpu_seconds counter\nnode_cpu_seconds_total{"));
    assert!(page.ends_with("# EOF\n"));

    let (head, bytes) = exporter.raw("Accept-Encoding: gzip\r\n").await;
    assert!(head.contains("content-encoding: gzip"), "{head}");
    assert!(bytes.len() < 40_000, "{} bytes", bytes.len());
    let (head, plain) = exporter.raw("").await;
    assert!(!head.contains("content-encoding"), "{head}");
    assert!(plain.len() > 2 * bytes.len());

    let home = exporter.get("/", &[]).await.text().await.unwrap();
    assert!(home.contains("href=\"/metrics\""), "{home}");
    assert_eq!(exporter.get("/-/healthy", &[]).await.status(), 200);
    exporter.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn some_collectors_only() {
    let exporter = start_with(40).await;
    let page = exporter
        .get("/metrics?collect[]=loadavg&collect[]=uname", &[])
        .await;
    let page = page.text().await.unwrap();
    assert!(page.contains("node_load1 ") && page.contains("node_uname_info"));
    assert!(!page.contains("node_memory_"));
    let page = exporter
        .get("/metrics?exclude%5B%5D=meminfo&debug=1", &[])
        .await;
    let page = page.text().await.unwrap();
    assert!(page.contains("node_load1 ") && !page.contains("node_memory_"));
    for (query, expected) in [
        ("collect[]=nothing", "missing collector: nothing\n"),
        ("collect[]=processes", "disabled collector: processes\n"),
        (
            "collect[]=cpu&exclude[]=stat",
            "collect[] and exclude[] go not together: give one of them\n",
        ),
    ] {
        let answer = exporter.get(&format!("/metrics?{query}"), &[]).await;
        assert_eq!(answer.status(), 400);
        assert_eq!(answer.text().await.unwrap(), expected);
    }
    exporter.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_requests_at_a_time_than_agreed_are_sent_away() {
    let exporter = start_with(1).await;
    let requests: Vec<_> = (0..40).map(|_| exporter.get("/metrics", &[])).collect();
    let mut refused = 0;
    for answer in futures_util::future::join_all(requests).await {
        match answer.status().as_u16() {
            200 => {}
            503 => {
                refused += 1;
                let text = answer.text().await.unwrap();
                assert_eq!(
                    text,
                    "Limit of concurrent requests reached (1), try again later.\n"
                );
            }
            other => panic!("{other}"),
        }
    }
    assert!((1..40).contains(&refused), "{refused} of 40 refused");
    assert_eq!(exporter.get("/metrics", &[]).await.status(), 200);
    exporter.end().await;
}

#[tokio::test]
async fn what_does_not_go_is_refused_before_the_port_opens() {
    let tasks = Tasks::new();
    let options = |listen: &str, path: &str| ExporterOptions {
        node: NodeOptions::default(),
        listen: listen.parse().unwrap(),
        path: path.to_owned(),
        requests_max: 40,
        web: Web::load(&WebFlags::default()).unwrap(),
    };
    let error = start(options("0.0.0.0:0", "/metrics"), &tasks)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("--web.behind-proxy"), "{error}");
    for path in ["metrics", "/", "/-/ready", "/{a}", "/a b"] {
        let error = start(options("127.0.0.1:0", path), &tasks)
            .await
            .unwrap_err();
        assert!(
            error.to_string().contains("--web.telemetry-path"),
            "{error}"
        );
    }
}
