//! Who sends and never reads holds no place for ever.

use std::io::{ErrorKind, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use crate::support::PATIENCE;
use crate::support::sidecar::Sidecar;
use crate::support::upstream::Upstream;

#[test]
fn a_client_that_never_reads_its_answers_is_given_up() {
    let upstream = Upstream::echo();
    let listener = "[[listeners]]\nname = \"public\"\naddress = \"127.0.0.1:0\"\nlimits = { idle_timeout = \"1s\" }";
    let sidecar = Sidecar::start(&format!("upstream = \"{}\"\n{listener}", upstream.url()));
    let mut stream = TcpStream::connect(sidecar.address()).unwrap();
    stream.set_write_timeout(Some(Duration::from_millis(20))).unwrap();
    let requests = "GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(1000);
    let began = sidegate::clock::instant();
    loop {
        match stream.write(requests.as_bytes()) {
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            // Its answers were never read, and now nobody waits for that.
            Err(_) => break,
        }
        assert!(began.elapsed() < PATIENCE, "still connected");
    }
    assert_eq!(upstream.recorded().len(), 0);
}
