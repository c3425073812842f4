//! The demo's key table: one tenant and four keys, made by the code that `sidegate keys` runs.

use std::sync::Arc;

use secrecy::{ExposeSecret as _, SecretString};

use crate::cli::{Exit, Failure};
use crate::clock::Clock;
use crate::config::problem::Problems;
use crate::config::sections::{Config, EnvironmentName};
use crate::key::digest::Peppers;
use crate::key::lifecycle::{Issued, Lifecycle, NewKey};
use crate::key::record::KeyStatus;
use crate::key::rules::Rules;
use crate::store;
use crate::tenant::lifecycle::NewTenant;

/// The tenant of all keys.
pub(super) const TENANT: &str = "acme";

/// An open key table and its keys.
pub(super) struct Table {
    lifecycle: Lifecycle,
    pub(super) live: Demo,
    pub(super) test: Demo,
    pub(super) office: Demo,
    pub(super) reader: Demo,
}

/// A key whose secret is shown: it lives as long as the demo.
pub(super) struct Demo {
    id: String,
    pub(super) secret: String,
}

impl From<Issued> for Demo {
    fn from(issued: Issued) -> Self {
        Self { id: issued.record.id, secret: shown(&issued.key) }
    }
}

fn shown(key: &SecretString) -> String {
    key.expose_secret().to_owned()
}

impl Table {
    /// Makes the tenant and its keys.
    pub(super) async fn open(config: &Config) -> Result<Self, Failure> {
        let mut problems = Problems::default();
        let rules = Rules::compile(config, &mut problems).ok_or_else(|| Exit::Failed.because("the demo's configuration is wrong"))?;
        let opened = store::open(&config.store, &Clock::System).await.map_err(|why| Exit::Failed.because(why))?;
        let lifecycle =
            Lifecycle::new(opened.store, Arc::new(rules), Peppers::default(), Clock::System, crate::audit::Actor::local("demo"));
        lifecycle.create_tenant(NewTenant { id: TENANT.into(), name: "Acme Inc".into(), ..NewTenant::default() }).await?;
        let everything = ["read:*", "write:*"];
        let live = new("live", EnvironmentName::Live, &everything);
        let test = new("test", EnvironmentName::Test, &everything);
        // RFC 5737: a network that is nobody's, so that the caller is never in it.
        let office = NewKey { ip_allowlist: Some(vec!["203.0.113.0/24".into()]), ..new("office", EnvironmentName::Live, &everything) };
        let reader = new("reader", EnvironmentName::Live, &["read:orders"]);
        Ok(Self {
            live: lifecycle.create(live).await?.into(),
            test: lifecycle.create(test).await?.into(),
            office: lifecycle.create(office).await?.into(),
            reader: lifecycle.create(reader).await?.into(),
            lifecycle,
        })
    }

    /// Replaces the live key's secret; the new one.
    pub(super) async fn rotate(&self) -> Result<String, Failure> {
        Ok(shown(&self.lifecycle.rotate(&self.live.id, None).await?.key))
    }

    /// Revokes the reader's key.
    pub(super) async fn revoke(&self) -> Result<(), Failure> {
        self.lifecycle.set_status(&self.reader.id, KeyStatus::Revoked).await?;
        Ok(())
    }
}

fn new(name: &str, environment: EnvironmentName, scopes: &[&str]) -> NewKey {
    NewKey {
        tenant: TENANT.into(),
        name: name.into(),
        environment,
        kind: "secret".into(),
        scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
        ip_allowlist: None,
        referrers: None,
        endpoints: None,
        rate_limit: None,
        expires: None,
        metadata: std::collections::BTreeMap::new(),
    }
}
