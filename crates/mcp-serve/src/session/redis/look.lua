-- When sessions of one bucket were last used; -1 for those that have ended.
-- KEYS: 1 the digests of the bucket by last use (sorted set, ms), then the records (hashes)
-- ARGV: the digests, in the order of the records
local used = {}
for at, digest in ipairs(ARGV) do
  local open = redis.call('EXISTS', KEYS[at + 1]) == 1
  used[at] = open and redis.call('ZSCORE', KEYS[1], digest) or '-1'
end
return used
