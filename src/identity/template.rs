//! `[identity.headers]`: what the upstream is told. Values are checked, never escaped: what does not fit refuses the caller.

use std::sync::Arc;

use http::{HeaderName, HeaderValue};

use super::signed::Statement;
use crate::authn::Verified;
use crate::config::problem::Problems;
use crate::config::sections::{Config, CredentialType};
use crate::http1::outbox;
use crate::key::record::KeyRecord;
use crate::policy::scope::Grants;
use crate::tenant::TenantRecord;

/// Longest injected value, bytes.
pub const VALUE_MAX: usize = 256;
/// Longest list of scopes, bytes.
pub const SCOPES_MAX: usize = 8 << 10;

/// The compiled templates.
#[derive(Debug)]
pub struct IdentityHeaders {
    names: Arc<[HeaderName]>,
    /// Of each name.
    templates: Box<[Box<[Piece]>]>,
    /// Whether it is said once more, signed.
    signs: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(Box<str>),
    Field(Field),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Field {
    TenantId,
    TenantName,
    TenantMetadata(Box<str>),
    KeyId,
    KeyName,
    KeyKind,
    KeyMetadata(Box<str>),
    Subject,
    Scopes,
    Environment,
    Credential,
}

/// Names that a template may use, for messages.
const FIELDS: &str = "{tenant.id} {tenant.name} {tenant.metadata.NAME} {key.id} {key.name} {key.kind} {key.metadata.NAME} {subject} {scopes} {environment} {credential}";

impl IdentityHeaders {
    /// Compiles `[identity.headers]`.
    pub fn compile(config: &Config, problems: &mut Problems) -> Option<Self> {
        let mut sound = true;
        let (mut names, mut templates) = (Vec::new(), Vec::new());
        for (name, template) in &config.identity.headers {
            let path = format!("identity.headers.{name}");
            let header: Option<HeaderName> = problems.parse(&path, name);
            let pieces = problems.keep(&path, parse(template));
            match (header, pieces) {
                (Some(header), Some(pieces)) if is_plain_name(&header) => {
                    names.push(header);
                    templates.push(pieces);
                }
                (Some(_), Some(_)) => {
                    problems.error(&path, format!("`{name}` cannot carry identity: letters, digits and -, and no header of HTTP itself"));
                    sound = false;
                }
                _ => sound = false,
            }
        }
        let signs = !config.identity.signed.header.is_empty();
        sound.then(|| Self { names: names.into(), templates: templates.into(), signs })
    }

    /// The header names, which no client may send.
    pub fn names(&self) -> impl Iterator<Item = &HeaderName> {
        self.names.iter()
    }

    /// The headers for a key; an empty value sends no header.
    ///
    /// # Errors
    /// Which value does not fit: 1–256 bytes of visible ASCII without `, ; " \`; names and metadata may have inner spaces.
    pub fn for_key(&self, key: &KeyRecord, tenant: &TenantRecord, grants: &Grants) -> Result<Told, String> {
        let value = |field: &Field| match field {
            Field::TenantId => tenant.id.clone(),
            Field::TenantName => tenant.name.clone(),
            Field::TenantMetadata(name) => tenant.metadata.get(&**name).cloned().unwrap_or_default(),
            Field::KeyId => key.id.clone(),
            Field::KeyName => key.name.clone(),
            Field::KeyKind => key.kind.clone(),
            Field::KeyMetadata(name) => key.metadata.get(&**name).cloned().unwrap_or_default(),
            Field::Subject => String::new(),
            Field::Scopes => grants.to_string(),
            Field::Environment => key.environment.name().into(),
            Field::Credential => CredentialType::ApiKey.name().into(),
        };
        let signed = self.signs.then(|| {
            Statement::new(&[
                ("sub", &key.id),
                ("tenant", &tenant.id),
                ("key_id", &key.id),
                ("scope", &grants.to_string()),
                ("environment", key.environment.name()),
                ("credential", CredentialType::ApiKey.name()),
            ])
        });
        Ok(Told { signed: signed.map(Box::new), ..self.render(&value)? })
    }

