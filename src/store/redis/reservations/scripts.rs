//! The scripts of reservations. Each touches one tenant's slot and reads the server's clock. A reservation is a hash: `state`
//! (`running`, `done`, `unknown`), `owner`, `lease` and `claimed` (milliseconds since the epoch), and, once it is done, `answer`
//! and `counted`, the field of the tenant's bytes that it is counted in. What is there and says nothing of this is unknown.
//!
//! `KEYS` are the names that the reservation may have, and last the hash of the tenant's bytes.

use redis::Script;

/// What the others begin with.
const COMMON: &str = r"
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function text(number) return string.format('%.0f', number) end
local function standing(name)
  local entry = redis.call('HMGET', name, 'state', 'lease')
  if entry[1] == 'done' then return 'done' end
  if entry[1] == 'running' and (tonumber(entry[2]) or 0) > now then return 'running' end
  if entry[1] or redis.call('EXISTS', name) == 1 then return 'unknown' end
  return false
end
local function answer(name, max)
  if redis.call('HSTRLEN', name, 'answer') > tonumber(max) then return false end
  return redis.call('HGET', name, 'answer')
end
";

/// `ARGV`: owner, lease and life in milliseconds, largest answer. Answers `{word, answer or false}`.
const CLAIM: &str = r"
for index = 1, #KEYS - 1 do
  local found = standing(KEYS[index])
  if found == 'done' then
    local kept = answer(KEYS[index], ARGV[4])
    return {kept and 'done' or 'unknown', kept}
  end
  if found then return {found, false} end
end
redis.call('HSET', KEYS[1], 'state', 'running', 'owner', ARGV[1], 'lease', text(now + ARGV[2]), 'claimed', text(now))
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return {'first', false}
";

/// `ARGV`: owner, lease in milliseconds. Answers whether it is the owner's.
const RENEW: &str = r"
local entry = redis.call('HMGET', KEYS[1], 'state', 'owner')
if entry[1] ~= 'running' or entry[2] ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'lease', text(now + ARGV[2]))
return 1
";

/// `ARGV`: owner, what it became (`done`, `unknown`, `released`); with `done` the answer, the tenant's bound, and the length in
/// milliseconds of the steps in which bytes are counted.
const SETTLE: &str = r"
local entry = redis.call('HMGET', KEYS[1], 'state', 'owner')
if entry[2] ~= ARGV[1] then return 'lost' end
if entry[1] ~= 'running' then return entry[1] == ARGV[2] and 'settled' or 'lost' end
if ARGV[2] == 'released' then
  redis.call('DEL', KEYS[1])
  return 'settled'
end
if ARGV[2] == 'unknown' then
  redis.call('HSET', KEYS[1], 'state', 'unknown')
  return 'settled'
end
local size, left = #ARGV[3], redis.call('PTTL', KEYS[1])
local kept, last = 0, 0
local all = redis.call('HGETALL', KEYS[2])
for i = 1, #all, 2 do
  local ends = tonumber(all[i]) or 0
  if ends <= now then
    redis.call('HDEL', KEYS[2], all[i])
  else
    kept = kept + (tonumber(all[i + 1]) or 0)
    last = math.max(last, ends)
  end
end
if left <= 0 or kept + size > tonumber(ARGV[4]) then
  redis.call('HSET', KEYS[1], 'state', 'unknown')
  return 'full'
end
local ends = math.ceil((now + left) / ARGV[5]) * ARGV[5]
redis.call('HSET', KEYS[1], 'state', 'done', 'answer', ARGV[3], 'counted', text(ends))
redis.call('HINCRBY', KEYS[2], text(ends), size)
redis.call('PEXPIREAT', KEYS[2], text(math.max(last, ends)))
return 'settled'
";

/// `ARGV`: largest answer. Answers `{word, claimed, ends, answer}`, or nothing.
const LOOK: &str = r"
for index = 1, #KEYS - 1 do
  local found = standing(KEYS[index])
  if found then
    local claimed = tonumber(redis.call('HGET', KEYS[index], 'claimed')) or 0
    local left = math.max(0, redis.call('PTTL', KEYS[index]))
    return {found, claimed, now + left, answer(KEYS[index], ARGV[1]) or ''}
  end
end
return false
";

/// Answers `released`, `running` or `absent`.
const RELEASE: &str = r"
for index = 1, #KEYS - 1 do
  local name, found = KEYS[index], standing(KEYS[index])
  if found == 'running' then return found end
  if found then
    local counted, size = redis.call('HGET', name, 'counted'), redis.call('HSTRLEN', name, 'answer')
    if counted and redis.call('HEXISTS', KEYS[#KEYS], counted) == 1 then
      redis.call('HINCRBY', KEYS[#KEYS], counted, -size)
    end
    redis.call('DEL', name)
    return 'released'
  end
end
return 'absent'
";

/// The scripts, hashed once.
#[derive(Debug)]
pub(in crate::store::redis) struct Scripts {
    pub(super) claim: Script,
    pub(super) renew: Script,
    pub(super) settle: Script,
    pub(super) look: Script,
    pub(super) release: Script,
}

impl Scripts {
    pub(in crate::store::redis) fn new() -> Self {
        let script = |code: &str| Script::new(&[COMMON, code].concat());
        Self { claim: script(CLAIM), renew: script(RENEW), settle: script(SETTLE), look: script(LOOK), release: script(RELEASE) }
    }
}
