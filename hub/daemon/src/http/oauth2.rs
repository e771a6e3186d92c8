//! Tokens by OAuth 2.0's client credentials (RFC 6749, section 4.4), as Prometheus's `oauth2` gets them: asked for when one is needed,
//! and kept until shortly before it expires or is refused.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{ACCEPT, CONTENT_TYPE};
use serde::Deserialize;
use tokio::sync::Mutex;

use super::client::{ClientError, ClientOptions, client, read_secret};
use crate::Clock;
use crate::config::without_passwords;

/// A token is renewed this long before it expires, so that it does not expire on its way.
const EARLY: Duration = Duration::from_secs(10);
/// Answers of token servers are small.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// Longest time for an answer.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A secret in the configuration, or in a file that is read whenever it is needed.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// The secret.
    Inline(String),
    /// Where it is; blanks around it are cut.
    File(PathBuf),
}

impl Secret {
    /// The secret. Reads a small file: not for async threads.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn read(&self) -> Result<String, ClientError> {
        match self {
            Secret::Inline(secret) => Ok(secret.clone()),
            Secret::File(path) => read_secret(path),
        }
    }
}

impl std::fmt::Debug for Secret {
    /// Without the secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Secret::Inline(_) => f.write_str("<secret>"),
            Secret::File(path) => write!(f, "{}", path.display()),
        }
    }
}

/// Prometheus's `oauth2`, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OAuth2Options {
    /// Who we are.
    pub client_id: String,
    /// How we show it.
    pub client_secret: Secret,
    /// What we ask for.
    pub scopes: Vec<String>,
    /// Where tokens are.
    pub token_url: String,
    /// More parameters of the request.
    pub endpoint_params: Vec<(String, String)>,
    /// How to get there.
    pub client: ClientOptions,
}

/// Gets tokens and keeps the last one. One request at a time: whoever needs a token meanwhile waits for it.
pub struct TokenSource {
    options: OAuth2Options,
    client: reqwest::Client,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    token: Option<Token>,
    /// The server wants id and secret in the form and not in a header.
    in_form: bool,
}

struct Token {
    /// `Bearer abc`.
    header: String,
    /// On the clock's elapsed time; None: it never expires.
    until: Option<Duration>,
}

#[derive(Deserialize)]
struct Answer {
    access_token: String,
    #[serde(default)]
    token_type: String,
    #[serde(default)]
    expires_in: Option<f64>,
}

impl TokenSource {
    /// Asks for nothing yet.
    ///
    /// # Errors
    /// TLS files or a proxy that cannot be used.
    pub fn new(options: OAuth2Options, clock: Arc<dyn Clock>) -> Result<TokenSource, ClientError> {
        let client = client(&ClientOptions {
            timeout: Some(TIMEOUT),
            ..options.client.clone()
        })?;
        Ok(TokenSource {
            options,
            client,
            clock,
            state: Mutex::default(),
        })
    }

    /// The value of the `Authorization` header, from a token that is good for some seconds at least.
    ///
    /// # Errors
    /// No token can be had; the error says what the server said.
    pub async fn header(&self) -> Result<String, ClientError> {
        // Held over the request on purpose: the others need the same token.
        let mut state = self.state.lock().await;
        let now = self.clock.elapsed();
        if let Some(token) = &state.token
            && token.until.is_none_or(|until| now < until)
        {
            return Ok(token.header.clone());
        }
        let answer = match self.ask(state.in_form).await {
            // Some servers take the one form, some the other, and none says which.
            Err(_) if !state.in_form => {
                let answer = self.ask(true).await?;
                state.in_form = true;
                answer
            }
            other => other?,
        };
        let kind = match answer.token_type.as_str() {
            "" => "Bearer",
            kind if kind.eq_ignore_ascii_case("bearer") => "Bearer",
            kind => kind,
        };
        let lifetime = answer.expires_in.filter(|seconds| *seconds > 0.0);
        let lifetime = lifetime.map(|s| Duration::try_from_secs_f64(s).unwrap_or(Duration::MAX));
        let token = Token {
            header: format!("{kind} {}", answer.access_token),
            until: lifetime.and_then(|lifetime| now.checked_add(lifetime.saturating_sub(EARLY))),
        };
        let header = token.header.clone();
        state.token = Some(token);
        Ok(header)
    }

    /// The token was refused: the next request gets another.
    pub async fn forget(&self) {
        self.state.lock().await.token = None;
    }

    async fn ask(&self, in_form: bool) -> Result<Answer, ClientError> {
        let options = &self.options;
        let secret = options.client_secret.clone();
        let secret = crate::blocking(move || secret.read()).await?;
        let failed = |reason: String| ClientError::Other {
            // The address may hold a password, and an error may name an address.
            reason: without_passwords(&format!(
                "no OAuth2 token from {}: {reason}",
                options.token_url
            )),
        };
        let mut request = self
            .client
            .post(&options.token_url)
            .header(ACCEPT, "application/json")
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(form(options, in_form.then_some(secret.as_str())));
        if !in_form {
            // Both are encoded before they are joined: RFC 6749, section 2.3.1.
            let encode =
                |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
            request = request.basic_auth(encode(&options.client_id), Some(encode(&secret)));
        }
        let mut answer = request
            .send()
            .await
            .map_err(|error| failed(innermost(&error)))?;
        let status = answer.status();
        let mut body = Vec::new();
        while let Some(chunk) = answer
            .chunk()
            .await
            .map_err(|error| failed(innermost(&error)))?
        {
            if body.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(failed(format!(
                    "an answer of more than {ANSWER_BYTES_MAX} bytes"
                )));
            }
            body.extend_from_slice(&chunk);
        }
        if !status.is_success() {
            let text: String = String::from_utf8_lossy(&body).chars().take(200).collect();
            return Err(failed(format!("HTTP status {status}: {text}")));
        }
        let answer: Answer = serde_json::from_slice(&body)
            .map_err(|error| failed(format!("the answer is no token: {error}")))?;
        if answer.access_token.is_empty() {
            return Err(failed("the answer has an empty token".to_owned()));
        }
        Ok(answer)
    }
}

/// The request's parameters, the secret among them if it is given.
fn form(options: &OAuth2Options, secret: Option<&str>) -> String {
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.append_pair("grant_type", "client_credentials");
    if !options.scopes.is_empty() {
        form.append_pair("scope", &options.scopes.join(" "));
    }
    form.extend_pairs(&options.endpoint_params);
    if let Some(secret) = secret {
        form.append_pair("client_id", &options.client_id);
        form.append_pair("client_secret", secret);
    }
    form.finish()
}

/// The last cause says what happened; what stands before it, only where.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}
