-- Takes requests out of a caller's budget. KEYS[1] holds when the budget is full again; ARGV is what
-- the requests cost and the most that may be owed. All times are microseconds of this server's clock,
-- which is the same for all who ask. Gives the time and what is owed, or would be: more than the most
-- is a refusal, which writes nothing.
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local cost, most = tonumber(ARGV[1]), tonumber(ARGV[2])
local full_at = tonumber(redis.call('GET', KEYS[1]) or now) or now
-- A clock that was set back must not keep anybody out for longer than a budget takes to fill.
local owed = math.min(math.max(full_at - now, 0), most) + cost
if cost > 0 and owed <= most then
  -- Full again is as good as not there.
  redis.call('SET', KEYS[1], string.format('%.0f', now + owed), 'PX', math.ceil(owed / 1000))
end
return {now, owed}
