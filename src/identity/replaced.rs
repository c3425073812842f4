//! A caller who still uses a secret that a rotation has replaced: how long that works, as every answer tells it (RFC 9745, RFC 8594),
//! and since when it is so.

use std::time::{Duration, UNIX_EPOCH};

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::clock::Timestamp;
use crate::key::record::KeyRecord;

const DEPRECATION: HeaderName = HeaderName::from_static("deprecation");
const SUNSET: HeaderName = HeaderName::from_static("sunset");

/// What is known of such a secret.
#[derive(Debug)]
pub struct Replaced {
    /// When it was replaced.
    pub at: Timestamp,
    /// `Deprecation` and `Sunset`; `None` = it was dead at once.
    told: Option<[HeaderValue; 2]>,
}

impl Replaced {
    /// Of the one that this key had before.
    #[must_use]
    pub fn of(record: &KeyRecord) -> Option<Box<Self>> {
        let (previous, at) = (record.previous.as_ref()?, record.rotated_at?);
        let told = (!previous.is_dead()).then(|| Some([HeaderValue::try_from(format!("@{}", at.0 / 1000)).ok()?, date(previous.until)?]));
        Some(Box::new(Self { at, told: told.flatten() }))
    }

    /// Tells the caller.
    pub fn tell(&self, headers: &mut HeaderMap) {
        if let Some([deprecation, sunset]) = &self.told {
            headers.insert(DEPRECATION, deprecation.clone());
            headers.insert(SUNSET, sunset.clone());
        }
    }
}

/// As HTTP writes it; `None` = it has no words for such a time.
fn date(at: Timestamp) -> Option<HeaderValue> {
    /// The end of the year 9999.
    const LAST_MS: i64 = 253_402_300_799_999;
    let since = Duration::from_millis(u64::try_from(at.0.min(LAST_MS)).ok()?);
    HeaderValue::try_from(httpdate::fmt_http_date(UNIX_EPOCH + since)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::record::PreviousSecret;
    use crate::store::contract::key;

    #[test]
    fn the_old_secret_is_told_its_end_unless_it_is_dead() {
        let mut record = key("key_1", "acme", "new");
        assert!(Replaced::of(&record).is_none());
        record.rotated_at = Some(Timestamp(1_700_000_000_999));
        record.previous = Some(PreviousSecret { digest: String::new(), until: Timestamp(1_700_086_400_000) });
        let mut headers = HeaderMap::new();
        Replaced::of(&record).unwrap().tell(&mut headers);
        assert_eq!(headers["deprecation"], "@1700000000");
        assert_eq!(headers["sunset"], "Wed, 15 Nov 2023 22:13:20 GMT");
        record.previous = Some(PreviousSecret::dead(String::new()));
        let dead = Replaced::of(&record).unwrap();
        headers.clear();
        dead.tell(&mut headers);
        assert!(headers.is_empty() && dead.at == Timestamp(1_700_000_000_999));
    }
}
