//! The Lua scripts. Each touches one key, so that it is atomic in a cluster too; Redis 6.2 and Valkey run them.

use redis::Script;

/// Compare-and-set of a record on its version: the commit point of every change.
/// `KEYS[1]` record; `ARGV[1]` version that must be there (0 = none), `ARGV[2]` new record, `ARGV[3]` largest record.
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
redis.call('SET', KEYS[1], ARGV[2])
return {1, old}
";

/// Removes an index entry if it still points to this key: another key may have taken the digest.
/// `KEYS[1]` index entry; `ARGV[1]` key id.
const DROP_INDEX: &str = r"
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
";

/// Points an index entry that nothing confirms at another key, if it still says what was read.
/// `KEYS[1]` index entry; `ARGV[1]` what it said, `ARGV[2]` key id, `ARGV[3]` longest id.
const MOVE_INDEX: &str = r"
if redis.call('GETRANGE', KEYS[1], 0, ARGV[3]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
return 1
";

/// Takes a new record back, if it is as it was written. `KEYS[1]` record; `ARGV[1]` the record.
const TAKE_BACK: &str = r"
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
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

/// The scripts, hashed once.
#[derive(Debug)]
pub(super) struct Scripts {
    pub(super) put_record: Script,
    pub(super) drop_index: Script,
    pub(super) move_index: Script,
    pub(super) take_back: Script,
    pub(super) append: Script,
    pub(super) beat: Script,
    pub(super) instances: Script,
}

impl Scripts {
    pub(super) fn new() -> Self {
        Self {
            put_record: Script::new(PUT_RECORD),
            drop_index: Script::new(DROP_INDEX),
            move_index: Script::new(MOVE_INDEX),
            take_back: Script::new(TAKE_BACK),
            append: Script::new(APPEND),
            beat: Script::new(BEAT),
            instances: Script::new(INSTANCES),
        }
    }
}
