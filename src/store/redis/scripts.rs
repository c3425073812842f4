//! The Lua scripts. Each touches one key, so that it is atomic in a cluster too; Redis 6.2 and Valkey run them.

use redis::Script;

/// Compare-and-set of a record on its version: the commit point of every change, and its event with it.
/// `KEYS[1]` record, `KEYS[2]` its events, `KEYS[3]` their places; `ARGV[1]` version that must be there (0 = none), `ARGV[2]` new record
/// (empty = it is removed), `ARGV[3]` largest record, `ARGV[4]` instant of the event, `ARGV[5]` the event, `ARGV[6]` its place.
/// Answers `{1, old record or false}` if written, `{0, version found}` if another change came first, `{-1, false}` if what is there is no record.
const PUT_RECORD: &str = r"
local found, old = 0, false
local size = redis.call('STRLEN', KEYS[1])
if size > tonumber(ARGV[3]) then return {-1, false} end
if size > 0 then
  old = redis.call('GET', KEYS[1])
  local ok, record = pcall(cjson.decode, old)
  if not ok or type(record) ~= 'table' or type(record.version) ~= 'number' then return {-1, false} end
  found = record.version
end
if found ~= tonumber(ARGV[1]) then return {0, found} end
redis.call('HSET', KEYS[2], ARGV[4], ARGV[5])
redis.call('ZADD', KEYS[3], 0, ARGV[6])
if ARGV[2] == '' then redis.call('DEL', KEYS[1]) else redis.call('SET', KEYS[1], ARGV[2]) end
return {1, old}
";

/// Gives an index entry an end if it still points to this key: another key may have taken the digest. Until then it says that it was
/// a key's.
/// `KEYS[1]` index entry; `ARGV[1]` key id, `ARGV[2]` how many seconds it is kept.
const END_INDEX: &str = r"
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('EXPIRE', KEYS[1], ARGV[2]) end
return 0
";

/// Points an index entry that nothing confirms at a key, for good, if it still says what was read.
/// `KEYS[1]` index entry; `ARGV[1]` what it said, `ARGV[2]` key id, `ARGV[3]` longest id.
const MOVE_INDEX: &str = r"
if redis.call('GETRANGE', KEYS[1], 0, ARGV[3]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
return 1
";

/// Writes a record that is new, and its event.
/// `KEYS[1]` record, `KEYS[2]` its events, `KEYS[3]` their places; `ARGV[1]` the record, `ARGV[2]` instant of the event, `ARGV[3]` the
/// event, `ARGV[4]` its place. Answers whether it was new.
pub(super) const PUT_NEW: &str = r"
if not redis.call('SET', KEYS[1], ARGV[1], 'NX') then return 0 end
redis.call('HSET', KEYS[2], ARGV[2], ARGV[3])
redis.call('ZADD', KEYS[3], 0, ARGV[4])
return 1
";

/// Takes a new record back, if it is as it was written, and its event. `KEYS[1]` record, `KEYS[2]` its events, `KEYS[3]` their places;
/// `ARGV[1]` the record, `ARGV[2]` instant of the event, `ARGV[3]` its place.
const TAKE_BACK: &str = r"
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('HDEL', KEYS[2], ARGV[2])
redis.call('ZREM', KEYS[3], ARGV[3])
return redis.call('DEL', KEYS[1])
";

/// Appends to the change log. An entry's id is its position; `prev` is the `link` of the entry before it, so that a reader sees
/// whether a log lost its end and grew again. All entries of one call share a link: they are replicated together.
/// `KEYS[1]` log; `ARGV[1]` a random link, `ARGV[2]` entries kept, then `what`, `id`, `version` of each change. Answers the last position.
const APPEND: &str = r"
local function position(id) return tonumber(string.match(id, '^%d+')) end
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
local seq, prev = 0, ''
if last then
  seq = position(last[1])
  for i = 1, #last[2], 2 do
    if last[2][i] == 'link' then prev = last[2][i + 1] end
  end
elseif redis.call('EXISTS', KEYS[1]) == 1 then
  local info = redis.call('XINFO', 'STREAM', KEYS[1])
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then seq = position(info[i + 1]) end
  end
end
for i = 3, #ARGV, 3 do
  seq = seq + 1
  redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[2], string.format('%.0f-0', seq),
    'what', ARGV[i], 'id', ARGV[i + 1], 'version', ARGV[i + 2], 'prev', prev, 'link', ARGV[1])
  prev = ARGV[1]
end
return seq
";

/// Writes down that a sidecar is there, with the server's time in front.
/// `KEYS[1]` instances; `ARGV[1]` its id, `ARGV[2]` what it says, `ARGV[3]` `1` = strike out who is gone. Answers how many there are.
const BEAT: &str = r"
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if ARGV[3] == '1' then
  local all = redis.call('HGETALL', KEYS[1])
  for i = 1, #all, 2 do
    local at, text = string.match(all[i + 1], '^(%d+) (.*)$')
    local ok, said = pcall(cjson.decode, text or '')
    if not ok or type(said) ~= 'table' or now - at > (tonumber(said.gone_after_ms) or 0) then
      redis.call('HDEL', KEYS[1], all[i])
    end
  end
end
redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f', now) .. ' ' .. ARGV[2])
return redis.call('HLEN', KEYS[1])
";

