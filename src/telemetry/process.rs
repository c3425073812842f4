//! The process log on stderr: what the sidecar does, never what a client sent and never a secret.

use std::io::{self, IsTerminal as _};

use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt;

use crate::config::sections::{Log, LogFormat, LogLevel};

/// Installs the process log; a second call in one process changes nothing.
pub fn install(log: &Log) {
    let level = match log.level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    let text = match log.format {
        LogFormat::Json => false,
        LogFormat::Text => true,
        LogFormat::Auto => io::stderr().is_terminal(),
    };
    let builder = fmt().with_writer(io::stderr).with_max_level(level).with_ansi(text && io::stderr().is_terminal());
    let _ = if text { builder.try_init().is_ok() } else { builder.json().flatten_event(true).try_init().is_ok() };
}
