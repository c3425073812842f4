//! The second pass: what the first one left is written, batch by batch. A key that got in the way meanwhile is judged as the
//! first pass would have.

use super::check::{Pass, Verdict};
use super::spool::{Candidate, Plan, Planned, Spool};
use super::{BATCH, ImportError, Progress, Report, merge, side_by_side};
use crate::audit::Action;
use crate::key::lifecycle::{Lifecycle, LifecycleError};
use crate::key::record::KeyRecord;
use crate::store::change::Changed;
use crate::store::{StoreError, Written};

impl Pass<'_> {
    /// Writes what is in the spool, and ends the import.
    pub(super) async fn write(mut self, spool: Spool, watch: &mut (dyn FnMut(Progress) + Send)) -> Result<Report, ImportError> {
        match self.write_all(spool, watch).await {
            Ok(()) => self.finish(),
            Err(why) => Err(ImportError::Interrupted { why: Box::new(why), report: Box::new(self.finish()?) }),
        }
    }

    async fn write_all(&mut self, spool: Spool, watch: &mut (dyn FnMut(Progress) + Send)) -> Result<(), ImportError> {
        let (total, mut written) = (spool.entries, 0);
        let mut planned: Planned = spool.read().map_err(ImportError::File)?;
        loop {
            let batch = planned.next(BATCH).map_err(ImportError::File)?;
            if batch.is_empty() {
                self.tell_of_skipped().await?;
                return self.take_position().await;
            }
            written += batch.len() as u64;
            let tenants = batch.iter().map(|(_, candidate)| candidate.record.tenant.as_str());
            self.report.tenants_created += self.tenants.make(tenants).await?;
            self.write_batch(batch).await?;
            watch(Progress::Written { rows: written, of: total });
        }
    }

    /// Keys that are there may have been written by an import that was killed before it could say so.
    async fn tell_of_skipped(&self) -> Result<(), ImportError> {
        if self.report.skipped > 0 && !self.options.dry_run {
            self.lifecycle.made(self.lifecycle.store.announce(&[Changed::NewKeys]).await.map_err(LifecycleError::from)?);
        }
        Ok(())
    }

    /// Many keys are written without a position of each: where the log ends now they are all before.
    async fn take_position(&self) -> Result<(), ImportError> {
        if self.report.imported > 0 {
            self.lifecycle.made(self.lifecycle.store.position().await.map_err(LifecycleError::from)?);
        }
        Ok(())
    }

    async fn write_batch(&mut self, batch: Vec<(Plan, Candidate)>) -> Result<(), ImportError> {
        let (new, others): (Vec<_>, Vec<_>) = batch.into_iter().partition(|(plan, _)| *plan == Plan::New);
        let writes: Vec<_> = new.iter().map(|(_, candidate)| self.lifecycle.audited(Action::Import, None, &candidate.record)).collect();
        let outcomes = self.lifecycle.store.put_new_keys(&writes).await.map_err(LifecycleError::from)?;
        let mut others: Vec<Candidate> = others.into_iter().map(|(_, candidate)| candidate).collect();
        for ((plan, candidate), outcome) in new.into_iter().zip(outcomes) {
            match outcome {
                Err(StoreError::Conflict { .. } | StoreError::DigestTaken { .. }) => others.push(candidate),
                outcome => self.note(plan, &candidate, outcome.map_err(LifecycleError::from))?,
            }
        }
        self.write_others(others).await
    }

    /// Those that a key is in the way of.
    async fn write_others(&mut self, mut candidates: Vec<Candidate>) -> Result<(), ImportError> {
        let rivals = self.rivals(&mut candidates.iter_mut().collect::<Vec<_>>()).await?;
        let mut writes = Vec::new();
        for (candidate, rival) in candidates.into_iter().zip(rivals) {
            let (verdict, rival) = match rival {
                Ok(rival) => (self.against(&candidate, rival.as_ref()), rival),
                Err(error) => (Verdict::Refuse(error.to_string()), None),
            };
            match (verdict, rival) {
                (Verdict::There, _) => self.report.skipped += 1,
                (Verdict::Refuse(why), _) => self.refuse_record(&candidate, &why)?,
                (Verdict::Write(plan), None) => writes.push((plan, None, candidate.record.clone(), candidate)),
                (Verdict::Write(plan), Some(rival)) => match merge(candidate.record.clone(), &rival) {
                    Ok(merged) => writes.push((plan, Some(rival), merged, candidate)),
                    Err(why) => self.refuse_record(&candidate, &why)?,
                },
            }
        }
        let put = |(plan, rival, record, candidate): (Plan, Option<KeyRecord>, KeyRecord, Candidate)| {
            let lifecycle = self.lifecycle.clone();
            async move { (plan, candidate, put(&lifecycle, rival.as_ref(), &record).await) }
        };
        for (plan, candidate, outcome) in side_by_side(writes.into_iter(), put).await {
            self.note(plan, &candidate, outcome)?;
        }
        Ok(())
    }

    /// Takes down how a record went. An unreachable store ends the import; everything else is the row's.
    fn note(&mut self, plan: Plan, candidate: &Candidate, outcome: Result<(), LifecycleError>) -> Result<(), ImportError> {
        match outcome {
            Ok(()) => {
                self.count(plan);
                Ok(())
            }
            Err(error @ LifecycleError::Store(StoreError::Unavailable(_))) => Err(error.into()),
            Err(error) => self.refuse_record(candidate, &error.to_string()),
        }
    }
}

/// An update may take rights away: it is treated as such a change.
async fn put(lifecycle: &Lifecycle, there: Option<&KeyRecord>, record: &KeyRecord) -> Result<(), LifecycleError> {
    lifecycle.made(lifecycle.store.put_key(lifecycle.audited(Action::Import, there, record)).await?);
    lifecycle.replicate(Written::Key(record)).await
}
