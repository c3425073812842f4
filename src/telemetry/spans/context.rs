//! W3C Trace Context: which trace a request belongs to, as `traceparent` says it, and how the next one is told. A header that is
//! not to the letter of version 00 (or of what later ones must keep of it) is none, as the specification asks.

use std::io::Write as _;

use http::{HeaderMap, HeaderName};

/// Header that names trace and parent.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// Header with what vendors add to that.
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// `00-<trace>-<parent>-<flags>`
const LENGTH: usize = 55;
/// The flag that says that the trace is recorded.
const SAMPLED: u8 = 1;

/// A request's place in its trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Context {
    /// The trace.
    pub trace: u128,
    /// The caller's span, of a trace that the caller began.
    pub parent: Option<u64>,
    /// Ours.
    pub server: u64,
    /// Ours towards the upstream, which is the parent of its spans.
    pub client: u64,
    /// Whether it is recorded.
    pub sampled: bool,
}

impl Context {
    /// Of a trace that begins here.
    #[must_use]
    pub fn root(sampled: bool) -> Self {
        // An id is no secret: a fast generator will do.
        Self { trace: fastrand::u128(1..), parent: None, server: fastrand::u64(1..), client: fastrand::u64(1..), sampled }
    }

    /// Of the trace that the headers name; `None` = they name none.
    #[must_use]
    pub fn following(headers: &HeaderMap) -> Option<Self> {
        let mut lines = headers.get_all(TRACEPARENT).iter();
        let (Some(line), None) = (lines.next(), lines.next()) else { return None };
        let (trace, parent, sampled) = parse(line.as_bytes())?;
        Some(Self { trace, parent: Some(parent), ..Self::root(sampled) })
    }

    /// What the upstream is told.
    #[must_use]
    pub fn traceparent(&self) -> [u8; LENGTH] {
        let mut text = [0; LENGTH];
        // It is as long as that, always.
        let _ = write!(text.as_mut_slice(), "00-{:032x}-{:016x}-{:02x}", self.trace, self.client, u8::from(self.sampled) * SAMPLED);
        text
    }

    /// As logs name the trace.
    #[must_use]
    pub fn trace_id(&self) -> String {
        format!("{:032x}", self.trace)
    }
}

fn parse(line: &[u8]) -> Option<(u128, u64, bool)> {
    let [v1, v2, b'-', rest @ ..] = line else { return None };
    let (trace, rest) = rest.split_at_checked(32)?;
    let (parent, rest) = rest.strip_prefix(b"-")?.split_at_checked(16)?;
    let (flags, rest) = rest.strip_prefix(b"-")?.split_at_checked(2)?;
    let is_whole = match hex(&[*v1, *v2])? {
        0 => rest.is_empty(),
        0xff => false,
        // Later versions may add to it.
        _ => rest.is_empty() || rest.starts_with(b"-"),
    };
    let (trace, parent, flags) = (hex(trace)?, u64::try_from(hex(parent)?).ok()?, hex(flags)?);
    (is_whole && trace != 0 && parent != 0).then_some((trace, parent, flags & u128::from(SAMPLED) != 0))
}

/// Lower case only.
fn hex(text: &[u8]) -> Option<u128> {
    text.iter().try_fold(0, |number, byte| {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn following(lines: &[&str]) -> Option<Context> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(TRACEPARENT, HeaderValue::from_str(line).unwrap());
        }
        Context::following(&headers)
    }

    #[test]
    fn a_trace_is_followed_with_its_flag() {
        let context = following(&[GOOD]).unwrap();
        assert_eq!((context.trace, context.parent), (0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736, Some(0x00f0_67aa_0ba9_02b7)));
        assert!(context.sampled);
        assert!(!following(&[&GOOD.replace("-01", "-00")]).unwrap().sampled);
        assert!(following(&[&GOOD.replace("-01", "-03")]).unwrap().sampled, "flags that are not known are nothing to us");
        assert!(following(&["cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more"]).unwrap().sampled, "a later version");
    }

    #[test]
    fn what_is_not_to_the_letter_is_no_trace() {
        for bad in [
            "",
            "00",
            GOOD.strip_suffix('1').unwrap(),
            &format!("{GOOD}-"),
            &format!("{GOOD}0"),
            &GOOD.to_uppercase(),
            &GOOD.replacen("00", "ff", 1),
            &GOOD.replacen("00", "0g", 1),
            "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01more",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-600f067aa0ba902b7-01",
            "00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-zz",
        ] {
            assert_eq!(following(&[bad]), None, "{bad}");
        }
        assert_eq!(following(&[GOOD, GOOD]), None, "two lines");
        assert_eq!(following(&[]), None);
    }

    proptest! {
        #[test]
        fn what_is_told_names_the_same_trace_and_our_span(sampled: bool) {
            let context = Context::root(sampled);
            let told = context.traceparent();
            let (trace, parent, flag) = parse(&told).unwrap();
            prop_assert_eq!((trace, parent, flag), (context.trace, context.client, sampled));
        }

        #[test]
        fn no_bytes_break_the_reader(bytes: Vec<u8>) {
            let _ = parse(&bytes);
        }
    }
}
