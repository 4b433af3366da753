-- Before every script on one session: whether it is open and the caller's. Answers in the script's place
-- where it is not.
-- KEYS: 1 the record (hash), 2 and 3 the digests of its bucket by last use and by absolute end (sorted
--   sets, ms)
-- ARGV: 1 digest, 2 principal, 3 idle time in ms, 4 life of the sorted sets in ms; more is the script's own
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function close()
  redis.call('DEL', KEYS[1])
  redis.call('ZREM', KEYS[2], ARGV[1])
  redis.call('ZREM', KEYS[3], ARGV[1])
end

local function times()
  return redis.call('ZSCORE', KEYS[2], ARGV[1]) or '', redis.call('ZSCORE', KEYS[3], ARGV[1]) or ''
end

-- The digest leaves the sorted sets with the end, so that one caller alone is told of it.
local function gone()
  local used, ends = times()
  close()
  if used == '' then return { 'none' } end
  return { 'gone', used, ends, now }
end

local marks = redis.pcall('HMGET', KEYS[1], 'principal', 'ends', 'generation')
if marks.err then
  close()
  return { 'corrupt' }
end
local ends = tonumber(marks[2])
if not (marks[1] and ends and marks[3]) then
  if redis.call('EXISTS', KEYS[1]) == 0 then return gone() end
  close()
  return { 'corrupt' }
end
if marks[1] ~= ARGV[2] then return { 'other' } end
if ends <= now then return gone() end

-- PEXPIRE comes first: Redis lets a script that has written go on when memory is full.
local function slide()
  redis.call('PEXPIRE', KEYS[1], math.min(ARGV[3], ends - now))
  if redis.call('ZADD', KEYS[2], now, ARGV[1]) == 1 then
    redis.call('ZADD', KEYS[3], ends, ARGV[1])
    redis.call('PEXPIRE', KEYS[2], ARGV[4])
    redis.call('PEXPIRE', KEYS[3], ARGV[4])
  end
end

local function record()
  return { 'record', ends - now, redis.call('HGETALL', KEYS[1]) }
end
