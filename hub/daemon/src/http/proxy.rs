//! Which proxy a request takes: a given one, those of the environment, or none.

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{ClientBuilder, NoProxy, Proxy};

use super::ClientError;

/// Prometheus's proxy settings of a client. The default takes no proxy, and does not look at the environment.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ProxyOptions {
    /// The proxy's address, for every request.
    pub url: Option<String>,
    /// Hosts, domains, addresses and networks that are asked directly, with commas between them.
    pub no_proxy: Option<String>,
    /// Take `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` (or the same in lower case) from the environment, when the client is made.
    pub from_environment: bool,
    /// Headers for the proxy itself, with the request for a tunnel to an `https://` address.
    pub connect_headers: Vec<(String, String)>,
}

impl std::fmt::Debug for ProxyOptions {
    /// Without credentials.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<&str> = self
            .connect_headers
            .iter()
            .map(|(name, _)| name.as_str())
            .collect();
        f.debug_struct("ProxyOptions")
            .field("given", &self.url.is_some())
            .field("no_proxy", &self.no_proxy)
            .field("from_environment", &self.from_environment)
            .field("connect_headers", &names)
            .finish()
    }
}

/// The client with its proxies.
pub(super) fn apply(
    options: &ProxyOptions,
    builder: ClientBuilder,
) -> Result<ClientBuilder, ClientError> {
    from(options, |name| std::env::var(name).ok()).map(|proxies| {
        // Nothing but what is said here: the client would look at the environment by itself.
        proxies
            .into_iter()
            .fold(builder.no_proxy(), ClientBuilder::proxy)
    })
}

fn from(
    options: &ProxyOptions,
    environment: impl Fn(&str) -> Option<String>,
) -> Result<Vec<Proxy>, ClientError> {
    let headers = headers(&options.connect_headers)?;
    let variable = |name: &str| {
        let given = environment(name).or_else(|| environment(&name.to_ascii_lowercase()));
        given.filter(|value| !value.is_empty())
    };
    let no_proxy = match options.from_environment {
        true => variable("NO_PROXY"),
        false => options.no_proxy.clone(),
    };
    let complete = |made: reqwest::Result<Proxy>, url: &str| -> Result<Proxy, ClientError> {
        let proxy = made.map_err(|error| ClientError::BadProxy {
            url: without_password(url),
            reason: error.to_string(),
        })?;
        let direct = no_proxy.as_deref().and_then(NoProxy::from_string);
        Ok(proxy.no_proxy(direct).headers(headers.clone()))
    };
    let mut proxies = Vec::new();
    if let Some(url) = &options.url {
        proxies.push(complete(Proxy::all(url), url)?);
    }
    if options.from_environment {
        if let Some(url) = variable("HTTP_PROXY") {
            proxies.push(complete(Proxy::http(&url), &url)?);
        }
        if let Some(url) = variable("HTTPS_PROXY") {
            proxies.push(complete(Proxy::https(&url), &url)?);
        }
    }
    Ok(proxies)
}

fn headers(given: &[(String, String)]) -> Result<HeaderMap, ClientError> {
    let mut headers = HeaderMap::new();
    for (name, value) in given {
        let parsed = HeaderName::from_bytes(name.as_bytes())
            .ok()
            .zip(HeaderValue::from_str(value).ok());
        let Some((name, mut value)) = parsed else {
            return Err(ClientError::Other {
                reason: format!(
                    "proxy_connect_header {name:?}: no HTTP header can have this name and value"
                ),
            });
        };
        value.set_sensitive(true);
        headers.append(name, value);
    }
    Ok(headers)
}

