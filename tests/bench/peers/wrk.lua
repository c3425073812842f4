-- wrk's requests: one for each key of the file KEYS names (its first word of a line), for the path TARGET names; and its figures as JSON.
local requests, at = {}, 0

function init()
    for line in io.lines(os.getenv("KEYS")) do
        local headers = { ["Host"] = "api.example.com", ["User-Agent"] = "bench/1.0", ["Accept"] = "application/json" }
        headers["Authorization"] = "Bearer " .. line:match("^%S+")
        requests[#requests + 1] = wrk.format("GET", os.getenv("TARGET"), headers)
    end
end

function request()
    at = at % #requests + 1
    return requests[at]
end

function done(summary, latency)
    local errors = summary.errors
    io.write(string.format(
        'FIGURES {"requests":%d,"duration_us":%d,"p50_us":%.1f,"p99_us":%.1f,"errors":%d}\n',
        summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
        errors.status + errors.connect + errors.read + errors.write + errors.timeout))
end
