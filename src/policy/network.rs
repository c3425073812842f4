//! IP allowlists: of the deployment, the tenant, the key and the route. Every one that exists must contain the address;
//! a request without a client address is in none.

use super::Case;
use crate::gate::trace::Note;
use crate::net::IpSet;
use crate::net::client::ClientAddr;
use crate::rejection::{Refusal, Rejection};

/// The four lists, and whose they are.
fn lists<'a>(case: &Case<'a>) -> [(Option<&'a IpSet>, &'static str); 4] {
    let identity = case.identity;
    [
        (case.deployment_allowlist, "deployment"),
        (identity.particulars().tenant_allowlist.as_ref(), "tenant"),
        (identity.particulars().key_allowlist.as_ref(), "key"),
        (case.route.allowlist.as_ref(), "route"),
    ]
}

/// All four lists.
pub(super) fn check(case: &Case<'_>) -> Result<(), Refusal> {
    lists(case).into_iter().try_for_each(|(list, whose)| contains(list, case.client, whose))
}

/// What the check looks at, and where the list stands that decides.
pub(super) fn look(case: &Case<'_>) -> Note {
    let lists = lists(case);
    let said: Vec<String> = lists.iter().filter_map(|(list, whose)| Some(format!("{whose} {}", (*list)?))).collect();
    let allowed = if said.is_empty() { "no allowlist".to_owned() } else { said.join("; ") };
    let note = Note::new(format!("{}; {allowed}", case.client));
    match lists.iter().find(|(list, whose)| contains(*list, case.client, whose).is_err()).map(|(_, whose)| *whose) {
        Some("deployment") => note.at("restrictions.ip_allowlist"),
        Some("tenant") => note.at(&format!("record of tenant {}, ip_allowlist", case.identity.tenant_id)),
        Some("key") => note.record(case, "ip_allowlist"),
        _ => note.route(case, "ip_allowlist"),
    }
}

/// One list; absent = any.
pub(crate) fn contains(list: Option<&IpSet>, client: ClientAddr, whose: &'static str) -> Result<(), Refusal> {
    match (list, client.0) {
        (None, _) => Ok(()),
        (Some(list), Some(ip)) if list.contains(ip) => Ok(()),
        (Some(_), Some(ip)) => Err(Rejection::IpDenied.because(format!("{ip} is not in the allowlist of the {whose}"))),
        (Some(_), None) => Err(Rejection::IpDenied.because(format!("no client address, and the {whose} has an allowlist"))),
    }
}
