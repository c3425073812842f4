//! Rate limits and quotas: the gate's last step. All limits of a request are taken together: if one refuses, the others get theirs back,
//! and the strictest answers. From what is counted here a request is answered at once; a bucket of the fleet that nobody here has used
//! waits for one answer of the store.

mod compile;
mod counts;
mod desk;
pub mod gcra;
mod lease;
mod look;
pub mod own;
mod rule;
mod table;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use http::{HeaderMap, HeaderName, HeaderValue};
use smallvec::SmallVec;

use crate::clock::{Timestamp, instant};
use crate::config::sections::EnvironmentName;
use crate::rejection::{Refusal, Rejection};
pub(crate) use compile::{DEFAULTS, set_of};
pub use counts::Counts;
pub use desk::Desk;
pub use look::Look;
pub use rule::{Own, Who};

use counts::{Portion, Took};
use own::OwnLimits;
use rule::{Item, Rule};
use table::Name;

/// What a client is told of its limits: `draft-ietf-httpapi-ratelimit-headers-11`, structured fields.
pub const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
/// The limits themselves.
pub const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// The limits of the configuration, by route and environment.
#[derive(Debug)]
pub struct Limits {
    /// Every limit once, for metrics.
    all: Vec<Arc<Rule>>,
    /// By [`crate::route::Route::limits`], then by environment: live, test, none.
    sets: Vec<[Set; 3]>,
}

/// Limits that apply together.
#[derive(Debug)]
struct Set {
    rules: Box<[Arc<Rule>]>,
    /// `RateLimit-Policy` of them.
    policy: Option<HeaderValue>,
}

/// What the client of a limited request is told.
#[derive(Debug)]
pub struct Told {
    policy: Option<HeaderValue>,
    /// The strictest limit.
    state: Option<Item>,
    /// Whole seconds until it is worth another try, where it was refused.
    pub retry_after_secs: Option<u64>,
}

/// What came of a request.
pub(crate) enum Attempt {
    /// Admitted or refused.
    Settled(Result<(), Refusal>, Option<Told>),
    /// The store's answer decides.
    Waits(Cold),
}

/// A bucket of the fleet that has nothing here.
pub(crate) struct Cold(Arc<Portion>);

/// The limits of one request, each with its bucket.
type Named<'r> = SmallVec<[(&'r Rule, Name); 4]>;

impl Limits {
    /// What was refused counts on, where a limit keeps its name.
    pub fn follow(&self, earlier: &Self) {
        for rule in &self.all {
            if let Some(before) = earlier.all.iter().find(|before| before.kind == rule.kind && before.name == rule.name) {
                rule.follow(before);
            }
        }
    }

    /// Limits by name, and the requests that each has refused.
    pub fn refused(&self) -> impl Iterator<Item = (&str, u64)> {
        self.all.iter().map(|rule| (&*rule.name, rule.refused()))
    }

    /// Takes one request from all limits that apply. Ready at once, unless the store must be asked.
    pub(crate) fn admit(&self, counts: &Arc<Counts>, who: &Who<'_>, now: Timestamp) -> Attempt {
        let (set, own) = self.applying(who);
        if set.is_none_or(|set| set.rules.is_empty()) && own.is_none() {
            return Attempt::Settled(Ok(()), None);
        }
        let mut taken: Named<'_> = SmallVec::new();
        let mut strictest: Option<(&Rule, u64, u64)> = None;
        for rule in rules(set, own) {
            let name = counts.name(rule, who);
            let refused_for = match counts.take(rule, name, who, now) {
                Took::Admitted { left, reset_ms } => {
                    taken.push((rule, name));
                    if strictest.is_none_or(|(_, least, _)| left < least) {
                        strictest = Some((rule, left, reset_ms));
                    }
                    continue;
                }
                Took::Waits(portion) => {
                    give_back(counts, &taken);
                    return Attempt::Waits(Cold(portion));
                }
                Took::Refused(wait_ms) => Some(wait_ms),
                Took::Unavailable => None,
            };
            give_back(counts, &taken);
            return refuse(counts, who, (set, own), rule, refused_for, now);
        }
        let state = strictest.map(|(rule, left, reset_ms)| rule.item(left, reset_ms));
        Attempt::Settled(Ok(()), Some(Told { policy: policy(set, own), state, retry_after_secs: None }))
    }

