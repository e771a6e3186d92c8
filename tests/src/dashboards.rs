//! Every query of `dashboards/` as Grafana would send it, and every expression of the rule files.

use std::path::PathBuf;

use serde_json::Value;

use crate::checkout;

/// What Grafana puts in the place of its variables.
#[derive(Debug, Clone)]
pub struct Filling<'a> {
    /// `$branch`; a regular expression where a dashboard allows many.
    pub branch: &'a str,
    /// `$instance`.
    pub instance: &'a str,
    /// `$__rate_interval` and `$__interval`, as a duration.
    pub interval: &'a str,
    /// `$__range`, as a duration.
    pub range: &'a str,
}

impl Filling<'_> {
    fn value(&self, variable: &str) -> Option<&str> {
        match variable {
            "branch" => Some(self.branch),
            "instance" => Some(self.instance),
            "__rate_interval" | "__interval" => Some(self.interval),
            "__range" => Some(self.range),
            _ => None,
        }
    }

    /// Replaces `$name`, `${name}` and `${name:format}`.
    ///
    /// # Panics
    /// At a variable that no dashboard declares.
    pub fn fill(&self, text: &str) -> String {
        let mut filled = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(dollar) = rest.find('$') {
            filled.push_str(&rest[..dollar]);
            let after = &rest[dollar + 1..];
            let (name, used) = match after.strip_prefix('{') {
                Some(braced) => {
                    let end = braced
                        .find('}')
                        .unwrap_or_else(|| panic!("no closing brace in {text}"));
                    (braced[..end].split(':').next().unwrap_or(""), end + 2)
                }
                None => {
                    let end = after
                        .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
                        .unwrap_or(after.len());
                    (&after[..end], end)
                }
            };
            match self.value(name) {
                Some(value) => filled.push_str(value),
                None => panic!("unknown variable ${name} in {text}"),
            }
            rest = &after[used..];
        }
        filled.push_str(rest);
        filled
    }
}

/// An expression and where it stands.
#[derive(Debug, Clone)]
pub struct Expression {
    /// `overview.json: Panel title` or `rules/nodes.yml: NodeCpuBusy`.
    pub place: String,
    /// PromQL, with nothing left to fill in.
    pub text: String,
}

/// The queries of all panels: each should answer something.
///
/// # Panics
/// When a dashboard cannot be read.
pub fn panel_queries(filling: &Filling) -> Vec<Expression> {
    let mut queries = Vec::new();
    for (file, dashboard) in dashboards() {
        for panel in dashboard["panels"].as_array().into_iter().flatten() {
            for target in panel["targets"].as_array().into_iter().flatten() {
                let title = panel["title"].as_str().unwrap_or("a panel");
                let text = target["expr"]
                    .as_str()
                    .unwrap_or_else(|| panic!("{file}: {title}: a query without expr"));
                queries.push(Expression {
                    place: format!("{file}: {title}"),
                    text: filling.fill(text),
                });
            }
        }
    }
    assert!(!queries.is_empty(), "the dashboards have no queries");
    queries
}

/// The queries of all annotations: they may well answer nothing.
///
/// # Panics
/// When a dashboard cannot be read.
pub fn annotation_queries(filling: &Filling) -> Vec<Expression> {
    let mut queries = Vec::new();
    for (file, dashboard) in dashboards() {
        for annotation in dashboard["annotations"]["list"]
            .as_array()
            .into_iter()
            .flatten()
        {
            if let Some(text) = annotation["expr"].as_str() {
                let name = annotation["name"].as_str().unwrap_or("an annotation");
                queries.push(Expression {
                    place: format!("{file}: annotation {name}"),
                    text: filling.fill(text),
                });
            }
        }
    }
    queries
}

/// What the variables are filled from: (place, selector, label) of each `label_values(selector, label)`.
///
/// # Panics
/// When a dashboard cannot be read, or a variable asks in another way.
pub fn variable_queries(filling: &Filling) -> Vec<(Expression, String)> {
    let mut queries = Vec::new();
    for (file, dashboard) in dashboards() {
        for variable in dashboard["templating"]["list"]
            .as_array()
            .into_iter()
            .flatten()
        {
            if variable["type"] != "query" {
                continue;
            }
            let name = variable["name"].as_str().unwrap_or("a variable");
            let query = variable["query"]["query"]
                .as_str()
                .unwrap_or_else(|| panic!("{file}: variable {name} has no query"));
            let (selector, label) = query
                .strip_prefix("label_values(")
                .and_then(|rest| rest.strip_suffix(')'))
                .and_then(|rest| rest.rsplit_once(','))
                .unwrap_or_else(|| {
                    panic!("{file}: variable {name} is no label_values(selector, label): {query}")
                });
            let place = format!("{file}: variable {name}");
            queries.push((
                Expression {
                    place,
                    text: filling.fill(selector.trim()),
                },
                label.trim().to_owned(),
            ));
        }
    }
    queries
}

/// The rule files.
///
/// # Panics
/// When the folder cannot be read.
pub fn rule_files() -> Vec<PathBuf> {
    let folder = checkout::root().join("dashboards/rules");
    let entries =
        std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.expect("a folder's entry").path())
        .collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "yml"));
    files.sort();
    assert!(!files.is_empty(), "no rule files in {}", folder.display());
    files
}

