//! Requests for tokens, which Sidegate answers itself: the body is read, who the client is is judged where it says so there, and the
//! work done on the store's runtime, to its end whether or not the client waits for it.

use std::rc::Rc;

use http::request::Parts;
use secrecy::ExposeSecret as _;
use zeroize::Zeroizing;

use super::own::{actor, too_long, whole};
use super::{Left, Outcome, Session};
use crate::gate::Claim;
use crate::identity::Identity;
use crate::rejection::{Refusal, Rejection};
use crate::route::TokenEndpoint;
use crate::server::body::{Gathered, Source, Upload};
use crate::server::life::Life;
use crate::server::record::Record;
use crate::session::authority::{Caller, Presenter};
use crate::session::endpoint::{Asked, BODY_MAX, Grant, Style, Wrong, read};
use crate::session::pair::Pair;

/// Answers an admitted request.
pub(super) async fn answer(
    session: &Session,
    life: &Rc<Life>,
    (claim, head): (Box<Claim>, Parts),
    mut upload: Upload,
    record: &mut Record,
) -> Outcome {
    match upload.gather(BODY_MAX, |_| true).await {
        Ok(Gathered::Whole) => {}
        Ok(Gathered::TooLong | Gathered::Unwanted) => return Outcome::Refused(too_long(), Left::Unread),
        Err(_) => {
            let refusal = life.take_fault().unwrap_or_else(|| Rejection::RequestInvalid.because("the body broke off"));
            return Outcome::Refused(refusal, Left::Unread);
        }
    }
    let (generation, style) = (Rc::clone(&record.generation), Style::of(claim.endpoint(), &head.headers));
    let body = Zeroizing::new(upload.take_gathered());
    let given = give(session, &claim, &head, &body, style, record).await;
    let answers = &generation.app.sessions.answers;
    match given {
        Ok(pair) => {
            let response = answers.given(style, &pair);
            record.answered(response.status());
            Outcome::Relayed(whole(response).map(Source::Kept))
        }
        Err(wrong) => match answers.refused(style, &wrong) {
            Some(response) => Outcome::Told(wrong.refusal, Box::new(response)),
            None => Outcome::Refused(wrong.refusal, Left::Nothing),
        },
    }
}

async fn give(session: &Session, claim: &Claim, head: &Parts, body: &[u8], style: Style, record: &mut Record) -> Result<Pair, Wrong> {
    let Asked { grant, client } = read(claim.endpoint(), style, body, claim.basic())?;
    let generation = Rc::clone(&record.generation);
    let app = &generation.app;
    let mut known = claim.caller().cloned();
    if let Some((id, secret)) = client.filter(|_| claim.endpoint() == TokenEndpoint::Token) {
        let secret = secret.expose_secret().as_bytes();
        let client = app.gate.client(claim, (&id, secret), head, &session.connection, record.began, &mut record.seen).await;
        known = Some(client.map_err(Wrong::of_client)?);
    }
    let name = known.as_ref().and_then(|identity| identity.key_id()).map_or("anonymous".to_owned(), |id| format!("key:{id}"));
    let sessions = app.management.sessions(app.management.on_behalf_of(actor(name, &record.seen)));
    let authority = app.authority(sessions).ok_or_else(|| Refusal::from(Rejection::RouteUnmatched))?;
    let nobody = || Wrong::of_client(Rejection::CredentialMissing.because("no client has shown its secret"));
    let (environments, now) = (claim.environments().to_vec(), record.began);
    match grant {
        Grant::Client(scopes) => {
            let identity = known.ok_or_else(nobody)?;
            let caller = caller(&identity).ok_or_else(nobody)?;
            Ok(authority.stand_in(caller, &identity.grants, scopes.as_deref(), now)?)
        }
        Grant::Refresh(token, scopes) => {
            if known.is_none() && claim.endpoint() == TokenEndpoint::Token && app.sessions.asks_for_keys() {
                return Err(nobody());
            }
            // Of nobody a refresh token is a guess like any other credential.
            let stake = match &known {
                Some(_) => None,
                None => Some(app.gate.stake(&session.connection, head, now, &record.seen)?),
            };
            let work = async move {
                let presenter = match known.as_deref().and_then(caller) {
                    Some(caller) => Presenter::Key(caller),
                    None => Presenter::Nobody(&environments),
                };
                authority.refresh(&token, presenter, scopes.as_deref()).await
            };
            let done = app.management.run(work).await.unwrap_or_else(|cut_off| Err(Rejection::Internal.because(cut_off.to_string())));
            if let Some(stake) = stake.filter(|_| !matches!(&done, Err(refusal) if refusal.rejection == Rejection::RefreshInvalid)) {
                app.gate.give_back(&stake);
            }
            Ok(done?)
        }
    }
}

fn caller(identity: &Identity) -> Option<Caller<'_>> {
    Some(Caller { key: identity.key_id()?, tenant: &identity.tenant_id, environment: identity.environment })
}
