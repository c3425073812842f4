//! The key table in Redis: one authoritative record per key id, everything else an index that is written before it.
//! No operation needs two slots to be atomic: a crash between two writes leaves an index entry that no record confirms.

mod audit;
mod bulk;
mod changes;
mod cluster;
mod connection;
mod dial;
mod digests;
mod fleet;
mod layout;
mod limits;
mod node;
mod replicas;
mod reservations;
mod scripts;
mod sentinel;
mod server;
mod sessions;
#[cfg(test)]
mod tests;
pub(super) mod tls;
mod usage;

use std::sync::Arc;

use async_trait::async_trait;
use redis::{Pipeline, RedisResult, Value, cmd, pipe};

use super::change::{Changed, Position};
use super::codec::{RECORD_MAX, Record, corrupt, digests, id_in_place, parse, render, render_event, version_before};
use super::draw::{Draw, Drawn};
use super::instance::{Instance, Seen};
use super::target::RedisTarget;
use super::{Audited, Named, Outcome, Page, Replication, Status, Store, StoreError, Written};
use crate::audit::{Event, Query};
use crate::clock::{Clock, Timestamp};
use crate::key::digest::StoredDigest;
use crate::key::record::KeyRecord;
use crate::tenant::TenantRecord;
use changes::RedisChanges;
use connection::{Connection, Link};
use layout::Layout;
use scripts::Scripts;

/// Longest key id in an index entry.
const ID_MAX: usize = 64;

/// The store.
pub(super) struct RedisStore {
    link: Arc<Link>,
    layout: Layout,
    scripts: Scripts,
    reservations: reservations::Scripts,
    usage: usage::Script,
    put_session: sessions::PutSession,
    write_replicas: u32,
}

impl RedisStore {
    pub(super) async fn connect(target: RedisTarget, clock: Clock) -> (Self, RedisChanges) {
        let (layout, write_replicas) = (Layout::new(&target.key_prefix), target.write_replicas);
        let link = Arc::new(Link::new(target, clock).await);
        let changes = RedisChanges::new(Arc::clone(&link), layout.changes());
        let (scripts, reservations) = (Scripts::new(), reservations::Scripts::new());
        let (usage, put_session) = (usage::Script::new(), sessions::PutSession::new());
        (Self { link, layout, scripts, reservations, usage, put_session, write_replicas }, changes)
    }

    /// At most `max` bytes of a string; one more tells that there are more. Nothing there reads as empty.
    async fn read(&self, name: &str, id: &str, max: usize) -> Result<Vec<u8>, StoreError> {
        let read = async |mut link: Connection| cmd("GETRANGE").arg(name).arg(0).arg(max).query_async(&mut link).await;
        self.link.run(read).await.map_err(|error| error.about(id))
    }

    async fn find<R: Record>(&self, name: &str, id: &str) -> Result<Option<R>, StoreError> {
        let bytes = self.read(name, id, RECORD_MAX).await?;
        if bytes.is_empty() { Ok(None) } else { parse(id, &bytes).map(Some) }
    }

    /// Writes the indexes, then the record with its event. Answers the record that was there before.
    async fn put<R: Record>(&self, name: &str, write: &Audited<'_, R>, indexes: &[String]) -> Result<Option<R>, StoreError> {
        let (record, event) = (write.record, &write.event);
        let place = record.place();
        let mut writes = pipe();
        for index in indexes {
            writes.cmd("ZADD").arg(index).arg(0).arg(&place).ignore();
        }
        self.index_event(&mut writes, event);
        self.run_pipe(&writes, record.id()).await?;
        self.commit(name, version_before(record)?, &render(record)?, event).await
    }

    /// Takes the record away, if it is of this version. Its places in the indexes go later: without it they prove nothing.
    async fn remove<R: Record>(&self, name: &str, removal: &Audited<'_, R>, indexes: &[String]) -> Result<(), StoreError> {
        let (record, event) = (removal.record, &removal.event);
        let mut writes = pipe();
        self.index_event(&mut writes, event);
        self.run_pipe(&writes, record.id()).await?;
        self.commit::<R>(name, record.version(), "", event).await?;
        let mut removals = pipe();
        for index in indexes {
            removals.cmd("ZREM").arg(index).arg(record.place()).ignore();
        }
        self.run_pipe(&removals, record.id()).await
    }

