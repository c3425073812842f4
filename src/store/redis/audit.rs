//! Events in Redis: each in a hash of its record's slot, with its place in the list of just these, written by the script that commits the
//! change. The other sorted sets that lists are made of are written before: a place in them that no event confirms is a leftover, and is
//! not shown.

use redis::{Pipeline, RedisResult, cmd, pipe};

use super::RedisStore;
use super::connection::Connection;
use crate::audit::{Event, Object, Query};
use crate::clock::Timestamp;
use crate::store::codec::{corrupt, object_in_place, parse_event, render_event};
use crate::store::{Page, StoreError};

/// Events of one record that are looked at at once.
const SCANNED: usize = 200;

/// Where a scan goes on, and what it has found: instants and events.
type Scanned = (u64, Vec<(String, Vec<u8>)>);

impl RedisStore {
    pub(super) fn index_event(&self, writes: &mut Pipeline, event: &Event) {
        for index in [self.layout.audit(), self.layout.audit_of(&event.tenant)] {
            writes.cmd("ZADD").arg(index).arg(0).arg(event.place()).ignore();
        }
    }

    pub(super) async fn write_event(&self, event: &Event) -> Result<(), StoreError> {
        let mut writes = pipe();
        self.index_event(&mut writes, event);
        let [events, places] = self.layout.events_of(event.object, &event.id);
        writes.cmd("ZADD").arg(places).arg(0).arg(event.place()).ignore();
        writes.cmd("HSET").arg(events).arg(event.instant()).arg(render_event(event)?).ignore();
        self.run_pipe(&writes, &event.id).await
    }

    pub(super) async fn events(&self, query: &Query<'_>) -> Result<Page<Event>, StoreError> {
        let Some((object, id)) = query.of else {
            let index = query.tenant.map_or_else(|| self.layout.audit(), |tenant| self.layout.audit_of(tenant));
            return self.events_in(&index, query).await;
        };
        self.complete_places(object, id).await?;
        let [_, places] = self.layout.events_of(object, id);
        let mut page = self.events_in(&places, query).await?;
        page.items.retain(|event| query.tenant.is_none_or(|tenant| event.tenant == tenant));
        Ok(page)
    }

    /// Releases that did not know this list have written events without: they are looked for once, a few at a time.
    async fn complete_places(&self, object: Object, id: &str) -> Result<(), StoreError> {
        let [events, places] = self.layout.events_of(object, id);
        let count = async |mut link: Connection| -> RedisResult<(u64, u64)> {
            pipe().cmd("HLEN").arg(&events).cmd("ZCARD").arg(&places).query_async(&mut link).await
        };
        let (written, listed) = self.link.run(count).await.map_err(|error| error.about(id))?;
        let (mut cursor, mut is_done) = (0_u64, written <= listed);
        while !is_done {
            let scan = async |mut link: Connection| -> RedisResult<Scanned> {
                cmd("HSCAN").arg(&events).arg(cursor).arg("COUNT").arg(SCANNED).query_async(&mut link).await
            };
            let (next, found) = self.link.run(scan).await.map_err(|error| error.about(id))?;
            if !found.is_empty() {
                let mut add = cmd("ZADD").arg(&places).take();
                for (instant, _) in found {
                    add.arg(0).arg(format!("{instant}/{}/{id}", object.word()));
                }
                self.run_pipe(pipe().add_command(add).ignore(), id).await?;
            }
            (cursor, is_done) = (next, next == 0);
        }
        Ok(())
    }

    async fn events_in(&self, index: &str, query: &Query<'_>) -> Result<Page<Event>, StoreError> {
        let (from, to) = query.bounds();
        let (from, to) = (format!("[{from}"), format!("({to}"));
        let mut range = if query.oldest_first {
            cmd("ZRANGEBYLEX").arg(index).arg(&from).arg(&to).take()
        } else {
            cmd("ZREVRANGEBYLEX").arg(index).arg(&to).arg(&from).take()
        };
        range.arg("LIMIT").arg(0).arg(query.limit);
        let read = async |mut link: Connection| -> RedisResult<Vec<String>> { range.query_async(&mut link).await };
        let places = self.link.run(read).await.map_err(|error| error.about(index))?;
        let next = places.last().filter(|_| places.len() == query.limit).cloned();
        let entries: Vec<_> = places.iter().filter_map(|place| Some((place, object_in_place(place)?))).collect();
        let mut reads = pipe();
        for (_, at) in &entries {
            reads.cmd("HGET").arg(self.layout.events(at.object, at.id)).arg(at.instant);
        }
        reads.ignore_errors();
        let fetch = async |mut link: Connection| -> RedisResult<Vec<RedisResult<Option<Vec<u8>>>>> {
            if entries.is_empty() { Ok(Vec::new()) } else { reads.query_async(&mut link).await }
        };
        let texts = self.link.run(fetch).await.map_err(|error| error.about(index))?;
        let (mut items, mut unreadable) = (Vec::new(), Vec::new());
        for ((_, at), text) in entries.into_iter().zip(texts) {
            match text.map_err(|error| corrupt(at.id, error.category())).map(|text| text.map(|text| parse_event(at.id, &text))) {
                Ok(None) => {}
                Ok(Some(Ok(event))) => items.push(event),
                Ok(Some(Err(error))) | Err(error) => unreadable.push(error),
            }
        }
        Ok(Page { items, next, unreadable })
    }

    pub(super) async fn forget(&self, before: Timestamp, limit: usize) -> Result<usize, StoreError> {
        let (index, to) = (self.layout.audit(), Query { until: Some(before), ..Query::default() }.bounds().1);
        let range = async |mut link: Connection| -> RedisResult<Vec<String>> {
            cmd("ZRANGEBYLEX").arg(&index).arg("-").arg(format!("({to}")).arg("LIMIT").arg(0).arg(limit).query_async(&mut link).await
        };
        let places = self.link.run(range).await.map_err(|error| error.about(&index))?;
        if places.is_empty() {
            return Ok(0);
        }
        let entries: Vec<_> = places.iter().filter_map(|place| object_in_place(place)).collect();
        let mut reads = pipe();
        for at in &entries {
            reads.cmd("HGET").arg(self.layout.events(at.object, at.id)).arg(at.instant);
        }
        reads.ignore_errors();
        let fetch = async |mut link: Connection| -> RedisResult<Vec<RedisResult<Option<Vec<u8>>>>> { reads.query_async(&mut link).await };
        let texts = self.link.run(fetch).await.map_err(|error| error.about(&index))?;
        // The event first: as long as its place is there, whoever comes back finds it.
        let mut removals = pipe();
        for (at, text) in entries.iter().zip(texts) {
            let [events, list] = self.layout.events_of(at.object, at.id);
            removals.cmd("HDEL").arg(events).arg(at.instant).ignore();
            removals.cmd("ZREM").arg(list).arg(at.place).ignore();
            if let Ok(Some(text)) = text
                && let Ok(event) = parse_event(at.id, &text)
            {
                removals.cmd("ZREM").arg(self.layout.audit_of(&event.tenant)).arg(event.place()).ignore();
            }
        }
        removals.cmd("ZREM").arg(&index).arg(&places).ignore();
        self.run_pipe(&removals, &index).await?;
        Ok(places.len())
    }
}
