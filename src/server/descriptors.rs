//! File descriptors: the soft limit is raised to the hard one, which is what a server wants and no default gives.
//! It changes the whole process, so that only the binary asks for it.

use crate::config::sections::Config;

/// Raises the limit, and warns where the configured connections exceed it.
pub fn raise(config: &Config) {
    let connections = config.listeners.iter().map(|listener| listener.limits.connections as u64).sum();
    match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(limit) if limit < connections => tracing::warn!(
            limit,
            connections,
            "[listeners.limits] connections are more than this process may open descriptors: raise the hard limit (ulimit -Hn)"
        ),
        Ok(_) => {}
        Err(error) => tracing::warn!(%error, "cannot raise the limit of open descriptors"),
    }
}
