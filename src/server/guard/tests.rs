//! The guard over a scripted stream: what it passes on, when it ends the input, and what it keeps waiting.

use std::collections::VecDeque;
use std::task::Waker;

use proptest::prelude::*;

use super::*;
use crate::server::life::{Pulse, Stage};

const LIMITS: Limits = Limits { head_bytes: 16 << 10, headers: 20 };
const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const CHUNKED: &str = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";

/// Gives its pieces one a read; then it is silent, or at its end.
struct Script {
    pieces: VecDeque<Vec<u8>>,
    ends: bool,
}

impl AsyncRead for Script {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.pieces.pop_front() {
            Some(mut piece) => {
                let rest = piece.split_off(piece.len().min(buf.remaining()));
                buf.put_slice(&piece);
                if !rest.is_empty() {
                    self.pieces.push_front(rest);
                }
                Poll::Ready(Ok(()))
            }
            None if self.ends => Poll::Ready(Ok(())),
            None => Poll::Pending,
        }
    }
}

struct Bench {
    guard: Guard<Script>,
    life: Rc<Life>,
    pulse: Rc<Pulse>,
}

#[derive(Debug, PartialEq, Eq)]
enum Read {
    Bytes(String),
    End,
    Waits,
    Fault,
}

impl Bench {
    fn new(pieces: &[&str], ends: bool) -> Self {
        let pulse = Rc::new(Pulse::default());
        let life = Life::new(Rc::clone(&pulse));
        let script = Script { pieces: pieces.iter().map(|piece| piece.as_bytes().to_vec()).collect(), ends };
        Self { guard: Guard::new(script, LIMITS, Rc::clone(&life)), life, pulse }
    }

    fn read_up_to(&mut self, room: usize) -> Read {
        let mut space = vec![0; room];
        let mut buf = ReadBuf::new(&mut space);
        match Pin::new(&mut self.guard).poll_read(&mut Context::from_waker(Waker::noop()), &mut buf) {
            Poll::Pending => Read::Waits,
            Poll::Ready(Err(_)) => Read::Fault,
            Poll::Ready(Ok(())) if buf.filled().is_empty() => Read::End,
            Poll::Ready(Ok(())) => Read::Bytes(String::from_utf8(buf.filled().to_vec()).unwrap()),
        }
    }

    fn read(&mut self) -> Read {
        self.read_up_to(8192)
    }

    fn answer(&self) {
        self.life.answer_ended();
        self.life.flushed();
    }
}

#[test]
fn the_next_request_waits_until_the_answer_before_it_is_written() {
    let mut bench = Bench::new(&[&format!("{GET}{GET}")], false);
    assert_eq!(bench.read(), Read::Bytes(GET.into()));
    assert_eq!(bench.read(), Read::Waits);
    bench.life.answer_ended();
    assert_eq!(bench.read(), Read::Waits, "its last bytes are not written");
    bench.life.flushed();
    assert_eq!(bench.read(), Read::Bytes(GET.into()));
}

#[test]
fn a_refused_head_ends_the_input_only_after_the_answers_before_it() {
    let mut bench = Bench::new(&[GET, "GET / HTTP/1.1\r\n\r\n", GET], false);
    assert_eq!(bench.read(), Read::Bytes(GET.into()));
    assert_eq!(bench.read(), Read::Waits);
    bench.answer();
    assert_eq!((bench.read(), bench.read()), (Read::End, Read::End));
    let ended = bench.guard.into_ended();
    assert_eq!(ended.refusal.map(|refusal| refusal.rejection), Some(Rejection::RequestInvalid));
    assert!(!ended.client_gone);
}

#[test]
fn a_client_that_leaves_is_noticed_while_its_request_is_answered() {
    let mut bench = Bench::new(&[GET, "GET /ahead"], true);
    assert_eq!(bench.read(), Read::Bytes(GET.into()));
    assert_eq!(bench.read(), Read::End);
    assert!(bench.guard.into_ended().client_gone);
}

#[test]
fn what_a_client_sends_ahead_is_kept_in_bounds() {
    let flood = "x".repeat(8192);
    let mut bench = Bench::new(&[&[GET], vec![flood.as_str(); 100].as_slice()].concat(), true);
    assert_eq!(bench.read(), Read::Bytes(GET.into()));
    assert_eq!(bench.read(), Read::Waits);
    assert!(bench.guard.held.len() < AHEAD_MAX + flood.len());
}

