//! Listing and watching one kind of object: after a list, the server reports each change on a held request. When it no longer knows
//! the version that a watch would go on from (410), or says something unknown, the list is read again.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use daemon::Clock;
use reqwest::header::ACCEPT;
use serde::Deserialize;
use tokio::sync::Notify;

use super::access::Cluster;
use super::objects::{Kind, Object};
use crate::discovery::remote::innermost;

/// Objects of one answer of a list.
const PAGE: usize = 500;
/// Objects of one kind that are kept.
const OBJECTS_MAX: usize = 200_000;
/// Longest answer of a list, and longest line of a watch.
const BYTES_MAX: usize = 64 << 20;
/// Longest time for one answer of a list.
const LIST_WITHIN: Duration = Duration::from_secs(60);
/// How long the server shall hold a watch. It sends a bookmark every minute or so.
const WATCH_SECONDS: u64 = 300;
/// Pauses between attempts: doubled each time.
const BACKOFF_FIRST: Duration = Duration::from_secs(1);
const BACKOFF_MAX: Duration = Duration::from_secs(30);

/// Namespace and name.
pub(super) type Name = (String, String);

/// All objects that are known.
#[derive(Default)]
pub(super) struct Store {
    objects: BTreeMap<(Kind, usize), HashMap<Name, Arc<Object>>>,
    errors: BTreeMap<usize, String>,
}

impl Store {
    /// Lists that have been read at least once.
    pub(super) fn listed(&self) -> usize {
        self.objects.len()
    }

    /// What is wrong with one of the watches.
    pub(super) fn error(&self) -> Option<String> {
        self.errors.values().next().cloned()
    }

    /// Objects of a kind, in order.
    pub(super) fn all(&self, kind: Kind) -> Vec<&Object> {
        let of_kind = self.objects.range((kind, 0)..=(kind, usize::MAX));
        let mut all: Vec<(&Name, &Object)> = of_kind
            .flat_map(|(_, objects)| objects.iter().map(|(name, object)| (name, &**object)))
            .collect();
        all.sort_by_key(|(name, _)| *name);
        all.into_iter().map(|(_, object)| object).collect()
    }

    /// One object.
    pub(super) fn get(&self, kind: Kind, namespace: &str, name: &str) -> Option<&Object> {
        let name = (namespace.to_owned(), name.to_owned());
        let mut of_kind = self.objects.range((kind, 0)..=(kind, usize::MAX));
        of_kind.find_map(|(_, objects)| objects.get(&name).map(|object| &**object))
    }
}

