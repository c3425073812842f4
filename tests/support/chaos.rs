//! A proxy in front of a redis-server that does what networks and sick servers do: cuts, freezes, delays, slices, talks nonsense.
//! It reads just enough of RESP to forward whole commands, to count them and to end between two of them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::Shutdown;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use super::PATIENCE;
use super::redis::Redis;
use super::stream::{Address, Listener, Stream};

/// Commands that are about the connection, not about data: they are forwarded and not counted.
const OF_THE_CONNECTION: [&str; 6] = ["HELLO", "AUTH", "CLIENT", "SELECT", "PING", "COMMAND"];

/// Commands that read the change log.
const OF_THE_LOG: [&str; 3] = ["XREAD", "XREVRANGE", "XRANGE"];

/// What happens to what comes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Pass,
    /// Connections are closed, new ones at once.
    Cut,
    /// Connections are taken and nothing moves; what was sent meanwhile goes on afterwards, as TCP sends again.
    BlackHole,
    /// Every answer comes later by this.
    Delay(Duration),
    /// Every command is answered by this, and the server does not see it.
    Answer(&'static [u8]),
    /// Every byte is written by itself, both ways.
    Slice,
    /// Connections that read the change log stand still; all others work.
    Deaf,
}

/// What becomes of the answer to the last command before a planned cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LastAnswer {
    Delivered,
    Lost,
}

pub(crate) struct Chaos {
    shared: Arc<Shared>,
    address: Address,
    dir: TempDir,
}

struct Shared {
    upstream: Address,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    mode: Option<Mode>,
    stopping: bool,
    /// Both sides of every connection.
    open: HashMap<u64, [Stream; 2]>,
    accepted: u64,
    commands: BTreeMap<String, u64>,
    /// Commands that still pass before the cut.
    left: Option<u64>,
    loses_last: bool,
    /// Set when the last command has passed and its answer is to be lost.
    drops_answers: bool,
    /// Connections that have read the change log.
    listeners: HashSet<u64>,
    /// Chunks of answers, by connection.
    answers: HashMap<u64, u64>,
}

/// What to do with a command.
enum Fate {
    Forward,
    Answer(&'static [u8]),
    End,
}

impl Chaos {
    pub(crate) fn before(redis: &Redis) -> Self {
        Self::between(Address::Unix(redis.socket()))
    }

    pub(crate) fn between(upstream: Address) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (listener, address) = Listener::bind(&Address::Unix(dir.path().join("chaos.sock"))).unwrap();
        let shared = Arc::new(Shared { upstream, state: Mutex::default(), changed: Condvar::new() });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || {
            while let Ok(stream) = listener.accept() {
                if accepting.lock().stopping {
                    return;
                }
                let shared = Arc::clone(&accepting);
                thread::spawn(move || shared.connection(stream));
            }
        });
        Self { shared, address, dir }
    }

    /// As proxy.toml writes it.
    pub(crate) fn url(&self) -> String {
        format!("redis+unix://{}", self.dir.path().join("chaos.sock").display())
    }

    pub(crate) fn set(&self, mode: Mode) {
        let mut state = self.shared.lock();
        state.mode = Some(mode);
        if mode == Mode::Cut {
            state.close_all();
        }
        self.shared.changed.notify_all();
    }

    /// From now on `n` commands on data pass, one by one; then everything is cut.
    pub(crate) fn cut_after(&self, n: u64, last_answer: LastAnswer) {
        let mut state = self.shared.lock();
        state.mode = Some(Mode::Pass);
        state.left = Some(n);
        state.loses_last = last_answer == LastAnswer::Lost;
        state.drops_answers = false;
    }

    /// Everything passes again; `true` if a planned cut came.
    pub(crate) fn heal(&self) -> bool {
        let mut state = self.shared.lock();
        let came = state.mode == Some(Mode::Cut);
        state.mode = Some(Mode::Pass);
        state.left = None;
        state.loses_last = false;
        state.drops_answers = false;
        self.shared.changed.notify_all();
        came
    }

    /// How often each command on data was forwarded so far.
    pub(crate) fn commands(&self) -> BTreeMap<String, u64> {
        self.shared.lock().commands.clone()
    }

    /// Reads of records and indexes among them.
    pub(crate) fn look_ups(&self) -> u64 {
        let commands = self.commands();
        ["GET", "GETRANGE"].iter().filter_map(|name| commands.get(*name)).sum()
    }

    /// How many connections came so far.
    pub(crate) fn accepted(&self) -> u64 {
        self.shared.lock().accepted
    }
}

impl Drop for Chaos {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.stopping = true;
        state.mode = Some(Mode::Cut);
        state.close_all();
        drop(state);
        self.shared.changed.notify_all();
        // The thread that accepts looks once more.
        let _ = self.address.connect();
    }
}

impl State {
    fn mode(&self) -> Mode {
        self.mode.unwrap_or(Mode::Pass)
    }

    fn cut(&mut self) {
        self.mode = Some(Mode::Cut);
        self.close_all();
    }

