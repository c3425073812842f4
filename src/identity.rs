//! What authentication yields: who is calling, with everything that later steps need already compiled,
//! so that a cached request parses nothing again. Made of a key's and its tenant's record ([`Identity::compile`]), or of what a
//! token says and the tenant's ([`Identity::of_token`]).

pub mod replaced;
pub mod signed;
pub mod template;
mod words;

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
use signed::Statement;
use template::{IdentityHeaders, Values};

/// Who is calling. There is one for each cached key: what most of them do not have stands apart.
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
    /// Whether the upstream is told them: who issues tokens without scopes leaves what they may do to the API.
    tells_scopes: bool,
    /// Whether the record says, or was told, that the key was seen in a browser.
    pub exposed: AtomicBool,
    particulars: Option<Box<Particulars>>,
}

/// What most callers do not have.
#[derive(Debug)]
pub struct Particulars {
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
    /// What is known of the presented secret, if it is not the key's current one.
    pub replaced: Option<Box<Replaced>>,
    /// What is told of the caller once more, signed.
    pub signed: Option<Statement>,
    /// What of the records the upstream is told.
    texts: Vec<Box<str>>,
}

/// What was presented, and what only that has.
#[derive(Debug)]
pub enum Bearer {
    /// An API key.
    Key {
        /// Its id.
        id: Arc<str>,
        /// Name of its kind.
        kind: Arc<str>,
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
    pub kind: Arc<str>,
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
        let particulars = Particulars::compile(Some(key), Some(tenant), headers)?;
        let identity = Self {
            bearer: Bearer::Key { id: ids.key, kind: headers.word(&key.kind) },
            tenant_id: ids.tenant,
            environment: key.environment,
            grants: under(own, particulars.ceiling.as_ref()).shared(|scopes| headers.word(scopes)),
            tells_scopes: true,
            exposed: AtomicBool::new(key.exposed),
            particulars: None,
        };
        identity.with(particulars, headers)
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
        let particulars = Particulars::compile(client, tenant, headers)?;
        let own = token.scopes.clone().unwrap_or_else(Grants::all);
        let held = client.map(|key| Grants::parse(&key.scopes)).transpose().map_err(|why| format!("scopes: {why}"))?;
        let issuer = Arc::clone(&token.issuer.name);
        let bearer = match client {
            Some(key) => Bearer::Client { issuer, key: Box::new(Client { id: key.id.as_str().into(), kind: headers.word(&key.kind) }) },
            None => Bearer::Token { credential: token.credential(), issuer, subject: token.subject.as_str().into() },
        };
        let identity = Self {
            bearer,
            environment: token.environment,
            tenant_id: id,
            // Also of a token that names no scopes, the ceiling holds as for all.
            grants: under(under(own, held.as_ref()), particulars.ceiling.as_ref()),
            tells_scopes: token.scopes.is_some(),
            exposed: AtomicBool::new(false),
            particulars: None,
        };
        // The key that it stands for is told of by nobody.
        let texts = headers.texts(None, tenant);
        identity.with(Particulars { texts, ..particulars }, headers)
    }

    /// With what it has beside what all have, if that can be told.
    fn with(self, particulars: Particulars, headers: &IdentityHeaders) -> Result<Self, String> {
        let values = Values { texts: &particulars.texts, ..self.values() };
        headers.check(&values)?;
        let signed = headers.statement(&values);
        Ok(Self { particulars: Particulars { signed, ..particulars }.boxed(), ..self })
    }

    /// What most callers do not have.
    #[must_use]
    pub fn particulars(&self) -> &Particulars {
        static NONE: Particulars = Particulars::NONE;
        self.particulars.as_deref().unwrap_or(&NONE)
    }

    /// The same caller, by a secret that was replaced.
    #[must_use]
    pub fn by_replaced(self, replaced: Option<Box<Replaced>>) -> Self {
        let particulars = Particulars { replaced, ..self.particulars.map_or(Particulars::NONE, |particulars| *particulars) };
        Self { particulars: particulars.boxed(), ..self }
    }

    /// What the upstream is told.
    #[must_use]
    pub fn values(&self) -> Values<'_> {
        let (key_id, kind, subject): (&str, &str, &str) = match &self.bearer {
            Bearer::Key { id, kind } => (id, kind, ""),
            Bearer::Token { subject, .. } => ("", "", subject),
            Bearer::Client { key, .. } => ("", "", &key.id),
        };
        Values {
            tenant_id: &self.tenant_id,
            key_id,
            kind,
            subject,
            scopes: if self.tells_scopes { self.grants.as_str() } else { "" },
            environment: self.environment.name(),
            credential: self.credential().name(),
            texts: self.particulars.as_ref().map_or(&[], |particulars| &particulars.texts),
        }
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

fn under(own: Grants, ceiling: Option<&Grants>) -> Grants {
    match ceiling {
        Some(ceiling) => own.intersect(ceiling),
        None => own,
    }
}

impl Particulars {
    const NONE: Self = Self {
        ceiling: None,
        tenant_allowlist: None,
        key_allowlist: None,
        referrers: None,
        endpoints: None,
        limits: None,
        replaced: None,
        signed: None,
        texts: Vec::new(),
    };

    fn compile(key: Option<&KeyRecord>, tenant: Option<&TenantRecord>, headers: &IdentityHeaders) -> Result<Self, String> {
        let networks_of_tenant = tenant.and_then(|tenant| tenant.ip_allowlist.as_deref());
        Ok(Self {
            ceiling: tenant.map(ceiling).transpose()?.flatten(),
            tenant_allowlist: allowlist(networks_of_tenant, "tenant ip_allowlist")?,
            key_allowlist: allowlist(key.and_then(|key| key.ip_allowlist.as_deref()), "ip_allowlist")?,
            referrers: key.map(referrers).transpose()?.flatten(),
            endpoints: key.map(endpoints).transpose()?.flatten(),
            limits: tenant.map(|tenant| OwnLimits::compile(key, tenant)).transpose()?.flatten(),
            texts: headers.texts(key, tenant),
            ..Self::NONE
        })
    }

    /// None, if there is nothing in them.
    fn boxed(self) -> Option<Box<Self>> {
        let has_none = matches!(
            &self,
            Self {
                ceiling: None,
                tenant_allowlist: None,
                key_allowlist: None,
                referrers: None,
                endpoints: None,
                limits: None,
                replaced: None,
                signed: None,
                texts,
            } if texts.is_empty()
        );
        (!has_none).then(|| Box::new(self))
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_each_cached_key_has_is_small() {
        assert!(size_of::<Identity>() <= 96, "{}", size_of::<Identity>());
    }
}
