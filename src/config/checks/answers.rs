//! `[errors]` and the other templates of bodies: known reasons, statuses that keep their meaning, known placeholders.

use crate::config::path::join;
use crate::config::problem::Problems;
use crate::config::sections::{Config, ErrorEntry};
use crate::config::suggest;
use crate::rejection::Rejection;

/// Keys of `[errors.map]` that stand for all reasons of a default status.
const GROUPS: [&str; 3] = ["400", "401", "403"];
/// What bodies and messages of refusals may hold.
const ERROR_WORDS: [&str; 8] = ["code", "message", "type", "status", "reason", "request_id", "environment", "deployment"];

pub(super) fn check(config: &Config, problems: &mut Problems) {
    placeholders("errors.body", &config.errors.body, &ERROR_WORDS, problems);
    placeholders("sessions.refresh_body", &config.sessions.refresh_body, &["access_token", "refresh_token", "expires_in"], problems);
    placeholders("self_service.list_body", &config.self_service.list_body, &["keys"], problems);
    placeholders("self_service.revoke_body", &config.self_service.revoke_body, &["id"], problems);
    for (key, entry) in &config.errors.map {
        let path = join("errors.map", key);
        if let Some(message) = &entry.message {
            placeholders(&format!("{path}.message"), message, &ERROR_WORDS, problems);
        }
        match Rejection::from_reason(key) {
            Some(rejection) => status(&path, rejection, entry, problems),
            None if GROUPS.contains(&key.as_str()) => {
                if entry.status.is_some() {
                    problems
                        .error(format!("{path}.status"), "a status can be changed for a reason only, not for a group")
                        .help("name the reason, such as key_expired = { status = … }");
                }
            }
            None => unknown(&path, key, problems),
        }
    }
}

fn unknown(path: &str, key: &str, problems: &mut Problems) {
    let reasons = || Rejection::ALL.iter().map(|rejection| rejection.row().reason);
    let problem = problems.error(path, format!("`{key}` is neither a reason nor one of \"400\" \"401\" \"403\""));
    if key.starts_with("429") || key.starts_with('5') {
        problem.help("name the reasons themselves, such as rate_limited or store_unavailable: 429 and 5xx have no group");
    } else if let Some(near) = suggest::nearest(key, reasons()) {
        problem.help(format!("did you mean `{near}`?"));
    } else {
        problem.help(format!("reasons are {}", reasons().collect::<Vec<_>>().join(" ")));
    }
}

fn status(path: &str, rejection: Rejection, entry: &ErrorEntry, problems: &mut Problems) {
    let Some(status) = entry.status else { return };
    let path = format!("{path}.status");
    let row = rejection.row();
    if !(400..=599).contains(&status) {
        problems.error(path, format!("{status} is not the status of a refusal: 400 to 599"));
    } else if matches!(status, 401 | 403) && (row.status == 429 || row.status >= 500) {
        problems
            .error(path, format!("`{}` says nothing about the credential and must not be answered with {status}", row.reason))
            .help(format!("clients throw a key away on {status}; the default is {}", row.status));
    }
}

/// Every `{word}` of the template is one of `known`.
fn placeholders(path: &str, template: &str, known: &[&str], problems: &mut Problems) {
    for piece in template.split('{').skip(1) {
        let Some((word, _)) = piece.split_once('}') else { continue };
        let is_word = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.'));
        if is_word && !known.contains(&word) {
            problems.error(path, format!("there is no placeholder {{{word}}}")).help(suggest::among(word, known.iter().copied()));
        }
    }
}
