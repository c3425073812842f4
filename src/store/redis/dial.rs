//! One connection to one server: socket, TLS, login, and a first answer. It is a connection only when the server has answered.
//! Deadlines are the caller's where it knows better; a dial ends within `connect_timeout` in any case.

use std::io;
use std::time::Duration;

use redis::aio::{MultiplexedConnection, PubSub};
use redis::{AsyncConnectionConfig, RedisConnectionInfo, RedisError, Value, cmd};
use rustls::pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::server::words;
use super::tls;
use crate::config::sections::StoreTls;
use crate::store::target::{Address, Login};

const KEEPALIVE: Duration = Duration::from_secs(30);

/// How servers are dialled.
pub(super) struct Dialler {
    pub(super) login: Login,
    pub(super) tls: Option<StoreTls>,
    pub(super) connect_timeout: Duration,
    pub(super) command_timeout: Duration,
}

/// What is spoken over: a socket, perhaps within TLS.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// A connection and the task that moves its bytes. Dropping it closes the connection.
pub(super) struct Dialled {
    pub(super) connection: MultiplexedConnection,
    pub(super) driver: JoinHandle<()>,
}

impl Drop for Dialled {
    fn drop(&mut self) {
        // Whoever waits for an answer on this connection is told now.
        self.driver.abort();
    }
}

/// What is asked of a server before it counts as reached.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Demand {
    /// That it answers: one that demands a password, or still loads, does not.
    Answers,
    /// That it is a master by its own word.
    IsMaster,
    /// That it answers: a sentinel may have no password where its servers have one.
    IsSentinel,
}

impl Dialler {
    /// Connects, within `connect_timeout`. The reason of a failure names the address, and never a password.
    pub(super) async fn dial(&self, address: &Address, demand: Demand) -> Result<Dialled, String> {
        self.within(address, self.connect(address, &self.login, demand)).await
    }

    /// The same for a sentinel.
    pub(super) async fn dial_sentinel(&self, address: &Address, login: &Login) -> Result<Dialled, String> {
        self.within(address, self.connect(address, login, Demand::IsSentinel)).await
    }

    /// A subscriber's connection to a sentinel.
    pub(super) async fn subscribe(&self, address: &Address, login: &Login, channel: &str) -> Result<PubSub, String> {
        let subscribe = async {
            let passwords = login.passwords()?;
            let mut why = String::new();
            for password in passwords.iter().map(Some).chain([None]) {
                let mut info = RedisConnectionInfo::default().set_skip_set_lib_name();
                if let Some(password) = password {
                    info = info.set_password(password.as_str());
                    if !login.username().is_empty() {
                        info = info.set_username(login.username());
                    }
                }
                let stream = self.open(address).await?;
                let subscribed = match PubSub::new(&info, stream).await {
                    Ok(mut pubsub) => pubsub.subscribe(channel).await.map(|()| pubsub),
                    Err(error) => Err(error),
                };
                match subscribed {
                    Ok(pubsub) => return Ok(pubsub),
                    Err(error) => why = words(&error),
                }
            }
            Err(why)
        };
        self.within(address, subscribe).await
    }

    async fn within<T>(&self, address: &Address, attempt: impl Future<Output = Result<T, String>>) -> Result<T, String> {
        match timeout(self.connect_timeout, attempt).await {
            Ok(Ok(connected)) => Ok(connected),
            Ok(Err(why)) => Err(format!("{address}: {why}")),
            Err(_) => Err(format!("{address}: no connection within {} ms", self.connect_timeout.as_millis())),
        }
    }

    async fn connect(&self, address: &Address, login: &Login, demand: Demand) -> Result<Dialled, String> {
        let stream = self.open(address).await?;
        let info = RedisConnectionInfo::default().set_skip_set_lib_name();
        // Deadlines are those of whoever asks: the crate's own would cut a ping short or let it hang.
        let config = AsyncConnectionConfig::new().set_response_timeout(None).set_connection_timeout(None);
        let (connection, driver) = MultiplexedConnection::new_with_config(&info, stream, config).await.map_err(|error| words(&error))?;
        let mut dialled = Dialled { connection, driver: tokio::spawn(driver) };
        match log_in(&mut dialled.connection, login).await {
            Err(_) if demand == Demand::IsSentinel => {}
            logged_in => logged_in?,
        }
        match demand {
            Demand::Answers | Demand::IsSentinel => ping(&mut dialled.connection).await?,
            Demand::IsMaster => is_master(&mut dialled.connection).await?,
        }
        Ok(dialled)
    }

    async fn open(&self, address: &Address) -> Result<Box<dyn Stream>, String> {
        let (host, port) = match address {
            Address::Tcp(host, port) => (host.as_str(), *port),
            Address::Unix(path) => return Ok(Box::new(UnixStream::connect(path).await.map_err(|error| error.to_string())?)),
        };
        let stream = TcpStream::connect((host, port)).await.and_then(|stream| self.tune(stream)).map_err(|error| error.to_string())?;
        let Some(files) = self.tls.clone() else { return Ok(Box::new(stream)) };
        // Files are read, those of the whole system perhaps.
        let config = tokio::task::spawn_blocking(move || tls::client_config(&files)).await.map_err(|error| error.to_string())??;
        let name = ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
        let stream = TlsConnector::from(config).connect(name, stream).await.map_err(|error| format!("TLS: {error}"))?;
        Ok(Box::new(stream))
    }

    fn tune(&self, stream: TcpStream) -> io::Result<TcpStream> {
        stream.set_nodelay(true)?;
        let socket = SockRef::from(&stream);
        socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE))?;
        // Bytes that nobody acknowledges end the connection, whatever the kernel's retries are.
        #[cfg(target_os = "linux")]
        socket.set_tcp_user_timeout(Some(self.connect_timeout.max(self.command_timeout)))?;
        Ok(stream)
    }
}

/// Tries the passwords, newest first: while one is rotated, servers and their clients do not change at the same moment.
async fn log_in(connection: &mut MultiplexedConnection, login: &Login) -> Result<(), String> {
    let mut refused: Option<RedisError> = None;
    for password in login.passwords()? {
        let mut auth = cmd("AUTH");
        if !login.username().is_empty() {
            auth.arg(login.username());
        }
        match auth.arg(password.as_str()).query_async::<()>(connection).await {
            Ok(()) => {
                refused = None;
                break;
            }
            Err(error) if error.code() == Some("WRONGPASS") => refused = Some(error),
            Err(error) => return Err(words(&error)),
        }
    }
    if let Some(error) = refused {
        return Err(words(&error));
    }
    if login.db() != 0 {
        cmd("SELECT").arg(login.db()).query_async::<()>(connection).await.map_err(|error| words(&error))?;
    }
    Ok(())
}

/// Whether the server answers as one does.
pub(super) async fn ping(connection: &mut MultiplexedConnection) -> Result<(), String> {
    match cmd("PING").query_async::<Value>(connection).await {
        Ok(Value::SimpleString(pong)) if pong == "PONG" => Ok(()),
        Ok(_) => Err("it answers PING with something else".into()),
        Err(error) => Err(words(&error)),
    }
}

async fn is_master(connection: &mut MultiplexedConnection) -> Result<(), String> {
    match cmd("ROLE").query_async::<Vec<Value>>(connection).await {
        Ok(role) if matches!(role.first(), Some(Value::BulkString(role)) if role == b"master") => Ok(()),
        Ok(_) => Err("it is no master".into()),
        Err(error) => Err(words(&error)),
    }
}
