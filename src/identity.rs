//! What authentication yields: who is calling, with everything that later steps need already compiled,
//! so that a cached request parses nothing again. Made of a key's and its tenant's record ([`Identity::compile`]), or of what a
//! token says and the tenant's ([`Identity::of_token`]).

pub mod replaced;
pub mod signed;
pub mod template;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::authn::Verified;
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
    /// By what that is known.
    pub bearer: Bearer,
    /// On whose behalf.
    pub tenant_id: Arc<str>,
    /// Environment, as the record or the token says.
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

/// What was presented, and what only that has.
#[derive(Debug)]
pub enum Bearer {
    /// An API key.
    Key {
        /// Its id.
        id: Arc<str>,
        /// Name of its kind.
        kind: Box<str>,
    },
    /// A token.
    Token {
        /// Of which kind.
        credential: CredentialType,
        /// Name of who issued it, as in `[[issuers]]`.
        issuer: Arc<str>,
        /// Whom it tells of; empty if it does not say.
        subject: Box<str>,
    },
    /// A token that stands for a key.
    Client {
        /// Name of who issued it.
        issuer: Arc<str>,
        /// The key.
        key: Box<Client>,
    },
}

/// A key that a token stands for.
#[derive(Debug)]
pub struct Client {
    /// Its id.
    pub id: Arc<str>,
    /// Name of its kind.
    pub kind: Box<str>,
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
        let ceiling = ceiling(tenant)?;
        let grants = under(&own, ceiling.as_ref());
        Ok(Self {
            bearer: Bearer::Key { id: ids.key, kind: key.kind.as_str().into() },
            tenant_id: ids.tenant,
            environment: key.environment,
            tenant_allowlist: allowlist(tenant.ip_allowlist.as_deref(), "tenant ip_allowlist")?,
            key_allowlist: allowlist(key.ip_allowlist.as_deref(), "ip_allowlist")?,
            referrers: referrers(key)?,
            endpoints: endpoints(key)?,
            limits: OwnLimits::compile(Some(key), tenant)?,
            exposed: AtomicBool::new(key.exposed),
            headers: headers.for_key(key, tenant, &grants)?,
            grants,
            ceiling,
            replaced: None,
        })
    }
    /// Compiles what a token says, under its tenant's record (`None` = there is none, and none is needed) and, where it stands for a
    /// key, under that key's.
    ///
    /// # Errors
    /// What in them cannot be used; such a token is refused (`identity_invalid`), nobody else is.
    pub fn of_token(
        token: &Verified,
        id: Arc<str>,
        tenant: Option<&TenantRecord>,
        client: Option<&KeyRecord>,
        headers: &IdentityHeaders,
    ) -> Result<Self, String> {
        let ceiling = tenant.map(ceiling).transpose()?.flatten();
        // Who issues tokens without scopes leaves what they may do to the API; the ceiling holds for them as for all.
        let own = token.scopes.clone().unwrap_or_else(Grants::all);
        let held = client.map(|key| Grants::parse(&key.scopes)).transpose().map_err(|why| format!("scopes: {why}"))?;
        let grants = under(&under(&own, held.as_ref()), ceiling.as_ref());
        let told = if token.scopes.is_some() { grants.to_string() } else { String::new() };
        let issuer = Arc::clone(&token.issuer.name);
        let bearer = match client {
            Some(key) => Bearer::Client { issuer, key: Box::new(Client { id: key.id.as_str().into(), kind: key.kind.as_str().into() }) },
            None => Bearer::Token { credential: token.credential(), issuer, subject: token.subject.as_str().into() },
        };
        Ok(Self {
            bearer,
            environment: token.environment,
            tenant_allowlist: tenant.map(|tenant| allowlist(tenant.ip_allowlist.as_deref(), "tenant ip_allowlist")).transpose()?.flatten(),
            key_allowlist: client.map(|key| allowlist(key.ip_allowlist.as_deref(), "ip_allowlist")).transpose()?.flatten(),
            referrers: client.map(referrers).transpose()?.flatten(),
            endpoints: client.map(endpoints).transpose()?.flatten(),
            limits: tenant.map(|tenant| OwnLimits::compile(client, tenant)).transpose()?.flatten(),
            exposed: AtomicBool::new(false),
            headers: headers.for_token(token, &id, tenant, &told)?,
            tenant_id: id,
            grants,
            ceiling,
            replaced: None,
        })
    }

    /// What was presented.
    #[must_use]
    pub const fn credential(&self) -> CredentialType {
        match &self.bearer {
            Bearer::Key { .. } => CredentialType::ApiKey,
            Bearer::Token { credential, .. } => *credential,
            Bearer::Client { .. } => CredentialType::Jwt,
        }
    }

    /// Whether it is this that was presented, or what that stands for.
    #[must_use]
    pub fn is_by(&self, credential: CredentialType) -> bool {
        self.credential() == credential || matches!(self.bearer, Bearer::Client { .. }) && credential == CredentialType::ApiKey
    }

    /// With which key; `None` = with a token.
    #[must_use]
    pub const fn key_id(&self) -> Option<&Arc<str>> {
        match &self.bearer {
            Bearer::Key { id, .. } => Some(id),
            Bearer::Token { .. } | Bearer::Client { .. } => None,
        }
    }

    /// In whose name: the key, or the one that the token stands for.
    #[must_use]
    pub fn acts_for(&self) -> Option<&Arc<str>> {
        match &self.bearer {
            Bearer::Key { id, .. } => Some(id),
            Bearer::Client { key, .. } => Some(&key.id),
            Bearer::Token { .. } => None,
        }
    }

    /// Name of the key's kind, or of that of the key which the token stands for; `None` = there is no key.
    #[must_use]
    pub fn kind(&self) -> Option<&str> {
        match &self.bearer {
            Bearer::Key { kind, .. } => Some(kind),
            Bearer::Client { key, .. } => Some(&key.kind),
            Bearer::Token { .. } => None,
        }
    }

    /// Issuer and subject of a token; `None` = it is a key.
    #[must_use]
    pub fn subject(&self) -> Option<(&Arc<str>, &str)> {
        match &self.bearer {
            Bearer::Key { .. } => None,
            Bearer::Token { issuer, subject, .. } => Some((issuer, subject)),
            Bearer::Client { issuer, key } => Some((issuer, &key.id)),
        }
    }
}

fn ceiling(tenant: &TenantRecord) -> Result<Option<Grants>, String> {
    tenant.scopes.as_ref().map(|list| Grants::parse(list)).transpose().map_err(|why| format!("tenant scopes: {why}"))
}

fn under(own: &Grants, ceiling: Option<&Grants>) -> Grants {
    ceiling.map_or_else(|| own.clone(), |ceiling| own.intersect(ceiling))
}

fn referrers(key: &KeyRecord) -> Result<Option<Referrers>, String> {
    key.referrers.as_ref().map(|list| Referrers::parse(list)).transpose().map_err(|why| format!("referrers: {why}"))
}

fn endpoints(key: &KeyRecord) -> Result<Option<Box<Endpoints>>, String> {
    let parsed = key.endpoints.as_ref().map(|list| Endpoints::parse(list).map(Box::new)).transpose();
    parsed.map_err(|why| format!("endpoints: {why}"))
}

fn allowlist(list: Option<&[String]>, whose: &str) -> Result<Option<IpSet>, String> {
    list.map(IpSet::parse).transpose().map_err(|why| format!("{whose}: {why}"))
}
