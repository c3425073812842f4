//! The rows are held to the table of rejections and to the seed documents: a test fails while something has no row.

use libtest_mimic::{Failed, Trial};
use sidegate::rejection::Rejection;

use crate::row::Row;

/// What the four API documents promise about refusals, as `seed` of the row that proves it.
const SEEDS: &[&str] = &[
    "example: 401 missing or invalid API key",
    "example: 401 test and live keys are told apart",
    "example: 403 API key doesn't have permission for this resource",
    "example: listing API keys",
    "example: restrict by IP address",
    "example: restrict by referrer URL",
    "example: restrict to specific API endpoints",
    "example: revoking an API key",
    "g-tateth: API_KEY_EXPIRED",
    "g-tateth: API_KEY_INACTIVE",
    "g-tateth: API_KEY_INVALID",
    "g-tateth: JWT authentication",
    "g-tateth: IP whitelisting",
    "g-tateth: TENANT_SUSPENDED",
    "g-tateth: X-API-Key",
    "g-tateth: minimum permissions",
    "g-tateth: test keys are blocked in production",
    "gatelithix: a key with different parameters",
    "gatelithix: a key with the same parameters",
    "gatelithix: a key while its first request runs",
    "gatelithix: authentication_required",
    "gatelithix: create an API key",
    "gatelithix: invalid_api_key for revoked keys",
    "gatelithix: list API keys",
    "gatelithix: publishable keys only tokenize",
    "gatelithix: required on every POST",
    "gatelithix: revoke an API key",
    "gatelithix: rotate an API key",
    "gatelithix: test keys operate in sandbox mode",
    "gately: JWT tokens",
    "gately: invalid token",
    "gately: missing authentication",
    "gately: project context",
    "gately: refreshing tokens",
];

pub(crate) fn trials(rows: &[Row]) -> Vec<Trial> {
    let mut trials = Vec::new();
    for rejection in Rejection::ALL.iter().filter(|rejection| rejection.row().built) {
        let reason = rejection.row().reason;
        let covered = rows.iter().any(|row| row.reason.as_deref() == Some(reason));
        trials.push(judged(format!("the rejection {reason} has a row"), covered, "no row names it"));
    }
    for seed in SEEDS {
        let covered = rows.iter().any(|row| row.seed.as_deref() == Some(seed));
        trials.push(judged(format!("a row proves {seed}"), covered, "no row names it"));
    }
    let wrong: Vec<String> = rows.iter().filter_map(|row| complaint(row).map(|why| format!("{}: {why}", row.title()))).collect();
    trials.push(judged("every row is whole".into(), wrong.is_empty(), &wrong.join("\n")));
    let mut titles: Vec<String> = rows.iter().map(Row::title).collect();
    let all = titles.len();
    titles.sort();
    titles.dedup();
    trials.push(judged("no two rows have one name".into(), titles.len() == all, "two do"));
    trials
}

fn judged(name: String, good: bool, complaint: &str) -> Trial {
    let complaint = complaint.to_owned();
    Trial::test(name, move || if good { Ok(()) } else { Err(Failed::from(complaint)) })
}

fn complaint(row: &Row) -> Option<&'static str> {
    if row.seed.as_deref().is_some_and(|seed| !SEEDS.contains(&seed)) {
        return Some("its seed is not on the list");
    }
    let Some(reason) = &row.reason else {
        return (row.expect.challenge.is_some()).then_some("an admitted request has no challenge");
    };
    match Rejection::from_reason(reason) {
        None => return Some("there is no such reason"),
        Some(rejection) if !rejection.row().built => return Some("this release does not give that reason"),
        Some(_) => {}
    }
    match (&row.expect.status, &row.expect.body) {
        (None, _) | (_, None) => Some("a refusal needs a status and a body"),
        (Some(401), _) if row.expect.challenge.is_none() => Some("a 401 needs a challenge"),
        _ => None,
    }
}
