-- Sends each request of a pool once, in order: init's arguments are the pool's file, the size of one request
-- (all have the same), the first to send and how many there are. Reading as we go keeps wrk's memory small.
local SPARE = 256 -- left over for what wrk still asks for after it was told to stop
local NEW = { [""] = true, ['{"status":"processed"}'] = true, ['{"status":"accepted"}'] = true }

local threads = {}

function setup(thread)
  threads[#threads + 1] = thread
end

function init(args)
  size, left = tonumber(args[2]), tonumber(args[4])
  pool = assert(io.open(args[1], "rb"))
  assert(pool:seek("set", size * tonumber(args[3])))
  exhausted, refused, first_refused = 0, 0, ""
end

function request()
  left = left - 1
  if left < SPARE then
    exhausted = 1
    if wrk.thread then wrk.thread:stop() end
  end
  return pool:read(size)
end

-- wrk's own count lets 3xx pass, and a 200 that says "duplicate" or "ignored" took a shorter way.
function response(status, headers, body)
  if status < 200 or status > 299 or not NEW[body] then
    refused = refused + 1
    if refused == 1 then first_refused = status .. " " .. body:gsub('[^%w%s:{}_-]', ""):sub(1, 200) end
  end
end

-- The last line of wrk's output is this one, for a program to read.
function done(summary, latency)
  local thread, errors = threads[1], summary.errors
  print(string.format(
    '{"requests": %d, "seconds": %.6f, "p50_ms": %.3f, "p99_ms": %.3f, "exhausted": %d, "refused": %d, '
      .. '"first_refused": "%s", "socket_errors": %d}',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    thread:get("exhausted"), thread:get("refused"), thread:get("first_refused"),
    errors.connect + errors.read + errors.write + errors.timeout
  ))
end