/// For messages.
fn without_password(url: &str) -> String {
    match reqwest::Url::parse(url) {
        Ok(mut url) if url.password().is_some() => {
            // Only addresses that cannot have a password refuse.
            let _ = url.set_password(Some("..."));
            url.into()
        }
        _ => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_is_read_only_when_asked() {
        let environment = |name: &str| match name {
            "http_proxy" => Some("http://p:1".to_owned()),
            "HTTPS_PROXY" => Some("http://q:2".to_owned()),
            "NO_PROXY" => Some("localhost".to_owned()),
            _ => None,
        };
        let given = |options: &ProxyOptions| from(options, environment).unwrap().len();
        assert_eq!(given(&ProxyOptions::default()), 0);
        let asked = ProxyOptions {
            from_environment: true,
            ..ProxyOptions::default()
        };
        assert_eq!(given(&asked), 2);
    }

    #[test]
    fn bad_settings_are_named_without_their_secrets() {
        let error = |options: ProxyOptions| from(&options, |_| None).unwrap_err().to_string();
        let bad = error(ProxyOptions {
            url: Some("http://user:secret@a b".into()),
            ..ProxyOptions::default()
        });
        assert!(bad.contains("proxy_url"), "{bad}");
        let bad = error(ProxyOptions {
            connect_headers: vec![("X Y".into(), "secret".into())],
            ..ProxyOptions::default()
        });
        assert!(bad.contains("X Y") && !bad.contains("secret"), "{bad}");
        let shown = without_password("http://user:secret@host:1/");
        assert!(
            shown.contains("user") && !shown.contains("secret"),
            "{shown}"
        );
    }

    /// The first request that comes to a listener, as it is written; the connection is closed then.
    async fn first_request(listener: tokio::net::TcpListener) -> String {
        use tokio::io::AsyncReadExt;
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut bytes = Vec::new();
        let mut buffer = [0; 1024];
        while !bytes.ends_with(b"\r\n\r\n") {
            let count = stream.read(&mut buffer).await.unwrap();
            assert!(count > 0, "{}", String::from_utf8_lossy(&bytes));
            bytes.extend_from_slice(&buffer[..count]);
        }
        String::from_utf8(bytes).unwrap()
    }

    /// What arrives at the proxy and what at the server itself when this is asked for; one of them.
    async fn asked(url: &str, no_proxy: Option<&str>) -> (Option<String>, Option<String>) {
        let listen = || tokio::net::TcpListener::bind("127.0.0.1:0");
        let (proxy, server) = (listen().await.unwrap(), listen().await.unwrap());
        let proxy_url = format!("http://{}", proxy.local_addr().unwrap());
        let url = url.replace("SERVER", &server.local_addr().unwrap().to_string());
        let options = crate::http::ClientOptions {
            proxy: ProxyOptions {
                url: Some(proxy_url),
                no_proxy: no_proxy.map(str::to_owned),
                connect_headers: vec![("X-Branch".into(), "b07".into())],
                ..ProxyOptions::default()
            },
            ..Default::default()
        };
        let client = crate::http::client(&options).unwrap();
        let sent = client.get(url).send();
        tokio::pin!(sent);
        tokio::select! {
            request = first_request(proxy) => (Some(request), None),
            request = first_request(server) => (None, Some(request)),
            // The listeners close without an answer.
            answer = &mut sent => panic!("{answer:?}"),
        }
    }

    #[tokio::test]
    async fn requests_take_the_proxy_unless_they_need_not() {
        let (tunnel, _) = asked("https://target.test/metrics", None).await;
        let tunnel = tunnel.unwrap().to_ascii_lowercase();
        assert!(tunnel.starts_with("connect target.test:443 "), "{tunnel}");
        assert!(tunnel.contains("\r\nx-branch: b07\r\n"), "{tunnel}");
        let (plain, _) = asked("http://target.test/metrics", None).await;
        let plain = plain.unwrap();
        assert!(
            plain.starts_with("GET http://target.test/metrics "),
            "{plain}"
        );
        let (_, direct) = asked("http://SERVER/metrics", Some("example.com,127.0.0.0/8")).await;
        assert!(direct.unwrap().starts_with("GET /metrics "));
    }
}
