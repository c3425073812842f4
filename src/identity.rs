//! What authentication yields: who is calling, with everything that later steps need already compiled,
//! so that a cached request parses nothing again. Made of a key's and its tenant's record ([`compile`]).

pub mod replaced;
pub mod template;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::config::sections::{CredentialType, EnvironmentName};
use crate::key::record::KeyRecord;
use crate::limit::own::OwnLimits;
use crate::net::IpSet;
use crate::policy::endpoint::Endpoints;
use crate::policy::referrer::Referrers;
use crate::policy::scope::Grants;
use crate::tenant::TenantRecord;
use replaced::Replaced;
use template::{IdentityHeaders, Told};

/// Who is calling.
#[derive(Debug)]
pub struct Identity {
    /// What was presented.
    pub credential: CredentialType,
    /// On whose behalf.
    pub tenant_id: Arc<str>,
    /// With which key.
    pub key_id: Arc<str>,
    /// Name of the key's kind.
    pub kind: Box<str>,
    /// Environment, as the record says.
    pub environment: EnvironmentName,
    /// Effective scopes.
    pub grants: Grants,
    /// The tenant's ceiling, which the effective scopes are under already; kept for `explain`.
    pub ceiling: Option<Grants>,
    /// The tenant's networks; `None` = any.
    pub tenant_allowlist: Option<IpSet>,
    /// The key's networks; `None` = any.
    pub key_allowlist: Option<IpSet>,
    /// The key's origins; `None` = any.
    pub referrers: Option<Referrers>,
    /// The key's endpoints; `None` = any.
    pub endpoints: Option<Box<Endpoints>>,
    /// Limits of the key's and the tenant's own.
    pub limits: Option<Box<OwnLimits>>,
    /// Whether the record says, or was told, that the key was seen in a browser.
    pub exposed: AtomicBool,
    /// What the upstream is told, ready to send.
    pub headers: Told,
    /// What is known of the presented secret, if it is not the key's current one.
    pub replaced: Option<Box<Replaced>>,
}

/// Names of a key and its tenant, which others hold too.
#[derive(Debug)]
pub struct Ids {
    /// The key's.
    pub key: Arc<str>,
    /// The tenant's.
    pub tenant: Arc<str>,
}

impl Identity {
    /// Compiles the records.
    ///
    /// # Errors
    /// What in the records cannot be used; such a key is refused (`identity_invalid`), nobody else is.
    pub fn compile(ids: Ids, key: &KeyRecord, tenant: &TenantRecord, headers: &IdentityHeaders) -> Result<Self, String> {
        let own = Grants::parse(&key.scopes).map_err(|why| format!("scopes: {why}"))?;
        let ceiling = tenant.scopes.as_ref().map(|list| Grants::parse(list)).transpose().map_err(|why| format!("tenant scopes: {why}"))?;
        let grants = ceiling.as_ref().map_or_else(|| own.clone(), |ceiling| own.intersect(ceiling));
        let allowlist = |list: &Option<Vec<String>>, whose: &str| {
            list.as_ref().map(|list| IpSet::parse(list)).transpose().map_err(|why| format!("{whose}: {why}"))
        };
        Ok(Self {
            credential: CredentialType::ApiKey,
            tenant_id: ids.tenant,
            key_id: ids.key,
            kind: key.kind.as_str().into(),
            environment: key.environment,
            tenant_allowlist: allowlist(&tenant.ip_allowlist, "tenant ip_allowlist")?,
            key_allowlist: allowlist(&key.ip_allowlist, "ip_allowlist")?,
            referrers: key.referrers.as_ref().map(|list| Referrers::parse(list)).transpose().map_err(|why| format!("referrers: {why}"))?,
            endpoints: key
                .endpoints
                .as_ref()
                .map(|list| Endpoints::parse(list).map(Box::new))
                .transpose()
                .map_err(|why| format!("endpoints: {why}"))?,
            limits: OwnLimits::compile(key, tenant)?,
            exposed: AtomicBool::new(key.exposed),
            headers: headers.for_key(key, tenant, &grants)?,
            grants,
            ceiling,
            replaced: None,
        })
    }
}
