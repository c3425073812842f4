//! The contract as data: every row of `tests/contract/<profile>/*.toml` is a test of its own, on both stores and over both
//! protocols, with the real binary, real sockets and a recording upstream; what the access log and `explain` say must agree with what was answered.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "a test fails by panicking"
)]

mod coverage;
mod log;
mod row;
mod run;
mod situation;
#[allow(dead_code, reason = "each test binary uses its part of it")]
#[path = "../support/support.rs"]
mod support;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};
use row::Protocol;
use support::sidecar::Kind;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let rows = row::all();
    let mut trials = coverage::trials(&rows);
    for row in rows {
        for kind in row.stores() {
            let row = row.clone();
            trials.push(Trial::test(format!("{} [{}]", row.title(), Kind::name(kind)), move || {
                run::run(&row, kind, Protocol::Http1);
                Ok(())
            }));
        }
        if row.is_said_in_http2() {
            trials.push(Trial::test(format!("{} [http2]", row.title()), move || {
                run::run(&row, Kind::Embedded, Protocol::Http2);
                Ok(())
            }));
        }
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}
