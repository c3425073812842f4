//! Least privilege: what a key may and does not, and the command that would take it away. Only what was seen long enough is said.

use serde::Serialize;

use super::Day;
use crate::key::record::KeyRecord;
use crate::net::Network;
use crate::store::usage::{KeyUsage, NetworkSeen};

/// What a key needs less of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Granted scopes that nothing needed.
    pub unused_scopes: Vec<String>,
    /// Grants that end in `*`, each with the scopes that were needed of it.
    pub wide_scopes: Vec<WideScope>,
    /// Where it was seen.
    pub networks: Vec<NetworkSeen>,
    /// Entries of its allowlist that it was never seen in.
    pub unused_networks: Vec<String>,
    /// The command that leaves it what it uses; `None` = there is nothing to take away.
    pub command: Option<String>,
    /// What stands in the way of saying more.
    pub notes: Vec<String>,
}

/// A grant that ends in `*`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WideScope {
    /// As it was granted.
    pub scope: String,
    /// What was needed of it.
    pub used: Vec<String>,
}

/// A flag of `keys update`, and its value.
type Flag = (&'static str, String);

fn command(id: &str, flags: &[Flag]) -> String {
    let flags: Vec<String> = flags.iter().map(|(flag, value)| format!(" {flag} {}", quoted(value))).collect();
    format!("sidegate keys update {}{}", quoted(id), flags.concat())
}

/// What a key could do without, by its use since that day.
#[must_use]
pub fn least_privilege(record: &KeyRecord, usage: &KeyUsage, since: Day) -> Report {
    let (start, mut report) = (since.start(), Report::default());
    report.networks = usage.networks.iter().filter(|network| network.last >= start).cloned().collect();
    if usage.last.as_ref().is_none_or(|last| last.at < start) {
        report.notes.push(format!("it was not used since {since}: what it needs cannot be told"));
        return report;
    }
    let mut flags = Vec::new();
    if usage.scopes_missed.is_some_and(|missed| missed >= start) {
        report.notes.push("it was used for more scopes than are remembered: none can be called unused".to_owned());
    } else {
        scopes(record, usage, since, &mut report, &mut flags);
    }
    if usage.networks_missed.is_some_and(|missed| missed >= start) {
        report.notes.push("it was seen in more networks than are remembered: they are no allowlist".to_owned());
    } else {
        networks(record, &mut report, &mut flags);
    }
    if record.created_at > start {
        report.notes.push(format!("it was made on {}: what it needs seldom may not have shown yet", Day::of(record.created_at)));
    }
    report.command = (!flags.is_empty()).then(|| command(&record.id, &flags));
    report
}

/// What was needed counts for the narrowest grant that covers it.
fn scopes(record: &KeyRecord, usage: &KeyUsage, since: Day, report: &mut Report, flags: &mut Vec<Flag>) {
    let used: Vec<&str> = usage.scopes.iter().filter(|used| used.last >= since.start()).map(|used| used.scope.as_str()).collect();
    let mut by_grant: Vec<(&String, Vec<String>)> = record.scopes.iter().map(|grant| (grant, Vec::new())).collect();
    for scope in used {
        let covering = by_grant.iter_mut().filter(|(grant, _)| covers(grant, scope));
        if let Some((_, needed)) = covering.max_by_key(|(grant, _)| (!grant.ends_with('*'), grant.len())) {
            needed.push(scope.to_owned());
        }
    }
    for (grant, mut needed) in by_grant {
        needed.sort();
        if needed.is_empty() {
            flags.push(("--remove-scope", grant.clone()));
            report.unused_scopes.push(grant.clone());
        } else if grant.ends_with('*') {
            flags.push(("--remove-scope", grant.clone()));
            flags.extend(needed.iter().map(|scope| ("--add-scope", scope.clone())));
            report.wide_scopes.push(WideScope { scope: grant.clone(), used: needed });
        }
    }
}

fn networks(record: &KeyRecord, report: &mut Report, flags: &mut Vec<Flag>) {
    match &record.ip_allowlist {
        None => flags.extend(report.networks.iter().map(|seen| ("--add-ip", seen.network.clone()))),
        Some(entries) => {
            let seen: Vec<Network> = report.networks.iter().filter_map(|seen| seen.network.parse().ok()).collect();
            let is_unused = |entry: &&String| entry.parse::<Network>().is_ok_and(|entry| !seen.iter().any(|seen| seen.meets(&entry)));
            // Without any address nothing is known of any of them.
            report.unused_networks = entries.iter().filter(is_unused).filter(|_| !seen.is_empty()).cloned().collect();
            flags.extend(report.unused_networks.iter().map(|entry| ("--remove-ip", entry.clone())));
        }
    }
}

fn covers(grant: &str, scope: &str) -> bool {
    grant.strip_suffix('*').map_or(grant == scope, |prefix| scope.starts_with(prefix))
}

/// As a shell takes it for one word.
fn quoted(word: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._:/@%+-,".contains(&byte);
    if !word.is_empty() && word.bytes().all(is_plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::store::contract::key;
    use crate::store::usage::{LastUse, ScopeUsed};

    const DAY_MS: i64 = 86_400_000;
    const NOW: Timestamp = Timestamp(1_700_000_000_000 + 200 * DAY_MS);

    fn since() -> Day {
        Day::of(NOW).plus(-30)
    }

    fn ago(days: i64) -> Timestamp {
        NOW.plus_millis(-days * DAY_MS)
    }

    fn record(scopes: &[&str]) -> KeyRecord {
        KeyRecord { scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(), ..key("key_1", "acme", "s") }
    }

    fn usage(scopes: &[(&str, i64)], networks: &[(&str, i64)]) -> KeyUsage {
        let scope = |(scope, days): &(&str, i64)| ScopeUsed { scope: (*scope).to_owned(), last: ago(*days) };
        let network = |(network, days): &(&str, i64)| NetworkSeen { network: (*network).to_owned(), first: ago(100), last: ago(*days) };
        KeyUsage {
            last: Some(LastUse { at: ago(1), from: None }),
            scopes: scopes.iter().map(scope).collect(),
            networks: networks.iter().map(network).collect(),
            ..KeyUsage::default()
        }
    }

    #[test]
    fn what_was_not_needed_in_the_window_is_taken_away() {
        let usage = usage(&[("read:a", 3), ("write:a", 40)], &[("192.0.2.0/24", 1), ("198.51.100.0/24", 60)]);
        let report = least_privilege(&record(&["read:a", "write:a", "admin"]), &usage, since());
        assert_eq!(report.unused_scopes, ["write:a", "admin"]);
        assert_eq!(
            report.command.as_deref(),
            Some("sidegate keys update key_1 --remove-scope write:a --remove-scope admin --add-ip 192.0.2.0/24")
        );
        assert!(report.notes.is_empty());
    }

    #[test]
    fn a_grant_with_a_star_is_narrowed_to_what_was_needed_of_it() {
        let usage = usage(&[("read:b", 1), ("read:a", 1), ("write:a", 1)], &[]);
        let report = least_privilege(&record(&["*", "read:*", "write:a"]), &usage, since());
        assert_eq!(report.unused_scopes, ["*"]);
        assert_eq!(report.wide_scopes, [WideScope { scope: "read:*".into(), used: vec!["read:a".into(), "read:b".into()] }]);
        let command = "sidegate keys update key_1 --remove-scope '*' --remove-scope 'read:*' --add-scope read:a --add-scope read:b";
        assert_eq!(report.command.as_deref(), Some(command));
    }

    #[test]
    fn entries_of_an_allowlist_that_were_never_used_go() {
        let allowed =
            |list: &[&str]| KeyRecord { ip_allowlist: Some(list.iter().map(|entry| (*entry).to_owned()).collect()), ..record(&["read:a"]) };
        let usage = usage(&[("read:a", 1)], &[("192.0.2.0/24", 1)]);
        let report = least_privilege(&allowed(&["192.0.2.7", "192.0.0.0/16", "10.0.0.0/8", "2001:db8::/32"]), &usage, since());
        assert_eq!(report.unused_networks, ["10.0.0.0/8", "2001:db8::/32"]);
        assert_eq!(report.command.as_deref(), Some("sidegate keys update key_1 --remove-ip 10.0.0.0/8 --remove-ip 2001:db8::/32"));
        let nowhere = KeyUsage { networks: Vec::new(), ..usage };
        assert_eq!(least_privilege(&allowed(&["10.0.0.0/8"]), &nowhere, since()).command, None);
    }

    #[test]
    fn nothing_is_said_of_what_was_not_seen() {
        let mut seen = usage(&[], &[("192.0.2.0/24", 1)]);
        seen.last = Some(LastUse { at: ago(50), from: None });
        let report = least_privilege(&record(&["read:a"]), &seen, since());
        assert!(report.command.is_none() && report.notes.len() == 1, "{report:?}");
        seen = usage(&[("read:a", 1)], &[("192.0.2.0/24", 1)]);
        (seen.scopes_missed, seen.networks_missed) = (Some(ago(2)), Some(ago(2)));
        let report = least_privilege(&record(&["read:a", "write:a"]), &seen, since());
        assert!(report.command.is_none() && report.unused_scopes.is_empty() && report.notes.len() == 2, "{report:?}");
    }

    #[test]
    fn a_shell_takes_each_word_for_one() {
        assert_eq!(quoted("read:a"), "read:a");
        assert_eq!(quoted("a'b $c"), r"'a'\''b $c'");
    }
}
