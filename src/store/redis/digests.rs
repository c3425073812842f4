//! The index of digests in Redis: whose a secret is. An entry is written before the record that names it and proves nothing without
//! that; it stays for a while when no record names it any more.

use redis::{RedisResult, cmd};

use super::connection::Connection;
use super::{ID_MAX, RedisStore};
use crate::key::digest::StoredDigest;
use crate::key::record::KeyRecord;
use crate::store::codec::{digests, render};
use crate::store::{Audited, FORMER_FOR, Outcome, Store as _, StoreError};

impl RedisStore {
    /// Points the digest at the key, unless it is the secret of another one.
    pub(super) async fn index_digest(&self, digest: StoredDigest, id: &str) -> Result<(), StoreError> {
        let name = self.layout.digest(digest);
        let claim = async |mut link: Connection| -> RedisResult<Option<String>> {
            cmd("SET").arg(&name).arg(id).arg("NX").query_async(&mut link).await
        };
        if self.link.run(claim).await.map_err(|error| error.about(id))?.is_some() {
            return Ok(());
        }
        let said = self.read(&name, id, ID_MAX).await?;
        let owner = self.owner(&said, digest).await?;
        match owner {
            Some(owner) if owner == id => return Ok(()),
            Some(id) => return Err(StoreError::DigestTaken { id }),
            None => {}
        }
        // A leftover that no record confirms, perhaps with an end, this key's own too; or somebody is about to write that record.
        if !self.move_index(&name, &said, id).await? {
            return match self.read(&name, id, ID_MAX).await? {
                // Another change of the same key was faster.
                said if said == id.as_bytes() => Ok(()),
                // A rotation has just dropped it: the record is another by now.
                said if said.is_empty() => Err(StoreError::Conflict { found: 0 }),
                said => Err(taken_by(&said)),
            };
        }
        if said == id.as_bytes() {
            return Ok(());
        }
        // Whoever wrote it meanwhile may have looked before: one of us sees the other, for both write and then look.
        let Some(owner) = self.owner(&said, digest).await? else { return Ok(()) };
        self.move_index(&name, id.as_bytes(), &owner).await?;
        Err(StoreError::DigestTaken { id: owner })
    }

    /// The key that an index entry says, if its record confirms it. One that cannot be read may well do so.
    async fn owner(&self, said: &[u8], digest: StoredDigest) -> Result<Option<String>, StoreError> {
        let Some(id) = str::from_utf8(said).ok().filter(|id| (1..=ID_MAX).contains(&id.len())) else { return Ok(None) };
        let record = self.find_key(id).await?;
        Ok(record.filter(|record| digests(record).any(|named| named == digest)).map(|record| record.id))
    }

    /// Whether the entry still said so: who is faster has it.
    async fn move_index(&self, name: &str, said: &[u8], id: &str) -> Result<bool, StoreError> {
        let script = &self.scripts.move_index;
        let moved = async |mut link: Connection| script.key(name).arg(said).arg(id).arg(ID_MAX).invoke_async::<bool>(&mut link).await;
        self.link.run(moved).await.map_err(|error| error.about(id))
    }

    /// A new key whose digest another one has taken before it was there: it is taken back.
    pub(super) async fn settle(&self, write: &Audited<'_, KeyRecord>) -> Outcome {
        let record = write.record;
        for digest in digests(record).filter(|_| record.version == 1) {
            let said = self.read(&self.layout.digest(digest), &record.id, ID_MAX).await?;
            if said != record.id.as_bytes() {
                return self.take_back(write, &said).await;
            }
        }
        Ok(())
    }

    pub(super) async fn take_back(&self, write: &Audited<'_, KeyRecord>, said: &[u8]) -> Outcome {
        let record = write.record;
        let (name, text) = (self.layout.key(&record.id), render(record)?);
        let [events, places] = self.layout.events_of(write.event.object, &record.id);
        let (instant, place) = (write.event.instant(), write.event.place());
        let taken = async |mut link: Connection| {
            let mut call = self.scripts.take_back.key(&name);
            call.key(&events).key(&places).arg(&text).arg(&instant).arg(&place);
            call.invoke_async::<i64>(&mut link).await
        };
        self.link.run(taken).await.map_err(|error| error.about(&record.id))?;
        Err(taken_by(said))
    }

    /// Index entries of digests that the record no longer names get an end. They prove nothing, so it does not matter if this fails.
    pub(super) async fn end_digests(&self, old: &KeyRecord, new: &KeyRecord) {
        for digest in digests(old).filter(|digest| digests(new).all(|named| named != *digest)) {
            self.end_digest(digest, &new.id).await;
        }
    }

    pub(super) async fn end_digest(&self, digest: StoredDigest, id: &str) {
        let (name, script, kept) = (self.layout.digest(digest), &self.scripts.end_index, FORMER_FOR.as_secs());
        let _ = self.link.run(async |mut link: Connection| script.key(&name).arg(id).arg(kept).invoke_async::<i64>(&mut link).await).await;
    }
}

/// By the key that an index entry says.
fn taken_by(said: &[u8]) -> StoreError {
    StoreError::DigestTaken { id: String::from_utf8_lossy(said).into_owned() }
}
