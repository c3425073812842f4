//! Tokens of ours: what they rest on costs the store one look-up, ends them when it ends, and is served stale as tenants are.

use serde_json::{Value, json};

use super::*;
use crate::session::record::Ended;
use crate::store::session::fixture::session;

const HOUR: i64 = 3600;

fn issuers() -> Issuers {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "0123456789abcdef0123456789abcdef").unwrap();
    let text = format!("[sessions]\nsigning_key_files = [\"{}\"]", file.path().display());
    let mut problems = Problems::default();
    let issuers = Issuers::compile(&toml::from_str(&text).unwrap(), &mut problems);
    issuers.unwrap_or_else(|| panic!("{:?}", problems.list()))
}

/// Signed by us, for an hour, with these claims beside.
fn token(issuers: &Issuers, more: &Value) -> String {
    let mut claims = json!({
        "iss": "sidegate", "aud": "sidegate", "sub": "ada", "tenant": "acme", "environment": "live", "scope": "read:a write:a",
        "iat": START.0 / 1000, "exp": START.0 / 1000 + HOUR,
    });
    claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    issuers.signing().unwrap().sign(&claims).unwrap()
}

/// `ses_1` of `acme`.
fn bench() -> Bench {
    let bench = Bench::new();
    bench.store.sessions.lock().unwrap().insert("ses_1".into(), session("ses_1", "acme", "ada"));
    bench
}

impl Bench {
    async fn ask_ours(&self, issuers: &Issuers, token: &str) -> Authenticated {
        let (digest, now) = (Digest::of(token.as_bytes()), self.clock.now());
        match self.authn.cached_token(&digest, issuers, now) {
            Some(answer) => answer?.judge(now),
            None => self.authn.load_token(token.as_bytes(), &digest, issuers, now).await?.judge(now),
        }
    }

    fn end_session(&self, version: u64) {
        let mut sessions = self.store.sessions.lock().unwrap();
        let session = sessions.get_mut("ses_1").unwrap();
        (session.ended, session.version) = (Some(Ended { at: self.clock.now(), reason: "revoked".into() }), version);
    }

    fn session_lookups(&self) -> u64 {
        self.counted(|counters| &counters.session_lookups)
    }
}

#[tokio::test]
async fn a_token_of_a_session_is_good_until_its_session_ends() {
    let (bench, issuers) = (bench(), issuers());
    let token = token(&issuers, &json!({ "sid": "ses_1" }));
    let identity = bench.ask_ours(&issuers, &token).await.unwrap();
    assert_eq!((identity.subject().unwrap().1, &*identity.tenant_id), ("ada", "acme"));
    for _ in 0..10 {
        assert_eq!(reason(bench.ask_ours(&issuers, &token).await), "admitted");
    }
    assert_eq!(bench.session_lookups(), 1);
    bench.end_session(2);
    bench.authn.apply(&Changed::Session { id: "ses_1".into(), version: 2 });
    assert_eq!(reason(bench.ask_ours(&issuers, &token).await), "token_inactive");
    assert_eq!(bench.session_lookups(), 2);
}

#[tokio::test]
async fn a_refresh_ends_nothing_that_was_remembered() {
    let (bench, issuers) = (bench(), issuers());
    let token = token(&issuers, &json!({ "sid": "ses_1" }));
    assert_eq!(reason(bench.ask_ours(&issuers, &token).await), "admitted");
    bench.store.sessions.lock().unwrap().get_mut("ses_1").unwrap().version = 2;
    let held = bench.authn.shared.slots.session("ses_1");
    bench.advance(29_999);
    let _ = bench.authn.shared.find::<super::super::held::SessionState>("ses_1").await;
    assert_eq!((held.slot.generation(), bench.session_lookups()), (0, 2));
}

#[tokio::test]
async fn an_end_that_nobody_told_of_is_seen_when_the_session_is_read_again() {
    let (bench, issuers) = (bench(), issuers());
    let token = token(&issuers, &json!({ "sid": "ses_1" }));
    assert_eq!(reason(bench.ask_ours(&issuers, &token).await), "admitted");
    bench.end_session(2);
    assert_eq!(reason(bench.ask_ours(&issuers, &token).await), "admitted");
    bench.advance(30_000);
    assert_eq!(reason(bench.ask_ours(&issuers, &token).await), "token_inactive");
}

