//! `[identity.headers]`: what the upstream is told. Values are checked, never escaped: what does not fit is not sent.

use http::{HeaderName, HeaderValue};

use crate::config::problem::Problems;
use crate::config::sections::Config;
use crate::key::record::KeyRecord;
use crate::policy::scope::Grants;
use crate::tenant::TenantRecord;

/// The compiled templates.
#[derive(Debug)]
pub struct IdentityHeaders {}

impl IdentityHeaders {
    /// Compiles `[identity.headers]`.
    pub fn compile(_config: &Config, _problems: &mut Problems) -> Option<Self> {
        todo!()
    }

    /// The headers for a key; an empty value sends no header.
    ///
    /// # Errors
    /// Which value does not fit (product rule: 1–256 bytes of visible ASCII without `, ; " \`).
    pub fn for_key(&self, _key: &KeyRecord, _tenant: &TenantRecord, _grants: &Grants) -> Result<Box<[(HeaderName, HeaderValue)]>, String> {
        todo!()
    }
}
