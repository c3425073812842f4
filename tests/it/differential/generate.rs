//! Requests and the answers to them, by a seed: whatever HTTP allows and the sidecar does not refuse. Nothing here is sent.

mod wire;

use std::fmt;

use fastrand::Rng;

const HOST: &str = "api.example";

/// How content is delimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Delimited {
    /// No content, and nothing that says so.
    Bare,
    Length,
    Chunked,
    UntilClose,
}

/// When an answer is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Timing {
    After,
    /// It begins before the request is read.
    Around,
}

/// Content and how it is sent.
#[derive(Clone)]
pub(super) struct Content {
    pub(super) delimited: Delimited,
    data: Vec<u8>,
    chunks: Vec<usize>,
    extensions: bool,
    trailers: Vec<(String, String)>,
}

/// What the API answers.
#[derive(Debug, Clone)]
pub(super) struct Script {
    interim: &'static str,
    line: String,
    headers: Vec<(String, String)>,
    content: Content,
    pub(super) delimited: Delimited,
    pub(super) timing: Timing,
    pub(super) closes: bool,
    status: u16,
}

/// One exchange.
#[derive(Debug, Clone)]
pub(super) struct Case {
    pub(super) number: usize,
    pub(super) method: String,
    target: String,
    pub(super) http10: bool,
    pub(super) http2: bool,
    headers: Vec<(String, String)>,
    content: Content,
    /// For leave to send its content.
    pub(super) waits: bool,
    /// Sent with the one before it.
    follows: bool,
    pub(super) answer: Script,
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {} bytes in {:?}, trailers {:?}", self.delimited, self.data.len(), self.chunks, self.trailers)
    }
}

fn pick<'a>(random: &mut Rng, all: &[&'a str]) -> &'a str {
    all[random.usize(..all.len())]
}

fn one_in(random: &mut Rng, n: u32) -> bool {
    random.u32(..n) == 0
}

fn field(name: &str, value: impl Into<String>) -> (String, String) {
    (name.to_owned(), value.into())
}

fn value(random: &mut Rng) -> String {
    match random.u32(..8) {
        0 => String::new(),
        1 => "x".repeat(random.usize(1..3000)),
        2 => (0..random.usize(1..20)).map(|_| char::from(random.u8(0xa1..=0xff))).collect(),
        3 => format!("a\tb, \"{}\" ,,", random.u8(..)),
        4 => (0..random.usize(1..30)).map(|_| char::from(random.u8(0x21..0x7f))).collect(),
        _ => format!("v{}", random.u32(..)),
    }
}

/// Fields that pass, some of them repeated.
fn plain(random: &mut Rng, names: &[&str]) -> Vec<(String, String)> {
    (0..random.usize(..8)).map(|_| (pick(random, names).to_owned(), value(random))).collect()
}

fn content(random: &mut Rng, delimited: Delimited, trailers: &[&str]) -> Content {
    let length = match (delimited, random.u32(..20)) {
        (Delimited::Bare, _) | (_, 0..3) => 0,
        (_, 3..12) => random.usize(1..100),
        (_, 12..19) => random.usize(100..20_000),
        _ => random.usize(20_000..120_000),
    };
    let data = (0..length).map(|at| b"0123456789abcdef\r\n"[(at * 7 + length) % 18]).collect();
    let mut chunks = Vec::new();
    let mut left = length;
    while left > 0 && delimited == Delimited::Chunked {
        let chunk = random.usize(1..=if chunks.len() < 20 { left.min(5000) } else { left });
        chunks.push(chunk);
        left -= chunk;
    }
    let trailers = if delimited == Delimited::Chunked && one_in(random, 3) {
        (0..random.usize(1..4)).map(|_| (pick(random, trailers).to_owned(), format!("t{}", random.u8(..)))).collect()
    } else {
        Vec::new()
    };
    Content { delimited, data, chunks, extensions: one_in(random, 3), trailers }
}

