//! What a sidecar knows of itself while it runs: whether it should be sent requests, and why not; its way out.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::Snapshot;
use super::exposed::Exposed;
use super::reload::Reloader;
use super::running::Stopper;
use crate::admin::Tally;
use crate::clock::{Timestamp, instant};
use crate::server::life::Stage;
use crate::telemetry::tally::Tallies;

/// A sidecar's knowledge of itself.
#[derive(Debug)]
pub(crate) struct Health {
    /// What it runs with.
    pub(crate) reloader: Arc<Reloader>,
    /// What the workers count.
    pub(crate) tallies: Arc<Tallies>,
    /// Upstreams that can be reached around it.
    pub(crate) exposed: Exposed,
    /// What the admin listener is asked, where there is one.
    pub(crate) management: OnceLock<Tally>,
    stage: Stopper,
    serving: AtomicBool,
    left: OnceLock<Instant>,
    /// Whether the store was ever seen to answer.
    store_met: AtomicBool,
    /// When it started.
    pub(crate) started_at: Timestamp,
    started: Instant,
}

impl Health {
    /// Of a sidecar that starts now.
    pub(crate) fn new(reloader: Arc<Reloader>, stage: Stopper, now: Timestamp) -> Self {
        let store_met = AtomicBool::new(reloader.app().load().gate.authenticator().store_status().reachable);
        Self {
            reloader,
            tallies: Arc::default(),
            exposed: Exposed::default(),
            management: OnceLock::new(),
            stage,
            serving: AtomicBool::new(false),
            left: OnceLock::new(),
            store_met,
            started_at: now,
            started: instant(),
        }
    }

    /// The workers accept.
    pub(crate) fn serve(&self) {
        self.serving.store(true, Ordering::Release);
    }

    /// The sidecar is on its way out: not ready, and every answer closes its connection.
    pub(crate) fn leave(&self) {
        self.left.get_or_init(instant);
        self.stage.advance(Stage::Leave);
    }

    /// How long it has been leaving.
    pub(crate) fn leaving_for(&self) -> Option<Duration> {
        self.left.get().map(Instant::elapsed)
    }

    /// How long it has been running.
    pub(crate) fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// In one word.
    pub(crate) fn state(&self) -> &'static str {
        match (self.serving.load(Ordering::Acquire), self.left.get()) {
            (_, Some(_)) => "draining",
            (true, None) => "serving",
            (false, None) => "starting",
        }
    }

    /// Whether requests should be sent here, and every check with its outcome, one a line.
    pub(crate) fn readiness(&self) -> (bool, String) {
        let mut report = String::new();
        let state = self.state();
        report.push_str(match state {
            "serving" => "[+]workers ok\n",
            "draining" => "[-]workers draining\n",
            _ => "[-]workers starting\n",
        });
        let app = self.reloader.app().load();
        let store = app.gate.authenticator().store_status();
        self.store_met.fetch_or(store.reachable, Ordering::AcqRel);
        let store_met = self.store_met.load(Ordering::Acquire) || app.gate.authenticator().has_warm_start();
        if store.reachable {
            report.push_str("[+]store ok\n");
        } else {
            let since = store.since.map(|since| format!(" since {since}")).unwrap_or_default();
            let cure = if store.detail.contains("NOAUTH") { " (set [store] password_file)" } else { "" };
            let weight = if store_met { " (not required for ready)" } else { "" };
            let _ = writeln!(report, "[-]store unreachable{since}: {}{cure}{weight}", store.detail);
        }
        freshness(&mut report, &app, self.reloader.now());
        let standing = self.reloader.standing();
        match standing.last_reload.as_ref().filter(|_| !standing.is_current()) {
            None => drop(writeln!(report, "[+]configuration ok (generation {})", standing.generation)),
            Some(refused) => {
                let first = refused.problems.first().map_or("", String::as_str);
                let _ = writeln!(
                    report,
                    "[!]configuration refused at {}: {first}; the one of {} is in use (not required for ready)",
                    refused.at, standing.since
                );
            }
        }
        if app.gate.guard().saw_undeclared_ingress() {
            report.push_str("[!]guess guard off: private peers send forwarding headers, and client_ip.trusted_proxies is empty\n");
        }
        for found in self.exposed.found() {
            let _ = writeln!(report, "[!]{found} (not required for ready)");
        }
        for (_, note) in app.gate.lenience().notes(self.reloader.now()) {
            let _ = writeln!(report, "[!]{note}");
        }
        (state == "serving" && store_met, report)
    }
}

/// How true what is cached is.
fn freshness(report: &mut String, app: &Snapshot, now: Timestamp) {
    let (authenticator, position) = (app.gate.authenticator(), app.fleet.position().0);
    let silent = authenticator.heard_at().map(|at| now.0.saturating_sub(at.0));
    let _ = match silent {
        Some(silent) if authenticator.is_heard(now) => writeln!(report, "[+]change log ok: at {position}, heard {silent} ms ago"),
        Some(silent) => writeln!(report, "[!]change log at {position}, not heard for {silent} ms: cached keys are read again before use"),
        None => writeln!(report, "[!]change log never heard: cached keys are read again before use"),
    };
    let (keys, refusals) = (authenticator.cached_keys(), authenticator.cached_refusals());
    let _ = writeln!(report, "[+]cache ok: {keys} keys, {refusals} refusals of unknown ones");
    let _ = match app.fleet.unheard() {
        None => writeln!(report, "[+]sidecars on this store: {}", app.fleet.sidecars()),
        Some(why) => {
            writeln!(report, "[!]sidecars on this store: this one cannot write itself down, and --wait does not wait for it: {why}")
        }
    };
}
