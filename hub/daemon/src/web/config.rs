//! The web configuration, checked and ready: what a handshake and a request need.

use std::path::Path;
use std::sync::Arc;

use axum::http::{HeaderName, HeaderValue};
use rustls::ServerConfig;

use super::users::Users;
use super::{raw, server_tls};
use crate::config::{ConfigError, line_of, parse_yaml};
use crate::tls::Reader;

pub(crate) struct WebConfig {
    pub(super) tls: Option<Arc<ServerConfig>>,
    client_certificates: bool,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) users: Users,
}

/// What keeps others out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Protection {
    pub(super) tls: bool,
    /// Demanded, and verified.
    pub(super) client_certificates: bool,
    pub(super) users: bool,
}

/// For errors about keys whose values are well-formed.
pub(super) struct Place<'a> {
    pub(super) path: &'a Path,
    text: &'a str,
}

impl Place<'_> {
    /// An error at the line where the last of the keys stands that lead to the value; if it is not there, the one above.
    pub(super) fn invalid(&self, keys: &str, message: impl ToString) -> ConfigError {
        let line = keys.rsplit('.').find_map(|key| line_of(self.text, key));
        match line {
            Some(line) => ConfigError::Malformed {
                path: self.path.to_owned(),
                line: line as u64,
                column: 1,
                message: format!("{keys}: {}", message.to_string()),
            },
            None => ConfigError::invalid(self.path, keys, message),
        }
    }
}

impl WebConfig {
    pub(super) fn load(path: &Path, files: &mut Reader) -> Result<Self, ConfigError> {
        let unreadable = |source| ConfigError::Unreadable {
            path: path.to_owned(),
            source,
        };
        let bytes = files.read(path).map_err(unreadable)?;
        let text = String::from_utf8(bytes)
            .map_err(|error| unreadable(std::io::Error::other(error.to_string())))?;
        let file: raw::File = parse_yaml(&text, path)?;
        let place = Place { path, text: &text };
        let http = file.http_server_config.unwrap_or_default();
        let tls = match file.tls_server_config {
            Some(tls) => server_tls::build(tls, http.http2.unwrap_or(true), &place, files)?,
            None => None,
        };
        let (tls, client_certificates) = match tls {
            Some(built) => (Some(Arc::new(built.config)), built.proves_clients),
            None => (None, false),
        };
        let users = file.basic_auth_users.unwrap_or_default();
        let users = users.into_iter().map(|(name, hash)| (name, hash.0));
        Ok(WebConfig {
            tls,
            client_certificates,
            headers: headers(http.headers.unwrap_or_default(), &place)?,
            users: Users::new(users.collect())
                .map_err(|why| place.invalid("basic_auth_users", why))?,
        })
    }

    pub(super) fn protection(&self) -> Protection {
        Protection {
            tls: self.tls.is_some(),
            client_certificates: self.client_certificates,
            users: self.users.count() > 0,
        }
    }

    /// Whether all of what protected the listener at its start is still there.
    pub(super) fn protects_as(&self, at_start: Protection, path: &Path) -> Result<(), ConfigError> {
        let now = self.protection();
        let lost = |key: &str, what: &str| {
            let why = format!("{what} while the process runs: restart it to do that");
            Err(ConfigError::invalid(path, key, why))
        };
        if at_start.tls != now.tls {
            return lost("tls_server_config", "TLS cannot be switched on or off");
        }
        if at_start.client_certificates && !now.client_certificates {
            return lost(
                "tls_server_config.client_auth_type",
                "client certificates that were demanded cannot be given up",
            );
        }
        if at_start.users && !now.users {
            return lost("basic_auth_users", "the last user cannot be taken out");
        }
        Ok(())
    }
}

fn headers(
    given: raw::Headers,
    place: &Place<'_>,
) -> Result<Vec<(HeaderName, HeaderValue)>, ConfigError> {
    use axum::http::header;
    let all = [
        (
            header::CONTENT_SECURITY_POLICY,
            given.content_security_policy,
        ),
        (header::X_FRAME_OPTIONS, given.frame_options),
        (header::X_CONTENT_TYPE_OPTIONS, given.content_type_options),
        (header::X_XSS_PROTECTION, given.xss_protection),
        (
            header::STRICT_TRANSPORT_SECURITY,
            given.strict_transport_security,
        ),
    ];
    all.into_iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| match HeaderValue::try_from(value) {
            Ok(value) => Ok((name, value)),
            Err(_) => Err(place.invalid(
                "http_server_config.headers",
                format!("the value of {name} has characters that no header may have"),
            )),
        })
        .collect()
}
