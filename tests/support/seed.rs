//! Records for the key table, written through the `Store` trait as they are: also such as no command would write.

use std::sync::Arc;

use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use sidegate::audit::{Action, Actor, Event, Subject};
use sidegate::clock::{Clock, Timestamp};
use sidegate::config::sections::{Config, EnvironmentName};
use sidegate::key::digest::{Digest, Peppers};
use sidegate::key::format::generate;
use sidegate::key::record::KeyRecord;
use sidegate::store::{Audited, Store};
use sidegate::tenant::TenantRecord;

/// When seeded records were made.
pub(crate) const CREATED: &str = "2026-01-02T03:04:05Z";

/// A key and what only its owner has.
#[derive(Debug, Clone)]
pub(crate) struct Issued {
    pub(crate) record: KeyRecord,
    pub(crate) secret: String,
}

/// A key table to write into.
pub(crate) struct Table {
    runtime: tokio::runtime::Runtime,
    pub(crate) store: Arc<dyn Store>,
}

impl Table {
    /// The store of a configuration.
    pub(crate) fn open(config: &Config) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let store = runtime.block_on(async { open(config).await });
        Self { runtime, store }
    }

    pub(crate) fn put_key(&self, record: &KeyRecord) {
        self.runtime.block_on(self.store.put_key(bare(record))).unwrap();
    }

    pub(crate) fn put_tenant(&self, record: &TenantRecord) {
        self.runtime.block_on(self.store.put_tenant(bare(record))).unwrap();
    }

    pub(crate) fn find_key(&self, id: &str) -> Option<KeyRecord> {
        self.runtime.block_on(self.store.find_key(id)).unwrap()
    }

    /// Changes a key as a command would: the next version.
    pub(crate) fn update_key(&self, id: &str, change: impl FnOnce(&mut KeyRecord)) {
        let mut record = self.find_key(id).unwrap();
        change(&mut record);
        record.version += 1;
        self.put_key(&record);
    }

    /// Writes a tenant and a key of it, all defaults.
    pub(crate) fn issue(&self, config: &Config, tenant: &Value, key: &Value) -> Issued {
        let tenant = self::tenant(tenant);
        let issued = self::key(config, &tenant.id, key);
        self.put_tenant(&tenant);
        self.put_key(&issued.record);
        issued
    }
}

/// A write that nobody in particular makes.
pub(crate) fn bare<R: Subject>(record: &R) -> Audited<'_, R> {
    let event = Event::of(&Actor::local("test"), Action::Update, Timestamp(1_700_000_000_000), None, record);
    Audited { record, event }
}

async fn open(config: &Config) -> Arc<dyn Store> {
    sidegate::store::open(&config.store, &Clock::System).await.unwrap().store
}

/// A tenant's record: `acme`, active, but for what `overrides` says.
pub(crate) fn tenant(overrides: &Value) -> TenantRecord {
    let mut record = json!({
        "format": 1, "id": "acme", "name": "Acme Inc", "status": "active", "created_at": CREATED, "version": 1,
    });
    overlay(&mut record, overrides);
    serde_json::from_value(record).unwrap()
}

/// A key's record and secret: secret kind, live, active, but for what `overrides` says. Its members are the record's, and
/// `secret` (instead of a generated one).
pub(crate) fn key(config: &Config, tenant: &str, overrides: &Value) -> Issued {
    let mut record = json!({
        "format": 1, "id": "key_main", "tenant": tenant, "name": "Main", "kind": "secret", "environment": "live",
        "status": "active", "created_at": CREATED, "created_by": "test", "version": 1,
    });
    overlay(&mut record, overrides);
    let fields = record.as_object_mut().unwrap();
    let prefix = prefix(config, fields["kind"].as_str().unwrap(), fields["environment"].as_str().unwrap());
    let secret = match fields.remove("secret") {
        Some(secret) => secret.as_str().unwrap().to_owned(),
        None => generate(&prefix).unwrap().expose_secret().to_owned(),
    };
    fields.entry("prefix").or_insert(json!(prefix));
    fields.entry("last4").or_insert(json!(secret.get(secret.len().saturating_sub(4)..)));
    fields.entry("digest").or_insert(json!(digest(&secret)));
    Issued { record: serde_json::from_value(record).unwrap(), secret }
}

/// What a store without pepper knows a secret by.
pub(crate) fn digest(secret: &str) -> String {
    Peppers::default().store(&Digest::of(secret.as_bytes())).to_hex()
}

/// What keys of a kind begin with.
pub(crate) fn prefix(config: &Config, kind: &str, environment: &str) -> String {
    let kind = config.key_kinds.iter().find(|own| own.name == kind).unwrap_or_else(|| panic!("no kind {kind}"));
    let prefix = if environment == EnvironmentName::Live.name() { &kind.prefixes.live } else { &kind.prefixes.test };
    prefix.clone().unwrap_or_default()
}

fn overlay(record: &mut Value, overrides: &Value) {
    for (name, value) in overrides.as_object().into_iter().flatten() {
        record[name.as_str()] = value.clone();
    }
}