/// The expressions of all rules, recording and alerting.
///
/// # Panics
/// When a rule file cannot be read.
pub fn rule_expressions() -> Vec<Expression> {
    let mut expressions = Vec::new();
    for path in rule_files() {
        let file = format!(
            "rules/{}",
            path.file_name()
                .and_then(|name| name.to_str())
                .unwrap_or("?")
        );
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{file}: {error}"));
        let rules: Value =
            serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{file}: {error}"));
        let groups = rules["groups"].as_array().into_iter().flatten();
        for rule in groups.flat_map(|group| group["rules"].as_array().into_iter().flatten()) {
            let name = rule["alert"]
                .as_str()
                .or(rule["record"].as_str())
                .unwrap_or("a rule");
            let text = rule["expr"]
                .as_str()
                .unwrap_or_else(|| panic!("{file}: {name} has no expr"));
            expressions.push(Expression {
                place: format!("{file}: {name}"),
                text: text.to_owned(),
            });
        }
    }
    expressions
}

/// The selectors of an expression, each as `{name="value",...}`: without ranges and offsets, so that `/api/v1/series` takes them.
///
/// # Errors
/// What our parser says when it does not understand the expression.
pub fn selectors(expression: &str) -> Result<Vec<String>, String> {
    let parsed = promql::parse(expression, &promql::ParseOptions::default())
        .map_err(|error| error.to_string())?;
    let selectors = parsed.selectors().into_iter().map(|selector| {
        let matchers: Vec<String> = selector.matchers.iter().map(ToString::to_string).collect();
        format!("{{{}}}", matchers.join(","))
    });
    Ok(selectors.collect())
}

/// (file name, its JSON) of every dashboard.
fn dashboards() -> Vec<(&'static str, Value)> {
    ["overview.json", "branch.json", "hub.json"]
        .into_iter()
        .map(|file| {
            let path = checkout::root().join("dashboards").join(file);
            let text = std::fs::read_to_string(&path)
                .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            (
                file,
                serde_json::from_str(&text).unwrap_or_else(|error| panic!("{file}: {error}")),
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILLING: Filling = Filling {
        branch: "b01",
        instance: ".+",
        interval: "1m",
        range: "5m",
    };

    #[test]
    fn variables_are_filled() {
        let check = |text: &str, expected: &str| assert_eq!(FILLING.fill(text), expected);
        check(
            "x{branch=~\"$branch\",i=~\"${instance:regex}\"}",
            "x{branch=~\"b01\",i=~\".+\"}",
        );
        check(
            "rate(x[$__rate_interval]) + y[$__range]",
            "rate(x[1m]) + y[5m]",
        );
        check("branch=~\"|$branch\"", "branch=~\"|b01\"");
    }

    #[test]
    #[should_panic(expected = "unknown variable $site")]
    fn an_unknown_variable_is_an_error() {
        FILLING.fill("x{site=\"$site\"}");
    }

    #[test]
    fn everything_is_found() {
        assert!(panel_queries(&FILLING).len() > 120);
        assert_eq!(variable_queries(&FILLING).len(), 3);
        assert!(annotation_queries(&FILLING).len() >= 2);
        assert!(rule_expressions().len() > 20);
    }

    #[test]
    fn our_parser_understands_every_expression() {
        let mut all = panel_queries(&FILLING);
        all.extend(annotation_queries(&FILLING));
        all.extend(rule_expressions());
        for expression in all {
            if let Err(error) = selectors(&expression.text) {
                panic!("{}: {error}", expression.place);
            }
        }
    }

    #[test]
    fn selectors_are_found() {
        let found =
            selectors("rate(a{b=\"c\"}[5m] offset 1h) / sum by (d) (e)").expect("an expression");
        assert_eq!(found, ["{b=\"c\",__name__=\"a\"}", "{__name__=\"e\"}"]);
    }

    #[test]
    fn panels_have_what_grafana_needs() {
        for (file, dashboard) in dashboards() {
            let mut ids: Vec<i64> = Vec::new();
            for panel in dashboard["panels"].as_array().into_iter().flatten() {
                let title = panel["title"].as_str().unwrap_or("");
                assert!(!title.is_empty(), "{file}: a panel without a title");
                ids.push(
                    panel["id"]
                        .as_i64()
                        .unwrap_or_else(|| panic!("{file}: {title}: no id")),
                );
                let position = &panel["gridPos"];
                let right = position["x"]
                    .as_i64()
                    .zip(position["w"].as_i64())
                    .map(|(x, w)| x + w);
                assert!(
                    right.is_some_and(|right| right <= 24),
                    "{file}: {title}: outside the grid"
                );
                if panel["type"] != "row" {
                    assert_eq!(
                        panel["datasource"]["uid"], "${datasource}",
                        "{file}: {title}: a fixed data source"
                    );
                }
            }
            let count = ids.len();
            ids.sort_unstable();
            ids.dedup();
            assert_eq!(ids.len(), count, "{file}: a panel id is used twice");
        }
    }
}
