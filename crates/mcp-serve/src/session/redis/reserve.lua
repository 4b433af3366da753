-- Takes a place among a principal's sessions, after what was found out of those that had taken one.
-- KEYS: 1 the digests by the last use that is known of each (sorted set, ms)
-- ARGV: 1 digest, 2 the most sessions, 3 lifetime in ms, 4 how many to tell when there is no place, 5 how
--   many have ended, their digests, and then pairs of digest and last use
-- Gives the time, whether a place was taken, and otherwise the digests that were unused for longest, each
-- with its last use.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local at = 6 + ARGV[5]
for ended = 6, at - 1 do redis.call('ZREM', KEYS[1], ARGV[ended]) end
for known = at, #ARGV, 2 do redis.call('ZADD', KEYS[1], 'XX', ARGV[known + 1], ARGV[known]) end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now - ARGV[3]))
if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[2]) and not redis.call('ZSCORE', KEYS[1], ARGV[1]) then
  return { now, 0, redis.call('ZRANGE', KEYS[1], 0, ARGV[4] - 1, 'WITHSCORES') }
end
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return { now, 1, {} }
