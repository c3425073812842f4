//! Who is calling, as a gateway is told that forwards the request itself: every name that could say anything of anybody is there, so
//! that it can put each in the place of what the client sent.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::HeaderRules;
use crate::clock::Timestamp;
use crate::environment::Environments;
use crate::gate::Caller;
use crate::identity::signed::Signature;
use crate::identity::template::Told;
use crate::rejection::Refusal;

impl HeaderRules {
    /// Every identity header and every one that an environment adds; empty where there is nothing to say.
    ///
    /// # Errors
    /// It cannot be signed.
    pub fn answer(&self, caller: &Caller, environments: &Environments, now: Timestamp) -> Result<HeaderMap, Refusal> {
        let (own, added) = self.identity_of(caller, environments);
        let signed = self.signature.as_ref().map(Signature::name);
        let names = self.nobody.names().chain(environments.added_headers()).chain(signed);
        let mut headers: HeaderMap = names.map(|name| (name.clone(), HeaderValue::from_static(""))).collect();
        let told = own.into_iter().flat_map(Told::iter);
        let told = told.filter_map(|(name, value)| Some((name, HeaderValue::from_bytes(value).ok()?)));
        let added = added.iter().map(|(name, value): &(HeaderName, HeaderValue)| (name, value.clone()));
        for (name, value) in told.chain(added) {
            headers.insert(name, value);
        }
        self.sign(own, now, |name, token| {
            if let Ok(token) = HeaderValue::from_bytes(token) {
                headers.insert(name, token);
            }
        })?;
        Ok(headers)
    }
}
