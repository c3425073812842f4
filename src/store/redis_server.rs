//! A redis-server for tests: a process of its own on a Unix socket in a temporary directory, ended with the value.
//! The only place that starts one.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::config::sections;

/// A running server.
pub(crate) struct RedisServer {
    child: Child,
    dir: TempDir,
    args: Vec<String>,
}

impl RedisServer {
    /// Starts one and waits until it accepts connections.
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    pub(crate) fn start_with(args: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        Self { child: spawn(dir.path(), &args), dir, args }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.path().join("redis.sock")
    }

    /// `[store]` with this server's address.
    pub(crate) fn config(&self) -> sections::Store {
        sections::Store { url: format!("redis+unix://{}", self.socket().display()), ..sections::Store::default() }
    }

    /// Ends the process.
    pub(crate) fn stop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_file(self.socket());
    }

    /// Starts it again, empty, at the same address.
    pub(crate) fn restart(&mut self) {
        self.child = spawn(self.dir.path(), &self.args);
    }

    /// `STOP` freezes it, `CONT` lets it go on.
    pub(crate) fn signal(&self, signal: &str) {
        let status = Command::new("kill").arg(format!("-{signal}")).arg(self.child.id().to_string()).status().unwrap();
        assert!(status.success());
    }

    /// A connection past the store, to look or to spoil.
    pub(crate) fn raw(&self) -> redis::Connection {
        redis::Client::open(self.config().url).unwrap().get_connection().unwrap()
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.stop();
    }
}

fn spawn(dir: &Path, args: &[String]) -> Child {
    let mut child = Command::new("redis-server")
        .args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket"])
        .arg(dir.join("redis.sock"))
        .arg("--dir")
        .arg(dir)
        .args(args)
        .stdout(Stdio::piped())
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let ready = lines.by_ref().map_while(Result::ok).any(|line| line.contains("eady to accept connections"));
    assert!(ready, "redis-server did not start");
    // Its pipe must not fill up.
    std::thread::spawn(move || lines.for_each(drop));
    child
}
