use bytes::Bytes;
use daemon::Tasks;
use futures_util::future::BoxFuture;
use tokio::sync::mpsc;

/// Messages that wait on their way in or out of a connection.
pub(super) const MESSAGES_MAX: usize = 64;

/// The way to a hub that speaks the line.
pub trait LineLink: Send + Sync + 'static {
    /// Opens a connection; what carries it runs in `tasks`, and ends when either channel is dropped.
    fn connect(&self, tasks: &Tasks) -> BoxFuture<'static, Result<LineConnection, NoLine>>;
}

/// An open connection: messages as in `wire::line::link`.
pub struct LineConnection {
    /// Messages to the hub.
    pub to_hub: mpsc::Sender<Bytes>,
    /// Messages of the hub; after the last one, why it ended.
    pub from_hub: mpsc::Receiver<Result<Bytes, String>>,
}

/// Why there is no connection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoLine {
    /// Who answers there does not know the line: remote write is what is left.
    #[error("no line there: {0}")]
    NotSpoken(String),
    /// Nobody answers, or not now.
    #[error("{0}")]
    Failed(String),
}
