//! Sets of keys: JSON Web Key Sets (RFC 7517), and the keys of a file, which have no names. A set is read whole or not at all; which
//! of its keys a token was signed with is decided by `kid` and algorithm alone, and never by trying many.

use std::collections::HashSet;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::algorithm::{Algorithm, Family, Key};
use super::compact::Compact;
use super::json::{Json, Members};

/// Keys of a document, at most.
const KEYS_MAX: usize = 100;

/// Keys of an issuer.
#[derive(Debug)]
pub struct KeySet {
    keys: Vec<Named>,
    /// Whether they are chosen by name.
    is_named: bool,
}

#[derive(Debug)]
struct Named {
    kid: Option<String>,
    key: Key,
}

/// Why there is no key for a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoKey {
    /// Another document may have it.
    Unknown(String),
    /// None would.
    Unfit(String),
}

impl KeySet {
    /// Keys without names: any of them, whatever `kid` a token has.
    #[must_use]
    pub fn unnamed(keys: impl IntoIterator<Item = Key>) -> Self {
        Self { keys: keys.into_iter().map(|key| Named { kid: None, key }).collect(), is_named: false }
    }

    /// Keys by name.
    ///
    /// # Errors
    /// Two have the same.
    pub(super) fn named(keys: impl IntoIterator<Item = (String, Key)>) -> Result<Self, String> {
        Self::distinct(keys.into_iter().map(|(kid, key)| Named { kid: Some(kid), key }).collect())
    }

    fn distinct(keys: Vec<Named>) -> Result<Self, String> {
        let mut seen = HashSet::new();
        if !keys.iter().filter_map(|key| key.kid.as_deref()).all(|kid| seen.insert(kid)) {
            return Err("two keys have the same kid".into());
        }
        Ok(Self { keys, is_named: true })
    }

    /// Reads a document. Keys for something else than these algorithms are left out.
    ///
    /// # Errors
    /// Why nothing of it is used.
    pub fn parse(document: &[u8], algorithms: &[Algorithm]) -> Result<Self, String> {
        let members = Json::object(document)?;
        let Some(Json::List(list)) = members.get("keys") else { return Err("no JSON Web Key Set: `keys` is not an array".into()) };
        if list.len() > KEYS_MAX {
            return Err(format!("{} keys: at most {KEYS_MAX} are taken", list.len()));
        }
        let mut keys = Vec::new();
        let mut unused = String::new();
        for (index, jwk) in list.iter().enumerate() {
            let Json::Object(jwk) = jwk else { return Err(format!("keys[{index}] is {}", jwk.kind())) };
            match read(jwk, algorithms) {
                Ok(key) => keys.push(key),
                Err(why) => unused = format!("; keys[{index}]: {why}"),
            }
        }
        if keys.is_empty() {
            return Err(format!("no key that can be used{unused}"));
        }
        Self::distinct(keys)
    }

    /// One JSON Web Key, or a set of them.
    ///
    /// # Errors
    /// Why there is no key.
    pub fn parse_any(document: &[u8], algorithm: Algorithm) -> Result<Self, String> {
        let members = Json::object(document)?;
        if members.contains_key("keys") {
            return Self::parse(document, &[algorithm]);
        }
        Ok(Self::unnamed([read(&members, &[algorithm])?.key]))
    }

    /// The keys that may have signed a token: one, but for those without names.
    ///
    /// # Errors
    /// Why there is none.
    fn find(&self, kid: Option<&str>, algorithm: Algorithm) -> Result<impl Iterator<Item = &Key>, NoKey> {
        let is_it = move |named: &&Named| !self.is_named || kid.is_none() || named.kid.as_deref() == kid;
        let fits = move |named: &&Named| is_it(named) && named.key.algorithm() == algorithm;
        if !self.keys.iter().any(|named| is_it(&named)) {
            return Err(NoKey::Unknown(format!("no key has the kid `{}`", shown(kid.unwrap_or_default()))));
        }
        match self.keys.iter().filter(fits).count() {
            0 if kid.is_some() && self.is_named => Err(NoKey::Unfit(format!("its key is not for {algorithm}"))),
            0 => Err(NoKey::Unknown(format!("no key is for {algorithm}"))),
            2.. if self.is_named => Err(NoKey::Unfit(format!("it has no kid, and several keys are for {algorithm}"))),
            _ => Ok(self.keys.iter().filter(fits).map(|named| &named.key)),
        }
    }

