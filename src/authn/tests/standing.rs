//! What is said of a running exchange's credential, and what saying it costs the store.

use super::*;
use crate::rejection::Rejection::{KeyExpired, KeyRevoked, KeyUnknown, TenantSuspended};

struct Running<'a> {
    bench: &'a Bench,
    admission: Admission,
}

impl<'a> Running<'a> {
    async fn begin(bench: &'a Bench) -> Self {
        bench.ask("s1").await.unwrap();
        let running = Self { bench, admission: Admission::by(Digest::of(b"s1")) };
        assert_eq!(bench.lookups(), 1);
        running
    }

    fn look(&mut self) -> Standing {
        self.bench.authn.standing(&mut self.admission, self.bench.clock.now())
    }

    /// As a review does.
    async fn standing(&mut self) -> Standing {
        match self.look() {
            Standing::Unknown => self.bench.authn.ask_standing(&self.admission, self.bench.clock.now()).await,
            known @ (Standing::Holds | Standing::Ended(_)) => known,
        }
    }
}

#[tokio::test]
async fn as_long_as_nothing_changes_nobody_is_asked_and_other_keys_change_nothing() {
    let bench = Bench::new();
    let mut running = Running::begin(&bench).await;
    for _ in 0..100 {
        assert_eq!(running.look(), Standing::Holds);
        bench.authn.invalidate_key("key_2", 7);
        bench.authn.invalidate_tenant("other", 7);
    }
    assert_eq!(bench.lookups(), 1);
}

#[tokio::test]
async fn a_change_is_asked_for_once_and_ends_only_what_has_no_credential_any_more() {
    let bench = Bench::new();
    let mut running = Running::begin(&bench).await;
    bench.store.change("key_1", |record| record.scopes = vec!["less".into()]);
    bench.authn.invalidate_key("key_1", 2);
    assert_eq!(running.look(), Standing::Unknown);
    assert_eq!(running.standing().await, Standing::Holds);
    assert_eq!((running.look(), bench.lookups()), (Standing::Holds, 2));
    bench.store.change("key_1", |record| record.status = KeyStatus::Revoked);
    bench.authn.invalidate_key("key_1", 3);
    assert_eq!(running.standing().await, Standing::Ended(KeyRevoked));
    assert_eq!((running.look(), bench.lookups()), (Standing::Ended(KeyRevoked), 3));
}

#[tokio::test]
async fn a_tenant_that_is_suspended_and_a_secret_that_is_replaced_end_what_they_admitted() {
    let bench = Bench::new();
    let mut running = Running::begin(&bench).await;
    bench.store.put_tenant(TenantRecord { status: TenantStatus::Suspended, version: 2, ..tenant("acme") });
    bench.authn.invalidate_tenant("acme", 2);
    assert_eq!(running.standing().await, Standing::Ended(TenantSuspended));

    let bench = Bench::new();
    let mut running = Running::begin(&bench).await;
    let until = START.plus_millis(5_000);
    bench.store.change("key_1", |record| {
        let old = std::mem::replace(&mut record.digest, digest_of("s2").to_hex());
        record.previous = Some(PreviousSecret { digest: old, until });
    });
    bench.authn.invalidate_key("key_1", 2);
    assert_eq!(running.standing().await, Standing::Holds);
    bench.advance(5_000);
    assert_eq!(running.look(), Standing::Ended(KeyUnknown));
}

#[tokio::test]
async fn what_was_missed_is_asked_for_behind_the_gap() {
    let bench = Bench::new();
    let mut running = Running::begin(&bench).await;
    assert_eq!(running.look(), Standing::Holds);
    bench.store.change("key_1", |record| record.status = KeyStatus::Revoked);
    bench.authn.revalidate_everything();
    assert_eq!(running.standing().await, Standing::Ended(KeyRevoked));
}

#[tokio::test]
async fn a_store_that_is_silent_or_away_or_has_lost_its_records_ends_nothing_but_a_deadline_does() {
    let bench = Bench::new();
    bench.store.change("key_1", |record| record.expires_at = Some(START.plus_millis(10_000_000)));
    let mut running = Running::begin(&bench).await;
    assert_eq!(running.look(), Standing::Holds);
    bench.store.fall_silent();
    bench.authn.invalidate_key("key_1", 3);
    assert_eq!(running.standing().await, Standing::Holds);
    bench.store.go_away();
    let asked = bench.lookups();
    bench.clock.advance(9_999_999);
    assert_eq!((running.look(), bench.lookups()), (Standing::Holds, asked), "nobody is asked in vain, however long it lasts");
    bench.clock.advance(1);
    assert_eq!(running.look(), Standing::Ended(KeyExpired));

    let bench = Bench::new();
    let mut running = Running::begin(&bench).await;
    bench.store.lose_everything();
    bench.authn.revalidate_everything();
    assert_eq!(running.standing().await, Standing::Holds);
}
