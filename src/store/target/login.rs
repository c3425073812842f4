//! How to log in: a user, and passwords that are read anew at each dial, so that they can be rotated under a running process.
//! A password is in nothing that is printed.

use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret as _, SecretString};
use zeroize::Zeroizing;

use super::url::Url;

/// Who logs in where.
#[derive(Clone)]
pub(in crate::store) struct Login {
    username: String,
    password: Password,
    db: i64,
}

#[derive(Clone)]
enum Password {
    None,
    InUrl(SecretString),
    InFile(PathBuf),
}

impl Login {
    /// The section's own keys win over the URL.
    pub(super) fn new(url: &Url, username: &str, file: &Path) -> Self {
        let username = if username.is_empty() { url.username.clone() } else { username.to_owned() };
        let password = if file.as_os_str().is_empty() { Password::of_url(url) } else { Password::InFile(file.to_owned()) };
        Self { username, password, db: url.db }
    }

    /// That of the servers, unless the URL names another.
    pub(super) fn of_sentinels(url: &Url, servers: &Self) -> Self {
        match &url.sentinel_password_file {
            Some(file) => Self { username: url.sentinel_username.clone(), password: Password::InFile(file.clone()), db: 0 },
            None => Self { db: 0, ..servers.clone() },
        }
    }

    /// The ACL user; empty = the default one.
    pub(in crate::store) fn username(&self) -> &str {
        &self.username
    }

    /// The database.
    pub(in crate::store) const fn db(&self) -> i64 {
        self.db
    }

    /// What may be the password now, the newest first; none = none is asked for.
    pub(in crate::store) fn passwords(&self) -> Result<Vec<Zeroizing<String>>, String> {
        match &self.password {
            Password::None => Ok(Vec::new()),
            Password::InUrl(password) => Ok(vec![Zeroizing::new(password.expose_secret().to_owned())]),
            Password::InFile(path) => read(path),
        }
    }
}

impl Password {
    fn of_url(url: &Url) -> Self {
        url.password.as_ref().map_or(Self::None, |password| Self::InUrl(password.clone()))
    }
}

/// One a line: whoever rotates writes the new one above the old one.
fn read(path: &Path) -> Result<Vec<Zeroizing<String>>, String> {
    let text = std::fs::read_to_string(path).map(Zeroizing::new).map_err(|error| format!("password_file {}: {error}", path.display()))?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let passwords: Vec<_> = lines.map(|line| Zeroizing::new(line.to_owned())).collect();
    if passwords.is_empty() { Err(format!("password_file {} is empty", path.display())) } else { Ok(passwords) }
}
