-- All members of several key-sets at one instant.
--
-- KEYS  the sets.  Returns the members of each.

local answer = {}
for n, key in ipairs(KEYS) do
  answer[n] = redis.call('ZRANGE', key, 0, -1)
end
return answer
