//! Lists that would mean "nobody" or that hold what is no network.

use crate::config::problem::Problems;
use crate::config::sections::Config;
use crate::net::Network;
use crate::net::client::UNIX;

pub(super) fn check(config: &Config, problems: &mut Problems) {
    let mut has_allowlist = None;
    if let Some(list) = &config.restrictions.ip_allowlist {
        not_empty("restrictions.ip_allowlist", list, problems);
        networks("restrictions.ip_allowlist", list, problems);
        has_allowlist = Some("restrictions.ip_allowlist".to_owned());
    }
    not_empty("credentials.sources", &config.credentials.sources, problems);
    for (index, route) in config.routes.iter().enumerate() {
        let at = |key: &str| format!("routes[{index}].{key}");
        if let Some(list) = &route.ip_allowlist {
            not_empty(&at("ip_allowlist"), list, problems);
            networks(&at("ip_allowlist"), list, problems);
            has_allowlist.get_or_insert(at("ip_allowlist"));
        }
        for (key, list) in
            [("scopes", &route.scopes), ("any_scopes", &route.any_scopes), ("kinds", &route.kinds), ("issuers", &route.issuers)]
        {
            not_empty_if_given(&at(key), list.as_ref(), problems);
        }
        not_empty_if_given(&at("credentials"), route.credentials.as_ref(), problems);
        not_empty_if_given(&at("environments"), route.environments.as_ref(), problems);
    }
    for (name, quota) in &config.quotas {
        not_empty_if_given(&format!("quotas.{name}.environments"), quota.environments.as_ref(), problems);
    }
    trusted_proxies(config, has_allowlist, problems);
}

fn not_empty_if_given<T>(path: &str, list: Option<&Vec<T>>, problems: &mut Problems) {
    if let Some(list) = list {
        not_empty(path, list, problems);
    }
}

fn not_empty<T>(path: &str, list: &[T], problems: &mut Problems) {
    if list.is_empty() {
        let key = path.rsplit('.').next().unwrap_or(path);
        problems.error(path, format!("an empty `{key}` would let nobody in")).help("remove the key where nothing is to be restricted");
    }
}

fn networks(path: &str, list: &[String], problems: &mut Problems) {
    for (index, entry) in list.iter().enumerate() {
        problems.parse::<Network>(&format!("{path}[{index}]"), entry);
    }
}

fn trusted_proxies(config: &Config, allowlist: Option<String>, problems: &mut Problems) {
    let list = &config.client_ip.trusted_proxies;
    for (index, entry) in list.iter().enumerate().filter(|(_, entry)| *entry != UNIX) {
        problems.parse::<Network>(&format!("client_ip.trusted_proxies[{index}]"), entry);
    }
    if list.iter().any(|entry| entry.ends_with("/0")) {
        problems
            .warn("client_ip.trusted_proxies", "every peer is trusted to say whose address a request has")
            .help("name the networks of your proxies only: with this, any client can claim an address of an ip_allowlist");
    }
    if let Some(path) = allowlist
        && list.is_empty()
    {
        problems
            .warn(path, "an ip_allowlist without `client_ip.trusted_proxies` judges the address of the peer itself")
            .help("behind a load balancer or an ingress, name its networks: [client_ip] trusted_proxies = [\"10.0.0.0/8\"]");
    }
}
