//! A Redis Cluster of one's own: three masters with a replica each, formed by commands; ended when it is dropped.

use std::path::Path;

use tempfile::TempDir;

use super::node::{Node, agreed, on_port};

const MASTERS: usize = 3;
const SLOTS: u16 = 16_384;

pub(crate) struct RedisCluster {
    nodes: Vec<Node>,
    _dir: TempDir,
}

impl RedisCluster {
    /// Returns when every node says that the cluster stands and every replica has its master's data.
    pub(crate) fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let arguments = |_: &Path, port: u16, bus_port: u16| {
            let bus_port = bus_port.to_string();
            let words = [
                ["--cluster-enabled", "yes"],
                ["--cluster-port", &bus_port],
                ["--cluster-node-timeout", "1000"],
                ["--cluster-replica-validity-factor", "0"],
                ["--repl-diskless-sync-delay", "0"],
            ];
            on_port(port, words.as_flattened())
        };
        let nodes = (0..MASTERS * 2).map(|_| Node::start(dir.path(), arguments)).collect();
        let cluster = Self { nodes, _dir: dir };
        cluster.form();
        cluster
    }

    fn form(&self) {
        let (masters, replicas) = self.nodes.split_at(MASTERS);
        let share = SLOTS / 3;
        for (index, (master, first)) in masters.iter().zip((0..).step_by(share.into())).enumerate() {
            let last = if index == MASTERS - 1 { SLOTS - 1 } else { first + share - 1 };
            master.command::<()>(&["CLUSTER", "ADDSLOTSRANGE", &first.to_string(), &last.to_string()]);
        }
        for (index, node) in self.nodes.iter().enumerate() {
            node.command::<()>(&["CLUSTER", "SET-CONFIG-EPOCH", &(index + 1).to_string()]);
        }
        let (first, others) = self.nodes.split_first().unwrap();
        for node in others {
            first.command::<()>(&["CLUSTER", "MEET", "127.0.0.1", &node.port.to_string(), &node.bus_port.to_string()]);
        }
        let all = self.nodes.len().to_string();
        agreed("every node knows every other", || {
            self.nodes
                .iter()
                .all(|node| node.field(&["CLUSTER", "INFO"], "cluster_known_nodes") == Some(all.clone()) && !node.shakes_hands())
        });
        for (replica, master) in replicas.iter().zip(masters) {
            replica.command::<()>(&["CLUSTER", "REPLICATE", &master.node_id()]);
        }
        self.wait_until_it_stands();
        agreed("every replica follows", || {
            replicas.iter().all(|node| node.field(&["INFO", "replication"], "master_link_status") == Some("up".into()))
        });
        agreed("every node knows the replicas", || {
            self.nodes.iter().all(|node| node.topology().lines().filter(|line| line.contains("slave")).count() == MASTERS)
        });
    }

    /// Waits until all nodes that run say `cluster_state:ok`.
    pub(crate) fn wait_until_it_stands(&self) {
        agreed("cluster_state:ok", || self.running().all(|node| node.field(&["CLUSTER", "INFO"], "cluster_state") == Some("ok".into())));
    }

    fn running(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|node| node.is_running())
    }

    /// As proxy.toml writes it.
    pub(crate) fn url(&self) -> String {
        let hosts: Vec<String> = self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect();
        format!("redis-cluster://{}", hosts.join(","))
    }

    /// The node that has a slot now.
    fn owner(&self, slot: u16) -> usize {
        let owner = self.nodes.iter().position(|node| node.is_running() && node.owns(slot));
        owner.unwrap_or_else(|| panic!("nobody has slot {slot}"))
    }

    /// The slot of a key.
    pub(crate) fn slot_of(&self, key: &str) -> u16 {
        self.running().next().unwrap().command(&["CLUSTER", "KEYSLOT", key])
    }

    /// Kills the master of a slot. Its replica takes over by itself: see [`Self::has_a_master_of`].
    pub(crate) fn kill_master_of(&mut self, slot: u16) {
        let owner = self.owner(slot);
        self.nodes[owner].kill();
    }

    /// Whether a node that runs is the master of a slot.
    pub(crate) fn has_a_master_of(&self, slot: u16) -> bool {
        self.running().any(|node| node.owns(slot))
    }

    /// Moves a slot with everything in it to another master, as a resharding does.
    pub(crate) fn migrate(&self, slot: u16) {
        let from = &self.nodes[self.owner(slot)];
        let is_master = |node: &Node| node.field(&["INFO", "replication"], "role") == Some("master".into());
        let to = self.running().find(|node| node.port != from.port && is_master(node)).expect("another master");
        let (slot, to_port) = (slot.to_string(), to.port.to_string());
        to.command::<()>(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &from.node_id()]);
        from.command::<()>(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &to.node_id()]);
        loop {
            let keys: Vec<String> = from.command(&["CLUSTER", "GETKEYSINSLOT", &slot, "100"]);
            if keys.is_empty() {
                break;
            }
            let mut words = vec!["MIGRATE", "127.0.0.1", &to_port, "", "0", "5000", "KEYS"];
            words.extend(keys.iter().map(String::as_str));
            from.command::<()>(&words);
        }
        for node in [to, from] {
            node.command::<()>(&["CLUSTER", "SETSLOT", &slot, "NODE", &to.node_id()]);
        }
    }
}

impl Node {
    fn node_id(&self) -> String {
        self.command(&["CLUSTER", "MYID"])
    }

    fn topology(&self) -> String {
        self.try_run(&["CLUSTER", "NODES"]).unwrap_or_default()
    }

    fn owns(&self, slot: u16) -> bool {
        // id address flags master ping pong epoch link-state slots…
        let is_master_of = |line: &str| line.contains("myself,master") && line.split(' ').skip(8).any(|range| holds(range, slot));
        self.topology().lines().any(is_master_of)
    }

    fn shakes_hands(&self) -> bool {
        self.topology().contains("handshake")
    }
}

/// Whether `0-5460`, `12` or `[12->-id]` of CLUSTER NODES holds a slot.
fn holds(range: &str, slot: u16) -> bool {
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    matches!((first.parse::<u16>(), last.parse::<u16>()), (Ok(first), Ok(last)) if (first..=last).contains(&slot))
}
