//! Dashboards: which queries does Grafana's Prometheus data source send for them?
//!
//! Variables are put in as it does: those that allow many or all are escaped for a regular expression and joined in brackets, others
//! only for a string. The values are those that the dashboard was saved with; where it has none, what any would be like.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::dashboards::Expression;

/// What Grafana itself puts in.
const GLOBALS: [(&str, &str); 16] = [
    ("__interval", "15s"),
    ("__interval_ms", "15000"),
    ("__rate_interval", "1m0s"),
    ("__rate_interval_ms", "60000"),
    ("__auto", "15s"),
    ("__auto_interval", "15s"),
    ("__range", "3600s"),
    ("__range_s", "3600"),
    ("__range_ms", "3600000"),
    ("__from", "1700000000000"),
    ("__to", "1700003600000"),
    ("__dashboard", "a dashboard"),
    ("__name", "a name"),
    ("__org", "1"),
    ("__user", "a person"),
    ("timezone", "browser"),
];

/// A dashboard of any age has one of these.
pub(super) fn is_dashboard(document: &Value) -> bool {
    let dashboard = inner(document);
    dashboard["panels"].is_array()
        || dashboard["rows"].is_array()
        || dashboard["elements"].is_object()
}

/// Exported through the API they stand in an envelope, as resources in another.
fn inner(document: &Value) -> &Value {
    match (&document["dashboard"], &document["spec"]) {
        (Value::Object(_), _) => &document["dashboard"],
        (_, Value::Object(_)) => &document["spec"],
        _ => document,
    }
}

/// Everything that it asks of Prometheus, filled in.
pub(super) fn queries(place: &str, document: &Value) -> Vec<Expression> {
    let dashboard = inner(document);
    let variables = Variables::of(dashboard);
    let mut found = Vec::new();
    walk(dashboard, "", true, &mut |title, text| {
        found.push((title.to_owned(), text.to_owned()));
    });
    for variable in list(dashboard) {
        let name = variable["name"].as_str().unwrap_or("a variable");
        if variable["type"] == "query" && is_prometheus(&variable["datasource"]) != Some(false) {
            found.extend(asked_by(variable).map(|text| (format!("variable {name}"), text)));
        }
    }
    let expressions = found.into_iter().map(|(title, text)| Expression {
        place: format!("{place}: {title}"),
        text: variables.fill(&text),
    });
    // What nobody declares is no PromQL with any server.
    expressions
        .filter(|expression| !expression.text.trim().is_empty() && !expression.text.contains('$'))
        .collect()
}

/// Every `expr`, with the title and the data source that are nearest above it.
fn walk(value: &Value, title: &str, prometheus: bool, found: &mut impl FnMut(&str, &str)) {
    match value {
        Value::Object(object) => {
            let title = value["title"].as_str().unwrap_or(title);
            let prometheus = is_prometheus(&value["datasource"]).unwrap_or(prometheus);
            if let (Some(text), true) = (value["expr"].as_str(), prometheus) {
                found(title, text);
            }
            for value in object.values() {
                walk(value, title, prometheus, found);
            }
        }
        Value::Array(values) => {
            for value in values {
                walk(value, title, prometheus, found);
            }
        }
        _ => {}
    }
}

/// None where it does not say.
fn is_prometheus(source: &Value) -> Option<bool> {
    let kind = source["type"].as_str().or(source.as_str())?.to_lowercase();
    let others = [
        "loki",
        "influx",
        "sql",
        "elastic",
        "tempo",
        "jaeger",
        "postgres",
        "graphite",
        "clickhouse",
        "cloudwatch",
    ];
    Some(!others.iter().any(|other| kind.contains(other)))
}

fn list(dashboard: &Value) -> impl Iterator<Item = &Value> {
    dashboard["templating"]["list"]
        .as_array()
        .into_iter()
        .flatten()
}

/// The selector of `label_values(selector, label)`, the query of `query_result(query)`.
fn asked_by(variable: &Value) -> Option<String> {
    let query = &variable["query"];
    let text = query.as_str().or(query["query"].as_str())?.trim();
    let inside = |name: &str| {
        text.strip_prefix(name)?
            .trim()
            .strip_prefix('(')?
            .strip_suffix(')')
    };
    if let Some(query) = inside("query_result") {
        return Some(query.to_owned());
    }
    let (selector, _label) = inside("label_values")?.rsplit_once(',')?;
    Some(selector.to_owned())
}

