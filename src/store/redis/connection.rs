//! The one connection to Redis and its supervisor: dials, publishes, pings, and on loss clears, so that whoever asks meanwhile
//! is told at once instead of waiting. It never queues a command for a server that is not there.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, RedisError, RedisResult};
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::clock::{Clock, Timestamp};
use crate::store::target::{Address, RedisTarget};
use crate::store::{Status, StoreError};

/// How often a silent server is asked whether it is there.
const PING_EVERY: Duration = Duration::from_millis(500);
const BACK_OFF_FIRST: Duration = Duration::from_millis(50);
const BACK_OFF_MAX: Duration = Duration::from_secs(1);
const KEEPALIVE: Duration = Duration::from_secs(30);

/// The published connection. Dropping it ends the supervisor.
pub(super) struct Link {
    shared: Arc<Shared>,
    supervisor: JoinHandle<()>,
}

struct Shared {
    target: RedisTarget,
    clock: Clock,
    current: ArcSwapOption<MultiplexedConnection>,
    /// Why there is no connection; empty while there is one.
    trouble: ArcSwap<String>,
    /// When the connection came or went last; 0 = it was there from the start.
    changed_at: AtomicI64,
    /// A command had no answer in time: ping now.
    suspect: Notify,
}

/// Makes further connections to the same server.
pub(super) struct Dialler(Arc<Shared>);

/// A connection and the task that moves its bytes, which ends with it.
pub(super) struct Dialled {
    pub(super) connection: MultiplexedConnection,
    driver: JoinHandle<()>,
}

impl Dialler {
    /// A connection for one user, who may block it.
    pub(super) async fn dial(&self) -> Result<Dialled, LinkError> {
        self.0.dial().await.map_err(LinkError::Unavailable)
    }

    /// The longest wait for an answer.
    pub(super) fn command_timeout(&self) -> Duration {
        self.0.target.command_timeout
    }
}

impl Drop for Dialled {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Link {
    /// Dials once and goes on by itself from there, whether or not that succeeded.
    pub(super) async fn new(target: RedisTarget, clock: Clock) -> Self {
        let shared = Arc::new(Shared {
            target,
            clock,
            current: ArcSwapOption::empty(),
            trouble: ArcSwap::from_pointee("not connected yet".to_owned()),
            changed_at: AtomicI64::new(0),
            suspect: Notify::new(),
        });
        let first = shared.dial().await;
        match &first {
            Ok(dialled) => shared.publish(dialled),
            Err(why) => shared.not_reached(why),
        }
        let supervisor = tokio::spawn(supervise(Arc::clone(&shared), first.ok()));
        Self { shared, supervisor }
    }

    /// Runs one exchange with the server, within `command_timeout`; fails at once while there is no connection.
    pub(super) async fn run<T>(&self, exchange: impl AsyncFnOnce(MultiplexedConnection) -> RedisResult<T>) -> Result<T, LinkError> {
        let Some(connection) = self.shared.current.load_full() else {
            return Err(LinkError::Unavailable(self.shared.trouble.load().to_string()));
        };
        let limit = self.shared.target.command_timeout;
        match timeout(limit, exchange(MultiplexedConnection::clone(&connection))).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(LinkError::Redis(error)),
            Err(_) => {
                self.shared.suspect.notify_one();
                Err(LinkError::Unavailable(format!("{}: no answer within {} ms", self.shared.target.address, limit.as_millis())))
            }
        }
    }

    pub(super) fn dialler(&self) -> Dialler {
        Dialler(Arc::clone(&self.shared))
    }

    pub(super) fn is_reachable(&self) -> bool {
        self.shared.current.load().is_some()
    }

    pub(super) fn status(&self) -> Status {
        let reachable = self.shared.current.load().is_some();
        let changed_at = self.shared.changed_at.load(Ordering::Relaxed);
        Status {
            reachable,
            since: (changed_at != 0).then_some(Timestamp(changed_at)),
            detail: if reachable { String::new() } else { self.shared.trouble.load().to_string() },
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.supervisor.abort();
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
            Self::Redis(error) if is_wrong_type(&error) => {
                StoreError::Corrupt { id: id.to_owned(), why: "another type of value than Sidegate keeps there".into() }
            }
            Self::Redis(error) => StoreError::Unavailable(error.to_string()),
        }
    }
}

/// Scripts of older servers wrap the code into their own words.
fn is_wrong_type(error: &RedisError) -> bool {
    error.code() == Some("WRONGTYPE")
        || error.kind() == redis::ErrorKind::UnexpectedReturnType
        || error.detail().is_some_and(|detail| detail.contains("WRONGTYPE"))
}

