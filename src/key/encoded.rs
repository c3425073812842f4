//! Keys seen through percent-encoding. As many layers as people pile up by accident; each costs a pass over the text,
//! so a client must not choose how many.

use std::iter::successors;

use percent_encoding::percent_decode;

/// Layers looked through.
const LAYERS_MAX: usize = 3;

/// What a text is when it is decoded once, twice, …; nothing where nothing is encoded.
pub(crate) fn layers(text: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    successors(decode(text), |text| decode(text)).take(LAYERS_MAX)
}

fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let decoded: Vec<u8> = if text.contains(&b'%') { percent_decode(text).collect() } else { return None };
    (decoded.len() < text.len()).then_some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_end_with_the_encoding_or_at_the_bound() {
        let of = |text: &str| layers(text.as_bytes()).map(|text| String::from_utf8(text).unwrap()).collect::<Vec<_>>();
        assert_eq!(of("a"), [""; 0]);
        assert_eq!(of("100%"), [""; 0]);
        assert_eq!(of("%2573k"), ["%73k", "sk"]);
        assert_eq!(of(&format!("%{}73k", "25".repeat(4000))).len(), LAYERS_MAX);
    }
}
