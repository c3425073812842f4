//! The thread that reads the file: rows become records in batches while the store is asked about those before.
//! It knows the file only; what a store has to say comes later.

use std::collections::HashMap;
use std::io;
use std::thread;

use tokio::sync::mpsc;

use super::entry::{Entry, Terms};
use super::input::Input;
use super::lines::Lines;
use super::read::{Read, Rows};
use super::refused::Redact;
use super::spool::Candidate;
use super::{BATCH, Options};
use crate::key::digest::Digest;
use crate::key::lifecycle::Lifecycle;

/// Batches that wait at most.
const AHEAD: usize = 2;

/// What the thread says.
pub(super) enum Scanned {
    /// Rows, and how many bytes of the file are behind them.
    Batch(Vec<Read<Candidate>>, u64),
    /// That was all. Without it, it was not.
    End,
    /// The file cannot be read on.
    Failed(io::Error),
}

/// Begins to read.
pub(super) fn start(lifecycle: &Lifecycle, input: Input, options: &Options<'_>, redact: Redact) -> io::Result<mpsc::Receiver<Scanned>> {
    let (send, receive) = mpsc::channel(AHEAD);
    let (lifecycle, tenant, origin) = (lifecycle.clone(), options.tenant.map(ToOwned::to_owned), options.origin);
    let told = redact.clone();
    thread::Builder::new().name("import".into()).spawn(move || {
        let Input { name, source, unchanged, .. } = input;
        let rows = Rows::new(Lines::new(source), &name, origin, redact);
        let scanned = rows.and_then(|mut rows| {
            scan(&mut rows, &lifecycle, tenant.as_deref(), &told, &send)?;
            if rows.is_over() { Ok(()) } else { unchanged.check(rows.bytes()) }
        });
        // Nobody may be listening any more; then nobody needs to know.
        let _ = send.blocking_send(scanned.map_or_else(Scanned::Failed, |()| Scanned::End));
    })?;
    Ok(receive)
}

fn scan(rows: &mut Rows, lifecycle: &Lifecycle, tenant: Option<&str>, redact: &Redact, send: &mpsc::Sender<Scanned>) -> io::Result<()> {
    let now = lifecycle.clock.now();
    let terms = Terms { rules: &lifecycle.rules, peppers: &lifecycle.peppers, actor: &lifecycle.actor.name, now, tenant };
    let mut repeats = Repeats::default();
    loop {
        let mut batch = Vec::with_capacity(BATCH);
        while batch.len() < BATCH {
            let candidate = |entry: Entry| entry.into_candidate(&terms);
            let Some((line, read)) = rows.next(candidate)? else { break };
            let fresh = read.and_then(|candidate| match repeats.first(line, &candidate) {
                None => Ok(Candidate { line, ..candidate }),
                Some(why) => Err(redact.refused_record(&why, &candidate.record, &lifecycle.peppers)),
            });
            batch.push((line, fresh));
        }
        let full = batch.len() == BATCH;
        if send.blocking_send(Scanned::Batch(batch, rows.bytes())).is_err() || !full {
            return Ok(());
        }
    }
}

/// The ids and digests that were in the file so far, by 12 bytes of each: about 35 bytes a key, 70 where the file names ids.
#[derive(Default)]
struct Repeats {
    ids: HashMap<[u8; 12], u32>,
    digests: HashMap<[u8; 12], u32>,
}

impl Repeats {
    /// Which row said the same key before.
    fn first(&mut self, line: u64, candidate: &Candidate) -> Option<String> {
        let line = u32::try_from(line).unwrap_or(u32::MAX);
        let id = candidate.named.then(|| self.ids.insert(short(&candidate.record.id), line)).flatten();
        let digest = self.digests.insert(short(&candidate.record.digest), line);
        id.map(|first| format!("the same id as line {first}")).or_else(|| digest.map(|first| format!("the same key as line {first}")))
    }
}

fn short(text: &str) -> [u8; 12] {
    Digest::of(text.as_bytes()).0.first_chunk().copied().unwrap_or_default()
}
