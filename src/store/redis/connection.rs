//! What the store talks over, whatever the topology: one exchange at a time within its deadline, over what is published, or a
//! connection of its own. Whoever asks while nothing is there is told at once.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::ConnectionLike;
use redis::{Cmd, Pipeline, RedisError, RedisFuture, RedisResult, Value};
use tokio::sync::Notify;
use tokio::time::timeout;

use super::cluster::{Cluster, ClusterConnection};
use super::dial::Dialler;
use super::node::{Finder, Node};
use super::sentinel::Sentinels;
use super::server::{ServerConnection, is_wrong_type, words};
use crate::clock::Clock;
use crate::store::target::{RedisTarget, Topology};
use crate::store::{Status, StoreError};

/// The way to Redis. Dropping it ends its supervisors.
pub(super) struct Link {
    way: Way,
    name: String,
    command_timeout: Duration,
}

enum Way {
    /// To one server; with sentinels, to whichever is the master.
    Server(Node),
    Cluster(Cluster),
}

/// Commands and pipelines may be sent over it. In a cluster the commands of a pipeline may be of several slots.
pub(super) enum Connection {
    Server(ServerConnection),
    Cluster(ClusterConnection),
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::Server(server) => server.req_packed_command(cmd),
            Self::Cluster(cluster) => cluster.req_packed_command(cmd),
        }
    }

    fn req_packed_commands<'a>(&'a mut self, pipeline: &'a Pipeline, offset: usize, count: usize) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::Server(server) => server.req_packed_commands(pipeline, offset, count),
            Self::Cluster(cluster) => cluster.req_packed_commands(pipeline, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::Server(server) => server.get_db(),
            Self::Cluster(cluster) => cluster.get_db(),
        }
    }
}

impl Connection {
    /// Whether there is somebody to send each of these to; nothing is sent.
    pub(super) async fn reach(&mut self, commands: &Pipeline) -> RedisResult<()> {
        match self {
            Self::Server(_) => Ok(()),
            Self::Cluster(cluster) => cluster.reach(commands).await,
        }
    }

    /// Sends commands, each with its own answer, errors among them.
    pub(super) async fn send_all(&mut self, commands: &Pipeline) -> RedisResult<Vec<Value>> {
        match self {
            Self::Server(server) => server.send_all(commands, 0, commands.len()).await,
            Self::Cluster(cluster) => cluster.exchange_all(commands, 0, commands.len()).await,
        }
    }
}

impl Link {
    /// Tries to connect once and goes on by itself from there, whether or not that succeeded.
    pub(super) async fn new(target: RedisTarget, clock: Clock) -> Self {
        let (name, command_timeout) = (target.topology.to_string(), target.command_timeout);
        let dialler = Arc::new(Dialler {
            login: target.login,
            tls: target.tls,
            connect_timeout: target.connect_timeout,
            command_timeout: target.command_timeout,
        });
        let finder = match target.topology {
            Topology::Server(address) => Finder::Fixed(address),
            Topology::Sentinel { sentinels, login, master } => Finder::Sentinel(Sentinels::new(sentinels, login, master)),
            Topology::Cluster(seeds) => {
                let way = Way::Cluster(Cluster::new(dialler, seeds, clock).await);
                return Self { way, name, command_timeout };
            }
        };
        let way = Way::Server(Node::new(dialler, finder, clock, "the store", Arc::new(Notify::new())).await);
        Self { way, name, command_timeout }
    }

    /// Runs one exchange, within `command_timeout`; fails at once while there is no connection.
    pub(super) async fn run<T>(&self, exchange: impl AsyncFnOnce(Connection) -> RedisResult<T>) -> Result<T, LinkError> {
        let connection = self.connection()?;
        match timeout(self.command_timeout, exchange(connection)).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(LinkError::Redis(error)),
            Err(_) => Err(self.no_answer_within(self.command_timeout)),
        }
    }

    /// What is published; fails at once while there is nothing.
    pub(super) fn connection(&self) -> Result<Connection, LinkError> {
        let connection = match &self.way {
            Way::Server(node) => node.connection().map(Connection::Server),
            Way::Cluster(cluster) => cluster.connection().map(Connection::Cluster),
        };
        connection.map_err(LinkError::Unavailable)
    }

    /// A further connection, for what may block: its deadlines are the caller's. It is closed when it is dropped, and when the
    /// published one is lost, as the server may be another after that.
    pub(super) async fn dedicated(&self) -> Result<Connection, LinkError> {
        match &self.way {
            Way::Server(node) => node.dedicated().await.map(Connection::Server).map_err(LinkError::Unavailable),
            // Its nodes are dialled where a command is for them.
            Way::Cluster(cluster) => Ok(Connection::Cluster(cluster.dedicated())),
        }
    }

    /// The words for a silent server.
    pub(super) fn no_answer_within(&self, limit: Duration) -> LinkError {
        LinkError::Unavailable(format!("{}: no answer within {} ms", self.name, limit.as_millis()))
    }

    /// The longest that a command may take.
    pub(super) const fn command_timeout(&self) -> Duration {
        self.command_timeout
    }

    /// Whether there is anybody to ask, in one atomic load.
    pub(super) fn is_reachable(&self) -> bool {
        match &self.way {
            Way::Server(node) => node.is_reachable(),
            Way::Cluster(cluster) => cluster.is_reachable(),
        }
    }

    pub(super) fn status(&self) -> Status {
        match &self.way {
            Way::Server(node) => node.status(),
            Way::Cluster(cluster) => cluster.status(),
        }
    }
}

/// Why an exchange failed.
pub(super) enum LinkError {
    /// There was none.
    Unavailable(String),
    /// The connection broke, or the server said no.
    Redis(RedisError),
}

impl LinkError {
    /// As the store's error: `id` is the record that was asked for, to blame where the answer is of another type.
    pub(super) fn about(self, id: &str) -> StoreError {
        match self {
            Self::Unavailable(why) => StoreError::Unavailable(why),
            Self::Redis(error) if is_wrong_type(error.code(), error.detail()) => {
                StoreError::Corrupt { id: id.to_owned(), why: "another type of value than Sidegate keeps there".into() }
            }
            // Whatever else the server says, it says nothing about the record.
            Self::Redis(error) => StoreError::Unavailable(words(&error)),
        }
    }
}
