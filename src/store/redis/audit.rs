//! Events in Redis: each in a hash of its record's slot, written by the script that commits the change. The sorted sets that lists
//! are made of are written before: a place in them that no event confirms is a leftover, and is not shown.

use redis::{Pipeline, RedisResult, cmd, pipe};

use super::RedisStore;
use super::connection::Connection;
use crate::audit::{Event, Object, Query};
use crate::clock::Timestamp;
use crate::store::codec::{corrupt, object_in_place, parse_event, render_event};
use crate::store::{Page, StoreError};

impl RedisStore {
    pub(super) fn index_event(&self, writes: &mut Pipeline, event: &Event) {
        for index in [self.layout.audit(), self.layout.audit_of(&event.tenant)] {
            writes.cmd("ZADD").arg(index).arg(0).arg(event.place()).ignore();
        }
    }

    pub(super) async fn write_event(&self, event: &Event) -> Result<(), StoreError> {
        let mut writes = pipe();
        self.index_event(&mut writes, event);
        let events = self.layout.events(event.object, &event.id);
        writes.cmd("HSET").arg(events).arg(event.instant()).arg(render_event(event)?).ignore();
        self.run_pipe(&writes, &event.id).await
    }

    pub(super) async fn events(&self, query: &Query<'_>) -> Result<Page<Event>, StoreError> {
        match query.of {
            Some((object, id)) => self.events_of(object, id, query).await,
            None => self.events_in(query).await,
        }
    }

    /// Of one record there are as many as it had changes: all are read.
    async fn events_of(&self, object: Object, id: &str, query: &Query<'_>) -> Result<Page<Event>, StoreError> {
        let name = self.layout.events(object, id);
        let read = async |mut link: Connection| -> RedisResult<Vec<Vec<u8>>> { cmd("HVALS").arg(&name).query_async(&mut link).await };
        let texts = self.link.run(read).await.map_err(|error| error.about(id))?;
        let (mut items, mut unreadable) = (Vec::new(), Vec::new());
        for text in texts {
            match parse_event(id, &text) {
                Ok(event) => items.push(event),
                Err(error) => unreadable.push(error),
            }
        }
        let (from, to) = query.bounds();
        items.retain(|event| (from.as_str()..to.as_str()).contains(&event.place().as_str()));
        items.retain(|event| query.tenant.is_none_or(|tenant| event.tenant == tenant));
        items.sort_by_cached_key(Event::place);
        if !query.oldest_first {
            items.reverse();
        }
        let more = items.len() > query.limit;
        items.truncate(query.limit);
        Ok(Page { next: items.last().filter(|_| more).map(Event::place), items, unreadable })
    }

    async fn events_in(&self, query: &Query<'_>) -> Result<Page<Event>, StoreError> {
        let index = query.tenant.map_or_else(|| self.layout.audit(), |tenant| self.layout.audit_of(tenant));
        let (from, to) = query.bounds();
        let (from, to) = (format!("[{from}"), format!("({to}"));
        let mut range = if query.oldest_first {
            cmd("ZRANGEBYLEX").arg(&index).arg(&from).arg(&to).take()
        } else {
            cmd("ZREVRANGEBYLEX").arg(&index).arg(&to).arg(&from).take()
        };
        range.arg("LIMIT").arg(0).arg(query.limit);
        let read = async |mut link: Connection| -> RedisResult<Vec<String>> { range.query_async(&mut link).await };
        let places = self.link.run(read).await.map_err(|error| error.about(&index))?;
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
        let texts = self.link.run(fetch).await.map_err(|error| error.about(&index))?;
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
            removals.cmd("HDEL").arg(self.layout.events(at.object, at.id)).arg(at.instant).ignore();
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
