//! The bytes of a refusal: `[errors]` compiled, one row per rejection.

use bytes::Bytes;
use http::Response;

use crate::config::problem::Problems;
use crate::config::sections::Config;
use crate::gate::Seen;
use crate::rejection::{Refusal, Rejection};

/// The compiled answers.
#[derive(Debug)]
pub struct Answers {}

impl Answers {
    /// Compiles `[errors]` and what of `[cors]` and `[credentials]` shows in refusals.
    pub fn compile(_config: &Config, _problems: &mut Problems) -> Option<Self> {
        todo!()
    }

    /// The whole answer: status, body, `Content-Type`, `Cache-Control`, `X-Request-Id`, `WWW-Authenticate`, `Retry-After`, CORS, gRPC shape.
    /// Connection management (`Connection: close`) is the server's.
    #[must_use]
    pub fn refuse(&self, _refusal: &Refusal, _seen: &Seen) -> Response<Bytes> {
        todo!()
    }

    /// The status in that answer, as the log and metrics show it.
    #[must_use]
    pub fn status(&self, _rejection: Rejection) -> u16 {
        todo!()
    }
}
