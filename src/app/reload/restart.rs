//! What a running process cannot change: its threads, its own sockets, its process log.

use crate::config::sections::Config;

type Differs = fn(&Config, &Config) -> bool;

const FIXED: [(&str, Differs); 6] = [
    ("runtime.workers", |a, b| a.runtime.workers != b.runtime.workers),
    ("ops.listen", |a, b| a.ops.listen != b.ops.listen),
    ("admin.listen", |a, b| a.admin.listen != b.admin.listen),
    ("ops.socket", |a, b| a.ops.socket != b.ops.socket),
    ("log.level", |a, b| a.log.level != b.log.level),
    ("log.format", |a, b| a.log.format != b.log.format),
];

/// The settings of `now` that need a restart, for a process that was started with `started`.
pub(super) fn needed(started: &Config, now: &Config) -> Vec<&'static str> {
    FIXED.iter().filter(|(_, differs)| differs(started, now)).map(|(key, _)| *key).collect()
}
