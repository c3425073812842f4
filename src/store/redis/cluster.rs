//! A cluster: each command goes to the master of its slot, over that node's own supervised connection, and follows MOVED and ASK.
//! A dead node fails the commands of its slots alone, and at once. Replicas are never asked: what they answer may be revoked.

mod keeper;
mod map;

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use redis::aio::ConnectionLike;
use redis::{Cmd, Pipeline, RedisError, RedisFuture, RedisResult, ServerErrorKind, Value, cmd, pipe};
use tokio::time::sleep;

use super::server::{ServerConnection, about_records_only};
use crate::store::target::Address;
pub(super) use keeper::Cluster;
use keeper::Shared;
use map::{Map, Member, Route, route_of};

/// A slot that goes on from node to node is not followed for ever.
const REDIRECTS_MAX: usize = 5;

/// How often, and how soon, a command is sent again that needs two names of a slot of which one has gone and the other has not.
const SPLIT_TRIES: usize = 10;
const SPLIT_PAUSE: Duration = Duration::from_millis(20);

/// A connection to whichever node a command is for.
pub(super) struct ClusterConnection {
    shared: Arc<Shared>,
    /// Connections of its own, dialled where they are needed; `None` = the published ones.
    own: Option<HashMap<Address, ServerConnection>>,
}

impl ClusterConnection {
    async fn exchange(&mut self, command: &Cmd) -> RedisResult<Value> {
        let map = self.shared.map.load_full();
        match route_of(command) {
            Route::Slot(slot) => self.follow(map.of_slot(slot).ok_or_else(|| self.unreachable())?, command).await,
            Route::AnyNode => {
                let member = map.any().ok_or_else(|| self.unreachable())?;
                self.connection_to(&member).await?.req_packed_command(command).await
            }
            Route::AllNodes => self.everywhere(&map, command).await,
        }
    }

    /// Sends a command to the node, or to where that says that its slot is; again, while its names are on their way there.
    async fn follow(&mut self, member: Arc<Member>, command: &Cmd) -> RedisResult<Value> {
        for _ in 1..SPLIT_TRIES {
            let answer = self.follow_once(Arc::clone(&member), command).await?;
            if !matches!(&answer, Value::ServerError(error) if error.kind() == Some(ServerErrorKind::TryAgain)) {
                return Ok(answer);
            }
            sleep(SPLIT_PAUSE).await;
        }
        self.follow_once(member, command).await
    }

    async fn follow_once(&mut self, mut member: Arc<Member>, command: &Cmd) -> RedisResult<Value> {
        let mut asking = false;
        for _ in 0..=REDIRECTS_MAX {
            let mut connection = self.connection_to(&member).await?;
            let answer = if asking {
                // Both at once: nobody else's command may come between.
                let answers = connection.send_all(pipe().cmd("ASKING").add_command(command.clone()), 1, 1).await?;
                answers.into_iter().next().unwrap_or(Value::Nil)
            } else {
                connection.req_packed_command(command).await?
            };
            let Some(redirect) = Redirect::of(&answer) else { return Ok(answer) };
            asking = redirect.ask;
            member = self.shared.redirected(&redirect.host, redirect.port, redirect.ask, &member).await;
        }
        Err(io::Error::other("the nodes of the cluster do not agree on who has this slot").into())
    }

    /// To all masters, as far as they can be reached: one answer stands for all.
    async fn everywhere(&mut self, map: &Map, command: &Cmd) -> RedisResult<Value> {
        let mut connections = Vec::new();
        for member in map.members().filter(|member| member.node.is_reachable()) {
            connections.extend(self.connection_to(member).await);
        }
        let answers = join_all(connections.iter_mut().map(|connection| connection.req_packed_command(command))).await;
        let answers = answers.into_iter().map(|answer| answer.and_then(Value::extract_error));
        answers.reduce(RedisResult::or).unwrap_or_else(|| Err(self.unreachable()))
    }

    /// Whether all nodes that these are for are connected.
    pub(super) async fn reach(&mut self, commands: &Pipeline) -> RedisResult<()> {
        for part in self.divide(commands)? {
            self.connection_to(&part.member).await?;
        }
        Ok(())
    }

    /// Commands of one pipeline, each with its own answer: node by node, all nodes at once.
    pub(super) async fn exchange_all(&mut self, commands: &Pipeline, skip: usize, count: usize) -> RedisResult<Vec<Value>> {
        if commands.is_empty() {
            return Ok(Vec::new());
        }
        let parts = self.divide(commands)?;
        if commands.is_transaction() || parts.len() == 1 {
            let Some(part) = parts.first() else { return Ok(Vec::new()) };
            let answers = self.connection_to(&part.member).await?.send_all(commands, skip, count).await?;
            return if commands.is_transaction() { Ok(answers) } else { self.redirected(commands, answers).await };
        }
        let mut connections = Vec::with_capacity(parts.len());
        for part in &parts {
            connections.push(self.connection_to(&part.member).await?);
        }
        let sent = parts.iter().zip(&mut connections).map(|(part, connection)| connection.send_all(&part.commands, 0, part.places.len()));
        let mut answers = vec![Value::Nil; commands.len()];
        for (part, values) in parts.iter().zip(join_all(sent).await) {
            for (place, value) in part.places.iter().zip(values?) {
                if let Some(answer) = answers.get_mut(*place) {
                    *answer = value;
                }
            }
        }
        self.redirected(commands, answers).await
    }

