//! What admitted an exchange, while it runs: looked at again by the worker's review, which costs a few loads as long as nothing
//! changed. Who waits for the store is a task of its own; the exchange never does.

use std::rc::Rc;

use tokio::task::spawn_local;

use super::Life;
use crate::authn::{Admission, Standing};
use crate::clock::Timestamp;
use crate::rejection::Rejection;
use crate::server::generation::Generation;

/// An admission, and who can tell whether it holds.
#[derive(Debug)]
pub(super) struct Admitted {
    generation: Rc<Generation>,
    admission: Admission,
    /// Whether the store is being asked.
    is_asked: bool,
}

impl Life {
    /// The gate admitted its exchange by this credential.
    pub fn admitted_by(&self, generation: &Rc<Generation>, admission: Admission) {
        let admitted = Admitted { generation: Rc::clone(generation), admission, is_asked: false };
        *self.admitted.borrow_mut() = Some(admitted);
    }

    /// The exchange is over; why, if what admitted it ended first.
    pub fn exchange_over(&self) -> Option<Rejection> {
        *self.admitted.borrow_mut() = None;
        self.ended_by.take()
    }

    /// Why what admitted its exchange does so no more.
    #[must_use]
    pub fn ended_by(&self) -> Option<Rejection> {
        self.ended_by.get()
    }

    /// Whether that ended it in the middle of the upstream's answer.
    #[must_use]
    pub fn is_cut_short(&self) -> bool {
        self.ended_by.get().is_some() && self.moved.get().is_some()
    }

    /// Ends its exchange, or its streams', where what admitted it does so no more.
    pub fn review(self: &Rc<Self>, now: Timestamp) {
        for (_, stream) in self.streams.borrow().iter() {
            stream.review(now);
        }
        let standing = match self.admitted.borrow_mut().as_mut() {
            Some(admitted) if !admitted.is_asked => admitted.look(now),
            Some(_) | None => return,
        };
        match standing {
            Standing::Holds => {}
            Standing::Ended(rejection) => self.end(rejection),
            Standing::Unknown => self.ask(now),
        }
    }

    fn ask(self: &Rc<Self>, now: Timestamp) {
        let Some((generation, admission)) = self.admitted.borrow_mut().as_mut().map(Admitted::begin_to_ask) else { return };
        let life = Rc::clone(self);
        spawn_local(async move {
            let standing = generation.app.gate.authenticator().ask_standing(&admission, now).await;
            // Another exchange may have begun meanwhile: what was asked for is not what admitted it.
            let concerns = life.admitted.borrow_mut().as_mut().is_some_and(|admitted| admitted.was_asked(&admission));
            if let (true, Standing::Ended(rejection)) = (concerns, standing) {
                life.end(rejection);
            }
        });
    }

    fn end(&self, rejection: Rejection) {
        self.ended_by.set(Some(rejection));
        self.expired.set(true);
        self.wake();
    }
}

impl Admitted {
    fn look(&mut self, now: Timestamp) -> Standing {
        self.generation.app.gate.authenticator().standing(&mut self.admission, now)
    }

    fn begin_to_ask(&mut self) -> (Rc<Generation>, Admission) {
        self.is_asked = true;
        (Rc::clone(&self.generation), self.admission.clone())
    }

    /// Whether it is this that was asked for; it was answered now.
    fn was_asked(&mut self, admission: &Admission) -> bool {
        self.admission.agrees(admission) && std::mem::take(&mut self.is_asked)
    }
}
