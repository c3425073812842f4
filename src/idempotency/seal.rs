//! Names and seals. A reservation is found by an HMAC over scope and key; its answer is sealed (AES-256-GCM) under a key that is
//! derived (HKDF) from scope and Idempotency-Key, pepper where there is one, and the credential where the answer shows a secret. None
//! of these is stored: who has the store has neither the key nor the answer, and who has another tenant's credential has another
//! name and another seal.

use std::net::IpAddr;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::digest::{Context, SHA256, digest};
use aws_lc_rs::{hkdf, hmac, rand};
use zeroize::Zeroizing;

use super::Key;
use crate::config::sections::EnvironmentName;
use crate::key::digest::Peppers;
use crate::net::client::ClientAddr;
use crate::store::reservation::{Id, Place};

/// Tells the format of what is sealed.
const FORMAT: u8 = 1;

/// Within which a key stands for one request.
#[derive(Debug, Clone)]
pub struct Scope {
    tenant: Box<str>,
    /// All of it, unambiguously.
    bytes: Vec<u8>,
}

impl Scope {
    /// Of a caller; `client` tells callers of a kind apart that many people have the keys of.
    #[must_use]
    pub fn new(tenant: &str, environment: EnvironmentName, kind: &str, client: Option<ClientAddr>) -> Self {
        let mut bytes = Vec::with_capacity(96);
        for part in [tenant, environment.name(), kind] {
            bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
            bytes.extend_from_slice(part.as_bytes());
        }
        match client.map(|client| client.0.map(|ip| ip.to_canonical())) {
            None => {}
            Some(None) => bytes.push(0),
            Some(Some(IpAddr::V4(ip))) => bytes.extend_from_slice(&ip.octets()),
            Some(Some(IpAddr::V6(ip))) => bytes.extend_from_slice(&ip.octets()),
        }
        Self { tenant: tenant.into(), bytes }
    }

    /// Of a token of the management API, by its name in the audit, which no tenant has.
    #[must_use]
    pub fn of_token(actor: &str) -> Self {
        Self { tenant: actor.into(), bytes: [b"token:", actor.as_bytes()].concat() }
    }

    /// Whose it is.
    pub(super) fn tenant(&self) -> &str {
        &self.tenant
    }
}

/// What only who presents a credential can derive, of its text: nobody keeps it, and the store cannot know it.
pub struct Holder(Box<Zeroizing<[u8; 32]>>);

impl Holder {
    /// Of a credential.
    #[must_use]
    pub fn of(credential: &[u8]) -> Self {
        let mut context = Context::new(&SHA256);
        context.update(b"sidegate holder of a credential v1");
        context.update(credential);
        // On the heap: nearly every request is judged with none.
        let mut own = Box::new(Zeroizing::new([0; 32]));
        own.copy_from_slice(context.finish().as_ref());
        Self(own)
    }
}

impl std::fmt::Debug for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Holder(…)")
    }
}

/// What a request is found by again.
#[derive(Debug)]
pub struct Ticket {
    /// Within which the key counts.
    pub scope: Scope,
    /// The key.
    pub key: Key,
    /// Who alone may have the answer, where it shows a secret. The name is the same for all.
    pub holder: Option<Holder>,
}

/// What names and seals are derived from: one for each pepper, or one without. The first writes, all read.
pub struct Roots(Vec<hmac::Key>);

impl Roots {
    /// Under these peppers.
    #[must_use]
    pub fn new(peppers: &Peppers) -> Self {
        let mut roots: Vec<hmac::Key> = peppers.reservation_keys().cloned().collect();
        if roots.is_empty() {
            roots.push(hmac::Key::new(hmac::HMAC_SHA256, b"sidegate idempotency v1"));
        }
        Self(roots)
    }

    /// Where its reservation is.
    #[must_use]
    pub fn place(&self, ticket: &Ticket) -> Place {
        let ids = self.0.iter().map(|root| name(root, ticket)).collect();
        Place { tenant: ticket.scope.tenant.clone(), ids }
    }

    /// Seals what is to be kept there.
    pub(super) fn seal(&self, ticket: &Ticket, place: &Place, mut content: Vec<u8>) -> Option<Vec<u8>> {
        let (root, id) = self.0.iter().zip(&place.ids).next()?;
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).ok()?;
        let tag = sealing_key(root, ticket)?
            .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(id.0), &mut content)
            .ok()?;
        let mut sealed = Vec::with_capacity(1 + NONCE_LEN + content.len() + tag.as_ref().len());
        sealed.push(FORMAT);
        sealed.extend_from_slice(&nonce);
        sealed.append(&mut content);
        sealed.extend_from_slice(tag.as_ref());
        Some(sealed)
    }

    /// Opens what was kept there.
    #[must_use]
    pub fn open(&self, ticket: &Ticket, place: &Place, sealed: &[u8]) -> Option<Vec<u8>> {
        let (format, rest) = sealed.split_first()?;
        let (nonce, content) = rest.split_first_chunk::<NONCE_LEN>().filter(|_| *format == FORMAT)?;
        self.0.iter().zip(&place.ids).find_map(|(root, id)| {
            let mut content = content.to_vec();
            let opened = sealing_key(root, ticket)?.open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(id.0), &mut content);
            let length = opened.ok()?.len();
            content.truncate(length);
            Some(content)
        })
    }
}

impl std::fmt::Debug for Roots {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Roots({})", self.0.len())
    }
}

