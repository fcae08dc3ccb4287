-- Removes what is done and gives up what is abandoned: `transitions.is_abandoned` and `transitions.abandon`.
--
-- KEYS: as in claim.lua; the records are those that `due.lua` found, and may have changed since.
-- ARGV: as in due.lua.
-- Returns for each: 1 if it was removed, had expired, or was given up; otherwise 0.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local done_before, abandoned_before = now - ARGV[1], now - ARGV[2]

local function number(text)
  return tonumber(text) or 0
end

local function purge(key)
  local found = redis.call('HMGET', key, 'state', 'settled_at', 'due_at', 'lease_until')
  local state, last_touch = found[1], nil
  if not state or (state == 'done' and number(found[2]) < done_before) then
    redis.call('UNLINK', key)
    redis.call('ZREM', KEYS[1], key)
    redis.call('ZREM', KEYS[2], key)
    return 1
  end
  if state ~= 'done' then
    redis.call('ZREM', KEYS[1], key)  -- it had expired, and came again
  end
  if state == 'pending' then
    last_touch = math.max(number(found[3]), number(found[2]))
  elseif state == 'leased' then
    last_touch = number(found[4])
  end
  if not last_touch or redis.call('HEXISTS', key, 'body') == 1 then
    redis.call('ZREM', KEYS[2], key)
    return 0
  end
  if last_touch >= abandoned_before then
    return 0
  end
  redis.call(
    'HSET', key, 'state', 'dead', 'reason', 'abandoned', 'token', '', 'lease_until', '', 'due_at', '',
    'settled_at', string.format('%.0f', now))
  redis.call('ZREM', KEYS[2], key)
  return 1
end

local answers = {}
for i = 3, #KEYS do
  answers[i - 2] = purge(KEYS[i])
end
return answers
