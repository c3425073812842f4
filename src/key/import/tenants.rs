//! The tenants that a file names: which are there, which are to be made, how many keys each has. One word and one number each
//! for the whole file; their records only for a while.

use std::collections::{HashMap, HashSet};

use super::side_by_side;
use crate::audit::Action;
use crate::key::lifecycle::{Lifecycle, LifecycleError, words};
use crate::store::StoreError;
use crate::tenant::TenantRecord;
use crate::tenant::lifecycle::NewTenant;

/// Records kept.
const RECORDS: usize = 10_000;

/// Every tenant that was named so far.
pub(super) struct Tenants {
    lifecycle: Lifecycle,
    create: bool,
    known: HashMap<String, Known>,
    records: HashMap<String, TenantRecord>,
}

struct Known {
    standing: Standing,
    /// Its keys that count against `max_per_tenant`, those of the file included; `None` = not counted yet.
    keys: Option<usize>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Standing {
    There,
    /// It can be made.
    Absent,
    /// It is to be made: a key of it is to be written.
    Wanted,
    /// It is not there, and this is why it is not made.
    Missing(String),
}

impl Tenants {
    pub(super) fn new(lifecycle: &Lifecycle, create: bool) -> Self {
        Self { lifecycle: lifecycle.clone(), create, known: HashMap::new(), records: HashMap::new() }
    }

    /// Looks up those of a batch whose records are not at hand.
    pub(super) async fn learn(&mut self, ids: impl Iterator<Item = &str>) -> Result<(), LifecycleError> {
        if self.records.len() > RECORDS {
            self.records.clear();
        }
        let missing = |id: &str| matches!(self.known.get(id), Some(Known { standing: Standing::Missing(_), .. }));
        let unknown: HashSet<&str> = ids.filter(|id| !self.records.contains_key(*id) && !missing(id)).collect();
        let looked = side_by_side(unknown.into_iter().map(ToOwned::to_owned), |id| look(self.lifecycle.clone(), self.create, id)).await;
        for looked in looked {
            let (id, found) = looked?;
            let standing = match found {
                Ok((record, standing)) => {
                    self.records.insert(id.clone(), record);
                    standing
                }
                Err(why) => Standing::Missing(why),
            };
            self.known.entry(id).or_insert(Known { standing, keys: None });
        }
        Ok(())
    }

    /// The record of a tenant that was learnt in this batch, or why there is none.
    pub(super) fn record(&self, id: &str) -> Result<&TenantRecord, String> {
        match self.known.get(id) {
            Some(Known { standing: Standing::Missing(why), .. }) => Err(why.clone()),
            _ => self.records.get(id).ok_or_else(|| format!("tenant {} was not looked up", id.escape_debug())),
        }
    }

    /// Takes room for one more key; answers whether there is any.
    pub(super) async fn take_room(&mut self, id: &str) -> Result<bool, LifecycleError> {
        let max = self.lifecycle.rules.max_per_tenant;
        let Some(known) = self.known.get_mut(id) else { return Ok(false) };
        let keys = match known.keys {
            Some(keys) => keys,
            None => self.lifecycle.keys_of(id).await?,
        };
        known.keys = Some(keys + 1);
        Ok(keys < max)
    }

    /// A key of it is to be written. Answers whether it has to be made for it.
    pub(super) fn want(&mut self, id: &str) -> bool {
        match self.known.get_mut(id) {
            Some(known) if known.standing == Standing::Absent => {
                known.standing = Standing::Wanted;
                true
            }
            _ => false,
        }
    }

    /// Makes those that are wanted. Answers how many.
    pub(super) async fn make(&mut self, ids: impl Iterator<Item = &str>) -> Result<u64, LifecycleError> {
        let mut new = Vec::new();
        for id in ids {
            if let Some(known) = self.known.get_mut(id)
                && known.standing == Standing::Wanted
            {
                known.standing = Standing::There;
                new.push(self.lifecycle.new_tenant(fresh(id), true).await?);
            }
        }
        let mut made = 0;
        let writes: Vec<_> = new.iter().map(|record| self.lifecycle.audited(Action::Import, None, record)).collect();
        for outcome in self.lifecycle.store.put_new_tenants(&writes).await? {
            match outcome {
                Ok(()) => made += 1,
                // Somebody else made it meanwhile.
                Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(made)
    }
}

fn fresh(id: &str) -> NewTenant {
    NewTenant { id: id.to_owned(), ..NewTenant::default() }
}

type Looked = (String, Result<(TenantRecord, Standing), String>);

async fn look(lifecycle: Lifecycle, create: bool, id: String) -> Result<Looked, LifecycleError> {
    let found = match lifecycle.store.find_tenant(&id).await? {
        Some(record) => Ok((record, Standing::There)),
        None if create => match lifecycle.new_tenant(fresh(&id), true).await {
            Ok(record) => Ok((record, Standing::Absent)),
            Err(LifecycleError::Invalid(wrong)) => Err(words(&wrong, "; ")),
            Err(error) => return Err(error),
        },
        None => Err(format!("there is no tenant {} (--create-tenants makes it)", id.escape_debug())),
    };
    Ok((id, found))
}
