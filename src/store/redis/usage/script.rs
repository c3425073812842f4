//! The script that adds a key's usage. All its keys are of one slot.

use redis::aio::ConnectionLike;
use redis::{Cmd, RedisResult, cmd};

use crate::store::usage::{KeyUse, NETWORKS_MAX, RETENTION_DAYS, SCOPES_MAX};

/// Adds what was gathered of a key.
/// `KEYS[1]` hash of what was seen of it, `KEYS[2]`… hashes of days; `ARGV` retention in seconds, networks kept, scopes kept; last use
/// (`""` = none) and from where; when networks, and scopes, were missed; number of networks, then name, first and last time of each;
/// the same of scopes; for each day the number of its counts, then name and addend of each.
const ADD: &str = r"
local next = 0
local function arg() next = next + 1 return ARGV[next] end
local seen, retention = KEYS[1], arg()
local networks_max, scopes_max = tonumber(arg()), tonumber(arg())
local function later(field, at)
  if at ~= '' and tonumber(at) > (tonumber(redis.call('HGET', seen, field)) or -1) then redis.call('HSET', seen, field, at) end
end
local at, from = arg(), arg()
if at ~= '' then
  local before = string.match(redis.call('HGET', seen, 'last') or '', '^%d+')
  if tonumber(at) > (tonumber(before) or -1) then redis.call('HSET', seen, 'last', at .. ' ' .. from) end
end
later('networks_missed', arg())
later('scopes_missed', arg())
local function remember(kind, max, missed)
  local new = {}
  for _ = 1, tonumber(arg()) do
    local field, first, last = kind .. arg(), arg(), arg()
    local known_first, known_last = string.match(redis.call('HGET', seen, field) or '', '^(%d+) (%d+)$')
    if known_first then
      if tonumber(known_first) < tonumber(first) then first = known_first end
      if tonumber(known_last) > tonumber(last) then last = known_last end
      redis.call('HSET', seen, field, first .. ' ' .. last)
    else
      new[#new + 1] = {field, first, last}
    end
  end
  if #new == 0 then return end
  local all, known = redis.call('HGETALL', seen), {}
  for i = 1, #all, 2 do
    if string.sub(all[i], 1, #kind) == kind then
      known[#known + 1] = {all[i], tonumber(string.match(all[i + 1], '%d+$')) or 0}
    end
  end
  table.sort(known, function(a, b) return a[2] < b[2] end)
  local over = #known + #new - max
  for i = 1, math.min(over, #known) do redis.call('HDEL', seen, known[i][1]) end
  for i = 1, math.min(#new, max) do redis.call('HSET', seen, new[i][1], new[i][2] .. ' ' .. new[i][3]) end
  if over > 0 then later(missed, new[1][3]) end
end
remember('n:', networks_max, 'networks_missed')
remember('s:', scopes_max, 'scopes_missed')
for i = 2, #KEYS do
  for _ = 1, tonumber(arg()) do redis.call('HINCRBY', KEYS[i], arg(), arg()) end
  redis.call('EXPIRE', KEYS[i], retention)
end
redis.call('EXPIRE', seen, retention)
return 1
";

const DAY_SECS: u32 = 86_400;

/// It, by its digest: it is sent once, and read when a server does not know it.
pub(in crate::store::redis) struct Script(redis::Script);

impl Script {
    pub(in crate::store::redis) fn new() -> Self {
        Self(redis::Script::new(ADD))
    }

    pub(super) async fn load(&self, link: &mut impl ConnectionLike) -> RedisResult<()> {
        self.0.prepare_invoke().load_async(link).await.map(drop)
    }

    /// The call; an answer `NOSCRIPT` says that nothing was done.
    pub(super) fn command(&self, seen: &str, days: &[String], of_key: &KeyUse) -> Cmd {
        let mut call = cmd("EVALSHA");
        call.arg(self.0.get_hash()).arg(days.len() + 1).arg(seen).arg(days);
        call.arg(u32::from(RETENTION_DAYS) * DAY_SECS).arg(NETWORKS_MAX).arg(SCOPES_MAX);
        let time = |at: i64| at.max(0).to_string();
        let optional = |at: Option<crate::clock::Timestamp>| at.map(|at| time(at.0)).unwrap_or_default();
        call.arg(optional(of_key.last.map(|(at, _)| at)));
        call.arg(of_key.last.and_then(|(_, from)| from).map(|from| from.to_string()).unwrap_or_default());
        call.arg(optional(of_key.networks_missed)).arg(optional(of_key.scopes_missed));
        call.arg(of_key.networks.len());
        for (network, first, last) in &of_key.networks {
            call.arg(network.to_string()).arg(time(first.0)).arg(time(last.0));
        }
        let scopes = of_key.scopes();
        call.arg(scopes.len());
        for (scope, at) in scopes {
            call.arg(scope).arg(time(at.0)).arg(time(at.0));
        }
        for (_, counts) in &of_key.days {
            call.arg(counts.denied.len() + 3);
            // Nobody counts as far as where this would matter.
            let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
            call.arg("requests").arg(number(counts.requests));
            call.arg("received").arg(number(counts.received_bytes)).arg("sent").arg(number(counts.sent_bytes));
            for (rejection, count) in &counts.denied {
                call.arg(format!("denied:{}", rejection.row().reason)).arg(number(*count));
            }
        }
        call
    }
}