/// Keeps a connection published for as long as it runs.
async fn supervise(shared: Arc<Shared>, mut dialled: Option<Dialled>) {
    let mut back_off = BACK_OFF_FIRST;
    loop {
        if let Some(up) = dialled.take() {
            back_off = BACK_OFF_FIRST;
            let why = shared.watch(up).await;
            shared.lost(&why);
        }
        // Jitter, so that a fleet does not come back all at once.
        sleep(back_off.mul_f64(fastrand::f64().mul_add(0.5, 0.5))).await;
        back_off = (back_off * 2).min(BACK_OFF_MAX);
        match shared.dial().await {
            Ok(up) => {
                shared.publish(&up);
                tracing::info!(store = %shared.target.address, "the store is back");
                dialled = Some(up);
            }
            Err(why) => shared.trouble.store(Arc::new(why)),
        }
    }
}

impl Shared {
    fn publish(&self, dialled: &Dialled) {
        if self.changed_at.load(Ordering::Relaxed) != 0 {
            self.changed_at.store(self.clock.now().0, Ordering::Relaxed);
        }
        self.current.store(Some(Arc::new(dialled.connection.clone())));
        self.trouble.store(Arc::default());
    }

    /// The first attempt failed. Nothing changed by that: a sidecar that never had its store is not ready.
    fn not_reached(&self, why: &str) {
        self.trouble.store(Arc::new(why.to_owned()));
        tracing::warn!(store = %self.target.address, why, "the store cannot be reached; trying again until it is there");
    }

    fn lost(&self, why: &str) {
        self.trouble.store(Arc::new(why.to_owned()));
        self.current.store(None);
        self.changed_at.store(self.clock.now().0, Ordering::Relaxed);
        tracing::warn!(store = %self.target.address, why, "the store is unreachable; trying again until it is back");
    }

    /// Returns, with the reason, when the connection is of no use any more.
    async fn watch(&self, mut up: Dialled) -> String {
        loop {
            tokio::select! {
                _ = &mut up.driver => return format!("{}: the server closed the connection", self.target.address),
                () = self.suspect.notified() => {}
                () = sleep(PING_EVERY) => {}
            }
            let mut connection = up.connection.clone();
            let ping = redis::cmd("PING");
            let why = match timeout(self.target.command_timeout, ping.query_async::<redis::Value>(&mut connection)).await {
                Ok(Ok(_)) => continue,
                Ok(Err(error)) => error.to_string(),
                Err(_) => format!("no answer to PING within {} ms", self.target.command_timeout.as_millis()),
            };
            // Whoever waits for an answer on this connection is told now.
            up.driver.abort();
            return format!("{}: {why}", self.target.address);
        }
    }

    async fn dial(&self) -> Result<Dialled, String> {
        let address = &self.target.address;
        match timeout(self.target.connect_timeout, self.connect()).await {
            Ok(Ok(dialled)) => Ok(dialled),
            Ok(Err(why)) => Err(format!("{address}: {why}")),
            Err(_) => Err(format!("{address}: no connection within {} ms", self.target.connect_timeout.as_millis())),
        }
    }

    async fn connect(&self) -> Result<Dialled, String> {
        match &self.target.address {
            Address::Tcp(host, port) => {
                let stream = TcpStream::connect((host.as_str(), *port)).await.map_err(|error| error.to_string())?;
                let tuned = stream
                    .set_nodelay(true)
                    .and_then(|()| SockRef::from(&stream).set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE)));
                tuned.map_err(|error| error.to_string())?;
                self.log_in(stream).await
            }
            Address::Unix(path) => self.log_in(UnixStream::connect(path).await.map_err(|error| error.to_string())?).await,
        }
    }

    async fn log_in<S>(&self, stream: S) -> Result<Dialled, String>
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        // Deadlines are this file's: the crate's own would cut the ping short or let it hang.
        let config = AsyncConnectionConfig::new().set_response_timeout(None).set_connection_timeout(None);
        let (connection, driver) =
            MultiplexedConnection::new_with_config(&self.target.login, stream, config).await.map_err(|error| error.to_string())?;
        let dialled = Dialled { connection, driver: tokio::spawn(driver) };
        // A connection is one that answers: a server that demands a password, or still loads, does not.
        match redis::cmd("PING").query_async::<redis::Value>(&mut dialled.connection.clone()).await {
            Ok(_) => Ok(dialled),
            Err(error) => {
                dialled.driver.abort();
                Err(error.to_string())
            }
        }
    }
}
