//! Keeps the map of a cluster true: asks the masters that can be reached, at intervals and whenever an answer tells that the map
//! is old, and the seeds when there is nobody else to ask. It never waits for a node that others can speak for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::future::join_all;
use redis::{RedisResult, Value};
use tokio::sync::{Mutex, Notify};
use tokio::time::{sleep, timeout};

use super::map::{Map, Member, Range, ranges_of};
use super::{ClusterConnection, questions};
use crate::clock::{Clock, Timestamp};
use crate::store::Status;
use crate::store::redis::dial::{Demand, Dialler};
use crate::store::redis::node::{Finder, Node, PING_EVERY, jittered};
use crate::store::redis::server::Driver;
use crate::store::target::Address;

/// While a master is missed, another may take its place at any moment; after a while that is less likely.
const GAP_EVERY: Duration = Duration::from_millis(100);
const GAP_EVERY_MAX: Duration = Duration::from_secs(1);
/// However often the map is called old.
const PAUSE: Duration = Duration::from_millis(20);
/// "At most one connect a second" to the seeds.
const SEEDS_EVERY: Duration = Duration::from_secs(1);

/// A cluster. Dropping it ends its keeper and its nodes' supervisors.
pub(in crate::store::redis) struct Cluster {
    shared: Arc<Shared>,
    _keeper: Driver,
}

/// What connections and the keeper have in common.
pub(super) struct Shared {
    dialler: Arc<Dialler>,
    seeds: Vec<Address>,
    clock: Clock,
    pub(super) map: ArcSwap<Map>,
    /// Held by whoever changes the map.
    changing: Mutex<()>,
    /// The map may be old: ask.
    pub(super) stale: Arc<Notify>,
    reachable: AtomicBool,
    /// Why the cluster does not serve; empty while it does.
    trouble: ArcSwap<String>,
    changed_at: AtomicI64,
}

/// What a node says about its cluster.
struct View {
    serves: bool,
    epoch: u64,
    ranges: Vec<Range>,
}

impl Cluster {
    /// Asks the seeds once and goes on by itself from there, whether or not one answered.
    pub(in crate::store::redis) async fn new(dialler: Arc<Dialler>, seeds: Vec<Address>, clock: Clock) -> Self {
        let shared = Arc::new(Shared {
            dialler,
            seeds,
            clock,
            map: ArcSwap::default(),
            changing: Mutex::default(),
            stale: Arc::default(),
            reachable: AtomicBool::new(false),
            trouble: ArcSwap::from_pointee("not connected yet".to_owned()),
            changed_at: AtomicI64::new(0),
        });
        if let Err(why) = shared.survey(false).await {
            tracing::warn!(store = "cluster", why, "the store cannot be reached; trying again until it is there");
            shared.trouble.store(Arc::new(why));
        } else {
            shared.reachable.store(true, Ordering::Release);
            shared.trouble.store(Arc::default());
        }
        let keeper = Driver(tokio::spawn(keep(Arc::clone(&shared))));
        Self { shared, _keeper: keeper }
    }

    /// Over the published connections of the nodes, or why there is no use in trying.
    pub(in crate::store::redis) fn connection(&self) -> Result<ClusterConnection, String> {
        if self.shared.map.load().ranges.is_empty() {
            return Err(self.shared.trouble());
        }
        Ok(ClusterConnection { shared: Arc::clone(&self.shared), own: None })
    }

    /// Over connections of its own, which are closed when it is dropped.
    pub(in crate::store::redis) fn dedicated(&self) -> ClusterConnection {
        ClusterConnection { shared: Arc::clone(&self.shared), own: Some(std::collections::HashMap::new()) }
    }

    pub(in crate::store::redis) fn is_reachable(&self) -> bool {
        self.shared.reachable.load(Ordering::Acquire)
    }

    pub(in crate::store::redis) fn status(&self) -> Status {
        let changed_at = self.shared.changed_at.load(Ordering::Relaxed);
        let map = self.shared.map.load();
        let lost = map.members().map(|member| member.node.status()).find(|status| !status.reachable);
        // One node that is away is worth a word while the others serve.
        let detail = if self.is_reachable() { lost.map_or_else(String::new, |status| status.detail) } else { self.shared.trouble() };
        Status { reachable: self.is_reachable(), since: (changed_at != 0).then_some(Timestamp(changed_at)), detail }
    }
}

async fn keep(shared: Arc<Shared>) {
    let mut gap_every = GAP_EVERY;
    loop {
        let map = shared.map.load_full();
        let is_calm = !map.has_gap() && shared.reachable.load(Ordering::Acquire);
        let every = if is_calm {
            gap_every = GAP_EVERY;
            PING_EVERY
        } else if map.members().any(|member| member.node.is_reachable()) {
            gap_every = (gap_every * 2).min(GAP_EVERY_MAX);
            gap_every / 2
        } else {
            SEEDS_EVERY
        };
        let is_calm = tokio::select! {
            () = shared.stale.notified() => false,
            () = sleep(jittered(every)) => is_calm,
        };
        let survey = shared.survey(is_calm).await;
        shared.told(survey);
        sleep(PAUSE).await;
    }
}

impl Shared {
    pub(super) fn trouble(&self) -> String {
        self.trouble.load().to_string()
    }

