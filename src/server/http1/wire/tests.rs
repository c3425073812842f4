//! The wire over a scripted stream: what it hands on, when it ends, and what it keeps waiting.

use std::cell::Cell;
use std::collections::VecDeque;
use std::task::Waker;

use proptest::prelude::*;

use super::*;
use crate::server::life::{Pulse, Stage, Timeouts};

const LIMITS: Limits = Limits { head_bytes: 16 << 10, headers: 20 };
const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const CHUNKED: &str = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
const EXPECTING: &str = "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n";

/// Gives its pieces one a read; then it is silent, or at its end.
#[derive(Debug)]
struct Script {
    pieces: VecDeque<Vec<u8>>,
    ends: bool,
    written: Rc<RefCell<Vec<u8>>>,
    /// Bytes that it takes before a write waits.
    room: Rc<Cell<usize>>,
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

impl AsyncWrite for Script {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let taken = buf.len().min(self.room.get());
        if taken == 0 {
            return Poll::Pending;
        }
        self.room.set(self.room.get() - taken);
        self.written.borrow_mut().extend_from_slice(&buf[..taken]);
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

struct Bench {
    wire: Rc<Wire<Script>>,
    life: Rc<Life>,
    pulse: Rc<Pulse>,
    written: Rc<RefCell<Vec<u8>>>,
    room: Rc<Cell<usize>>,
    content: Option<Content<Script>>,
}

#[derive(Debug, PartialEq, Eq)]
enum Read {
    Head(String),
    Content(String),
    End,
    Waits,
    Refused(Rejection),
    Fault,
}

impl Bench {
    fn new(pieces: &[&str], ends: bool) -> Self {
        let pulse = Rc::new(Pulse::default());
        let life = Life::new(Rc::clone(&pulse));
        let (written, room) = (Rc::default(), Rc::new(Cell::new(usize::MAX)));
        let pieces = pieces.iter().map(|piece| piece.as_bytes().to_vec()).collect();
        let script = Script { pieces, ends, written: Rc::clone(&written), room: Rc::clone(&room) };
        Self { wire: Wire::new(script, Rc::clone(&life)), life, pulse, written, room, content: None }
    }

    fn head(&mut self) -> Read {
        match self.wire.poll_head(&mut Context::from_waker(Waker::noop()), LIMITS) {
            Poll::Pending => Read::Waits,
            Poll::Ready(Arrival::Ended) => Read::End,
            Poll::Ready(Arrival::Refused(refusal)) => Read::Refused(refusal.rejection),
            Poll::Ready(Arrival::Request(Arrived { head, content, .. })) => {
                self.content = Some(content);
                Read::Head(format!("{} {}", head.method, head.uri))
            }
        }
    }

    fn content(&mut self) -> Read {
        let content = self.content.as_mut().unwrap();
        match Pin::new(content).poll_frame(&mut Context::from_waker(Waker::noop())) {
            Poll::Pending => Read::Waits,
            Poll::Ready(None) => Read::End,
            Poll::Ready(Some(Err(Broken))) => Read::Fault,
            Poll::Ready(Some(Ok(frame))) => Read::Content(match frame.into_data() {
                Ok(data) => String::from_utf8(data.to_vec()).unwrap(),
                Err(frame) => format!("{:?}", frame.into_trailers().unwrap().keys().collect::<Vec<_>>()),
            }),
        }
    }

