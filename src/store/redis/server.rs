//! A connection to one server, with an eye on its answers: what tells that the server is silent, or no master any more, is passed
//! on to whoever supervises it. It changes no answer.

use std::sync::Arc;

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{Cmd, Pipeline, RedisError, RedisFuture, RedisResult, ServerError, ServerErrorKind, Value};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// What answers tell about their server.
#[derive(Default)]
pub(super) struct Signals {
    /// A command had no answer in time: ping now.
    pub(super) suspect: Notify,
    /// It takes no writes any more, or has lost its master: another may be the master now.
    pub(super) deposed: Notify,
}

/// A connection that somebody may use.
#[derive(Clone)]
pub(super) struct ServerConnection {
    connection: MultiplexedConnection,
    signals: Arc<Signals>,
    /// Of a connection of its own: ends with it.
    own: Option<Arc<Driver>>,
}

/// A task that ends when this is dropped.
pub(super) struct Driver(pub(super) JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl ServerConnection {
    /// One that is published.
    pub(super) const fn shared(connection: MultiplexedConnection, signals: Arc<Signals>) -> Self {
        Self { connection, signals, own: None }
    }

    /// One that is closed when its last copy is dropped.
    pub(super) fn own(connection: MultiplexedConnection, signals: Arc<Signals>, driver: Driver) -> Self {
        Self { connection, signals, own: Some(Arc::new(driver)) }
    }

    /// Whether this is one of its own that has ended.
    pub(super) fn is_closed(&self) -> bool {
        self.own.as_ref().is_some_and(|driver| driver.0.is_finished())
    }

    /// Commands, each with its own answer, errors among them.
    pub(super) async fn send_all(&mut self, commands: &Pipeline, skip: usize, count: usize) -> RedisResult<Vec<Value>> {
        let waiting = Waiting(Some(&self.signals));
        let answers = self.connection.send_packed_commands(commands, skip, count).await;
        waiting.answered();
        for error in answers.iter().flatten().filter_map(server_error) {
            self.judge(error);
        }
        answers
    }

    async fn send(&mut self, command: &Cmd) -> RedisResult<Value> {
        let waiting = Waiting(Some(&self.signals));
        let answer = self.connection.send_packed_command(command).await;
        waiting.answered();
        if let Some(error) = answer.as_ref().ok().and_then(server_error) {
            self.judge(error);
        }
        answer
    }

    fn judge(&self, error: &ServerError) {
        let is_of_a_replica = matches!(error.kind(), Some(ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown));
        // Scripts of older servers wrap the code into their own words.
        if is_of_a_replica || error.details().is_some_and(|details| details.contains("-READONLY")) {
            self.signals.deposed.notify_one();
        }
    }
}

impl ConnectionLike for ServerConnection {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        Box::pin(self.send(cmd))
    }

    fn req_packed_commands<'a>(&'a mut self, pipeline: &'a Pipeline, offset: usize, count: usize) -> RedisFuture<'a, Vec<Value>> {
        Box::pin(async move { about_records_only(self.send_all(pipeline, offset, count).await?) })
    }

    fn get_db(&self) -> i64 {
        self.connection.get_db()
    }
}

/// A command that waits for its answer. Given up, it raises suspicion.
struct Waiting<'a>(Option<&'a Signals>);

impl Waiting<'_> {
    fn answered(mut self) {
        self.0 = None;
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(signals) = self.0 {
            signals.suspect.notify_one();
        }
    }
}

/// What went wrong with one record stays with it; any other error is the server's, and that of the whole pipeline: whoever
/// ignores errors of records must not take a server that cannot answer for a list of spoilt records.
pub(super) fn about_records_only(answers: Vec<Value>) -> RedisResult<Vec<Value>> {
    match answers.iter().filter_map(server_error).find(|error| !is_wrong_type(Some(error.code()), error.details())) {
        Some(error) => Err(RedisError::from(error.clone())),
        None => Ok(answers),
    }
}

fn server_error(answer: &Value) -> Option<&ServerError> {
    if let Value::ServerError(error) = answer { Some(error) } else { None }
}

/// What went wrong, in the server's own words where they are its.
pub(super) fn words(error: &RedisError) -> String {
    match (error.code(), error.detail()) {
        (Some(code), Some(detail)) => format!("{code} {detail}"),
        (Some(code), None) => code.to_owned(),
        (None, _) => error.to_string(),
    }
}

/// Whether the value is not what Sidegate keeps there. Scripts of older servers wrap the code into their own words.
pub(super) fn is_wrong_type(code: Option<&str>, detail: Option<&str>) -> bool {
    code == Some("WRONGTYPE") || detail.is_some_and(|detail| detail.contains("WRONGTYPE"))
}
