//! What a sidecar has written when it has ended: one line for each request, whoever sent it and whatever became of it, with the
//! right status and reason, and no secret in any line of either stream.

use std::collections::BTreeMap;

use serde_json::Value;
use sidegate::rejection::Rejection;

use crate::row::{Request, Row};
use crate::run::{Stage, fill, secrets};
use crate::support::client::{Answer, Client};
use crate::support::tokens;

/// Parts of a secret that are this long tell it.
const TELLING: usize = 12;

/// Ends the sidecar; `held` are clients whose requests are not answered.
pub(crate) fn check_log(stage: Stage<'_>, answer: &Answer, held: Vec<Client>) {
    let Stage { row, serve, words, mut answered, .. } = stage;
    let unanswered = held.len();
    drop(held);
    // What is held would hold up the end.
    let (_, stdout, stderr) = if unanswered == 0 { serve.stop() } else { serve.stop_at_once() };
    let lines: Vec<Value> =
        stdout.text().lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect();
    let own = answer.header("X-Request-Id").unwrap().to_owned();
    answered.push((own.clone(), answer.status));
    check_lines(&lines, answered, unanswered);
    check_line(row, lines.iter().find(|line| line["request_id"] == *own).unwrap());
    let written = format!("{}\n{}", stdout.text(), stderr.text());
    for secret in every_secret(row, &words).into_iter().chain(shown(answer)) {
        assert!(!written.contains(&secret), "`{secret}` was written:\n{written}");
    }
}

/// What the answer shows once.
fn shown(answer: &Answer) -> Vec<String> {
    let Ok(body) = serde_json::from_slice::<Value>(&answer.body) else { return Vec::new() };
    let secrets = [&body["key"], &body["refresh_token"], &body["session"]["refresh_token"]];
    secrets.into_iter().filter_map(|secret| secret.as_str()).filter(|secret| secret.len() >= TELLING).map(str::to_owned).collect()
}

/// As many lines as requests, each with the id and the status of its answer, and a reason that there is.
fn check_lines(lines: &[Value], mut answered: Vec<(String, u16)>, unanswered: usize) {
    assert_eq!(lines.len(), answered.len() + unanswered, "{answered:?} and {unanswered} without an answer; {lines:#?}");
    for line in lines {
        let reason = line["reason"].as_str().unwrap();
        assert!(reason.is_empty() || Rejection::from_reason(reason).is_some(), "{line:#}");
        let is_its = |(id, status): &(String, u16)| line["request_id"] == **id && line["http.response.status_code"] == *status;
        match answered.iter().position(is_its) {
            Some(index) => drop(answered.swap_remove(index)),
            None => assert!(line["error.type"].is_string(), "nobody was answered this: {line:#}"),
        }
    }
    assert!(answered.is_empty(), "{answered:?} have no line in {lines:#?}");
}

/// The line of the row's own request.
fn check_line(row: &Row, line: &Value) {
    assert_eq!(line["reason"].as_str(), Some(row.reason.as_deref().unwrap_or_default()), "{line:#}");
    assert_eq!(line["would_refuse"].as_str(), row.expect.would_refuse.as_deref(), "{line:#}");
    if let Some(detail) = &row.expect.detail {
        assert!(line["detail"].as_str().is_some_and(|text| text.contains(detail.as_str())), "{line:#}");
    }
}

/// All that nobody may read: the row's keys and tokens and the telling parts of them, what its requests present besides, what
/// they say of it in other notations, and what tokens are signed with.
fn every_secret(row: &Row, words: &BTreeMap<String, String>) -> Vec<String> {
    let presented = [Some(&row.request), row.first.as_ref()].into_iter().flatten().flat_map(|request| presented(request, words));
    let whole: Vec<String> = secrets(words).map(str::to_owned).chain(presented).chain([tokens::SECRET.to_owned()]).collect();
    let telling = |part: &&str| part.len() >= TELLING;
    let parts = whole.iter().flat_map(|secret| secret.split(['_', '.', '-', '%', ':']).filter(telling).map(str::to_owned));
    let parts: Vec<String> = parts.collect();
    whole.into_iter().chain(parts).collect()
}

/// Values of the fields that carry credentials.
fn presented(request: &Request, words: &BTreeMap<String, String>) -> Vec<String> {
    let carriers = ["authorization", "proxy-authorization", "x-api-key", "cookie"];
    let lines = request.headers.iter().map(String::as_str).chain(request.raw.iter().flat_map(|raw| raw.split("\r\n")));
    let fields = lines.filter_map(|line| line.split_once(':'));
    let values =
        fields.filter(|(name, _)| carriers.contains(&name.trim().to_ascii_lowercase().as_str())).map(|(_, value)| fill(value, words));
    values.flat_map(|value| value.split_whitespace().filter(|word| word.len() >= TELLING).map(str::to_owned).collect::<Vec<_>>()).collect()
}
