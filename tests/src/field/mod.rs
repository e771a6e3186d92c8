//! What others have written for Prometheus: which expressions are in a folder of their rule files and Grafana dashboards, as the
//! ruler and as Grafana would send them?
//!
//! Read are rule files, `PrometheusRule` manifests, lists of them, config maps that hold either, and dashboards of any age. What is
//! nothing of that is passed over; what cannot be read is told, and is no failure: templates of Helm look like YAML and are none.

mod grafana;
mod rules;
pub mod series;

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::dashboards::Expression;

/// Files that are read; more are somebody's whole disk.
const FILES_MAX: usize = 20_000;
/// Longer files are data.
const FILE_BYTES_MAX: u64 = 16 << 20;
/// Config maps hold dashboards, which hold none.
const NESTING_MAX: usize = 3;

/// What was found.
#[derive(Debug, Default)]
pub struct Field {
    /// Of rules, panels, annotations and variables; with nothing left to fill in.
    pub expressions: Vec<Expression>,
    /// (place, `{"groups": [...]}`): each is a rule file.
    pub rule_files: Vec<(String, Value)>,
    /// (place, why) of what looked like a file of these and cannot be read.
    pub unreadable: Vec<(String, String)>,
}

impl Field {
    /// Everything below these folders.
    ///
    /// # Errors
    /// A folder that cannot be listed, or holds too much.
    pub fn read(folders: &[PathBuf]) -> Result<Self, String> {
        let mut field = Field::default();
        for folder in folders {
            for path in files(folder)? {
                let place = path.strip_prefix(folder).unwrap_or(&path).display();
                match std::fs::read_to_string(&path) {
                    Ok(text) => field.add(&place.to_string(), &text, 0),
                    Err(error) => field.fail(place, error),
                }
            }
        }
        Ok(field)
    }

    fn fail(&mut self, place: impl ToString, why: impl ToString) {
        self.unreadable.push((place.to_string(), why.to_string()));
    }

    /// One file, or one entry of a config map.
    fn add(&mut self, place: &str, text: &str, nesting: usize) {
        // YAML is read only where it may be rules: most is something else.
        let parsed = if text.trim_start().starts_with('{') {
            serde_json::from_str(text)
                .map(|value| vec![value])
                .map_err(|error| error.to_string())
        } else if text.contains("groups:") || text.contains("ConfigMap") {
            serde_saphyr::from_multiple::<Value>(text).map_err(|error| {
                let error = error.to_string();
                error.lines().next().unwrap_or_default().to_owned()
            })
        } else {
            return;
        };
        match parsed {
            Ok(documents) => {
                for document in &documents {
                    self.add_document(place, document, nesting);
                }
            }
            Err(error) => self.fail(place, error),
        }
    }

    fn add_document(&mut self, place: &str, document: &Value, nesting: usize) {
        if nesting > NESTING_MAX {
            return self.fail(place, "nested too deep");
        }
        if let Some(groups) = rules::groups(document) {
            let (expressions, file) = rules::read(place, groups);
            self.expressions.extend(expressions);
            self.rule_files.push((place.to_owned(), file));
        } else if grafana::is_dashboard(document) {
            self.expressions.extend(grafana::queries(place, document));
        } else if let Some(items) = document["items"].as_array() {
            for item in items {
                self.add_document(place, item, nesting + 1);
            }
        } else if document["kind"] == "ConfigMap" {
            for (name, text) in document["data"].as_object().into_iter().flatten() {
                let text = text.as_str().unwrap_or_default();
                self.add(&format!("{place}: {name}"), text, nesting + 1);
            }
        }
    }
}

/// All that may be rules or dashboards, in order; links are not followed.
fn files(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let explain = |error: std::io::Error| format!("{}: {error}", folder.display());
        for entry in std::fs::read_dir(&folder).map_err(explain)? {
            let entry = entry.map_err(explain)?;
            let (path, kind) = (entry.path(), entry.file_type().map_err(explain)?);
            let extension = path.extension().and_then(|extension| extension.to_str());
            let wanted = matches!(extension, Some("json" | "yml" | "yaml" | "rules"));
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_file()
                && wanted
                && entry.metadata().map_err(explain)?.len() <= FILE_BYTES_MAX
            {
                found.push(path);
            }
        }
        if found.len() > FILES_MAX || folders.len() > FILES_MAX {
            return Err(format!("{}: more than {FILES_MAX} files", folder.display()));
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[&str]) {
        let mut field = Field::default();
        field.add("f", text, 0);
        let found: Vec<&str> = field
            .expressions
            .iter()
            .map(|expression| expression.text.as_str())
            .collect();
        assert_eq!(
            (found.as_slice(), &field.unreadable[..]),
            (expected, &[][..])
        );
    }

    #[test]
    fn every_form_of_rule_files() {
        let group = "groups: [{name: g, rules: [{alert: A, expr: up == 0}, {record: b, expr: 1}]}]";
        check(group, &["up == 0", "1"]);
        check(&format!("---\n---\n{group}\n"), &["up == 0", "1"]);
        let manifest = format!("{{kind: PrometheusRule, spec: {{{group}}}}}");
        check(
            &format!("a: b\n---\n# groups:\n{manifest}"),
            &["up == 0", "1"],
        );
        check(
            &format!("kind: List\nitems: [{manifest}]"),
            &["up == 0", "1"],
        );
        let map = "kind: ConfigMap\ndata:\n  x.yml: |\n    groups: [{name: g, rules: [{alert: A, expr: up}]}]\n";
        check(map, &["up"]);
        check(
            "{\"groups\": [{\"name\": \"g\", \"rules\": [{\"record\": \"a\", \"expr\": \"up\"}]}]}",
            &["up"],
        );
        check("hosts: [a]\n", &[]);
        check("{\"version\": 3}", &[]);
    }

    #[test]
    fn what_cannot_be_read_is_told() {
        let mut field = Field::default();
        field.add("f", "groups:\n{{- if .Values.rules }}\n- name: x\n", 0);
        field.add("g", "{\"panels\": [", 0);
        let places: Vec<&str> = field
            .unreadable
            .iter()
            .map(|(place, _)| place.as_str())
            .collect();
        assert_eq!((places, field.expressions.len()), (vec!["f", "g"], 0));
    }

    #[test]
    fn folders_are_walked() {
        let folder = tempfile::tempdir().expect("a folder");
        let below = folder.path().join("a/b");
        std::fs::create_dir_all(&below).expect("a folder");
        let rules = "groups: [{name: g, rules: [{record: r, expr: up}]}]";
        std::fs::write(below.join("r.yml"), rules).expect("a file");
        std::fs::write(below.join("r.txt"), rules).expect("a file");
        let field = Field::read(&[folder.path().to_owned()]).expect("read");
        assert_eq!(field.expressions.len(), 1);
        assert_eq!(field.expressions[0].place, "a/b/r.yml: r");
        assert!(Field::read(&[folder.path().join("none")]).is_err());
    }
}
