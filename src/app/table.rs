//! The key table as snapshots use it: a reload that does not concern it keeps it with all that it has cached; another one takes
//! its place beside it, and it closes when the last request that asks it has ended.

use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

use super::App;
use crate::authn::{Authenticator, KeyTable};
use crate::clock::{Clock, instant};
use crate::config::sections::Config;
use crate::fleet::Standing;
use crate::idempotency::Ledger;
use crate::key::rules::Rules;
use crate::limit::Desk;
use crate::management::Management;
use crate::usage::Collector;

/// How much longer than its own timeouts a store may take to answer for the first time.
const GRACE: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(5);

/// A key table, and who uses it.
#[derive(Debug)]
pub(super) struct Table {
    key_table: KeyTable,
    users: Arc<()>,
}

/// Why there is no replacement.
pub(super) enum Unfit {
    /// The store cannot be used as it is configured.
    Wrong(String),
    /// It does not answer, for this reason.
    Away(String),
}

/// A snapshot's hold on its key table.
#[derive(Debug)]
pub(super) struct Hold(#[expect(dead_code, reason = "it is counted")] Arc<()>);

impl Table {
    /// Opens the key table that `config` names.
    pub(super) fn start(config: &Config, app: &App, clock: &Clock) -> Result<Self, String> {
        Ok(Self { key_table: KeyTable::start(config, Arc::clone(&app.identity_headers), clock)?, users: Arc::default() })
    }

    /// One that may take the place of this one, the one in use. While its store does not answer it would know nothing, where this one
    /// still knows what it has read: then there is none.
    pub(super) fn replacement(&self, config: &Config, app: &App, clock: &Clock) -> Result<Self, Unfit> {
        let key_table = self.key_table.start_beside(config, Arc::clone(&app.identity_headers), clock).map_err(Unfit::Wrong)?;
        let table = Self { key_table, users: Arc::default() };
        let patience = config.store.connect_timeout.0 + config.store.command_timeout.0 + GRACE;
        let began = instant();
        loop {
            let status = table.authenticator().store_status();
            if status.reachable {
                return Ok(table);
            }
            if began.elapsed() > patience {
                return Err(Unfit::Away(status.detail));
            }
            sleep(LOOK);
        }
    }

    /// It takes that place.
    pub(super) fn take_turn(&self) {
        self.key_table.take_turn();
    }

    /// What the gate asks.
    pub(super) fn authenticator(&self) -> &Arc<Authenticator> {
        self.key_table.authenticator()
    }

    /// Who asks its store for what limits are counted by.
    pub(super) fn desk(&self) -> &Arc<Desk> {
        self.key_table.desk()
    }

    /// Where it stands among the sidecars of its store.
    pub(super) fn fleet(&self) -> &Arc<Standing> {
        self.key_table.standing()
    }

    /// Of requests that are to be run once.
    pub(super) fn ledger(&self) -> &Arc<Ledger> {
        self.key_table.ledger()
    }

    /// Management of it, by these rules.
    pub(super) fn management(&self, rules: Arc<Rules>) -> Management {
        self.key_table.management(rules)
    }

    /// What gathers the usage of its keys.
    pub(super) fn usage(&self) -> &Arc<Collector> {
        self.key_table.usage()
    }

    /// For a snapshot.
    pub(super) fn hold(&self) -> Hold {
        Hold(Arc::clone(&self.users))
    }

    /// Whether no snapshot asks it any more.
    pub(super) fn is_idle(&self) -> bool {
        Arc::strong_count(&self.users) == 1
    }
}