    /// The headers for a token, whose tenant need not have a record.
    ///
    /// # Errors
    /// As [`Self::for_key`].
    pub fn for_token(&self, token: &Verified, tenant_id: &str, tenant: Option<&TenantRecord>, scopes: &str) -> Result<Told, String> {
        let value = |field: &Field| match field {
            Field::TenantId => tenant_id.to_owned(),
            Field::TenantName => tenant.map(|tenant| tenant.name.clone()).unwrap_or_default(),
            Field::TenantMetadata(name) => tenant.and_then(|tenant| tenant.metadata.get(&**name)).cloned().unwrap_or_default(),
            Field::KeyId | Field::KeyName | Field::KeyKind | Field::KeyMetadata(_) => String::new(),
            Field::Subject => token.subject.clone(),
            Field::Scopes => scopes.to_owned(),
            Field::Environment => token.environment.name().into(),
            Field::Credential => token.credential().name().into(),
        };
        let signed = self.signs.then(|| {
            Statement::new(&[
                ("sub", &token.subject),
                ("tenant", tenant_id),
                ("scope", scopes),
                ("environment", token.environment.name()),
                ("credential", token.credential().name()),
            ])
        });
        Ok(Told { signed: signed.map(Box::new), ..self.render(&value)? })
    }

    /// The headers on an open route: nobody is known.
    ///
    /// # Errors
    /// Never in practice: the only value is `none`.
    pub fn for_nobody(&self) -> Result<Told, String> {
        self.render(&|field| if *field == Field::Credential { "none".into() } else { String::new() })
    }

    fn render(&self, value: &dyn Fn(&Field) -> String) -> Result<Told, String> {
        let mut lines = Vec::new();
        for (name, pieces) in self.names.iter().zip(&self.templates) {
            let mut text = String::new();
            // A template whose fields are all empty says nothing, whatever its literal text.
            let mut says_something = pieces.iter().all(|piece| matches!(piece, Piece::Text(_)));
            let mut max = VALUE_MAX;
            for piece in pieces {
                match piece {
                    Piece::Text(literal) => text.push_str(literal),
                    Piece::Field(field) => {
                        let value = value(field);
                        says_something |= !value.is_empty();
                        check(field, &value).map_err(|why| format!("{name}: {why}"))?;
                        if *field == Field::Scopes {
                            max = SCOPES_MAX;
                        }
                        text.push_str(&value);
                    }
                }
            }
            if !says_something {
                text.clear();
            }
            if text.len() > max {
                return Err(format!("{name}: more than {max} bytes"));
            }
            if !text.is_empty() {
                HeaderValue::try_from(text.as_str()).map_err(|_| format!("{name}: not a header value"))?;
                outbox::field(&mut lines, name.as_str().as_bytes(), text.as_bytes());
            }
        }
        Ok(Told { names: Arc::clone(&self.names), lines: lines.into(), signed: None })
    }
}

impl IdentityHeaders {
    /// Names of what of a key's metadata is told.
    pub fn key_metadata(&self) -> impl Iterator<Item = &str> {
        self.templates.iter().flatten().filter_map(|piece| match piece {
            Piece::Field(Field::KeyMetadata(name)) => Some(&**name),
            Piece::Field(_) | Piece::Text(_) => None,
        })
    }
}

/// What the upstream is told of a caller, ready to send: field lines side by side, in the configuration's order.
#[derive(Debug)]
pub struct Told {
    names: Arc<[HeaderName]>,
    lines: Box<[u8]>,
    signed: Option<Box<Statement>>,
}

impl Told {
    /// The lines as HTTP/1.1 has them.
    #[must_use]
    pub fn lines(&self) -> &[u8] {
        &self.lines
    }

