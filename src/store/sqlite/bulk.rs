//! Many new records in one transaction, so that a batch costs one wait for the disk. Whoever is in the way is looked for first:
//! then every record is written wholly or not at all, without a savepoint each.

use rusqlite::{Connection, OptionalExtension as _, Transaction};

use super::schema::Table;
use super::{Change, changes, in_transaction, put, record_bytes, unavailable, write};
use crate::key::record::KeyRecord;
use crate::store::change::Changed;
use crate::store::codec::{digests, parse};
use crate::store::{Outcome, StoreError, own};
use crate::tenant::TenantRecord;

type Rival = Outcome<Option<KeyRecord>>;

/// Page cache of a connection that writes many, KiB. Ids and digests are random: without it every page of their indexes would be
/// read and written again for every batch.
const CACHE_KIB: i64 = 16 << 10;

pub(super) fn put_new_keys(connection: &mut Connection, changes: &[Change<KeyRecord>]) -> Result<Vec<Outcome>, StoreError> {
    put_new(connection, changes, Some(&Changed::NewKeys), |transaction, (record, event)| {
        if let Some(id) = owner(transaction, record)? {
            return Err(StoreError::DigestTaken { id });
        }
        write(transaction, Table::Keys, &record.tenant, record, event)?;
        super::digests::index(transaction, record, event.at)
    })
}

pub(super) fn put_new_tenants(connection: &mut Connection, changes: &[Change<TenantRecord>]) -> Result<Vec<Outcome>, StoreError> {
    put_new(connection, changes, None, |transaction, change| {
        put(transaction, Table::Tenants, "", change, &Changed::of_tenant(&change.0)).map(drop)
    })
}

fn put_new<R>(
    connection: &mut Connection,
    new: &[Change<R>],
    change: Option<&Changed>,
    put_one: impl Fn(&Transaction<'_>, &Change<R>) -> Result<(), StoreError>,
) -> Result<Vec<Outcome>, StoreError> {
    if new.is_empty() {
        return Ok(Vec::new());
    }
    connection.pragma_update(None, "cache_size", -CACHE_KIB).map_err(unavailable)?;
    in_transaction(connection, |transaction| {
        let mut outcomes = Vec::with_capacity(new.len());
        for each in new {
            outcomes.push(own(put_one(transaction, each))?);
        }
        if let Some(change) = change {
            changes::append(transaction, change).map_err(unavailable)?;
        }
        Ok(outcomes)
    })
}

/// Another key that has one of this one's digests.
fn owner(connection: &Connection, record: &KeyRecord) -> Result<Option<String>, StoreError> {
    for digest in digests(record) {
        let mut query = connection.prepare_cached("SELECT key_id FROM digests WHERE digest = ?1").map_err(unavailable)?;
        let id: Option<String> = query.query_row([digest.0], |row| row.get(0)).optional().map_err(unavailable)?;
        if let Some(id) = id.filter(|id| *id != record.id) {
            return Ok(Some(id));
        }
    }
    Ok(None)
}

/// The keys that are in the way of these.
pub(super) fn find_rivals(connection: &Connection, records: &[KeyRecord]) -> Result<Vec<Rival>, StoreError> {
    let find = |id: &str| -> Result<Rival, StoreError> {
        let mut query = connection.prepare_cached(Table::Keys.select_one()).map_err(unavailable)?;
        let bytes = query.query_row([id], record_bytes).optional().map_err(unavailable)?;
        Ok(bytes.map(|bytes| parse(id, &bytes?)).transpose())
    };
    let rival = |record: &KeyRecord| match find(&record.id)? {
        Ok(None) => owner(connection, record)?.map_or(Ok(Ok(None)), |id| find(&id)),
        there => Ok(there),
    };
    records.iter().map(rival).collect()
}
