//! The life of a connection that switches protocols: no request comes on it any more, and silence is all that counts.

use super::{Life, Phase};

impl Life {
    /// Another protocol was agreed upon: what the client sends from here on is no request.
    pub fn switch(&self) {
        self.switched.set(true);
    }

    /// Whether it was; for good.
    #[must_use]
    pub fn switched(&self) -> bool {
        self.switched.get()
    }

    /// Bytes are copied both ways from now on, and silence counts. The exchange ends when it is expired, whoever sees to that.
    pub fn tunnel_began(&self) {
        self.enter(Phase::Tunnel);
        self.relay_began();
    }

    /// One side of the tunnel has ended; the other is waited for as long as it moves.
    pub fn tunnel_half_closed(&self) {
        self.enter(Phase::Written);
    }
}
