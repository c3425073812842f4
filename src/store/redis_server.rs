//! Redis servers for tests: processes of their own on a Unix socket or free loopback ports, in a temporary directory, ended by their
//! id with the value. The only place that starts one.

pub(crate) mod certificates;
pub(crate) mod cluster;
pub(crate) mod sentinel;

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::config::sections;
use certificates::Certificates;

/// A running server.
pub(crate) struct RedisServer {
    child: Child,
    dir: TempDir,
    args: Vec<String>,
    port: Option<u16>,
}

impl RedisServer {
    /// Starts one and waits until it accepts connections.
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    pub(crate) fn start_with(args: &[&str]) -> Self {
        Self::spawn(args.iter().map(|arg| (*arg).to_owned()).collect(), None)
    }

    /// One that listens on a free port of loopback too.
    pub(crate) fn start_on_tcp(args: &[&str]) -> Self {
        let port = free_port();
        let given = args.iter().map(|arg| (*arg).to_owned());
        let args = ["--bind", "127.0.0.1", "--port", &port.to_string()].map(str::to_owned).into_iter().chain(given).collect();
        Self::spawn(args, Some(port))
    }

    /// One that listens on a free port with TLS alone; `clients` is whether they must show a certificate, `yes` or `no`.
    pub(crate) fn start_with_tls(certificates: &Certificates, clients: &str) -> Self {
        let port = free_port();
        Self::spawn(certificates.server(port, clients), Some(port))
    }

    fn spawn(args: Vec<String>, port: Option<u16>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let child = run(&mut Command::new("redis-server"), dir.path(), &args);
        Self { child, dir, args, port }
    }

    /// What ends it from outside.
    pub(crate) fn process(&self) -> (u32, PathBuf) {
        (self.child.id(), self.dir.path().to_owned())
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.path().join("redis.sock")
    }

    /// The port it was started on.
    pub(crate) fn port(&self) -> u16 {
        self.port.unwrap()
    }

    /// `[store]` with this server's address.
    pub(crate) fn config(&self) -> sections::Store {
        let url = match self.port {
            Some(port) => format!("redis://127.0.0.1:{port}"),
            None => self.socket_url(),
        };
        sections::Store { url, ..sections::Store::default() }
    }

    /// Ends the process.
    pub(crate) fn stop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_file(self.socket());
    }

    /// Starts it again, empty, at the same address.
    pub(crate) fn restart(&mut self) {
        self.child = run(&mut Command::new("redis-server"), self.dir.path(), &self.args);
    }

    /// `STOP` freezes it, `CONT` lets it go on.
    pub(crate) fn signal(&self, signal: &str) {
        let status = Command::new("kill").arg(format!("-{signal}")).arg(self.child.id().to_string()).status().unwrap();
        assert!(status.success());
    }

    /// A connection past the store, to look or to spoil.
    pub(crate) fn raw(&self) -> redis::Connection {
        redis::Client::open(self.socket_url()).unwrap().get_connection().unwrap()
    }

    /// Runs a command past the store.
    pub(crate) fn tell<T: redis::FromRedisValue>(&self, words: &str) -> T {
        self.try_tell(words).unwrap()
    }

    /// The same where it may not be there, or refuse.
    pub(crate) fn try_tell<T: redis::FromRedisValue>(&self, words: &str) -> redis::RedisResult<T> {
        command(words).query(&mut redis::Client::open(self.socket_url())?.get_connection()?)
    }

    fn socket_url(&self) -> String {
        format!("redis+unix://{}", self.socket().display())
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Ends servers that live as long as this process does: a static is never dropped. A child waits until the pipe to it closes.
#[expect(clippy::zombie_processes, reason = "it ends after this process")]
pub(crate) fn end_with_this_process(processes: impl Iterator<Item = (u32, PathBuf)>) {
    let (ids, dirs): (Vec<_>, Vec<_>) = processes.map(|(id, dir)| (id.to_string(), dir)).unzip();
    let script = format!("read -r gone; kill -9 {}; rm -rf \"$@\"", ids.join(" "));
    let mut child = Command::new("sh").args(["-c", &script, "sh"]).args(dirs).stdin(Stdio::piped()).spawn().unwrap();
    std::mem::forget(child.stdin.take());
}

/// A command, word by word.
pub(crate) fn command(words: &str) -> redis::Cmd {
    let mut words = words.split(' ');
    let mut command = redis::cmd(words.next().unwrap());
    for word in words {
        command.arg(word);
    }
    command
}

/// One that nobody has now.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Waits for what other processes bring about.
pub(crate) fn eventually(what: &str, is_so: impl FnMut() -> bool) {
    let mut is_so = is_so;
    for _ in 0..3_000 {
        if is_so() {
            return;
        }
        std::thread::park_timeout(Duration::from_millis(10));
    }
    panic!("not in time: {what}");
}

/// The same for what this process brings about.
pub(crate) async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(30), wait).await.is_ok(), "not in time: {what}");
}

fn run(command: &mut Command, dir: &Path, args: &[String]) -> Child {
    let mut child = command
        .args(["--port", "0", "--save", "", "--appendonly", "no", "--repl-diskless-sync-delay", "0", "--unixsocket"])
        .arg(dir.join("redis.sock"))
        .arg("--dir")
        .arg(dir)
        .args(args)
        .stdout(Stdio::piped())
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    until_it_says(&mut child, "eady to accept connections");
    child
}

fn until_it_says(child: &mut Child, words: &str) {
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let ready = lines.by_ref().map_while(Result::ok).any(|line| line.contains(words));
    assert!(ready, "redis-server did not start");
    // Its pipe must not fill up.
    std::thread::spawn(move || lines.for_each(drop));
}
