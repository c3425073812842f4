//! What makes two requests the same: method, canonical path, query and body. Two that differ have different fingerprints; it is only
//! ever kept sealed, since a short body could be guessed from it.

use std::fmt;

use aws_lc_rs::digest::{Context, SHA256};
use http::Method;

use crate::facts::path::CanonicalPath;

/// A fingerprint that is being taken.
#[derive(Clone)]
pub struct Fingerprint(Context);

impl Fingerprint {
    /// Of what is known before the body. Every part says how long it is, so that no two ways of cutting are alike.
    #[must_use]
    pub fn of_head(method: &Method, path: &CanonicalPath) -> Self {
        let mut fingerprint = Self(Context::new(&SHA256));
        fingerprint.part(method.as_str().as_bytes());
        let segments = path.segments();
        fingerprint.number(segments.len());
        segments.iter().for_each(|segment| fingerprint.part(segment.as_bytes()));
        match path.query() {
            Some(query) => {
                fingerprint.number(1);
                fingerprint.part(query.as_bytes());
            }
            None => fingerprint.number(0),
        }
        fingerprint
    }

    /// More of the body.
    pub fn add(&mut self, body: &[u8]) {
        self.0.update(body);
    }

    /// The whole.
    #[must_use]
    pub fn finish(self) -> [u8; 32] {
        let mut out = [0; 32];
        out.copy_from_slice(self.0.finish().as_ref());
        out
    }

    fn number(&mut self, number: usize) {
        self.0.update(&(number as u64).to_be_bytes());
    }

    fn part(&mut self, part: &[u8]) {
        self.number(part.len());
        self.0.update(part);
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fingerprint(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(method: &Method, target: &str, body: &[&[u8]]) -> [u8; 32] {
        let path = CanonicalPath::parse(target.parse().unwrap()).unwrap();
        let mut fingerprint = Fingerprint::of_head(method, &path);
        for piece in body {
            fingerprint.add(piece);
        }
        fingerprint.finish()
    }

    #[test]
    fn it_does_not_matter_how_a_path_is_written_or_a_body_cut() {
        assert_eq!(of(&Method::POST, "/v1/%41", &[b"ab", b"c"]), of(&Method::POST, "/v1/A", &[b"", b"abc"]));
    }

    #[test]
    fn everything_else_matters() {
        let all = [
            of(&Method::POST, "/v1/a", &[]),
            of(&Method::PUT, "/v1/a", &[]),
            of(&Method::POST, "/v1/a/", &[]),
            of(&Method::POST, "/v1a", &[]),
            of(&Method::POST, "/v1/a?", &[]),
            of(&Method::POST, "/v1/a?b", &[]),
            of(&Method::POST, "/v1/a", &[b"?b"]),
            of(&Method::POST, "/v1/a", &[b"\0"]),
        ];
        for (index, one) in all.iter().enumerate() {
            assert!(!all[..index].contains(one), "{index}");
        }
    }
}
