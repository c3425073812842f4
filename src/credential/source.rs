//! Where a credential stands, and its text while it is looked at.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderName, HeaderValue};
use zeroize::Zeroizing;

use crate::config::sections::Scheme;

/// A header, and the scheme in it, where it carries one.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) header: HeaderName,
    pub(super) scheme: Option<Scheme>,
}

impl Source {
    /// What stands behind the source's scheme; `None` for another scheme.
    pub(super) fn read<'h>(&self, value: &'h HeaderValue) -> Option<Secret<&'h HeaderValue>> {
        let Some(scheme) = self.scheme else { return Some(Secret::Header(value, 0)) };
        let word: &[u8] = match scheme {
            Scheme::Bearer => b"bearer",
            Scheme::Basic => b"basic",
        };
        let bytes = value.as_bytes();
        let (front, rest) = bytes.split_at_checked(word.len())?;
        if !front.eq_ignore_ascii_case(word) || !matches!(rest.first(), Some(b' ' | b'\t')) {
            return None;
        }
        match scheme {
            Scheme::Bearer => Some(Secret::Header(value, word.len() + 1)),
            Scheme::Basic => {
                // The key is the user name (curl -u sk_…:); a password is not looked at. What does not decode is no credential of ours.
                let mut decoded = Zeroizing::new(STANDARD.decode(rest.trim_ascii()).unwrap_or_default());
                let user = memchr::memchr(b':', &decoded).unwrap_or(decoded.len());
                decoded.truncate(user);
                Some(Secret::Decoded(decoded))
            }
        }
    }
}

/// The text of a credential, while it is looked at, in a header's value or a copy of that.
pub(super) enum Secret<V> {
    /// Behind this many bytes of the header's value.
    Header(V, usize),
    Decoded(Zeroizing<Vec<u8>>),
}

impl<V: AsRef<[u8]>> Secret<V> {
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::Header(value, start) => value.as_ref().get(*start..).unwrap_or_default().trim_ascii(),
            Self::Decoded(bytes) => bytes,
        }
    }
}

impl Secret<&HeaderValue> {
    /// To be kept when the header is gone.
    pub(super) fn kept(self) -> Secret<HeaderValue> {
        match self {
            Self::Header(value, start) => Secret::Header(value.clone(), start),
            Self::Decoded(bytes) => Secret::Decoded(bytes),
        }
    }
}
