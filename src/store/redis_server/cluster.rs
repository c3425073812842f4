//! A cluster of three masters, with a replica each or without.

use std::sync::LazyLock;

use super::{RedisServer, end_with_this_process, eventually, free_port};
use crate::config::sections;

const MASTERS: usize = 3;
const SLOTS: usize = 16384;

/// A running cluster: the masters first, then their replicas in the same order.
pub(crate) struct RedisCluster {
    pub(crate) nodes: Vec<RedisServer>,
}

impl RedisCluster {
    /// Six nodes.
    pub(crate) fn start() -> Self {
        Self::start_with(2 * MASTERS, &[])
    }

    /// One for all tests that only need a cluster.
    pub(crate) fn shared() -> &'static Self {
        static SHARED: LazyLock<RedisCluster> = LazyLock::new(|| {
            let cluster = RedisCluster::start();
            end_with_this_process(cluster.nodes.iter().map(RedisServer::process));
            cluster
        });
        &SHARED
    }

    pub(crate) fn start_with(nodes: usize, args: &[&str]) -> Self {
        let start = || {
            let bus = free_port().to_string();
            let own = ["--cluster-enabled", "yes", "--cluster-node-timeout", "2000", "--cluster-port", &bus];
            RedisServer::start_on_tcp(&[&own[..], args].concat())
        };
        let cluster = Self { nodes: (0..nodes).map(|_| start()).collect() };
        cluster.meet();
        cluster.replicate();
        cluster.until_it_serves(nodes);
        cluster
    }

    fn meet(&self) {
        for (index, node) in self.nodes.iter().enumerate() {
            node.tell::<()>(&format!("CLUSTER SET-CONFIG-EPOCH {}", index + 1));
            if index < MASTERS {
                let (first, end) = (index * SLOTS / MASTERS, (index + 1) * SLOTS / MASTERS);
                node.tell::<()>(&format!("CLUSTER ADDSLOTSRANGE {first} {}", end - 1));
            }
        }
        for node in &self.nodes[1..] {
            let bus: Vec<String> = node.tell("CONFIG GET cluster-port");
            self.nodes[0].tell::<()>(&format!("CLUSTER MEET 127.0.0.1 {} {}", node.port(), bus[1]));
        }
        self.each("nodes know each other", |info| info.contains(&format!("cluster_known_nodes:{}", self.nodes.len())));
    }

    fn replicate(&self) {
        for (index, node) in self.nodes.iter().enumerate().skip(MASTERS) {
            let master = self.id(index - MASTERS);
            eventually("a replica has a master", || node.try_tell::<()>(&format!("CLUSTER REPLICATE {master}")).is_ok());
            eventually("a replica follows", || node.tell::<String>("INFO replication").contains("master_link_status:up"));
        }
    }

    /// All nodes say so, and know who replicates whom.
    fn until_it_serves(&self, nodes: usize) {
        // Without full coverage a node is content with the slots that it has heard of.
        self.each("the cluster serves", |info| info.contains("cluster_state:ok") && info.contains("cluster_slots_assigned:16384"));
        for node in &self.nodes {
            eventually("replicas are known", || node.tell::<String>("CLUSTER NODES").matches("slave").count() == nodes - MASTERS);
        }
    }

    fn each(&self, what: &str, is_so: impl Fn(&str) -> bool) {
        for node in &self.nodes {
            eventually(what, || is_so(&node.tell::<String>("CLUSTER INFO")));
        }
    }

    /// The id of a node.
    pub(crate) fn id(&self, node: usize) -> String {
        self.nodes[node].tell("CLUSTER MYID")
    }

    /// `[store]` with the addresses of some nodes.
    pub(crate) fn config(&self) -> sections::Store {
        let hosts: Vec<String> = self.nodes.iter().take(2).map(|node| format!("127.0.0.1:{}", node.port())).collect();
        sections::Store { url: format!("redis-cluster://{}", hosts.join(",")), ..sections::Store::default() }
    }
}
