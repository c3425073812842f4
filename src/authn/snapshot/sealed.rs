//! A file that only who holds the pepper can read or write: AES-256-GCM in frames of bounded size, under a key of the file's own.
//! Frames are numbered and the last one is marked: one that is missing, doubled or out of place does not open.

use std::io::{self, BufRead, Read, Write};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, MAX_TAG_LEN, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::{hmac, rand};

/// Tells the file's kind and format.
const MAGIC: [u8; 8] = *b"sgsnap\x00\x01";
const SALT_LEN: usize = 16;
/// Longest content of a frame.
const FRAME: usize = 64 << 10;
/// In front of a frame: whether it is the last, and its length.
const HEAD_LEN: usize = 5;

fn invalid(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// The key of one file.
fn file_key(key: &hmac::Key, salt: &[u8; SALT_LEN]) -> io::Result<LessSafeKey> {
    let derived = hmac::sign(key, salt);
    UnboundKey::new(&AES_256_GCM, derived.as_ref()).map(LessSafeKey::new).map_err(|_| invalid("no key"))
}

/// The file's key is its own, so that numbers are nonces.
fn nonce(number: u64) -> Nonce {
    let mut nonce = [0; NONCE_LEN];
    for (byte, of_number) in nonce.iter_mut().rev().zip(number.to_le_bytes()) {
        *byte = of_number;
    }
    Nonce::assume_unique_for_key(nonce)
}

fn aad(number: u64, is_last: bool) -> Aad<[u8; 9]> {
    let mut aad = [u8::from(is_last); 9];
    for (byte, of_number) in aad.iter_mut().zip(number.to_be_bytes()) {
        *byte = of_number;
    }
    Aad::from(aad)
}

/// Seals what is written. Without [`Sealer::finish`] the file does not open.
pub(super) struct Sealer<W> {
    out: W,
    key: LessSafeKey,
    number: u64,
    frame: Vec<u8>,
}

impl<W: Write> Sealer<W> {
    pub(super) fn new(mut out: W, key: &hmac::Key) -> io::Result<Self> {
        let mut salt = [0; SALT_LEN];
        rand::fill(&mut salt).map_err(|_| io::Error::other("the operating system gives no randomness"))?;
        out.write_all(&MAGIC)?;
        out.write_all(&salt)?;
        Ok(Self { out, key: file_key(key, &salt)?, number: 0, frame: Vec::with_capacity(FRAME + MAX_TAG_LEN) })
    }

    pub(super) fn finish(mut self) -> io::Result<W> {
        self.seal(true)?;
        Ok(self.out)
    }

    fn seal(&mut self, is_last: bool) -> io::Result<()> {
        let sealed = self.key.seal_in_place_append_tag(nonce(self.number), aad(self.number, is_last), &mut self.frame);
        sealed.map_err(|_| io::Error::other("a frame cannot be sealed"))?;
        let length = u32::try_from(self.frame.len()).map_err(io::Error::other)?;
        self.out.write_all(&[u8::from(is_last)])?;
        self.out.write_all(&length.to_be_bytes())?;
        self.out.write_all(&self.frame)?;
        self.frame.clear();
        self.number += 1;
        Ok(())
    }
}

impl<W: Write> Write for Sealer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.frame.len() == FRAME {
            self.seal(false)?;
        }
        let (taken, _) = bytes.split_at_checked(FRAME - self.frame.len()).unwrap_or((bytes, &[]));
        self.frame.extend_from_slice(taken);
        Ok(taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Opens what was sealed. Its content may be believed as far as it was read; it is whole when its end was reached without an error.
pub(super) struct Opener<R> {
    input: R,
    key: LessSafeKey,
    number: u64,
    frame: Vec<u8>,
    taken: usize,
    is_last: bool,
}

impl<R: Read> Opener<R> {
    /// With whichever key fits.
    pub(super) fn new<'k>(mut input: R, keys: impl Iterator<Item = &'k hmac::Key>) -> io::Result<Self> {
        let (mut magic, mut salt) = ([0; MAGIC.len()], [0; SALT_LEN]);
        input.read_exact(&mut magic)?;
        if magic != MAGIC {
            return Err(invalid("another kind of file, or of a newer release"));
        }
        input.read_exact(&mut salt)?;
        let (is_last, sealed) = read_frame(&mut input)?;
        for key in keys {
            let key = file_key(key, &salt)?;
            let mut frame = sealed.clone();
            if open(&key, 0, is_last, &mut frame) {
                return Ok(Self { input, key, number: 1, frame, taken: 0, is_last });
            }
        }
        Err(invalid("sealed with another pepper, or damaged"))
    }

    fn next(&mut self) -> io::Result<()> {
        let (is_last, frame) = read_frame(&mut self.input)?;
        (self.frame, self.taken, self.is_last) = (frame, 0, is_last);
        if !open(&self.key, self.number, is_last, &mut self.frame) {
            self.frame.clear();
            return Err(invalid("damaged"));
        }
        self.number += 1;
        Ok(())
    }
}

/// Opens a frame in its place.
fn open(key: &LessSafeKey, number: u64, is_last: bool, frame: &mut Vec<u8>) -> bool {
    let Ok(content) = key.open_in_place(nonce(number), aad(number, is_last), frame) else { return false };
    let length = content.len();
    frame.truncate(length);
    true
}

fn read_frame(input: &mut impl Read) -> io::Result<(bool, Vec<u8>)> {
    let mut head = [0; HEAD_LEN];
    input.read_exact(&mut head)?;
    let [is_last, length @ ..] = head;
    let length = usize::try_from(u32::from_be_bytes(length)).map_err(io::Error::other)?;
    if is_last > 1 || length > FRAME + MAX_TAG_LEN {
        return Err(invalid("damaged"));
    }
    let mut frame = vec![0; length];
    input.read_exact(&mut frame)?;
    Ok((is_last == 1, frame))
}

impl<R: Read> Read for Opener<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(into)?;
        self.consume(count);
        Ok(count)
    }
}

