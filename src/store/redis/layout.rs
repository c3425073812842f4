//! Every Redis key name, here and nowhere else. Cluster-safe: what must change together shares a hash tag (`{id}`);
//! everything else is only an index, proves nothing, and may be left over by a crash.
//!
//! | name | type | holds |
//! | --- | --- | --- |
//! | `key:{ID}` | string | the record of a key, JSON: the commit point |
//! | `tenant:{ID}` | string | the record of a tenant, JSON |
//! | `digest:HEX` | string, with an end once no record names it | id of the key whose record may name this stored digest, or did |
//! | `keys`, `keys-of:{TENANT}`, `tenants` | sorted set, all scores 0 | places (`codec::Record::place`), for lists |
//! | `audit:OBJECT:{ID}` | hash | what was done to this one: instant → event, JSON |
//! | `audit`, `audit-of:{TENANT}`, `audit:OBJECT:{ID}:places` | sorted set, all scores 0 | places (`audit::Event::place`), for lists |
//! | `{changes}:log` | stream | the change log |
//! | `limit:{HEX}` | string, with an end | what was taken from a bucket that the fleet counts in |
//! | `{changes}:instances` | hash | sidecar's id → when it was heard of, and what it said |
//! | `idempotency:{TENANT}:HEX` | hash | a reservation, by a name that only who has the Idempotency-Key can make |
//! | `idempotency:{TENANT}:bytes` | hash | when answers end → bytes of them that are kept |
//! | `usage:{ID}` | hash, with an end | what was seen of a key: its last use, networks, scopes |
//! | `usage:{ID}:DAY` | hash, with an end | what was counted of a key on a day |
//! | `denials` | stream | recent denials, capped |
//! | `session:{ID}` | string, with an end | the record of a session, JSON |
//! | `sessions`, `sessions-of:{TENANT}`, `sessions-by:{SUBJECT}` | sorted set, all scores 0 | places, for lists |
//! | `session-ends` | sorted set, by time | what is left in these lists when a session is gone |

use crate::audit::Object;
use crate::key::digest::StoredDigest;
use crate::store::reservation::Id;
use crate::usage::Day;

/// Makes key names.
#[derive(Debug)]
pub(super) struct Layout {
    prefix: String,
}

impl Layout {
    pub(super) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned() }
    }

    pub(super) fn key(&self, id: &str) -> String {
        format!("{}key:{{{id}}}", self.prefix)
    }

    pub(super) fn tenant(&self, id: &str) -> String {
        format!("{}tenant:{{{id}}}", self.prefix)
    }

    pub(super) fn digest(&self, digest: StoredDigest) -> String {
        format!("{}digest:{}", self.prefix, digest.to_hex())
    }

    pub(super) fn keys(&self) -> String {
        format!("{}keys", self.prefix)
    }

    pub(super) fn keys_of(&self, tenant: &str) -> String {
        format!("{}keys-of:{{{tenant}}}", self.prefix)
    }

    pub(super) fn changes(&self) -> String {
        format!("{}{{changes}}:log", self.prefix)
    }

    /// In the log's slot: what a replica holds of it then never is ahead of the log that it holds.
    pub(super) fn instances(&self) -> String {
        format!("{}{{changes}}:instances", self.prefix)
    }

    pub(super) fn limit(&self, name: &str) -> String {
        format!("{}limit:{{{name}}}", self.prefix)
    }

    pub(super) fn tenants(&self) -> String {
        format!("{}tenants", self.prefix)
    }

    /// In its record's slot.
    pub(super) fn events(&self, object: Object, id: &str) -> String {
        format!("{}audit:{}:{{{id}}}", self.prefix, object.word())
    }

    /// The same, and where they stand in the list of just these.
    pub(super) fn events_of(&self, object: Object, id: &str) -> [String; 2] {
        let events = self.events(object, id);
        let places = format!("{events}:places");
        [events, places]
    }

    pub(super) fn audit(&self) -> String {
        format!("{}audit", self.prefix)
    }

    pub(super) fn audit_of(&self, tenant: &str) -> String {
        format!("{}audit-of:{{{tenant}}}", self.prefix)
    }

    /// All of a tenant's are of one slot.
    pub(super) fn reservation(&self, tenant: &str, id: Id) -> String {
        format!("{}idempotency:{{{tenant}}}:{}", self.prefix, id.to_hex())
    }

    pub(super) fn reserved_bytes(&self, tenant: &str) -> String {
        format!("{}idempotency:{{{tenant}}}:bytes", self.prefix)
    }

    pub(super) fn session(&self, id: &str) -> String {
        format!("{}session:{{{id}}}", self.prefix)
    }

    pub(super) fn sessions(&self) -> String {
        format!("{}sessions", self.prefix)
    }

    pub(super) fn sessions_of(&self, tenant: &str) -> String {
        format!("{}sessions-of:{{{tenant}}}", self.prefix)
    }

    pub(super) fn sessions_by(&self, subject: &str) -> String {
        format!("{}sessions-by:{{{subject}}}", self.prefix)
    }

    pub(super) fn session_ends(&self) -> String {
        format!("{}session-ends", self.prefix)
    }

    pub(super) fn usage(&self, key: &str) -> String {
        format!("{}usage:{{{key}}}", self.prefix)
    }

    pub(super) fn usage_of_day(&self, key: &str, day: Day) -> String {
        format!("{}usage:{{{key}}}:{day}", self.prefix)
    }

    pub(super) fn denials(&self) -> String {
        format!("{}denials", self.prefix)
    }
}
