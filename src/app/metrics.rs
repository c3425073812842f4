//! `/metrics`: every number a sidecar tells, named and described here and in `deploy/README.md`. Label values come from closed
//! sets (reasons, classes, names in the configuration), never from a request, a key or a tenant.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::health::Health;
use crate::authn::{Counters, ENDINGS};
use crate::gate::SPARED;
use crate::rejection::Rejection;
use crate::telemetry::exposition::Kind::{Counter, Gauge};
use crate::telemetry::exposition::{Exposition, Kind};
use crate::telemetry::tally::{self, Histogram, Tally};
use crate::telemetry::usage::Usage;

/// Names of the classes that a tally counts by.
const CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];

/// All of it, as text.
pub(super) fn scrape(health: &Health) -> String {
    let mut text = Exposition::default();
    text.family(Gauge, "sidegate_build_info", "1, labelled with the release.");
    text.sample("sidegate_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1);
    text.one(Gauge, "sidegate_ready", "1 while requests should be sent here.", u8::from(health.readiness().0));
    requests(&mut text, health);
    connections(&mut text, health);
    management(&mut text, health);
    upstreams(&mut text, health);
    exposed(&mut text, health);
    limits(&mut text, health);
    keys(&mut text, health);
    issuers(&mut text, health);
    introspection(&mut text, health);
    idempotency(&mut text, health);
    usage(&mut text, health);
    spans(&mut text, health);
    configuration(&mut text, health);
    process(&mut text, health);
    text.into_text()
}

fn requests(text: &mut Exposition, health: &Health) {
    let tallies = health.tallies.all();
    let sum = |of: &dyn Fn(&Tally) -> u64| tallies.iter().map(|(_, tally)| of(tally)).sum::<u64>();
    text.family(Counter, "sidegate_requests_total", "Requests that ended, by listener and class of status.");
    for (listener, of) in by_listener(&tallies) {
        for (index, class) in CLASSES.iter().enumerate() {
            let count = total(of, |tally| tally.by_class.get(index).map_or(0, tally::Counter::get));
            text.sample("sidegate_requests_total", &[("listener", listener), ("code", class)], count);
        }
    }
    text.family(Counter, "sidegate_decisions_total", "Requests that ended, by what was decided: admitted, or why they were refused.");
    text.sample("sidegate_decisions_total", &[("reason", "admitted")], sum(&|tally| tally.admitted.get()));
    for (index, rejection) in Rejection::ALL.iter().enumerate().filter(|(_, rejection)| rejection.row().built) {
        let count = sum(&|tally| tally.by_rejection.get(index).map_or(0, tally::Counter::get));
        text.sample("sidegate_decisions_total", &[("reason", rejection.row().reason)], count);
    }
    let spared = "Requests let through for a time only (observed checks, older keys passed on), by what they would be refused for.";
    text.family(Counter, "sidegate_would_refuse_total", spared);
    for rejection in SPARED {
        let count = sum(&|tally| tally.would_refuse.get(rejection as usize).map_or(0, tally::Counter::get));
        text.sample("sidegate_would_refuse_total", &[("reason", rejection.row().reason)], count);
    }
    text.family(Counter, "sidegate_exchanges_ended_total", "Running requests that were ended because their credential was.");
    for rejection in ENDINGS {
        let count = sum(&|tally| tally.cut_short.get(rejection as usize).map_or(0, tally::Counter::get));
        text.sample("sidegate_exchanges_ended_total", &[("reason", rejection.row().reason)], count);
    }
    text.one(Gauge, "sidegate_requests_in_flight", "Requests that have begun and not ended.", health.tallies.in_flight());
    let cached = "Requests whose credential was known (hit), or had to be asked of the store (miss).";
    text.family(Counter, "sidegate_cache_requests_total", cached);
    text.sample("sidegate_cache_requests_total", &[("outcome", "hit")], sum(&|tally| tally.cache_hits.get()));
    text.sample("sidegate_cache_requests_total", &[("outcome", "miss")], sum(&|tally| tally.cache_misses.get()));
    histogram(
        text,
        "sidegate_auth_seconds",
        "From a request's head to the gate's verdict on it, refused or not.",
        tallies.iter().map(|(_, tally)| &tally.auth),
    );
    histogram(
        text,
        "sidegate_overhead_seconds",
        "From a request's head to its being sent on.",
        tallies.iter().map(|(_, tally)| &tally.overhead),
    );
    histogram(
        text,
        "sidegate_upstream_response_seconds",
        "From a request's being sent on to the upstream's head.",
        tallies.iter().map(|(_, tally)| &tally.upstream),
    );
}

fn connections(text: &mut Exposition, health: &Health) {
    let doors = health.reloader.doors().borrow().clone();
    text.family(Gauge, "sidegate_connections_open", "Open connections, by listener.");
    for door in &doors {
        text.sample("sidegate_connections_open", &[("listener", &door.listener.terms.load().name)], door.listener.open());
    }
    let tallies = health.tallies.all();
    text.family(Counter, "sidegate_connections_accepted_total", "Connections accepted, by listener.");
    for (listener, of) in by_listener(&tallies) {
        text.sample("sidegate_connections_accepted_total", &[("listener", listener)], total(of, |tally| tally.accepted.get()));
    }
    let refused = "Connections ended before a request: no room (overloaded), or a failed handshake or PROXY preamble (unusable).";
    text.family(Counter, "sidegate_connections_refused_total", refused);
    for (listener, of) in by_listener(&tallies) {
        let name = "sidegate_connections_refused_total";
        text.sample(name, &[("listener", listener), ("cause", "overloaded")], total(of, |tally| tally.turned_away.get()));
        text.sample(name, &[("listener", listener), ("cause", "unusable")], total(of, |tally| tally.unusable.get()));
    }
    text.family(Gauge, "sidegate_certificate_expiry_timestamp_seconds", "When the first certificate of the listener's chain expires.");
    for door in &doors {
        let terms = door.listener.terms.load();
        if let Some(expires) = terms.expires {
            text.sample("sidegate_certificate_expiry_timestamp_seconds", &[("listener", &terms.name)], expires);
        }
    }
    let is_free = !doors.iter().any(|door| &*door.listener.terms.load().name == "admin");
    if let Some(expires) = health.reloader.app().load().admin.expires.filter(|_| is_free) {
        text.sample("sidegate_certificate_expiry_timestamp_seconds", &[("listener", "admin")], expires);
    }
}

fn management(text: &mut Exposition, health: &Health) {
    let Some(tally) = health.management.get() else { return };
    text.family(Counter, "sidegate_admin_requests_total", "Requests to the management API, by route and class of status.");
    for (route, class, count) in tally.counts() {
        text.sample("sidegate_admin_requests_total", &[("route", route), ("code", class)], count);
    }
}

fn upstreams(text: &mut Exposition, health: &Health) {
    let app = health.reloader.app().load();
    let known: Vec<_> = app.upstreams.counts().collect();
    let mut family = |kind: Kind, name: &str, help: &str, of: &dyn Fn(usize) -> u64| {
        text.family(kind, name, help);
        for (index, (upstream, ..)) in known.iter().enumerate() {
            text.sample(name, &[("upstream", upstream)], of(index));
        }
    };
    let count = |index: usize| known.get(index).map(|(_, _, counts)| *counts);
    let read = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    family(Gauge, "sidegate_upstream_connections_open", "Open connections, by upstream.", &|index| {
        known.get(index).map_or(0, |(_, open, _)| *open as u64)
    });
    family(Counter, "sidegate_upstream_connects_total", "Connections that were tried, by upstream.", &|index| {
        count(index).map_or(0, |counts| read(&counts.connects))
    });
    family(Counter, "sidegate_upstream_connect_failures_total", "Those that could not be made.", &|index| {
        count(index).map_or(0, |counts| read(&counts.failures))
    });
    family(Counter, "sidegate_upstream_retries_total", "Requests sent again on another connection.", &|index| {
        count(index).map_or(0, |counts| read(&counts.retries))
    });
}

/// Whether they can be reached around the sidecar.
fn exposed(text: &mut Exposition, health: &Health) {
    let (app, found) = (health.reloader.app().load(), health.exposed.found());
    let name = "sidegate_upstream_exposed";
    text.family(Gauge, name, "1 if the upstream also answers at an address of this machine that others may reach.");
    for upstream in app.upstreams.names() {
        let is_exposed = found.iter().any(|found| found.upstream == upstream);
        text.sample(name, &[("upstream", upstream)], u8::from(is_exposed));
    }
}

fn keys(text: &mut Exposition, health: &Health) {
    let app = health.reloader.app().load();
    let authenticator = app.gate.authenticator();
    let counters = authenticator.counters();
    let told: [Told; 10] = [
        ("sidegate_cache_negative_hits_total", "Refusals of unknown keys from the cache.", |of| of.negative_hits.load(Ordering::Relaxed)),
        ("sidegate_cache_stale_hits_total", "Answers from what could not be read again in time.", |of| of.stale.load(Ordering::Relaxed)),
        ("sidegate_key_lookups_total", "Questions to the store for a key.", |of| of.key_lookups.load(Ordering::Relaxed)),
        ("sidegate_session_lookups_total", "Questions to the store for a session.", |of| of.session_lookups.load(Ordering::Relaxed)),
        ("sidegate_tenant_lookups_total", "Questions to the store for a tenant.", |of| of.tenant_lookups.load(Ordering::Relaxed)),
        ("sidegate_lookups_joined_total", "Requests that waited for another's look-up.", |of| of.joined.load(Ordering::Relaxed)),
        ("sidegate_lookups_repeated_total", "Look-ups done again for a change.", |of| of.repeated.load(Ordering::Relaxed)),
        ("sidegate_lookups_unanswered_total", "Look-ups that the store did not answer.", |of| of.unanswered.load(Ordering::Relaxed)),
        ("sidegate_records_unusable_total", "Records that could not be read or used.", |of| of.unusable.load(Ordering::Relaxed)),
        ("sidegate_store_faults_total", "Look-ups that found less than was there before.", |of| of.faults.load(Ordering::Relaxed)),
    ];
    for (name, help, of) in told {
        text.one(Counter, name, help, of(counters));
    }
    text.family(Gauge, "sidegate_cache_entries", "What is held in the cache: keys, and refusals of unknown ones.");
    text.sample("sidegate_cache_entries", &[("kind", "key")], authenticator.cached_keys());
    text.sample("sidegate_cache_entries", &[("kind", "refusal")], authenticator.cached_refusals());
    text.one(Gauge, "sidegate_store_reachable", "1 while the store answers.", u8::from(authenticator.store_status().reachable));
    if let Some(heard) = authenticator.heard_at() {
        let name = "sidegate_change_log_heard_timestamp_seconds";
        text.one(Gauge, name, "Up to when all changes are applied here.", heard.0 / 1000);
    }
    text.one(Gauge, "sidegate_change_log_position", "How far the store's change log has been applied here.", app.fleet.position().0);
    text.one(Gauge, "sidegate_fleet_sidecars", "Sidecars that serve from this store, this one included.", app.fleet.sidecars());
}

/// Of issuers whose keys are read from a URL.
fn issuers(text: &mut Exposition, health: &Health) {
    let app = health.reloader.app().load();
    let remote: Vec<_> =
        app.gate.issuers().iter().filter_map(|issuer| Some((&*issuer.name, &*issuer.keys, issuer.keys.counters()?))).collect();
    if remote.is_empty() {
        return;
    }
    text.family(Counter, "sidegate_jwks_reads_total", "Questions for an issuer's keys, by what came of them.");
    for (issuer, _, (counters, _)) in &remote {
        for (outcome, count) in [("read", &counters.read), ("failed", &counters.failed)] {
            text.sample("sidegate_jwks_reads_total", &[("issuer", issuer), ("outcome", outcome)], count.load(Ordering::Relaxed));
        }
    }
    text.family(Counter, "sidegate_jwks_spared_total", "Tokens with an unknown key for which nobody was asked, since somebody just was.");
    for (issuer, _, (counters, _)) in &remote {
        text.sample("sidegate_jwks_spared_total", &[("issuer", issuer)], counters.spared.load(Ordering::Relaxed));
    }
    text.family(Gauge, "sidegate_jwks_keys", "Keys of an issuer that are in use.");
    for (issuer, keys, _) in &remote {
        text.sample("sidegate_jwks_keys", &[("issuer", issuer)], keys.len() as u64);
    }
    text.family(Gauge, "sidegate_jwks_read_timestamp_seconds", "When they were read last.");
    for (issuer, _, (_, read)) in &remote {
        text.sample("sidegate_jwks_read_timestamp_seconds", &[("issuer", issuer)], read.map_or(0, |read| read.0 / 1000));
    }
}

/// Of who is asked about tokens that say nothing themselves.
fn introspection(text: &mut Exposition, health: &Health) {
    let app = health.reloader.app().load();
    let Some(introspection) = app.gate.issuers().introspection() else { return };
    let (counters, name) = (introspection.counters(), "sidegate_introspections_total");
    text.family(Counter, name, "Questions about tokens that say nothing themselves, by what came of them.");
    for (outcome, count) in
        [("active", &counters.active), ("inactive", &counters.inactive), ("failed", &counters.failed), ("spared", &counters.spared)]
    {
        text.sample(name, &[("outcome", outcome)], count.load(Ordering::Relaxed));
    }
}

fn limits(text: &mut Exposition, health: &Health) {
    let app = health.reloader.app().load();
    let counts = app.gate.counts();
    let refusals = "Requests refused, by the limit that did it; `(record)` are those that keys and tenants carry.";
    text.family(Counter, "sidegate_limit_refusals_total", refusals);
    for (limit, refused) in app.gate.limits().refused().chain([("(record)", counts.refused_by_records())]) {
        text.sample("sidegate_limit_refusals_total", &[("limit", limit)], refused);
    }
    let [local, fleet] = counts.buckets();
    text.family(Gauge, "sidegate_limit_buckets", "Buckets held: of this sidecar's own, and portions of the fleet's.");
    text.sample("sidegate_limit_buckets", &[("counted", "local")], local);
    text.sample("sidegate_limit_buckets", &[("counted", "fleet")], fleet);
    let [asked, unanswered] = counts.questions();
    text.one(Counter, "sidegate_limit_store_operations_total", "Questions to the store about portions of the fleet's buckets.", asked);
    text.one(Counter, "sidegate_limit_store_failures_total", "Those that it did not answer.", unanswered);
}

fn idempotency(text: &mut Exposition, health: &Health) {
    let app = health.reloader.app().load();
    let counters = app.ledger.counters();
    let name = "sidegate_idempotent_requests_total";
    text.family(
        Counter,
        name,
        "Requests with an Idempotency-Key, by what became of them; those that were refused are among the decisions.",
    );
    for (outcome, counter) in [
        ("kept", &counters.kept),
        ("unkept", &counters.full),
        ("released", &counters.released),
        ("unknown", &counters.unknown),
        ("lost", &counters.lost),
        ("replayed", &counters.replayed),
        ("unprotected", &counters.unprotected),
    ] {
        text.sample(name, &[("outcome", outcome)], counter.load(Ordering::Relaxed));
    }
}

fn usage(text: &mut Exposition, health: &Health) {
    let app = health.reloader.app().load();
    let counters = app.usage.counters();
    let mut by = |name: &str, help: &str, label: &str, told: &[(&str, &AtomicU64)]| {
        text.family(Counter, name, help);
        for (value, counter) in told {
            text.sample(name, &[(label, *value)], counter.load(Ordering::Relaxed));
        }
    };
    by(
        "sidegate_usage_flushes_total",
        "Exchanges with the store that add usage: taken, put off (it is kept and flushed again), or without an answer.",
        "outcome",
        &[("written", &counters.written), ("deferred", &counters.deferred), ("unknown", &counters.unknown)],
    );
    by(
        "sidegate_usage_requests_lost_total",
        "Requests that usage may not have counted: no room, or the store did not say whether it has.",
        "cause",
        &[("no_room", &counters.requests_over), ("unknown", &counters.requests_unknown)],
    );
    by(
        "sidegate_usage_denials_total",
        "Refusals for `sidegate denials`: written, left out because there were so many, or the store did not say.",
        "outcome",
        &[("written", &counters.denials_written), ("left_out", &counters.denials_over), ("unknown", &counters.denials_unknown)],
    );
}

fn spans(text: &mut Exposition, health: &Health) {
    let name = "sidegate_trace_requests_total";
    let app = health.reloader.app().load();
    let counts = &app.spans.counts;
    text.family(Counter, name, "Requests that were sampled for a trace, by what became of their spans.");
    for (outcome, counter) in [("sent", &counts.sent), ("dropped", &counts.dropped), ("refused", &counts.refused)] {
        text.sample(name, &[("outcome", outcome)], counter.load(Ordering::Relaxed));
    }
}

fn configuration(text: &mut Exposition, health: &Health) {
    let standing = health.reloader.standing();
    text.family(Counter, "sidegate_reloads_total", "Reloads of the configuration, by outcome.");
    text.sample("sidegate_reloads_total", &[("outcome", "applied")], standing.applied);
    text.sample("sidegate_reloads_total", &[("outcome", "refused")], standing.refused);
    let successful = "1 unless the latest reload was refused.";
    text.one(Gauge, "sidegate_config_last_reload_successful", successful, u8::from(standing.is_current()));
    text.one(Gauge, "sidegate_config_since_timestamp_seconds", "Since when the configuration is in use.", standing.since.0 / 1000);
}

fn process(text: &mut Exposition, health: &Health) {
    let dropped = "Lines of the access log that found its buffer full.";
    text.one(Counter, "sidegate_access_log_lines_dropped_total", dropped, health.reloader.writer().dropped());
    let usage = Usage::read();
    if let Some(bytes) = usage.resident_bytes {
        text.one(Gauge, "process_resident_memory_bytes", "Bytes in memory.", bytes);
    }
    if let Some(open) = usage.open_fds {
        text.one(Gauge, "process_open_fds", "Open file descriptors.", open);
    }
    if let Some(max) = usage.max_fds {
        text.one(Gauge, "process_max_fds", "File descriptors that may be open.", max);
    }
    if let Some(seconds) = usage.cpu_seconds {
        text.one(Counter, "process_cpu_seconds_total", "Processor time used.", seconds);
    }
    text.one(Gauge, "process_start_time_seconds", "When the process started.", health.started_at.0 / 1000);
}

type Named = (Arc<str>, Arc<Tally>);

/// A counter of the key table: name, help, value.
type Told = (&'static str, &'static str, fn(&Counters) -> u64);

/// Tallies come in the order of names.
fn by_listener(tallies: &[Named]) -> Vec<(&str, &[Named])> {
    tallies.chunk_by(|a, b| a.0 == b.0).filter_map(|of| Some((&*of.first()?.0, of))).collect()
}

fn total(tallies: &[Named], of: impl Fn(&Tally) -> u64) -> u64 {
    tallies.iter().map(|(_, tally)| of(tally)).sum()
}

fn histogram<'a, const N: usize>(text: &mut Exposition, name: &str, help: &str, all: impl Iterator<Item = &'a Histogram<N>> + Clone) {
    let Some(first) = all.clone().next() else { return };
    let (mut counts, mut sum_us) = (vec![0; N + 1], 0);
    for (of, us) in all.map(Histogram::read) {
        counts.iter_mut().zip(of).for_each(|(count, more)| *count += more);
        sum_us += us;
    }
    text.histogram(name, help, first.bounds(), &counts, sum_us);
}
