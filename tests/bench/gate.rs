//! A gate over an embedded store with one key in its cache, as bench and allocation test need it.

use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::BytesMut;
use http::request::Parts;
use http::{HeaderValue, Request, Uri};
use secrecy::ExposeSecret as _;
use serde_json::json;
use sidegate::audit::{Action, Actor, Event};
use sidegate::authn::KeyTable;
use sidegate::clock::{Clock, Timestamp};
use sidegate::config::problem::Problems;
use sidegate::config::sections::Config;
use sidegate::gate::{Admitted, Connection, Gate, Rules, Seen};
use sidegate::identity::template::IdentityHeaders;
use sidegate::key::digest::{Digest, Peppers};
use sidegate::key::format;
use sidegate::key::record::KeyRecord;
use sidegate::net::{Network, Peer};
use sidegate::policy::scope;
use sidegate::rejection::Refusal;
use sidegate::store::Audited;
use sidegate::tenant::TenantRecord;
use sidegate::usage::{Exchange, Sheet};

const NOW: Timestamp = Timestamp(1_800_000_000_000);

const SECRET: &[u8] = b"a secret that is long enough for HS256";

/// A limit that nobody comes near.
pub(crate) const LIMIT: &str = "[rate_limits.all]\nby = [\"key\"]\nrequests = 1000000000\nper = \"1s\"\ndefault = true\n";

/// A gate, its key, and what must live as long.
pub(crate) struct Bench {
    gate: Gate,
    peer: Connection,
    secret: String,
    usage: Arc<Sheet>,
    _table: KeyTable,
    _dir: tempfile::TempDir,
}

impl Bench {
    /// Ten routes with a scope by capture, a key with networks and scopes, in the cache already.
    pub(crate) fn new() -> Self {
        Self::with("")
    }

