//! A master, two replicas and three sentinels.

use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;

use tempfile::TempDir;

use super::{RedisServer, command, end_with_this_process, eventually, free_port, until_it_says};
use crate::config::sections;

/// What the set is called.
pub(crate) const MASTER: &str = "mymaster";

/// A running set.
pub(crate) struct SentinelSet {
    pub(crate) servers: Vec<RedisServer>,
    sentinels: Vec<Sentinel>,
}

struct Sentinel {
    child: Child,
    port: u16,
    dir: TempDir,
}

impl SentinelSet {
    /// Starts it and waits until each sentinel knows all others and both replicas.
    pub(crate) fn start() -> Self {
        let master = RedisServer::start_on_tcp(&[]);
        let of = master.port().to_string();
        let mut servers = vec![master];
        servers.extend((0..2).map(|_| RedisServer::start_on_tcp(&["--replicaof", "127.0.0.1", &of])));
        let sentinels: Vec<Sentinel> = (0..3).map(|_| Sentinel::start(servers[0].port())).collect();
        let set = Self { servers, sentinels };
        for server in &set.servers[1..] {
            eventually("replicas follow", || server.tell::<String>("INFO replication").contains("master_link_status:up"));
        }
        for sentinel in &set.sentinels {
            eventually("sentinels know each other", || {
                let info: String = sentinel.tell("INFO sentinel");
                info.contains("status=ok,") && info.contains("slaves=2,sentinels=3")
            });
        }
        set
    }

    /// One for all tests that only need a set.
    pub(crate) fn shared() -> &'static Self {
        static SHARED: LazyLock<SentinelSet> = LazyLock::new(|| {
            let set = SentinelSet::start();
            let sentinels = set.sentinels.iter().map(|sentinel| (sentinel.child.id(), sentinel.dir.path().to_owned()));
            end_with_this_process(set.servers.iter().map(RedisServer::process).chain(sentinels));
            set
        });
        &SHARED
    }

    /// `[store]` with the sentinels' addresses.
    pub(crate) fn config(&self) -> sections::Store {
        let hosts: Vec<String> = self.sentinels.iter().map(|sentinel| format!("127.0.0.1:{}", sentinel.port)).collect();
        sections::Store { url: format!("redis-sentinel://{}/{MASTER}", hosts.join(",")), ..sections::Store::default() }
    }

    /// Has another server become the master, while this one lives.
    pub(crate) fn fail_over(&self) {
        self.sentinels[0].tell::<String>(&format!("SENTINEL FAILOVER {MASTER}"));
    }

    /// The server that is the master by its own word.
    pub(crate) fn master(&self) -> usize {
        let mut found = None;
        eventually("there is a master", || {
            let is_master =
                |server: &RedisServer| server.try_tell::<String>("INFO replication").is_ok_and(|info| info.contains("role:master"));
            found = self.servers.iter().position(is_master);
            found.is_some()
        });
        found.unwrap()
    }
}

impl Sentinel {
    fn start(master: u16) -> Self {
        let (dir, port) = (tempfile::tempdir().unwrap(), free_port());
        let file = dir.path().join("sentinel.conf");
        let lines = [
            format!("port {port}\nbind 127.0.0.1\ndir {}", dir.path().display()),
            format!("sentinel monitor {MASTER} 127.0.0.1 {master} 2"),
            format!("sentinel down-after-milliseconds {MASTER} 1000"),
            format!("sentinel failover-timeout {MASTER} 3000\n"),
        ];
        std::fs::write(&file, lines.join("\n")).unwrap();
        let mut sentinel = Command::new("redis-server");
        let mut child = sentinel.arg(&file).arg("--sentinel").stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        until_it_says(&mut child, "+monitor master");
        Self { child, port, dir }
    }

    fn tell<T: redis::FromRedisValue>(&self, words: &str) -> T {
        let mut raw = redis::Client::open(format!("redis://127.0.0.1:{}", self.port)).unwrap().get_connection().unwrap();
        command(words).query(&mut raw).unwrap()
    }
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
