//! A bearer token says which branch writes. The token decides the `branch` label, never the payload.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, RwLock};

use axum::http::{HeaderMap, header};
use base64::Engine;

/// A branch and the secret that proves it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BranchToken {
    pub(crate) branch: String,
    pub(crate) secret: Secret,
}

/// A secret, given or in a file.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Secret {
    Given(String),
    File(PathBuf),
}

impl std::fmt::Debug for Secret {
    /// Without it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Secret::Given(_) => f.write_str("<secret>"),
            Secret::File(path) => path.fmt(f),
        }
    }
}

/// Who sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Identity {
    /// A credential proved the branch: it is the `branch` label of all that is written.
    Branch(String),
    /// No credentials are configured, or the sender is part of this process: labels stay as they come.
    Unchecked,
}

impl Identity {
    /// The store's scope: whose limit of series it is, and whose labels.
    pub(crate) fn scope(&self) -> &str {
        match self {
            Identity::Branch(branch) => branch,
            Identity::Unchecked => "",
        }
    }
}

/// The tokens in force. Clones share them, so that a reload reaches every handler.
#[derive(Clone, Default)]
pub(crate) struct Credentials {
    by_token: Arc<RwLock<Option<HashMap<String, String>>>>,
}

impl Credentials {
    /// Puts the tokens of the configuration in force; none at all means that senders are not checked.
    ///
    /// # Errors
    /// A token file that cannot be read or is empty, a token that two branches share.
    pub(crate) fn load(tokens: &[BranchToken]) -> Result<Option<HashMap<String, String>>, String> {
        if tokens.is_empty() {
            return Ok(None);
        }
        let mut by_token = HashMap::new();
        for BranchToken { branch, secret } in tokens {
            let token = match secret {
                Secret::Given(token) => token.clone(),
                Secret::File(path) => std::fs::read_to_string(path)
                    .map_err(|error| {
                        format!(
                            "token_file {} of branch {branch:?}: {error}",
                            path.display()
                        )
                    })?
                    .trim()
                    .to_owned(),
            };
            if token.is_empty() {
                return Err(format!(
                    "the token of branch {branch:?} is empty: give every branch a secret of its own"
                ));
            }
            if let Some(other) = by_token.insert(token, branch.clone()) {
                return Err(format!(
                    "branches {other:?} and {branch:?} have the same token: give each its own"
                ));
            }
        }
        Ok(Some(by_token))
    }

    /// Replaces what is in force.
    pub(crate) fn set(&self, loaded: Option<HashMap<String, String>>) {
        *self
            .by_token
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner) = loaded;
    }

    /// Whether anybody is asked for a token.
    pub(crate) fn are_checked(&self) -> bool {
        self.by_token
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .is_some()
    }

    /// Who sends a request with these headers; None: nobody we know (401).
    //
    // The look-up hashes with a random key first, so its timing tells nothing about how much of a token is right.
    pub(crate) fn identify(&self, headers: &HeaderMap) -> Option<Identity> {
        let by_token = self
            .by_token
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let Some(by_token) = by_token.as_ref() else {
            return Some(Identity::Unchecked);
        };
        by_token
            .get(&token(headers)?)
            .cloned()
            .map(Identity::Branch)
    }
}

/// The token of `Authorization: Bearer TOKEN`, or the password of `Authorization: Basic …` (browsers, and
/// senders that know only that; the name before it is not looked at).
fn token(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, secret) = value.split_once(' ')?;
    let secret = secret.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(secret.to_owned());
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = base64::prelude::BASE64_STANDARD.decode(secret).ok()?;
    let (_, password) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
    Some(password.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials(tokens: &[(&str, &str)]) -> Result<Credentials, String> {
        let tokens: Vec<BranchToken> = tokens
            .iter()
            .map(|(branch, token)| BranchToken {
                branch: (*branch).into(),
                secret: Secret::Given((*token).into()),
            })
            .collect();
        let credentials = Credentials::default();
        credentials.set(Credentials::load(&tokens)?);
        Ok(credentials)
    }

    fn identify(credentials: &Credentials, authorization: &str) -> Option<Identity> {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, authorization.parse().unwrap());
        credentials.identify(&headers)
    }

    #[test]
    fn the_token_decides_the_branch() {
        let some = credentials(&[("b01", "one"), ("b02", "two")]).unwrap();
        assert_eq!(
            identify(&some, "Bearer two"),
            Some(Identity::Branch("b02".into()))
        );
        assert_eq!(
            identify(&some, "bearer  one "),
            Some(Identity::Branch("b01".into()))
        );
        assert_eq!(identify(&some, "Bearer three"), None);
        assert_eq!(identify(&some, "Basic two"), None);
        // grafana:two
        assert_eq!(
            identify(&some, "Basic Z3JhZmFuYTp0d28="),
            Some(Identity::Branch("b02".into()))
        );
        assert_eq!(identify(&some, "Digest two"), None);
        assert_eq!(some.identify(&HeaderMap::new()), None);
        assert_eq!(
            credentials(&[]).unwrap().identify(&HeaderMap::new()),
            Some(Identity::Unchecked)
        );
    }

    #[test]
    fn shared_and_empty_tokens_are_refused() {
        assert!(
            credentials(&[("a", "x"), ("b", "x")])
                .err()
                .unwrap()
                .contains("same token")
        );
        assert!(
            credentials(&[("a", "")])
                .err()
                .unwrap()
                .contains("is empty")
        );
        let missing = BranchToken {
            branch: "a".into(),
            secret: Secret::File("/nonexistent/t".into()),
        };
        assert!(
            Credentials::load(&[missing])
                .unwrap_err()
                .contains("/nonexistent/t")
        );
    }
}
