//! The URL of a Redis, taken apart: one host or several, a login, a database, the name of a master.
//! Every word about what is wrong is fixed text: the URL may hold a password.

use std::path::PathBuf;

use percent_encoding::percent_decode_str;
use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _};
use secrecy::SecretString;

use super::Address;

/// Where sentinels listen.
const SENTINEL_PORT: u16 = 26379;

/// What a URL says.
#[derive(Default)]
pub(super) struct Url {
    pub(super) addresses: Vec<Address>,
    pub(super) username: String,
    pub(super) password: Option<SecretString>,
    pub(super) db: i64,
    /// Of sentinels: the set's name.
    pub(super) master: String,
    pub(super) sentinel_username: String,
    pub(super) sentinel_password_file: Option<PathBuf>,
}

/// Takes a URL apart whose scheme is known.
pub(super) fn parse(url: &str, scheme: &str) -> Result<Url, String> {
    if url.contains('#') {
        return Err("the store's url has a fragment: a `#` in a password is %23, and TLS is never insecure".into());
    }
    match scheme {
        "redis+unix" => one_server(url),
        "redis" | "rediss" => {
            let (_, rest) = url.split_once(':').unwrap_or_default();
            one_server(&format!("redis:{rest}"))
        }
        _ => many_servers(url, scheme.ends_with("sentinel")),
    }
}

/// The crate's own words are left out: they may repeat the URL.
fn one_server(url: &str) -> Result<Url, String> {
    let info: ConnectionInfo = url.into_connection_info().map_err(|_| "the store's url is not a valid redis URL".to_owned())?;
    let address = if let ConnectionAddr::Unix(path) = info.addr() {
        Address::Unix(path.clone())
    } else if let ConnectionAddr::Tcp(host, port) = info.addr()
        && !host.contains(',')
    {
        Address::Tcp(host.clone(), *port)
    } else {
        return Err("the store's url names several hosts, and `redis:` is of one".into());
    };
    let settings = info.redis_settings();
    Ok(Url {
        addresses: vec![address],
        username: settings.username().unwrap_or_default().to_owned(),
        password: settings.password().map(SecretString::from),
        db: settings.db(),
        ..Url::default()
    })
}

/// `scheme://[user:password@]host[:port],host[:port]/path?query`: each host is read as the URL of one server.
fn many_servers(url: &str, sentinels: bool) -> Result<Url, String> {
    let (_, rest) = url.split_once("://").ok_or("the store's url names no host")?;
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (user, hosts) = authority.rsplit_once('@').map_or(("", authority), |(user, hosts)| (user, hosts));
    let mut parsed = Url::default();
    for host in hosts.split(',') {
        let at = if user.is_empty() { "" } else { "@" };
        let port = if sentinels && !has_port(host) { format!(":{SENTINEL_PORT}") } else { String::new() };
        let one = one_server(&format!("redis://{user}{at}{host}{port}"))?;
        parsed.addresses.extend(one.addresses);
        (parsed.username, parsed.password) = (one.username, one.password);
    }
    let db = if sentinels {
        let (master, db) = path.split_once('/').unwrap_or((path, ""));
        parsed.master = decoded(master)?;
        if parsed.master.is_empty() {
            return Err("the store's url names no master: redis-sentinel://h1,h2,h3/mymaster".into());
        }
        db
    } else {
        path
    };
    if !db.is_empty() {
        parsed.db = db.parse().map_err(|_| "the store's url names a database that is no number")?;
    }
    for (name, value) in query.split('&').filter(|pair| !pair.is_empty()).map(|pair| pair.split_once('=').unwrap_or((pair, ""))) {
        match name {
            "sentinel_username" if sentinels => parsed.sentinel_username = decoded(value)?,
            "sentinel_password_file" if sentinels => {
                let file = PathBuf::from(decoded(value)?);
                if file.is_relative() {
                    return Err("the store's url has a sentinel_password_file that is not absolute".into());
                }
                parsed.sentinel_password_file = Some(file);
            }
            _ => return Err("the store's url has a parameter that Sidegate does not know".into()),
        }
    }
    Ok(parsed)
}

/// An IPv6 address has its colons in brackets.
fn has_port(host: &str) -> bool {
    host.rsplit(']').next().is_some_and(|rest| rest.contains(':'))
}

fn decoded(text: &str) -> Result<String, String> {
    let decoded = percent_decode_str(text).decode_utf8().map_err(|_| "the store's url holds bytes that are no text")?;
    Ok(decoded.into_owned())
}
