//! One limit, compiled: of `[rate_limits]`, of `[quotas]`, or a key's or tenant's own. Whom it counts together, by what, and its words.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Cursor;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use aws_lc_rs::digest::{Context, SHA256};
use bytes::Bytes;
use http::HeaderValue;
use serde::Deserialize;

use super::gcra::Pace;
use super::lease::{GAP_MS, Terms};
use crate::config::sections::{Counted, EnvironmentName, LimitBy, OnUnavailable, Quota, QuotaPeriod, RateLimit};
use crate::config::units::Span;
use crate::identity::{Bearer, Identity};
use crate::net::throttle_unit;
use crate::rejection::Rejection;
use crate::route::Route;
use crate::store::draw::Budget;

/// Largest number of requests.
const REQUESTS_MAX: u64 = 1_000_000_000;
/// Names of a key's own limit and of a tenant's.
pub(super) const OWN: [&str; 2] = ["key-record", "tenant-record"];
/// Longest item of `RateLimit`: a name and two numbers.
const ITEM_MAX: usize = 128;
/// Bytes of a bucket's name in the store.
const NAME_BYTES: usize = 16;

/// Where a limit comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Rate,
    Quota,
    /// A key's own.
    Key,
    /// A tenant's own.
    Tenant,
}

impl Kind {
    /// Whether the configuration has it; else a record does.
    pub(super) const fn is_configured(self) -> bool {
        matches!(self, Self::Rate | Self::Quota)
    }
}

/// How it is counted.
#[derive(Debug, Clone, Copy)]
pub(super) enum Count {
    /// In each process.
    Local(Pace),
    /// By all sidecars of the store.
    Fleet(Terms),
}

/// Whose request it is.
#[derive(Debug, Clone, Copy)]
pub struct Who<'a> {
    /// Who is calling; `None` on an open route.
    pub identity: Option<&'a Identity>,
    /// From where.
    pub client: Option<IpAddr>,
    /// What.
    pub route: &'a Route,
}

/// One limit.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) kind: Kind,
    pub(super) name: Box<str>,
    /// What it says, for `explain`.
    pub(super) words: String,
    /// Where.
    pub(super) path: String,
    pub(super) count: Count,
    /// Its item of `RateLimit-Policy`.
    pub(super) policy: String,
    by: Box<[LimitBy]>,
    /// Of all that makes it what it is: a limit that is changed begins anew.
    print: u64,
    /// What its item of `RateLimit` begins with.
    item: Bytes,
    refused: AtomicU64,
}

/// An item of `RateLimit`.
#[derive(Debug)]
pub(super) struct Item {
    begins: Bytes,
    left: u64,
    reset_secs: u64,
}

impl Item {
    /// Written: one allocation.
    pub(super) fn to_value(&self) -> Option<HeaderValue> {
        use std::io::Write as _;
        let mut text = Cursor::new([0; ITEM_MAX]);
        text.write_all(&self.begins).and_then(|()| write!(text, "{};t={}", self.left, self.reset_secs)).ok()?;
        let length = usize::try_from(text.position()).ok()?;
        HeaderValue::from_bytes(text.get_ref().get(..length)?).ok()
    }
}

/// What a record says of its own limit.
#[derive(Debug, Deserialize)]
pub struct Own {
    requests: u64,
    per: Span,
    burst: Option<u64>,
    #[serde(default = "in_the_fleet")]
    counted: Counted,
    #[serde(default)]
    on_unavailable: OnUnavailable,
}

const fn in_the_fleet() -> Counted {
    Counted::Fleet
}

impl Own {
    /// Reads it.
    ///
    /// # Errors
    /// What cannot be read.
    pub fn parse(written: &serde_json::Value) -> Result<Self, String> {
        if !written.is_object() {
            return Err("rate_limit: an object with `requests` and `per` is needed".into());
        }
        Self::deserialize(written).map_err(|error| format!("rate_limit: {error}"))
    }

