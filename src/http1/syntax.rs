//! The grammar of field lines (RFC 9110 §5, RFC 9112 §5), strict: what could be read in two ways is wrong.

/// Name and value of a header or trailer line (without its CRLF).
///
/// # Errors
/// What is wrong with it.
pub fn field(line: &[u8]) -> Result<(&[u8], &[u8]), &'static str> {
    if matches!(line.first(), Some(b' ' | b'\t')) {
        return Err("a folded header line");
    }
    let colon = memchr::memchr(b':', line).ok_or("a header line without colon")?;
    let (name, value) = line.split_at(colon);
    if !is_token(name) {
        return Err("a header name that is not a token");
    }
    let value = value.get(1..).unwrap_or_default();
    if !is_text(value) {
        return Err("a control byte in a header value");
    }
    Ok((name, value.trim_ascii()))
}

/// Whether no byte is a control but the tab. Without an early end, so that many bytes are looked at at once.
fn is_text(value: &[u8]) -> bool {
    let is_control = |byte: u8| (byte < 0x20 && byte != b'\t') || byte == 0x7f;
    value.iter().fold(0, |seen, byte| seen | u8::from(is_control(*byte))) == 0
}

/// 1 to 18 digits, so that it is a number everywhere.
#[must_use]
pub fn content_length(value: &[u8]) -> Option<u64> {
    if !(1..=18).contains(&value.len()) {
        return None;
    }
    value.iter().try_fold(0, |length, byte| byte.is_ascii_digit().then(|| length * 10 + u64::from(byte - b'0')))
}

/// RFC 9110 §5.6.2 `token`.
#[must_use]
pub fn is_token(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().fold(1, |all, byte| all & u8::from(is_token_byte(*byte))) == 1
}

/// RFC 9110 §5.6.2 `tchar`.
#[must_use]
pub fn is_token_byte(byte: u8) -> bool {
    const TOKEN: [bool; 256] = {
        let mut table = [false; 256];
        let mut byte = 0;
        while byte < 128 {
            #[expect(clippy::cast_possible_truncation, reason = "below 128")]
            let ascii = byte as u8;
            #[expect(clippy::indexing_slicing, reason = "a constant, checked when it is compiled")]
            {
                table[byte] = ascii.is_ascii_alphanumeric()
                    || matches!(
                        ascii,
                        b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
                    );
            }
            byte += 1;
        }
        table
    };
    TOKEN.get(usize::from(byte)).copied().unwrap_or(false)
}
