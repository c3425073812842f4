//! What a token may do: an area, read or write; of sessions, to begin one and nothing else. A closed list, so that a misspelt word in proxy.toml is an error and not a right that
//! nobody has.

use std::fmt;

/// What is managed.
const AREAS: [&str; 7] = ["keys", "tenants", "sessions", "usage", "audit", "explain", "system"];

/// A permission, as handlers name it: two bits of an area each.
pub(crate) type Permission = u16;

const fn read(area: usize) -> Permission {
    1 << (2 * area)
}

const fn write(area: usize) -> Permission {
    2 << (2 * area)
}

/// See `AREAS`.
pub(crate) const KEYS_READ: Permission = read(0);
/// See `AREAS`.
pub(crate) const KEYS_WRITE: Permission = write(0);
/// See `AREAS`.
pub(crate) const TENANTS_READ: Permission = read(1);
/// See `AREAS`.
pub(crate) const TENANTS_WRITE: Permission = write(1);
/// See `AREAS`.
pub(crate) const SESSIONS_READ: Permission = read(2);
/// See `AREAS`.
pub(crate) const SESSIONS_WRITE: Permission = write(2);
/// To begin sessions: all that the handler of a login needs. Who may write them may do that too.
pub(crate) const SESSIONS_CREATE: Permission = 1 << (2 * AREAS.len());
/// See `AREAS`.
pub(crate) const USAGE_READ: Permission = read(3);
/// See `AREAS`.
pub(crate) const AUDIT_READ: Permission = read(4);
/// See `AREAS`.
pub(crate) const EXPLAIN_READ: Permission = read(5);
/// See `AREAS`.
pub(crate) const SYSTEM_READ: Permission = read(6);
/// Any token at all.
pub(crate) const NONE: Permission = 0;

/// The permissions of a token.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Permissions(u16);

impl Permissions {
    /// Reads `[[admin.tokens]] allow`: `keys:read`, `keys` for both, `*` for all.
    ///
    /// # Errors
    /// The index of a word that is none, and what there is.
    pub(crate) fn parse(words: &[String]) -> Result<Self, (usize, String)> {
        words.iter().enumerate().try_fold(Self::default(), |all, (index, word)| match Self::word(word) {
            Some(permissions) => Ok(Self(all.0 | permissions.0)),
            None => Err((index, unknown(word))),
        })
    }

    fn word(word: &str) -> Option<Self> {
        if word == "*" {
            return Some(Self(u16::MAX));
        }
        let (area, access) = word.split_once(':').map_or((word, None), |(area, access)| (area, Some(access)));
        let area = AREAS.iter().position(|known| *known == area)?;
        let write = if write(area) == SESSIONS_WRITE { SESSIONS_WRITE | SESSIONS_CREATE } else { write(area) };
        match access {
            None => Some(Self(read(area) | write)),
            Some("read") => Some(Self(read(area))),
            Some("write") => Some(Self(write)),
            Some("create") if write & SESSIONS_CREATE != 0 => Some(Self(SESSIONS_CREATE)),
            Some(_) => None,
        }
    }

    /// Whether that is among them.
    pub(crate) const fn hold(self, permission: Permission) -> bool {
        self.0 & permission == permission
    }
}

fn unknown(word: &str) -> String {
    format!(
        "`{}` is no permission: {}, each alone or with :read or :write, sessions:create, or * for all",
        word.escape_debug(),
        AREAS.join(" ")
    )
}

/// A permission in words.
pub(crate) struct Named(pub(crate) Permission);

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == SESSIONS_CREATE {
            return f.write_str("sessions:create");
        }
        let area = AREAS.get(usize::try_from(self.0.trailing_zeros() / 2).unwrap_or(usize::MAX)).copied().unwrap_or("none");
        let access = if self.0.trailing_zeros().is_multiple_of(2) { "read" } else { "write" };
        write!(f, "{area}:{access}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(words: &[&str]) -> Result<Permissions, (usize, String)> {
        Permissions::parse(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn each_word_gives_what_it_says_and_no_more() {
        let all = [
            KEYS_READ,
            KEYS_WRITE,
            TENANTS_READ,
            TENANTS_WRITE,
            SESSIONS_READ,
            SESSIONS_WRITE,
            SESSIONS_CREATE,
            USAGE_READ,
            AUDIT_READ,
            EXPLAIN_READ,
            SYSTEM_READ,
        ];
        for permission in all {
            let own = of(&[&Named(permission).to_string()]).unwrap();
            for other in all {
                let is_part = other == permission || (permission, other) == (SESSIONS_WRITE, SESSIONS_CREATE);
                assert_eq!(own.hold(other), is_part, "{} {}", Named(permission), Named(other));
            }
            assert!(of(&["*"]).unwrap().hold(permission));
            assert!(!of(&[]).unwrap().hold(permission));
        }
        let keys = of(&["keys"]).unwrap();
        assert!(keys.hold(KEYS_READ) && keys.hold(KEYS_WRITE) && !keys.hold(TENANTS_READ));
        assert_eq!(Named(KEYS_WRITE).to_string(), "keys:write");
        assert_eq!(Named(SYSTEM_READ).to_string(), "system:read");
    }

    #[test]
    fn an_unknown_word_is_an_error_at_its_place() {
        for word in ["key", "keys:", "keys:delete", "keys:create", "*:read", "", "KEYS"] {
            let (index, why) = of(&["keys", word]).unwrap_err();
            assert!(index == 1 && why.contains("sessions"), "{why}");
        }
    }
}