    /// What is said once more, signed.
    #[must_use]
    pub fn signed(&self) -> Option<&Statement> {
        self.signed.as_deref()
    }

    /// Every name, whether or not it has a value.
    pub fn names(&self) -> impl Iterator<Item = &HeaderName> {
        self.names.iter()
    }

    /// The headers.
    pub fn iter(&self) -> impl Iterator<Item = (&HeaderName, &[u8])> {
        let mut rest = &*self.lines;
        self.names.iter().filter_map(move |name| {
            let value = rest.strip_prefix(name.as_str().as_bytes())?.strip_prefix(b": ")?;
            let end = memchr::memchr(b'\r', value)?;
            rest = value.get(end + 2..).unwrap_or_default();
            Some((name, value.get(..end)?))
        })
    }
}

/// Checks a value as it would be injected.
fn check(field: &Field, value: &str) -> Result<(), String> {
    let spaces = matches!(field, Field::TenantName | Field::TenantMetadata(_) | Field::KeyName | Field::KeyMetadata(_) | Field::Scopes);
    if is_injectable(value, spaces) || value.is_empty() {
        Ok(())
    } else {
        Err(format!("`{}` cannot stand in a header", value.escape_debug()))
    }
}

/// Visible ASCII without `, ; " \`, and inner spaces where they are allowed.
#[must_use]
pub fn is_injectable(value: &str, inner_spaces: bool) -> bool {
    let visible = |byte: u8| (byte.is_ascii_graphic() && !matches!(byte, b',' | b';' | b'"' | b'\\')) || (inner_spaces && byte == b' ');
    !value.is_empty() && value.bytes().all(visible) && !value.starts_with(' ') && !value.ends_with(' ')
}

fn parse(template: &str) -> Result<Box<[Piece]>, String> {
    let mut pieces = Vec::new();
    let mut rest = template;
    while let Some((front, behind)) = rest.split_once('{') {
        let (name, behind) = behind.split_once('}').ok_or("a brace is not closed")?;
        if !front.is_empty() {
            pieces.push(Piece::Text(front.into()));
        }
        pieces.push(Piece::Field(field(name).ok_or_else(|| format!("`{{{name}}}` is not known; there are {FIELDS}"))?));
        rest = behind;
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest.into()));
    }
    if pieces.iter().any(
        |piece| matches!(piece, Piece::Text(text) if !is_injectable(text.trim_matches(' '), true) && !text.trim_matches(' ').is_empty()),
    ) {
        return Err("literal text must be visible ASCII without , ; \" \\".into());
    }
    Ok(pieces.into())
}

fn field(name: &str) -> Option<Field> {
    Some(match name {
        "tenant.id" => Field::TenantId,
        "tenant.name" => Field::TenantName,
        "key.id" => Field::KeyId,
        "key.name" => Field::KeyName,
        "key.kind" => Field::KeyKind,
        "subject" => Field::Subject,
        "scopes" => Field::Scopes,
        "environment" => Field::Environment,
        "credential" => Field::Credential,
        _ => match name.rsplit_once('.') {
            Some(("tenant.metadata", name)) if !name.is_empty() => Field::TenantMetadata(name.into()),
            Some(("key.metadata", name)) if !name.is_empty() => Field::KeyMetadata(name.into()),
            _ => return None,
        },
    })
}

