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

/// The scripts, hashed once.
#[derive(Debug)]
pub(super) struct Scripts {
    pub(super) put_record: Script,
    pub(super) drop_index: Script,
}

impl Scripts {
    pub(super) fn new() -> Self {
        Self { put_record: Script::new(PUT_RECORD), drop_index: Script::new(DROP_INDEX) }
    }
}
