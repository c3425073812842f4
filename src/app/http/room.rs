//! Room for the connections of a small listener. Anybody may open some and say nothing: who has said nothing gives way to who comes
//! later, and does not stay for long; and no address has more than half of the room. It never ends a connection that has spoken.

use std::cell::{Cell, RefCell};
use std::future::pending;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::time::timeout;

use crate::clock::instant;
use crate::net::{Peer, throttle_unit};

/// Connections, at once.
const CONNECTIONS: usize = 64;
/// Those of one address, where there are addresses; all of an IPv6 /64 are one.
const OF_ONE: usize = CONNECTIONS / 2;
/// For what comes before a first request, its head included.
const SILENCE: Duration = Duration::from_secs(5);
/// How often it is told that there is no room.
const TOLD_EVERY: Duration = Duration::from_mins(1);

/// Who is there.
pub(super) struct Room {
    /// Of which listener.
    name: &'static str,
    /// In the order in which they came.
    guests: RefCell<Vec<Rc<Guest>>>,
    /// Somebody has left.
    left: Notify,
    told: Cell<Option<Instant>>,
}

/// A connection.
struct Guest {
    from: Option<IpAddr>,
    has_spoken: Cell<bool>,
    /// It is to go.
    dismissed: Notify,
}

/// The place of a connection, until it ends.
pub(super) struct Place {
    room: Rc<Room>,
    guest: Rc<Guest>,
}

impl Room {
    pub(super) fn new(name: &'static str) -> Rc<Self> {
        Rc::new(Self { name, guests: RefCell::default(), left: Notify::new(), told: Cell::default() })
    }

    /// A place, as soon as there is one; `None` = its address has its part of them, and has spoken on each.
    pub(super) async fn admit(self: &Rc<Self>, peer: Peer) -> Option<Place> {
        let from = match peer {
            Peer::Ip(ip) => Some(throttle_unit(ip)),
            Peer::Unix => None,
        };
        let of_it = |guest: &Guest| guest.from == from;
        if from.is_some() && self.count(of_it) >= OF_ONE {
            self.tell(peer);
            if !self.dismiss(of_it) {
                return None;
            }
        }
        while self.count(|_| true) >= CONNECTIONS {
            self.tell(peer);
            if !self.dismiss(|_| true) {
                self.left.notified().await;
            }
        }
        let guest = Rc::new(Guest { from, has_spoken: Cell::new(false), dismissed: Notify::new() });
        self.guests.borrow_mut().push(Rc::clone(&guest));
        Some(Place { room: Rc::clone(self), guest })
    }

    fn count(&self, which: impl Fn(&Guest) -> bool) -> usize {
        self.guests.borrow().iter().filter(|guest| which(guest)).count()
    }

    /// Sends away who has been silent the longest of these.
    fn dismiss(&self, which: impl Fn(&Guest) -> bool) -> bool {
        let mut guests = self.guests.borrow_mut();
        let oldest = guests.iter().position(|guest| which(guest) && !guest.has_spoken.get());
        let dismissed = oldest.map(|index| guests.remove(index));
        dismissed.is_some_and(|guest| {
            guest.dismissed.notify_one();
            true
        })
    }

    /// Says that it is full, once in a while.
    fn tell(&self, peer: Peer) {
        let now = instant();
        if self.told.get().is_none_or(|told| now.saturating_duration_since(told) >= TOLD_EVERY) {
            self.told.set(Some(now));
            let (open, of_one) = (self.count(|_| true), OF_ONE);
            tracing::warn!(%peer, open, of_one, "{} has as many connections as it takes: who says nothing gives way", self.name);
        }
    }
}

impl Place {
    /// A request has begun.
    pub(super) fn speak(&self) {
        self.guest.has_spoken.set(true);
    }

    /// Ends when the connection is to end: it has given way, or was silent for too long.
    pub(super) async fn over(&self) {
        let _ = timeout(SILENCE, self.guest.dismissed.notified()).await;
        if self.guest.has_spoken.get() {
            pending::<()>().await;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.room.guests.borrow_mut().retain(|guest| !Rc::ptr_eq(guest, &self.guest));
        self.room.left.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::*;

    fn from(last: u8) -> Peer {
        Peer::Ip([192, 0, 2, last].into())
    }

    async fn is_dismissed(place: &Place) -> bool {
        timeout(Duration::ZERO, place.over()).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_silent_gives_way_the_oldest_first_and_who_has_spoken_stays() {
        let room = Room::new("it");
        let mut places = Vec::new();
        for peer in [from(1), from(2)] {
            for _ in 0..OF_ONE {
                places.push(room.admit(peer).await.unwrap());
            }
        }
        places[0].speak();
        let third = room.admit(from(3)).await.unwrap();
        assert!(!is_dismissed(&places[0]).await && is_dismissed(&places[1]).await && !is_dismissed(&places[2]).await);
        // An address that has its part takes from its own.
        let more = room.admit(from(2)).await.unwrap();
        assert!(is_dismissed(&places[OF_ONE]).await && !is_dismissed(&places[2]).await && !is_dismissed(&third).await);
        assert_eq!(room.count(|_| true), CONNECTIONS);
        drop((places, more, third));
        assert_eq!(room.count(|_| true), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_speaks_on_all_of_its_part_gets_no_more_and_others_wait_for_none_of_it() {
        let room = Room::new("it");
        let mut places = Vec::new();
        for _ in 0..OF_ONE {
            places.push(room.admit(from(1)).await.unwrap());
        }
        places.iter().for_each(Place::speak);
        assert!(room.admit(from(1)).await.is_none());
        // A socket's connections are nobody's.
        for _ in 0..OF_ONE {
            places.push(room.admit(Peer::Unix).await.unwrap());
        }
        places.iter().for_each(Place::speak);
        let mut waiting = Box::pin(room.admit(from(2)));
        assert!(timeout(Duration::ZERO, &mut waiting).await.is_err());
        places.pop();
        assert!(waiting.await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn who_says_nothing_stays_for_five_seconds() {
        let place = Room::new("it").admit(from(1)).await.unwrap();
        let began = Instant::now();
        place.over().await;
        assert_eq!(began.elapsed(), SILENCE);
    }
}
