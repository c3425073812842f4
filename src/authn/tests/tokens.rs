//! What a verified token costs the store, and what becomes of it when the store, its tenant or its issuers are not what they were.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;

use super::*;

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

fn issuers(more: &str) -> Issuers {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), SECRET).unwrap();
    let text = format!("[[issuers]]\nname = \"users\"\nalgorithms = [\"HS256\"]\nsecret_file = \"{}\"\n{more}", file.path().display());
    Issuers::compile(&toml::from_str(&text).unwrap(), &mut Problems::default()).unwrap()
}

/// One that is good for a day.
fn token(tenant: &str) -> String {
    token_of(tenant, "ada")
}

fn token_of(tenant: &str, subject: &str) -> String {
    let claims = json!({ "exp": START.0 / 1000 + 86_400, "org_id": tenant, "sub": subject });
    let encode = |part: &str| URL_SAFE_NO_PAD.encode(part);
    let signed = format!("{}.{}", encode("{\"alg\":\"HS256\"}"), encode(&claims.to_string()));
    let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET), signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

impl Bench {
    fn cached_token(&self, issuers: &Issuers, token: &str) -> Option<Authenticated> {
        let now = self.clock.now();
        let answer = self.authn.cached_token(&Digest::of(token.as_bytes()), issuers, now)?;
        Some(answer.and_then(|token| token.judge(now)))
    }

    /// As the gate asks.
    async fn ask_token(&self, issuers: &Issuers, token: &str) -> Authenticated {
        if let Some(answer) = self.cached_token(issuers, token) {
            return answer;
        }
        let now = self.clock.now();
        self.authn.load_token(token.as_bytes(), &Digest::of(token.as_bytes()), issuers, now).await?.judge(now)
    }

    fn tenant_lookups(&self) -> u64 {
        self.counted(|counters| &counters.tenant_lookups)
    }
}

#[tokio::test]
async fn all_tokens_of_a_tenant_cost_one_look_up_and_nobody_waits_for_the_next() {
    let (bench, issuers) = (Bench::new(), issuers(""));
    for _ in 0..3 {
        assert_eq!(reason(bench.ask_token(&issuers, &token("acme")).await), "admitted");
        assert_eq!(reason(bench.ask_token(&issuers, &token_of("acme", "eve")).await), "admitted");
    }
    assert_eq!((bench.tenant_lookups(), bench.lookups()), (1, 0));
    bench.advance(24_000);
    for _ in 0..100 {
        assert_eq!(reason(bench.cached_token(&issuers, &token("acme")).unwrap()), "admitted");
    }
    while bench.tenant_lookups() < 2 {
        tokio::task::yield_now().await;
    }
    bench.advance(6_000);
    assert_eq!(reason(bench.cached_token(&issuers, &token("acme")).unwrap()), "admitted");
    assert_eq!(bench.tenant_lookups(), 2);
}

#[tokio::test]
async fn a_change_of_the_tenant_or_of_the_issuers_ends_what_was_remembered() {
    let (bench, first) = (Bench::new(), issuers(""));
    assert_eq!(reason(bench.ask_token(&first, &token("acme")).await), "admitted");
    bench.store.put_tenant(TenantRecord { status: TenantStatus::Suspended, version: 2, ..tenant("acme") });
    bench.authn.invalidate_tenant("acme", 2);
    assert!(bench.cached_token(&first, &token("acme")).is_none());
    assert_eq!(reason(bench.ask_token(&first, &token("acme")).await), "tenant_suspended");
    assert_eq!(reason(bench.cached_token(&first, &token("acme")).unwrap()), "tenant_suspended");
    bench.store.put_tenant(TenantRecord { version: 3, ..tenant("acme") });
    bench.authn.invalidate_tenant("acme", 3);
    assert_eq!(reason(bench.ask_token(&first, &token("acme")).await), "admitted");
    // Others that would say the same know nothing of it; those that ask for more refuse it.
    let (same, stricter) = (issuers(""), issuers("audiences = [\"api\"]\n"));
    assert!(bench.cached_token(&same, &token("acme")).is_none());
    assert_eq!(reason(bench.ask_token(&stricter, &token("acme")).await), "jwt_audience");
    assert_eq!(reason(bench.cached_token(&stricter, &token("acme")).unwrap()), "jwt_audience");
    assert_eq!(reason(bench.ask_token(&same, &token("acme")).await), "admitted");
}

#[tokio::test]
async fn without_the_store_what_is_known_is_served_for_its_time_and_nobody_else() {
    let (bench, issuers) = (Bench::new(), issuers(""));
    assert_eq!(reason(bench.ask_token(&issuers, &token("acme")).await), "admitted");
    bench.store.go_away();
    bench.clock.advance(599_999);
    assert_eq!(reason(bench.ask_token(&issuers, &token("acme")).await), "admitted");
    assert_eq!(reason(bench.ask_token(&issuers, &token("other")).await), "store_unavailable");
    bench.clock.advance(1);
    assert_eq!(reason(bench.ask_token(&issuers, &token("acme")).await), "store_unavailable");
    bench.store.come_back();
    bench.advance(0);
    assert_eq!(reason(bench.ask_token(&issuers, &token("acme")).await), "admitted");
    assert_eq!(reason(bench.ask_token(&issuers, &token("other")).await), "tenant_unknown");
}

#[tokio::test]
async fn a_tenant_without_a_record_that_is_let_through_has_its_record_once_there_is_one() {
    let (bench, issuers) = (Bench::new(), issuers("unknown_tenant = \"allow\"\n"));
    assert_eq!(reason(bench.ask_token(&issuers, &token("other")).await), "admitted");
    bench.store.put_tenant(TenantRecord { status: TenantStatus::Suspended, ..tenant("other") });
    bench.authn.invalidate_tenant("other", 1);
    assert_eq!(reason(bench.ask_token(&issuers, &token("other")).await), "tenant_suspended");
    // What can be no record's name is asked for nowhere, and must fit a header all the same.
    let lookups = bench.tenant_lookups();
    assert_eq!(reason(bench.ask_token(&issuers, &token("org|7")).await), "admitted");
    assert_eq!(reason(bench.ask_token(&issuers, &token("a b")).await), "identity_invalid");
    assert_eq!(bench.tenant_lookups(), lookups);
}

#[tokio::test]
async fn a_bad_token_is_remembered_for_a_moment() {
    let (bench, issuers) = (Bench::new(), issuers(""));
    let bad = token("acme") + "AA";
    assert_eq!(reason(bench.ask_token(&issuers, &bad).await), "jwt_malformed");
    assert_eq!(reason(bench.cached_token(&issuers, &bad).unwrap()), "jwt_malformed");
    bench.advance(2_000);
    assert!(bench.cached_token(&issuers, &bad).is_none());
}