    /// Which commands go to which node. One without a key goes where the one before it went.
    fn divide(&self, commands: &Pipeline) -> RedisResult<Vec<Part>> {
        let map = self.shared.map.load();
        let mut parts: Vec<Part> = Vec::new();
        let mut last: Option<Arc<Member>> = None;
        for (place, command) in commands.cmd_iter().enumerate() {
            let member = match (route_of(command), last) {
                (Route::Slot(slot), _) => map.of_slot(slot),
                (Route::AnyNode | Route::AllNodes, Some(last)) => Some(last),
                (Route::AnyNode | Route::AllNodes, None) => map.any(),
            };
            let member = member.ok_or_else(|| self.unreachable())?;
            match parts.iter_mut().find(|part| part.member.address == member.address) {
                Some(part) => part.add(place, command),
                None => parts.push(Part::new(Arc::clone(&member), place, command)),
            }
            last = Some(member);
        }
        Ok(parts)
    }

    /// Sends those again whose slot is elsewhere. Where a command without a key is among them, it belongs to its neighbours,
    /// and they cannot be taken apart.
    async fn redirected(&mut self, commands: &Pipeline, mut answers: Vec<Value>) -> RedisResult<Vec<Value>> {
        let map = self.shared.map.load_full();
        let together = commands.cmd_iter().any(|command| !matches!(route_of(command), Route::Slot(_)));
        for (command, answer) in commands.cmd_iter().zip(&mut answers) {
            if Redirect::of(answer).is_some() && !together {
                let Route::Slot(slot) = route_of(command) else { continue };
                *answer = self.follow(map.of_slot(slot).ok_or_else(|| self.unreachable())?, command).await?;
            }
        }
        if together && answers.iter().any(|answer| Redirect::of(answer).is_some()) {
            self.shared.stale.notify_one();
        }
        Ok(answers)
    }

    async fn connection_to(&mut self, member: &Arc<Member>) -> RedisResult<ServerConnection> {
        let not_there = |why| RedisError::from(io::Error::new(io::ErrorKind::NotConnected, why));
        let Some(own) = &mut self.own else { return member.node.connection().map_err(not_there) };
        if let Some(connection) = own.get(&member.address).filter(|connection| !connection.is_closed()) {
            return Ok(connection.clone());
        }
        let connection = member.node.dedicated().await.map_err(not_there)?;
        own.insert(member.address.clone(), connection.clone());
        Ok(connection)
    }

    fn unreachable(&self) -> RedisError {
        let why = Some(self.shared.trouble()).filter(|why| !why.is_empty());
        io::Error::new(io::ErrorKind::NotConnected, why.unwrap_or_else(|| "no node of the cluster has this slot".into())).into()
    }
}

impl ConnectionLike for ClusterConnection {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        Box::pin(self.exchange(cmd))
    }

    fn req_packed_commands<'a>(&'a mut self, pipeline: &'a Pipeline, offset: usize, count: usize) -> RedisFuture<'a, Vec<Value>> {
        Box::pin(async move { about_records_only(self.exchange_all(pipeline, offset, count).await?) })
    }

    fn get_db(&self) -> i64 {
        0
    }
}

/// The commands of a pipeline that one node gets, and their places in it.
struct Part {
    member: Arc<Member>,
    commands: Pipeline,
    places: Vec<usize>,
}

impl Part {
    fn new(member: Arc<Member>, place: usize, command: &Cmd) -> Self {
        let mut part = Self { member, commands: pipe(), places: Vec::new() };
        part.add(place, command);
        part
    }

    fn add(&mut self, place: usize, command: &Cmd) {
        self.commands.add_command(command.clone());
        self.places.push(place);
    }
}

/// Where else a slot is.
struct Redirect {
    host: String,
    port: u16,
    /// For this once: the slot is on its way.
    ask: bool,
}

impl Redirect {
    fn of(answer: &Value) -> Option<Self> {
        let Value::ServerError(error) = answer else { return None };
        let ask = match error.kind() {
            Some(ServerErrorKind::Ask) => true,
            Some(ServerErrorKind::Moved) => false,
            _ => return None,
        };
        // `3999 127.0.0.1:6381`; without a host it is that of whoever says so.
        let (host, port) = error.details()?.split_once(' ')?.1.rsplit_once(':')?;
        Some(Self { host: host.trim_matches(['[', ']']).to_owned(), port: port.parse().ok()?, ask })
    }
}

/// What a node is asked about the cluster.
fn questions() -> Pipeline {
    let mut questions = pipe();
    questions.add_command({
        let mut info = cmd("CLUSTER");
        info.arg("INFO");
        info
    });
    questions.cmd("CLUSTER").arg("SLOTS");
    questions
}