/// One kind of object, in one namespace or in all.
pub(super) struct Watch {
    pub(super) kind: Kind,
    pub(super) id: usize,
    pub(super) path: String,
    pub(super) selector: Vec<(&'static str, String)>,
    pub(super) cluster: Arc<Cluster>,
    pub(super) store: Arc<Mutex<Store>>,
    /// Rung when something has changed.
    pub(super) changed: Arc<Notify>,
    pub(super) clock: Arc<dyn Clock>,
}

#[derive(Deserialize)]
struct List {
    #[serde(default)]
    metadata: ListMeta,
    #[serde(default)]
    items: Option<Vec<serde_json::Value>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ListMeta {
    resource_version: String,
    r#continue: String,
}

#[derive(Deserialize)]
struct Event {
    r#type: String,
    #[serde(default)]
    object: serde_json::Value,
}

/// Why a watch is over.
enum Over {
    /// The server ended it in its own time, or the connection broke: go on from this version.
    From(String),
    /// The version is too old: list again.
    Gone,
}

impl Watch {
    /// Never ends by itself; its task is cancelled.
    pub(super) async fn run(self) {
        let mut backoff = BACKOFF_FIRST;
        // The version to go on from, once the list is there.
        let mut version: Option<String> = None;
        loop {
            let result = match version.take() {
                None => self.list().await.map(Over::From),
                Some(from) => self.watch(from).await,
            };
            match result {
                Ok(over) => {
                    backoff = BACKOFF_FIRST;
                    version = match over {
                        Over::From(version) => Some(version),
                        Over::Gone => None,
                    };
                    // A server that ends every watch at once is not asked without a pause.
                    self.clock.sleep(Duration::from_millis(100)).await;
                }
                Err((error, from)) => {
                    self.lock().errors.insert(self.id, error);
                    self.changed.notify_one();
                    version = from;
                    self.clock.sleep(backoff).await;
                    backoff = (backoff * 2).min(BACKOFF_MAX);
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn ask(
        &self,
        more: &[(&str, String)],
        within: Duration,
    ) -> Result<reqwest::Response, String> {
        let mut url = self.cluster.at(&self.path);
        for (name, value) in self
            .selector
            .iter()
            .map(|(n, v)| (*n, v))
            .chain(more.iter().map(|(n, v)| (*n, v)))
        {
            url.query_pairs_mut().append_pair(name, value);
        }
        let request = self
            .cluster
            .client
            .get(url)
            .timeout(within)
            .header(ACCEPT, "application/json");
        let request = self.cluster.signer.sign(request).await;
        let request = request.map_err(|error| error.to_string())?;
        let answer = request.send().await.map_err(|error| innermost(&error))?;
        self.cluster.signer.answered(answer.status()).await;
        Ok(answer)
    }

    /// Reads the whole list and puts it in the place of what was known; the version to watch from.
    async fn list(&self) -> Result<String, (String, Option<String>)> {
        let failed = |why: String| (format!("{}: {why}", self.path), None);
        let mut objects = HashMap::new();
        let mut next = String::new();
        loop {
            let mut more = vec![("limit", PAGE.to_string())];
            if !next.is_empty() {
                more.push(("continue", next));
            }
            let mut answer = self.ask(&more, LIST_WITHIN).await.map_err(failed)?;
            let status = answer.status();
            let mut body = Vec::new();
            while let Some(chunk) = answer.chunk().await.map_err(|e| failed(innermost(&e)))? {
                if body.len() + chunk.len() > BYTES_MAX {
                    return Err(failed(format!("an answer of more than {BYTES_MAX} bytes")));
                }
                body.extend_from_slice(&chunk);
            }
            if !status.is_success() {
                let text: String = String::from_utf8_lossy(&body).chars().take(200).collect();
                return Err(failed(format!(
                    "server returned HTTP status {status}: {text}"
                )));
            }
            let list: List = serde_json::from_slice(&body).map_err(|e| failed(e.to_string()))?;
            for item in list.items.into_iter().flatten() {
                let object = self.kind.read(item).map_err(|e| failed(e.to_string()))?;
                if objects.len() == OBJECTS_MAX {
                    return Err(failed(format!(
                        "more than {OBJECTS_MAX} objects: select fewer"
                    )));
                }
                objects.insert(name(&object), Arc::new(object));
            }
            next = list.metadata.r#continue;
            if next.is_empty() {
                let mut store = self.lock();
                store.objects.insert((self.kind, self.id), objects);
                store.errors.remove(&self.id);
                drop(store);
                self.changed.notify_one();
                return Ok(list.metadata.resource_version);
            }
        }
    }

    async fn watch(&self, from: String) -> Result<Over, (String, Option<String>)> {
        let mut version = from;
        let more = [
            ("watch", "true".to_owned()),
            ("allowWatchBookmarks", "true".to_owned()),
            ("timeoutSeconds", WATCH_SECONDS.to_string()),
            ("resourceVersion", version.clone()),
        ];
        let within = Duration::from_secs(WATCH_SECONDS + 30);
        let failed = |why: String, version: &str| {
            (
                format!("watch of {}: {why}", self.path),
                Some(version.to_owned()),
            )
        };
        let asked = self.ask(&more, within).await;
        let mut answer = asked.map_err(|why| failed(why, &version))?;
        let status = answer.status();
        if status == reqwest::StatusCode::GONE {
            return Ok(Over::Gone);
        }
        if !status.is_success() {
            return Err(failed(
                format!("server returned HTTP status {status}"),
                &version,
            ));
        }
        self.lock().errors.remove(&self.id);
        let mut line = Vec::new();
        loop {
            let chunk = match answer.chunk().await {
                Ok(Some(chunk)) => chunk,
                Ok(None) => return Ok(Over::From(version)),
                Err(error) if error.is_timeout() => return Ok(Over::From(version)),
                Err(error) => return Err(failed(innermost(&error), &version)),
            };
            if line.len() + chunk.len() > BYTES_MAX {
                return Err(failed(
                    format!("a change of more than {BYTES_MAX} bytes"),
                    &version,
                ));
            }
            line.extend_from_slice(&chunk);
            while let Some(end) = line.iter().position(|byte| *byte == b'\n') {
                let event = serde_json::from_slice(&line[..end]);
                line.drain(..=end);
                // What cannot be read cannot be skipped either: it may have been a change.
                let Ok(event) = event else {
                    return Ok(Over::Gone);
                };
                match self.apply(event) {
                    Some(new) => version = new,
                    None => return Ok(Over::Gone),
                }
            }
        }
    }

    /// Takes a change in; its version, or None if the list has to be read again.
    fn apply(&self, event: Event) -> Option<String> {
        if event.r#type == "BOOKMARK" {
            let version = event.object["metadata"]["resourceVersion"].as_str();
            return version.map(str::to_owned);
        }
        // An ERROR is a status: mostly 410.
        if !matches!(event.r#type.as_str(), "ADDED" | "MODIFIED" | "DELETED") {
            return None;
        }
        let object = self.kind.read(event.object).ok()?;
        let version = object.meta().resource_version.clone();
        let mut store = self.lock();
        let objects = store.objects.entry((self.kind, self.id)).or_default();
        if event.r#type == "DELETED" {
            objects.remove(&name(&object));
        } else if objects.len() < OBJECTS_MAX {
            objects.insert(name(&object), Arc::new(object));
        }
        drop(store);
        self.changed.notify_one();
        Some(version)
    }
}

fn name(object: &Object) -> Name {
    let meta = object.meta();
    (meta.namespace.clone(), meta.name.clone())
}
