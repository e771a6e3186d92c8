//! `http_sd_configs`: a page of JSON, lists of `targets` and `labels`, asked for again and again.

use std::sync::Arc;

use daemon::Clock;
use daemon::http::{ClientOptions, Signer};
use reqwest::header::{ACCEPT, CONTENT_TYPE};

use super::remote::{Found, innermost, shown};
use super::{Discovered, each_target};
use crate::config::{HttpSd, StaticConfig, TargetGroup};

/// A longer page is a mistake.
const BODY_BYTES_MAX: usize = 32 << 20;

/// Label that tells which page a target comes from.
const URL_LABEL: &str = "__meta_url";

pub(super) async fn run(config: HttpSd, found: Arc<Found>, clock: Arc<dyn Clock>) {
    let mut asker = None;
    loop {
        // Files of the client may be there at the next attempt.
        if asker.is_none() {
            match Asker::new(&config, &clock).await {
                Ok(made) => asker = Some(made),
                Err(error) => found.failed(error),
            }
        }
        if let Some(asker) = &asker {
            match asker.ask(&config).await {
                Ok(targets) => found.publish(targets).await,
                Err(error) => found.failed(error),
            }
        }
        clock.sleep(config.refresh).await;
    }
}

struct Asker {
    client: reqwest::Client,
    signer: Signer,
}

impl Asker {
    async fn new(config: &HttpSd, clock: &Arc<dyn Clock>) -> Result<Asker, String> {
        let options = ClientOptions {
            timeout: Some(config.refresh),
            ..config.http.client.clone()
        };
        let (signer, clock) = (config.http.signer(), Arc::clone(clock));
        let made = daemon::blocking(move || {
            let client = daemon::http::client(&options)?;
            let signer = Signer::new(&signer, &clock)?;
            Ok::<_, daemon::http::ClientError>(Asker { client, signer })
        });
        made.await.map_err(|error| error.to_string())
    }

    async fn ask(&self, config: &HttpSd) -> Result<Vec<Discovered>, String> {
        let failed = |error: reqwest::Error| innermost(&error);
        let request = self
            .client
            .get(config.url.clone())
            .header(ACCEPT, "application/json")
            .header(
                "X-Prometheus-Refresh-Interval-Seconds",
                config.refresh.as_secs_f64().to_string(),
            );
        let request = self.signer.sign(request).await.map_err(|e| e.to_string())?;
        let mut answer = request.send().await.map_err(failed)?;
        self.signer.answered(answer.status()).await;
        if answer.status() != reqwest::StatusCode::OK {
            return Err(format!("server returned HTTP status {}", answer.status()));
        }
        let content_type = answer.headers().get(CONTENT_TYPE);
        let content_type = content_type.map(|value| String::from_utf8_lossy(value.as_bytes()));
        if !content_type.as_deref().is_some_and(is_json) {
            return Err(format!(
                "unsupported content type {:?}: the page must be application/json",
                content_type.unwrap_or_default()
            ));
        }
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(failed)? {
            if body.len() + chunk.len() > BODY_BYTES_MAX {
                return Err(format!("the page has more than {BODY_BYTES_MAX} bytes"));
            }
            body.extend_from_slice(&chunk);
        }
        read(&body, &shown(&config.url))
    }
}

fn is_json(content_type: &str) -> bool {
    let (media, parameter) = content_type.split_once(';').unwrap_or((content_type, ""));
    let parameter = parameter.trim().to_ascii_lowercase();
    media.trim().eq_ignore_ascii_case("application/json")
        && matches!(
            parameter.as_str(),
            "" | "charset=utf-8" | "charset=\"utf-8\""
        )
}

fn read(body: &[u8], url: &str) -> Result<Vec<Discovered>, String> {
    let given: Vec<StaticConfig> = serde_json::from_slice(body)
        .map_err(|error| format!("the page is no list of targets and labels: {error}"))?;
    let mut targets = Vec::new();
    for (index, given) in given.into_iter().enumerate() {
        let group = TargetGroup::new(given).map_err(|error| format!("group {index}: {error}"))?;
        each_target(&group, |mut target| {
            target.insert(URL_LABEL.to_owned(), url.to_owned());
            targets.push(target);
        });
    }
    Ok(targets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages() {
        let targets = read(
            br#"[{"targets": ["a:1", "b:2"], "labels": {"x": "y"}}, {"targets": []}]"#,
            "http://sd/",
        )
        .unwrap();
        let labels: Vec<String> = targets.iter().map(|t| format!("{t:?}")).collect();
        assert_eq!(
            labels,
            [
                r#"{"__address__": "a:1", "__meta_url": "http://sd/", "x": "y"}"#,
                r#"{"__address__": "b:2", "__meta_url": "http://sd/", "x": "y"}"#
            ]
        );
        for (page, said) in [
            (r#"{"targets": []}"#, "no list of targets"),
            (r#"[{"target": []}]"#, "unknown field `target`"),
            (
                r#"[{"targets": ["a"], "labels": {"": "x"}}]"#,
                "group 0: a label's name is empty",
            ),
            ("[", "EOF"),
        ] {
            let error = read(page.as_bytes(), "u").unwrap_err();
            assert!(error.contains(said), "{error}");
        }
    }

    #[test]
    fn content_types() {
        for good in [
            "application/json",
            "Application/JSON; charset=utf-8",
            "application/json;charset=\"UTF-8\"",
        ] {
            assert!(is_json(good), "{good}");
        }
        for bad in ["text/html", "application/json; charset=latin1", ""] {
            assert!(!is_json(bad), "{bad}");
        }
    }
}