    /// The same with a token in the key's place, signed with a secret that the configuration names.
    pub(crate) fn with_token() -> Self {
        let secret = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(secret.path(), SECRET).unwrap();
        let issuer = format!(
            "[[issuers]]\nname = \"users\"\nalgorithms = [\"HS256\"]\nissuer = \"https://auth.example\"\naudiences = [\"api\"]\nsecret_file = \"{}\"\n",
            secret.path().display()
        );
        let claims = json!({
            "iss": "https://auth.example", "aud": "api", "org_id": "acme", "sub": "ada@example.com", "scope": "read:* write:items",
            "iat": NOW.0 / 1000, "exp": NOW.0 / 1000 + 3600, "jti": "0198d0a4-6b1e-7c3f-9a52-3f1c2d4e5b6a",
        });
        let encode = |part: String| URL_SAFE_NO_PAD.encode(part);
        let signed = format!("{}.{}", encode(json!({ "alg": "HS256", "typ": "JWT" }).to_string()), encode(claims.to_string()));
        let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET), signed.as_bytes());
        Self::presenting(&issuer, |_| format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    /// The same, with what else the configuration says.
    pub(crate) fn with(more: &str) -> Self {
        Self::presenting(more, |key| key)
    }

    fn presenting(more: &str, credential: impl FnOnce(String) -> String) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let route = |n| format!("[[routes]]\nname = \"r{n}\"\nmatch = \"GET /v{n}/{{resource}}/**\"\nscopes = [\"read:{{resource}}\"]\n");
        let routes: Vec<String> = (0..10).map(route).collect();
        let routes = routes.concat();
        let text = format!("[upstreams.main]\nurl = \"http://127.0.0.1:1\"\n{routes}{more}");
        let mut config: Config = toml::from_str(&text).unwrap();
        config.store.url = format!("embedded:{}", dir.path().join("data").display());
        let mut problems = Problems::default();
        let headers = Arc::new(IdentityHeaders::compile(&config, &mut problems).unwrap());
        let rules = Rules::compile(&config, Some(&headers), &mut problems).unwrap_or_else(|| panic!("{:?}", problems.list()));
        // Written before the table is open, so that no news of it empties the cache later.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let secret = credential(runtime.block_on(seed(&config)));
        let table = KeyTable::start(&config, headers, &Clock::manual(NOW)).unwrap();
        let peer = Connection::new(Peer::Ip(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST)), false);
        let gate = Gate::new(rules, Arc::clone(table.authenticator()), Arc::clone(table.desk()));
        let usage = table.usage().open(config.keys.last_used_resolution);
        let bench = Self { peer, gate, secret, usage, _table: table, _dir: dir };
        let mut head = bench.head();
        let mut seen = bench.gate.begin(&head.headers, NOW);
        runtime.block_on(bench.gate.decide(&mut head, &bench.peer, NOW, &mut seen)).unwrap();
        bench
    }

    /// A request as the server hands it on: values are slices of one buffer.
    pub(crate) fn head(&self) -> Parts {
        let (target, lines) =
            ("/v7/items/42?page=2", [("host", "api.example.com"), ("user-agent", "bench/1.0"), ("accept", "application/json")]);
        let credential = format!("Bearer {}", self.secret);
        let mut buffer = BytesMut::with_capacity(1024);
        let mut slice = |text: &str| {
            buffer.extend_from_slice(text.as_bytes());
            buffer.split().freeze()
        };
        let mut head = Request::new(()).into_parts().0;
        head.uri = Uri::from_maybe_shared(slice(target)).unwrap();
        for (name, value) in lines.into_iter().chain([("authorization", &*credential)]) {
            head.headers.insert(name, HeaderValue::from_maybe_shared(slice(value)).unwrap());
        }
        head
    }

    /// Decides, without a runtime: a cached credential is ready on the first poll.
    pub(crate) fn decide(&self, head: &mut Parts) -> Result<Admitted, Refusal> {
        let mut seen = self.gate.begin(&head.headers, NOW);
        self.judge(head, &mut seen)
    }

    /// The same, and counts it as a worker does at the end of an exchange.
    pub(crate) fn decide_and_count(&self, head: &mut Parts) -> Result<Admitted, Refusal> {
        let mut seen = self.gate.begin(&head.headers, NOW);
        let decided = self.judge(head, &mut seen);
        // Tokens are nobody's keys.
        let Some(key) = seen.identity.as_deref().unwrap().key_id() else { return decided };
        self.usage.count(&Exchange {
            key,
            began: NOW,
            refused: None,
            admitted: true,
            client: seen.client.0,
            network: seen.client.0.map(|ip| Network::around(ip, 24, 64)),
            scopes: scope::text(&seen.scopes_used),
            received_bytes: 10,
            sent_bytes: 1000,
        });
        decided
    }

    fn judge(&self, head: &mut Parts, seen: &mut Seen) -> Result<Admitted, Refusal> {
        let mut decision = pin!(self.gate.decide(head, &self.peer, NOW, seen));
        match decision.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(decided) => decided,
            Poll::Pending => panic!("a cached credential waited"),
        }
    }
}

async fn seed(config: &Config) -> String {
    let secret = format::generate("sk_live_").unwrap();
    let digest = Peppers::default().store(&Digest::of(secret.expose_secret().as_bytes())).to_hex();
    let at = "2026-01-01T00:00:00Z";
    let tenant = json!({"format": 1, "id": "acme", "name": "Acme", "status": "active", "created_at": at, "version": 1});
    let key = json!({
        "format": 1, "id": "key_bench", "tenant": "acme", "name": "bench", "prefix": "sk_live_", "last4": "0000", "kind": "secret", "environment": "live",
        "scopes": ["read:*", "write:items"], "ip_allowlist": ["127.0.0.0/8", "10.0.0.0/8"], "status": "active", "created_at": at, "digest": digest, "version": 1,
    });
    let store = sidegate::store::open(&config.store, &Clock::System).await.unwrap().store;
    let (tenant, key): (TenantRecord, KeyRecord) = (serde_json::from_value(tenant).unwrap(), serde_json::from_value(key).unwrap());
    let (actor, now) = (Actor::local("bench"), Clock::System.now());
    let event = Event::of(&actor, Action::Create, now, None, &tenant);
    store.put_tenant(Audited { record: &tenant, event }).await.unwrap();
    let event = Event::of(&actor, Action::Create, now, None, &key);
    store.put_key(Audited { record: &key, event }).await.unwrap();
    secret.expose_secret().to_owned()
}
