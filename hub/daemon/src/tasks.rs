use std::any::Any;
use std::collections::BTreeMap;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A node in the tree of a process's tasks. Nothing is detached: every task belongs to a node, a node's
/// shutdown cancels and awaits its whole subtree, and a long-lived task that ends by itself is an event.
///
/// Shutting down in order is shutting down one node after the other: intake, then drain, then answering.
#[derive(Clone, Debug)]
pub struct Tasks {
    node: Arc<Node>,
}

#[derive(Debug)]
struct Node {
    token: CancellationToken,
    tracker: TaskTracker,
    running: Mutex<BTreeMap<u64, String>>,
    children: Mutex<Vec<Tasks>>,
    failure: Arc<Failure>,
}

/// The first long-lived task of the tree that ended without being asked to.
#[derive(Debug, Default)]
struct Failure {
    first: Mutex<Option<TaskFailure>>,
    happened: CancellationToken,
}

/// A long-lived task ended although nobody asked it to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("task {task} {how}")]
pub struct TaskFailure {
    /// Its name.
    pub task: String,
    /// "panicked: …" or "ended by itself".
    pub how: String,
}

impl Tasks {
    /// The root of a process's tree.
    #[expect(
        clippy::new_without_default,
        reason = "a tree of tasks is started on purpose"
    )]
    pub fn new() -> Self {
        Self::node(CancellationToken::new(), Arc::new(Failure::default()))
    }

    fn node(token: CancellationToken, failure: Arc<Failure>) -> Self {
        Tasks {
            node: Arc::new(Node {
                token,
                tracker: TaskTracker::new(),
                running: Mutex::default(),
                children: Mutex::default(),
                failure,
            }),
        }
    }

    /// A subtree: cancelled and awaited with this node, or before it on its own.
    pub fn child(&self) -> Tasks {
        let child = Self::node(self.node.token.child_token(), self.node.failure.clone());
        let mut children = self
            .node
            .children
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // Subtrees that were shut down are forgotten, or a reloading process would collect them.
        children.retain(|c| !(c.node.token.is_cancelled() && c.node.tracker.is_empty()));
        children.push(child.clone());
        child
    }

    /// Cancelled when this node is to stop.
    pub fn token(&self) -> &CancellationToken {
        &self.node.token
    }

    /// Completes when this node is to stop.
    pub async fn cancelled(&self) {
        self.node.token.cancelled().await;
    }

    /// Runs a task that lives as long as the node. If it panics, or returns before the node is cancelled,
    /// [`Tasks::failure`] completes.
    pub fn spawn(&self, name: impl Into<String>, task: impl Future<Output = ()> + Send + 'static) {
        self.start(name.into(), true, task);
    }

    /// Runs a task that may end at any time (a request, a connection); only a panic is a failure.
    pub fn spawn_brief(
        &self,
        name: impl Into<String>,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        self.start(name.into(), false, task);
    }

    fn start(
        &self,
        name: String,
        long_lived: bool,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        let node = self.node.clone();
        let id = {
            let mut running = node.running.lock().unwrap_or_else(PoisonError::into_inner);
            let id = running.last_key_value().map_or(0, |(id, _)| id + 1);
            running.insert(id, name.clone());
            id
        };
        // The one place where a task is started, because here it gets its owner.
        self.node.tracker.spawn(async move {
            let end = AssertUnwindSafe(task).catch_unwind().await;
            node.running
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .remove(&id);
            let how = match end {
                Err(panic) => format!("panicked: {}", panic_text(&*panic)),
                Ok(()) if long_lived && !node.token.is_cancelled() => "ended by itself".to_owned(),
                Ok(()) => return,
            };
            tracing::error!(task = name, "{how}");
            node.failure.set(TaskFailure { task: name, how });
        });
    }

    /// Completes with the first failure of any long-lived task of the whole tree.
    pub async fn failure(&self) -> TaskFailure {
        self.node.failure.happened.cancelled().await;
        let first = self
            .node
            .failure
            .first
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        first.clone().unwrap_or_else(|| TaskFailure {
            task: "unknown".into(),
            how: "ended by itself".into(),
        })
    }

    /// Cancels the subtree and waits for its tasks, at most `grace`.
    ///
    /// # Errors
    /// The names of the tasks that would not stop.
    pub async fn shutdown(&self, grace: Duration) -> Result<(), Vec<String>> {
        self.node.token.cancel();
        let all = self.subtree();
        for tasks in &all {
            tasks.node.tracker.close();
        }
        let waits = all.iter().map(|tasks| tasks.node.tracker.wait());
        match tokio::time::timeout(grace, futures_util::future::join_all(waits)).await {
            Ok(_) => Ok(()),
            Err(_) => Err(all.iter().flat_map(Tasks::running).collect()),
        }
    }

    /// The names of this node's own tasks that are running.
    pub fn running(&self) -> Vec<String> {
        let running = self
            .node
            .running
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        running.values().cloned().collect()
    }

    fn subtree(&self) -> Vec<Tasks> {
        let mut all = vec![self.clone()];
        let mut next = 0;
        while next < all.len() {
            let node = all[next].node.clone();
            all.extend(
                node.children
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .iter()
                    .cloned(),
            );
            next += 1;
        }
        all
    }
}

impl Failure {
    fn set(&self, failure: TaskFailure) {
        self.first
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert(failure);
        self.happened.cancel();
    }
}

/// Runs synchronous work (an engine call, a file) off the async threads. A panic in it goes on in the caller.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    // Awaited here, so the caller owns it.
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is going away and nothing will be awaited again.
            Err(_) => std::future::pending().await,
        },
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => (*text).to_owned(),
        (_, Some(text)) => text.clone(),
        _ => "(no text)".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(5);

    #[tokio::test(start_paused = true)]
    async fn shutdown_awaits_the_whole_subtree() {
        let root = Tasks::new();
        let child = root.child();
        let (done, mut heard) = tokio::sync::mpsc::channel(2);
        for (tasks, name) in [(&root, "root"), (&child, "child")] {
            let (token, done) = (tasks.token().clone(), done.clone());
            tasks.spawn(name, async move {
                token.cancelled().await;
                tokio::time::sleep(Duration::from_secs(1)).await;
                done.send(name).await.unwrap();
            });
        }
        drop(done);
        assert_eq!(root.shutdown(GRACE).await, Ok(()));
        let mut names = vec![heard.recv().await.unwrap(), heard.recv().await.unwrap()];
        names.sort_unstable();
        assert_eq!(names, ["child", "root"]);
    }

    #[tokio::test(start_paused = true)]
    async fn says_which_task_would_not_stop() {
        let root = Tasks::new();
        let token = root.token().clone();
        root.spawn("good", async move { token.cancelled().await });
        root.child().spawn("stubborn", std::future::pending());
        assert_eq!(root.shutdown(GRACE).await, Err(vec!["stubborn".to_owned()]));
    }

    #[tokio::test]
    async fn an_early_end_and_a_panic_are_events() {
        let root = Tasks::new();
        root.child().spawn_brief("brief", async {});
        root.child().spawn("early", async {});
        assert_eq!(
            root.failure().await.to_string(),
            "task early ended by itself"
        );
        let other = Tasks::new();
        other.spawn_brief("bad", async { panic!("at the disco") });
        assert_eq!(
            other.failure().await.to_string(),
            "task bad panicked: at the disco"
        );
    }
}
