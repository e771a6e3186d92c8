//! The hub process: ingest, store, query, evaluate, show.