/// The case that a target is of.
pub(super) fn number(target: &str) -> usize {
    target.split("/c/").nth(1).and_then(|rest| rest.split(['/', '?']).next()).and_then(|digits| digits.parse().ok()).unwrap()
}

fn answer(random: &mut Rng, method: &str, http2: bool) -> Script {
    let statuses = [
        "200 OK",
        "200 OK",
        "200 Fine",
        "200 ",
        "201 Created",
        "204 No Content",
        "206 Partial Content",
        "299 Odd",
        "301 Moved Permanently",
        "304 Not Modified",
        "304 Same",
    ];
    let more = [
        "400 Bad Request",
        "401 No",
        "404 Not Found",
        "404 Nothing here, (really)",
        "418 I'm a teapot",
        "429 Slow",
        "500 Internal Server Error",
        "503 ",
        "599 Odd",
    ];
    let line = if one_in(random, 2) { pick(random, &statuses) } else { pick(random, &more) };
    let status: u16 = line.split(' ').next().unwrap().parse().unwrap();
    let delimited = match (status, random.u32(..10)) {
        (204, _) => Delimited::Bare,
        (_, 0..5) => Delimited::Length,
        (_, 5..9) => Delimited::Chunked,
        _ => Delimited::UntilClose,
    };
    let old = delimited != Delimited::Chunked && one_in(random, 8);
    let names = [
        "X-A",
        "x-b",
        "Set-Cookie",
        "Set-Cookie",
        "Vary",
        "ETag",
        "Server",
        "Date",
        "Warning",
        "Content-Type",
        "Cache-Control",
        "Link",
        "x_odd.name",
    ];
    let mut headers = plain(random, &names);
    for (name, value) in [
        ("Keep-Alive", "timeout=5"),
        ("X-Request-Id", "of-the-upstream"),
        ("Connection", "X-Hop, keep-alive"),
        ("X-Hop", "1"),
        ("Proxy-Connection", "keep-alive"),
    ] {
        if one_in(random, 10) {
            headers.push(field(name, value));
        }
    }
    let content = content(random, delimited, &["x-sum", "grpc-status", "X-More", "x-sum"]);
    content.frame(&mut headers);
    if !content.trailers.is_empty() && one_in(random, 2) {
        headers.push(field("Trailer", "x-sum, X-More"));
    }
    // An end that nobody can see coming may cost the next request.
    let unseen = delimited == Delimited::UntilClose && (method == "HEAD" || status == 304);
    let closes = one_in(random, 10) || old || unseen;
    if closes {
        headers.push(field("Connection", "close"));
    }
    let interim = if http2 || old || one_in(random, 2) {
        ""
    } else {
        pick(random, &["", "", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 E\r\n\r\n"])
    };
    random.shuffle(&mut headers);
    let timing = if one_in(random, 6) { Timing::Around } else { Timing::After };
    Script { interim, line: format!("HTTP/1.{} {line}", u8::from(!old)), headers, content, delimited, timing, closes, status }
}

/// What a client may say that does not reach the API as it is.
const OF_THE_HOP: [(&str, &str); 20] = [
    ("X-Tenant-Id", "evil"),
    ("x_tenant_id", "evil"),
    ("X-Auth-Key-Id", "evil"),
    ("X-Auth-Scopes", "admin"),
    ("Forwarded", "for=1.1.1.1"),
    ("X-Real-IP", "1.1.1.1"),
    ("X-Forwarded-For", "1.1.1.1"),
    ("X-Forwarded-Proto", "https"),
    ("X-Forwarded-Host", "evil"),
    ("X-HTTP-Method-Override", "DELETE"),
    ("X-Original-URL", "/admin"),
    ("Proxy", "evil"),
    ("x_custom", "1"),
    ("x.custom", "1"),
    ("x!custom", ""),
    ("Proxy-Authorization", "Basic x"),
    ("X-Request-Id", "a-well-formed.id_1"),
    ("X-Request-Id", "short"),
    ("TE", "trailers"),
    ("TE", "trailers"),
];
const OF_HTTP_1: [(&str, &str); 6] = [
    ("Connection", "X-Hop"),
    ("X-Hop", "1"),
    ("Keep-Alive", "timeout=5"),
    ("Proxy-Connection", "keep-alive"),
    ("Upgrade", "h2c"),
    ("TE", "gzip, trailers"),
];

fn case(random: &mut Rng, number: usize, key: &str) -> Case {
    let http2 = one_in(random, 4);
    let http10 = !http2 && one_in(random, 10);
    let method = pick(random, &["GET", "GET", "GET", "HEAD", "POST", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"]).to_owned();
    let tail =
        pick(random, &["", "/", "?", "?a=b&a=c&empty=", "/caf%C3%A9", "/a%20b?x=%2F..%00", "/~!$'()*+,=:@", "?q=/?:@-._~!$", "/A/b.c"]);
    let form = if !http2 && !http10 && one_in(random, 15) { "http://api.example" } else { "" };
    let target = format!("{form}/v1/c/{number}{tail}");
    let mut headers = plain(
        random,
        &[
            "X-A",
            "x-b",
            "Accept",
            "Accept",
            "User-Agent",
            "Cookie",
            "Content-Type",
            "If-None-Match",
            "Range",
            "Accept-Language",
            "Pragma",
            "Via",
            "X-Trace",
        ],
    );
    for (name, value) in OF_THE_HOP.into_iter().chain(OF_HTTP_1.into_iter().filter(|_| !http2)) {
        if one_in(random, 25) && !headers.iter().any(|(own, _)| own == name) {
            headers.push(field(name, value));
        }
    }
    if !http10 || one_in(random, 2) {
        headers.push(field("Host", HOST));
    } else {
        headers.retain(|(name, _)| name != "X-Forwarded-Host");
    }
    headers.push(if one_in(random, 2) { field("X-API-Key", key) } else { field("Authorization", format!("Bearer {key}")) });
    let delimited = match (method.as_str(), random.u32(..10)) {
        ("GET" | "HEAD", 0..8) | (_, 0) => Delimited::Bare,
        (_, 1..5) => Delimited::Length,
        _ if http10 => Delimited::Length,
        _ => Delimited::Chunked,
    };
    let content = content(random, delimited, &["x-sum", "X-More", "authorization", "x-tenant-id", "x-sum"]);
    content.frame(&mut headers);
    if !content.trailers.is_empty() && one_in(random, 2) {
        headers.push(field("Trailer", "x-sum, authorization"));
    }
    if !http2 && one_in(random, 10) {
        headers.push(field("Connection", if http10 { "keep-alive" } else { "close" }));
    }
    let waits = !http2 && !http10 && !content.data.is_empty() && one_in(random, 4);
    if waits {
        headers.push(field("Expect", "100-continue"));
    }
    random.shuffle(&mut headers);
    let mut answer = answer(random, &method, http2);
    if waits {
        answer.timing = Timing::After;
        answer.interim = "";
    }
    Case { number, method, target, http10, http2, headers, content, waits, follows: false, answer }
}

/// So many exchanges.
pub(super) fn cases(seed: u64, count: usize, key: &str) -> Vec<Case> {
    let mut random = Rng::with_seed(seed);
    let mut cases: Vec<Case> = Vec::with_capacity(count);
    for number in 0..count {
        let mut case = case(&mut random, number, key);
        let goes_with = |before: &Case| {
            let stays = before.http2 == case.http2 && !before.follows && !before.waits && !case.waits && !before.http10;
            // The API must not end the connection without the sidecar either.
            stays && before.keeps() && !before.answer.closes && before.answer.delimited != Delimited::UntilClose
        };
        case.follows = one_in(&mut random, 4) && cases.last().is_some_and(goes_with);
        cases.push(case);
    }
    cases
}

/// What is sent at once.
pub(super) fn groups(cases: &[Case]) -> impl Iterator<Item = &[Case]> {
    cases.chunk_by(|_, next| next.follows)
}
