//! A session as tests need one.

use std::collections::BTreeMap;

use crate::clock::Timestamp;
use crate::config::sections::EnvironmentName;
use crate::session::record::SessionRecord;

/// One that began in November 2023 and has a week.
pub(crate) fn session(id: &str, tenant: &str, subject: &str) -> SessionRecord {
    let at = Timestamp(1_700_000_000_000);
    SessionRecord {
        format: 1,
        id: id.into(),
        tenant: tenant.into(),
        subject: subject.into(),
        environment: EnvironmentName::Live,
        scopes: vec!["read:a".into()],
        created_at: at,
        created_by: "test".into(),
        refreshed_at: None,
        expires_at: at.plus_millis(7 * 86_400_000),
        access_expires_at: at.plus_millis(3_600_000),
        ended: None,
        family: "f".repeat(32),
        digest: "00".repeat(32),
        spent: Vec::new(),
        version: 1,
        unknown: BTreeMap::new(),
    }
}
