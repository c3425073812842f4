//! Refusals that no request causes by itself: what must be the case around it, provoked as it would come about in earnest.

use std::sync::atomic::{AtomicUsize, Ordering};

use secrecy::ExposeSecret as _;
use sidegate::answer::Answers;
use sidegate::clock::Clock;
use sidegate::config::problem::Problems;
use sidegate::facts::RequestId;
use sidegate::gate::Seen;
use sidegate::key::format::generate;
use sidegate::rejection::Rejection;

use crate::row::Row;
use crate::run::{Stage, check_answer, request_bytes};
use crate::support::client::{Answer, Client, Request};
use crate::support::seed;
use crate::support::upstream::Upstream;
use crate::support::wire::Reader;

/// The upstream that the situation asks for.
pub(crate) fn upstream(row: &Row) -> Upstream {
    match row.situation.as_deref() {
        // It reads the request and never answers.
        Some("upstream-silent") => Upstream::start(|exchange| {
            exchange.read_body();
            exchange.wait_for_the_end();
        }),
        // It reads the request and ends the connection.
        Some("upstream-breaks") => Upstream::start(|exchange| {
            exchange.read_body();
            exchange.close();
        }),
        Some("upstream-babbles") => Upstream::start(|exchange| {
            exchange.read_body();
            exchange.send(b"this is no HTTP\r\n\r\n");
            exchange.close();
        }),
        // One request is held as long as its client waits.
        Some("upstream-busy") => Upstream::start(|exchange| {
            exchange.read_body();
            if exchange.request.target == "/held" {
                exchange.wait_for_the_end();
            } else {
                exchange.answer(200, &[], b"ok");
            }
        }),
        Some("while-the-first-runs") => Upstream::start(|exchange| {
            exchange.read_body();
            exchange.wait_for_the_end();
        }),
        Some("after-a-lost-first") => Upstream::start(|exchange| {
            exchange.read_body();
            exchange.close();
        }),
        // Answers as the request says, and says how often it was asked.
        Some("after-the-first") => {
            let asked = AtomicUsize::new(0);
            Upstream::start(move |exchange| {
                exchange.read_body();
                let status = exchange.request.header("x-answer").map_or(201, |status| status.parse().unwrap());
                let body = format!("{{\"asked\":{}}}", asked.fetch_add(1, Ordering::SeqCst) + 1);
                exchange.answer(status, &[("Content-Type", "application/json"), ("Set-Cookie", "a=1")], body.as_bytes());
            })
        }
        _ => Upstream::echo(),
    }
}

/// Whether a request with the same Idempotency-Key came before, and reached the upstream.
pub(crate) fn runs_once(situation: &str) -> bool {
    matches!(situation, "after-the-first" | "while-the-first-runs" | "after-a-lost-first")
}

/// Whether a refusal in this situation may come after something was forwarded.
pub(crate) fn reaches_upstream(situation: &str) -> bool {
    matches!(situation, "used-up" | "guesses-passed-on" | "upstream-silent" | "upstream-breaks" | "upstream-babbles" | "upstream-busy")
        || runs_once(situation)
}

