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
use crate::management::CutOff;
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
    // The body may have been long on its way.
    record.check_standing().await.map_err(Wrong::of_client)?;
    let now = record.now();
    let Asked { grant, client } = read(claim.endpoint(), style, body, claim.basic())?;
    let generation = Rc::clone(&record.generation);
    let app = &generation.app;
    let mut known = claim.caller().cloned();
    if let Some((id, secret)) = client.filter(|_| claim.endpoint() == TokenEndpoint::Token) {
        if claim.shows_another() {
            return Err(Wrong::of_two_clients());
        }
        let secret = secret.expose_secret().as_bytes();
        let client = app.gate.client(claim, (&id, secret), head, &session.connection, now, &mut record.seen).await;
        known = Some(client.map_err(Wrong::of_client)?);
    }
    let name = known.as_ref().and_then(|identity| identity.key_id()).map_or("anonymous".to_owned(), |id| format!("key:{id}"));
    let sessions = app.management.sessions(app.management.on_behalf_of(actor(name, &record.seen)));
    let authority = app.authority(sessions).ok_or_else(|| Refusal::from(Rejection::RouteUnmatched))?;
    let nobody = || Wrong::of_client(Rejection::CredentialMissing.because("no client has shown its secret"));
    let cut_off = |error: CutOff| Rejection::Internal.because(error.to_string());
    match grant {
        Grant::Client(scopes) => {
            let identity = known.ok_or_else(nobody)?;
            let (_, secret) = record.seen.key.clone().ok_or_else(nobody)?;
            let work = async move {
                let caller = caller(&identity).ok_or_else(nobody)?;
                Ok(authority.stand_in(caller, &secret, &identity.grants, scopes.as_deref()).await?)
            };
            app.management.run(work).await.unwrap_or_else(|error| Err(cut_off(error).into()))
        }
        Grant::Refresh(token, scopes) => {
            if known.is_none() && claim.endpoint() == TokenEndpoint::Token && app.sessions.asks_for_keys() {
                return Err(nobody());
            }
            // A refresh token is a guess like any other credential that is in no cache. Who shows a key may refresh for many at once, and
            // pays for those that were bad.
            let pays_first = known.is_none();
            let take = || app.gate.stake(&session.connection, head, now, &record.seen);
            let stake = take()?;
            if !pays_first {
                app.gate.give_back(&stake);
            }
            let (environments, client) = (claim.environments().to_vec(), record.seen.client);
            let work = async move {
                let presenter = match known.as_deref().and_then(caller) {
                    Some(caller) => Presenter::Key(caller),
                    None => Presenter::Nobody(&environments, client),
                };
                authority.refresh(&token, presenter, scopes.as_deref()).await
            };
            let done = app.management.run(work).await.unwrap_or_else(|error| Err(cut_off(error)));
            match matches!(&done, Err(refusal) if refusal.rejection == Rejection::RefreshInvalid) {
                true if !pays_first => drop(take()),
                false if pays_first => app.gate.give_back(&stake),
                true | false => {}
            }
            Ok(done?)
        }
    }
}

fn caller(identity: &Identity) -> Option<Caller<'_>> {
    Some(Caller { key: identity.key_id()?, tenant: &identity.tenant_id, environment: identity.environment })
}