#[tokio::test]
async fn without_the_store_a_known_session_is_served_for_its_time_and_an_ended_one_stays_so() {
    let (bench, issuers) = (bench(), issuers());
    let (known, other) = (token(&issuers, &json!({ "sid": "ses_1" })), token(&issuers, &json!({ "sid": "ses_2" })));
    assert_eq!(reason(bench.ask_ours(&issuers, &known).await), "admitted");
    bench.store.go_away();
    bench.clock.advance(599_999);
    assert_eq!(reason(bench.ask_ours(&issuers, &known).await), "admitted");
    assert_eq!(reason(bench.ask_ours(&issuers, &other).await), "store_unavailable");
    bench.clock.advance(1);
    assert_eq!(reason(bench.ask_ours(&issuers, &known).await), "store_unavailable");
    bench.store.come_back();
    bench.end_session(2);
    bench.advance(0);
    assert_eq!(reason(bench.ask_ours(&issuers, &known).await), "token_inactive");
    // A store that falls back shows it open again.
    let fallen = session("ses_1", "acme", "ada");
    bench.store.sessions.lock().unwrap().insert("ses_1".into(), fallen);
    bench.advance(30_000);
    assert_eq!(reason(bench.ask_ours(&issuers, &known).await), "token_inactive");
}

#[tokio::test]
async fn a_suspended_tenant_ends_the_tokens_of_its_sessions() {
    let (bench, issuers) = (bench(), issuers());
    let token = token(&issuers, &json!({ "sid": "ses_1" }));
    assert_eq!(reason(bench.ask_ours(&issuers, &token).await), "admitted");
    bench.store.put_tenant(TenantRecord { status: TenantStatus::Suspended, version: 2, ..tenant("acme") });
    bench.authn.invalidate_tenant("acme", 2);
    assert_eq!(reason(bench.ask_ours(&issuers, &token).await), "tenant_suspended");
}

#[tokio::test]
async fn a_token_of_ours_that_rests_on_nothing_is_no_token() {
    let (bench, issuers) = (bench(), issuers());
    for (claims, said) in [
        (json!({}), "jwt_malformed"),
        (json!({ "sid": 1 }), "jwt_malformed"),
        (json!({ "sid": "ses_1", "client_id": "key_1" }), "jwt_malformed"),
        (json!({ "sid": "ses_1", "aud": "other" }), "jwt_audience"),
        (json!({ "sid": "ses_1", "iss": "other" }), "jwt_issuer"),
        (json!({ "sid": "ses_2" }), "token_inactive"),
        (json!({ "client_id": "key_1" }), "jwt_malformed"),
        (json!({ "client_id": "key_2", "secret_mark": "x" }), "key_unknown"),
        (json!({ "client_id": "key_1", "secret_mark": "x" }), "key_unknown"),
        // A mark is of one key.
        (json!({ "client_id": "key_1", "secret_mark": digest_of("s1").mark("key_2") }), "key_unknown"),
    ] {
        assert_eq!(reason(bench.ask_ours(&issuers, &token(&issuers, &claims)).await), said, "{claims}");
    }
}

#[tokio::test]
async fn a_token_that_stands_for_a_key_may_do_no_more_than_the_key_and_ends_with_it() {
    let (bench, issuers) = (bench(), issuers());
    bench.store.change("key_1", |key| key.ip_allowlist = Some(vec!["10.0.0.0/8".into()]));
    let token = token(&issuers, &client("s1"));
    let identity = bench.ask_ours(&issuers, &token).await.unwrap();
    // The key has `read:a` alone.
    assert!(identity.grants.allow("read:a") && !identity.grants.allow("write:a") && identity.particulars().key_allowlist.is_some());
    bench.store.change("key_1", |key| key.status = KeyStatus::Inactive);
    let version = bench.store.keys.lock().unwrap()["key_1"].version;
    bench.authn.invalidate_key("key_1", version);
    assert_eq!(reason(bench.ask_ours(&issuers, &token).await), "key_inactive");
}

/// Claims of a token that stands for `key_1` by this secret of it.
fn client(secret: &str) -> Value {
    json!({ "client_id": "key_1", "secret_mark": digest_of(secret).mark("key_1") })
}

impl Bench {
    /// `key_1` has this secret now, and the one before for so long.
    fn rotate(&self, secret: &str, overlap_ms: i64) {
        let now = self.clock.now();
        self.change_key(|key| {
            let old = std::mem::replace(&mut key.digest, digest_of(secret).to_hex());
            let previous = PreviousSecret { digest: old.clone(), until: now.plus_millis(overlap_ms) };
            key.previous = Some(if overlap_ms == 0 { PreviousSecret::dead(old) } else { previous });
            key.rotated_at = Some(now);
        });
    }

    fn change_key(&self, modify: impl FnOnce(&mut KeyRecord)) {
        self.store.change("key_1", modify);
        let version = self.store.keys.lock().unwrap()["key_1"].version;
        self.authn.invalidate_key("key_1", version);
    }
}

