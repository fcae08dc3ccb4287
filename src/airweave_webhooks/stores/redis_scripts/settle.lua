-- Ends leases of one partition: `transitions.settle`, line by line.
--
-- KEYS: as in claim.lua. ARGV: 11 values a record, see `redis_records.settle_values`.
-- Returns 1 for each settle that stands, and 0 for one that does not.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]

local function settle(key, at)
  local fence, token, into, reason = ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], ARGV[at + 4]
  local results, processed, failure = ARGV[at + 5], ARGV[at + 6], ARGV[at + 7]
  local delay, body, tail, started = ARGV[at + 8], ARGV[at + 9], ARGV[at + 10], ARGV[at + 11]
  local found = redis.call('HMGET', key, 'fence', 'token', 'state', 'keep')
  if found[1] ~= fence or found[2] ~= token then  -- also where there is no record
    return 0
  end
  if found[3] ~= 'leased' then
    return 1
  end

  if tail ~= '' then
    local known = redis.call('HMGET', key, 'history', 'attempts', 'owner')
    local line = string.format('[%.3f,%s,%s,%s', now / 1000000, known[2], cjson.encode(known[3]), tail)
    redis.call('HSET', key, 'history', string.sub((known[1] or '') .. line, -4000))
  end
  if started == '0' then
    redis.call('HINCRBY', key, 'attempts', -1)
  end
  local settled_at = string.format('%.0f', now)
  local due_at = ''
  if into == 'pending' then
    due_at = string.format('%.0f', now + delay)
  end
  redis.call(
    'HSET', key, 'state', into, 'reason', reason, 'results', results, 'processed', processed, 'error', failure,
    'lease_until', '', 'settled_at', settled_at, 'due_at', due_at)
  if body ~= '' then
    redis.call('HSET', key, 'body', string.sub(body, 2))
  end

  if into == 'pending' and redis.call('HEXISTS', key, 'body') == 0 then
    redis.call('ZADD', KEYS[2], string.format('%.0f', math.max(now, now + delay)), key)
  else
    redis.call('ZREM', KEYS[2], key)
  end
  if into == 'done' then
    redis.call('ZADD', KEYS[1], settled_at, key)
    redis.call('PEXPIRE', key, found[4])
  end
  return 1
end

local answers = {}
for i = 3, #KEYS do
  answers[i - 2] = settle(KEYS[i], (i - 3) * 11)
end
return answers