#[test]
fn after_a_switch_of_protocols_no_byte_is_passed_on_and_none_is_lost() {
    let mut bench = Bench::new(&[&format!("{GET}{GET}ahead"), "GET / HTTP/1.1\r\n\r\n", "\n"], false);
    assert_eq!(bench.read(), Read::Bytes(GET.into()));
    assert_eq!(bench.read(), Read::Waits);
    bench.life.switch();
    bench.answer();
    assert_eq!(bench.read(), Read::Waits);
    let ended = bench.guard.into_ended();
    assert_eq!(&ended.ahead[..], format!("{GET}aheadGET / HTTP/1.1\r\n\r\n\n").as_bytes());
    assert!(ended.refusal.is_none() && !ended.client_gone);
}

#[test]
fn a_fault_in_a_body_is_a_fault_of_the_exchange_after_all_that_was_sound() {
    for pieces in [vec![CHUNKED, "3\r\nabc", "X"], vec![CHUNKED, "3\r\nabcX"]] {
        let mut bench = Bench::new(&pieces, false);
        assert_eq!(bench.read(), Read::Bytes(CHUNKED.into()));
        assert_eq!(bench.read(), Read::Bytes("3\r\nabc".into()));
        assert_eq!(bench.read(), Read::Fault);
        assert_eq!(bench.life.take_fault().map(|refusal| refusal.rejection), Some(Rejection::RequestInvalid));
    }
}

#[test]
fn a_head_that_does_not_arrive_in_time_is_answered_and_an_idle_connection_just_ends() {
    for (pieces, answered) in [(vec!["GET /"], Some(Rejection::RequestTimeout)), (vec![], None), (vec![GET], None)] {
        let limits = crate::config::sections::ListenerLimits::default();
        let timeouts = crate::server::life::Timeouts::new(&limits, std::time::Duration::from_secs(1));
        let mut bench = Bench::new(&pieces, false);
        if bench.read() != Read::Waits {
            bench.answer();
            assert_eq!(bench.read(), Read::Waits);
        }
        for _ in 0..100 {
            bench.pulse.beat();
            bench.life.sweep(&timeouts);
        }
        assert_eq!(bench.read(), Read::End);
        assert_eq!(bench.guard.into_ended().refusal.map(|refusal| refusal.rejection), answered);
    }
}

#[test]
fn a_drain_ends_idle_connections_and_lets_begun_heads_and_first_requests_come() {
    let mut idle = Bench::new(&[GET], false);
    assert_eq!(idle.read(), Read::Bytes(GET.into()));
    idle.pulse.enter(Stage::Drain);
    assert_eq!(idle.read(), Read::Waits, "it is being answered");
    idle.answer();
    assert_eq!(idle.read(), Read::End);
    let mut asked = Bench::new(&[GET, GET], false);
    assert_eq!(asked.read(), Read::Bytes(GET.into()));
    asked.answer();
    asked.pulse.enter(Stage::Drain);
    assert_eq!(asked.read(), Read::Bytes(GET.into()), "it has arrived");
    for pieces in [vec!["GET / HT", "TP/1.1\r\nHost: a\r\n\r\n"], vec![GET]] {
        let mut begun = Bench::new(&pieces, false);
        begun.pulse.enter(Stage::Drain);
        assert_eq!(begun.read(), Read::Bytes(GET.into()));
    }
}

proptest! {
    #[test]
    fn every_sound_byte_is_passed_on_whatever_the_reads_and_buffers(
        cuts in proptest::collection::vec(0_usize..300, 0..10), rooms in proptest::collection::vec(1_usize..64, 1..40)
    ) {
        let input = format!("{GET}{CHUNKED}3;x\r\nabc\r\n0\r\nX: y\r\n\r\n{GET}POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nabcde{GET}");
        let mut cuts: Vec<usize> = cuts.into_iter().filter(|cut| *cut < input.len()).chain([0, input.len()]).collect();
        cuts.sort_unstable();
        cuts.dedup();
        let pieces: Vec<&str> = cuts.windows(2).map(|pair| input.get(pair[0]..pair[1]).unwrap()).collect();
        let mut bench = Bench::new(&pieces, true);
        let mut passed = String::new();
        let mut rooms = rooms.iter().cycle();
        loop {
            // Answered as soon as it has come.
            if bench.guard.framing.is_complete() && bench.guard.sound == 0 {
                bench.answer();
            }
            match bench.read_up_to(*rooms.next().unwrap()) {
                Read::Bytes(bytes) => passed.push_str(&bytes),
                Read::End => break,
                other @ (Read::Waits | Read::Fault) => prop_assert!(false, "{other:?}"),
            }
        }
        prop_assert_eq!(passed, input);
    }
}
