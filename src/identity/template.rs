//! `[identity.headers]`: what the upstream is told. Values are checked, never escaped: what does not fit refuses the caller.

use std::sync::Arc;

use http::HeaderName;
use smallvec::SmallVec;

use super::signed::Statement;
use super::words::Words;
use crate::config::problem::Problems;
use crate::config::sections::Config;
use crate::key::record::KeyRecord;
use crate::tenant::TenantRecord;

/// Longest injected value, bytes.
pub const VALUE_MAX: usize = 256;
/// Longest list of scopes, bytes.
pub const SCOPES_MAX: usize = 8 << 10;

/// The compiled templates, and the words that callers have in common.
#[derive(Debug, Clone)]
pub struct IdentityHeaders {
    templates: Arc<[Template]>,
    /// What of the records they name, beside what every caller has.
    texts: Arc<[Text]>,
    /// Whether it is said once more, signed.
    signs: bool,
    words: Arc<Words>,
}

#[derive(Debug)]
struct Template {
    name: HeaderName,
    pieces: Box<[Piece]>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Literal(Box<str>),
    Field(Field),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    TenantId,
    KeyId,
    KeyKind,
    Subject,
    Scopes,
    Environment,
    Credential,
    /// The text with this index.
    Text(usize),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Text {
    TenantName,
    TenantMetadata(Box<str>),
    KeyName,
    KeyMetadata(Box<str>),
}

/// What templates are filled with; empty where a caller has none.
#[derive(Debug, Clone, Copy, Default)]
#[expect(missing_docs, reason = "the fields of templates")]
pub struct Values<'a> {
    pub tenant_id: &'a str,
    pub key_id: &'a str,
    pub kind: &'a str,
    pub subject: &'a str,
    pub scopes: &'a str,
    pub environment: &'a str,
    pub credential: &'a str,
    /// As [`IdentityHeaders::texts`] made them.
    pub texts: &'a [Box<str>],
}

impl<'a> Values<'a> {
    /// On an open route.
    pub const NOBODY: Values<'static> =
        Values { tenant_id: "", key_id: "", kind: "", subject: "", scopes: "", environment: "", credential: "none", texts: &[] };

    fn of(&self, field: Field) -> &'a str {
        match field {
            Field::TenantId => self.tenant_id,
            Field::KeyId => self.key_id,
            Field::KeyKind => self.kind,
            Field::Subject => self.subject,
            Field::Scopes => self.scopes,
            Field::Environment => self.environment,
            Field::Credential => self.credential,
            Field::Text(index) => self.texts.get(index).map_or("", |text| text),
        }
    }
}

/// Names that a template may use, for messages.
const FIELDS: &str = "{tenant.id} {tenant.name} {tenant.metadata.NAME} {key.id} {key.name} {key.kind} {key.metadata.NAME} {subject} {scopes} {environment} {credential}";

impl IdentityHeaders {
    /// Compiles `[identity.headers]`.
    pub fn compile(config: &Config, problems: &mut Problems) -> Option<Self> {
        let mut sound = true;
        let (mut templates, mut texts) = (Vec::new(), Vec::new());
        for (name, template) in &config.identity.headers {
            let path = format!("identity.headers.{name}");
            let header: Option<HeaderName> = problems.parse(&path, name);
            let pieces = problems.keep(&path, parse(template, &mut texts));
            match (header, pieces) {
                (Some(name), Some(pieces)) if is_plain_name(&name) => templates.push(Template { name, pieces }),
                (Some(_), Some(_)) => {
                    problems.error(&path, format!("`{name}` cannot carry identity: letters, digits and -, and no header of HTTP itself"));
                    sound = false;
                }
                _ => sound = false,
            }
        }
        let signs = !config.identity.signed.header.is_empty();
        sound.then(|| Self { templates: templates.into(), texts: texts.into(), signs, words: Arc::default() })
    }

    /// The header names, which no client may send.
    pub fn names(&self) -> impl Iterator<Item = &HeaderName> {
        self.templates.iter().map(|template| &template.name)
    }

    /// Names of what of a key's metadata is told.
    pub fn key_metadata(&self) -> impl Iterator<Item = &str> {
        self.texts.iter().filter_map(|text| match text {
            Text::KeyMetadata(name) => Some(&**name),
            Text::TenantName | Text::TenantMetadata(_) | Text::KeyName => None,
        })
    }

    /// A word that many callers have, once for all of them.
    pub(super) fn word(&self, word: &str) -> Arc<str> {
        self.words.get(word)
    }

    /// What of the records is told, beside what every caller has. A token has no key of its own, and its tenant need not have a record.
    pub(super) fn texts(&self, key: Option<&KeyRecord>, tenant: Option<&TenantRecord>) -> Vec<Box<str>> {
        let text = |text: &Text| match text {
            Text::TenantName => tenant.map(|tenant| tenant.name.as_str()),
            Text::TenantMetadata(name) => tenant.and_then(|tenant| tenant.metadata.get(&**name)).map(String::as_str),
            Text::KeyName => key.map(|key| key.name.as_str()),
            Text::KeyMetadata(name) => key.and_then(|key| key.metadata.get(&**name)).map(String::as_str),
        };
        self.texts.iter().map(|of| text(of).unwrap_or_default().into()).collect()
    }

