//! Which bytes do we exchange?
//!
//! One format, one module, both directions:
//!
//! - [`exposition`]: the text a target answers when it is scraped (classic Prometheus text and OpenMetrics), and the
//!   classic text that `/federate` and `/metrics` write;
//! - [`remote_write`]: remote write 1.0 and 2.0, Snappy block and protobuf, bounded before anything is allocated;
//! - [`otlp`]: OpenTelemetry's metrics, protobuf and JSON, and the series that they become;
//! - [`remote_read`]: what a reader of stored samples asks, and both kinds of answer: samples, and streamed chunks;
//! - [`alertmanager`]: what goes to Alertmanager's v2 API, and the webhook message it sends;
//! - [`line`]: the line batch between edge and hub, under a byte a sample ([its format](../FORMAT.md));
//! - [`selector`]: the selectors of `match[]`;
//! - [`edge_headers`]: the headers with which an edge says which part of its buffer a request carries.
//!
//! Not in it: sockets, HTTP status codes, files, clocks. Whoever receives decides what a refusal means; the errors here
//! only say what is wrong with the bytes and where.

pub mod alertmanager;
pub mod edge_headers;
pub mod exposition;
pub mod line;
pub mod otlp;
pub mod remote_read;
pub mod remote_write;
pub mod selector;
