//! What one worker has gathered since it was last looked at. Only that worker writes to it, at the end of an exchange; only the
//! collector takes it away, every few seconds. What it holds is bounded; what does not fit is counted as lost.

use std::hash::{BuildHasherDefault, Hasher};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use indexmap::IndexMap;
use smallvec::SmallVec;

use super::Day;
use crate::clock::Timestamp;
use crate::config::units::Span;
use crate::net::Network;
use crate::rejection::Rejection;
use crate::store::usage::{Counts, Denial, KeyUse, NETWORKS_MAX};

/// Keys of one interval.
const KEYS_MAX: usize = 16_384;
/// Demands of one key in one interval.
const DEMANDS_MAX: usize = 64;
/// Denials of one interval, and those with the same reason among them: a flood of one must not hide the others.
const DENIALS_MAX: usize = 256;
const DENIALS_OF_A_REASON: u16 = 32;

/// What an exchange came to.
#[derive(Debug, Clone, Copy)]
pub struct Exchange<'a> {
    /// The key it was made with.
    pub key: &'a Arc<str>,
    /// When it began.
    pub began: Timestamp,
    /// Why it was refused.
    pub refused: Option<Rejection>,
    /// Whether the gate let it through, whatever came after that.
    pub admitted: bool,
    /// From where, as far as it may be told.
    pub client: Option<IpAddr>,
    /// The network around that.
    pub network: Option<Network>,
    /// Scopes that it needed, with spaces between them.
    pub scopes: &'a str,
    /// Bytes of its content.
    pub received_bytes: u64,
    /// Bytes of its answer's content.
    pub sent_bytes: u64,
}

/// The table of one worker.
#[derive(Debug)]
pub struct Sheet {
    page: Mutex<Page>,
    /// How finely the last use is told.
    resolution_ms: i64,
}

/// What was gathered in one interval.
#[derive(Debug)]
pub(super) struct Page {
    /// By where the key's id stands in memory, which the entry keeps there: of one id there may be several.
    /// Each in a box, which is handed on as it is: the room that is kept for the next interval is then small.
    keys: IndexMap<usize, Box<KeyUse>, BuildHasherDefault<PlaceHasher>>,
    denials: Vec<Denial>,
    by_reason: [u16; Rejection::ALL.len()],
    pub(super) lost_requests: u64,
    pub(super) left_out_denials: u64,
}

impl Default for Page {
    fn default() -> Self {
        Self { keys: IndexMap::default(), denials: Vec::new(), by_reason: [0; Rejection::ALL.len()], lost_requests: 0, left_out_denials: 0 }
    }
}

impl Sheet {
    /// An empty one, which tells the last use of a key in steps of `resolution`.
    #[must_use]
    pub fn new(resolution: Span) -> Self {
        Self { page: Mutex::default(), resolution_ms: resolution.as_millis().max(1) }
    }

    /// Counts an exchange. Allocates nothing for a key that was counted in this interval already.
    pub fn count(&self, exchange: &Exchange<'_>) {
        let page = &mut *self.page();
        let place = Arc::as_ptr(exchange.key).cast::<u8>().addr();
        if let Some(entry) = page.keys.get_mut(&place) {
            return entry.count(exchange);
        }
        if page.keys.len() >= KEYS_MAX {
            page.lost_requests += 1;
            return;
        }
        page.keys.entry(place).or_insert_with(|| Box::new(KeyUse::none(exchange.key))).count(exchange);
    }

    /// Keeps a denial for this reason, unless there were enough of them.
    pub fn deny(&self, rejection: Rejection, denial: impl FnOnce() -> Denial) {
        let page = &mut *self.page();
        let room = page.by_reason.get_mut(rejection as usize).filter(|kept| **kept < DENIALS_OF_A_REASON);
        match room.filter(|_| page.denials.len() < DENIALS_MAX) {
            Some(kept) => {
                *kept += 1;
                page.denials.push(denial());
            }
            None => page.left_out_denials += 1,
        }
    }

    /// What was gathered so far. As much room as that took is there for the next interval.
    pub(super) fn take(&self) -> Page {
        let room = self.page().keys.len();
        let empty = Page { keys: IndexMap::with_capacity_and_hasher(room, BuildHasherDefault::default()), ..Page::default() };
        let mut page = std::mem::replace(&mut *self.page(), empty);
        for (at, _) in page.keys.values_mut().filter_map(|of_key| of_key.last.as_mut()) {
            at.0 -= at.0.rem_euclid(self.resolution_ms);
        }
        page
    }

    fn page(&self) -> MutexGuard<'_, Page> {
        self.page.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Page {
    pub(super) fn into_parts(self) -> (impl ExactSizeIterator<Item = Box<KeyUse>>, Vec<Denial>) {
        (self.keys.into_values(), self.denials)
    }
}

impl KeyUse {
    fn none(key: &Arc<str>) -> Self {
        Self {
            key: Arc::clone(key),
            days: SmallVec::new(),
            last: None,
            networks: SmallVec::new(),
            networks_missed: None,
            scopes: SmallVec::new(),
            scopes_missed: None,
        }
    }

