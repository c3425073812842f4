//! Who is calling, as a gateway is told that forwards the request itself: every name that could say anything of anybody is there, so
//! that it can put each in the place of what the client sent.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::HeaderRules;
use crate::environment::Environments;
use crate::gate::Caller;
use crate::identity::template::Told;

impl HeaderRules {
    /// Every identity header and every one that an environment adds; empty where there is nothing to say.
    #[must_use]
    pub fn answer(&self, caller: &Caller, environments: &Environments) -> HeaderMap {
        let (own, added) = self.identity_of(caller, environments);
        let names = self.nobody.names().chain(environments.added_headers());
        let mut headers: HeaderMap = names.map(|name| (name.clone(), HeaderValue::from_static(""))).collect();
        let own = own.into_iter().flat_map(Told::iter);
        let own = own.filter_map(|(name, value)| Some((name, HeaderValue::from_bytes(value).ok()?)));
        let added = added.iter().map(|(name, value): &(HeaderName, HeaderValue)| (name, value.clone()));
        for (name, value) in own.chain(added) {
            headers.insert(name, value);
        }
        headers
    }
}
