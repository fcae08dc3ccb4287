-- Makes leases of one partition last longer: `transitions.may_renew`, line by line.
--
-- KEYS: as in claim.lua. ARGV: fence, token and microseconds from now, for each record.
-- Returns 1 for each lease that is current, and 0 for one that is not.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]

local answers = {}
for i = 3, #KEYS do
  local key, at = KEYS[i], (i - 3) * 3
  local found = redis.call('HMGET', key, 'state', 'fence', 'token')
  answers[i - 2] = 0
  if found[1] == 'leased' and found[2] == ARGV[at + 1] and found[3] == ARGV[at + 2] then
    local lease_until = string.format('%.0f', now + ARGV[at + 3])
    redis.call('HSET', key, 'lease_until', lease_until)
    redis.call('ZADD', KEYS[2], 'XX', lease_until, key)  -- what has a body is not in it
    answers[i - 2] = 1
  end
end
return answers
