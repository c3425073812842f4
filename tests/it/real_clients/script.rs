//! Programs that play a client or an API: the scripts of `tests/clients`, and tools of the machine. None inherits anything
//! that could lead it elsewhere (proxies, user configuration), none outlives its test.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use super::Front;
use crate::support::process::{Lines, signal};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// How long a client may take with all it has to do; works in a fraction of it.
pub(super) const ENOUGH: Duration = Duration::from_mins(1);

/// A program of the machine.
pub(super) fn tool(name: &str) -> Command {
    isolated(Path::new(name))
}

/// A script of `tests/clients`, by its ending for Python or Node.
pub(super) fn script(name: &str) -> Command {
    let made = Path::new(ROOT).join("target/clients");
    let file = Path::new(ROOT).join("tests/clients").join(name);
    let is_python = file.extension().is_some_and(|ending| ending == "py");
    let mut command = if is_python { isolated(&installed(made.join("venv/bin/python"))) } else { isolated(Path::new("node")) };
    if is_python {
        // What they import of each other is not compiled into the sources' directory.
        command.arg("-B");
    } else {
        command.env("NODE_PATH", installed(made.join("node/node_modules")));
    }
    command.arg(file);
    command
}

fn installed(path: PathBuf) -> PathBuf {
    assert!(path.exists(), "{} is missing; tests/run installs it", path.display());
    path
}

fn isolated(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("LANG", "C.UTF-8");
    command
}

/// A script that calls a sidecar, told where it is.
pub(super) fn client(name: &str, front: &Front) -> Command {
    let mut command = script(name);
    command
        .env("HOME", front.home.dir.path())
        .env("SIDEGATE_HTTP", format!("http://{}", front.serve.address))
        .env("SIDEGATE_HTTPS", format!("https://{}", front.https))
        .env("SIDEGATE_CA", front.ca_file())
        // Node's fetch takes authorities from nowhere else.
        .env("NODE_EXTRA_CA_CERTS", front.ca_file())
        .env("SIDEGATE_KEY", front.key());
    command
}

pub(super) fn spawn(command: &mut Command) -> Child {
    let spawned = command.spawn();
    spawned.unwrap_or_else(|error| panic!("{}: {error}; tests/run installs what is missing", command.get_program().display()))
}

/// Runs a program to its end and returns what it printed to stdout and stderr.
#[track_caller]
pub(super) fn run(command: &mut Command) -> (String, String) {
    let mut child = spawn(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()));
    let id = child.id();
    let (out, err) = (read(child.stdout.take().unwrap()), read(child.stderr.take().unwrap()));
    let (ended, end) = channel();
    thread::spawn(move || ended.send(child.wait().unwrap()));
    let status = end.recv_timeout(ENOUGH);
    if status.is_err() {
        signal(id, "KILL");
    }
    let (out, err) = (out.join().unwrap(), err.join().unwrap());
    let is_fine = status.is_ok_and(|status| status.success());
    assert!(is_fine, "{}: {status:?}\n{out}\n{err}", command.get_program().display());
    (out, err)
}

fn read(mut source: impl Read + Send + 'static) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        source.read_to_end(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// A script that is an API: it prints its URL, and ends with its stdin.
pub(super) struct Api {
    child: Child,
    _stdin: ChildStdin,
    pub(super) url: String,
}

impl Api {
    pub(super) fn start(name: &str) -> Self {
        let mut child = spawn(script(name).stdin(Stdio::piped()).stdout(Stdio::piped()));
        let stdin = child.stdin.take().unwrap();
        let url = Lines::gather(child.stdout.take().unwrap()).find(|line| Some(line.to_owned()));
        Self { child, _stdin: stdin, url: url.unwrap_or_else(|| panic!("{name} did not start")) }
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        // Nothing in it is worth a tidy end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
