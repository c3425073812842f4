//! Phases and timeouts of a life, sweep by sweep.

use std::time::Duration;

use super::*;
use crate::config::sections::ListenerLimits;
use crate::config::units::Span;

fn life_and(limits: &ListenerLimits) -> (Rc<Pulse>, Rc<Life>, Timeouts) {
    let pulse = Rc::new(Pulse::default());
    (Rc::clone(&pulse), Life::new(pulse), Timeouts::new(limits, Timeouts::period([limits])))
}

fn sweeps_until_expired(pulse: &Pulse, life: &Life, timeouts: &Timeouts) -> u32 {
    for sweep in 1..1000 {
        pulse.beat();
        life.sweep(timeouts);
        if life.expired() {
            return sweep;
        }
    }
    panic!("never expired");
}

#[test]
fn each_phase_has_its_own_timeout_and_never_ends_before_it() {
    let limits = ListenerLimits { header_timeout: Span::secs(4), idle_timeout: Span::secs(20), ..ListenerLimits::default() };
    let (pulse, life, timeouts) = life_and(&limits);
    assert_eq!(sweeps_until_expired(&pulse, &life, &timeouts), 11);
    let (pulse, life, timeouts) = life_and(&limits);
    life.head_began();
    pulse.beat();
    life.head_began();
    assert_eq!(sweeps_until_expired(&pulse, &life, &timeouts), 4, "more bytes of a head give it no more time");
    let (pulse, life, timeouts) = life_and(&limits);
    life.exchange_began();
    life.answer_ended();
    life.request_ended();
    assert!(life.in_flight(), "its last bytes are not written");
    life.flushed();
    assert_eq!(life.phase(), Phase::Idle);
    assert_eq!(sweeps_until_expired(&pulse, &life, &timeouts), 21);
}

#[test]
fn an_exchange_lasts_as_long_as_it_likes_unless_a_request_timeout_is_set() {
    let (pulse, life, timeouts) = life_and(&ListenerLimits::default());
    life.exchange_began();
    for _ in 0..100_000 {
        pulse.beat();
        life.sweep(&timeouts);
    }
    assert!(!life.expired());
    let limits = ListenerLimits { request_timeout: Span::secs(3), ..ListenerLimits::default() };
    let (pulse, life, timeouts) = life_and(&limits);
    life.exchange_began();
    assert!(sweeps_until_expired(&pulse, &life, &timeouts) >= 4);
}

#[test]
fn a_silent_connection_does_not_hold_up_a_drain() {
    let (pulse, life, timeouts) = life_and(&ListenerLimits::default());
    pulse.enter(Stage::Drain);
    assert_eq!(sweeps_until_expired(&pulse, &life, &timeouts), 2);
}

#[test]
fn short_timeouts_are_swept_more_often() {
    let limits = ListenerLimits { header_timeout: Span(Duration::from_millis(400)), ..ListenerLimits::default() };
    assert_eq!(Timeouts::period([&limits]), Duration::from_millis(100));
    assert_eq!(Timeouts::period([&ListenerLimits::default()]), Duration::from_secs(1));
    assert_eq!(Timeouts::period([]), Duration::from_secs(1));
}
