//! What `explain` says of the limits of a request: each with what is left of it. Takes nothing.

use std::sync::Arc;

use super::rule::{Count, Rule, Who};
use super::{Counts, Limits, rules};
use crate::rejection::Refusal;

/// A limit, looked at.
#[derive(Debug)]
pub struct Look {
    /// What it says, and what is left.
    pub input: String,
    /// Where it is written.
    pub path: String,
    /// Whether it would refuse.
    pub verdict: Result<(), Refusal>,
}

impl Limits {
    /// The limits that apply, in their order.
    pub(crate) async fn look(&self, counts: &Arc<Counts>, who: &Who<'_>) -> Vec<Look> {
        let (set, own) = self.applying(who);
        let mut looks = Vec::new();
        for rule in rules(set, own) {
            looks.push(look(rule, counts, who).await);
        }
        looks
    }
}

async fn look(rule: &Rule, counts: &Arc<Counts>, who: &Who<'_>) -> Look {
    let (left, verdict) = match &rule.count {
        Count::Local(_) => ("what is left is known to each sidecar alone".to_owned(), Ok(())),
        Count::Fleet(terms) => match counts.look(rule, who, terms).await {
            Ok(drawn) if drawn.left == 0 => {
                let refusal = rule.rejection().because(format!("limit {}: {}", rule.name, rule.words));
                (format!("0 left, one in {} s (sidecars may hold some)", drawn.wait_ms.div_ceil(1000)), Err(refusal))
            }
            Ok(drawn) => (format!("{} left", drawn.left), Ok(())),
            Err(error) => (format!("what is left is not known: {error}"), Ok(())),
        },
    };
    Look { input: format!("{}: {}; {left}", rule.name, rule.words), path: rule.path.clone(), verdict }
}