    /// Takes note of it, and says so where it is news.
    fn told(&self, survey: Result<(), String>) {
        let why = survey.err();
        let was = self.reachable.swap(why.is_none(), Ordering::AcqRel);
        match (was, &why) {
            (true, Some(why)) => tracing::warn!(store = "cluster", why, "the store is unreachable; trying again until it is back"),
            (false, None) => tracing::info!(store = "cluster", "the store is back"),
            (true, None) | (false, Some(_)) => {}
        }
        if was == why.is_some() {
            self.changed_at.store(self.clock.now().0, Ordering::Relaxed);
        }
        self.trouble.store(Arc::new(why.unwrap_or_default()));
    }

    /// Asks whoever can be reached, believes the newest, and says why the cluster does not serve. While all is calm one node
    /// speaks for all, as long as it says that nothing has changed.
    async fn survey(&self, is_calm: bool) -> Result<(), String> {
        let map = self.map.load_full();
        if is_calm && let Some(member) = map.any() {
            let view = self.ask(&member).await;
            if view.is_some_and(|view| view.serves && view.ranges == map.ranges) {
                return Ok(());
            }
        }
        let asked = map.members().filter(|member| member.node.is_reachable()).map(|member| self.ask(member));
        let mut views: Vec<View> = join_all(asked).await.into_iter().flatten().collect();
        // Whoever is asked may not have heard yet what another one knows.
        let known = if views.is_empty() { 0 } else { map.epoch };
        if views.is_empty() {
            let (seen, why) = self.ask_seeds().await;
            if seen.is_empty() {
                return Err(why);
            }
            views = seen;
        }
        let Some(view) = views.into_iter().max_by_key(|view| (view.serves, view.epoch)) else { return Err("no node answers".into()) };
        let serves = view.serves;
        if view.epoch >= known {
            self.learn(view).await;
        }
        if serves { Ok(()) } else { Err("CLUSTERDOWN: its nodes say that the cluster is down".into()) }
    }

    async fn ask(&self, member: &Arc<Member>) -> Option<View> {
        let mut connection = member.node.connection().ok()?;
        let answers = timeout(self.dialler.command_timeout, connection.send_all(&questions(), 0, 2)).await.ok()?;
        view_of(answers, &member.address)
    }

    async fn ask_seeds(&self) -> (Vec<View>, String) {
        let asked = join_all(self.seeds.iter().map(async |seed| -> Result<View, String> {
            let mut dialled = self.dialler.dial(seed, Demand::Answers).await?;
            let answers = timeout(self.dialler.command_timeout, dialled.connection.send_packed_commands(&questions(), 0, 2)).await;
            let answers = answers.map_err(|_| format!("{seed}: no answer within {} ms", self.dialler.command_timeout.as_millis()))?;
            view_of(answers, seed).ok_or_else(|| format!("{seed}: it tells of no cluster"))
        }));
        let (mut views, mut why) = (Vec::new(), String::new());
        for answer in asked.await {
            match answer {
                Ok(view) => views.push(view),
                Err(reason) => why = reason,
            }
        }
        (views, why)
    }

    /// Takes a new map. Nodes that stay keep their connections.
    async fn learn(&self, view: View) {
        let View { epoch, ranges, .. } = view;
        let _changing = self.changing.lock().await;
        let old = self.map.load_full();
        if old.ranges == ranges && old.epoch == epoch {
            return;
        }
        let mut addresses: Vec<&Address> = ranges.iter().map(|range| &range.master).collect();
        addresses.sort_by_key(ToString::to_string);
        addresses.dedup();
        let members = join_all(addresses.into_iter().map(async |address| match old.members.get(address) {
            Some(member) => Arc::clone(member),
            None => self.member(address.clone()).await,
        }));
        let members = members.await.into_iter().map(|member| (member.address.clone(), member)).collect();
        if !old.ranges.is_empty() && old.ranges != ranges {
            tracing::info!(store = "cluster", "slots have other masters now");
        }
        self.map.store(Arc::new(Map { epoch, ranges, members }));
    }

    /// The node that another one has named.
    pub(super) async fn redirected(&self, host: &str, port: u16, ask: bool, by: &Member) -> Arc<Member> {
        let host = match (&by.address, host) {
            (Address::Tcp(same, _), "") => same,
            (_, host) => host,
        };
        let address = Address::Tcp(host.to_owned(), port);
        if !ask {
            self.stale.notify_one();
        }
        if let Some(member) = self.map.load().members.get(&address) {
            return Arc::clone(member);
        }
        let _changing = self.changing.lock().await;
        let map = self.map.load_full();
        if let Some(member) = map.members.get(&address) {
            return Arc::clone(member);
        }
        let member = self.member(address.clone()).await;
        let mut members = map.members.clone();
        members.insert(address, Arc::clone(&member));
        self.map.store(Arc::new(Map { epoch: map.epoch, ranges: map.ranges.clone(), members }));
        member
    }

    async fn member(&self, address: Address) -> Arc<Member> {
        let finder = Finder::Fixed(address.clone());
        let node = Node::new(Arc::clone(&self.dialler), finder, self.clock.clone(), "a node of the store", Arc::clone(&self.stale)).await;
        Arc::new(Member { address, node })
    }
}

fn view_of(answers: RedisResult<Vec<Value>>, asked: &Address) -> Option<View> {
    let answers = answers.ok()?;
    let [info, slots] = answers.as_slice() else { return None };
    let info: String = redis::from_redis_value(info.clone()).ok()?;
    let field = |name| info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim);
    let host = if let Address::Tcp(host, _) = asked { host } else { "" };
    Some(View {
        serves: field("cluster_state") == Some("ok"),
        epoch: field("cluster_current_epoch").and_then(|epoch| epoch.parse().ok()).unwrap_or(0),
        ranges: ranges_of(slots, host)?,
    })
}
