//! What a sampled request leaves for the trace that it belongs to.

use std::sync::Arc;

use super::{Record, name_of};
use crate::config::sections::EnvironmentName;
use crate::telemetry::spans::{Asked, Span};

impl Record {
    /// Once, at its end. What was not let through has no place in a trace yet; what could not be read has none at all.
    pub(super) fn trace(&mut self) {
        let Some(sampler) = self.generation.app.gate.sampler() else { return };
        if self.seen.trace.is_none() && self.asked.is_some() {
            self.seen.trace = sampler.answered();
        }
        if let Some(span) = self.span() {
            self.generation.app.spans.push(span);
        }
    }

    fn span(&self) -> Option<Span> {
        let context = self.seen.trace.filter(|context| context.sampled)?;
        let (log, identity) = (&self.generation.app.log, self.seen.identity.as_deref());
        let (method, uri) = self.asked.as_ref()?;
        let environment = identity.map(|identity| identity.environment).or(self.seen.environment);
        let asked = self.upstream.and_then(|(index, at)| {
            let target = self.generation.app.upstreams.target(index)?.clone();
            Some(Asked { target, after: at.saturating_duration_since(self.started), answered: self.upstream_ms.is_some() })
        });
        Some(Span {
            context,
            began: self.began,
            took: self.started.elapsed(),
            method: method.clone(),
            scheme: self.scribe.scheme,
            path: log.masked(uri.path()),
            template: self.seen.route.as_ref().map(|route| Arc::clone(&route.template)),
            version: self.head.as_ref().map(|head| name_of(head.version)),
            client: self.seen.client.0.and_then(|ip| log.address(ip)),
            status: self.status.map(|status| status.as_u16()),
            reason: self.refusal.as_ref().map_or("", |refusal| refusal.rejection.row().reason),
            would_refuse: self.seen.would_refuse.reasons(),
            error: self.error,
            tenant: identity.map(|identity| identity.tenant_id.clone()),
            environment: environment.map(EnvironmentName::name),
            request_id: log.masked(self.seen.request_id.as_str()),
            listener: self.scribe.listener.clone(),
            asked,
        })
    }
}
