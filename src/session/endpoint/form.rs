//! `application/x-www-form-urlencoded`, as RFC 6749 has it (§3.2, appendix B): UTF-8, no name twice, and what has no value is not there.

use percent_encoding::percent_decode;
use zeroize::Zeroizing;

/// Most parameters: a request for a token has six.
const FIELDS_MAX: usize = 16;

/// Names and values.
pub(super) struct Form(Vec<(Zeroizing<String>, Zeroizing<String>)>);

impl Form {
    pub(super) fn parse(body: &[u8]) -> Result<Self, &'static str> {
        let mut fields: Vec<(Zeroizing<String>, Zeroizing<String>)> = Vec::new();
        for pair in body.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()) {
            if fields.len() == FIELDS_MAX {
                return Err("more than 16 parameters");
            }
            let end = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
            let (name, value) = (pair.get(..end).unwrap_or_default(), pair.get(end + 1..).unwrap_or_default());
            let (name, value) = (decode(name).ok_or("not UTF-8")?, decode(value).ok_or("not UTF-8")?);
            if fields.iter().any(|(known, _)| *known == name) {
                return Err("a parameter stands twice");
            }
            fields.push((name, value));
        }
        Ok(Self(fields))
    }

    pub(super) fn take(&mut self, name: &str) -> Option<Zeroizing<String>> {
        let index = self.0.iter().position(|(known, _)| **known == *name)?;
        Some(self.0.swap_remove(index).1).filter(|value| !value.is_empty())
    }
}

/// A name or a value.
pub(super) fn decode(text: &[u8]) -> Option<Zeroizing<String>> {
    let spaced: Zeroizing<Vec<u8>> = Zeroizing::new(text.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect());
    percent_decode(&spaced).decode_utf8().ok().map(|text| Zeroizing::new(text.into_owned()))
}