    fn close_all(&mut self) {
        for stream in self.open.drain().flat_map(|(_, sides)| sides) {
            stream.shutdown(Shutdown::Both);
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Waits while nothing moves on this connection; the mode then.
    fn moving(&self, id: u64) -> Mode {
        let stands = |state: &mut State| match state.mode() {
            Mode::BlackHole => true,
            Mode::Deaf => state.listeners.contains(&id),
            _ => false,
        };
        self.changed.wait_while(self.lock(), stands).unwrap().mode()
    }

    fn connection(self: Arc<Self>, client: Stream) {
        let id = {
            let mut state = self.lock();
            state.accepted += 1;
            state.accepted
        };
        if self.moving(id) == Mode::Cut {
            return client.shutdown(Shutdown::Both);
        }
        let Ok(server) = self.upstream.connect() else { return client.shutdown(Shutdown::Both) };
        self.lock().open.insert(id, [client.try_clone().unwrap(), server.try_clone().unwrap()]);
        let answers = (Arc::clone(&self), server.try_clone().unwrap(), client.try_clone().unwrap());
        thread::spawn(move || answers.0.pump_answers(id, answers.1, answers.2));
        self.pump_commands(id, client, server);
        if let Some(sides) = self.lock().open.remove(&id) {
            for stream in sides {
                stream.shutdown(Shutdown::Both);
            }
        }
    }

    fn pump_commands(&self, id: u64, mut client: Stream, mut server: Stream) {
        let mut buffer = Vec::new();
        while let Some(chunk) = read(&mut client) {
            buffer.extend_from_slice(&chunk);
            while let Some((length, name)) = command(&buffer) {
                let bytes: Vec<u8> = buffer.drain(..length).collect();
                if OF_THE_LOG.contains(&name.as_str()) {
                    self.lock().listeners.insert(id);
                }
                let mode = self.moving(id);
                let answers = self.lock().answers.get(&id).copied().unwrap_or(0);
                let sent = match self.fate(&name) {
                    Fate::Forward => write(&mut server, &bytes, mode),
                    Fate::Answer(answer) => write(&mut client, answer, mode),
                    Fate::End => false,
                };
                if !sent {
                    return;
                }
                self.wait_for_answer(id, answers);
            }
        }
    }

    fn fate(&self, name: &str) -> Fate {
        let mut state = self.lock();
        match state.mode() {
            Mode::Cut => return Fate::End,
            Mode::Answer(bytes) => return Fate::Answer(bytes),
            Mode::Pass | Mode::BlackHole | Mode::Delay(_) | Mode::Slice | Mode::Deaf => {}
        }
        if OF_THE_CONNECTION.contains(&name) {
            return Fate::Forward;
        }
        match state.left {
            Some(0) => {
                state.cut();
                return Fate::End;
            }
            Some(left) => {
                state.left = Some(left - 1);
                state.drops_answers = left == 1 && state.loses_last;
            }
            None => {}
        }
        *state.commands.entry(name.to_owned()).or_default() += 1;
        Fate::Forward
    }

    /// Where a cut is planned, commands pass one by one, so that it is known what the server has done.
    fn wait_for_answer(&self, id: u64, before: u64) {
        let state = self.lock();
        if state.left.is_some() {
            let waits = |state: &mut State| {
                state.left.is_some() && state.open.contains_key(&id) && state.answers.get(&id).copied().unwrap_or(0) == before
            };
            drop(self.changed.wait_timeout_while(state, PATIENCE, waits).unwrap());
        }
    }

    fn pump_answers(&self, id: u64, mut server: Stream, mut client: Stream) {
        while let Some(chunk) = read(&mut server) {
            let mode = self.moving(id);
            if let Mode::Delay(time) = mode {
                let state = self.lock();
                drop(self.changed.wait_timeout_while(state, time, |state| state.mode() == mode).unwrap());
            }
            if self.lock().drops_answers {
                self.lock().cut();
            }
            let passes = mode != Mode::Cut && write(&mut client, &chunk, mode);
            *self.lock().answers.entry(id).or_default() += 1;
            self.changed.notify_all();
            if !passes {
                break;
            }
        }
        client.shutdown(Shutdown::Both);
        server.shutdown(Shutdown::Both);
    }
}

/// What comes next; `None` at the end.
fn read(stream: &mut Stream) -> Option<Vec<u8>> {
    let mut buffer = [0; 16 * 1024];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return None,
            Ok(n) => return Some(buffer[..n].to_vec()),
            // Who waits for changes may wait long.
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted) => {}
            Err(_) => return None,
        }
    }
}

fn write(stream: &mut Stream, bytes: &[u8], mode: Mode) -> bool {
    if mode == Mode::Slice {
        return bytes.iter().all(|byte| stream.write_all(&[*byte]).is_ok());
    }
    stream.write_all(bytes).is_ok()
}

/// Length and name of the first command in there, if it is whole: an array of bulk strings.
fn command(buffer: &[u8]) -> Option<(usize, String)> {
    let (count, mut at) = number(buffer, 0, b'*')?;
    let mut name = None;
    for _ in 0..count {
        let (length, from) = number(buffer, at, b'$')?;
        let word = buffer.get(from..from + length)?;
        name.get_or_insert_with(|| String::from_utf8_lossy(word).to_ascii_uppercase());
        at = from + length + 2;
    }
    (at <= buffer.len()).then(|| (at, name.unwrap_or_default()))
}

/// The number on a line that begins with `kind`, and where the next line begins.
fn number(buffer: &[u8], at: usize, kind: u8) -> Option<(usize, usize)> {
    let line = buffer.get(at..)?;
    let end = line.windows(2).position(|two| two == b"\r\n")?;
    assert_eq!(line[0], kind, "this is no command: {:?}", String::from_utf8_lossy(line));
    Some((str::from_utf8(&line[1..end]).unwrap().parse().unwrap(), at + end + 2))
}
