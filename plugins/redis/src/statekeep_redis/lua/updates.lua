-- Conditional puts over values that are there, each a transaction of its own: what a batch of many
-- callers mostly holds. A call of a script costs Redis more than the put in it.
--
-- KEYS  the key of each, all different.
-- ARGV  for each: the header expected (16 bytes), the header and value to be stored.
-- Returns text, 9 bytes for each: "1" and nothing of use, "0" and the version found, or "?" where it
-- is not that simple, and nothing was done: a value that expires or is none, an error.

local try, sub, concat = redis.pcall, string.sub, table.concat
local ZERO = '\0\0\0\0\0\0\0\0'
local DONE, ABSENT, UNDONE = '1' .. ZERO, '0' .. ZERO, '?' .. ZERO
local answer = {}

for n = 1, #KEYS do
  local key, result = KEYS[n], UNDONE
  local head = try('GETRANGE', key, 0, 15)
  if head == ARGV[2 * n - 1] then
    if try('SET', key, ARGV[2 * n]).ok then result = DONE end
  elseif head == '' then
    result = ABSENT
  elseif type(head) == 'string' and #head == 16 and sub(head, 9) == ZERO then
    result = '0' .. sub(head, 1, 8)
  end
  answer[n] = result
end
return concat(answer)
