//! Reservations in Redis: a hash each, which ends with its key, and a hash of the bytes that a tenant has kept, by when they end.
//! All of a tenant's share a slot, so that each step is one script.

mod scripts;

use std::time::Duration;

use async_trait::async_trait;
use redis::{RedisResult, Value};

use super::RedisStore;
use super::connection::{Connection, LinkError};
use crate::clock::Timestamp;
use crate::store::StoreError;
use crate::store::reservation::{Claim, Claimed, Fate, Owner, Place, Released, Reservations, Reserved, SEALED_MAX, Settled, Standing};
pub(super) use scripts::Scripts;

/// To blame where what is there is no reservation.
const WHAT: &str = "of an Idempotency-Key";

impl RedisStore {
    fn names(&self, place: &Place) -> Vec<String> {
        place.ids.iter().map(|id| self.layout.reservation(&place.tenant, *id)).collect()
    }

    /// Runs a script over the names of a place, then the tenant's bytes.
    async fn on_place<T: redis::FromRedisValue>(
        &self,
        script: &redis::Script,
        names: &[String],
        place: &Place,
        arguments: &[&[u8]],
    ) -> Result<T, StoreError> {
        let bytes = self.layout.reserved_bytes(&place.tenant);
        let mut call = script.prepare_invoke();
        for name in names {
            call.key(name);
        }
        call.key(bytes);
        for argument in arguments {
            call.arg(*argument);
        }
        let run = async |mut link: Connection| -> RedisResult<T> { call.invoke_async(&mut link).await };
        self.link.run(run).await.map_err(|error: LinkError| error.about(WHAT))
    }

    /// Only new reservations are made, and those stand under the first name.
    async fn on_own<T: redis::FromRedisValue>(&self, script: &redis::Script, place: &Place, arguments: &[&[u8]]) -> Result<T, StoreError> {
        let names: Vec<String> = self.names(place).into_iter().take(1).collect();
        self.on_place(script, &names, place, arguments).await
    }
}

fn number(number: u64) -> Vec<u8> {
    number.to_string().into_bytes()
}

fn millis(span: Duration) -> Vec<u8> {
    span.as_millis().to_string().into_bytes()
}

fn standing(word: &str) -> Standing {
    match word {
        "running" => Standing::Running,
        "done" => Standing::Done,
        _ => Standing::Unknown,
    }
}

#[async_trait]
impl Reservations for RedisStore {
    async fn claim(&self, place: &Place, claim: &Claim) -> Result<Claimed, StoreError> {
        let (lease, ttl, max) = (millis(claim.lease), millis(claim.ttl), number(SEALED_MAX as u64));
        let arguments: [&[u8]; 4] = [&claim.owner.0, &lease, &ttl, &max];
        let (word, answer): (String, Value) = self.on_place(&self.reservations.claim, &self.names(place), place, &arguments).await?;
        Ok(match (word.as_str(), answer) {
            ("first", _) => Claimed::First,
            ("running", _) => Claimed::Running,
            ("done", Value::BulkString(sealed)) => Claimed::Done(sealed),
            _ => Claimed::Unknown,
        })
    }

    async fn renew(&self, place: &Place, owner: Owner, lease: Duration) -> Result<bool, StoreError> {
        let lease = millis(lease);
        self.on_own(&self.reservations.renew, place, &[&owner.0, &lease]).await
    }

    async fn settle(&self, place: &Place, owner: Owner, fate: &Fate) -> Result<Settled, StoreError> {
        let script = &self.reservations.settle;
        let word: String = match fate {
            Fate::Done(kept) => {
                let (bound, grain) = (number(kept.bound), millis(kept.grain));
                self.on_own(script, place, &[&owner.0, b"done", &kept.sealed, &bound, &grain]).await?
            }
            Fate::Unknown => self.on_own(script, place, &[&owner.0, b"unknown"]).await?,
            Fate::Released => self.on_own(script, place, &[&owner.0, b"released"]).await?,
        };
        Ok(match word.as_str() {
            "settled" => Settled::Settled,
            "full" => Settled::Full,
            _ => Settled::Lost,
        })
    }

    async fn look(&self, place: &Place) -> Result<Option<Reserved>, StoreError> {
        let max = number(SEALED_MAX as u64);
        let found: Option<(String, i64, i64, Vec<u8>)> = self.on_place(&self.reservations.look, &self.names(place), place, &[&max]).await?;
        Ok(found.map(|(word, claimed_at, expires_at, sealed)| Reserved {
            standing: standing(&word),
            claimed_at: Timestamp(claimed_at),
            expires_at: Timestamp(expires_at),
            sealed,
        }))
    }

    async fn release(&self, place: &Place) -> Result<Released, StoreError> {
        let word: String = self.on_place(&self.reservations.release, &self.names(place), place, &[]).await?;
        Ok(match word.as_str() {
            "released" => Released::Released,
            "running" => Released::Running,
            _ => Released::Absent,
        })
    }

    fn answers(&self) -> bool {
        self.link.is_reachable()
    }
}
