//! A redis-server on a free port of its own, as clusters and Sentinel need it; ended, by its id, when it is dropped.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::Duration;

use redis::{FromRedisValue, RedisResult};
use sidegate::clock::instant;

use super::redis::{KEEPS_NOTHING, spawn};

/// How long a set of servers may take to agree.
pub(crate) const AGREEMENT: Duration = Duration::from_mins(1);
/// Between two looks at them.
const PAUSE: Duration = Duration::from_millis(20);
/// Attempts to find ports that nobody else takes meanwhile.
const ATTEMPTS: usize = 20;

pub(crate) struct Node {
    pub(crate) port: u16,
    /// Of the cluster bus, where there is one.
    pub(crate) bus_port: u16,
    dir: PathBuf,
    arguments: Vec<String>,
    child: Option<Child>,
}

impl Node {
    /// Runs with arguments that are made from its directory, a port and a port for the cluster bus.
    pub(crate) fn start(dir: &Path, arguments: impl Fn(&Path, u16, u16) -> Vec<String>) -> Self {
        for _ in 0..ATTEMPTS {
            let (port, bus_port) = free_ports();
            let dir = dir.join(port.to_string());
            std::fs::create_dir_all(&dir).unwrap();
            let arguments = arguments(&dir, port, bus_port);
            let mut node = Self { port, bus_port, dir, arguments, child: None };
            if node.run() {
                return node;
            }
        }
        panic!("no free port was found");
    }

    /// Starts the server (again, after [`Self::kill`]); `false` where its port is taken.
    pub(crate) fn run(&mut self) -> bool {
        self.child = spawn(&self.dir, &self.arguments);
        self.child.is_some()
    }

    pub(crate) fn is_running(&self) -> bool {
        self.child.is_some()
    }

    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// One command, on a connection of its own.
    pub(crate) fn try_run<T: FromRedisValue>(&self, words: &[&str]) -> RedisResult<T> {
        let client = redis::Client::open(format!("redis://127.0.0.1:{}", self.port))?;
        redis::cmd(words[0]).arg(&words[1..]).query(&mut client.get_connection()?)
    }

    #[track_caller]
    pub(crate) fn command<T: FromRedisValue>(&self, words: &[&str]) -> T {
        self.try_run(words).unwrap_or_else(|error| panic!("{words:?}: {error}"))
    }

    /// A field of an answer in lines of `name:value`, such as INFO gives; `None` too while there is no answer.
    pub(crate) fn field(&self, words: &[&str], name: &str) -> Option<String> {
        let text: String = self.try_run(words).ok()?;
        text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':').map(str::to_owned))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Arguments of a server that keeps nothing, on a port of loopback.
pub(crate) fn on_port(port: u16, more: &[&str]) -> Vec<String> {
    let port = port.to_string();
    let own = KEEPS_NOTHING.into_iter().chain(["--bind", "127.0.0.1", "--port", &port]);
    own.chain(more.iter().copied()).map(str::to_owned).collect()
}

/// Asks until it is so.
#[track_caller]
pub(crate) fn agreed(what: &str, is: impl Fn() -> bool) {
    let began = instant();
    while !is() {
        assert!(began.elapsed() < AGREEMENT, "not yet: {what}");
        std::thread::park_timeout(PAUSE);
    }
}

/// Free when asked for: whoever binds them next may find them taken.
fn free_ports() -> (u16, u16) {
    let bind = || TcpListener::bind("127.0.0.1:0").unwrap();
    let (one, other) = (bind(), bind());
    (one.local_addr().unwrap().port(), other.local_addr().unwrap().port())
}
