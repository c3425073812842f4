//! The presented credential as it came, for an older key system that is to judge what is nobody's here. Never shown, never kept
//! longer than the gate decides; and no key of ours leaves with it.

use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::{Credentials, any_word};

/// The lines that carry the presented credential.
pub struct Untouched<'c>(Box<[(&'c HeaderName, HeaderValue)]>);

impl Credentials {
    /// The lines that carry the presented credential; `None` where a key of ours stands in them beside it.
    #[must_use]
    pub fn untouched(&self, headers: &HeaderMap) -> Option<Untouched<'_>> {
        let mut lines = Vec::new();
        for carrier in &self.carriers {
            for value in headers.get_all(carrier) {
                let mut read = self.sources.iter().filter(|source| source.header == carrier).filter_map(|source| source.read(value));
                let Some(secret) = read.find(|secret| !secret.bytes().is_empty()) else { continue };
                if any_word(value.as_bytes(), |word| word != secret.bytes() && self.is_prefixed(word)) {
                    return None;
                }
                lines.push((carrier, value.clone()));
            }
        }
        Some(Untouched(lines.into()))
    }

    /// Puts them back as they came, and takes off whatever else shows a key of ours.
    pub fn put_back(&self, untouched: Untouched<'_>, headers: &mut HeaderMap) {
        self.strip(headers);
        for (carrier, _) in &untouched.0 {
            headers.remove(*carrier);
        }
        for (carrier, value) in untouched.0 {
            headers.append(carrier, value);
        }
    }
}

impl fmt::Debug for Untouched<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Untouched").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::problem::Problems;

    fn credentials(sources: &str) -> Credentials {
        let toml = format!("[credentials]\nsources = [{sources}]");
        Credentials::compile(&toml::from_str(&toml).unwrap(), &mut Problems::default()).unwrap()
    }

    /// What an older system gets of these lines; `None` = nothing, as they are not passed on.
    fn passed(credentials: &Credentials, lines: &[(&str, &str)]) -> Option<Vec<String>> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
        }
        let untouched = credentials.untouched(&headers)?;
        let _ = credentials.take(&mut headers);
        credentials.put_back(untouched, &mut headers);
        let mut left: Vec<String> = headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        left.sort();
        Some(left)
    }

    const USUAL: &str = "{ header = \"Authorization\", scheme = \"Bearer\" }, { header = \"X-API-Key\" }";

    #[test]
    fn what_is_judged_elsewhere_goes_as_it_came() {
        let credentials = credentials(USUAL);
        for lines in [
            &[("authorization", "bEARER  old 1:2")][..],
            &[("authorization", "Bearer sk_live_unknown"), ("x-api-key", "sk_live_unknown")],
            &[("x-api-key", "old"), ("x-api-key", "old")],
            &[("authorization", "Digest x=y"), ("x-api-key", "old")],
        ] {
            let mut came: Vec<String> = lines.iter().map(|(name, value)| format!("{name}: {value}")).collect();
            came.sort();
            assert_eq!(passed(&credentials, lines), Some(came));
        }
    }

    #[test]
    fn no_key_of_ours_leaves_beside_it() {
        let credentials = credentials(USUAL);
        for other in ["Token sk_live_0123456789", "sk_live_0123456789", "Basic c2tfbGl2ZV8wMTIzNDU2Nzg5Og=="] {
            let left = passed(&credentials, &[("authorization", other), ("x-api-key", "old")]);
            assert_eq!(left, Some(vec!["x-api-key: old".to_owned()]), "{other}");
        }
        for within in ["old sk_live_0123456789", "sk_live_unknown sk_live_0123456789", "old:sk_live_0123456789"] {
            assert_eq!(passed(&credentials, &[("authorization", &format!("Bearer {within}"))]), None, "{within}");
        }
    }

    #[test]
    fn a_password_beside_the_user_name_is_no_way_out() {
        let credentials = credentials("{ header = \"Authorization\", scheme = \"Basic\" }");
        let old = [("authorization", "Basic b2xkOnBhc3N3b3Jk")];
        assert_eq!(passed(&credentials, &old), Some(vec!["authorization: Basic b2xkOnBhc3N3b3Jk".to_owned()]));
        // old:sk_live_0123456789
        assert_eq!(passed(&credentials, &[("authorization", "Basic b2xkOnNrX2xpdmVfMDEyMzQ1Njc4OQ==")]), None);
    }
}
