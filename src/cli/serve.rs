//! `sidegate serve`: runs until a signal, then drains. A second signal ends it at once.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::spawn_blocking;

use super::{Failure, Globals, output};
use crate::app::Running;
use crate::app::reload::{Origin, Trigger};
use crate::clock::Clock;
use crate::config::sections::Shutdown;
use crate::config::units::Span;
use crate::config::{self, Sources};
use crate::server::descriptors;
use crate::telemetry::process;

/// Its flags.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Address to listen on, instead of the configuration's: `host:port` or `unix:/path`; port 0 = any
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Upstream, instead of the configuration's: `http://host:port`, `unix:/path`, or `NAME=URL`
    #[arg(long, value_name = "[NAME=]URL")]
    upstream: Vec<String>,
    /// Profile, instead of the configuration's
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
}

impl Args {
    fn flags(&self) -> Vec<(String, String)> {
        let mut flags = Vec::new();
        flags.extend(self.listen.iter().map(|address| ("listen".to_owned(), address.clone())));
        flags.extend(self.profile.iter().map(|name| ("profile".to_owned(), name.clone())));
        for upstream in &self.upstream {
            let is_name =
                |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
            flags.push(match upstream.split_once('=') {
                Some((name, url)) if is_name(name) => (format!("upstreams.{name}.url"), url.to_owned()),
                Some(_) | None => ("upstream".to_owned(), upstream.clone()),
            });
        }
        flags
    }
}

/// Runs it.
///
/// # Errors
/// `Exit::Configuration` for a wrong configuration; `Exit::Failed` if it cannot start.
pub fn run(args: &Args, globals: &Globals) -> Result<(), Failure> {
    let mut sources = Sources::from_globals(globals);
    sources.flags.extend(args.flags());
    let mut loaded = config::load(&sources);
    // Before the files are read: what changes from now on is a change.
    let fingerprint = loaded.fingerprint();
    let app = loaded.compile_or_report()?;
    process::install(&loaded.config.log);
    descriptors::raise(&loaded.config);
    let signals = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot wait for signals")?;
    // Before the first request may come: a signal during the start must not kill.
    let mut stop = signals.block_on(async { StopSignals::new() }).context("cannot wait for signals")?;
    let mut hang_up = signals.block_on(async { signal(SignalKind::hangup()) }).context("cannot wait for signals")?;
    let origin = Some(Origin { sources, fingerprint });
    let running = Running::start(app, &loaded.config, origin, Clock::System, Box::new(std::io::stdout()))?;
    for (_, address) in running.listeners() {
        output::note(format_args!("listening on {address}"));
    }
    signals.block_on(async {
        loop {
            tokio::select! {
                () = stop.next() => break,
                Some(()) = hang_up.recv() => {
                    let reloader = Arc::clone(running.reloader());
                    // A signal to stop does not wait for it.
                    drop(spawn_blocking(move || reloader.reload(Trigger::Signal)));
                }
            }
        }
    });
    drain(running, &signals, &mut stop);
    Ok(())
}

fn drain(running: Running, signals: &tokio::runtime::Runtime, stop: &mut StopSignals) {
    let Shutdown { drain_delay: Span(delay), drain_timeout: Span(timeout) } = running.shutdown();
    // `sidegate drain` may have begun it.
    running.leave();
    let delay = delay.saturating_sub(running.leaving_for()).min(timeout);
    tracing::info!(
        drain_delay = ?delay,
        drain_timeout = ?timeout,
        "stopping: not ready; new connections are served until drain_delay has passed, requests in flight until drain_timeout"
    );
    let hurried = signals.block_on(async {
        tokio::select! {
            () = tokio::time::sleep(delay) => false,
            () = stop.next() => true,
        }
    });
    if hurried {
        tracing::warn!("another signal: stopping at once");
        return running.stop_within(Duration::ZERO);
    }
    let stopper = running.stopper();
    let (ended, end) = tokio::sync::oneshot::channel();
    let stopping = thread::spawn(move || {
        running.stop_within(timeout.saturating_sub(delay));
        let _ = ended.send(());
    });
    signals.block_on(async {
        tokio::select! {
            _ = end => {}
            () = stop.next() => {
                tracing::warn!("another signal: stopping at once");
                stopper.stop_now();
            }
        }
    });
    let _ = stopping.join();
}

struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    fn new() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_name_the_values_they_stand_for() {
        let args = Args {
            listen: Some("127.0.0.1:0".into()),
            upstream: vec!["http://a:1".into(), "sandbox=http://b:2".into(), "unix:/run/x=y.sock".into()],
            profile: Some("gately".into()),
        };
        let flags: Vec<_> = args.flags().into_iter().map(|(path, value)| format!("{path}={value}")).collect();
        assert_eq!(
            flags,
            [
                "listen=127.0.0.1:0",
                "profile=gately",
                "upstream=http://a:1",
                "upstreams.sandbox.url=http://b:2",
                "upstream=unix:/run/x=y.sock"
            ]
        );
    }
}
