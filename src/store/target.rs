//! `[store] url`: which store, where. Text in, typed out; nothing is opened here, only the password file is read.
//! Words about a URL never repeat it: it may hold a password.

use std::path::{Path, PathBuf};
use std::time::Duration;

use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _, RedisConnectionInfo};
use zeroize::Zeroizing;

use crate::config::problem::Problems;
use crate::config::sections;

/// A store that can be opened.
pub(super) enum Target {
    /// A Redis server.
    Redis(Box<RedisTarget>),
    /// A file of this machine.
    Embedded(PathBuf),
}

/// A Redis server and how to talk to it.
pub(super) struct RedisTarget {
    pub(super) address: Address,
    pub(super) login: RedisConnectionInfo,
    pub(super) key_prefix: String,
    pub(super) connect_timeout: Duration,
    pub(super) command_timeout: Duration,
}

/// Where the server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Address {
    Tcp(String, u16),
    Unix(PathBuf),
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(host, port) => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Checks `[store]` without opening anything.
pub fn check(config: &sections::Store, problems: &mut Problems) {
    if let Err(why) = parse(config) {
        problems.error("store.url", why).help("embedded:PATH, redis://host:6379/0 or redis+unix:///run/redis.sock");
    }
    if config.key_prefix.contains(['{', '}']) {
        problems.error("store.key_prefix", "braces would decide the slot of every key in a cluster").help("leave them out");
    }
    if !config.pepper_file.as_os_str().is_empty()
        && let Err(why) = crate::key::digest::Peppers::from_file(&config.pepper_file)
    {
        problems.error("store.pepper_file", why);
    }
    if config.command_timeout.0.is_zero() {
        problems.error("store.command_timeout", "command_timeout must be more than 0");
    }
    if config.connect_timeout.0.is_zero() {
        problems.error("store.connect_timeout", "connect_timeout must be more than 0");
    }
}

/// Reads the section.
pub(super) fn parse(config: &sections::Store) -> Result<Target, String> {
    let Some((scheme, rest)) = config.url.split_once(':') else {
        return Err("the store's url is not a URL".into());
    };
    match scheme {
        "embedded" if rest.is_empty() => Err("the store's url `embedded:` needs the path of a file behind the colon".into()),
        "embedded" => Ok(Target::Embedded(PathBuf::from(rest))),
        "redis" | "redis+unix" => redis_target(config).map(|target| Target::Redis(Box::new(target))),
        "rediss" | "redis-sentinel" | "redis-cluster" => Err(format!("the store's url `{scheme}:` is not built yet in this release")),
        _ => Err("the store's url is of no store that Sidegate knows".into()),
    }
}

fn redis_target(config: &sections::Store) -> Result<RedisTarget, String> {
    // The crate's own words are left out: they may repeat the URL, which may hold a password.
    let info: ConnectionInfo =
        config.url.as_str().into_connection_info().map_err(|_| "the store's url is not a valid redis URL".to_owned())?;
    let address = if let ConnectionAddr::Tcp(host, port) = info.addr() {
        Address::Tcp(host.clone(), *port)
    } else if let ConnectionAddr::Unix(path) = info.addr() {
        Address::Unix(path.clone())
    } else {
        return Err("TLS to the store is not built yet in this release".into());
    };
    let mut login = info.redis_settings().clone().set_skip_set_lib_name();
    if !config.username.is_empty() {
        login = login.set_username(&config.username);
    }
    if !config.password_file.as_os_str().is_empty() {
        login = login.set_password(read_password(&config.password_file)?.as_str());
    }
    Ok(RedisTarget {
        address,
        login,
        key_prefix: config.key_prefix.clone(),
        connect_timeout: config.connect_timeout.0,
        command_timeout: config.command_timeout.0,
    })
}

/// The first line: secret files may hold several, newest first.
fn read_password(path: &Path) -> Result<Zeroizing<String>, String> {
    let text = std::fs::read_to_string(path).map(Zeroizing::new).map_err(|error| format!("password_file {}: {error}", path.display()))?;
    match text.lines().map(str::trim).find(|line| !line.is_empty()) {
        Some(line) => Ok(Zeroizing::new(line.to_owned())),
        None => Err(format!("password_file {} is empty", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_url(url: &str) -> sections::Store {
        sections::Store { url: url.into(), ..sections::Store::default() }
    }

    #[test]
    fn what_is_wrong_has_a_subject() {
        for url in ["nowhere", "postgres://a", "redis://", "redis://a:b", "embedded:", "rediss://a"] {
            let why = parse(&with_url(url)).err().unwrap_or_else(|| panic!("{url} was taken"));
            assert!(why.starts_with("the store's url ") && !why.contains("postgres"), "{url}: {why}");
        }
        let none = crate::config::units::Span::secs(0);
        let mut problems = Problems::default();
        check(&sections::Store { command_timeout: none, connect_timeout: none, ..sections::Store::default() }, &mut problems);
        for problem in problems.list() {
            let (_, key) = problem.path.split_once('.').unwrap();
            assert!(problem.message.starts_with(key), "{problem:?}");
        }
    }

    #[test]
    fn urls_of_every_kind_are_understood() {
        assert!(
            matches!(parse(&with_url("embedded:/var/lib/sidegate")), Ok(Target::Embedded(path)) if path == Path::new("/var/lib/sidegate"))
        );
        let Ok(Target::Redis(tcp)) = parse(&with_url("redis://ann:p%40ss@[::1]:7000/3")) else { panic!("refused") };
        assert_eq!(tcp.address, Address::Tcp("::1".into(), 7000));
        assert_eq!((tcp.login.db(), tcp.login.username(), tcp.login.password()), (3, Some("ann"), Some("p@ss")));
        let Ok(Target::Redis(unix)) = parse(&with_url("redis+unix:///run/redis.sock?db=2")) else { panic!("refused") };
        assert_eq!(unix.address, Address::Unix("/run/redis.sock".into()));
        assert_eq!(unix.login.db(), 2);
    }

    #[test]
    fn what_is_wrong_is_said_without_the_password() {
        for url in [
            "",
            "embedded:",
            "redis",
            "redis://",
            "mysql://x",
            "redis://u:secret@host:port",
            "redis://u:secret@host/notanumber",
            "rediss://h",
        ] {
            let why = parse(&with_url(url)).err().unwrap_or_else(|| panic!("{url} was accepted"));
            assert!(!why.contains("secret"), "{why}");
        }
    }

    #[test]
    fn the_password_file_wins_and_must_hold_something() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let config = sections::Store {
            url: "redis://u:old@h".into(),
            username: "svc".into(),
            password_file: file.path().into(),
            ..sections::Store::default()
        };
        assert!(parse(&config).is_err());
        std::fs::write(file.path(), "\n new \nolder\n").unwrap();
        let Ok(Target::Redis(target)) = parse(&config) else { panic!("refused") };
        assert_eq!((target.login.username(), target.login.password()), (Some("svc"), Some("new")));
    }
}
