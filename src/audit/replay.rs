//! What a store that was restored from a copy has forgotten: of the events that are written elsewhere and not in it, those that had
//! taken rights away and that nothing since has overtaken. Never gives a right back: what had been granted is only named.

use serde_json::Value;

use super::Event;
use crate::clock::Timestamp;

/// What is to be done again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// The key is revoked; or the session, for the reason that the event tells.
    Revoke,
    /// The key is switched off.
    Deactivate,
    /// The tenant is suspended.
    Suspend,
    /// The key has another secret.
    Rotate(Secret),
    /// The replaced secret is dead.
    EndOverlap,
}

/// A secret that a rotation had made, as far as its event tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Secret {
    /// Hex of its stored digest.
    pub digest: String,
    /// What it begins with, where that was another than before.
    pub prefix: Option<String>,
    /// How it ends.
    pub last4: Option<String>,
    /// When it was made.
    pub rotated_at: Timestamp,
    /// Until when the replaced one works.
    pub overlap_until: Option<Timestamp>,
    /// Hex of the stored digest of the replaced one, where the events tell; else it is the one that is there.
    pub replaced: Option<String>,
}

/// Of one record.
#[derive(Debug, Default, PartialEq)]
pub struct Plan<'a> {
    /// What is to be done again, in this order, and the event that says so.
    pub steps: Vec<(Step, &'a Event)>,
    /// What the store has lost and is not done again: it gave rights, or changed what takes a person's judgement.
    pub left: Vec<&'a Event>,
}

/// Compares what a store keeps of a record with what is told of it. What is told from before `forgotten` is not missed: a store
/// keeps no events for ever.
#[must_use]
pub fn plan<'a>(kept: &'a [Event], told: &'a [Event], forgotten: Timestamp) -> Plan<'a> {
    let is_kept = |event: &Event| kept.iter().any(|known| known.instant() == event.instant() && known.action == event.action);
    let lost = told.iter().filter(|event| event.at >= forgotten && !is_kept(event));
    let mut line: Vec<(&Event, bool)> = kept.iter().map(|event| (event, false)).chain(lost.map(|event| (event, true))).collect();
    line.sort_by_cached_key(|(event, _)| event.instant());
    // What was done to another record of the same id, before this one was made, is none of its.
    let born = line.iter().rposition(|(event, _)| event.before.is_none() && event.after.is_some()).unwrap_or(0);
    let line = line.get(born..).unwrap_or_default();
    let mut plan = Plan::default();
    plan.left.extend(line.iter().filter(|(event, is_lost)| *is_lost && !takes(event)).map(|(event, _)| *event));
    let status = |(event, _): &(&'a Event, bool)| status(event);
    // A key is revoked for ever, whatever came behind.
    let mut revoked = line.iter().filter(|entry| status(entry) == Some("revoked")).peekable();
    if let Some((event, _)) = revoked.peek() {
        plan.steps.extend(revoked.all(|(_, is_lost)| *is_lost).then_some((Step::Revoke, *event)));
        return plan;
    }
    plan.steps.extend(secret(line));
    if let Some((event, true)) = line.iter().rfind(|entry| status(entry).is_some()) {
        let step = match status(&(event, true)) {
            Some("inactive") => Some(Step::Deactivate),
            Some("suspended") => Some(Step::Suspend),
            _ => None,
        };
        plan.steps.extend(step.map(|step| (step, *event)));
    }
    plan
}

/// The last change of a key's secrets, if it is lost.
fn secret<'a>(line: &[(&'a Event, bool)]) -> Option<(Step, &'a Event)> {
    let last = line.iter().rposition(|(event, _)| event.digest.is_some() || ends_overlap(event))?;
    let at = line.iter().rposition(|(event, _)| event.digest.is_some());
    let ended = line.get(last).filter(|(event, _)| event.digest.is_none());
    let made = at.and_then(|at| line.get(at)).filter(|(event, is_lost)| *is_lost && event.before.is_some());
    let Some((event, _)) = made else {
        return ended.filter(|(_, is_lost)| *is_lost).map(|(event, _)| (Step::EndOverlap, *event));
    };
    let after = |name: &str| event.after.as_ref().and_then(|after| after.get(name)).and_then(Value::as_str);
    let before = line.get(..at.unwrap_or(0)).unwrap_or_default();
    let secret = Secret {
        digest: event.digest.clone()?,
        prefix: after("prefix").map(ToOwned::to_owned),
        last4: after("last4").map(ToOwned::to_owned),
        rotated_at: after("rotated_at").and_then(|at| at.parse().ok()).unwrap_or(event.at),
        overlap_until: after("previous_until").and_then(|until| until.parse().ok()).filter(|_| ended.is_none()),
        replaced: before.iter().rev().find_map(|(event, _)| event.digest.clone()),
    };
    Some((Step::Rotate(secret), *event))
}

fn status(event: &Event) -> Option<&str> {
    event.after.as_ref()?.get("status")?.as_str()
}

fn ends_overlap(event: &Event) -> bool {
    let has = |fields: &Option<serde_json::Map<String, Value>>| fields.as_ref().is_some_and(|fields| fields.contains_key("previous_until"));
    event.digest.is_none() && has(&event.before) && !has(&event.after)
}

/// Whether an event took rights away in a way that can be done again.
fn takes(event: &Event) -> bool {
    let is_change = event.before.is_some() && event.after.is_some();
    let is_taken = matches!(status(event), Some("revoked" | "inactive" | "suspended"));
    is_change && (is_taken || event.digest.is_some() || ends_overlap(event))
}

#[cfg(test)]
mod tests;
