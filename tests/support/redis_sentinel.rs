//! A master with two replicas, watched by three Sentinels that agree fast; ended when it is dropped.

use std::path::Path;

use tempfile::TempDir;

use super::node::{Node, agreed, on_port};

/// What the master is called.
const NAME: &str = "mymaster";

pub(crate) struct RedisSentinel {
    servers: Vec<Node>,
    sentinels: Vec<Node>,
    _dir: TempDir,
}

impl RedisSentinel {
    /// Returns when the Sentinels know each other and the replicas follow.
    pub(crate) fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let quick = ["--repl-diskless-sync-delay", "0"];
        let master = Node::start(dir.path(), |_, port, _| on_port(port, &quick));
        let master_port = master.port.to_string();
        let replica =
            || Node::start(dir.path(), |_, port, _| on_port(port, &[&quick[..], &["--replicaof", "127.0.0.1", &master_port]].concat()));
        let servers = vec![replica(), replica(), master];
        let sentinels = (0..3).map(|_| Node::start(dir.path(), |dir, port, _| sentinel(dir, port, &master_port))).collect();
        let set = Self { servers, sentinels, _dir: dir };
        set.wait_until_it_stands(2);
        set
    }

    fn wait_until_it_stands(&self, replicas: usize) {
        agreed("the replicas follow", || {
            let linked = |node: &&Node| node.field(&["INFO", "replication"], "master_link_status") == Some("up".into());
            self.running().filter(linked).count() == replicas
        });
        agreed("the Sentinels know each other and the replicas", || {
            self.sentinels.iter().all(|sentinel| {
                let state: Vec<String> = sentinel.try_run(&["SENTINEL", "MASTER", NAME]).unwrap_or_default();
                let says = |name: &str| state.chunks(2).find(|pair| pair[0] == name).map(|pair| pair[1].clone());
                says("num-other-sentinels") == Some("2".into()) && says("num-slaves") >= Some(replicas.to_string())
            })
        });
    }

    fn running(&self) -> impl Iterator<Item = &Node> {
        self.servers.iter().filter(|node| node.is_running())
    }

    /// As proxy.toml writes it.
    pub(crate) fn url(&self) -> String {
        let hosts: Vec<String> = self.sentinels.iter().map(|sentinel| format!("127.0.0.1:{}", sentinel.port)).collect();
        format!("redis-sentinel://{}/{NAME}", hosts.join(","))
    }

    /// Whom a Sentinel names.
    fn master_named_by(sentinel: &Node) -> Option<u16> {
        let address: Vec<String> = sentinel.try_run(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME]).ok()?;
        address.get(1)?.parse().ok()
    }

    /// The port of the master that all Sentinels name, if they agree on one that runs and is one.
    pub(crate) fn master(&self) -> Option<u16> {
        let named: Vec<Option<u16>> = self.sentinels.iter().map(Self::master_named_by).collect();
        let port = named[0].filter(|_| named.iter().all(|port| *port == named[0]))?;
        let node = self.running().find(|node| node.port == port)?;
        (node.field(&["INFO", "replication"], "role")? == "master").then_some(port)
    }

    /// Kills the master. The Sentinels elect another by themselves: see [`Self::wait_for_a_master`].
    pub(crate) fn kill_master(&mut self) {
        let port = self.master().expect("a master");
        self.servers.iter_mut().find(|node| node.port == port).unwrap().kill();
    }

    /// Waits until another is elected and all Sentinels name it.
    pub(crate) fn wait_for_a_master(&self) {
        agreed("a new master", || self.master().is_some());
    }
}

/// Arguments of a Sentinel, which keeps its state in its configuration file.
fn sentinel(dir: &Path, port: u16, master_port: &str) -> Vec<String> {
    let file = dir.join("sentinel.conf");
    let text = format!(
        "port {port}\nbind 127.0.0.1\ndir {}\nsentinel monitor {NAME} 127.0.0.1 {master_port} 2\n\
         sentinel down-after-milliseconds {NAME} 500\nsentinel failover-timeout {NAME} 3000\nsentinel parallel-syncs {NAME} 2\n",
        dir.display()
    );
    std::fs::write(&file, text).unwrap();
    vec![file.display().to_string(), "--sentinel".into()]
}
