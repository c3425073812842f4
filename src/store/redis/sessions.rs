//! Sessions in Redis: a record each, which ends by itself, and sorted sets for lists, written before it. A place in them that no record
//! confirms is a leftover; the next sessions that begin take it away.

use async_trait::async_trait;
use redis::{RedisResult, Script, cmd, pipe};

use super::RedisStore;
use super::connection::Connection;
use crate::audit::Object;
use crate::clock::Timestamp;
use crate::session::record::SessionRecord;
use crate::store::codec::{RECORD_MAX, Record, corrupt, render, render_event, version_before};
use crate::store::session::{SWEPT, SessionQuery, SessionWrite, Sessions};
use crate::store::{Page, StoreError};

/// Leftovers are younger than that where a clock is slow.
const SLACK_MS: i64 = 3_600_000;

/// Compare-and-set of a session on its version, with its end, and with its event if there is one.
/// `KEYS[1]` session, `KEYS[2]` its events, `KEYS[3]` their places; `ARGV[1]` version that must be there (0 = none), `ARGV[2]` new record, `ARGV[3]` largest
/// record, `ARGV[4]` for how many milliseconds it is kept, `ARGV[5]` instant of the event, `ARGV[6]` the event (empty = none),
/// `ARGV[7]` its place.
/// Answers `{1, 0}` if written, `{0, version found}` if another change came first, `{-1, 0}` if what is there is no record.
const PUT_SESSION: &str = r"
local found = 0
local size = redis.call('STRLEN', KEYS[1])
if size > tonumber(ARGV[3]) then return {-1, 0} end
if size > 0 then
  local ok, record = pcall(cjson.decode, redis.call('GET', KEYS[1]))
  if not ok or type(record) ~= 'table' or type(record.version) ~= 'number' then return {-1, 0} end
  found = record.version
end
if found ~= tonumber(ARGV[1]) then return {0, found} end
if ARGV[6] ~= '' then
  redis.call('HSET', KEYS[2], ARGV[5], ARGV[6])
  redis.call('ZADD', KEYS[3], 0, ARGV[7])
end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[4])
return {1, 0}
";

/// The script, hashed once.
pub(super) struct PutSession(Script);

impl PutSession {
    pub(super) fn new() -> Self {
        Self(Script::new(PUT_SESSION))
    }
}

/// What stands in the set of ends: enough to find all places of a session whose record is gone.
fn leftover(record: &SessionRecord) -> String {
    [&record.place(), &record.tenant, &record.subject].map(String::as_str).join("\n")
}

impl RedisStore {
    /// The indexes of sessions: of all, of a tenant, of a subject.
    fn session_indexes(&self, tenant: &str, subject: &str) -> [String; 3] {
        [self.layout.sessions(), self.layout.sessions_of(tenant), self.layout.sessions_by(subject)]
    }

    async fn index_session(&self, write: &SessionWrite<'_>) -> Result<(), StoreError> {
        let record = write.record;
        let mut writes = pipe();
        for index in self.session_indexes(&record.tenant, &record.subject) {
            writes.cmd("ZADD").arg(index).arg(0).arg(record.place()).ignore();
        }
        writes.cmd("ZADD").arg(self.layout.session_ends()).arg(write.until.0).arg(leftover(record)).ignore();
        if let Some(event) = &write.event {
            self.index_event(&mut writes, event);
        }
        self.run_pipe(&writes, &record.id).await
    }

    /// Places of sessions that are long over.
    async fn sweep_sessions(&self, now: Timestamp) -> Result<(), StoreError> {
        let ends = self.layout.session_ends();
        let range = async |mut link: Connection| -> RedisResult<Vec<String>> {
            let before = now.plus_millis(-SLACK_MS).0;
            cmd("ZRANGEBYSCORE").arg(&ends).arg("-inf").arg(before).arg("LIMIT").arg(0).arg(SWEPT).query_async(&mut link).await
        };
        let over = self.link.run(range).await.map_err(|error| error.about(&ends))?;
        if over.is_empty() {
            return Ok(());
        }
        let mut removals = pipe();
        for leftover in &over {
            let mut parts = leftover.splitn(3, '\n');
            let (Some(place), Some(tenant), Some(subject)) = (parts.next(), parts.next(), parts.next()) else { continue };
            for index in self.session_indexes(tenant, subject) {
                removals.cmd("ZREM").arg(index).arg(place).ignore();
            }
        }
        // Last: as long as it is there, whoever comes back finds the others.
        removals.cmd("ZREM").arg(&ends).arg(&over).ignore();
        self.run_pipe(&removals, &ends).await
    }
}

#[async_trait]
impl Sessions for RedisStore {
    async fn find_session(&self, id: &str) -> Result<Option<SessionRecord>, StoreError> {
        self.find(&self.layout.session(id), id).await
    }

    async fn put_session(&self, write: SessionWrite<'_>) -> Result<(), StoreError> {
        let (record, before) = (write.record, version_before(write.record)?);
        if before == 0 {
            self.sweep_sessions(write.at).await?;
        }
        self.index_session(&write).await?;
        let (name, [events, places]) = (self.layout.session(&record.id), self.layout.events_of(Object::Session, &record.id));
        let kept_ms = write.until.0.saturating_sub(write.at.0).max(1);
        let (instant, event, place) = match &write.event {
            Some(event) => (event.instant(), render_event(event)?, event.place()),
            None => <_>::default(),
        };
        let text = render(record)?;
        let put = async |mut link: Connection| {
            let mut call = self.put_session.0.key(&name);
            call.key(&events).key(&places).arg(before).arg(&text).arg(RECORD_MAX).arg(kept_ms).arg(&instant).arg(&event).arg(&place);
            call.invoke_async::<(i64, u64)>(&mut link).await
        };
        match self.link.run(put).await.map_err(|error| error.about(&record.id))? {
            (1, _) => Ok(()),
            (0, found) => Err(StoreError::Conflict { found }),
            _ => Err(corrupt(&record.id, "what is stored there is no record")),
        }
    }

    async fn list_sessions(&self, query: &SessionQuery<'_>) -> Result<Page<SessionRecord>, StoreError> {
        let index = match (query.subject, query.tenant) {
            (Some(subject), _) => self.layout.sessions_by(subject),
            (None, Some(tenant)) => self.layout.sessions_of(tenant),
            (None, None) => self.layout.sessions(),
        };
        let mut page: Page<SessionRecord> = self.list(&index, query.cursor, query.limit, |id| self.layout.session(id)).await?;
        page.items.retain(|record| query.takes(record));
        Ok(page)
    }
}