    fn count(&mut self, exchange: &Exchange<'_>) {
        let counts = self.of_day(Day::of(exchange.began));
        counts.requests += 1;
        counts.received_bytes = counts.received_bytes.saturating_add(exchange.received_bytes);
        counts.sent_bytes = counts.sent_bytes.saturating_add(exchange.sent_bytes);
        if let Some(rejection) = exchange.refused {
            counts.deny(rejection, 1);
        }
        // What is refused shows where a key is not used.
        if exchange.admitted {
            let at = exchange.began;
            self.used((at, exchange.client));
            if let Some(network) = exchange.network {
                self.seen_in(network, at, at);
            }
            if !exchange.scopes.is_empty() {
                self.needed(exchange.scopes, at);
            }
        }
    }

    /// Adds what another sheet has of the same key.
    pub(crate) fn absorb(&mut self, other: Self) {
        for (day, counts) in other.days {
            self.of_day(day).add(counts);
        }
        if let Some(last) = other.last {
            self.used(last);
        }
        for (network, first, last) in other.networks {
            self.seen_in(network, first, last);
        }
        for (scopes, at) in other.scopes {
            self.needed(&scopes, at);
        }
        self.networks_missed = self.networks_missed.max(other.networks_missed);
        self.scopes_missed = self.scopes_missed.max(other.scopes_missed);
    }

    fn of_day(&mut self, day: Day) -> &mut Counts {
        let index = self.days.iter().position(|(of, _)| *of == day).unwrap_or_else(|| {
            self.days.push((day, Counts::default()));
            self.days.len() - 1
        });
        #[expect(clippy::indexing_slicing, reason = "found, or pushed just now")]
        &mut self.days[index].1
    }

    fn used(&mut self, last: (Timestamp, Option<IpAddr>)) {
        if self.last.is_none_or(|(at, _)| at <= last.0) {
            self.last = Some(last);
        }
    }

    fn seen_in(&mut self, network: Network, first: Timestamp, last: Timestamp) {
        if let Some((_, earliest, latest)) = self.networks.iter_mut().find(|(known, ..)| *known == network) {
            *earliest = first.min(*earliest);
            *latest = last.max(*latest);
        } else if self.networks.len() < NETWORKS_MAX {
            self.networks.push((network, first, last));
        } else {
            self.networks_missed = self.networks_missed.max(Some(last));
        }
    }

    fn needed(&mut self, scopes: &str, at: Timestamp) {
        if let Some((_, latest)) = self.scopes.iter_mut().find(|(known, _)| **known == *scopes) {
            *latest = at.max(*latest);
        } else if self.scopes.len() < DEMANDS_MAX {
            self.scopes.push((scopes.into(), at));
        } else {
            self.scopes_missed = self.scopes_missed.max(Some(at));
        }
    }
}

impl Counts {
    fn deny(&mut self, rejection: Rejection, count: u64) {
        match self.denied.iter_mut().find(|(known, _)| *known == rejection) {
            Some((_, counted)) => *counted += count,
            None => self.denied.push((rejection, count)),
        }
    }

    fn add(&mut self, other: Self) {
        self.requests += other.requests;
        self.received_bytes = self.received_bytes.saturating_add(other.received_bytes);
        self.sent_bytes = self.sent_bytes.saturating_add(other.sent_bytes);
        for (rejection, count) in other.denied {
            self.deny(rejection, count);
        }
    }
}

/// Of an address in memory: its low bits are always the same.
#[derive(Debug, Default)]
struct PlaceHasher(u64);

impl Hasher for PlaceHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {}

    fn write_usize(&mut self, place: usize) {
        self.0 = (place as u64 >> 3).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(26);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Timestamp = Timestamp(1_800_000_000_000);

    fn exchange(key: &Arc<str>) -> Exchange<'_> {
        Exchange {
            key,
            began: AT,
            refused: None,
            admitted: true,
            client: Some("192.0.2.7".parse().unwrap()),
            network: Some("192.0.2.0/24".parse().unwrap()),
            scopes: "read:a",
            received_bytes: 3,
            sent_bytes: 5,
        }
    }

    fn sheet() -> Sheet {
        Sheet::new(Span::secs(0))
    }

    fn only(sheet: &Sheet) -> KeyUse {
        let (keys, _) = sheet.take().into_parts();
        let [one] = keys.collect::<Vec<_>>().try_into().unwrap();
        *one
    }

