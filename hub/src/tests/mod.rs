//! The hub as its clients see it: in this process, over HTTP, with simulated time and a simulated disk.

mod admin;
mod api;
mod api_errors;
mod api_more;
mod durability;
mod edge_clock;
mod exemplars;
mod features;
mod harness;
mod ingest;
mod ingest_v2;
mod line;
mod line_edge;
mod line_load;
mod line_turns;
mod metadata;
mod otlp;
mod pages;
mod range_cache;
mod readers;
mod reload;
mod remote_read;
mod ruler;
mod status;