    /// What is said of a caller once more, to be signed, where that is wanted.
    pub(super) fn statement(&self, values: &Values<'_>) -> Option<Statement> {
        let subject = if values.key_id.is_empty() { values.subject } else { values.key_id };
        self.signs.then(|| {
            Statement::new(&[
                ("sub", subject),
                ("tenant", values.tenant_id),
                ("key_id", values.key_id),
                ("scope", values.scopes),
                ("environment", values.environment),
                ("credential", values.credential),
            ])
        })
    }

    /// Whether all of it can be told.
    ///
    /// # Errors
    /// Which value does not fit: 1–256 bytes of visible ASCII without `, ; " \`; names and metadata may have inner spaces.
    pub fn check(&self, values: &Values<'_>) -> Result<(), String> {
        for Template { name, pieces } in &*self.templates {
            let (mut length, mut max) = (0, VALUE_MAX);
            for piece in pieces {
                let text = match piece {
                    Piece::Literal(literal) => literal,
                    Piece::Field(field) => {
                        let value = values.of(*field);
                        check(*field, value).map_err(|why| format!("{name}: {why}"))?;
                        max = if *field == Field::Scopes { SCOPES_MAX } else { max };
                        value
                    }
                };
                length += text.len();
            }
            if length > max {
                return Err(format!("{name}: more than {max} bytes"));
            }
        }
        Ok(())
    }

    /// Tells who is calling, in the configuration's order; an empty value sends no header.
    pub fn tell(&self, values: &Values<'_>, mut out: impl FnMut(&HeaderName, &[u8])) {
        for Template { name, pieces } in &*self.templates {
            if let [Piece::Field(field)] = **pieces {
                let value = values.of(field);
                if !value.is_empty() {
                    out(name, value.as_bytes());
                }
                continue;
            }
            let mut line = SmallVec::<[u8; VALUE_MAX]>::new();
            // A template whose fields are all empty says nothing, whatever its literal text.
            let mut says_something = pieces.iter().all(|piece| matches!(piece, Piece::Literal(_)));
            for piece in pieces {
                let text = match piece {
                    Piece::Literal(literal) => literal,
                    Piece::Field(field) => values.of(*field),
                };
                says_something |= matches!(piece, Piece::Field(_)) && !text.is_empty();
                line.extend_from_slice(text.as_bytes());
            }
            if says_something && !line.is_empty() {
                out(name, &line);
            }
        }
    }
}

/// Checks a value as it would be injected.
fn check(field: Field, value: &str) -> Result<(), String> {
    let spaces = matches!(field, Field::Text(_) | Field::Scopes);
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

fn parse(template: &str, texts: &mut Vec<Text>) -> Result<Box<[Piece]>, String> {
    let mut pieces = Vec::new();
    let mut rest = template;
    while let Some((front, behind)) = rest.split_once('{') {
        let (name, behind) = behind.split_once('}').ok_or("a brace is not closed")?;
        if !front.is_empty() {
            pieces.push(Piece::Literal(front.into()));
        }
        pieces.push(Piece::Field(field(name, texts).ok_or_else(|| format!("`{{{name}}}` is not known; there are {FIELDS}"))?));
        rest = behind;
    }
    if !rest.is_empty() {
        pieces.push(Piece::Literal(rest.into()));
    }
    if pieces.iter().any(
        |piece| matches!(piece, Piece::Literal(text) if !is_injectable(text.trim_matches(' '), true) && !text.trim_matches(' ').is_empty()),
    ) {
        return Err("literal text must be visible ASCII without , ; \" \\".into());
    }
    Ok(pieces.into())
}

fn field(name: &str, texts: &mut Vec<Text>) -> Option<Field> {
    let text = match name {
        "tenant.id" => return Some(Field::TenantId),
        "key.id" => return Some(Field::KeyId),
        "key.kind" => return Some(Field::KeyKind),
        "subject" => return Some(Field::Subject),
        "scopes" => return Some(Field::Scopes),
        "environment" => return Some(Field::Environment),
        "credential" => return Some(Field::Credential),
        "tenant.name" => Text::TenantName,
        "key.name" => Text::KeyName,
        _ => match name.rsplit_once('.') {
            Some(("tenant.metadata", name)) if !name.is_empty() => Text::TenantMetadata(name.into()),
            Some(("key.metadata", name)) if !name.is_empty() => Text::KeyMetadata(name.into()),
            _ => return None,
        },
    };
    let known = texts.iter().position(|known| *known == text);
    Some(Field::Text(known.unwrap_or_else(|| {
        texts.push(text);
        texts.len() - 1
    })))
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
    use crate::identity::{Identity, Ids};
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
        let ids = Ids { key: key.id.as_str().into(), tenant: tenant.id.as_str().into() };
        let identity = Identity::compile(ids, key, tenant, &headers)?;
        let mut told = Vec::new();
        headers.tell(&identity.values(), |name, value| told.push(format!("{name}: {}", std::str::from_utf8(value).unwrap())));
        Ok(told)
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
