//! Access log and process log.
