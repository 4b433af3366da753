-- Clears a bucket of what has ended, and counts the rest.
-- KEYS: 1 and 2 the digests of the bucket by last use and by absolute end (sorted sets, ms)
-- ARGV: 1 idle time in ms, 2 the most to clear of each kind
-- Gives the time, how many are open, the digest that was unused for longest with its last use, and of each
-- that ended its last use and its end.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local ended = {}
local function clear(key, before)
  for _, digest in ipairs(redis.call('ZRANGEBYSCORE', key, '-inf', before, 'LIMIT', 0, ARGV[2])) do
    ended[#ended + 1] = redis.call('ZSCORE', KEYS[1], digest) or ''
    ended[#ended + 1] = redis.call('ZSCORE', KEYS[2], digest) or ''
    redis.call('ZREM', KEYS[1], digest)
    redis.call('ZREM', KEYS[2], digest)
  end
end
clear(KEYS[1], string.format('%.0f', now - ARGV[1]))
clear(KEYS[2], string.format('%.0f', now))
return { now, redis.call('ZCARD', KEYS[1]), redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES'), ended }
