//! Records as bytes, the same in every store: JSON, bounded, parsed by total functions.
//! What a store holds is input: nothing in it may panic, and only a record that says so itself is believed.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::StoreError;
use crate::audit::{Event, Object, Subject};
use crate::clock::Timestamp;
use crate::key::digest::StoredDigest;
use crate::key::record::{FORMAT, KeyRecord};
use crate::session::record::SessionRecord;
use crate::tenant::TenantRecord;

/// Largest record, bytes. More is never fetched.
pub(super) const RECORD_MAX: usize = 256 << 10;

/// What keys, tenants and sessions have in common.
pub(super) trait Record: Subject + Serialize + DeserializeOwned {
    fn created_at(&self) -> Timestamp;

    /// Where it stands in lists: sorts by creation, then by id; also the cursor behind it.
    fn place(&self) -> String {
        format!("{:016}:{}", self.created_at().0.max(0), self.id())
    }
}

impl Record for KeyRecord {
    fn created_at(&self) -> Timestamp {
        self.created_at
    }
}

impl Record for TenantRecord {
    fn created_at(&self) -> Timestamp {
        self.created_at
    }
}

impl Record for SessionRecord {
    fn created_at(&self) -> Timestamp {
        self.created_at
    }
}

/// The id in a [`Record::place`].
pub(super) fn id_in_place(place: &str) -> Option<&str> {
    place.split_once(':').map(|(_, id)| id)
}

pub(super) fn corrupt(id: &str, why: impl Into<String>) -> StoreError {
    StoreError::Corrupt { id: id.to_owned(), why: why.into() }
}

/// Reads the record with this id.
pub(super) fn parse<R: Record>(id: &str, bytes: &[u8]) -> Result<R, StoreError> {
    #[derive(serde::Deserialize)]
    struct Format {
        format: u32,
    }
    if bytes.len() > RECORD_MAX {
        return Err(corrupt(id, format!("larger than {RECORD_MAX} bytes")));
    }
    // The format is read on its own: a newer one may have changed any other field.
    let Format { format } = serde_json::from_slice(bytes).map_err(|error| corrupt(id, error.to_string()))?;
    if format > FORMAT {
        return Err(corrupt(id, format!("written by a newer release: format {format}, this release reads {FORMAT}")));
    }
    let record: R = serde_json::from_slice(bytes).map_err(|error| corrupt(id, error.to_string()))?;
    if record.id() != id {
        return Err(corrupt(id, "it names another id"));
    }
    Ok(record)
}

/// Writes a record.
pub(super) fn render<R: Record>(record: &R) -> Result<String, StoreError> {
    let text = serde_json::to_string(record).map_err(|error| corrupt(record.id(), error.to_string()))?;
    if text.len() > RECORD_MAX {
        return Err(corrupt(record.id(), format!("larger than {RECORD_MAX} bytes")));
    }
    Ok(text)
}

/// Largest event, bytes: a record as it was and as it is.
const EVENT_MAX: usize = 2 * RECORD_MAX + 4096;

/// What a place of an event says.
pub(super) struct EventPlace<'a> {
    pub(super) place: &'a str,
    pub(super) object: Object,
    pub(super) id: &'a str,
    pub(super) instant: &'a str,
}

/// Reads an [`Event::place`].
pub(super) fn object_in_place(place: &str) -> Option<EventPlace<'_>> {
    let (at, rest) = place.split_once('/')?;
    let (version, rest) = rest.split_once('/')?;
    let (object, id) = rest.split_once('/')?;
    let object = [Object::Key, Object::Tenant, Object::Session, Object::Idempotency].into_iter().find(|known| known.word() == object)?;
    Some(EventPlace { place, object, id, instant: place.get(..at.len() + 1 + version.len())? })
}

/// Reads an event about this one.
pub(super) fn parse_event(id: &str, bytes: &[u8]) -> Result<Event, StoreError> {
    if bytes.len() > EVENT_MAX {
        return Err(corrupt(id, format!("an event larger than {EVENT_MAX} bytes")));
    }
    serde_json::from_slice(bytes).map_err(|error| corrupt(id, format!("an event: {error}")))
}

/// Writes an event.
pub(super) fn render_event(event: &Event) -> Result<String, StoreError> {
    serde_json::to_string(event).map_err(|error| corrupt(&event.id, error.to_string()))
}

/// The digests that a record names: its secret's and, while there is one, the replaced secret's.
pub(super) fn digests(record: &KeyRecord) -> impl Iterator<Item = StoredDigest> {
    let previous = record.previous.as_ref().map(|previous| previous.digest.as_str());
    std::iter::once(record.digest.as_str()).chain(previous).filter_map(StoredDigest::from_hex)
}

/// The version that must be there for a record to be written.
pub(super) fn version_before(record: &impl Record) -> Result<u64, StoreError> {
    record.version().checked_sub(1).ok_or_else(|| corrupt(record.id(), "version 0 cannot be written"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(parse::<KeyRecord>("key_x", &bytes).is_err());
            prop_assert!(parse::<TenantRecord>("acme", &bytes).is_err());
        }

        #[test]
        fn places_sort_by_creation_and_then_by_id(a in 0_i64..4_102_444_800_000, b in 0_i64..4_102_444_800_000) {
            let place = |ms, id: &str| {
                let mut record = crate::store::contract::tenant(id);
                record.created_at = Timestamp(ms);
                record.place()
            };
            prop_assert_eq!(a.cmp(&b), place(a, "x").cmp(&place(b, "x")));
            prop_assert!(place(a, "a") < place(a, "b"));
            let with_colon = place(a, "x:y");
            prop_assert_eq!(id_in_place(&with_colon), Some("x:y"));
        }
    }

    #[test]
    fn deep_nesting_and_duplicate_members_are_refused() {
        let deep = format!("{{\"format\":1,\"x\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(parse::<KeyRecord>("key_x", deep.as_bytes()).is_err());
        assert!(parse::<KeyRecord>("key_x", br#"{"format":1,"format":2}"#).is_err());
    }
}