    /// Whether one of them has signed a token.
    ///
    /// # Errors
    /// Why none of them is meant.
    pub fn have_signed(&self, token: &Compact<'_>, algorithm: Algorithm) -> Result<bool, NoKey> {
        Ok(self.find(token.kid.as_deref(), algorithm)?.any(|key| key.has_signed(token.signed, &token.signature)))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

impl From<NoKey> for String {
    fn from(no: NoKey) -> Self {
        match no {
            NoKey::Unknown(why) | NoKey::Unfit(why) => why,
        }
    }
}

/// What a stranger wrote, for the log.
pub(super) fn shown(text: &str) -> String {
    text.chars().take(64).collect::<String>().escape_debug().to_string()
}

/// One key. Certificates in it, and where it says that it is from, are not looked at.
fn read(jwk: &Members, algorithms: &[Algorithm]) -> Result<Named, String> {
    if jwk.get("use").is_some_and(|usage| usage.as_text() != Some("sig")) {
        return Err("its use is not sig".into());
    }
    match jwk.get("key_ops") {
        None => {}
        Some(Json::List(operations)) if operations.iter().any(|operation| operation.as_text() == Some("verify")) => {}
        Some(_) => return Err("its key_ops have no verify".into()),
    }
    let kid = match jwk.get("kid") {
        None => None,
        Some(Json::Text(kid)) => Some(kid.clone()),
        Some(other) => return Err(format!("its kid is {}", other.kind())),
    };
    let algorithm = algorithm(jwk, algorithms)?;
    let number = |name: &str| {
        let text = jwk.get(name).and_then(Json::as_text).ok_or_else(|| format!("`{name}` is missing"))?;
        URL_SAFE_NO_PAD.decode(text).map_err(|_| format!("`{name}` is not base64url"))
    };
    let key = match algorithm.family() {
        Family::Rsa(_) => Key::rsa(algorithm, &number("n")?, &number("e")?)?,
        Family::Curve(..) => Key::point(algorithm, &number("x")?, &number("y")?)?,
        Family::Edwards => Key::edwards(&number("x")?)?,
        Family::Secret(_) => Key::secret(algorithm, &number("k")?).ok_or("no secret")?,
    };
    Ok(Named { kid, key })
}

/// Its one algorithm: the one it names, else the first that is for keys of its type.
fn algorithm(jwk: &Members, algorithms: &[Algorithm]) -> Result<Algorithm, String> {
    let text = |name: &str| jwk.get(name).and_then(Json::as_text);
    let fits = |algorithm: &Algorithm| match algorithm.family() {
        Family::Secret(_) => text("kty") == Some("oct"),
        Family::Rsa(_) => text("kty") == Some("RSA"),
        Family::Curve(..) => {
            text("kty") == Some("EC") && text("crv") == Some(if *algorithm == Algorithm::Es256 { "P-256" } else { "P-384" })
        }
        Family::Edwards => text("kty") == Some("OKP") && text("crv") == Some("Ed25519"),
    };
    let named = match jwk.get("alg") {
        None => algorithms.iter().copied().find(fits),
        Some(alg) => alg.as_text().and_then(name_of).filter(|named| algorithms.contains(named) && fits(named)),
    };
    named.ok_or_else(|| "it is for no algorithm that is accepted".into())
}

/// `Ed25519` is the name of the same in RFC 9864.
fn name_of(alg: &str) -> Option<Algorithm> {
    if alg == "Ed25519" { Some(Algorithm::EdDsa) } else { Algorithm::named(alg) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Algorithm; 3] = [Algorithm::Rs256, Algorithm::Es256, Algorithm::EdDsa];
    // RFC 8037 A.2.
    const ED: &str = r#""kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo""#;

    fn set(keys: &[String]) -> Result<KeySet, String> {
        KeySet::parse(format!("{{\"keys\":[{}]}}", keys.join(",")).as_bytes(), &ALL)
    }

    fn ed(more: &str) -> String {
        format!("{{{ED}{more}}}")
    }

    #[test]
    fn a_document_is_used_whole_or_not_at_all() {
        assert_eq!(set(&[ed(r#","kid":"a""#), ed(r#","kid":"b","alg":"EdDSA","use":"sig""#)]).unwrap().len(), 2);
        // What is for something else is left out.
        assert_eq!(set(&[ed(r#","kid":"a""#), ed(r#","kid":"b","use":"enc""#), "{\"kty\":\"new\"}".into()]).unwrap().len(), 1);
        for bad in [
            vec![],
            vec![ed(r#","kid":"a""#), ed(r#","kid":"a""#)],
            vec!["1".into()],
            vec![ed(r#","use":"enc""#)],
            vec![ed(r#","alg":"ES256""#)],
            vec![ed(r#","key_ops":["sign"]"#)],
            vec![ed(r#","kid":7"#)],
            vec![ed(r#","x":"AA""#)],
            vec![r#"{"kty":"oct","k":"c2VjcmV0"}"#.into()],
            vec![r#"{"kty":"RSA","n":"wQ","e":"AQAB"}"#.into()],
            vec![r#"{"kty":"EC","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyN"}"#.into()],
            (0..=KEYS_MAX).map(|n| ed(&format!(",\"kid\":\"{n}\""))).collect(),
        ] {
            assert!(set(&bad).is_err(), "{bad:?}");
        }
        for bad in ["{}", "[]", "", "{\"keys\":{}}", "<html>", &format!("{{\"keys\":[{0}],\"keys\":[{0}]}}", ed(""))] {
            assert!(KeySet::parse(bad.as_bytes(), &ALL).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_name_decides_which_key_and_without_one_there_must_be_but_one() {
        let two = set(&[ed(r#","kid":"a""#), ed(r#","kid":"b""#)]).unwrap();
        let found = |set: &KeySet, kid, algorithm| set.find(kid, algorithm).map(Iterator::count);
        assert_eq!(found(&two, Some("a"), Algorithm::EdDsa), Ok(1));
        assert!(matches!(found(&two, Some("A"), Algorithm::EdDsa), Err(NoKey::Unknown(_))));
        assert!(matches!(found(&two, Some("a"), Algorithm::Es256), Err(NoKey::Unfit(_))));
        assert!(matches!(found(&two, None, Algorithm::EdDsa), Err(NoKey::Unfit(_))));
        assert!(matches!(found(&two, None, Algorithm::Es256), Err(NoKey::Unknown(_))));
        let one = set(&[ed("")]).unwrap();
        assert_eq!(found(&one, None, Algorithm::EdDsa), Ok(1));
        assert!(matches!(found(&one, Some("a"), Algorithm::EdDsa), Err(NoKey::Unknown(_))));
        let secrets = KeySet::unnamed([b"one", b"two"].map(|secret| Key::secret(Algorithm::Hs256, secret).unwrap()));
        assert_eq!(found(&secrets, Some("whatever"), Algorithm::Hs256), Ok(2));
        assert!(found(&secrets, None, Algorithm::Hs512).is_err());
    }
}