fn name(root: &hmac::Key, ticket: &Ticket) -> Id {
    let mut context = hmac::Context::with_key(root);
    context.update(b"name");
    context.update(digest(&SHA256, ticket.key.bytes()).as_ref());
    context.update(&ticket.scope.bytes);
    let mut id = [0; 32];
    id.copy_from_slice(context.sign().as_ref());
    Id(id)
}

fn sealing_key(root: &hmac::Key, ticket: &Ticket) -> Option<LessSafeKey> {
    let mut salt = hmac::Context::with_key(root);
    salt.update(b"seal");
    salt.update(&ticket.scope.bytes);
    if let Some(Holder(holder)) = &ticket.holder {
        salt.update(b"holder");
        salt.update(&***holder);
    }
    let derived = hkdf::Salt::new(hkdf::HKDF_SHA256, salt.sign().as_ref()).extract(ticket.key.bytes());
    let derived = derived.expand(&[b"sidegate idempotency answer v1"], &AES_256_GCM).ok().map(UnboundKey::from);
    derived.map(LessSafeKey::new)
}

#[cfg(test)]
mod tests {
    use secrecy::SecretSlice;

    use super::*;

    fn ticket(scope: Scope, key: &str) -> Ticket {
        Ticket { scope, key: Key::parse(key.as_bytes()).unwrap(), holder: None }
    }

    fn roots(peppers: &str) -> Roots {
        if peppers.is_empty() {
            return Roots::new(&Peppers::default());
        }
        Roots::new(&Peppers::from_lines(&SecretSlice::from(peppers.as_bytes().to_vec())))
    }

    fn scopes() -> Vec<Scope> {
        let client = |ip: &str| Some(ClientAddr(Some(ip.parse().unwrap())));
        vec![
            Scope::new("acme", EnvironmentName::Live, "secret", None),
            Scope::new("acme", EnvironmentName::Test, "secret", None),
            Scope::new("acm", EnvironmentName::Live, "esecret", None),
            Scope::new("globex", EnvironmentName::Live, "secret", None),
            Scope::new("acme", EnvironmentName::Live, "publishable", Some(ClientAddr(None))),
            Scope::new("acme", EnvironmentName::Live, "publishable", client("192.0.2.1")),
            Scope::new("acme", EnvironmentName::Live, "publishable", client("192.0.2.2")),
            Scope::new("acme", EnvironmentName::Live, "publishable", client("2001:db8::1")),
        ]
    }

    #[test]
    fn no_two_scopes_or_keys_share_a_name_or_a_seal() {
        for peppers in ["", "p"] {
            let roots = roots(peppers);
            let all: Vec<Ticket> = scopes().into_iter().flat_map(|scope| ["a", "b"].map(|key| ticket(scope.clone(), key))).collect();
            for (index, one) in all.iter().enumerate() {
                let place = roots.place(one);
                let sealed = roots.seal(one, &place, b"an answer".to_vec()).unwrap();
                assert_eq!(roots.open(one, &place, &sealed).unwrap(), b"an answer");
                for (other_index, other) in all.iter().enumerate().filter(|(other, _)| *other != index) {
                    assert_ne!(roots.place(other).ids, place.ids, "{index} {other_index}");
                    assert!(roots.open(other, &place, &sealed).is_none(), "{index} opens for {other_index}");
                }
            }
        }
    }

    #[test]
    fn what_is_sealed_for_a_holder_has_the_same_name_and_opens_for_nobody_else() {
        for peppers in ["", "p"] {
            let roots = roots(peppers);
            let of =
                |secret: Option<&str>| Ticket { holder: secret.map(|text| Holder::of(text.as_bytes())), ..ticket(scopes().remove(0), "a") };
            let place = roots.place(&of(Some("sk_live_1")));
            let sealed = roots.seal(&of(Some("sk_live_1")), &place, b"an answer".to_vec()).unwrap();
            assert_eq!(roots.open(&of(Some("sk_live_1")), &place, &sealed).unwrap(), b"an answer");
            for other in [of(Some("sk_live_2")), of(None)] {
                assert_eq!(roots.place(&other).ids, place.ids);
                assert!(roots.open(&other, &place, &sealed).is_none());
            }
        }
        assert_eq!(format!("{:?}", Holder::of(b"sk_live_1")), "Holder(…)");
    }

    #[test]
    fn a_mapped_address_is_the_address() {
        let of = |ip: &str| Scope::new("acme", EnvironmentName::Live, "publishable", Some(ClientAddr(Some(ip.parse().unwrap())))).bytes;
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
    }

    #[test]
    fn what_an_older_pepper_sealed_opens_under_its_own_name() {
        let scope = scopes().remove(0);
        let (old, new) = (roots("old"), roots("new\nold"));
        let ticket = ticket(scope, "a");
        let written = old.place(&ticket);
        let sealed = old.seal(&ticket, &written, b"x".to_vec()).unwrap();
        let place = new.place(&ticket);
        assert_eq!(place.ids[1], written.ids[0]);
        assert_eq!(new.open(&ticket, &place, &sealed).unwrap(), b"x");
        assert!(roots("other").open(&ticket, &roots("other").place(&ticket), &sealed).is_none());
    }

    #[test]
    fn a_changed_bit_a_missing_end_and_another_format_do_not_open() {
        let roots = roots("p");
        let ticket = ticket(scopes().remove(0), "a");
        let place = roots.place(&ticket);
        let sealed = roots.seal(&ticket, &place, b"an answer".to_vec()).unwrap();
        for index in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[index] ^= 1;
            assert!(roots.open(&ticket, &place, &changed).is_none(), "{index}");
            assert!(roots.open(&ticket, &place, &sealed[..index]).is_none(), "{index}");
        }
    }
}