/// The sidecars, each with the milliseconds since it was heard of. `KEYS[1]` instances.
const INSTANCES: &str = r"
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local out = {}
for _, value in ipairs(redis.call('HVALS', KEYS[1])) do
  local at, text = string.match(value, '^(%d+) (.*)$')
  if at then
    out[#out + 1] = string.format('%.0f', math.max(0, now - at))
    out[#out + 1] = text
  end
end
return out
";

/// The first second of the month that holds a second, and of the next one: days since the epoch as a date, by years that begin in March.
macro_rules! month {
    () => {
        r"
local function month(secs)
  local day = math.floor(secs / 86400)
  local shifted = day + 719468
  local era = math.floor(shifted / 146097)
  local doe = shifted - era * 146097
  local yoe = math.floor((doe - math.floor(doe / 1460) + math.floor(doe / 36524) - math.floor(doe / 146096)) / 365)
  local doy = doe - (365 * yoe + math.floor(yoe / 4) - math.floor(yoe / 100))
  local mp = math.floor((5 * doy + 2) / 153)
  local before, behind = math.floor((153 * mp + 2) / 5), math.floor((153 * (mp + 1) + 2) / 5)
  local length = behind - before
  if mp == 11 then
    local year = yoe + 1
    length = (year % 4 == 0 and (year % 100 ~= 0 or year % 400 == 0)) and 29 or 28
  end
  local first = day - (doy - before)
  return first * 86400, (first + length) * 86400
end
"
    };
}

/// Takes from a bucket, as [`crate::store::draw`] says. Of a rate it keeps when it will be full, in microseconds since a recent
/// second (a number has 53 bits); of a quota its period and how many were used.
/// `KEYS[1]` bucket; `ARGV[1]` `rate`, `day` or `month`, `ARGV[2]` requests, `ARGV[3]` in so many milliseconds, `ARGV[4]` capacity,
/// `ARGV[5]` how many are wanted, `ARGV[6]` given back, `ARGV[7]` of which period.
const DRAW: &str = concat!(
    month!(),
    r"
local time = redis.call('TIME')
local secs, kept = tonumber(time[1]), redis.call('GET', KEYS[1]) or ''
local requests, want, back = tonumber(ARGV[2]), tonumber(ARGV[5]), tonumber(ARGV[6])
local changes = want ~= 0 or back ~= 0
if ARGV[1] == 'rate' then
  local now = (secs - 1700000000) * 1000000 + tonumber(time[2])
  local interval, capacity = tonumber(ARGV[3]) * 1000 / requests, tonumber(ARGV[4])
  local ceiling = now + capacity * interval
  local full_at = math.max(now, math.min(tonumber(kept) or now, ceiling) - back * interval)
  local free = math.min(capacity, math.floor(math.max(0, ceiling - full_at + 1) / interval))
  local granted = math.min(want, free)
  full_at = full_at + granted * interval
  if changes then
    redis.call('SET', KEYS[1], string.format('%.3f', full_at), 'PX', string.format('%.0f', math.ceil((full_at - now) / 1000) + 1000))
  end
  local left, wait = free - granted, 0
  if left == 0 then wait = math.ceil(math.max(1, full_at + interval - ceiling) / 1000) end
  return {granted, left, wait, 0, 0}
end
local first, next = math.floor(secs / 86400) * 86400, (math.floor(secs / 86400) + 1) * 86400
if ARGV[1] == 'month' then first, next = month(secs) end
local now, period, ends = secs * 1000 + math.floor(tonumber(time[2]) / 1000), string.format('%.0f', first * 1000), next * 1000
local of, used = string.match(kept, '^(%d+) (%d+)$')
used = of == period and tonumber(used) or 0
if ARGV[7] == period then used = math.max(0, used - back) end
local free = math.max(0, requests - used)
local granted = math.min(want, free)
used = used + granted
if changes then
  redis.call('SET', KEYS[1], period .. ' ' .. string.format('%.0f', used), 'PX', string.format('%.0f', ends - now))
end
local left, wait = free - granted, 0
if left == 0 then wait = ends - now end
return {granted, left, wait, first * 1000, ends - now}
"
);

/// The scripts, hashed once.
#[derive(Debug)]
pub(super) struct Scripts {
    pub(super) put_record: Script,
    pub(super) end_index: Script,
    pub(super) move_index: Script,
    pub(super) take_back: Script,
    pub(super) append: Script,
    pub(super) beat: Script,
    pub(super) instances: Script,
    pub(super) draw: Script,
}

impl Scripts {
    pub(super) fn new() -> Self {
        Self {
            put_record: Script::new(PUT_RECORD),
            end_index: Script::new(END_INDEX),
            move_index: Script::new(MOVE_INDEX),
            take_back: Script::new(TAKE_BACK),
            append: Script::new(APPEND),
            beat: Script::new(BEAT),
            instances: Script::new(INSTANCES),
            draw: Script::new(DRAW),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::sections::QuotaPeriod;
    use crate::store::draw::period_of;
    use crate::store::redis_server::RedisServer;

    #[test]
    fn the_script_knows_the_months_of_two_centuries() {
        let server = RedisServer::start();
        let mut connection = server.raw();
        let script = Script::new(concat!(month!(), "local first, next = month(tonumber(ARGV[1])) return {first, next}"));
        for secs in (-100_000_000..6_000_000_000_i64).step_by(86_400 * 9 + 12_345) {
            let (first, next): (i64, i64) = script.arg(secs).invoke(&mut connection).unwrap();
            assert_eq!((first * 1000, next * 1000), period_of(secs * 1000, QuotaPeriod::Month), "{secs}");
        }
    }
}
