//! What a reservation is, and how it changes: pure, in the store's time. The embedded store runs this code; the scripts of Redis
//! say the same in their language, and a property test holds them to it.

use std::time::Duration;

use super::{Claim, Claimed, Owner, Released, Settled, Standing};

/// A reservation without its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store) struct Entry {
    pub(in crate::store) state: State,
    pub(in crate::store) owner: Owner,
    pub(in crate::store) claimed_at: i64,
    pub(in crate::store) expires_at: i64,
}

/// How far its request is, as it is written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum State {
    /// It runs, or its holder was lost: which of them, the lease tells.
    Running {
        lease_until: i64,
    },
    Done,
    Unknown,
}

/// How an exchange ended, without its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum End {
    Done,
    Unknown,
    Released,
}

/// What becomes of an entry that is settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum Change {
    /// It was so already, or is another's.
    None(Settled),
    /// It is this from now on.
    To(State),
    /// It goes.
    Removed,
}

pub(in crate::store) fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

impl Entry {
    /// The first of its place.
    pub(in crate::store) fn first(claim: &Claim, now: i64) -> Self {
        let after = |span| now.saturating_add(millis(span));
        let state = State::Running { lease_until: after(claim.lease) };
        Self { state, owner: claim.owner, claimed_at: now, expires_at: after(claim.ttl) }
    }

    /// Whether its place is free again.
    pub(in crate::store) const fn is_over(&self, now: i64) -> bool {
        self.expires_at <= now
    }

    /// A request whose lease is over may have run to its end or not: nobody knows.
    pub(in crate::store) const fn standing(&self, now: i64) -> Standing {
        match self.state {
            State::Running { lease_until } if lease_until > now => Standing::Running,
            State::Done => Standing::Done,
            State::Running { .. } | State::Unknown => Standing::Unknown,
        }
    }

    /// What another claim is told; `answer` reads what is kept.
    pub(in crate::store) fn claimed<E>(&self, now: i64, answer: impl FnOnce() -> Result<Option<Vec<u8>>, E>) -> Result<Claimed, E> {
        Ok(match self.standing(now) {
            Standing::Running => Claimed::Running,
            Standing::Unknown => Claimed::Unknown,
            Standing::Done => answer()?.map_or(Claimed::Unknown, Claimed::Done),
        })
    }

    /// Only who holds it knows that the request still runs, also when the lease is over.
    pub(in crate::store) fn renewed(&self, owner: Owner, now: i64, lease: Duration) -> Option<State> {
        let runs = matches!(self.state, State::Running { .. }) && self.owner == owner;
        runs.then(|| State::Running { lease_until: now.saturating_add(millis(lease)) })
    }

    /// What its end makes of it.
    pub(in crate::store) fn settled(&self, owner: Owner, end: End) -> Change {
        match (self.state, end) {
            _ if self.owner != owner => Change::None(Settled::Lost),
            (State::Running { .. }, End::Done) => Change::To(State::Done),
            (State::Running { .. }, End::Unknown) => Change::To(State::Unknown),
            (State::Running { .. }, End::Released) => Change::Removed,
            (State::Done, End::Done) | (State::Unknown, End::Unknown) => Change::None(Settled::Settled),
            (State::Done | State::Unknown, _) => Change::None(Settled::Lost),
        }
    }

    /// What an operator's release makes of it.
    pub(in crate::store) fn released(&self, now: i64) -> Released {
        if self.standing(now) == Standing::Running { Released::Running } else { Released::Released }
    }
}
