//! Who is calling, as a gateway is told that forwards the request itself: every name that could say anything of anybody is there, so
//! that it can put each in the place of what the client sent.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::HeaderRules;
use crate::clock::Timestamp;
use crate::environment::Environments;
use crate::gate::Caller;
use crate::identity::signed::Signature;
use crate::rejection::Refusal;

impl HeaderRules {
    /// Every identity header and every one that an environment adds; empty where there is nothing to say.
    ///
    /// # Errors
    /// It cannot be signed.
    pub fn answer(&self, caller: &Caller, environments: &Environments, now: Timestamp) -> Result<HeaderMap, Refusal> {
        let (values, added) = Self::identity_of(caller, environments);
        let signed = self.signature.as_ref().map(Signature::name);
        let names = self.identity.names().chain(environments.added_headers()).chain(signed);
        let mut headers: HeaderMap = names.map(|name| (name.clone(), HeaderValue::from_static(""))).collect();
        let mut tell = |name: &HeaderName, value: &[u8]| {
            if let Ok(value) = HeaderValue::from_bytes(value) {
                headers.insert(name, value);
            }
        };
        if let Some(values) = values {
            self.identity.tell(&values, &mut tell);
        }
        for (name, value) in added {
            tell(name, value.as_bytes());
        }
        self.sign(caller, now, tell)?;
        Ok(headers)
    }
}
