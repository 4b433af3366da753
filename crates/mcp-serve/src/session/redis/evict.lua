-- Ends a session that was not used since a time.
-- KEYS: 1 the record (hash), 2 and 3 the digests of its bucket by last use and by absolute end (sorted
--   sets, ms)
-- ARGV: 1 digest, 2 the last use in ms
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local used = redis.call('ZSCORE', KEYS[2], ARGV[1])
if not used or tonumber(used) > tonumber(ARGV[2]) then return { 'used' } end
local ends = redis.call('ZSCORE', KEYS[3], ARGV[1]) or ''
local principal = redis.pcall('HGET', KEYS[1], 'principal')
if type(principal) ~= 'string' then principal = '' end
redis.call('DEL', KEYS[1])
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('ZREM', KEYS[3], ARGV[1])
return { 'ended', used, ends, now, principal }
