//! The first pass: every row against the rules, its tenant, and the keys that are there. It writes nothing but the spool and the
//! refused rows.

use super::input::Input;
use super::read::Read;
use super::refused::{Redact, Refusal, RejectsFile};
use super::scan::{self, Scanned};
use super::spool::{Candidate, Plan, Spool};
use super::tenants::Tenants;
use super::{ImportError, LineError, OnConflict, Options, Progress, Report, TOLD, merge};
use crate::key::lifecycle::{Lifecycle, LifecycleError, words};
use crate::key::record::{KeyRecord, KeyStatus};
use crate::store::{Outcome, StoreError};

/// An import under way.
pub(super) struct Pass<'a> {
    pub(super) lifecycle: &'a Lifecycle,
    pub(super) options: &'a Options<'a>,
    pub(super) tenants: Tenants,
    pub(super) report: Report,
    redact: Redact,
    rejects: RejectsFile,
}

/// What is to become of a candidate.
pub(super) enum Verdict {
    /// It is to be written.
    Write(Plan),
    /// It is there.
    There,
    /// It is refused.
    Refuse(String),
}

impl<'a> Pass<'a> {
    pub(super) fn new(lifecycle: &'a Lifecycle, options: &'a Options<'a>) -> Self {
        Self {
            lifecycle,
            options,
            tenants: Tenants::new(lifecycle, options.create_tenants),
            report: Report::default(),
            redact: Redact::new(options.kinds),
            rejects: RejectsFile::new(options.rejects.clone()),
        }
    }

