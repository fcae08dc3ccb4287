-- Finds what `purge.lua` should look at in one partition.
--
-- KEYS: the index of what is done, the index of what is open and has no body.
-- ARGV: microseconds that something must have been done for, or left alone for; how many keys to return at most.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local most = tonumber(ARGV[3])

local function before(index, age, room)
  -- The parenthesis excludes the bound itself.
  return redis.call('ZRANGEBYSCORE', index, '-inf', string.format('(%.0f', now - age), 'LIMIT', 0, room)
end

local found = before(KEYS[1], ARGV[1], most)
if #found < most then
  for _, key in ipairs(before(KEYS[2], ARGV[2], most - #found)) do
    found[#found + 1] = key
  end
end
return found
