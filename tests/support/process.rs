//! The real binary, as a user runs it: `serve` with its output gathered line by line, and commands that end by themselves.

use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use super::PATIENCE;

const BINARY: &str = env!("CARGO_BIN_EXE_sidegate");

/// Sends a signal to a process that this test started.
pub(crate) fn signal(id: u32, signal: &str) {
    assert!(Command::new("kill").args([&format!("-{signal}"), &id.to_string()]).status().unwrap().success());
}

/// Lines that a process has written so far.
#[derive(Clone, Default)]
pub(crate) struct Lines(Arc<(Mutex<Written>, Condvar)>);

/// The lines, and whether that was all.
type Written = (Vec<String>, bool);

impl Lines {
    pub(crate) fn gather(source: impl Read + Send + 'static) -> Self {
        let lines = Self::default();
        let writer = lines.clone();
        thread::spawn(move || {
            for line in BufReader::new(source).split(b'\n').map_while(Result::ok) {
                writer.0.0.lock().unwrap().0.push(String::from_utf8_lossy(&line).into_owned());
                writer.0.1.notify_all();
            }
            writer.0.0.lock().unwrap().1 = true;
            writer.0.1.notify_all();
        });
        lines
    }

    /// The first line that answers `find` with something; `None` when the process ended without it.
    pub(crate) fn find<T>(&self, find: impl Fn(&str) -> Option<T>) -> Option<T> {
        let (lock, changed) = &*self.0;
        let mut state = lock.lock().unwrap();
        loop {
            if let Some(found) = state.0.iter().find_map(|line| find(line)) {
                return Some(found);
            }
            if state.1 {
                return None;
            }
            let (next, timeout) = changed.wait_timeout(state, PATIENCE).unwrap();
            state = next;
            assert!(!timeout.timed_out(), "nothing more was written after {:#?}", state.0);
        }
    }

    /// Waits for `n` lines that `find` takes.
    pub(crate) fn wait<T>(&self, n: usize, find: impl Fn(&str) -> Option<T>) -> Vec<T> {
        let (lock, changed) = &*self.0;
        let state = lock.lock().unwrap();
        let enough = |state: &Written| state.1 || state.0.iter().filter(|line| find(line).is_some()).count() >= n;
        let (state, timeout) = changed.wait_timeout_while(state, PATIENCE, |state| !enough(state)).unwrap();
        assert!(!timeout.timed_out(), "fewer than {n} of the lines sought in {:#?}", state.0);
        state.0.iter().filter_map(|line| find(line)).collect()
    }

    pub(crate) fn text(&self) -> String {
        self.0.0.lock().unwrap().0.join("\n")
    }
}

/// A running `sidegate serve`.
pub(crate) struct Serve {
    child: Child,
    /// The public listener.
    pub(crate) address: SocketAddr,
    /// The access log among others.
    pub(crate) stdout: Lines,
    pub(crate) stderr: Lines,
}

impl Serve {
    /// Runs `serve` with a configuration file, whose `[ops] listen` is empty; returns when it listens.
    pub(crate) fn start(config: &Path) -> Self {
        Self::start_with(config, &[])
    }

    /// The same, with more in its environment.
    pub(crate) fn start_with(config: &Path, environment: &[(&str, &std::ffi::OsStr)]) -> Self {
        let mut command = command(&["serve"], config);
        command.envs(environment.iter().copied());
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stdout = Lines::gather(child.stdout.take().unwrap());
        let stderr = Lines::gather(child.stderr.take().unwrap());
        let address = stderr.find(|line| line.split_once("listening on ").and_then(|(_, address)| parse_address(address)));
        let Some(address) = address else {
            let status = child.wait().unwrap();
            panic!("serve ended with {status}:\n{}\n{}", stderr.text(), std::fs::read_to_string(config).unwrap());
        };
        Self { child, address, stdout, stderr }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The next access lines, as JSON.
    pub(crate) fn access(&self, n: usize) -> Vec<serde_json::Value> {
        self.stdout.wait(n, access_line)
    }

    /// SIGTERM, and how it ended.
    pub(crate) fn stop(self) -> (ExitStatus, Lines, Lines) {
        signal(self.child.id(), "TERM");
        self.wait()
    }

    /// SIGTERM, and SIGTERM again: nothing is waited for.
    pub(crate) fn stop_at_once(self) -> (ExitStatus, Lines, Lines) {
        signal(self.child.id(), "TERM");
        self.stderr.find(|line| line.contains("stopping: not ready").then_some(()));
        // It may have ended already: its process is there until it is waited for.
        signal(self.child.id(), "TERM");
        self.wait()
    }

    /// How it ends, once told to.
    pub(crate) fn wait(mut self) -> (ExitStatus, Lines, Lines) {
        let status = self.child.wait().unwrap();
        // To the last line.
        self.stdout.find(|_| None::<()>);
        self.stderr.find(|_| None::<()>);
        (status, self.stdout.clone(), self.stderr.clone())
    }
}

fn access_line(line: &str) -> Option<serde_json::Value> {
    serde_json::from_str::<serde_json::Value>(line).ok().filter(|line| line.get("request_id").is_some())
}

fn parse_address(text: &str) -> Option<SocketAddr> {
    let word = text.split_whitespace().next()?;
    word.trim_start_matches("http://").trim_start_matches("https://").trim_end_matches('/').parse().ok()
}

impl Drop for Serve {
    fn drop(&mut self) {
        // It may have been stopped already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    /// What it printed, where it succeeded.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, 0, "{}{}", self.stdout, self.stderr);
        self.stdout
    }

    #[track_caller]
    pub(crate) fn json(self) -> serde_json::Value {
        let text = self.ok();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }
}

/// The binary with a configuration file, in its directory, and an environment without surprises.
pub(crate) fn command(arguments: &[&str], config: &Path) -> Command {
    let mut command = Command::new(BINARY);
    command
        .args(arguments)
        .arg("--config")
        .arg(config)
        .current_dir(config.parent().unwrap())
        .env_remove("SIDEGATE_CONFIG")
        .env("NO_COLOR", "1");
    command
}

/// Runs a command to its end, with something on stdin.
pub(crate) fn run_with_stdin(arguments: &[&str], config: &Path, stdin: &str) -> Ended {
    ended(command(arguments, config), stdin)
}

/// Runs a command to its end.
pub(crate) fn run(arguments: &[&str], config: &Path) -> Ended {
    run_with_stdin(arguments, config, "")
}

/// Runs the binary as it is, without a configuration file.
pub(crate) fn run_plain(arguments: &[&str], dir: &Path) -> Ended {
    run_plain_with_stdin(arguments, dir, "")
}

/// The same, with something on stdin.
pub(crate) fn run_plain_with_stdin(arguments: &[&str], dir: &Path, stdin: &str) -> Ended {
    let mut command = Command::new(BINARY);
    command.args(arguments).current_dir(dir).env_remove("SIDEGATE_CONFIG").env("NO_COLOR", "1");
    ended(command, stdin)
}

fn ended(mut command: Command, stdin: &str) -> Ended {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A command that reads nothing may be gone already.
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    let output = child.wait_with_output().unwrap();
    Ended {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}