    /// The same where the store must be asked first.
    pub(crate) async fn admit_cold(
        &self,
        counts: &Arc<Counts>,
        who: &Who<'_>,
        now: Timestamp,
        cold: Cold,
    ) -> (Result<(), Refusal>, Option<Told>) {
        let (began, mut cold) = (instant(), cold);
        loop {
            counts.wait(&cold.0, now).await;
            let now = now.plus_millis(i64::try_from(began.elapsed().as_millis()).unwrap_or(0));
            match self.admit(counts, who, now) {
                Attempt::Settled(verdict, told) => return (verdict, told),
                Attempt::Waits(again) => cold = again,
            }
            if began.elapsed() > counts.desk().patience.saturating_mul(PATIENCE) {
                return (Err(Rejection::Overloaded.because("more requests of one limit wait for the store than it gives")), None);
            }
        }
    }

    /// What applies to a request: the route's limits and the quotas, and those that its records carry.
    fn applying<'a>(&'a self, who: &Who<'a>) -> (Option<&'a Set>, Option<&'a OwnLimits>) {
        let environment = match who.identity.map(|identity| identity.environment) {
            Some(EnvironmentName::Live) => 0,
            Some(EnvironmentName::Test) => 1,
            None => 2,
        };
        let set = who.route.limits.and_then(|index| self.sets.get(index)).and_then(|sets| sets.get(environment));
        (set, who.identity.and_then(|identity| identity.particulars().limits.as_deref()))
    }
}

/// How often a request may find that others were faster, in times that anybody waits for the store.
const PATIENCE: u32 = 4;

fn give_back(counts: &Counts, taken: &Named<'_>) {
    for (rule, name) in taken {
        counts.give_back(rule, *name);
    }
}

fn rules<'a>(set: Option<&'a Set>, own: Option<&'a OwnLimits>) -> impl Iterator<Item = &'a Rule> {
    set.into_iter().flat_map(|set| set.rules.iter().map(Arc::as_ref)).chain(own.into_iter().flat_map(OwnLimits::rules))
}

fn policy(set: Option<&Set>, own: Option<&OwnLimits>) -> Option<HeaderValue> {
    let of_set = set.and_then(|set| set.policy.as_ref());
    match (of_set, own) {
        (of_set, None) => of_set.cloned(),
        (None, Some(own)) => own.policy.clone(),
        (Some(_), Some(_)) => policy_of(rules(set, own)),
    }
}

fn policy_of<'a>(rules: impl Iterator<Item = &'a Rule>) -> Option<HeaderValue> {
    let items: Vec<&str> = rules.map(|rule| rule.policy.as_str()).collect();
    if items.is_empty() { None } else { items.join(", ").try_into().ok() }
}

/// The strictest limit answers: the one that refuses longest.
#[cold]
fn refuse(
    counts: &Counts,
    who: &Who<'_>,
    (set, own): (Option<&Set>, Option<&OwnLimits>),
    first: &Rule,
    wait_ms: Option<u64>,
    now: Timestamp,
) -> Attempt {
    let Some(mut wait_ms) = wait_ms else {
        let refusal = Rejection::StoreUnavailable.because(format!("limit {} cannot be counted: the store does not answer", first.name));
        return Attempt::Settled(Err(refusal), Some(Told { policy: policy(set, own), state: None, retry_after_secs: None }));
    };
    let mut strictest = first;
    for rule in rules(set, own).filter(|rule| !std::ptr::eq(*rule, first)) {
        if let Some(wait) = counts.wait_ms(rule, counts.name(rule, who), now).filter(|wait| *wait > wait_ms) {
            (strictest, wait_ms) = (rule, wait);
        }
    }
    if strictest.kind.is_configured() {
        strictest.refuse();
    } else {
        counts.refused_by_records.fetch_add(1, Ordering::Relaxed);
    }
    let refusal = strictest.rejection().because(format!("limit {}: {}", strictest.name, strictest.words));
    let told =
        Told { policy: policy(set, own), state: Some(strictest.item(0, wait_ms)), retry_after_secs: Some(wait_ms.div_ceil(1000).max(1)) };
    Attempt::Settled(Err(refusal), Some(told))
}

impl Told {
    /// Sets the headers; what the upstream says of limits of its own is replaced.
    pub fn tell(&self, headers: &mut HeaderMap) {
        if let Some(policy) = &self.policy {
            headers.insert(RATE_LIMIT_POLICY, policy.clone());
        }
        match self.state.as_ref().and_then(Item::to_value) {
            Some(state) => drop(headers.insert(RATE_LIMIT, state)),
            None => drop(headers.remove(RATE_LIMIT)),
        }
    }
}
