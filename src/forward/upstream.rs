//! Connections to the upstreams: one pool per worker.