    /// Settles what will become of every row; what is to be written goes to the spool.
    pub(super) async fn check(
        &mut self,
        input: Input,
        spool: &mut Spool,
        watch: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<(), ImportError> {
        let (name, length, mut rows) = (input.name.clone(), input.length, 0);
        let file = |error: std::io::Error| ImportError::File(format!("{name}: {error}"));
        let mut scanned = scan::start(self.lifecycle, input, self.options, self.redact.clone()).map_err(file)?;
        loop {
            match scanned.recv().await {
                Some(Scanned::Batch(batch, bytes)) => {
                    rows += batch.len() as u64;
                    self.check_batch(batch, spool).await?;
                    watch(Progress::Checked { rows, bytes, of: length });
                }
                Some(Scanned::End) => return Ok(()),
                Some(Scanned::Failed(error)) => return Err(file(error)),
                None => return Err(ImportError::File(format!("{name}: reading it ended early"))),
            }
        }
    }

    async fn check_batch(&mut self, mut batch: Vec<Read<Candidate>>, spool: &mut Spool) -> Result<(), ImportError> {
        let mut candidates: Vec<&mut Candidate> = batch.iter_mut().filter_map(|(_, read)| read.as_mut().ok()).collect();
        self.tenants.learn(candidates.iter().map(|candidate| candidate.record.tenant.as_str())).await?;
        let mut rivals = self.rivals(&mut candidates).await?.into_iter();
        for (line, read) in batch {
            let candidate = match read {
                Ok(candidate) => candidate,
                Err(refusal) => {
                    self.refuse(line, refusal)?;
                    continue;
                }
            };
            let rival = rivals.next().unwrap_or(Ok(None));
            match self.judge(&candidate, rival).await? {
                Verdict::Write(plan) => self.plan(plan, &candidate, spool)?,
                Verdict::There => self.report.skipped += 1,
                Verdict::Refuse(why) => self.refuse_record(&candidate, &why)?,
            }
        }
        Ok(())
    }

    /// The key that is in each one's way, under whatever pepper it is known. A candidate whose secret that key has takes its digest.
    pub(super) async fn rivals(&self, candidates: &mut [&mut Candidate]) -> Result<Vec<Outcome<Option<KeyRecord>>>, LifecycleError> {
        let store = &self.lifecycle.store;
        let records: Vec<&KeyRecord> = candidates.iter().map(|candidate| &candidate.record).collect();
        let mut rivals = store.find_rivals(&records).await?;
        let (mut places, mut asked) = (Vec::new(), Vec::new());
        for (place, candidate) in candidates.iter().enumerate().filter(|(place, _)| matches!(rivals.get(*place), Some(Ok(None)))) {
            for digest in &candidate.elsewhere {
                places.push(place);
                asked.push(KeyRecord { digest: digest.clone(), ..candidate.record.clone() });
            }
        }
        for (place, found) in places.into_iter().zip(store.find_rivals(&asked.iter().collect::<Vec<_>>()).await?) {
            if let Some(rival @ Ok(None)) = rivals.get_mut(place) {
                *rival = found;
            }
        }
        for (candidate, rival) in candidates.iter_mut().zip(&rivals) {
            if let Ok(Some(rival)) = rival
                && candidate.elsewhere.contains(&rival.digest)
            {
                candidate.record.digest.clone_from(&rival.digest);
            }
        }
        Ok(rivals)
    }

    async fn judge(&mut self, candidate: &Candidate, rival: Outcome<Option<KeyRecord>>) -> Result<Verdict, ImportError> {
        let record = &candidate.record;
        let tenant = match self.tenants.record(&record.tenant) {
            Ok(tenant) => tenant,
            Err(why) => return Ok(Verdict::Refuse(why)),
        };
        let wrong = self.lifecycle.rules.check_key(record, tenant);
        if !wrong.is_empty() {
            return Ok(Verdict::Refuse(words(&wrong, "; ")));
        }
        let verdict = match rival {
            Ok(rival) => self.against(candidate, rival.as_ref()),
            Err(error) => Verdict::Refuse(error.to_string()),
        };
        let counts = record.status != KeyStatus::Revoked;
        if matches!(verdict, Verdict::Write(Plan::New)) && counts && !self.tenants.take_room(&record.tenant).await? {
            let limit = self.lifecycle.rules.max_per_tenant;
            return Ok(Verdict::Refuse(format!("tenant {} would have more than {limit} keys (keys.max_per_tenant)", record.tenant)));
        }
        Ok(verdict)
    }

    /// Judges by the key that is in its way.
    pub(super) fn against(&self, candidate: &Candidate, rival: Option<&KeyRecord>) -> Verdict {
        let Some(rival) = rival else { return Verdict::Write(Plan::New) };
        let Options { on_conflict, resume, .. } = *self.options;
        if candidate.named && rival.id != candidate.record.id && on_conflict != OnConflict::Skip {
            return Verdict::Refuse(StoreError::DigestTaken { id: rival.id.clone() }.to_string());
        }
        let merged = merge(candidate.record.clone(), rival);
        let same = merged.as_ref().is_ok_and(|merged| KeyRecord { version: rival.version, ..merged.clone() } == *rival);
        match on_conflict {
            OnConflict::Skip => Verdict::There,
            OnConflict::Update if same => Verdict::There,
            OnConflict::Fail if same && resume => Verdict::There,
            OnConflict::Fail if resume => Verdict::Refuse(format!("key {} is there already, but not as this line says", rival.id)),
            OnConflict::Fail => Verdict::Refuse(format!("key {} is there already", rival.id)),
            OnConflict::Update => merged.map_or_else(Verdict::Refuse, |_| Verdict::Write(Plan::Update)),
        }
    }

    /// Leaves it to the second pass; a rehearsal has none, and counts.
    fn plan(&mut self, plan: Plan, candidate: &Candidate, spool: &mut Spool) -> Result<(), ImportError> {
        let makes_tenant = self.tenants.want(&candidate.record.tenant);
        if !self.options.dry_run {
            return spool.push(plan, candidate).map_err(ImportError::File);
        }
        self.report.tenants_created += u64::from(makes_tenant);
        self.count(plan);
        Ok(())
    }

    pub(super) const fn count(&mut self, plan: Plan) {
        match plan {
            Plan::New => self.report.imported += 1,
            Plan::Update => self.report.updated += 1,
        }
    }

    pub(super) fn refuse_record(&mut self, candidate: &Candidate, why: &str) -> Result<(), ImportError> {
        let refusal = self.redact.refused_record(why, &candidate.record, &self.lifecycle.peppers);
        self.refuse(candidate.line, refusal)
    }

    fn refuse(&mut self, line: u64, refusal: Refusal) -> Result<(), ImportError> {
        self.report.refused += 1;
        self.rejects.write(line, &refusal).map_err(ImportError::File)?;
        if self.report.errors.len() < TOLD {
            self.report.errors.push(LineError { line, message: refusal.reason });
        }
        Ok(())
    }

    /// The report of all that was done.
    pub(super) fn finish(mut self) -> Result<Report, ImportError> {
        self.report.errors.sort_by_key(|error| error.line);
        self.report.rejects = self.rejects.finish().map_err(ImportError::File)?;
        Ok(self.report)
    }
}
