-- Opens a session.
-- KEYS: 1 the record (hash), 2 and 3 the digests of its bucket by last use and by absolute end (sorted
--   sets, ms)
-- ARGV: 1 digest, 2 principal, 3 idle time in ms, 4 life of the sorted sets in ms, 5 generation,
--   6 lifetime in ms, 7 version, 8 client
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local ends = now + ARGV[6]
-- The first write is what Redis refuses when memory is full.
redis.call('HSET', KEYS[1], 'principal', ARGV[2], 'created', now, 'ends', ends, 'generation', ARGV[5],
  'version', ARGV[7], 'client', ARGV[8], 'subscriptions', 0)
redis.call('PEXPIRE', KEYS[1], math.min(ARGV[3], ARGV[6]))
redis.call('ZADD', KEYS[2], now, ARGV[1])
redis.call('ZADD', KEYS[3], ends, ARGV[1])
redis.call('PEXPIRE', KEYS[2], ARGV[4])
redis.call('PEXPIRE', KEYS[3], ARGV[4])
return now