struct Variable {
    values: Vec<String>,
    /// Whether the values are parts of a regular expression.
    many: bool,
    /// Stands for all as it is.
    verbatim: bool,
}

struct Variables(BTreeMap<String, Variable>);

impl Variables {
    fn of(dashboard: &Value) -> Self {
        let variables = list(dashboard)
            .filter_map(|variable| Some((variable["name"].as_str()?.to_owned(), read(variable))));
        Variables(variables.collect())
    }

    /// `$name`, `${name}`, `${name:format}`, `[[name]]` and `[[name:format]]`; what nobody declares stays.
    fn fill(&self, text: &str) -> String {
        let mut filled = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find(['$', '[']) {
            filled.push_str(&rest[..at]);
            rest = &rest[at..];
            let (name, length) = reference(rest).unwrap_or(("", 1));
            match self.value(name) {
                Some(value) => filled.push_str(&value),
                None => filled.push_str(&rest[..length]),
            }
            rest = &rest[length..];
        }
        filled.push_str(rest);
        filled
    }

    fn value(&self, reference: &str) -> Option<String> {
        let (name, format) = reference.split_once(':').unwrap_or((reference, ""));
        let name = name.split('.').next()?;
        if let Some(variable) = self.0.get(name) {
            return Some(variable.put_in(format));
        }
        let global = GLOBALS.iter().find(|(known, _)| *known == name);
        global.map(|(_, value)| (*value).to_owned()).or_else(|| {
            name.starts_with("__auto_interval_")
                .then(|| "1m".to_owned())
        })
    }
}

/// What stands between the signs of a reference to a variable, and how long the whole is.
fn reference(text: &str) -> Option<(&str, usize)> {
    for (open, close) in [("${", "}"), ("[[", "]]")] {
        if let Some(inside) = text.strip_prefix(open) {
            let end = inside.find(close)?;
            return Some((&inside[..end], open.len() + end + close.len()));
        }
    }
    let name = text.strip_prefix('$')?;
    let end = name
        .find(|sign: char| !(sign.is_ascii_alphanumeric() || sign == '_'))
        .unwrap_or(name.len());
    (end > 0).then(|| (&name[..end], end + 1))
}

impl Variable {
    fn put_in(&self, format: &str) -> String {
        let escaped = |escape: fn(&str) -> String| -> Vec<String> {
            self.values.iter().map(|value| escape(value)).collect()
        };
        match format {
            "raw" | "csv" | "text" => self.values.join(","),
            "pipe" => self.values.join("|"),
            "regex" => bracketed(&escaped(regex_escape)),
            "doublequote" => format!("\"{}\"", self.values.join("\",\"")),
            "singlequote" => format!("'{}'", self.values.join("','")),
            _ if self.verbatim => self.values.concat(),
            _ if self.many => {
                bracketed(&escaped(|value| regex_escape(value).replace('\\', "\\\\")))
            }
            _ => escaped(|value| value.replace('\\', "\\\\").replace('\'', "\\\\'")).join(","),
        }
    }
}

fn bracketed(values: &[String]) -> String {
    match values {
        [one] => one.clone(),
        many => format!("({})", many.join("|")),
    }
}

fn regex_escape(value: &str) -> String {
    let mut escaped = String::new();
    for sign in value.chars() {
        if "\\^$*+?.()|[]{}/".contains(sign) {
            escaped.push('\\');
        }
        escaped.push(sign);
    }
    escaped
}

