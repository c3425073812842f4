//! Nobody gives what it does not have: networks, endpoints and life, each narrow, wider and without a bound, by every combination of
//! them; whether a key is made or another's secret is asked for.

use fastrand::Rng;
use serde_json::{Value, json};

use super::{PATH, create, rotate, text};
use crate::support::client::once;
use crate::support::seed;
use crate::support::sidecar::{Kind, Sidecar};
use crate::support::upstream::Upstream;

/// What bounds a key, in the words of a record and of who asks for a new one; the last is no bound at all.
struct Bound {
    record: (&'static str, [Value; 3]),
    asked: (&'static str, [Value; 3]),
}

fn bounds() -> [Bound; 3] {
    let networks = [json!(["127.0.0.0/30"]), json!(["127.0.0.0/8"]), json!(["0.0.0.0/0", "::/0"])];
    let endpoints = [json!(["* /v1/api-keys/**"]), json!(["* /v1/**"]), json!(["* /**"])];
    let of_list =
        |name, levels: [Value; 3]| Bound { record: (name, [levels[0].clone(), levels[1].clone(), Value::Null]), asked: (name, levels) };
    let life = Bound {
        record: ("expires_at", [json!("2026-06-02T12:00:00Z"), json!("2026-06-11T12:00:00Z"), Value::Null]),
        asked: ("expires_in", [json!("1d"), json!("10d"), json!("3650d")]),
    };
    [of_list("ip_allowlist", networks), of_list("endpoints", endpoints), life]
}

/// A key, its level of each bound, and its secret as it is now.
struct Known {
    id: String,
    levels: [usize; 3],
    secret: String,
}

fn known(sidecar: &Sidecar, bounds: &[Bound; 3]) -> Vec<Known> {
    let table = sidecar.home.table();
    table.put_tenant(&seed::tenant(&json!({})));
    let levels = (0..27).map(|number| [number / 9, number / 3 % 3, number % 3]);
    let issue = |levels: [usize; 3]| {
        let id = format!("key_{}{}{}", levels[0], levels[1], levels[2]);
        let mut fields = json!({ "id": id });
        for (bound, level) in bounds.iter().zip(levels).filter(|(_, level)| *level < 2) {
            fields[bound.record.0] = bound.record.1[level].clone();
        }
        let issued = seed::key(&sidecar.home.config, "acme", &fields);
        table.put_key(&issued.record);
        Known { id, levels, secret: issued.secret }
    };
    levels.map(issue).collect()
}

#[test]
fn no_key_makes_one_that_may_be_used_from_more_places_for_more_or_for_longer() {
    let (upstream, bounds) = (Upstream::echo(), bounds());
    let sidecar = Sidecar::with_manual_clock(Kind::Redis, &format!("upstream = \"{}\"\n{PATH}", upstream.url()));
    let record = |id: &str| serde_json::to_value(sidecar.home.table().find_key(id).unwrap()).unwrap();
    let (mut made, mut refused) = (0, 0);
    for caller in known(&sidecar, &bounds) {
        let own = record(&caller.id);
        for (index, bound) in bounds.iter().enumerate() {
            for level in 0..3 {
                let mut body = json!({ "name": "made" });
                body[bound.asked.0] = bound.asked.1[level].clone();
                let answer = once(sidecar.address(), &create(&caller.secret, &body));
                if level > caller.levels[index] {
                    assert_eq!((answer.status, text(&answer.json(), "code")), (403, "GRANT_EXCEEDED".into()), "{} {body}", caller.id);
                    refused += 1;
                    continue;
                }
                assert_eq!(answer.status, 201, "{} {body}: {}", caller.id, answer.text());
                made += 1;
                let new = record(&text(&answer.json(), "id"));
                for (other, bound) in bounds.iter().enumerate() {
                    let (name, levels) = &bound.record;
                    let expected = if other != index {
                        &own[*name]
                    } else if bound.asked.0 == *name {
                        &bound.asked.1[level]
                    } else {
                        // As long as was asked for, from now on.
                        assert!(new[*name].is_string() && (level == 2 || new[*name] == levels[level]), "{new:#}");
                        continue;
                    };
                    assert_eq!(new[*name], *expected, "{} {body}: {name}", caller.id);
                }
            }
        }
    }
    assert_eq!((made, refused), (27 * 9 - 81, 81));
}

#[test]
fn no_key_is_shown_the_secret_of_one_that_may_be_used_from_more_places_for_more_or_for_longer() {
    let (upstream, bounds, mut random) = (Upstream::echo(), bounds(), Rng::with_seed(13));
    let sidecar = Sidecar::with_manual_clock(Kind::Redis, &format!("upstream = \"{}\"\n{PATH}", upstream.url()));
    let mut keys = known(&sidecar, &bounds);
    let (mut shown, mut refused) = (0, 0);
    for _ in 0..150 {
        let (caller, target) = (random.usize(..keys.len()), random.usize(..keys.len()));
        let (levels, wanted) = (keys[caller].levels, keys[target].levels);
        let answer = once(sidecar.address(), &rotate(&keys[caller].secret, &keys[target].id));
        if wanted.iter().zip(levels).all(|(wanted, own)| *wanted <= own) {
            assert_eq!(answer.status, 200, "{levels:?} {wanted:?}: {}", answer.text());
            keys[target].secret = text(&answer.json(), "key");
            shown += 1;
        } else {
            assert_eq!((answer.status, text(&answer.json(), "code")), (403, "GRANT_EXCEEDED".into()), "{levels:?} {wanted:?}");
            refused += 1;
        }
    }
    assert!(shown > 10 && refused > 10, "{shown} {refused}");
}
