//! An answer as it is kept: which request it is of, status, headers, trailers, body. As bytes, read back by a total function.

use bytes::{Buf, Bytes};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

/// A final answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Of the request.
    pub fingerprint: [u8; 32],
    /// Its status.
    pub status: StatusCode,
    /// The words beside it, where they are not the usual ones.
    pub reason: Bytes,
    /// Its headers, but those of the hop and those of the moment.
    pub headers: HeaderMap,
    /// Its trailers.
    pub trailers: Option<HeaderMap>,
    /// Its body.
    pub body: Bytes,
}

impl Answer {
    /// The headers of an answer that are kept, in their order: not those of one moment, or of one client.
    #[must_use]
    pub fn lasting(headers: &HeaderMap) -> HeaderMap {
        let lasting = headers.iter().filter(|(name, _)| **name != header::SET_COOKIE && **name != header::DATE);
        let mut kept = HeaderMap::with_capacity(headers.len());
        for (name, value) in lasting {
            kept.append(name, value.clone());
        }
        kept
    }

    /// As bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.body.len() + 1024);
        out.extend_from_slice(&self.fingerprint);
        out.extend_from_slice(&self.status.as_u16().to_be_bytes());
        put(&mut out, &self.reason);
        put_headers(&mut out, &self.headers);
        out.push(u8::from(self.trailers.is_some()));
        if let Some(trailers) = &self.trailers {
            put_headers(&mut out, trailers);
        }
        out.extend_from_slice(&self.body);
        out
    }

    /// Reads what [`Self::encode`] wrote.
    #[must_use]
    pub fn decode(bytes: Vec<u8>) -> Option<Self> {
        let mut bytes = Bytes::from(bytes);
        let mut fingerprint = [0; 32];
        bytes.try_copy_to_slice(&mut fingerprint).ok()?;
        let status = StatusCode::from_u16(bytes.try_get_u16().ok()?).ok()?;
        let reason = take(&mut bytes)?;
        let headers = take_headers(&mut bytes)?;
        let trailers = if bytes.try_get_u8().ok()? == 1 { Some(take_headers(&mut bytes)?) } else { None };
        Some(Self { fingerprint, status, reason, headers, trailers, body: bytes })
    }
}

fn put_headers(out: &mut Vec<u8>, headers: &HeaderMap) {
    for (name, value) in headers {
        put(out, name.as_str().as_bytes());
        put(out, value.as_bytes());
    }
    // No name is empty: it is their end.
    put(out, b"");
}

fn put(out: &mut Vec<u8>, part: &[u8]) {
    out.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
    out.extend_from_slice(part);
}

fn take_headers(bytes: &mut Bytes) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    loop {
        let name = take(bytes)?;
        if name.is_empty() {
            return Some(headers);
        }
        let name = HeaderName::from_bytes(&name).ok()?;
        headers.try_append(name, HeaderValue::from_maybe_shared(take(bytes)?).ok()?).ok()?;
    }
}

fn take(bytes: &mut Bytes) -> Option<Bytes> {
    let length = usize::try_from(bytes.try_get_u32().ok()?).ok()?;
    (length <= bytes.len()).then(|| bytes.split_to(length))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn answer(headers: &[(&'static str, &[u8])], trailers: bool, body: &[u8]) -> Answer {
        let map = || -> HeaderMap {
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                map.append(*name, HeaderValue::from_bytes(value).unwrap());
            }
            map
        };
        let (trailers, reason) = (trailers.then(map), Bytes::from_static(b"Made"));
        Answer { fingerprint: [7; 32], status: StatusCode::CREATED, reason, headers: map(), trailers, body: Bytes::copy_from_slice(body) }
    }

    #[test]
    fn what_is_written_reads_back_equal_lines_in_their_order() {
        let headers: [(&str, &[u8]); 4] = [("x-b", b"1"), ("x-a", b"\xe4 2"), ("x-b", b"0"), ("x-empty", b"")];
        for trailers in [false, true] {
            for body in [&b""[..], b"\0\xff", &vec![b'x'; 1 << 20]] {
                let answer = answer(&headers, trailers, body);
                assert_eq!(Answer::decode(answer.encode()).unwrap(), answer);
            }
        }
    }

    #[test]
    fn half_of_it_is_nothing() {
        let whole = answer(&[("x-a", b"1")], true, b"").encode();
        for length in 0..whole.len() {
            assert!(Answer::decode(whole[..length].to_vec()).is_none(), "{length}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Answer::decode(bytes);
        }
    }
}