/// A name that every upstream reads alike, and that is nobody else's.
#[must_use]
pub fn is_plain_name(name: &HeaderName) -> bool {
    let reserved = [
        "authorization",
        "connection",
        "content-length",
        "content-type",
        "cookie",
        "expect",
        "forwarded",
        "host",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-proto",
        "x-request-id",
    ];
    name.as_str().bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') && !reserved.contains(&name.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::config::sections::EnvironmentName;
    use crate::key::record::KeyStatus;
    use crate::tenant::TenantStatus;

    fn records() -> (KeyRecord, TenantRecord) {
        let at = Timestamp(0);
        let key = KeyRecord {
            format: 1,
            id: "key_1".into(),
            tenant: "acme".into(),
            name: "ci".into(),
            prefix: "sk_live_".into(),
            last4: "abcd".into(),
            kind: "secret".into(),
            environment: EnvironmentName::Live,
            scopes: vec!["read:a".into(), "write:*".into()],
            ip_allowlist: None,
            referrers: None,
            endpoints: None,
            rate_limit: None,
            status: KeyStatus::Active,
            expires_at: None,
            created_at: at,
            created_by: String::new(),
            rotated_at: None,
            digest: String::new(),
            previous: None,
            last_used: None,
            last_used_from: None,
            exposed: false,
            metadata: [("project".to_owned(), "blue bird".to_owned())].into(),
            version: 1,
            unknown: std::collections::BTreeMap::new(),
        };
        let tenant = TenantRecord {
            format: 1,
            id: "acme".into(),
            name: "Acme".into(),
            status: TenantStatus::Active,
            ip_allowlist: None,
            scopes: None,
            rate_limit: None,
            metadata: std::collections::BTreeMap::new(),
            created_at: at,
            version: 1,
            unknown: std::collections::BTreeMap::new(),
        };
        (key, tenant)
    }

    fn render(toml: &str, key: &KeyRecord, tenant: &TenantRecord) -> Result<Vec<String>, String> {
        let config: Config = toml::from_str(toml).unwrap();
        let mut problems = Problems::default();
        let headers = IdentityHeaders::compile(&config, &mut problems).ok_or_else(|| format!("{:?}", problems.list()))?;
        let rendered = headers.for_key(key, tenant, &Grants::parse(&key.scopes).unwrap())?;
        Ok(rendered.iter().map(|(name, value)| format!("{name}: {}", std::str::from_utf8(value).unwrap())).collect())
    }

    #[test]
    fn defaults_tell_who_is_calling_and_nothing_empty() {
        let (key, tenant) = records();
        assert_eq!(
            render("", &key, &tenant).unwrap(),
            [
                "x-tenant-id: acme",
                "x-auth-key-id: key_1",
                "x-auth-scopes: read:a write:*",
                "x-auth-environment: live",
                "x-auth-credential: api_key"
            ]
        );
    }

    #[test]
    fn metadata_may_have_inner_spaces_and_what_is_absent_sends_no_header() {
        let (key, tenant) = records();
        let toml = "[identity.headers]\nX-Project = \"p-{key.metadata.project}\"\nX-None = \"p-{key.metadata.absent}\"\n";
        assert_eq!(render(toml, &key, &tenant).unwrap(), ["x-project: p-blue bird"]);
    }

    #[test]
    fn what_does_not_fit_refuses_the_caller() {
        let (mut key, mut tenant) = records();
        for bad in ["a\r\nX-Evil: 1", "a,b", "a;b", "a\"b", "a\\b", "é", " a", "a ", "a\u{7f}", "a\0"] {
            key.metadata.insert("project".into(), bad.into());
            assert!(render("[identity.headers]\nX-Project = \"{key.metadata.project}\"", &key, &tenant).is_err(), "{bad:?}");
        }
        tenant.id = "a b".into();
        assert!(render("", &key, &tenant).is_err());
        tenant.id = "x".repeat(257);
        assert!(render("", &key, &tenant).is_err());
    }

    #[test]
    fn templates_and_names_are_checked() {
        let (key, tenant) = records();
        for bad in [
            "X-A = \"{tenant.uuid}\"",
            "X-A = \"{tenant.id\"",
            "\"X_A\" = \"{tenant.id}\"",
            "Host = \"{tenant.id}\"",
            "X-A = \"a,{tenant.id}\"",
            "\"X A\" = \"x\"",
        ] {
            assert!(render(&format!("[identity.headers]\n{bad}"), &key, &tenant).is_err(), "{bad}");
        }
    }
}