    /// Whether who is held by the other is held by this too, whatever they send and whether or not the store answers.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        let rate = |of: &Self, per: &Self| u128::from(of.requests) * per.per.0.as_millis();
        let burst = |own: &Self| own.burst.unwrap_or(own.requests);
        let is_local = self.counted == Counted::Local;
        rate(other, self) <= rate(self, other)
            && burst(other) <= burst(self)
            && (is_local || other.counted == Counted::Fleet)
            && (is_local || self.on_unavailable == OnUnavailable::Local || other.on_unavailable == OnUnavailable::Deny)
    }
}

impl Rule {
    /// Of `[rate_limits.NAME]`.
    pub(super) fn of_section(name: &str, path: String, section: &RateLimit) -> Result<Self, String> {
        Self::rate(Kind::Rate, name, path, section)
    }

    /// Of `[quotas.NAME]`.
    pub(super) fn of_quota(name: &str, path: String, section: &Quota) -> Result<Self, String> {
        let requests = within("requests", section.requests)?;
        let (window, period) = match section.per {
            QuotaPeriod::Day => (86_400, "day"),
            QuotaPeriod::Month => (30 * 86_400, "month"),
        };
        let terms = Terms { budget: Budget::Quota { requests, period: section.per }, pace: None, on_unavailable: OnUnavailable::Local };
        let words = format!("{requests} per {period}");
        let print = print_of(&(requests, section.per as u8, section.by.iter().map(|by| *by as u8).collect::<Vec<_>>()));
        Ok(Self::new(Kind::Quota, name, path, words, Count::Fleet(terms), &section.by, (requests, window), print))
    }

    /// A record's own: [`Kind::Key`] or [`Kind::Tenant`].
    pub(super) fn of_record(kind: Kind, id: &str, written: &serde_json::Value) -> Result<Self, String> {
        let own = Own::parse(written)?;
        let [of_key, of_tenant] = OWN;
        let (name, by) = if kind == Kind::Key { (of_key, LimitBy::Key) } else { (of_tenant, LimitBy::Tenant) };
        let Own { requests, per, burst, counted, on_unavailable } = own;
        let section = RateLimit { by: vec![by], requests, per, burst, counted, on_unavailable, default: false };
        Self::rate(kind, name, format!("record of {id}, rate_limit"), &section).map_err(|why| format!("rate_limit: {why}"))
    }

