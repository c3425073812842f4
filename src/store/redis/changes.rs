//! The change log in Redis: one capped stream. Writers append by a script; a reader blocks on a connection of its own and goes on
//! from its position. `XREAD` tells neither of a trim nor of a lost end: entries are numbered and chained, and the last one
//! is looked at after every read.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use redis::streams::{StreamId, StreamRangeReply, StreamReadReply};
use redis::{FromRedisValue as _, Pipeline, RedisError, Value};
use tokio::time::{sleep, timeout};

use super::RedisStore;
use super::connection::{Connection, Link, LinkError};
use crate::store::StoreError;
use crate::store::change::{Batch, ChangeLog, Changed, Position, TURN};

/// Changes kept; a reader that was away for more revalidates everything.
const KEPT: usize = 100_000;
/// Changes read at once.
const COUNT: usize = 1_000;
/// Pause between reads where the server does not let them wait.
const POLL: Duration = Duration::from_millis(100);

impl RedisStore {
    pub(super) async fn append(&self, changes: &[Changed]) -> Result<Position, StoreError> {
        let log = self.layout.changes();
        let mut append = self.scripts.append.prepare_invoke();
        append.key(&log).arg(format!("{:016x}", fastrand::u64(..))).arg(KEPT);
        for change in changes {
            let (what, id, version) = change.fields();
            append.arg(what).arg(id).arg(version);
        }
        let appended = self.link.run(async |mut link| append.invoke_async::<u64>(&mut link).await).await;
        appended.map(Position).map_err(|error| error.about("of the change log"))
    }

    pub(super) async fn last_position(&self) -> Result<Position, StoreError> {
        let log = self.layout.changes();
        let last = async |mut link| redis::cmd("XREVRANGE").arg(&log).arg("+").arg("-").arg("COUNT").arg(1).query_async(&mut link).await;
        let last: StreamRangeReply = self.link.run(last).await.map_err(|error| error.about("of the change log"))?;
        Ok(Position(last.ids.first().map_or(0, |entry| Seen::of(entry).position)))
    }
}

/// The last entry that was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    /// As it is there: others than we may have written it.
    id: String,
    position: u64,
    link: String,
}

/// The reader.
pub(in crate::store) struct RedisChanges {
    link: Arc<Link>,
    log: String,
    /// Its own: a read that waits holds up whatever is behind it.
    connection: Option<Connection>,
    /// Unset until the log was looked at once.
    seen: Option<Seen>,
    /// Whether the server lets reads wait.
    waits: bool,
}

impl RedisChanges {
    pub(super) const fn new(link: Arc<Link>, log: String) -> Self {
        Self { link, log, connection: None, seen: None, waits: true }
    }

    /// Reads what is behind `from`, and the last entry that there is after that.
    async fn read(&mut self, from: &str) -> Result<(Vec<StreamId>, Seen), LinkError> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.link.dedicated().await?,
        };
        let query = self.query(from);
        let limit = TURN + self.link.command_timeout();
        let Ok(answer) = timeout(limit, query.query_async::<(Value, Value)>(&mut connection)).await else {
            return Err(LinkError::Unavailable(format!("the change log: no answer within {} ms", limit.as_millis())));
        };
        let (read, last) = answer.map_err(LinkError::Redis)?;
        let read = if read == Value::Nil { Vec::new() } else { entries(read).map_err(LinkError::Redis)? };
        let last = StreamRangeReply::from_redis_value(last).map_err(|error| LinkError::Redis(error.into()))?;
        self.connection = Some(connection);
        Ok((read, last.ids.first().map(Seen::of).unwrap_or_default()))
    }

    fn query(&self, from: &str) -> Pipeline {
        let mut query = redis::pipe();
        query.cmd("XREAD").arg("COUNT").arg(COUNT);
        if self.waits {
            query.arg("BLOCK").arg(TURN.as_millis());
        }
        query.arg("STREAMS").arg(&self.log).arg(from);
        query.cmd("XREVRANGE").arg(&self.log).arg("+").arg("-").arg("COUNT").arg(1);
        query
    }

    /// Where the log ends now: everything before is as good as missed.
    async fn begin(&mut self) -> Result<Batch, LinkError> {
        // Behind the end: nothing is read, nothing is waited for.
        let waits = std::mem::replace(&mut self.waits, false);
        let answer = self.read("$").await;
        self.waits = waits;
        let (_, last) = answer?;
        let position = Position(last.position);
        self.seen = Some(last);
        Ok(Batch { changes: vec![Changed::Everything], position, current: true })
    }
}

