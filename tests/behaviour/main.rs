//! What Branchline promises, shown with real programs: one module a theme. `tests/run` builds the binaries and brings the peers.

mod access;
mod alerts;
mod autonomy;
mod bad_writes;
mod compliance;
mod crash;
mod dashboards;
mod documents;
mod drop_in;
mod exemplars;
mod explosion;
mod failures;
mod federate;
mod first_run;
mod grafana;
mod http_api;
mod otlp;
mod peers;
mod query_memory;
mod query_page;
mod reload;
mod remote_read;
mod scraping;
mod setup;
