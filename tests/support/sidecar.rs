//! A place for a sidecar to live in: a directory with a proxy.toml and a key table; and the sidecar in this process.

use std::net::SocketAddr;
use std::path::PathBuf;

use sidegate::app::Running;
use sidegate::clock::{Clock, Timestamp};
use sidegate::config::sections::Config;
use sidegate::config::{Sources, load};
use tempfile::TempDir;
use toml::{Table, Value};

use super::desk::Desk;
use super::redis::Redis;
use super::seed;

/// When manual clocks begin.
pub(crate) const NOW: &str = "2026-06-01T12:00:00Z";

/// Which store a test stands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Embedded,
    Redis,
}

impl Kind {
    pub(crate) const BOTH: [Self; 2] = [Self::Embedded, Self::Redis];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Embedded => "embedded",
            Self::Redis => "redis",
        }
    }
}

pub(crate) struct Home {
    pub(crate) dir: TempDir,
    pub(crate) redis: Option<Redis>,
    pub(crate) config: Config,
}

impl Home {
    /// A directory whose proxy.toml says `text`, over what every test wants: free ports, no control socket, a fast end,
    /// and patience with a store on a busy machine.
    pub(crate) fn new(kind: Kind, text: &str) -> Self {
        Self::from_table(kind, text.parse().unwrap_or_else(|error| panic!("{error}\n{text}")))
    }

    pub(crate) fn from_table(kind: Kind, over: Table) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let redis = (kind == Kind::Redis).then(Redis::start);
        let store = redis.as_ref().map_or_else(|| format!("embedded:{}", dir.path().join("data").display()), Redis::url);
        let mut table: Table = format!(
            "listen = \"127.0.0.1:0\"\n[ops]\nlisten = \"\"\nsocket = \"\"\n[shutdown]\ndrain_delay = \"0s\"\n[store]\nurl = \"{store}\"\ncommand_timeout = \"10s\"\n\
             [log]\nformat = \"json\"\n"
        )
        .parse()
        .unwrap();
        if over.contains_key("listeners") {
            table.remove("listen");
        }
        merge(&mut table, over);
        let path = dir.path().join("proxy.toml");
        std::fs::write(&path, toml::to_string(&table).unwrap()).unwrap();
        let loaded = load(&Sources { file: Some(path), ..Sources::default() });
        assert!(!loaded.problems.has_errors(), "{}", loaded.report());
        Self { dir, redis, config: loaded.config }
    }

    pub(crate) fn config_file(&self) -> PathBuf {
        self.dir.path().join("proxy.toml")
    }

    pub(crate) fn table(&self) -> seed::Table {
        seed::Table::open(&self.config)
    }

    /// Tenant `acme` and a live secret key of it.
    pub(crate) fn issue(&self) -> seed::Issued {
        self.issue_with(&serde_json::json!({}))
    }

    /// Tenant `acme` and a key of it.
    pub(crate) fn issue_with(&self, key: &serde_json::Value) -> seed::Issued {
        self.table().issue(&self.config, &serde_json::json!({}), key)
    }
}

/// Tables key by key, everything else as a whole.
pub(crate) fn merge(base: &mut Table, over: Table) {
    for (key, value) in over {
        match (base.get_mut(&key), value) {
            (Some(Value::Table(base)), Value::Table(over)) => merge(base, over),
            (_, value) => drop(base.insert(key, value)),
        }
    }
}

/// A sidecar in this process.
pub(crate) struct Sidecar {
    pub(crate) home: Home,
    pub(crate) clock: Clock,
    running: Option<Running>,
}

impl Sidecar {
    /// By the machine's clock, on the embedded store.
    pub(crate) fn start(text: &str) -> Self {
        Self::in_home(Home::new(Kind::Embedded, text), Clock::System)
    }

    /// By a clock that the test moves.
    pub(crate) fn with_manual_clock(kind: Kind, text: &str) -> Self {
        let now: Timestamp = NOW.parse().unwrap();
        Self::in_home(Home::new(kind, text), Clock::manual(now))
    }

    pub(crate) fn in_home(home: Home, clock: Clock) -> Self {
        // The access log of a sidecar in this process would mix with the test runner's words.
        let mut config = home.config.clone();
        config.log.access = sidegate::config::sections::AccessLog::Off;
        let running = sidegate::app::start(&config, clock.clone()).unwrap();
        Self { home, clock, running: Some(running) }
    }

    /// Waits until it reads the change log: what was cached before that is read once more.
    pub(crate) fn in_touch(self) -> Self {
        Desk::open(&self.home.config).wait_for_everybody(1);
        self
    }

    /// Drains and ends; its home stays.
    pub(crate) fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            running.stop();
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.running.as_ref().unwrap().address("public").unwrap()
    }
}

impl Sidecar {
    pub(crate) fn listener(&self, name: &str) -> SocketAddr {
        self.running.as_ref().unwrap().address(name).unwrap()
    }

    pub(crate) fn ops(&self) -> SocketAddr {
        self.running.as_ref().unwrap().address("ops").unwrap()
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        self.stop();
    }
}