    /// The commit: sets (or, where the text is empty, removes) the record of this version, and writes the event.
    async fn commit<R: Record>(&self, name: &str, before: u64, text: &str, event: &Event) -> Result<Option<R>, StoreError> {
        let id = event.id.as_str();
        let [events, places] = self.layout.events_of(event.object, id);
        let (instant, told, place) = (event.instant(), render_event(event)?, event.place());
        let put = async |mut link: Connection| {
            let mut call = self.scripts.put_record.key(name);
            call.key(&events).key(&places).arg(before).arg(text).arg(RECORD_MAX).arg(&instant).arg(&told).arg(&place);
            call.invoke_async::<(i64, Value)>(&mut link).await
        };
        match self.link.run(put).await.map_err(|error| error.about(id))? {
            (1, Value::BulkString(old)) => Ok(parse(id, &old).ok()),
            (1, _) => Ok(None),
            (0, Value::Int(found)) => Err(StoreError::Conflict { found: u64::try_from(found).unwrap_or(0) }),
            _ => Err(corrupt(id, "what is stored there is no record")),
        }
    }

    async fn run_pipe(&self, writes: &Pipeline, id: &str) -> Result<(), StoreError> {
        let run = async |mut link: Connection| writes.query_async::<()>(&mut link).await;
        self.link.run(run).await.map_err(|error| error.about(id))
    }

    /// A page of the records whose places an index holds. Entries that their record does not confirm are left out.
    async fn list<R: Record>(
        &self,
        index: &str,
        cursor: Option<&str>,
        limit: usize,
        name: impl Fn(&str) -> String,
    ) -> Result<Page<R>, StoreError> {
        let from = cursor.map_or_else(|| "-".to_owned(), |cursor| format!("({cursor}"));
        let range = async |mut link: Connection| -> RedisResult<Vec<String>> {
            cmd("ZRANGEBYLEX").arg(index).arg(&from).arg("+").arg("LIMIT").arg(0).arg(limit).query_async(&mut link).await
        };
        let places = self.link.run(range).await.map_err(|error| error.about(index))?;
        let next = places.last().filter(|_| places.len() == limit).cloned();
        let entries: Vec<(&str, &str)> = places.iter().filter_map(|place| Some((place.as_str(), id_in_place(place)?))).collect();
        let mut reads = pipe();
        for (_, id) in &entries {
            reads.cmd("GETRANGE").arg(name(id)).arg(0).arg(RECORD_MAX);
        }
        // Errors of single records stay with them: one that is not a string must not hide the others.
        reads.ignore_errors();
        let fetch = async |mut link: Connection| -> RedisResult<Vec<RedisResult<Vec<u8>>>> {
            if entries.is_empty() { Ok(Vec::new()) } else { reads.query_async(&mut link).await }
        };
        let texts = self.link.run(fetch).await.map_err(|error| error.about(index))?;
        let (mut items, mut unreadable) = (Vec::with_capacity(texts.len()), Vec::new());
        for ((place, id), text) in entries.into_iter().zip(texts) {
            // Where there is no record the place is a leftover.
            let read = match text {
                Ok(text) if text.is_empty() => continue,
                Ok(text) => parse::<R>(id, &text),
                Err(error) => Err(corrupt(id, error.category())),
            };
            match read {
                Ok(record) if record.place() == place => items.push(record),
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(%error, "left out of the list");
                    unreadable.push(error);
                }
            }
        }
        Ok(Page { items, next, unreadable })
    }
}

#[async_trait]
impl Store for RedisStore {
    async fn find_named(&self, digest: &StoredDigest) -> Result<Named, StoreError> {
        let id = self.read(&self.layout.digest(*digest), "of the digest index", ID_MAX).await?;
        if id.is_empty() {
            return Ok(Named::Nobody);
        }
        let id = str::from_utf8(&id).ok().filter(|id| id.len() <= ID_MAX);
        let id = id.ok_or_else(|| corrupt("of the digest index", "it holds no key id"))?;
        Ok(self.find_key(id).await?.map_or(Named::Former, |record| Named::of(record, *digest)))
    }

    async fn find_key(&self, id: &str) -> Result<Option<KeyRecord>, StoreError> {
        self.find(&self.layout.key(id), id).await
    }

    async fn put_key(&self, write: Audited<'_, KeyRecord>) -> Result<Position, StoreError> {
        let record = write.record;
        for digest in digests(record) {
            self.index_digest(digest, &record.id).await?;
        }
        let indexes = [self.layout.keys(), self.layout.keys_of(&record.tenant)];
        let old = self.put(&self.layout.key(&record.id), &write, &indexes).await?;
        let settled = self.settle(&write).await;
        let position = self.announce(&[Changed::of_key(record)]).await?;
        settled?;
        if let Some(old) = old {
            self.end_digests(&old, record).await;
        }
        Ok(position)
    }

