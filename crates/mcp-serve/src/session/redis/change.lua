-- ARGV: 5 the generation to come, 6 what is changed, 7 to what, 8 the most subscriptions
-- What grows is written before the session slides, so that it is refused when memory is full.
local kind, value, changed = ARGV[6], ARGV[7], 1
if kind == 'level' then
  redis.call('HSET', KEYS[1], 'level', value)
elseif kind == 'subscribe' then
  local known = redis.call('HEXISTS', KEYS[1], 'uri:' .. value) == 1
  local open = tonumber(redis.call('HGET', KEYS[1], 'subscriptions')) or 0
  if not known and open >= tonumber(ARGV[8]) then
    slide()
    return { 'full' }
  end
  changed = redis.call('HSET', KEYS[1], 'uri:' .. value, '')
  if changed == 1 then redis.call('HINCRBY', KEYS[1], 'subscriptions', 1) end
else
  changed = redis.call('HDEL', KEYS[1], 'uri:' .. value)
  if changed == 1 then redis.call('HINCRBY', KEYS[1], 'subscriptions', -1) end
end
if changed == 1 then redis.call('HSET', KEYS[1], 'generation', ARGV[5]) end
slide()
return record()
