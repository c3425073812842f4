//! A redis-server of one's own, on a Unix socket in a directory of its own; ended, by its id, when it is dropped.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;

use tempfile::TempDir;

/// Arguments of a redis-server that keeps nothing.
pub(crate) const KEEPS_NOTHING: [&str; 6] = ["--save", "", "--appendonly", "no", "--daemonize", "no"];

/// Starts a redis-server in a directory and returns when it answers; `None` where it ended instead, such as by a port that is taken.
pub(crate) fn spawn(dir: &Path, arguments: &[String]) -> Option<Child> {
    let mut command = Command::new("redis-server");
    command.args(arguments).current_dir(dir).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().expect("redis-server is installed; tests/run does that");
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    if !lines.any(|line| line.contains("eady to accept connections") || line.contains("Sentinel ID is")) {
        child.wait().unwrap();
        return None;
    }
    // Its pipe must not fill up.
    thread::spawn(move || lines.for_each(drop));
    Some(child)
}

pub(crate) struct Redis {
    dir: TempDir,
    arguments: Vec<String>,
    child: Option<Child>,
}

impl Redis {
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// With further arguments of redis-server.
    pub(crate) fn start_with(arguments: &[&str]) -> Self {
        let mut redis = Self {
            dir: tempfile::tempdir().unwrap(),
            arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(),
            child: None,
        };
        redis.run();
        redis
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.path().join("redis.sock")
    }

    /// As proxy.toml writes it.
    pub(crate) fn url(&self) -> String {
        format!("redis+unix://{}", self.socket().display())
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Starts the server (again, after [`Self::stop`]); returns when it answers.
    pub(crate) fn run(&mut self) {
        let socket = self.socket().display().to_string();
        let own = KEEPS_NOTHING.into_iter().chain(["--port", "0", "--unixsocket", &socket]).map(str::to_owned);
        let arguments: Vec<String> = own.chain(self.arguments.iter().cloned()).collect();
        self.child = Some(spawn(self.dir.path(), &arguments).expect("redis-server starts"));
    }

    /// Kills the server: what it held is gone, its socket refuses.
    pub(crate) fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Freezes or thaws the server: connections stay open, nothing is answered.
    pub(crate) fn signal(&self, signal: &str) {
        super::process::signal(self.child.as_ref().unwrap().id(), signal);
    }

    pub(crate) fn connection(&self) -> redis::Connection {
        redis::Client::open(self.url()).unwrap().get_connection().unwrap()
    }

    /// Every key with everything under it, as bytes to search in.
    pub(crate) fn dump(&self) -> Vec<u8> {
        let mut connection = self.connection();
        let keys: Vec<Vec<u8>> = redis::cmd("KEYS").arg("*").query(&mut connection).unwrap();
        let mut out = Vec::new();
        for key in keys {
            let kind: String = redis::cmd("TYPE").arg(&key).query(&mut connection).unwrap();
            let read = match kind.as_str() {
                "string" => redis::cmd("GET").arg(&key).query(&mut connection),
                "hash" => redis::cmd("HGETALL").arg(&key).query(&mut connection),
                "list" => redis::cmd("LRANGE").arg(&key).arg(0).arg(-1).query(&mut connection),
                "set" => redis::cmd("SMEMBERS").arg(&key).query(&mut connection),
                "zset" => redis::cmd("ZRANGE").arg(&key).arg(0).arg(-1).query(&mut connection),
                "stream" => redis::cmd("XRANGE").arg(&key).arg("-").arg("+").query(&mut connection),
                other => panic!("a {other} in Redis"),
            };
            out.extend_from_slice(&key);
            out.push(b'\n');
            flatten(&read.unwrap(), &mut out);
        }
        out
    }
}

fn flatten(value: &redis::Value, out: &mut Vec<u8>) {
    match value {
        redis::Value::BulkString(bytes) => out.extend_from_slice(bytes),
        redis::Value::Array(items) | redis::Value::Set(items) => items.iter().for_each(|item| flatten(item, out)),
        redis::Value::Map(pairs) => pairs.iter().for_each(|(key, value)| {
            flatten(key, out);
            flatten(value, out);
        }),
        // Numbers and the like: nothing that could hold a secret.
        _ => out.extend_from_slice(format!("{value:?}").as_bytes()),
    }
    out.push(b'\n');
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.stop();
    }
}