#[async_trait]
impl ChangeLog for RedisChanges {
    async fn next(&mut self) -> Result<Batch, StoreError> {
        let about = |error: LinkError| error.about("of the change log");
        let Some(seen) = self.seen.clone() else { return self.begin().await.map_err(about) };
        if !self.waits {
            sleep(POLL).await;
        }
        let (read, last) = match self.read(&seen.id).await {
            Err(LinkError::Redis(error)) if self.waits && may_not_wait(&error) => {
                tracing::warn!(%error, "the store refuses reads that wait; its changes are polled");
                self.waits = false;
                return Ok(Batch { changes: Vec::new(), position: Position(seen.position), current: false });
            }
            answer => answer.map_err(about)?,
        };
        let (batch, seen) = follow(seen, &read, &last);
        self.seen = Some(seen);
        Ok(batch)
    }
}

/// What the entries behind `seen` mean, if the log ended in `last` after they were read.
fn follow(mut seen: Seen, read: &[StreamId], last: &Seen) -> (Batch, Seen) {
    let mut changes = Vec::with_capacity(read.len());
    for entry in read {
        let next = Seen::of(entry);
        // After the last number that there is, and behind an id that no writer of ours gives, comes what nobody can know.
        if Some(next.position) != seen.position.checked_add(1) || !next.is_ours() || field(entry, "prev") != seen.link {
            changes.push(Changed::Everything);
        }
        let version = field(entry, "version").parse().unwrap_or(0);
        changes.push(Changed::from_fields(&field(entry, "what"), &field(entry, "id"), version));
        seen = next;
    }
    // Shorter than what was read before, or another log: its end got lost.
    if last.position < seen.position || (last.position == seen.position && last != &seen) {
        changes.push(Changed::Everything);
        seen = last.clone();
    }
    let current = *last == seen;
    (Batch { changes, position: Position(seen.position), current }, seen)
}

impl Seen {
    fn of(entry: &StreamId) -> Self {
        let position = entry.id.split('-').next().and_then(|position| position.parse().ok()).unwrap_or(0);
        Self { id: entry.id.clone(), position, link: field(entry, "link") }
    }

    /// Whether the whole id is the position.
    fn is_ours(&self) -> bool {
        self.id.strip_suffix("-0").and_then(|position| position.parse().ok()) == Some(self.position)
    }
}

/// Before the first entry.
impl Default for Seen {
    fn default() -> Self {
        Self { id: "0-0".to_owned(), position: 0, link: String::new() }
    }
}

fn field(entry: &StreamId, name: &str) -> String {
    entry.get(name).unwrap_or_default()
}

fn entries(read: Value) -> Result<Vec<StreamId>, RedisError> {
    let read = StreamReadReply::from_redis_value(read)?;
    Ok(read.keys.into_iter().flat_map(|stream| stream.ids).collect())
}

/// Whether the server knows the command and will not let it wait (proxies and managed services do that).
fn may_not_wait(error: &RedisError) -> bool {
    let says = |word: &str| error.detail().is_some_and(|detail| detail.to_ascii_lowercase().contains(word));
    error.code() == Some("ERR") && (says("block") || says("not allowed") || says("unsupported") || says("syntax"))
}

#[cfg(test)]
mod tests;
