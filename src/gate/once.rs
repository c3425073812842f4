//! Step 11, as far as it needs no store: whether a request is to be run once, and by which key. Whether it was run already, only
//! the store can tell, and only when the request has arrived whole.

use http::request::Parts;

use super::trace::{Note, Step, Trace};
use super::{Gate, Seen};
use crate::facts::Facts;
use crate::idempotency::Asked;
use crate::identity::Identity;
use crate::rejection::Refusal;
use crate::route::Route;

impl Gate {
    pub(super) fn ask_once<T: Trace>(
        &self,
        identity: &Identity,
        facts: &Facts,
        route: &Route,
        head: &Parts,
        seen: &Seen,
        trace: &mut T,
    ) -> Result<Option<Box<Asked>>, Refusal> {
        let Some(rules) = &self.rules.idempotency else { return Ok(None) };
        let asked = rules.ask(identity, seen.client, facts, route, &head.headers);
        trace.judge(Step::Idempotency, asked, || Note::new(rules.describe(&head.headers)).at("idempotency.mode"))
    }
}
