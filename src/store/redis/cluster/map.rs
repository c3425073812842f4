//! Which node has which slot, as the cluster tells it, and which slot a command is for. Pure but for the nodes it points to.

use std::collections::HashMap;
use std::sync::Arc;

use redis::{Arg, Cmd, Value};

use crate::store::redis::node::Node;
use crate::store::target::Address;

const SLOTS: u16 = 16384;

/// A master.
pub(super) struct Member {
    pub(super) address: Address,
    pub(super) node: Node,
}

/// Slots `first..=last` of a master.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) first: u16,
    pub(super) last: u16,
    pub(super) master: Address,
}

/// All of it at one moment.
#[derive(Default)]
pub(super) struct Map {
    /// Grows when a master takes over from another.
    pub(super) epoch: u64,
    /// In order.
    pub(super) ranges: Vec<Range>,
    pub(super) members: HashMap<Address, Arc<Member>>,
}

impl Map {
    /// The master of a slot.
    pub(super) fn of_slot(&self, slot: u16) -> Option<Arc<Member>> {
        let range = self.ranges.get(self.ranges.partition_point(|range| range.last < slot)).filter(|range| range.first <= slot)?;
        self.members.get(&range.master).cloned()
    }

    /// One that can be reached, if there is any.
    pub(super) fn any(&self) -> Option<Arc<Member>> {
        self.members().find(|member| member.node.is_reachable()).or_else(|| self.members().next()).cloned()
    }

    pub(super) fn members(&self) -> impl Iterator<Item = &Arc<Member>> {
        self.members.values()
    }

    /// Whether a master is missed: another may take its place soon.
    pub(super) fn has_gap(&self) -> bool {
        self.ranges.iter().any(|range| self.members.get(&range.master).is_none_or(|member| !member.node.is_reachable()))
    }
}

/// The answer to CLUSTER SLOTS, or nothing where it makes no sense; `host` is where it came from.
pub(super) fn ranges_of(answer: &Value, host: &str) -> Option<Vec<Range>> {
    let mut ranges = Vec::new();
    for entry in array(answer)? {
        let [Value::Int(first), Value::Int(last), master, ..] = array(entry)? else { return None };
        let [at, Value::Int(port), ..] = array(master)? else { return None };
        let at = if let Value::BulkString(at) = at { str::from_utf8(at).ok()? } else { "" };
        // A node that does not know its own name is where it was asked.
        let host = if at.is_empty() || at == "?" { host } else { at };
        let (first, last) = (u16::try_from(*first).ok()?, u16::try_from(*last).ok()?);
        ranges.push(Range { first, last, master: Address::Tcp(host.to_owned(), u16::try_from(*port).ok()?) });
    }
    ranges.sort_by_key(|range| range.first);
    (!ranges.is_empty()).then_some(ranges)
}

fn array(value: &Value) -> Option<&[Value]> {
    if let Value::Array(values) = value { Some(values) } else { None }
}

/// Where a command belongs.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// With its key.
    Slot(u16),
    /// It has none.
    AnyNode,
    /// It has none, and each node needs it.
    AllNodes,
}

/// Of the commands that Sidegate uses. Where it names several keys, they share a slot, or the server refuses it.
pub(super) fn route_of(command: &Cmd) -> Route {
    let mut args = command.args_iter().map(|arg| if let Arg::Simple(arg) = arg { arg } else { &[] });
    let name = args.next().unwrap_or_default().to_ascii_uppercase();
    let key = match name.as_slice() {
        b"SCRIPT" => return Route::AllNodes,
        b"PING" | b"WAIT" | b"TIME" | b"INFO" | b"CLUSTER" | b"CONFIG" => None,
        b"EVAL" | b"EVALSHA" => args.nth(2),
        b"XREAD" => args.find(|arg| arg.eq_ignore_ascii_case(b"STREAMS")).and_then(|_| args.next()),
        _ => args.next(),
    };
    key.map_or(Route::AnyNode, |key| Route::Slot(slot_of(key)))
}

/// What is between the first braces decides, if there is anything.
fn slot_of(key: &[u8]) -> u16 {
    let tag = || {
        let (_, rest) = key.split_at_checked(key.iter().position(|byte| *byte == b'{')? + 1)?;
        let (tag, _) = rest.split_at_checked(rest.iter().position(|byte| *byte == b'}')?)?;
        (!tag.is_empty()).then_some(tag)
    };
    crc16::State::<crc16::XMODEM>::calculate(tag().unwrap_or(key)) % SLOTS
}

#[cfg(test)]
mod tests {
    use redis::cmd;

    use super::*;

    #[test]
    fn slots_are_those_of_the_specification() {
        assert_eq!(slot_of(b"123456789"), 0x31C3);
        assert_eq!(slot_of(b"foo{hash_tag}"), 2515);
        assert_eq!(slot_of(b"sidegate:key:{key_1}"), slot_of(b"key_1"));
        for whole in ["foo{}{bar}", "foo{", "{}", "}{", ""] {
            assert_eq!(slot_of(whole.as_bytes()), crc16::State::<crc16::XMODEM>::calculate(whole.as_bytes()) % SLOTS);
        }
        assert_eq!(slot_of(b"foo{{bar}}zap"), slot_of(b"{bar"));
    }

    #[test]
    fn commands_go_where_their_key_is() {
        let of = |words: &[&str]| {
            let mut command = cmd(words[0]);
            for word in &words[1..] {
                command.arg(*word);
            }
            route_of(&command)
        };
        let here = Route::Slot(slot_of(b"k"));
        for words in [
            &["GETRANGE", "k", "0", "1"][..],
            &["evalsha", "sha", "1", "k", "other"],
            &["XREAD", "COUNT", "5", "BLOCK", "500", "streams", "k", "0"],
            &["SET", "k", "v", "NX"],
        ] {
            assert_eq!(of(words), here, "{words:?}");
        }
        for words in [&["PING"][..], &["EVALSHA", "sha", "0"], &["WAIT", "1", "100"], &["GET"], &["XREAD", "k"]] {
            assert_eq!(of(words), if words[0] == "EVALSHA" { Route::AnyNode } else { of(words) }, "{words:?}");
        }
        assert_eq!(of(&["SCRIPT", "LOAD", "return 1"]), Route::AllNodes);
        assert_eq!(of(&["WAIT", "1", "100"]), Route::AnyNode);
    }

    #[test]
    fn what_makes_no_sense_is_no_map() {
        let bulk = |text: &str| Value::BulkString(text.into());
        let entry = |first, last, host| {
            let master = Value::Array(vec![host, Value::Int(7000), bulk("id")]);
            Value::Array(vec![Value::Int(first), Value::Int(last), master])
        };
        let answer = Value::Array(vec![entry(100, 16383, bulk("h2")), entry(0, 99, Value::Nil)]);
        let ranges = ranges_of(&answer, "asked").unwrap();
        let at = |host: &str| Address::Tcp(host.into(), 7000);
        assert_eq!(ranges[0], Range { first: 0, last: 99, master: at("asked") });
        assert_eq!(ranges[1], Range { first: 100, last: 16383, master: at("h2") });
        for nonsense in [
            Value::Nil,
            Value::Array(vec![]),
            Value::Array(vec![Value::Int(1)]),
            Value::Array(vec![entry(0, 70_000, bulk("h"))]),
            Value::Array(vec![entry(-1, 5, bulk("h"))]),
            Value::Array(vec![Value::Array(vec![Value::Int(1), Value::Int(2)])]),
        ] {
            assert_eq!(ranges_of(&nonsense, "h"), None, "{nonsense:?}");
        }
    }
}
