-- Tries every command that the other scripts use, on keys that nothing else uses.
-- KEYS: as in claim.lua, with two such keys for records. An error says which one this user may not run.
redis.call('TIME')
redis.call('HSET', KEYS[3], 'field', '', 'body', '')
redis.call('HMGET', KEYS[3], 'field')
redis.call('HEXISTS', KEYS[3], 'body')
redis.call('HDEL', KEYS[3], 'body')
redis.call('PEXPIRE', KEYS[3], 1000)
redis.call('ZADD', KEYS[4], 0, 'member')
redis.call('ZRANGEBYSCORE', KEYS[4], '-inf', '(0', 'LIMIT', 0, 1)
redis.call('ZREM', KEYS[4], 'member')
redis.call('UNLINK', KEYS[3])
return 1