impl<R: Read> BufRead for Opener<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.taken == self.frame.len() && !self.is_last {
            self.next()?;
        }
        if self.taken == self.frame.len() && self.input.read(&mut [0])? != 0 {
            return Err(invalid("there is something behind its end"));
        }
        Ok(self.frame.get(self.taken..).unwrap_or_default())
    }

    fn consume(&mut self, count: usize) {
        self.taken = self.frame.len().min(self.taken + count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(secret: &[u8]) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, secret)
    }

    fn sealed(content: &[u8]) -> Vec<u8> {
        let mut sealer = Sealer::new(Vec::new(), &key(b"a")).unwrap();
        sealer.write_all(content).unwrap();
        sealer.finish().unwrap()
    }

    fn opened(bytes: &[u8], keys: &[hmac::Key]) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        Opener::new(bytes, keys.iter())?.read_to_end(&mut content)?;
        Ok(content)
    }

    #[test]
    fn what_was_sealed_opens_with_its_key_among_others() {
        for length in [0, 1, FRAME - 1, FRAME, FRAME + 1, 3 * FRAME] {
            let content: Vec<u8> = (0..length).map(|index| (index % 251).try_into().unwrap()).collect();
            assert_eq!(opened(&sealed(&content), &[key(b"b"), key(b"a")]).unwrap(), content);
            assert!(opened(&sealed(&content), &[key(b"b")]).is_err());
        }
    }

    #[test]
    fn the_content_is_not_to_be_seen_and_no_two_files_are_alike() {
        let (one, other) = (sealed(b"a secret of some length"), sealed(b"a secret of some length"));
        assert!(!one.windows(8).any(|window| window == b"a secret"));
        assert_ne!(one.last_chunk::<16>(), other.last_chunk::<16>());
    }

    #[test]
    fn a_changed_bit_a_missing_end_and_an_added_one_are_seen() {
        let whole = sealed(b"content");
        for index in 0..whole.len() {
            let mut changed = whole.clone();
            changed[index] ^= 1;
            assert!(opened(&changed, &[key(b"a")]).is_err(), "{index}");
            assert!(opened(&whole[..index], &[key(b"a")]).is_err(), "{index}");
        }
        let longer = [&whole[..], b"x"].concat();
        assert!(opened(&longer, &[key(b"a")]).is_err());
    }

    #[test]
    fn frames_that_are_left_out_or_change_places_are_seen() {
        let whole = sealed(&vec![7; 3 * FRAME]);
        let (head, size) = (MAGIC.len() + SALT_LEN, HEAD_LEN + FRAME + MAX_TAG_LEN);
        let frame = |number: usize| &whole[head + number * size..head + (number + 1) * size];
        assert_eq!([&whole[..head], frame(0), frame(1), frame(2)].concat(), whole);
        for order in [&[0, 2][..], &[1, 0, 2], &[0, 1], &[0, 1, 1, 2], &[0, 1, 2, 2]] {
            let frames: Vec<u8> = order.iter().flat_map(|number| frame(*number)).copied().collect();
            assert!(opened(&[&whole[..head], &frames].concat(), &[key(b"a")]).is_err(), "{order:?}");
        }
    }
}