/// What a variable was saved with, or what it might be.
fn read(variable: &Value) -> Variable {
    let strings = |value: &Value| -> Vec<String> {
        let one = value.as_str().map(str::to_owned);
        let many = value.as_array().into_iter().flatten();
        let many = many.filter_map(|value| value.as_str().map(str::to_owned));
        one.into_iter().chain(many).collect()
    };
    let many = variable["multi"] == true || variable["includeAll"] == true;
    let options = variable["options"].as_array().into_iter().flatten();
    let options: Vec<String> = options
        .flat_map(|option| strings(&option["value"]))
        .collect();
    let is_all = |value: &String| value == "$__all" || value == "All";
    let mut values = strings(&variable["current"]["value"]);
    let mut verbatim = false;
    if values.iter().any(is_all) {
        let all = variable["allValue"].as_str().filter(|all| !all.is_empty());
        verbatim = all.is_some();
        values = match all {
            Some(all) => vec![all.to_owned()],
            None => options
                .iter()
                .filter(|option| !is_all(option))
                .cloned()
                .collect(),
        };
    }
    values.retain(|value| !value.is_empty() && !value.starts_with("$__auto"));
    if values.is_empty() {
        let query = variable["query"].as_str().unwrap_or_default();
        let first = query
            .split(',')
            .map(str::trim)
            .find(|value| *value != "auto");
        let first = first.map(|value| value.rsplit(" : ").next().unwrap_or(value));
        values = vec![match variable["type"].as_str() {
            Some("interval") => first
                .filter(|first| !first.is_empty())
                .unwrap_or("1m")
                .to_owned(),
            Some("custom" | "constant" | "textbox") => first.unwrap_or_default().to_owned(),
            Some("datasource") => "prometheus".to_owned(),
            // Its values come from the server: a word.
            _ => "one".to_owned(),
        }];
    }
    Variable {
        values,
        many,
        verbatim,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(variables: Value, text: &str, expected: &str) {
        let dashboard = json!({"templating": {"list": variables}});
        assert_eq!(Variables::of(&dashboard).fill(text), expected);
    }

    #[test]
    fn variables_are_put_in_as_grafana_does() {
        let one = json!([{"name": "job", "type": "query", "current": {"value": "a.b\\c'"}}]);
        check(one, "x{job=\"$job\"}", "x{job=\"a.b\\\\c\\\\'\"}");
        let many = json!([{"name": "job", "multi": true, "current": {"value": ["a.b", "c"]}}]);
        check(many.clone(), "x{job=~\"$job\"}", "x{job=~\"(a\\\\.b|c)\"}");
        check(many.clone(), "x{job=~\"${job:pipe}\"}", "x{job=~\"a.b|c\"}");
        check(
            many.clone(),
            "x{job=~'[[job:regex]]'}",
            "x{job=~'(a\\.b|c)'}",
        );
        check(many, "x[5m] $other ${no", "x[5m] $other ${no");
        let all = json!([{"name": "n", "includeAll": true, "allValue": ".*", "current": {"value": "$__all"}}]);
        check(all, "{n=~\"$n\"}", "{n=~\".*\"}");
        let all = json!([{"name": "n", "includeAll": true, "current": {"value": ["$__all"]},
                          "options": [{"value": "$__all"}, {"value": "a"}, {"value": "b"}]}]);
        check(all, "{n=~\"$n\"}", "{n=~\"(a|b)\"}");
    }

    #[test]
    fn values_that_were_not_saved() {
        let interval = json!([{"name": "i", "type": "interval", "query": "auto,5m,10m", "current": {"value": "$__auto_interval_i"}}]);
        check(
            interval,
            "x[$i] y[$__rate_interval] z[${__range_s}s]",
            "x[5m] y[1m0s] z[3600s]",
        );
        let custom = json!([{"name": "k", "type": "custom", "query": "five : 5, 10"}]);
        check(custom, "topk($k, x)", "topk(5, x)");
        check(
            json!([{"name": "q", "type": "query"}]),
            "x{q=\"$q\"}",
            "x{q=\"one\"}",
        );
    }

    #[test]
    fn queries_of_old_and_new_dashboards() {
        let texts = |dashboard: Value| -> Vec<String> {
            assert!(is_dashboard(&dashboard));
            queries("d", &dashboard)
                .into_iter()
                .map(|expression| expression.text)
                .collect()
        };
        let target = json!([{"expr": "up"}]);
        assert_eq!(
            texts(json!({"rows": [{"panels": [{"targets": target}]}]})),
            ["up"]
        );
        let loki =
            json!({"datasource": {"type": "loki"}, "targets": [{"expr": "{a=\"b\"} |= `c`"}]});
        assert_eq!(
            texts(json!({"panels": [loki, {"panels": [{"targets": target}]}]})),
            ["up"]
        );
        let v2 =
            json!({"spec": {"elements": {"p": {"spec": {"query": {"spec": {"expr": "up"}}}}}}});
        assert_eq!(texts(v2), ["up"]);
        let variables = json!([
            {"name": "a", "type": "query", "query": {"query": "label_values(x{b=\"$c\"}, a)"}},
            {"name": "c", "type": "query", "query": "query_result(sum(y))"},
            {"name": "d", "type": "query", "query": "label_values(d)"},
        ]);
        let all = texts(json!({"panels": [], "templating": {"list": variables}}));
        assert_eq!(all, ["x{b=\"one\"}", "sum(y)"]);
        assert!(
            texts(json!({"panels": [{"targets": [{"expr": "x{a=\"$undeclared\"}"}]}]})).is_empty()
        );
    }
}
