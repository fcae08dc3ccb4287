-- Claims deliveries of one partition: `transitions.first_claim` and `transitions.claim_again`, line by line.
--
-- KEYS: the index of what is done, the index of what is open and has no body, then a record each.
-- ARGV: 15 values a record, see `redis_records.claim_values`.
-- Times are whole microseconds. An empty text is "nothing"; a record has the fields `body`, `origin` and `history`
-- only if it has one.
-- Returns for each: 1 (granted, the record is new), {fence, attempts, generation, results} (granted), a verdict,
-- or {verdict, microseconds left}.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]

local function whole(number)  -- Lua's own conversion keeps 14 digits, a time has 16
  return string.format('%.0f', number)
end

local function has_body(key)
  return redis.call('HEXISTS', key, 'body') == 1
end

-- `transitions.lose_lease`
local function note_lost_lease(key, attempts)
  local found = redis.call('HMGET', key, 'history', 'owner')
  local line = string.format(
    '[%.3f,%d,%s,"lease_lost",""]\n', now / 1000000, attempts, cjson.encode(found[2]))
  redis.call('HSET', key, 'history', string.sub((found[1] or '') .. line, -4000))
end

local function claim(key, at)
  local message_id, digest, token = ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  local lease, owner, into, reason = ARGV[at + 9], ARGV[at + 10], ARGV[at + 11], ARGV[at + 12]
  local body, origin, keep = ARGV[at + 13], ARGV[at + 14], ARGV[at + 15]
  local found = redis.call(
    'HMGET', key, 'state', 'token', 'message_id', 'digest', 'lease_until', 'due_at', 'fence', 'attempts',
    'leases_lost', 'generation', 'results', 'processed', 'settled_at')
  local state, results, processed, settled_at = found[1], found[11] or '{}', found[12] or '', found[13] or ''
  local fence, attempts = tonumber(found[7] or 0), tonumber(found[8] or 0)
  local lost, generation = tonumber(found[9] or 0), tonumber(found[10] or 0)

  if state then
    if found[2] == token then
      return {fence, attempts, generation, results}
    end
    if found[3] == message_id and found[4] ~= digest then
      return 'conflict'
    end
    if state == 'done' then
      return 'duplicate'
    end
    if state == 'leased' then
      local left = (tonumber(found[5]) or 0) - now
      if left > 0 then
        return {has_body(key) and 'accepted' or 'held', left}
      end
      lost = lost + 1
      note_lost_lease(key, attempts)
    elseif not (state == 'pending' and (tonumber(found[6]) or 0) <= now) and has_body(key) then
      return 'accepted'
    end
    if state == 'dead' and processed ~= '' then
      -- The sender's resend is the replay: what rejected it gets another try, what was done is not repeated.
      results = processed
    end
  else
    redis.call(
      'HSET', key, 'event_type', ARGV[at + 4], 'collection', ARGV[at + 5], 'source_type', ARGV[at + 6],
      'job_id', ARGV[at + 7], 'event_time', ARGV[at + 8], 'received_at', whole(now), 'generation', 0, 'error', '')
  end

  fence = fence + 1
  local lease_until = ''
  if into == 'leased' then
    attempts = attempts + 1
    lease_until = whole(now + lease)
  else
    settled_at = whole(now)
    if state then
      redis.call('HDEL', key, 'body', 'origin')
    end
    if body ~= '' then
      redis.call('HSET', key, 'body', string.sub(body, 2))
    end
    if origin ~= '' then
      redis.call('HSET', key, 'origin', origin)
    end
  end
  redis.call(
    'HSET', key, 'state', into, 'token', token, 'message_id', message_id, 'digest', digest,
    'lease_until', lease_until, 'due_at', '', 'fence', whole(fence), 'attempts', whole(attempts),
    'leases_lost', whole(lost), 'results', results, 'processed', processed, 'settled_at', settled_at,
    'reason', reason, 'owner', owner, 'keep', keep)

  if into == 'leased' then
    if not state or not has_body(key) then
      redis.call('ZADD', KEYS[2], lease_until, key)
    end
  else
    if state then
      redis.call('ZREM', KEYS[2], key)
    end
    if into == 'done' then
      redis.call('ZADD', KEYS[1], settled_at, key)
      redis.call('PEXPIRE', key, keep)
    end
  end
  if not state then
    return 1
  end
  return {fence, attempts, generation, results}
end

local answers = {}
for i = 3, #KEYS do
  answers[i - 2] = claim(KEYS[i], (i - 3) * 15)
end
return answers
