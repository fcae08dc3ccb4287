-- Reads records of one partition. KEYS: as in claim.lua. ARGV: the names of fields, the same for each record.
-- Returns their values for each record, in that order.
local answers = {}
for i = 3, #KEYS do
  answers[i - 2] = redis.call('HMGET', KEYS[i], unpack(ARGV))
end
return answers
