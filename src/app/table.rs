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

/// How much longer than its own timeouts a store may take to answer for the first time.
const GRACE: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(5);

/// A key table, and who uses it.
#[derive(Debug)]
pub(super) struct Table {
    key_table: KeyTable,
    users: Arc<()>,
}

/// A snapshot's hold on its key table.
#[derive(Debug)]
pub(super) struct Hold(#[expect(dead_code, reason = "it is counted")] Arc<()>);

impl Table {
    /// Opens the key table that `config` names.
    pub(super) fn start(config: &Config, app: &App, clock: &Clock) -> Result<Self, String> {
        Ok(Self { key_table: KeyTable::start(config, Arc::clone(&app.identity_headers), clock)?, users: Arc::default() })
    }

    /// The one that takes this one's place. A store that does not answer is no replacement for one that does.
    ///
    /// # Errors
    /// The setting, and what is wrong with it.
    pub(super) fn replacement(&self, config: &Config, app: &App, clock: &Clock) -> Result<Self, (String, String)> {
        let table = Self::start(config, app, clock).map_err(|why| ("store".to_owned(), why))?;
        let patience = config.store.connect_timeout.0 + config.store.command_timeout.0 + GRACE;
        let began = instant();
        loop {
            let (status, earlier) = (table.authenticator().store_status(), self.authenticator().store_status());
            if status.reachable || !earlier.reachable {
                return Ok(table);
            }
            if began.elapsed() > patience {
                let why = format!("this store does not answer, and the one in use does: {}", status.detail);
                return Err(("store.url".to_owned(), why));
            }
            sleep(LOOK);
        }
    }

    /// What the gate asks.
    pub(super) fn authenticator(&self) -> &Arc<Authenticator> {
        self.key_table.authenticator()
    }

    /// Where it stands among the sidecars of its store.
    pub(super) fn fleet(&self) -> &Arc<Standing> {
        self.key_table.standing()
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
