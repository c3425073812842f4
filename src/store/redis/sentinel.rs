//! Sentinels: who of a set of servers is the master now. What they say is believed only when the server says it too.

use std::sync::atomic::{AtomicUsize, Ordering};

use arc_swap::ArcSwapOption;
use futures_util::StreamExt as _;
use redis::cmd;
use tokio::time::{sleep, timeout};

use super::dial::{Demand, Dialled, Dialler};
use super::node::PING_EVERY;
use super::server::words;
use crate::store::target::{Address, Login};

/// Where sentinels tell of a new master.
const CHANNEL: &str = "+switch-master";

/// The sentinels of one set.
pub(super) struct Sentinels {
    addresses: Vec<Address>,
    login: Login,
    master: String,
    /// Who answered last is asked first.
    first: AtomicUsize,
    /// The master that was dialled last.
    found: ArcSwapOption<Address>,
    /// The master that was named last.
    named: ArcSwapOption<Address>,
}

impl std::fmt::Display for Sentinels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.found.load().as_deref() {
            Some(address) => write!(f, "master {} at {address}", self.master),
            None => write!(f, "master {}", self.master),
        }
    }
}

impl Sentinels {
    pub(super) fn new(addresses: Vec<Address>, login: Login, master: String) -> Self {
        Self { addresses, login, master, first: AtomicUsize::new(0), found: ArcSwapOption::empty(), named: ArcSwapOption::empty() }
    }

    /// Connects to the master that any sentinel names and that says of itself that it is one.
    pub(super) async fn dial_master(&self, dialler: &Dialler) -> Result<Dialled, String> {
        let mut why = String::new();
        for (index, sentinel) in self.in_turn() {
            match self.dial_master_of(dialler, sentinel).await {
                Ok(up) => {
                    self.first.store(index, Ordering::Relaxed);
                    return Ok(up);
                }
                Err(reason) => why = reason,
            }
        }
        Err(why)
    }

    async fn dial_master_of(&self, dialler: &Dialler, sentinel: &Address) -> Result<Dialled, String> {
        let master = self.ask(dialler, sentinel).await?;
        let up = dialler.dial(&master, Demand::IsMaster).await;
        let up = up.map_err(|why| format!("{why} (sentinel {sentinel} names it as the master)"))?;
        self.found.store(Some(master.into()));
        Ok(up)
    }

    async fn ask(&self, dialler: &Dialler, sentinel: &Address) -> Result<Address, String> {
        let mut up = dialler.dial_sentinel(sentinel, &self.login).await?;
        let mut question = cmd("SENTINEL");
        question.arg("get-master-addr-by-name").arg(&self.master);
        let question = question.query_async::<Option<(String, u16)>>(&mut up.connection);
        match timeout(dialler.command_timeout, question).await {
            Ok(Ok(Some((host, port)))) => Ok(Address::Tcp(host, port)),
            Ok(Ok(None)) => Err(format!("sentinel {sentinel}: it knows no master {}", self.master)),
            Ok(Err(error)) => Err(format!("sentinel {sentinel}: {}", words(&error))),
            Err(_) => Err(format!("sentinel {sentinel}: no answer within {} ms", dialler.command_timeout.as_millis())),
        }
    }

    /// Whether the master that was named last is another than the one that was dialled.
    pub(super) fn have_moved(&self) -> bool {
        let (named, found) = (self.named.load(), self.found.load());
        named.as_deref().is_some_and(|named| found.as_deref() != Some(named))
    }

    /// Listens to a sentinel, and tells when it names a master, for as long as it is there. Answers whether any was.
    pub(super) async fn watch(&self, dialler: &Dialler, switched: impl Fn()) -> bool {
        for (index, sentinel) in self.in_turn() {
            let Ok(pubsub) = dialler.subscribe(sentinel, &self.login, CHANNEL).await else { continue };
            let (mut sink, mut messages) = pubsub.split();
            let name = |master: Address| {
                self.named.store(Some(master.into()));
                self.first.store(index, Ordering::Relaxed);
                switched();
            };
            // It may have changed before anybody listened.
            let Ok(master) = self.ask(dialler, sentinel).await else { continue };
            name(master);
            loop {
                tokio::select! {
                    message = messages.next() => match message.map(|message| message.get_payload::<String>()) {
                        Some(Ok(text)) => self.new_master_of(&text).map_or((), name),
                        Some(Err(_)) => {}
                        None => return true,
                    },
                    () = sleep(PING_EVERY) => {
                        if !matches!(timeout(dialler.command_timeout, sink.ping::<redis::Value>()).await, Ok(Ok(_))) {
                            return true;
                        }
                    }
                }
            }
        }
        false
    }

    /// `NAME OLD-HOST OLD-PORT NEW-HOST NEW-PORT`, where it is of this set.
    fn new_master_of(&self, message: &str) -> Option<Address> {
        let mut words = message.split(' ');
        let of_this = words.next() == Some(&self.master);
        let (host, port) = (words.nth(2)?, words.next()?.parse().ok()?);
        of_this.then(|| Address::Tcp(host.to_owned(), port))
    }

    fn in_turn(&self) -> impl Iterator<Item = (usize, &Address)> {
        let first = self.first.load(Ordering::Relaxed);
        let (before, from) = (self.addresses.iter().enumerate().take(first), self.addresses.iter().enumerate().skip(first));
        from.chain(before)
    }
}
