//! All keys as a file that an import of another Sidegate reads: everything of a record but what only this table can use
//! (its version, the replaced secret of an overlap). Page by page; no secret is in it, for none is in the table.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use serde::Serialize;
use serde_json::Value;

use super::digest::Peppers;
use super::import::{Form, NONE, digest};
use super::lifecycle::{Lifecycle, LifecycleError, PAGE};
use super::record::{KeyRecord, KeyStatus};
use crate::clock::Timestamp;
use crate::config::sections::{Checksum, EnvironmentName};
use crate::store::StoreError;
use crate::tenant::{TenantRecord, TenantStatus};

/// A record, as an import reads it.
#[derive(Debug, Serialize)]
pub(super) struct Row<'a> {
    id: &'a str,
    tenant: &'a str,
    name: &'a str,
    environment: EnvironmentName,
    kind: &'a str,
    scopes: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    ip_allowlist: &'a Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    referrers: &'a Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    endpoints: &'a Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rate_limit: &'a Option<Value>,
    status: KeyStatus,
    expires_at: Option<Timestamp>,
    created_at: Timestamp,
    created_by: &'a str,
    rotated_at: Option<Timestamp>,
    last_used: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_used_from: &'a Option<String>,
    exposed: bool,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    metadata: &'a BTreeMap<String, String>,
    prefix: &'a str,
    last4: &'a str,
    digest: String,
    native: bool,
}

/// The columns of CSV; an import knows the same.
pub(super) const COLUMNS: [&str; 23] = [
    "id",
    "tenant",
    "name",
    "environment",
    "kind",
    "scopes",
    "ip_allowlist",
    "referrers",
    "endpoints",
    "rate_limit",
    "status",
    "expires_at",
    "created_at",
    "created_by",
    "rotated_at",
    "last_used",
    "last_used_from",
    "exposed",
    "metadata",
    "prefix",
    "last4",
    "digest",
    "native",
];

/// What was done.
#[derive(Debug, Default)]
pub struct Exported {
    /// Keys written.
    pub written: u64,
    /// Records that cannot be read, and are not in the file.
    pub unreadable: u64,
    /// Why the first of them cannot.
    pub first: Option<StoreError>,
    /// Tenants of these keys that an import makes with more rights than they have here: suspended, or with limits of their own.
    pub widened: Vec<String>,
}

/// Why an export ended early.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The table's reasons.
    #[error(transparent)]
    Lifecycle(#[from] LifecycleError),
    /// The file's.
    #[error(transparent)]
    File(#[from] io::Error),
}

impl<'a> Row<'a> {
    /// `native`: whether a key like this works only with the checksum of the native format, so that it must have it.
    pub(super) fn of(record: &'a KeyRecord, native: bool, peppers: &Peppers) -> Self {
        Self {
            id: &record.id,
            tenant: &record.tenant,
            name: &record.name,
            environment: record.environment,
            kind: &record.kind,
            scopes: &record.scopes,
            ip_allowlist: &record.ip_allowlist,
            referrers: &record.referrers,
            endpoints: &record.endpoints,
            rate_limit: &record.rate_limit,
            status: record.status,
            expires_at: record.expires_at,
            created_at: record.created_at,
            created_by: &record.created_by,
            rotated_at: record.rotated_at,
            last_used: record.last_used,
            last_used_from: &record.last_used_from,
            exposed: record.exposed,
            metadata: &record.metadata,
            prefix: &record.prefix,
            last4: &record.last4,
            digest: digest::shown(&record.digest, peppers),
            native,
        }
    }
}

impl Lifecycle {
    /// Writes every key, of one tenant or of all, in the order of creation.
    ///
    /// # Errors
    /// No such tenant; the store's; the file's.
    pub async fn export(
        &self,
        tenant: Option<&str>,
        form: Form,
        out: &mut dyn Write,
        mut watch: impl FnMut(u64),
    ) -> Result<Exported, ExportError> {
        if let Some(tenant) = tenant {
            self.find_tenant(tenant).await?;
        }
        if form == Form::Csv {
            writeln!(out, "{}", COLUMNS.join(","))?;
        }
        let (mut exported, mut cursor, mut tenants) = (Exported::default(), None, BTreeSet::new());
        loop {
            let page = self.store.list_keys(tenant, cursor.as_deref(), PAGE).await.map_err(LifecycleError::from)?;
            for record in &page.items {
                if !tenants.contains(&record.tenant) {
                    tenants.insert(record.tenant.clone());
                }
                let row = Row::of(record, self.must_be_native(record), &self.peppers);
                match form {
                    Form::Ndjson => writeln!(out, "{}", serde_json::to_string(&row).map_err(io::Error::from)?)?,
                    Form::Csv => out.write_all(&cells(&row)?)?,
                }
            }
            exported.written += page.items.len() as u64;
            exported.unreadable += page.unreadable.len() as u64;
            exported.first = exported.first.or(page.unreadable.into_iter().next());
            watch(exported.written);
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        let all = self.list_tenants().await?.into_iter();
        exported.widened = all.filter(|tenant| is_limited(tenant) && tenants.contains(&tenant.id)).map(|tenant| tenant.id).collect();
        Ok(exported)
    }

    fn must_be_native(&self, record: &KeyRecord) -> bool {
        let prefixes = self.rules.kinds.prefixes();
        prefixes.iter().any(|prefix| *prefix.text == *record.prefix && prefix.checksum == Checksum::Required)
    }
}

/// Whether it is less than a tenant that is made by its id alone.
fn is_limited(tenant: &TenantRecord) -> bool {
    tenant.status == TenantStatus::Suspended || tenant.ip_allowlist.is_some() || tenant.scopes.is_some() || tenant.rate_limit.is_some()
}

/// A row of CSV, as [`super::import`] reads it.
fn cells(row: &Row<'_>) -> io::Result<Vec<u8>> {
    let fields = serde_json::to_value(row).map_err(io::Error::from)?;
    let mut writer = csv::Writer::from_writer(Vec::new());
    let cells = COLUMNS.map(|name| fields.get(name).map(|value| cell(name, value)).unwrap_or_default());
    writer.write_record(cells).map_err(io::Error::from)?;
    writer.into_inner().map_err(csv::IntoInnerError::into_error)
}

fn cell(name: &str, value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(list) if list.is_empty() && name != "scopes" => NONE.into(),
        Value::Array(list) => list.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(if name == "endpoints" { "; " } else { " " }),
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => value.to_string(),
    }
}