#[tokio::test]
async fn a_token_of_a_replaced_secret_lives_as_long_as_the_secret_though_both_were_made_in_one_second() {
    let (bench, issuers) = (bench(), issuers());
    let (old, new) = (token(&issuers, &client("s1")), token(&issuers, &client("s2")));
    assert_eq!(reason(bench.ask_ours(&issuers, &old).await), "admitted");
    bench.rotate("s2", 10_000);
    assert_eq!(reason(bench.ask_ours(&issuers, &old).await), "admitted");
    assert_eq!(reason(bench.ask_ours(&issuers, &new).await), "admitted");
    bench.advance(10_000);
    assert_eq!(reason(bench.ask_ours(&issuers, &old).await), "jwt_expired");
    assert_eq!(reason(bench.ask_ours(&issuers, &new).await), "admitted");
    bench.change_key(|key| key.previous = None);
    assert_eq!(reason(bench.ask_ours(&issuers, &old).await), "key_unknown");
    assert_eq!(reason(bench.ask_ours(&issuers, &new).await), "admitted");
}

#[tokio::test]
async fn without_an_overlap_and_after_a_second_rotation_the_older_secrets_tokens_are_dead() {
    for (first, second) in [(0, None), (60_000, Some(60_000)), (60_000, Some(0))] {
        let (bench, issuers) = (bench(), issuers());
        // Whose clock says what does not matter.
        let ahead = json!({ "iat": START.0 / 1000 + 20 });
        let tokens = ["s1", "s2", "s3"].map(|secret| {
            let mut claims = client(secret);
            claims.as_object_mut().unwrap().extend(ahead.as_object().unwrap().clone());
            token(&issuers, &claims)
        });
        assert_eq!(reason(bench.ask_ours(&issuers, &tokens[0]).await), "admitted");
        bench.rotate("s2", first);
        if let Some(overlap) = second {
            bench.rotate("s3", overlap);
            assert_eq!(reason(bench.ask_ours(&issuers, &tokens[2]).await), "admitted");
        }
        assert_eq!(reason(bench.ask_ours(&issuers, &tokens[0]).await), "key_unknown", "{first} {second:?}");
        let of_the_second = if second == Some(0) { "key_unknown" } else { "admitted" };
        assert_eq!(reason(bench.ask_ours(&issuers, &tokens[1]).await), of_the_second, "{first} {second:?}");
    }
}

#[tokio::test]
async fn a_token_that_stands_for_a_key_is_told_apart_from_a_users() {
    let (bench, issuers) = (bench(), issuers());
    let identity = bench.ask_ours(&issuers, &token(&issuers, &client("s1"))).await.unwrap();
    assert_eq!((identity.kind(), identity.key_id(), identity.acts_for().map(|id| &**id)), (Some("secret"), None, Some("key_1")));
    let identity = bench.ask_ours(&issuers, &token(&issuers, &json!({ "sid": "ses_1" }))).await.unwrap();
    assert!(identity.kind().is_none() && identity.acts_for().is_none());
}

#[tokio::test]
async fn what_runs_by_a_clients_token_ends_with_its_secret_and_at_the_keys_new_end() {
    let (bench, issuers) = (bench(), issuers());
    let text = token(&issuers, &client("s1"));
    let digest = Digest::of(text.as_bytes());
    let begun = bench.authn.load_token(text.as_bytes(), &digest, &issuers, bench.clock.now()).await.unwrap();
    let standing = async || {
        let (mut admission, now) = (Admission::by_token(Arc::clone(&begun)), bench.clock.now());
        match bench.authn.standing(&mut admission, now) {
            Standing::Unknown => bench.authn.ask_standing(&admission, now).await,
            known @ (Standing::Holds | Standing::Ended(_)) => known,
        }
    };
    let end = bench.clock.now().plus_millis(5_000);
    bench.change_key(|key| key.expires_at = Some(end));
    assert_eq!(standing().await, Standing::Holds);
    bench.advance(5_000);
    assert_eq!(standing().await, Standing::Ended(Rejection::JwtExpired));
    bench.change_key(|key| key.expires_at = None);
    bench.rotate("s2", 10_000);
    assert_eq!(standing().await, Standing::Holds);
    bench.change_key(|key| key.previous = None);
    assert_eq!(standing().await, Standing::Ended(Rejection::KeyUnknown));
}

#[tokio::test]
async fn what_runs_ends_with_its_session() {
    let (bench, issuers) = (bench(), issuers());
    let text = token(&issuers, &json!({ "sid": "ses_1" }));
    let now = bench.clock.now();
    let token = bench.authn.load_token(text.as_bytes(), &Digest::of(text.as_bytes()), &issuers, now).await.unwrap();
    let mut admission = Admission::by_token(token);
    assert_eq!(bench.authn.standing(&mut admission, now), Standing::Holds);
    bench.end_session(2);
    bench.authn.invalidate_session("ses_1", 2);
    assert_eq!(bench.authn.standing(&mut admission, now), Standing::Unknown);
    assert_eq!(bench.authn.ask_standing(&admission, now).await, Standing::Ended(Rejection::TokenInactive));
    bench.store.go_away();
    assert_eq!(bench.authn.standing(&mut admission, now), Standing::Holds);
}
