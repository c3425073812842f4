//! HTTP/1.1 as bytes (RFC 9112), for both sides: how content is delimited ([`decode`]), read ([`inbox`]) and written
//! ([`outbox`]). It knows neither requests nor answers: the server's heads are judged in `server::framing`, the upstream's in
//! `forward::upstream`.

pub mod chunks;
pub mod decode;
pub mod inbox;
pub mod outbox;
pub mod syntax;
