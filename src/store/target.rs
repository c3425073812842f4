//! `[store] url`: which store, where. Text in, typed out; nothing is opened here, only secret files and certificates are read.
//! Words about a URL never repeat it: it may hold a password.

mod login;
mod url;

use std::path::PathBuf;
use std::time::Duration;

use crate::config::problem::Problems;
use crate::config::sections;
pub(super) use login::Login;

/// A store that can be opened.
pub(super) enum Target {
    /// Redis, on one server or on many.
    Redis(Box<RedisTarget>),
    /// A file of this machine.
    Embedded(PathBuf),
}

/// A Redis and how to talk to it.
pub(super) struct RedisTarget {
    pub(super) topology: Topology,
    pub(super) login: Login,
    /// The files to use; `None` = no TLS.
    pub(super) tls: Option<sections::StoreTls>,
    pub(super) key_prefix: String,
    pub(super) connect_timeout: Duration,
    pub(super) command_timeout: Duration,
    pub(super) write_replicas: u32,
}

/// Which servers there are, as far as they do not tell that themselves.
pub(super) enum Topology {
    /// One.
    Server(Address),
    /// The master that sentinels name.
    Sentinel {
        /// Whom to ask.
        sentinels: Vec<Address>,
        /// How to log in there.
        login: Login,
        /// The name of the set.
        master: String,
    },
    /// A cluster, of which these are some nodes.
    Cluster(Vec<Address>),
}

impl std::fmt::Display for Topology {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Server(address) => address.fmt(f),
            Self::Sentinel { master, .. } => write!(f, "master {master}"),
            Self::Cluster(_) => f.write_str("cluster"),
        }
    }
}

/// Where a server is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Address {
    Tcp(String, u16),
    Unix(PathBuf),
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp(host, port) => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// `[store]` as it would be for `[idempotency] store_url`: the same terms, but for who logs in. `None` = the key table's store.
pub(crate) fn of_reservations(config: &sections::Config) -> Option<sections::Store> {
    let url = &config.idempotency.store_url;
    let is_asked = config.idempotency.mode != sections::IdempotencyMode::Off && !url.is_empty();
    is_asked.then(|| sections::Store {
        url: url.clone(),
        username: String::new(),
        password_file: PathBuf::new(),
        tls: if url.starts_with("rediss") { config.store.tls.clone() } else { sections::StoreTls::default() },
        ..config.store.clone()
    })
}

/// Checks `[idempotency] store_url`, as [`check`] does `[store]`.
pub fn check_reservations(config: &sections::Config, problems: &mut Problems) {
    let Some(section) = of_reservations(config) else { return };
    let path = "idempotency.store_url";
    match parse(&section) {
        Err(why) => drop(problems.error(path, why)),
        Ok(Target::Embedded(_)) => {
            problems.error(path, "a file is no other Redis").help("leave it empty: reservations are kept where the keys are");
        }
        Ok(target) => check_tls(&section.tls, &target, problems),
    }
}

