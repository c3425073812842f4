//! Check mode (`role = "authz-http"`): a gateway asks whether a request may pass, and forwards it itself. 200 tells who is calling,
//! anything else is the refusal as the client is to see it. Nothing is forwarded, nothing run once, and no body is read but away.

use std::rc::Rc;

use http::request::Parts;
use http::{HeaderMap, StatusCode};

use super::unread::Unread;
use super::{Outcome, Session};
use crate::facts::described::{describe, was_refused};
use crate::gate::{Admitted, Caller};
use crate::rejection::{Refusal, Rejection};
use crate::server::body::Received;
use crate::server::record::Record;

/// What the gateway is told.
pub(super) async fn decide(session: &Rc<Session>, mut head: Parts, body: Received, record: &mut Record) -> Outcome {
    let unread = Unread::of(&head, &body, session.body_limit);
    let decided = judge(session, &mut head, unread, record).await;
    record.judged();
    let left = unread.discard(body).await;
    match decided {
        Ok(headers) => {
            // The gateway's client is not who reads this answer.
            record.seen.limits = None;
            Outcome::Answered(StatusCode::OK, headers, left)
        }
        Err(refusal) => Outcome::Refused(refusal, left),
    }
}

async fn judge(session: &Session, head: &mut Parts, unread: Unread, record: &mut Record) -> Result<HeaderMap, Refusal> {
    let generation = Rc::clone(&record.generation);
    let gate = &generation.app.gate;
    record.seen.client = session.peer();
    if !gate.trusts(session.connection.peer) {
        return Err(Rejection::RequestInvalid.because("the peer that asks is not in client_ip.trusted_proxies"));
    }
    unread.check_expectation()?;
    describe(head)?;
    record.is_about(head);
    let decided = gate.decide(head, &session.connection, record.began, &mut record.seen).await;
    gate.note(&record.seen);
    let admitted = decided?;
    if was_refused(&head.headers) {
        // A yes would go to the client for the API's answer.
        return Err(Rejection::Overloaded.because("refused a moment ago, and now it would be let through: it is to be sent again"));
    }
    record.admitted();
    Ok(match admitted {
        Admitted::Manage(_) => return Err(Rejection::RouteUnmatched.because("self-service is answered only where requests pass through")),
        Admitted::Tell(_) => return Err(Rejection::RouteUnmatched.because("documents are told only where requests pass through")),
        Admitted::Issue(_) => return Err(Rejection::RouteUnmatched.because("tokens are given only where requests pass through")),
        Admitted::Forward(permit) => {
            record.seen.trace = gate.trace(permit.caller(), &head.headers);
            gate.header_rules().answer(permit.caller(), gate.environments(), record.began)?
        }
        // Whoever forwards it answers it, or the API does.
        Admitted::Preflight(_) => gate.header_rules().answer(&Caller::Preflight, gate.environments(), record.began)?,
    })
}
