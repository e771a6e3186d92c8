//! Every secret of a configuration, to be taken out of whatever leaves the machine.

use std::path::Path;

use serde_json::Value;

/// Keys whose values are secret, whatever they are.
const SECRET_KEYS: [&str; 7] = [
    "password",
    "credentials",
    "bearer_token",
    "token",
    "client_secret",
    "key",
    "secret_key",
];
/// Keys that name files with a secret.
const FILE_KEYS: [&str; 6] = [
    "password_file",
    "credentials_file",
    "bearer_token_file",
    "token_file",
    "client_secret_file",
    "key_file",
];
/// Keys of maps whose values may all be secret.
const SECRET_MAPS: [&str; 4] = [
    "headers",
    "http_headers",
    "proxy_connect_header",
    "basic_auth_users",
];
/// Longest file with a secret.
const FILE_BYTES_MAX: u64 = 64 << 10;
pub(super) const MASK: &str = "<secret>";

/// Secrets, longest first, so that none is masked in part because another is its beginning.
#[derive(Default)]
pub(super) struct Secrets(Vec<String>);

impl Secrets {
    /// Adds those of a configuration file's content; `folder` is what paths in it start from.
    pub(super) fn gather(&mut self, value: &Value, folder: &Path) {
        match value {
            Value::Object(map) => {
                for (key, value) in map {
                    let key = key.as_str();
                    if SECRET_KEYS.contains(&key) || SECRET_MAPS.contains(&key) {
                        self.all_of(value);
                    } else if FILE_KEYS.contains(&key) {
                        self.in_file(value, folder);
                    } else {
                        self.gather(value, folder);
                    }
                }
            }
            Value::Array(all) => all.iter().for_each(|value| self.gather(value, folder)),
            Value::String(text) => self.in_address(text),
            _ => {}
        }
    }

    fn all_of(&mut self, value: &Value) {
        match value {
            Value::Object(map) => map.values().for_each(|value| self.all_of(value)),
            Value::Array(all) => all.iter().for_each(|value| self.all_of(value)),
            Value::String(text) => {
                self.add(text);
                // A key in PEM, or a text of several lines, may stand elsewhere indented or escaped.
                text.lines().for_each(|line| self.add(line));
            }
            Value::Number(number) => self.add(&number.to_string()),
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
        for (name, value) in url.query_pairs() {
            if SECRET_KEYS.iter().any(|key| name.eq_ignore_ascii_case(key)) {
                self.add(&value);
            }
        }
    }

    fn add(&mut self, secret: &str) {
        let secret = secret.trim();
        // Markers of PEM are no secret; a text of one character would blot out everything.
        if secret.chars().count() > 1
            && !secret.starts_with("-----")
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
        let value = daemon::config::parse_yaml::<Value>(text, Path::new("x")).unwrap();
        let mut secrets = Secrets::default();
        secrets.gather(&value, folder.path());
        let all = "p%40ss in-query from-a-file in-header s3cret \"1 s3cret \\\"1 MIIabc 12345";
        let masked = secrets.mask(&format!("{all} shown"));
        assert_eq!(masked.replace(MASK, "").trim(), "shown", "{masked}");
    }
}
