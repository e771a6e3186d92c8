//! The keys of HTTP clients as they are written. `deny_unknown_fields` does not go with `flatten`, so [`with_client_keys`] writes
//! them into each struct that has them.

use std::collections::BTreeMap;

use daemon::http::TlsYaml;
use serde::Deserialize;

use super::refuse::{self, Refused};

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct BasicAuth {
    pub(super) username: String,
    pub(super) password: Option<String>,
    pub(super) password_file: Option<String>,
    #[serde(deserialize_with = "refuse::username_file")]
    pub(super) username_file: Refused,
    #[serde(deserialize_with = "refuse::username_ref")]
    pub(super) username_ref: Refused,
    #[serde(deserialize_with = "refuse::password_ref")]
    pub(super) password_ref: Refused,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Authorization {
    pub(super) r#type: Option<String>,
    pub(super) credentials: Option<String>,
    pub(super) credentials_file: Option<String>,
    #[serde(deserialize_with = "refuse::credentials_ref")]
    pub(super) credentials_ref: Refused,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct OAuth2 {
    pub(super) client_id: String,
    pub(super) client_secret: Option<String>,
    pub(super) client_secret_file: Option<String>,
    pub(super) scopes: Option<Vec<String>>,
    pub(super) token_url: String,
    pub(super) endpoint_params: Option<BTreeMap<String, String>>,
    pub(super) tls_config: Option<TlsYaml>,
    pub(super) proxy_url: Option<String>,
    pub(super) no_proxy: Option<String>,
    pub(super) proxy_from_environment: Option<bool>,
    pub(super) proxy_connect_header: Option<BTreeMap<String, Vec<String>>>,
    #[serde(deserialize_with = "refuse::client_secret_ref")]
    pub(super) client_secret_ref: Refused,
    #[serde(deserialize_with = "refuse::grant_type")]
    pub(super) grant_type: Refused,
}

/// A header of `http_headers`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct HttpHeader {
    pub(super) values: Option<Vec<String>>,
    pub(super) secrets: Option<Vec<String>>,
    pub(super) files: Option<Vec<String>>,
}

/// The keys, taken out of the struct that they stand in.
#[derive(Debug, Default)]
pub(super) struct Keys {
    pub(super) basic_auth: Option<BasicAuth>,
    pub(super) authorization: Option<Authorization>,
    pub(super) bearer_token: Option<String>,
    pub(super) bearer_token_file: Option<String>,
    pub(super) oauth2: Option<OAuth2>,
    pub(super) tls_config: Option<TlsYaml>,
    pub(super) follow_redirects: Option<bool>,
    pub(super) enable_http2: Option<bool>,
    pub(super) proxy_url: Option<String>,
    pub(super) no_proxy: Option<String>,
    pub(super) proxy_from_environment: Option<bool>,
    pub(super) proxy_connect_header: Option<BTreeMap<String, Vec<String>>>,
    pub(super) http_headers: Option<BTreeMap<String, HttpHeader>>,
}

macro_rules! with_client_keys {
    ($(#[$meta:meta])* pub(super) struct $name:ident { $($fields:tt)* }) => {
        $(#[$meta])*
        pub(super) struct $name {
            $($fields)*
            basic_auth: Option<$crate::config::raw_client::BasicAuth>,
            authorization: Option<$crate::config::raw_client::Authorization>,
            bearer_token: Option<String>,
            bearer_token_file: Option<String>,
            oauth2: Option<$crate::config::raw_client::OAuth2>,
            tls_config: Option<daemon::http::TlsYaml>,
            follow_redirects: Option<bool>,
            enable_http2: Option<bool>,
            proxy_url: Option<String>,
            no_proxy: Option<String>,
            proxy_from_environment: Option<bool>,
            proxy_connect_header: Option<std::collections::BTreeMap<String, Vec<String>>>,
            http_headers: Option<
                std::collections::BTreeMap<String, $crate::config::raw_client::HttpHeader>,
            >,
        }

        impl $name {
            /// The keys of its HTTP client, which are no longer in it then.
            pub(super) fn client_keys(&mut self) -> $crate::config::raw_client::Keys {
                $crate::config::raw_client::Keys {
                    basic_auth: self.basic_auth.take(),
                    authorization: self.authorization.take(),
                    bearer_token: self.bearer_token.take(),
                    bearer_token_file: self.bearer_token_file.take(),
                    oauth2: self.oauth2.take(),
                    tls_config: self.tls_config.take(),
                    follow_redirects: self.follow_redirects,
                    enable_http2: self.enable_http2,
                    proxy_url: self.proxy_url.take(),
                    no_proxy: self.no_proxy.take(),
                    proxy_from_environment: self.proxy_from_environment,
                    proxy_connect_header: self.proxy_connect_header.take(),
                    http_headers: self.http_headers.take(),
                }
            }
        }
    };
}

pub(super) use with_client_keys;
