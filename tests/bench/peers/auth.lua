-- The check of a key as people write it for nginx + Lua: an LRU of the worker (60 s) before Redis "GET key:<sha256 hex>", which
-- answers "tenant id scopes". The credential is taken off, four headers are set.
local ffi = require "ffi"
local lrucache = require "resty.lrucache"
ffi.cdef [[ unsigned char *SHA256(const unsigned char *d, size_t n, unsigned char *md); ]]
local digest = ffi.new("unsigned char[32]")
local cache = lrucache.new(20000)
local hex = {}
for i = 0, 255 do hex[i] = string.format("%02x", i) end

local function ask_redis(name)
    local socket = ngx.socket.tcp()
    socket:settimeout(500)
    local connected, problem = socket:connect("127.0.0.1", @REDIS@)
    if not connected then return nil, problem end
    socket:send("*2\r\n$3\r\nGET\r\n$" .. #name .. "\r\n" .. name .. "\r\n")
    local line, unread = socket:receive("*l")
    if not line then return nil, unread end
    local value
    local length = tonumber(line:sub(2))
    if length and length >= 0 then
        value = socket:receive(length)
        socket:receive(2)
    end
    socket:setkeepalive(10000, 64)
    return value
end

local function check()
    local header = ngx.var.http_authorization
    local key = header and header:sub(1, 7) == "Bearer " and header:sub(8)
    if not key then return ngx.exit(401) end
    ffi.C.SHA256(key, #key, digest)
    local index = ffi.string(digest, 32)
    local entry = cache:get(index)
    if not entry then
        local digits = {}
        for i = 0, 31 do digits[i + 1] = hex[digest[i]] end
        local value, problem = ask_redis("key:" .. table.concat(digits))
        if problem then return ngx.exit(503) end
        if not value then return ngx.exit(401) end
        entry = { value:match("^(%S+) (%S+) (%S+)$") }
        cache:set(index, entry, 60)
    end
    ngx.req.clear_header("Authorization")
    ngx.req.set_header("X-Tenant-Id", entry[1])
    ngx.req.set_header("X-Key-Id", entry[2])
    ngx.req.set_header("X-Scopes", entry[3])
    ngx.req.set_header("X-Auth-Method", "api_key")
end

return { check = check }
