//! How samples come in: who sends (credentials), what it sends (remote write), and the answer, which says
//! "stored" only when it is on disk.

mod credentials;
mod receive;
mod unpack;
mod unpack_v2;
mod write;

pub(crate) use credentials::{BranchToken, Credentials, Identity, Secret};
pub(crate) use receive::{Answer, Ingest};
pub(crate) use write::routes;
