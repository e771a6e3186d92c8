//! How samples come in: who sends (credentials), what it sends (remote write, OTLP), and the answer, which says
//! "stored" only when it is on disk.

mod credentials;
mod exemplars;
mod otlp;
mod receive;
mod unpack;
mod unpack_v2;
mod write;

pub(crate) use credentials::{BranchToken, Credentials, Identity, Secret};
pub(crate) use otlp::OtlpReceiver;
pub(crate) use receive::{Answer, Ingest, durable};
pub(crate) use unpack::proven_labels;
pub(crate) use write::{identify, routes};
