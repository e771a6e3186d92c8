//! From attributes of points, resources and scopes to the labels of a series.

use std::collections::HashMap;

use model::{LabelSetBuilder, METRIC_NAME, MetricType};

use super::Settings;
use super::names::label_name;
use super::proto::{KeyValue, Resource, Scope};
use super::translate::Metric;
use super::units::unit_words;
use super::value::text;

pub(super) const SERVICE_NAME: &str = "service.name";
pub(super) const SERVICE_NAMESPACE: &str = "service.namespace";
pub(super) const SERVICE_INSTANCE: &str = "service.instance.id";
/// What `job` and `instance` are made of.
pub(super) const IDENTIFYING: [&str; 3] = [SERVICE_NAMESPACE, SERVICE_NAME, SERVICE_INSTANCE];
/// Label names that are remembered for a request.
const NAMES_MAX: usize = 1000;

/// Makes labels. What resource and scope say is put together once for all their points.
pub(super) struct Labels<'s> {
    settings: &'s Settings,
    names: HashMap<String, String>,
    promoted: Vec<(String, String)>,
    job: String,
    instance: String,
    scope: Vec<(String, String)>,
    /// What the operator should hear: attributes whose values were joined.
    pub(super) collisions: Vec<String>,
}

impl<'s> Labels<'s> {
    pub(super) fn new(settings: &'s Settings) -> Self {
        Labels {
            settings,
            names: HashMap::new(),
            promoted: Vec::new(),
            job: String::new(),
            instance: String::new(),
            scope: Vec::new(),
            collisions: Vec::new(),
        }
    }

    /// What follows is of this resource.
    ///
    /// # Errors
    /// A promoted attribute whose name cannot be a label's.
    pub(super) fn enter_resource(&mut self, resource: &Resource) -> Result<(), String> {
        let find = |key: &str| {
            let pair = resource.attributes.iter().find(|pair| pair.key == key);
            pair.map(|pair| text(pair.value.as_ref()))
        };
        self.scope.clear();
        self.promoted.clear();
        self.job = match (find(SERVICE_NAMESPACE), find(SERVICE_NAME)) {
            (Some(namespace), Some(name)) => format!("{namespace}/{name}"),
            (None, Some(name)) => name,
            (_, None) => String::new(),
        };
        self.instance = find(SERVICE_INSTANCE).unwrap_or_default();
        for pair in &resource.attributes {
            if self.settings.promoted.has(&pair.key) {
                let name = self.name(&pair.key)?;
                self.promoted.push((name, text(pair.value.as_ref())));
            }
        }
        Ok(())
    }

    /// What follows is of this scope of the resource.
    ///
    /// # Errors
    /// An attribute whose name cannot be a label's.
    pub(super) fn enter_scope(&mut self, scope: &Scope, schema_url: &str) -> Result<(), String> {
        self.scope.clear();
        if !self.settings.promote_scope || scope.name.is_empty() {
            return Ok(());
        }
        for pair in &scope.attributes {
            let name = self.name(&format!("otel_scope_{}", pair.key))?;
            self.scope.push((name, text(pair.value.as_ref())));
        }
        let own = [
            ("otel_scope_name", scope.name.as_str()),
            ("otel_scope_version", &scope.version),
            ("otel_scope_schema_url", schema_url),
        ];
        let own = own.map(|(name, value)| (name.to_owned(), value.to_owned()));
        self.scope.extend(own);
        Ok(())
    }

    /// The labels of a point, without a metric name.
    ///
    /// # Errors
    /// An attribute whose name cannot be a label's.
    pub(super) fn of_point(
        &mut self,
        attributes: &[KeyValue],
        metric: &Metric<'_>,
    ) -> Result<LabelSetBuilder, String> {
        let mut labels = self.own(attributes, &[METRIC_NAME])?;
        for (name, value) in &self.promoted {
            if labels.get(name).is_none() {
                labels.set(name, value);
            }
        }
        self.set_identity(&mut labels);
        for (name, value) in &self.scope {
            labels.set(name, value);
        }
        if self.settings.type_and_unit_labels {
            if metric.about.kind != MetricType::Unknown {
                labels.set("__type__", metric.about.kind.as_str());
            }
            if !metric.about.unit.is_empty() {
                let utf8 = !self.settings.strategy.escapes();
                labels.set("__unit__", unit_words(metric.unit, utf8));
            }
        }
        labels.del(METRIC_NAME);
        Ok(labels)
    }

    /// The labels of `target_info`, without its name; None where nothing identifies the resource, or nothing else is said.
    ///
    /// # Errors
    /// As [`Labels::of_point`].
    pub(super) fn of_info(
        &mut self,
        resource: &Resource,
    ) -> Result<Option<LabelSetBuilder>, String> {
        let attributes = &resource.attributes;
        let says_more = |pair: &KeyValue| !IDENTIFYING.contains(&pair.key.as_str());
        if !attributes.iter().any(says_more) {
            return Ok(None);
        }
        let ignored: &[&str] = match self.settings.keep_identifying {
            true => &[],
            false => &IDENTIFYING,
        };
        let mut labels = self.own(attributes, ignored)?;
        self.set_identity(&mut labels);
        labels.del(METRIC_NAME);
        let identified = labels.get("job").is_some() || labels.get("instance").is_some();
        Ok(identified.then_some(labels))
    }

    fn set_identity(&self, labels: &mut LabelSetBuilder) {
        for (name, value) in [("job", &self.job), ("instance", &self.instance)] {
            if !value.is_empty() {
                labels.set(name, value);
            }
        }
    }

    /// In the order of their keys. Where names are escaped and two become one, their values are joined.
    fn own(
        &mut self,
        attributes: &[KeyValue],
        ignored: &[&str],
    ) -> Result<LabelSetBuilder, String> {
        let mut labels = LabelSetBuilder::default();
        let mut pairs: Vec<&KeyValue> = attributes.iter().collect();
        pairs.retain(|pair| !ignored.contains(&pair.key.as_str()));
        pairs.sort_by(|a, b| a.key.cmp(&b.key));
        for pair in pairs {
            let value = text(pair.value.as_ref());
            if !self.settings.strategy.escapes() {
                if pair.key.is_empty() {
                    return Err("label name is empty".to_owned());
                }
                labels.set(&pair.key, value);
                continue;
            }
            let name = self.name(&pair.key)?;
            match labels.get(&name) {
                Some(before) => {
                    let joined = format!("{before};{value}");
                    self.note_collision(&pair.key, &name);
                    labels.set(name, joined);
                }
                None => drop(labels.set(name, value)),
            }
        }
        Ok(labels)
    }

    fn note_collision(&mut self, key: &str, name: &str) {
        if self.collisions.is_empty() {
            self.collisions.push(format!(
                "attribute {key:?} and another one both become label {name:?}: their values are joined with ';'"
            ));
        }
    }

    fn name(&mut self, key: &str) -> Result<String, String> {
        if let Some(name) = self.names.get(key) {
            return Ok(name.clone());
        }
        let name = label_name(key, self.settings)?;
        if self.names.len() < NAMES_MAX {
            self.names.insert(key.to_owned(), name.clone());
        }
        Ok(name)
    }
}
