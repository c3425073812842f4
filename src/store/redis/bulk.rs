//! Many new records by few exchanges. The order is that of one record: digest indexes, list indexes, the record as the commit, the
//! change; a crash in between leaves index entries that no record confirms. Whatever is not plainly new goes the way of one record.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use redis::{Cmd, FromRedisValue, RedisResult, Value, cmd};

use super::connection::Connection;
use super::scripts::PUT_NEW;
use super::{ID_MAX, RedisStore};
use crate::key::record::KeyRecord;
use crate::store::change::Changed;
use crate::store::codec::{RECORD_MAX, Record, corrupt, digests, parse, render, render_event};
use crate::store::{Audited, Outcome, Store as _, StoreError, own};
use crate::tenant::TenantRecord;

/// Records in one exchange: few enough for `command_timeout` on a slow network.
const AT_ONCE: usize = 250;

type Rival = Outcome<Option<KeyRecord>>;

impl RedisStore {
    pub(super) async fn put_many_keys(&self, writes: &[Audited<'_, KeyRecord>]) -> Result<Vec<Outcome>, StoreError> {
        let mut outcomes = Vec::with_capacity(writes.len());
        for writes in writes.chunks(AT_ONCE) {
            let new = self.claim_digests(writes).await?;
            let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
            for write in new.iter().flatten() {
                for index in [self.layout.keys(), self.layout.keys_of(&write.record.tenant)] {
                    places.entry(index).or_default().push(write.record.place());
                }
            }
            let written = self.write_new(&new, places, |id| self.layout.key(id)).await?;
            let said = self.said_of(writes).await?;
            for ((write, written), said) in writes.iter().zip(written).zip(said) {
                outcomes.push(match (written, said) {
                    (Some(Ok(())), Some(said)) => own(self.take_back(write, &said).await)?,
                    (Some(outcome), _) => outcome,
                    (None, _) => own(self.put_key(write.clone()).await.map(drop))?,
                });
            }
        }
        if !writes.is_empty() {
            self.announce(&[Changed::NewKeys]).await?;
        }
        Ok(outcomes)
    }

    pub(super) async fn put_many_tenants(&self, writes: &[Audited<'_, TenantRecord>]) -> Result<Vec<Outcome>, StoreError> {
        let mut outcomes = Vec::with_capacity(writes.len());
        for writes in writes.chunks(AT_ONCE) {
            let new: Vec<_> = writes.iter().map(|write| (write.record.version == 1).then_some(write)).collect();
            let places = BTreeMap::from([(self.layout.tenants(), writes.iter().map(|write| write.record.place()).collect())]);
            let written = self.write_new(&new, places, |id| self.layout.tenant(id)).await?;
            let changes: Vec<Changed> = writes.iter().map(|write| Changed::of_tenant(write.record)).collect();
            self.announce(&changes).await?;
            for (write, written) in writes.iter().zip(written) {
                outcomes.push(match written {
                    Some(outcome) => outcome,
                    None => own(self.put_tenant(write.clone()).await.map(drop))?,
                });
            }
        }
        Ok(outcomes)
    }

    /// Points free digests at their keys. Answers the records whose digests all were free, each in its place.
    async fn claim_digests<'w, 'a>(
        &self,
        writes: &'w [Audited<'a, KeyRecord>],
    ) -> Result<Vec<Option<&'w Audited<'a, KeyRecord>>>, StoreError> {
        let claims = writes.iter().flat_map(|write| digests(write.record).map(|digest| (write.record.id.as_str(), digest)));
        let claims = claims.map(|(id, digest)| command("SET", &self.layout.digest(digest)).arg(id).arg("NX").take());
        let mut answers = self.answers::<Value>(claims.collect()).await?.into_iter();
        let mut is_new = |record: &KeyRecord| {
            // Every digest has its answer, whatever the first one says.
            digests(record).fold(true, |all, _| matches!(answers.next(), Some(Ok(Value::Okay))) && all)
        };
        Ok(writes.iter().map(|write| (is_new(write.record) && write.record.version == 1).then_some(write)).collect())
    }

    /// What the index says of each record's digests where that is another key. What was claimed may have been taken for a leftover.
    async fn said_of(&self, writes: &[Audited<'_, KeyRecord>]) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        let names = writes.iter().flat_map(|write| digests(write.record).map(|digest| self.layout.digest(digest)));
        let mut answers = self.answers::<Vec<u8>>(names.map(|name| read(&name, ID_MAX)).collect()).await?.into_iter();
        let mut other = |record: &KeyRecord| {
            digests(record).fold(None, |other, _| {
                let said = answers.next().and_then(Result::ok);
                other.or(said.filter(|said| said != record.id.as_bytes()))
            })
        };
        Ok(writes.iter().map(|write| other(write.record)).collect())
    }

    /// Writes list indexes, then records with their events. Answers for each how it went, or `None`: something is there already.
    async fn write_new<R: Record>(
        &self,
        writes: &[Option<&Audited<'_, R>>],
        mut places: BTreeMap<String, Vec<String>>,
        name: impl Fn(&str) -> String,
    ) -> Result<Vec<Option<Outcome>>, StoreError> {
        for event in writes.iter().flatten().map(|write| &write.event) {
            for index in [self.layout.audit(), self.layout.audit_of(&event.tenant)] {
                places.entry(index).or_default().push(event.place());
            }
        }
        let add = |(index, places): (String, Vec<String>)| {
            let mut add = command("ZADD", &index);
            for place in places {
                add.arg(0).arg(place);
            }
            add
        };
        for answer in self.answers::<Value>(places.into_iter().map(add).collect()).await? {
            answer.map_err(|error| unavailable(&error))?;
        }
        let put = |write: &Audited<'_, R>| -> Result<Cmd, StoreError> {
            let (event, name, text) = (&write.event, name(write.record.id()), render(write.record)?);
            let put = cmd("EVAL").arg(PUT_NEW).arg(3).arg(name).arg(&self.layout.events_of(event.object, &event.id)).arg(text).take();
            Ok(put.clone().arg(event.instant()).arg(render_event(event)?).arg(event.place()).take())
        };
        let puts: Vec<Option<Result<Cmd, StoreError>>> = writes.iter().map(|write| write.map(put)).collect();
        let mut answers = self.answers::<bool>(puts.iter().flatten().flatten().cloned().collect()).await?.into_iter();
        let mut outcome = |put: Result<Cmd, StoreError>| match put {
            Err(error) => Ok(Some(Err(error))),
            Ok(_) => match answers.next() {
                Some(Ok(is_new)) => Ok(is_new.then_some(Ok(()))),
                Some(Err(error)) => Err(unavailable(&error)),
                None => Ok(None),
            },
        };
        puts.into_iter().map(|put| put.map_or(Ok(None), &mut outcome)).collect()
    }

    pub(super) async fn find_many_rivals(&self, records: &[&KeyRecord]) -> Result<Vec<Rival>, StoreError> {
        let mut rivals = Vec::with_capacity(records.len());
        for records in records.chunks(AT_ONCE) {
            // The owners of a record's digests, as far as the index says so: it proves nothing.
            let names = records.iter().flat_map(|record| digests(record).map(|digest| self.layout.digest(digest)));
            let mut answers = self.answers::<Vec<u8>>(names.map(|name| read(&name, ID_MAX)).collect()).await?.into_iter();
            let asked: Vec<Vec<String>> = records
                .iter()
                .map(|record| {
                    let owners = digests(record).filter_map(|_| String::from_utf8(answers.next()?.ok()?).ok());
                    let owners = owners.filter(|id| !id.is_empty() && id.len() <= ID_MAX && *id != record.id);
                    std::iter::once(record.id.clone()).chain(owners.collect::<Vec<_>>()).collect()
                })
                .collect();
            let reads = asked.iter().flatten().map(|id| read(&self.layout.key(id), RECORD_MAX));
            let mut texts = self.answers::<Vec<u8>>(reads.collect()).await?.into_iter();
            for (record, ids) in records.iter().zip(asked) {
                let found = ids.into_iter().zip(texts.by_ref());
                rivals.push(rival(record, found.collect()));
            }
        }
        Ok(rivals)
    }

    /// Runs commands, each with its own answer.
    pub(super) async fn answers<T: FromRedisValue>(&self, commands: Vec<Cmd>) -> Result<Vec<RedisResult<T>>, StoreError> {
        if commands.is_empty() {
            return Ok(Vec::new());
        }
        let mut pipeline = redis::pipe();
        for command in commands {
            pipeline.add_command(command);
        }
        pipeline.ignore_errors();
        let run = async |mut link: Connection| pipeline.query_async::<Vec<RedisResult<T>>>(&mut link).await;
        self.link.run(run).await.map_err(|error| error.about("of a batch"))
    }
}

fn command(name: &str, key: &str) -> Cmd {
    cmd(name).arg(key).take()
}

/// At most `max` bytes of a string; one more tells that there are more.
fn read(name: &str, max: usize) -> Cmd {
    command("GETRANGE", name).arg(0).arg(max).take()
}

fn unavailable(error: &redis::RedisError) -> StoreError {
    StoreError::Unavailable(error.to_string())
}

/// The one of these that is in the way: the first is what the record's id has.
fn rival(record: &KeyRecord, found: Vec<(String, RedisResult<Vec<u8>>)>) -> Rival {
    for (id, text) in found {
        let there = match text {
            Ok(text) if text.is_empty() => continue,
            Ok(text) => parse::<KeyRecord>(&id, &text),
            Err(error) => Err(corrupt(&id, error.category())),
        };
        match there {
            Ok(there) if id == record.id || digests(&there).any(|named| digests(record).any(|digest| digest == named)) => {
                return Ok(Some(there));
            }
            Err(error) if id == record.id => return Err(error),
            // What does not name the digest, or cannot be read, does not have the secret.
            Ok(_) | Err(_) => {}
        }
    }
    Ok(None)
}
