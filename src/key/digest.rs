//! What stands for a secret: in the cache its SHA-256, in the store that or an HMAC of it under the pepper.
//! A digest is not a secret that opens anything, but it is never logged whole: [`Digest::fingerprint`] is.

use std::fmt;
use std::path::Path;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac;
use secrecy::{ExposeSecret, SecretSlice};
use subtle::ConstantTimeEq;

/// Bytes of a mark: it tells the secrets of one key apart.
const MARK_BYTES: usize = 8;

/// SHA-256 of a presented key: its name in the cache. Aligned, as it goes from hand to hand: bytes at odd places are moved one by one.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[repr(align(8))]
pub struct Digest(pub [u8; 32]);

/// What the store knows a secret by; compared in constant time.
#[derive(Clone, Copy, Eq)]
pub struct StoredDigest(pub [u8; 32]);

impl Digest {
    /// SHA-256 of the whole key, prefix and checksum included.
    #[must_use]
    pub fn of(key: &[u8]) -> Self {
        let mut out = [0; 32];
        out.copy_from_slice(digest(&SHA256, key).as_ref());
        Self(out)
    }

    /// Eight hex digits: enough to tell two unknown keys apart in a log, too few to search by.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let [a, b, c, d, ..] = self.0;
        format!("{a:02x}{b:02x}{c:02x}{d:02x}")
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({}…)", self.fingerprint())
    }
}

impl StoredDigest {
    /// 64 lower-case hex digits.
    #[must_use]
    pub fn to_hex(self) -> String {
        self.0.iter().fold(String::with_capacity(64), |mut hex, byte| {
            use fmt::Write as _;
            let _ = write!(hex, "{byte:02x}");
            hex
        })
    }

    /// Reads what [`Self::to_hex`] wrote.
    #[must_use]
    pub fn from_hex(hex: &str) -> Option<Self> {
        let bytes = hex.as_bytes();
        if bytes.len() != 64 || !bytes.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        let mut out = [0; 32];
        for (byte, pair) in out.iter_mut().zip(bytes.chunks_exact(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(Self(out))
    }

    /// By what a token names the secret of this key that it was given for. Nothing leads back from it, and it tells nothing of other keys.
    #[must_use]
    pub fn mark(self, key_id: &str) -> String {
        let mut tag = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, &self.0));
        tag.update(b"sidegate client secret v1");
        tag.update(key_id.as_bytes());
        tag.sign().as_ref().iter().take(MARK_BYTES).fold(String::with_capacity(2 * MARK_BYTES), |mut hex, byte| {
            use fmt::Write as _;
            let _ = write!(hex, "{byte:02x}");
            hex
        })
    }
}

impl PartialEq for StoredDigest {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl fmt::Debug for StoredDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StoredDigest(…)")
    }
}

/// The peppers: the first writes, all are tried. Without one the store holds plain SHA-256.
#[derive(Clone, Default)]
pub struct Peppers(Vec<Pepper>);

/// Each use of a pepper has a key of its own, derived by a label.
#[derive(Clone)]
struct Pepper {
    digests: hmac::Key,
    snapshots: hmac::Key,
    reservations: hmac::Key,
    sessions: hmac::Key,
}

impl Pepper {
    fn new(line: &[u8]) -> Self {
        let root = hmac::Key::new(hmac::HMAC_SHA256, line);
        let derived = |label: &[u8]| hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&root, label).as_ref());
        Self {
            digests: derived(b"sidegate key digest v1"),
            snapshots: derived(b"sidegate snapshot v1"),
            reservations: derived(b"sidegate reservations v1"),
            sessions: derived(b"sidegate sessions v1"),
        }
    }
}

impl Peppers {
    /// From the lines of `pepper_file`, newest first; blank lines do not count.
    #[must_use]
    pub fn from_lines(file: &SecretSlice<u8>) -> Self {
        let lines = file.expose_secret().split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
        Self(lines.filter(|line| !line.is_empty()).map(Pepper::new).collect())
    }

    /// The peppers of `[store] pepper_file`, none where it is not set.
    ///
    /// # Errors
    /// Why the file cannot be used; an empty one would silently store plain digests.
    pub fn from_file(path: &Path) -> Result<Self, String> {
        if path.as_os_str().is_empty() {
            return Ok(Self::default());
        }
        let bytes = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let peppers = Self::from_lines(&SecretSlice::from(bytes));
        if peppers.is_empty() { Err(format!("{} holds no pepper", path.display())) } else { Ok(peppers) }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What a new secret is stored under.
    #[must_use]
    pub fn store(&self, digest: &Digest) -> StoredDigest {
        self.0.first().map_or(StoredDigest(digest.0), |pepper| peppered(&pepper.digests, digest))
    }

    /// Everything a presented secret may be stored under, likeliest first.
    pub fn candidates(&self, digest: &Digest) -> impl Iterator<Item = StoredDigest> {
        let plain = self.0.is_empty().then_some(StoredDigest(digest.0));
        self.0.iter().map(|pepper| peppered(&pepper.digests, digest)).chain(plain)
    }

    /// What the keys of snapshots are derived from: the first seals, all open.
    pub(crate) fn snapshot_keys(&self) -> impl Iterator<Item = &hmac::Key> {
        self.0.iter().map(|pepper| &pepper.snapshots)
    }

    /// What names and seals of reservations are derived from: the first writes, all read.
    pub(crate) fn reservation_keys(&self) -> impl Iterator<Item = &hmac::Key> {
        self.0.iter().map(|pepper| &pepper.reservations)
    }

    /// What the seals of sessions are derived from: the first seals, all open.
    pub(crate) fn session_keys(&self) -> impl Iterator<Item = &hmac::Key> {
        self.0.iter().map(|pepper| &pepper.sessions)
    }
}

impl fmt::Debug for Peppers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Peppers({})", self.0.len())
    }
}

fn peppered(pepper: &hmac::Key, digest: &Digest) -> StoredDigest {
    let mut out = [0; 32];
    out.copy_from_slice(hmac::sign(pepper, &digest.0).as_ref());
    StoredDigest(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pepper_changes_what_is_stored_and_old_ones_are_still_tried() {
        let digest = Digest::of(b"sk_live_x");
        let plain = Peppers::default();
        let old = Peppers::from_lines(&SecretSlice::from(b"old\n".to_vec()));
        let both = Peppers::from_lines(&SecretSlice::from(b"new\n\nold\n".to_vec()));
        assert_eq!(plain.store(&digest).0, digest.0);
        assert_ne!(old.store(&digest), plain.store(&digest));
        assert_ne!(both.store(&digest), old.store(&digest));
        assert!(both.candidates(&digest).any(|candidate| candidate == old.store(&digest)));
        assert!(!both.candidates(&digest).any(|candidate| candidate == plain.store(&digest)));
    }

    #[test]
    fn hex_round_trips_and_refuses_the_rest() {
        let stored = StoredDigest(Digest::of(b"x").0);
        assert_eq!(StoredDigest::from_hex(&stored.to_hex()), Some(stored));
        for bad in ["", "zz", &"g".repeat(64), &"0".repeat(63), &"+0".repeat(32)] {
            assert_eq!(StoredDigest::from_hex(bad), None, "{bad}");
        }
    }

    #[test]
    fn debug_shows_no_digest() {
        assert!(!format!("{:?}", Digest::of(b"x")).contains(&StoredDigest(Digest::of(b"x").0).to_hex()));
        assert!(!format!("{:?}", StoredDigest([7; 32])).contains("07"));
    }
}
