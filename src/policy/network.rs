//! IP allowlists: of the deployment, the tenant, the key and the route. Every one that exists must contain the address;
//! a request without a client address is in none.

use super::Case;
use crate::net::IpSet;
use crate::net::client::ClientAddr;
use crate::rejection::{Refusal, Rejection};

/// All four lists.
pub(super) fn check(case: &Case<'_>) -> Result<(), Refusal> {
    contains(case.deployment_allowlist, case.client, "deployment")?;
    contains(case.identity.tenant_allowlist.as_ref(), case.client, "tenant")?;
    contains(case.identity.key_allowlist.as_ref(), case.client, "key")?;
    contains(case.route.allowlist.as_ref(), case.client, "route")
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
