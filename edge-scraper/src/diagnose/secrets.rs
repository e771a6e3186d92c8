//! Every secret of a configuration, to be taken out of whatever leaves the machine.

use std::path::Path;

use daemon::config::{Found, mask_answer, mask_config};
use serde_json::Value;

/// Keys that name files with a secret.
const FILE_KEYS: [&str; 6] = [
    "password_file",
    "credentials_file",
    "bearer_token_file",
    "token_file",
    "client_secret_file",
    "key_file",
];
/// A parameter may be a secret, but one of `1` must not blot out every 1. Where it stands it is masked all the same.
const PARAMETER_CHARS_MIN: usize = 6;
/// With more, parameters are masked only where they stand: thousands of targets may each have their own, and each is looked for in every file.
const SECRETS_MAX: usize = 1_000;
/// Longest file with a secret.
const FILE_BYTES_MAX: u64 = 64 << 10;
const MASK: &str = "<secret>";

/// Secrets, longest first, so that none is masked in part because another is its beginning.
#[derive(Default)]
pub(super) struct Secrets(Vec<String>);

impl Secrets {
    /// Masks those of a configuration file's content and adds them; `folder` is what paths in it start from.
    pub(super) fn of_config(&mut self, value: &mut Value, folder: &Path) {
        self.files_and_addresses(value, folder);
        mask_config(value, &mut |found| self.found(found));
    }

    /// Masks those of the running edge's answer and adds them.
    pub(super) fn of_answer(&mut self, value: &mut Value) {
        mask_answer(value, &mut |found| self.found(found));
    }

    fn found(&mut self, found: Found<'_>) {
        match found {
            Found::Secret(text) => {
                self.add(text);
                // A key in PEM, or a text of several lines, may stand elsewhere indented or escaped.
                text.lines().for_each(|line| self.add(line));
            }
            Found::Parameter(text) => {
                // As it stands in an address, or as it is meant.
                for part in form_urlencoded::parse(format!("a={text}").as_bytes()) {
                    self.add_parameter(&part.1);
                }
                self.add_parameter(text);
                let encoded: String = form_urlencoded::byte_serialize(text.as_bytes()).collect();
                self.add_parameter(&encoded);
            }
        }
    }

    fn add_parameter(&mut self, text: &str) {
        if text.chars().count() >= PARAMETER_CHARS_MIN && self.0.len() < SECRETS_MAX {
            self.add(text);
        }
    }

    fn files_and_addresses(&mut self, value: &Value, folder: &Path) {
        match value {
            Value::Object(map) => {
                for (key, value) in map {
                    match FILE_KEYS.contains(&key.as_str()) {
                        true => self.in_file(value, folder),
                        false => self.files_and_addresses(value, folder),
                    }
                }
            }
            Value::Array(all) => {
                for value in all {
                    self.files_and_addresses(value, folder);
                }
            }
            Value::String(text) => self.in_address(text),
            _ => {}
        }
    }

    fn in_file(&mut self, value: &Value, folder: &Path) {
        let Some(name) = value.as_str() else { return };
        let path = folder.join(name);
        let short = std::fs::metadata(&path)
            .is_ok_and(|about| about.is_file() && about.len() <= FILE_BYTES_MAX);
        if short && let Ok(text) = std::fs::read_to_string(&path) {
            text.lines().for_each(|line| self.add(line));
        }
    }

    /// `http://name:password@host`.
    fn in_address(&mut self, text: &str) {
        let Ok(url) = reqwest::Url::parse(text) else {
            return;
        };
        if let Some(password) = url.password() {
            self.add(password);
            let (_, rest) = text.split_once("://").unwrap_or_default();
            let written = rest
                .rsplit_once('@')
                .and_then(|(user, _)| user.split_once(':'));
            if let Some((_, written)) = written {
                self.add(written);
            }
        }
    }

    fn add(&mut self, secret: &str) {
        let secret = secret.trim();
        // Markers of PEM are no secret; a text of one character would blot out everything.
        if secret.chars().count() > 1
            && !secret.starts_with("-----")
            && secret != MASK
            && !self.0.iter().any(|known| known == secret)
        {
            self.0.push(secret.to_owned());
            self.0.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        }
    }

    /// The text without them.
    pub(super) fn mask(&self, text: &str) -> String {
        let mut masked = text.to_owned();
        for secret in &self.0 {
            masked = masked.replace(secret.as_str(), MASK);
            // As it stands in JSON.
            let escaped = serde_json::to_string(secret).unwrap_or_default();
            let escaped = escaped.trim_matches('"');
            if escaped != secret {
                masked = masked.replace(escaped, MASK);
            }
        }
        masked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_found_wherever_they_stand() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("token"), "from-a-file\n").unwrap();
        let text = "remote_write:\n- url: http://me:p%40ss@hub/api?token=in-query\n  authorization: {credentials_file: token}\n  headers: {X-Key: in-header}\n\
                    - basic_auth: {username: shown, password: 's3cret \"1'}\nscrape_configs:\n- tls_config:\n    key: |\n      -----BEGIN KEY-----\n      MIIabc\n  password: 12345\n";
        let mut value = daemon::config::parse_yaml::<Value>(text, Path::new("x")).unwrap();
        let mut secrets = Secrets::default();
        secrets.of_config(&mut value, folder.path());
        let all = "p%40ss in-query from-a-file in-header s3cret \"1 s3cret \\\"1 MIIabc 12345";
        let masked = secrets.mask(&format!("{all} shown"));
        assert_eq!(masked.replace(MASK, "").trim(), "shown", "{masked}");
    }

    #[test]
    fn parameters_are_found_in_configuration_and_answers() {
        let text =
            "scrape_configs: [{params: {api_key: [abc/def=], module: [http_2xx], n: ['1']}}]";
        let mut value = daemon::config::parse_yaml::<Value>(text, Path::new("x")).unwrap();
        let mut secrets = Secrets::default();
        secrets.of_config(&mut value, Path::new(""));
        let mut answer = serde_json::json!({"discoveredLabels": {"__param_sig": "from-sd"},
            "scrapeUrl": "http://h/?code=xy%2Fxyz&module=shown-too"});
        secrets.of_answer(&mut answer);
        let text = "abc/def= abc%2Fdef%3D from-sd xy/xyz xy%2Fxyz";
        let masked = secrets.mask(&format!("{text} http_2xx 1 shown-too"));
        let rest = masked.replace(MASK, "");
        assert_eq!(rest.trim(), "http_2xx 1 shown-too", "{masked}");
        let shown = format!("{value} {answer}");
        assert!(!shown.contains("abc") && !shown.contains("xyz") && !shown.contains("from-sd"));
    }
}