/// Brings the situation about; what is returned keeps it up.
pub(crate) fn before(stage: &mut Stage<'_>, upstream: &Upstream) -> Vec<Client> {
    match stage.row.situation.as_deref() {
        Some("store-down") => {
            stop_store(stage);
            Vec::new()
        }
        Some("upstream-busy") => {
            let mut client = Client::connect(stage.serve.address);
            client.send(Request::get("/held").bearer(&stage.words["key"]).bytes());
            upstream.wait(|seen| seen.len() == 1);
            vec![client]
        }
        Some(guesses @ ("guesses" | "guesses-passed-on")) => {
            // As many as the row's configuration lets pass.
            let failures = stage.home.config.restrictions.guess_throttle.failures;
            for _ in 0..failures {
                let guess = generate(&seed::prefix(&stage.home.config, "secret", "live")).unwrap();
                let answer = crate::support::client::once(stage.serve.address, &Request::get("/v1/users").bearer(guess.expose_secret()));
                assert_eq!(stage.note(&answer), if guesses == "guesses" { 401 } else { 200 });
            }
            Vec::new()
        }
        // The row's request was sent before, and let through.
        Some("used-up") => {
            let mut client = Client::connect(stage.serve.address);
            client.send(crate::run::request_bytes(stage, &stage.row.request));
            let answer = client.answer(&stage.row.request.method);
            assert_eq!(stage.note(&answer), 200);
            Vec::new()
        }
        Some("after-the-first") => {
            assert_ne!(first(stage), 401);
            Vec::new()
        }
        // Sidegate answers itself.
        Some("after-a-created-first") => {
            assert_eq!(first(stage), 201);
            Vec::new()
        }
        Some("after-a-rotation") => {
            assert_eq!(first(stage), 200);
            Vec::new()
        }
        Some("after-a-refresh") => {
            let mut client = Client::connect(stage.serve.address);
            client.send(first_bytes(stage));
            let answer = client.answer("POST");
            assert_eq!(stage.note(&answer), 200);
            stage.before = (stage.row.reason.is_none()).then(|| answer.text());
            Vec::new()
        }
        Some("after-a-suspension") => {
            let table = stage.home.table();
            table.put_tenant(&seed::tenant(&serde_json::json!({ "status": "suspended", "version": 2 })));
            Vec::new()
        }
        // The key is cached, so that its request goes as far as it can.
        Some("store-down-warm") => {
            assert_eq!(first(stage), 200);
            stop_store(stage);
            Vec::new()
        }
        Some("after-a-refused-first") => {
            assert_eq!(first(stage), 401);
            Vec::new()
        }
        Some("after-a-lost-first") => {
            assert_eq!(first(stage), 502);
            Vec::new()
        }
        Some("while-the-first-runs") => {
            let mut client = Client::connect(stage.serve.address);
            client.send(first_bytes(stage));
            upstream.wait(|seen| seen.len() == 1);
            vec![client]
        }
        None | Some("upstream-silent" | "upstream-breaks" | "upstream-babbles") => Vec::new(),
        Some(other) => panic!("no situation {other}"),
    }
}

fn first_bytes(stage: &Stage<'_>) -> Vec<u8> {
    request_bytes(stage, stage.row.first.as_ref().unwrap_or(&stage.row.request))
}

/// The status of the request before the row's.
fn first(stage: &mut Stage<'_>) -> u16 {
    let mut client = Client::connect(stage.serve.address);
    client.send(first_bytes(stage));
    let answer = client.answer("POST");
    stage.note(&answer)
}

fn stop_store(stage: &mut Stage<'_>) {
    if let Some(redis) = &mut stage.home.redis {
        return redis.stop();
    }
    // What a failing disk or a wrong hand does: the table is not there when it is asked.
    let connection = rusqlite::Connection::open(stage.home.dir.path().join("data")).unwrap();
    let mut list = connection.prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'").unwrap();
    let tables: Vec<String> = list.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    for table in tables {
        connection.execute(&format!("DROP TABLE \"{table}\""), []).unwrap();
    }
}

/// The bytes of a rejection that nothing outside can provoke (`internal` is a bug of ours): made by the code that would answer.
pub(crate) fn check_answer_alone(row: &Row, home: &crate::support::sidecar::Home) {
    let mut problems = Problems::default();
    let answers = Answers::compile(&home.config, &mut problems).unwrap();
    let rejection = Rejection::from_reason(row.reason.as_deref().unwrap()).unwrap();
    let response = answers.refuse(&rejection.into(), &Seen::new(RequestId::new(Clock::System.now()), &http::HeaderMap::new()));
    let mut bytes = format!("HTTP/1.1 {} X\r\n", response.status().as_u16()).into_bytes();
    for (name, value) in response.headers() {
        bytes.extend_from_slice(format!("{name}: ").as_bytes());
        bytes.extend_from_slice(value.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"\r\n");
    let head = Reader::new(bytes.as_slice()).head().unwrap().unwrap();
    let answer =
        Answer { status: response.status().as_u16(), head, body: response.body().to_vec(), trailers: Vec::new(), interim: Vec::new() };
    check_answer(row, &answer);
}