    fn is_gone(&self) -> bool {
        self.wire.poll_gone(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    /// So many sweeps pass.
    fn wait(&self, sweeps: u32) {
        let timeouts = Timeouts::new(&crate::config::sections::ListenerLimits::default(), std::time::Duration::from_secs(1));
        for _ in 0..sweeps {
            self.pulse.beat();
            self.life.sweep(&timeouts);
        }
    }

    fn write(&self) -> Poll<io::Result<()>> {
        self.wire.poll_write(&mut Context::from_waker(Waker::noop()))
    }

    /// The request is answered; whether another may follow.
    fn answer(&self) -> bool {
        self.life.answer_ended();
        self.life.flushed();
        self.wire.settle()
    }
}

fn head(line: &str) -> Read {
    Read::Head(line.to_owned())
}

fn content(text: &str) -> Read {
    Read::Content(text.to_owned())
}

#[test]
fn requests_come_one_after_another_however_they_arrive() {
    let mut bench = Bench::new(
        &[&format!("{GET}POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab"), "cdGE", "T /c HTTP/1.1\r\nHost: a\r\n\r\n"],
        true,
    );
    assert_eq!((bench.head(), bench.content(), bench.answer()), (head("GET /"), Read::End, true));
    assert_eq!((bench.head(), bench.content(), bench.content()), (head("POST /b"), content("ab"), content("cd")));
    assert_eq!((bench.content(), bench.answer()), (Read::End, true));
    assert_eq!((bench.head(), bench.answer(), bench.head()), (head("GET /c"), true, Read::End));
}

#[test]
fn a_refused_head_comes_only_after_the_requests_before_it() {
    let mut bench = Bench::new(&[GET, "GET / HTTP/1.1\r\n\r\n", GET], false);
    assert_eq!((bench.head(), bench.is_gone(), bench.answer()), (head("GET /"), false, true));
    assert_eq!(bench.head(), Read::Refused(Rejection::RequestInvalid));
}

#[test]
fn a_client_that_leaves_is_noticed_while_its_request_is_answered() {
    let mut bench = Bench::new(&[GET, "GET /ahead"], true);
    assert_eq!((bench.head(), bench.is_gone()), (head("GET /"), true));
    assert!(bench.wire.dissolve().unwrap().client_gone);
}

#[test]
fn what_a_client_sends_ahead_is_kept_in_bounds() {
    let flood = "x".repeat(8192);
    let mut bench = Bench::new(&[&[GET], vec![flood.as_str(); 100].as_slice()].concat(), true);
    assert_eq!((bench.head(), bench.is_gone()), (head("GET /"), false));
    assert!(bench.wire.dissolve().unwrap().ahead.len() < AHEAD_MAX + flood.len());
}

#[test]
fn after_a_switch_of_protocols_no_byte_is_lost() {
    let mut bench = Bench::new(&[&format!("{GET}ahead"), " and\n", "more"], false);
    assert_eq!((bench.head(), bench.is_gone()), (head("GET /"), false));
    let remains = bench.wire.dissolve().unwrap();
    assert_eq!(&remains.ahead[..], b"ahead and\nmore");
    assert!(!remains.client_gone && !remains.is_opening);
    assert_eq!(bench.content(), Read::End, "it is no content");
}

#[test]
fn a_fault_in_content_is_a_fault_of_the_exchange_after_all_that_was_sound() {
    for pieces in [vec![CHUNKED, "3\r\nabc", "X"], vec![CHUNKED, "3\r\nabcX"]] {
        let mut bench = Bench::new(&pieces, false);
        assert_eq!((bench.head(), bench.content(), bench.content()), (head("POST /"), content("abc"), Read::Fault));
        assert_eq!(bench.life.take_fault().map(|refusal| refusal.rejection), Some(Rejection::RequestInvalid));
        assert!(!bench.answer(), "what follows is nobody's request");
    }
}

#[test]
fn content_that_was_left_is_no_request() {
    let smuggled = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{GET}", GET.len());
    let mut bench = Bench::new(&[&smuggled, GET], false);
    assert_eq!((bench.head(), bench.answer()), (head("POST /"), true), "it has arrived, and is passed over");
    assert_eq!((bench.head(), bench.answer(), bench.head()), (head("GET /"), true, Read::Waits));
    let mut bench = Bench::new(&["POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99\r\n\r\n", GET], false);
    assert_eq!((bench.head(), bench.answer()), (head("POST /"), false), "it has not");
}

#[test]
fn the_content_of_an_earlier_request_gets_nothing_of_a_later_one() {
    let mut bench = Bench::new(&[GET, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx"], false);
    assert_eq!((bench.head(), bench.answer()), (head("GET /"), true));
    let earlier = bench.content.take();
    assert_eq!(bench.head(), head("POST /"));
    let later = std::mem::replace(&mut bench.content, earlier);
    assert_eq!(bench.content(), Read::Fault);
    bench.content = later;
    assert_eq!((bench.content(), bench.content()), (content("x"), Read::End));
}

#[test]
fn who_waits_to_be_asked_is_asked_once_and_only_when_the_content_is_wanted() {
    let mut bench = Bench::new(&[EXPECTING], false);
    assert_eq!((bench.head(), bench.is_gone()), (head("POST /"), false));
    assert!(bench.written.borrow().is_empty());
    assert_eq!((bench.content(), bench.content()), (Read::Waits, Read::Waits));
    assert_eq!(bench.written.borrow().as_slice(), b"HTTP/1.1 100 Continue\r\n\r\n");
    let mut eager = Bench::new(&[EXPECTING, "ab"], false);
    assert_eq!((eager.head(), eager.content(), eager.content()), (head("POST /"), content("ab"), Read::End));
    let mut hasty = Bench::new(&[&format!("{EXPECTING}ab")], false);
    assert_eq!((hasty.head(), hasty.content(), hasty.content()), (head("POST /"), content("ab"), Read::End));
    assert!(hasty.written.borrow().is_empty(), "it did not wait");
}

#[test]
fn a_head_that_does_not_arrive_in_time_is_answered_and_an_idle_connection_just_ends() {
    for (pieces, end) in [(vec!["GET /"], Read::Refused(Rejection::RequestTimeout)), (vec![], Read::End), (vec![GET], Read::End)] {
        let mut bench = Bench::new(&pieces, false);
        if bench.head() != Read::Waits {
            assert!(bench.answer());
            assert_eq!(bench.head(), Read::Waits);
        }
        bench.wait(100);
        assert_eq!(bench.head(), end);
    }
}

#[test]
fn a_drain_ends_idle_connections_and_lets_begun_heads_and_first_requests_come() {
    let mut idle = Bench::new(&[GET], false);
    assert_eq!(idle.head(), head("GET /"));
    idle.pulse.enter(Stage::Drain);
    assert!(!idle.is_gone(), "it is being answered");
    assert_eq!((idle.answer(), idle.head()), (true, Read::End));
    let mut asked = Bench::new(&[GET, GET], false);
    assert_eq!((asked.head(), asked.answer()), (head("GET /"), true));
    asked.pulse.enter(Stage::Drain);
    assert_eq!(asked.head(), head("GET /"), "it has arrived");
    for pieces in [vec!["GET / HT", "TP/1.1\r\nHost: a\r\n\r\n"], vec![GET]] {
        let mut begun = Bench::new(&pieces, false);
        begun.pulse.enter(Stage::Drain);
        assert_eq!(begun.head(), head("GET /"));
    }
}

#[test]
fn who_was_answered_is_not_asked_to_continue_in_the_middle_of_the_answer() {
    let mut bench = Bench::new(&[EXPECTING], false);
    assert_eq!(bench.head(), head("POST /"));
    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n";
    bench.wire.with_outbox(|outbox| outbox.head().extend_from_slice(answer));
    assert!(matches!(bench.write(), Poll::Ready(Ok(()))));
    assert_eq!(bench.content(), Read::Waits, "the upstream wants the content only now");
    assert_eq!(bench.written.borrow().as_slice(), answer);
}

#[test]
fn a_request_that_has_arrived_when_a_drain_begins_is_served() {
    let mut bench = Bench::new(&[GET, "GET /next HTTP/1.1\r\nHost: a\r\n\r\n"], false);
    assert_eq!((bench.head(), bench.answer()), (head("GET /"), true));
    bench.pulse.enter(Stage::Drain);
    assert_eq!(bench.head(), head("GET /next"));
    assert_eq!((bench.answer(), bench.head()), (true, Read::End));
}

#[test]
fn who_reads_slowly_is_waited_for_and_who_stops_is_not() {
    let mut bench = Bench::new(&[GET], false);
    assert_eq!(bench.head(), head("GET /"));
    bench.wire.with_outbox(|outbox| outbox.content(Bytes::from(vec![b'x'; 100 << 10]), false));
    bench.life.answer_ended();
    for _ in 0..5 {
        bench.room.set(1 << 10);
        assert!(bench.write().is_pending(), "it reads");
        bench.wait(60);
    }
    assert!(bench.write().is_pending());
    bench.wait(60);
    assert!(matches!(bench.write(), Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::TimedOut));
}

#[test]
fn what_is_sent_ahead_does_not_keep_a_silent_answer() {
    let limits = crate::config::sections::ListenerLimits {
        stream_idle_timeout: crate::config::units::Span::secs(10),
        ..crate::config::sections::ListenerLimits::default()
    };
    let timeouts = Timeouts::new(&limits, std::time::Duration::from_secs(1));
    let mut bench = Bench::new(&[GET], false);
    assert_eq!(bench.head(), head("GET /"));
    bench.life.relay_began();
    for _ in 0..20 {
        bench.pulse.beat();
        bench.life.sweep(&timeouts);
        assert!(bench.life.expired() || matches!(bench.write(), Poll::Ready(Ok(()))));
    }
    assert!(bench.life.is_silent());
}

proptest! {
    #[test]
    fn every_request_is_handed_on_whatever_the_reads(cuts in proptest::collection::vec(0_usize..300, 0..10)) {
        let input = format!("{GET}{CHUNKED}3;x\r\nabc\r\n0\r\nX: y\r\n\r\n{GET}POST /c HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nabcde{GET}");
        let mut cuts: Vec<usize> = cuts.into_iter().filter(|cut| *cut < input.len()).chain([0, input.len()]).collect();
        cuts.sort_unstable();
        cuts.dedup();
        let pieces: Vec<&str> = cuts.windows(2).map(|pair| input.get(pair[0]..pair[1]).unwrap()).collect();
        let mut bench = Bench::new(&pieces, true);
        let mut requests = Vec::new();
        loop {
            match bench.head() {
                Read::Head(line) => requests.push((line, String::new())),
                Read::End => break,
                other @ (Read::Content(_) | Read::Waits | Read::Refused(_) | Read::Fault) => prop_assert!(false, "{other:?}"),
            }
            loop {
                match bench.content() {
                    Read::Content(text) => requests.last_mut().unwrap().1.push_str(&text),
                    Read::End => break,
                    other @ (Read::Head(_) | Read::Waits | Read::Refused(_) | Read::Fault) => prop_assert!(false, "{other:?}"),
                }
            }
            prop_assert!(bench.answer());
        }
        let expected = [("GET /", ""), ("POST /", "abc[\"x\"]"), ("GET /", ""), ("POST /c", "abcde"), ("GET /", "")];
        prop_assert_eq!(requests, expected.map(|(line, text)| (line.to_owned(), text.to_owned())));
    }
}