    #[test]
    fn exchanges_of_a_key_add_up_by_day_and_by_reason() {
        let (sheet, key) = (sheet(), Arc::from("key_1"));
        let one = exchange(&key);
        sheet.count(&one);
        sheet.count(&Exchange { refused: Some(Rejection::UpstreamTimeout), scopes: "read:b read:c", ..one });
        let other: IpAddr = "198.51.100.7".parse().unwrap();
        let denied = Exchange { admitted: false, client: Some(other), network: Some("198.51.100.0/24".parse().unwrap()), ..one };
        sheet.count(&Exchange { refused: Some(Rejection::IpDenied), ..denied });
        sheet.count(&Exchange { refused: Some(Rejection::IpDenied), began: AT.plus_millis(86_400_000), ..denied });
        let counted = only(&sheet);
        let [(first, today), (second, tomorrow)] = counted.days.as_slice() else { panic!("{counted:?}") };
        assert_eq!((today.requests, today.received_bytes, today.sent_bytes), (3, 9, 15));
        assert_eq!(today.denied.as_slice(), [(Rejection::UpstreamTimeout, 1), (Rejection::IpDenied, 1)]);
        assert_eq!((second.days_since(*first), tomorrow.requests), (1, 1));
        // A network that is not let in is not one that the key is used from.
        assert_eq!(counted.networks.as_slice(), [("192.0.2.0/24".parse().unwrap(), AT, AT)]);
        assert_eq!(counted.last, Some((AT, one.client)));
        assert_eq!(counted.scopes.as_slice(), [("read:a".into(), AT), ("read:b read:c".into(), AT)]);
        assert!(sheet.take().into_parts().0.len() == 0, "what was taken is not there any more");
    }

    #[test]
    fn the_last_use_is_told_in_steps_and_never_too_late() {
        let (sheet, key) = (Sheet::new(Span::secs(60)), Arc::from("key_1"));
        sheet.count(&Exchange { began: AT.plus_millis(119_999), ..exchange(&key) });
        assert_eq!(only(&sheet).last.unwrap().0, AT.plus_millis(60_000));
    }

    #[test]
    fn what_two_workers_have_of_a_key_is_one() {
        let (one, other, key) = (sheet(), sheet(), Arc::from("key_1"));
        let first = exchange(&key);
        let second = Exchange { began: AT.plus_millis(9), refused: Some(Rejection::RateLimited), ..first };
        one.count(&second);
        other.count(&first);
        other.count(&second);
        let mut sum = only(&one);
        sum.absorb(only(&other));
        assert_eq!((sum.requests(), sum.last), (3, Some((second.began, first.client))));
        assert_eq!(sum.networks.as_slice(), [("192.0.2.0/24".parse().unwrap(), AT, second.began)]);
        assert_eq!(sum.scopes.as_slice(), [("read:a".into(), second.began)]);
        assert_eq!(sum.days[0].1.denied.as_slice(), [(Rejection::RateLimited, 2)]);
    }

    #[test]
    fn what_each_counted_key_has_is_small() {
        assert!(size_of::<KeyUse>() <= 240, "{}", size_of::<KeyUse>());
    }

    #[test]
    fn what_does_not_fit_is_told() {
        let sheet = sheet();
        let keys: Vec<Arc<str>> = (0..=KEYS_MAX).map(|n| format!("key_{n}").into()).collect();
        for key in &keys {
            sheet.count(&exchange(key));
        }
        let scopes: Vec<String> = (0..=DEMANDS_MAX).map(|n| format!("read:{n}")).collect();
        for scopes in &scopes {
            sheet.count(&Exchange { scopes, ..exchange(&keys[0]) });
        }
        let networks: Vec<Network> = (0..=NETWORKS_MAX).map(|n| format!("10.0.{n}.0/24").parse().unwrap()).collect();
        for network in &networks {
            sheet.count(&Exchange { network: Some(*network), ..exchange(&keys[0]) });
        }
        let page = sheet.take();
        assert_eq!(page.lost_requests, 1);
        let first = page.keys.into_values().find(|entry| entry.key == keys[0]).unwrap();
        assert_eq!((first.scopes.len(), first.scopes_missed), (DEMANDS_MAX, Some(AT)));
        assert_eq!((first.networks.len(), first.networks_missed), (NETWORKS_MAX, Some(AT)));
    }

    #[test]
    fn a_flood_of_one_denial_leaves_room_for_others() {
        let sheet = sheet();
        let denial = || Denial {
            time: AT,
            request_id: "r".into(),
            reason: "r".into(),
            detail: String::new(),
            observed: false,
            status: None,
            tenant: None,
            key: None,
            credential: None,
            client: None,
            method: String::new(),
            path: String::new(),
        };
        (0..1000).for_each(|_| sheet.deny(Rejection::KeyUnknown, denial));
        sheet.deny(Rejection::ScopeMissing, denial);
        let page = sheet.take();
        assert_eq!(
            (page.denials.len(), page.left_out_denials),
            (usize::from(DENIALS_OF_A_REASON) + 1, 1000 - u64::from(DENIALS_OF_A_REASON))
        );
    }
}