/// Checks `[store]` without opening anything.
pub fn check(config: &sections::Store, problems: &mut Problems) {
    match parse(config) {
        Err(why) => {
            problems.error("store.url", why).help(
                "embedded:PATH, redis://host:6379/0, rediss://host, redis+unix:///run/redis.sock, redis-sentinel://h1,h2,h3/mymaster or redis-cluster://h1,h2",
            );
        }
        Ok(target) => check_tls(&config.tls, &target, problems),
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

fn check_tls(files: &sections::StoreTls, target: &Target, problems: &mut Problems) {
    match target {
        Target::Redis(redis) if redis.tls.is_some() => {
            if let Err(why) = super::redis::tls::client_config(files) {
                problems.error("store.tls", why);
            }
        }
        Target::Redis(_) | Target::Embedded(_) if *files != sections::StoreTls::default() => {
            problems
                .error("store.tls", "the store's url asks for no TLS, so these files would protect nothing")
                .help("rediss://, rediss-sentinel:// or rediss-cluster:// as the url, or remove [store.tls]");
        }
        Target::Redis(_) | Target::Embedded(_) => {}
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
        "redis" | "rediss" | "redis+unix" | "redis-sentinel" | "rediss-sentinel" | "redis-cluster" | "rediss-cluster" => {
            redis_target(config, scheme).map(|target| Target::Redis(Box::new(target)))
        }
        _ => Err("the store's url is of no store that Sidegate knows".into()),
    }
}

fn redis_target(config: &sections::Store, scheme: &str) -> Result<RedisTarget, String> {
    let url = url::parse(&config.url, scheme)?;
    let login = Login::new(&url, &config.username, &config.password_file);
    // Told at the start rather than at the first dial.
    login.passwords()?;
    let topology = match scheme {
        "redis-sentinel" | "rediss-sentinel" => {
            let login = Login::of_sentinels(&url, &login);
            login.passwords()?;
            Topology::Sentinel { sentinels: url.addresses, login, master: url.master }
        }
        "redis-cluster" | "rediss-cluster" if url.db != 0 => {
            return Err("the store's url names a database, and a cluster has but one".into());
        }
        "redis-cluster" | "rediss-cluster" => Topology::Cluster(url.addresses),
        _ => Topology::Server(url.addresses.into_iter().next().ok_or("the store's url names no host")?),
    };
    Ok(RedisTarget {
        topology,
        login,
        tls: scheme.starts_with("rediss").then(|| config.tls.clone()),
        key_prefix: config.key_prefix.clone(),
        connect_timeout: config.connect_timeout.0,
        command_timeout: config.command_timeout.0,
        write_replicas: config.write_replicas,
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn with_url(url: &str) -> sections::Store {
        sections::Store { url: url.into(), ..sections::Store::default() }
    }

    fn redis(config: &sections::Store) -> RedisTarget {
        match parse(config) {
            Ok(Target::Redis(target)) => *target,
            Ok(Target::Embedded(_)) => panic!("embedded"),
            Err(why) => panic!("refused: {why}"),
        }
    }

    fn passwords(login: &Login) -> Vec<String> {
        login.passwords().unwrap().iter().map(|password| password.to_string()).collect()
    }

    fn tcp(host: &str, port: u16) -> Address {
        Address::Tcp(host.into(), port)
    }

    #[test]
    fn what_is_wrong_has_a_subject() {
        for url in ["nowhere", "postgres://a", "redis://", "redis://a:b", "embedded:", "redis-cluster://a/1", "redis-sentinel://a"] {
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
    fn urls_of_one_server_are_understood() {
        assert!(
            matches!(parse(&with_url("embedded:/var/lib/sidegate")), Ok(Target::Embedded(path)) if path == Path::new("/var/lib/sidegate"))
        );
        let plain = redis(&with_url("redis://ann:p%40ss@[::1]:7000/3"));
        assert!(matches!(plain.topology, Topology::Server(address) if address == tcp("::1", 7000)));
        assert_eq!((plain.login.db(), plain.login.username(), plain.tls), (3, "ann", None));
        assert_eq!(passwords(&plain.login), ["p@ss"]);
        let unix = redis(&with_url("redis+unix:///run/redis.sock?db=2"));
        assert!(matches!(unix.topology, Topology::Server(address) if address == Address::Unix("/run/redis.sock".into())));
        assert_eq!(unix.login.db(), 2);
        let secure = redis(&with_url("rediss://keys.example"));
        assert!(matches!(secure.topology, Topology::Server(address) if address == tcp("keys.example", 6379)));
        assert!(secure.tls.is_some());
    }

    #[test]
    fn urls_of_many_servers_are_understood() {
        let sentinel = redis(&with_url("redis-sentinel://svc:pw@h1,h2:7001,[::1]/mymaster/4"));
        let Topology::Sentinel { sentinels, login, master } = sentinel.topology else { panic!("no sentinels") };
        assert_eq!(sentinels, [tcp("h1", 26379), tcp("h2", 7001), tcp("::1", 26379)]);
        assert_eq!((master.as_str(), sentinel.login.db(), login.db()), ("mymaster", 4, 0));
        assert_eq!((login.username(), passwords(&login)), ("svc", vec!["pw".to_owned()]));
        let cluster = redis(&with_url("rediss-cluster://h1,h2:7001"));
        assert!(matches!(cluster.topology, Topology::Cluster(seeds) if seeds == [tcp("h1", 6379), tcp("h2", 7001)]));
        assert!(cluster.tls.is_some());
    }

    #[test]
    fn sentinels_may_have_a_login_of_their_own() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "watch\n").unwrap();
        let url = format!("redis-sentinel://svc:pw@h1/m?sentinel_username=eye&sentinel_password_file={}", file.path().display());
        let Topology::Sentinel { login, .. } = redis(&with_url(&url)).topology else { panic!("no sentinels") };
        assert_eq!((login.username(), passwords(&login)), ("eye", vec!["watch".to_owned()]));
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
            "rediss://u:secret@host/#insecure",
            "redis://u:secret@a,b",
            "redis-cluster://u:secret@a,,b",
            "redis-cluster://u:secret@a,b:port",
            "redis-cluster://u:secret@a,b/notanumber",
            "redis-cluster://u:secret@a,b?no=secret",
            "redis-sentinel://u:secret@a,b/m/notanumber",
            "redis-sentinel://u:secret@a,b",
            "redis-sentinel://u:secret@/m",
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
        let target = redis(&config);
        assert_eq!((target.login.username(), passwords(&target.login)), ("svc", vec!["new".to_owned(), "older".to_owned()]));
        // It is read again at each dial.
        std::fs::write(file.path(), "newest\n").unwrap();
        assert_eq!(passwords(&target.login), ["newest"]);
    }

    #[test]
    fn files_that_protect_nothing_are_told() {
        let tls = sections::StoreTls { ca_file: "/ca.pem".into(), ..sections::StoreTls::default() };
        for (url, why) in [("redis://h", "asks for no TLS"), ("embedded:/keys", "asks for no TLS"), ("rediss://h", "/ca.pem")] {
            let mut problems = Problems::default();
            check(&sections::Store { tls: tls.clone(), ..with_url(url) }, &mut problems);
            assert!(problems.list()[0].message.contains(why), "{url}: {:?}", problems.list());
        }
    }
}