    fn rate(kind: Kind, name: &str, path: String, section: &RateLimit) -> Result<Self, String> {
        let requests = within("requests", section.requests)?;
        let burst = within("burst", section.burst.unwrap_or(requests))?;
        let per_ms = u64::try_from(section.per.as_millis()).unwrap_or(0);
        if per_ms == 0 {
            return Err("`per` must be more than 0".into());
        }
        let pace = Pace::new(requests, per_ms, burst).ok_or("so many requests in so long a time cannot be counted")?;
        let count = match section.counted {
            Counted::Local => Count::Local(pace),
            Counted::Fleet => {
                // What gathers between two questions of a busy sidecar must not be lost.
                let gathers = (u128::from(requests) * u128::from(GAP_MS.unsigned_abs())).div_ceil(u128::from(per_ms));
                let capacity = burst.max(u64::try_from(gathers).unwrap_or(burst));
                let budget = Budget::Rate { requests, per_ms, capacity };
                Count::Fleet(Terms { budget, pace: Some(pace), on_unavailable: section.on_unavailable })
            }
        };
        let by_whom = if section.counted == Counted::Fleet { "all sidecars together" } else { "each sidecar" };
        let words = format!("{requests} per {}, {burst} at once, by {by_whom}", section.per);
        let by: Vec<u8> = section.by.iter().map(|by| *by as u8).collect();
        let print = print_of(&(requests, per_ms, burst, section.counted as u8, section.on_unavailable as u8, by));
        // Of a period under a second what comes to one.
        let (quota, window) = if per_ms < 1000 { (requests.saturating_mul(1000) / per_ms, 1) } else { (requests, per_ms.div_ceil(1000)) };
        Ok(Self::new(kind, name, path, words, count, &section.by, (quota, window), print))
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one limit")]
    fn new(kind: Kind, name: &str, path: String, words: String, count: Count, by: &[LimitBy], shown: (u64, u64), print: u64) -> Self {
        Self {
            kind,
            name: name.into(),
            words,
            path,
            count,
            policy: format!("\"{name}\";q={};w={}", shown.0, shown.1),
            by: by.into(),
            print: print_of(&(kind as u8, name, print)),
            item: format!("\"{name}\";r=").into(),
            refused: AtomicU64::new(0),
        }
    }

    /// Why a request over it is refused.
    pub(super) const fn rejection(&self) -> Rejection {
        match self.kind {
            Kind::Quota => Rejection::QuotaExhausted,
            Kind::Rate | Kind::Key | Kind::Tenant => Rejection::RateLimited,
        }
    }

    /// Whether it counts by something that an open route does not know.
    pub(super) fn needs_caller(&self) -> bool {
        self.by.iter().any(|by| matches!(by, LimitBy::Key | LimitBy::Tenant | LimitBy::Subject))
    }

    /// Its item of `RateLimit`: so many are left, and in so many milliseconds all are there again.
    pub(super) fn item(&self, left: u64, reset_ms: u64) -> Item {
        Item { begins: self.item.clone(), left, reset_secs: reset_ms.div_ceil(1000) }
    }

    /// One more request was refused by it.
    pub(super) fn refuse(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// Those that were.
    pub(super) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Counts on from there.
    pub(super) fn follow(&self, earlier: &Self) {
        self.refused.fetch_add(earlier.refused(), Ordering::Relaxed);
    }

    /// What tells its buckets apart, in this process.
    pub(super) fn feed(&self, who: &Who<'_>, hasher: &mut impl Hasher) {
        hasher.write_u64(self.print);
        self.parts(who, |part| {
            hasher.write_usize(part.len());
            hasher.write(part);
        });
    }

    /// The name of a bucket in the store: of the limit's name, not of its numbers, and of whom it counts.
    pub(super) fn name_in_store(&self, who: &Who<'_>) -> String {
        use std::fmt::Write as _;
        let mut context = Context::new(&SHA256);
        let mut update = |part: &[u8]| {
            context.update(&part.len().to_be_bytes());
            context.update(part);
        };
        update(&[self.kind as u8]);
        update(self.name.as_bytes());
        self.parts(who, &mut update);
        let digest = context.finish();
        digest.as_ref().iter().take(NAME_BYTES).fold(String::with_capacity(2 * NAME_BYTES), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        })
    }

    /// Whom it counts together: the environment, then each of `by`.
    fn parts(&self, who: &Who<'_>, mut part: impl FnMut(&[u8])) {
        let environment = who.identity.map(|identity| identity.environment);
        part(environment.map_or("", EnvironmentName::name).as_bytes());
        for by in &self.by {
            part(&[*by as u8]);
            match by {
                // Who presents a key, or a token that stands for it, is its subject; who presents another token has no key but that, and
                // is not who has the same name in another tenant.
                LimitBy::Key | LimitBy::Subject => match who.identity.map(|identity| (&identity.bearer, &identity.tenant_id)) {
                    Some((Bearer::Key { id, .. }, _)) => part(id.as_bytes()),
                    Some((Bearer::Client { key, .. }, _)) => part(key.id.as_bytes()),
                    Some((Bearer::Token { issuer, subject, .. }, tenant)) => {
                        part(issuer.as_bytes());
                        part(tenant.as_bytes());
                        part(subject.as_bytes());
                    }
                    None => part(&[]),
                },
                LimitBy::Tenant => part(who.identity.map_or("", |identity| &identity.tenant_id).as_bytes()),
                LimitBy::Route => part(who.route.name.as_bytes()),
                // Without an address that can be believed all are one.
                LimitBy::Ip => match who.client.map(throttle_unit) {
                    Some(IpAddr::V4(ip)) => part(&ip.octets()),
                    Some(IpAddr::V6(ip)) => part(&ip.octets()),
                    None => part(&[]),
                },
            }
        }
    }
}

fn within(what: &str, number: u64) -> Result<u64, String> {
    if (1..=REQUESTS_MAX).contains(&number) { Ok(number) } else { Err(format!("`{what}` must be from 1 to {REQUESTS_MAX}")) }
}

/// The same in every process and over every reload.
fn print_of(parts: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    parts.hash(&mut hasher);
    hasher.finish()
}