    async fn put_new_keys(&self, writes: &[Audited<'_, KeyRecord>]) -> Result<Vec<Outcome>, StoreError> {
        self.put_many_keys(writes).await
    }

    async fn find_rivals(&self, records: &[&KeyRecord]) -> Result<Vec<Outcome<Option<KeyRecord>>>, StoreError> {
        self.find_many_rivals(records).await
    }

    async fn list_keys(&self, tenant: Option<&str>, cursor: Option<&str>, limit: usize) -> Result<Page<KeyRecord>, StoreError> {
        let index = tenant.map_or_else(|| self.layout.keys(), |tenant| self.layout.keys_of(tenant));
        let mut page: Page<KeyRecord> = self.list(&index, cursor, limit, |id| self.layout.key(id)).await?;
        page.items.retain(|record| tenant.is_none_or(|tenant| record.tenant == tenant));
        Ok(page)
    }

    async fn find_tenant(&self, id: &str) -> Result<Option<TenantRecord>, StoreError> {
        self.find(&self.layout.tenant(id), id).await
    }

    async fn put_tenant(&self, write: Audited<'_, TenantRecord>) -> Result<Position, StoreError> {
        self.put(&self.layout.tenant(&write.record.id), &write, &[self.layout.tenants()]).await?;
        self.announce(&[Changed::of_tenant(write.record)]).await
    }

    async fn put_new_tenants(&self, writes: &[Audited<'_, TenantRecord>]) -> Result<Vec<Outcome>, StoreError> {
        self.put_many_tenants(writes).await
    }

    async fn remove_key(&self, removal: Audited<'_, KeyRecord>) -> Result<Position, StoreError> {
        let record = removal.record;
        let indexes = [self.layout.keys(), self.layout.keys_of(&record.tenant)];
        self.remove(&self.layout.key(&record.id), &removal, &indexes).await?;
        let position = self.announce(&[Changed::Key { id: record.id.clone(), version: record.version + 1 }]).await?;
        for digest in digests(record) {
            self.end_digest(digest, &record.id).await;
        }
        Ok(position)
    }

    async fn remove_tenant(&self, removal: Audited<'_, TenantRecord>) -> Result<Position, StoreError> {
        let record = removal.record;
        self.remove(&self.layout.tenant(&record.id), &removal, &[self.layout.tenants()]).await?;
        self.announce(&[Changed::Tenant { id: record.id.clone(), version: record.version + 1 }]).await
    }

    async fn append_event(&self, event: &Event) -> Result<(), StoreError> {
        self.write_event(event).await
    }

    async fn list_events(&self, query: &Query<'_>) -> Result<Page<Event>, StoreError> {
        self.events(query).await
    }

    async fn forget_events(&self, before: Timestamp, limit: usize) -> Result<usize, StoreError> {
        self.forget(before, limit).await
    }

    async fn list_tenants(&self, cursor: Option<&str>, limit: usize) -> Result<Page<TenantRecord>, StoreError> {
        self.list(&self.layout.tenants(), cursor, limit, |id| self.layout.tenant(id)).await
    }

    async fn announce(&self, changes: &[Changed]) -> Result<Position, StoreError> {
        self.append(changes).await
    }

    async fn position(&self) -> Result<Position, StoreError> {
        self.last_position().await
    }

    async fn beat(&self, instance: &Instance, first: bool) -> Result<u64, StoreError> {
        self.write_down(instance, first).await
    }

    async fn leave(&self, instance: &str) -> Result<(), StoreError> {
        self.strike_out(instance).await
    }

    async fn instances(&self) -> Result<Vec<Seen>, StoreError> {
        self.written_down().await
    }

    async fn draw(&self, draw: &Draw<'_>) -> Result<Drawn, StoreError> {
        self.draw_from(draw).await
    }

    async fn await_replicas(&self, written: Written<'_>) -> Result<Replication, StoreError> {
        match self.wait_for_replicas(written).await {
            Err(StoreError::Unavailable(_)) => Ok(Replication { wanted: self.write_replicas, acknowledged: 0 }),
            replication => replication,
        }
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.run_pipe(pipe().cmd("PING").ignore(), "").await
    }

    fn is_reachable(&self) -> bool {
        self.link.is_reachable()
    }

    fn status(&self) -> Status {
        self.link.status()
    }
}
