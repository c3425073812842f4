//! The same exchanges without a sidecar and through one: what the API receives and what the client receives are equal,
//! but for the changes that [`told`] and [`passed_on`] state. `SIDEGATE_SEED` repeats a run.

mod generate;

use std::collections::BTreeMap;
use std::fmt::{self, Debug, Formatter};
use std::sync::{Arc, OnceLock};
use std::thread;

use h2::client::Builder;

use self::generate::{Case, Delimited, Timing};
use crate::support::client::{Answer, Client};
use crate::support::http2::Http2;
use crate::support::seed::Issued;
use crate::support::sidecar::Sidecar;
use crate::support::stream::Address;
use crate::support::upstream::{Exchange, Recorded, Upstream};
use crate::support::wire::Framing;

const CASES: usize = 2000;
const THREADS: usize = 4;

/// What clients say and the API does not hear.
const NOT_TOLD: &[(&[&str], &str)] = &[
    (&["authorization", "x-api-key"], "product.md §2.12, §3: the credential is removed"),
    (
        &["x-tenant-id", "x_tenant_id", "x-auth-key-id", "x-auth-scopes"],
        "README, What the API is told: identity is ours alone, in every spelling",
    ),
    (&["forwarded", "x-real-ip", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"], "product.md §2.12: only of trusted proxies"),
    (&["x-http-method-override", "x-original-url", "proxy"], "product.md §2.12: what would make the request another one"),
    (&["x_custom", "x.custom", "x!custom"], "proxy.toml, identity.odd_names = \"drop\""),
    (&["connection", "keep-alive", "proxy-connection", "upgrade", "proxy-authorization"], "RFC 9110 §7.6.1: of this hop"),
    (&["te", "trailer", "transfer-encoding", "content-length"], "made again for the hop behind"),
    (&["expect"], "RFC 9110 §10.1.1: answered by the sidecar"),
    (&["x-request-id"], "README: the client's, where it is well-formed, else ours"),
];

/// What the API says and clients do not hear.
const NOT_PASSED_ON: &[(&[&str], &str)] = &[
    (&["connection", "keep-alive", "proxy-connection", "te", "upgrade"], "RFC 9110 §7.6.1: of the hop behind"),
    (&["transfer-encoding"], "made again for this hop"),
    (&["trailer"], "said where trailers can follow"),
    (&["x-request-id"], "README: on every answer, ours"),
];

/// Values by name; names are not told apart by case, values of one name keep their order.
type Fields = BTreeMap<String, Vec<String>>;

fn fields(list: &[(String, String)]) -> Fields {
    let mut fields = Fields::new();
    for (name, value) in list {
        fields.entry(name.to_ascii_lowercase()).or_default().push(value.clone());
    }
    fields
}

/// Without what a table lists, and what Connection names (RFC 9110 §7.6.1).
fn without(mut fields: Fields, table: &[(&[&str], &str)]) -> Fields {
    let named = fields.get("connection").map(|lines| lines.join(",").to_ascii_lowercase()).unwrap_or_default();
    let is_named = |name: &str| named.split(',').any(|item| item.trim() == name);
    fields.retain(|name, _| !is_named(name) && !table.iter().any(|(names, _)| names.contains(&name.as_str())));
    fields
}

fn set(fields: &mut Fields, name: &str, value: &str) {
    fields.insert(name.to_owned(), vec![value.to_owned()]);
}

/// Content, shown as text.
#[derive(PartialEq)]
struct Body(Vec<u8>);

impl Debug for Body {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let shown = &self.0[..self.0.len().min(200)];
        write!(f, "{} bytes: {}", self.0.len(), shown.escape_ascii())
    }
}

/// What an API is told, framing reduced to where the content ends.
#[derive(Debug, PartialEq)]
struct Told {
    line: String,
    fields: Fields,
    chunked: bool,
    body: Body,
    trailers: Fields,
}

/// A request as the API received it.
fn received(seen: &Recorded) -> Told {
    let mut own = fields(&seen.head.fields);
    own.remove("content-length");
    own.remove("transfer-encoding");
    Told {
        line: format!("{} {}", seen.method, seen.target),
        fields: own,
        chunked: seen.framing == Some(Framing::Chunked),
        body: Body(seen.body.clone()),
        trailers: fields(&seen.trailers),
    }
}

/// What the API is told of a request that it would have received like this.
fn told(direct: &Recorded, through: &Recorded, case: &Case, key: &Issued) -> Told {
    let mut told = received(direct);
    let sent = std::mem::replace(&mut told.fields, without(fields(&direct.head.fields), NOT_TOLD));
    let own = &mut told.fields;
    // RFC 9112 §3.2.2: absolute form is for proxies.
    told.line = told.line.replace("http://api.example/", "/");
    let host = match sent.get("host") {
        Some(host) => host[0].clone(),
        // A request of HTTP/1.0 may have none; ours always has one.
        None => through.header("host").expect("a Host").to_owned(),
    };
    set(own, "host", &host);
    // Identity.
    set(own, "x-tenant-id", "acme");
    set(own, "x-auth-key-id", &key.record.id);
    set(own, "x-auth-credential", "api_key");
    set(own, "x-auth-environment", "live");
    // Where it came from.
    set(own, "x-forwarded-for", "127.0.0.1");
    set(own, "x-forwarded-proto", "http");
    if sent.contains_key("host") {
        set(own, "x-forwarded-host", &host);
    }
    let ours = through.header("x-request-id").unwrap_or_default();
    let well_formed = |id: &&String| (8..=128).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    let id = sent.get("x-request-id").and_then(|ids| ids.first()).filter(well_formed).map_or(ours, String::as_str);
    set(own, "x-request-id", id);
    if sent.get("te").is_some_and(|lines| lines.iter().any(|line| line.contains("trailers"))) {
        set(own, "te", "trailers");
    }
    // RFC 9113 §8.2.3: the cookies of a stream are one line.
    if case.http2
        && let Some(cookies) = own.get_mut("cookie")
    {
        // White space at the end of a line is none of the value (RFC 9110 §5.5).
        *cookies = vec![cookies.join("; ").trim_end_matches(' ').to_owned()];
    }
    // README: of trailers those that are announced, and that a header could be.
    told.trailers = without(std::mem::take(&mut told.trailers), NOT_TOLD);
    let announced = sent.get("trailer").map(|lines| lines.join(",").to_ascii_lowercase()).unwrap_or_default();
    told.trailers.retain(|name, _| announced.split(',').any(|item| item.trim() == name));
    let announced: Vec<&str> =
        announced.split(',').map(str::trim).filter(|name| !matches!(*name, "" | "authorization" | "x-tenant-id")).collect();
    if told.chunked && !announced.is_empty() {
        set(own, "trailer", &announced.join(", "));
    }
    told
}

/// What a client gets.
#[derive(Debug, PartialEq)]
struct Got {
    status: u16,
    reason: Option<String>,
    fields: Fields,
    body: Body,
    trailers: Fields,
}

fn got(answer: &Answer) -> Got {
    let reason = answer.head.first_line.splitn(3, ' ').nth(2).map(str::to_owned);
    let (fields, trailers) = (fields(&answer.head.fields), fields(&answer.trailers));
    Got { status: answer.status, reason, fields, body: Body(answer.body.clone()), trailers }
}

/// The same, of an answer that came through a sidecar.
fn got_by(answer: &Answer, case: &Case) -> Got {
    let got = got(answer);
    Got { reason: got.reason.filter(|_| !case.http2), ..got }
}

/// What becomes of an answer that the client would have got like this.
fn passed_on(direct: &Answer, through: &Answer, case: &Case) -> Got {
    let mut got = got(direct);
    let announced = got.fields.get("trailer").cloned();
    got.fields = without(got.fields, NOT_PASSED_ON);
    if let Some(id) = through.head.one("x-request-id") {
        set(&mut got.fields, "x-request-id", id);
    }
    // HTTP/2 has no reasons.
    got.reason = got.reason.filter(|_| !case.http2);
    if !case.http2 {
        let (http10, chunked) = (case.http10, through.head.one("transfer-encoding").is_some());
        // The version of the client decides how what has no length ends.
        let wanted = !http10 && case.has_content() && direct.head.one("content-length").is_none();
        assert_eq!(chunked, wanted, "chunks to {case:#?}");
        if chunked {
            set(&mut got.fields, "transfer-encoding", "chunked");
        }
        // RFC 9110 §6.5.1: to who wants them, where they can follow.
        if !chunked || !case.wants_trailers() {
            got.trailers.clear();
        }
        if let Some(lines) = announced.filter(|_| chunked) {
            got.fields.insert("trailer".into(), lines);
        }
        // Whether another request may follow is between the client and the sidecar.
        let ends = if http10 { !case.keeps() || through.head.one("content-length").is_none() && case.has_content() } else { !case.keeps() };
        match (http10, ends) {
            (true, false) => set(&mut got.fields, "connection", "keep-alive"),
            (false, true) => set(&mut got.fields, "connection", "close"),
            (true, true) | (false, false) => {}
        }
    } else if let Some(lines) = announced {
        got.fields.insert("trailer".into(), lines);
    }
    got
}

/// Plays an API by the script of the request that came.
fn play(cases: &[Case], exchange: &mut Exchange<'_>) {
    let case = &cases[generate::number(&exchange.request.target)];
    let script = &case.answer;
    if exchange.request.header("expect").is_some() {
        exchange.send(b"HTTP/1.1 100 Continue\r\n\r\n");
    }
    let (head, content) = (script.head(), script.content(&case.method));
    // Without content the answer would be over before the request.
    let timing = if content.len() < 2 { Timing::After } else { script.timing };
    match timing {
        Timing::After => {
            exchange.read_body();
            exchange.send(&[head, content].concat());
        }
        Timing::Around => {
            let (first, rest) = content.split_at(content.len() / 2);
            exchange.send(&[&head, first].concat());
            exchange.read_body();
            exchange.send(rest);
        }
    }
    if script.delimited == Delimited::UntilClose || script.closes || exchange.request.head.first_line.ends_with("1.0") {
        exchange.close();
    }
}

/// One way to the API.
struct Lane {
    address: Address,
    direct: bool,
    old: Option<Client>,
    new: Option<Http2>,
}

impl Lane {
    fn send(&mut self, pair: &[Case]) -> Vec<Answer> {
        if pair[0].http2 && !self.direct {
            let Address::Tcp(address) = self.address else { unreachable!() };
            // The answers of a pair are read one after the other: what waits of the second must leave room for the first.
            let new = self.new.get_or_insert_with(|| Http2::connect_as(address, Builder::new().initial_connection_window_size(1 << 20)));
            let mut opened: Vec<_> = pair.iter().map(|case| new.open(case.head(), case.is_bare())).collect();
            for (case, opened) in pair.iter().zip(&mut opened) {
                case.send_content(&mut opened.body);
            }
            return opened.into_iter().map(|opened| new.try_answer(opened.response).unwrap()).collect();
        }
        let connect = if self.direct { Client::connect_directly } else { Client::connect };
        let mut client = self.old.take().unwrap_or_else(|| connect(self.address.clone()));
        let mut answers = Vec::new();
        if pair.iter().any(|case| case.waits) {
            let (head, content) = pair[0].bytes();
            client.send(head);
            assert_eq!(client.head().first_line, "HTTP/1.1 100 Continue");
            client.send(content);
            answers.push(client.answer(&pair[0].method));
        } else {
            let bytes: Vec<u8> = pair.iter().flat_map(|case| [case.bytes().0, case.bytes().1].concat()).collect();
            client.send(bytes);
            for case in pair {
                answers.push(client.try_answer(&case.method).unwrap_or_else(|| panic!("no answer to {case:#?}")));
            }
        }
        let last = &answers[answers.len() - 1];
        let case = &pair[pair.len() - 1];
        let says = last.head.all("connection").any(|value| value.contains("close"));
        let until_close = case.has_content() && last.head.framing().unwrap().is_none();
        // Without a sidecar, a client of HTTP/1.0 is always left.
        let stays_old = !self.direct && last.head.one("connection") == Some("keep-alive");
        let ends = says || until_close || self.direct && case.answer.closes || !case.keeps() || case.http10 && !stays_old;
        if ends {
            assert!(self.direct || client.is_closed(), "the connection is kept open after {case:#?}");
        } else {
            self.old = Some(client);
        }
        answers
    }
}

/// Everything that exchanges are judged by.
struct Scene {
    cases: Arc<OnceLock<Vec<Case>>>,
    direct: Upstream,
    behind: Upstream,
    sidecar: Sidecar,
    key: Issued,
}

impl Scene {
    fn new(seed: u64) -> Self {
        let cases = Arc::new(OnceLock::<Vec<Case>>::new());
        let upstream = || {
            let cases = Arc::clone(&cases);
            Upstream::start(move |exchange| play(cases.get().unwrap(), exchange))
        };
        let (direct, behind) = (upstream().asked_directly(), upstream());
        let sidecar = Sidecar::start(&format!("upstream = \"{}\"\n[runtime]\nworkers = 2", behind.url()));
        let key = sidecar.home.issue();
        behind.must_never_see(&key.secret);
        cases.set(generate::cases(seed, CASES, &key.secret)).unwrap();
        Self { cases, direct, behind, sidecar, key }
    }
}

/// Every `THREADS`th group of exchanges, both ways; the answers of each case, direct and through.
fn run(cases: &[Case], direct: &Address, through: Address, thread: usize) -> Vec<(usize, Answer, Answer)> {
    let lane = |address, direct| Lane { address, direct, old: None, new: None };
    let (mut direct, mut through) = (lane(direct.clone(), true), lane(through, false));
    let mut answers = Vec::new();
    for group in generate::groups(cases).skip(thread).step_by(THREADS) {
        let pairs = direct.send(group).into_iter().zip(through.send(group));
        answers.extend(group.iter().zip(pairs).map(|(case, (direct, through))| (case.number, direct, through)));
    }
    answers
}

fn by_case(all: Vec<Recorded>) -> BTreeMap<usize, Recorded> {
    let mut cases = BTreeMap::new();
    for seen in all {
        let number = generate::number(&seen.target);
        assert!(seen.complete, "case {number} broke off");
        assert!(cases.insert(number, seen).is_none(), "case {number} came twice");
    }
    cases
}

/// What differs, with all that led to it.
fn difference<T: Debug + PartialEq>(what: &str, case: &Case, expected: &T, found: &T) -> Option<String> {
    (expected != found).then(|| format!("{what} differs:\n\nexpected {expected:#?}\n\nfound {found:#?}\n\nin {case:#?}"))
}

#[expect(clippy::disallowed_methods, reason = "which cases are made is no configuration of the sidecar")]
fn seed() -> u64 {
    std::env::var("SIDEGATE_SEED").ok().map_or_else(|| fastrand::u64(..), |seed| seed.parse().unwrap())
}

#[test]
fn exchanges_through_the_sidecar_are_those_without_it() {
    let seed = seed();
    println!("SIDEGATE_SEED={seed}");
    let scene = Scene::new(seed);
    let cases = scene.cases.get().unwrap();
    let (direct, through) = (&scene.direct.address, scene.sidecar.address());
    let answers: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|thread| scope.spawn(move || run(cases, direct, through.into(), thread))).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(answers.len(), CASES);
    let mut differences = Vec::new();
    for (number, direct, through) in &answers {
        let case = &cases[*number];
        differences.extend(difference("an answer", case, &passed_on(direct, through, case), &got_by(through, case)));
    }
    let (direct, behind) = (by_case(scene.direct.recorded()), by_case(scene.behind.recorded()));
    assert_eq!((direct.len(), behind.len()), (CASES, CASES));
    for (number, seen) in &direct {
        let (case, through) = (&cases[*number], &behind[number]);
        differences.extend(difference("a request", case, &told(seen, through, case, &scene.key), &received(through)));
    }
    let shown = differences.iter().take(3).map(String::as_str).collect::<Vec<_>>().join("\n\n");
    assert!(differences.is_empty(), "{} differences; the first:\n\n{shown}", differences.len());
}
